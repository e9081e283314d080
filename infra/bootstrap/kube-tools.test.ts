import { assert, it } from "@effect/vitest"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { deflateRawSync } from "node:zlib"
import { onTestFinished, vi } from "vitest"
import { findHelm3, findKubeTools, unzip, versions } from "./kube-tools.mjs"

/** As zip programs write it: local header, data, directory, end. */
const zip = (files: ReadonlyArray<readonly [name: string, text: string, isPacked: boolean]>): Buffer => {
  const parts: Array<Buffer> = []
  const entries: Array<Buffer> = []
  let offset = 0
  for (const [name, text, isPacked] of files) {
    const data = isPacked ? deflateRawSync(text) : Buffer.from(text)
    const local = Buffer.alloc(30)
    local.writeUInt32LE(0x04034b50, 0)
    local.writeUInt16LE(name.length, 26)
    const entry = Buffer.alloc(46)
    entry.writeUInt32LE(0x02014b50, 0)
    entry.writeUInt16LE(isPacked ? 8 : 0, 10)
    entry.writeUInt32LE(data.length, 20)
    entry.writeUInt16LE(name.length, 28)
    entry.writeUInt32LE(offset, 42)
    parts.push(local, Buffer.from(name), data)
    entries.push(entry, Buffer.from(name))
    offset += 30 + name.length + data.length
  }
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(files.length, 10)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...parts, ...entries, end])
}

it("reads stored and deflated files of a zip archive, and refuses what is none", () => {
  const text = "kubectl ".repeat(1_000)
  const files = unzip(zip([["helm/", "", false], ["helm/helm", "stored", false], ["kubectl/kubectl", text, true]]))
  assert.deepStrictEqual([...files.keys()], ["helm/", "helm/helm", "kubectl/kubectl"])
  assert.strictEqual(files.get("helm/helm")?.().toString(), "stored")
  assert.strictEqual(files.get("kubectl/kubectl")?.().toString(), text)
  assert.throws(() => unzip(Buffer.from("nothing")), /no zip archive/)
})

it("named programs first, then the tool folder, without network", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-kube-tools-"))
  onTestFinished(() => {
    vi.unstubAllEnvs()
    rmSync(folder, { recursive: true })
  })
  vi.stubEnv("HEDDLE_TOOLS", folder)
  vi.stubEnv("HEDDLE_KUBECTL", "/opt/kubectl")
  vi.stubEnv("HEDDLE_HELM", "/opt/helm")
  vi.stubEnv("HEDDLE_HELM3", "/opt/helm3")
  assert.deepStrictEqual(await findKubeTools(), { kubectl: "/opt/kubectl", helm: "/opt/helm" })
  assert.strictEqual(await findHelm3(), "/opt/helm3")
  if (process.platform !== "linux" || process.arch !== "x64") return
  const own = join(folder, `kube-${versions.kubectl}-${versions.helm}`)
  mkdirSync(own)
  writeFileSync(join(own, "helm"), "")
  vi.stubEnv("HEDDLE_HELM", "")
  assert.deepStrictEqual(await findKubeTools(), { kubectl: "/opt/kubectl", helm: join(own, "helm") })
  const older = join(folder, `helm-${versions.helm3}`)
  mkdirSync(older)
  vi.stubEnv("HEDDLE_HELM3", "")
  assert.strictEqual(await findHelm3(), join(older, "helm"))
})
