import { assert, beforeEach, describe, it, vi } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onTestFinished } from "vitest"
import { findNatsServer, fromRelease, isAtLeast, parseVersion, type Release, release } from "./nats-server.mjs"

const pretend = (folder: string, version: string) => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "nats-server"), `#!/bin/sh\necho "nats-server: v${version}"\n`)
  chmodSync(join(folder, "nats-server"), 0o755)
  return join(folder, "nats-server")
}

const messageOf = async (promise: Promise<unknown>) => {
  try {
    await promise
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  return "nothing was thrown"
}

describe("nats-server", () => {
  it("reads versions", () => {
    assert.strictEqual(parseVersion("nats-server: v2.15.1\n"), "2.15.1")
    assert.strictEqual(parseVersion("nats-server version 2.9.10"), "2.9.10")
    assert.strictEqual(parseVersion("nats-server: v2.12.0-RC.3"), "2.12.0-RC.3")
    assert.strictEqual(parseVersion("segmentation fault"), undefined)
  })

  it("compares versions by number, not by text", () => {
    assert.isFalse(isAtLeast("2.9.10", "2.12.0"))
    assert.isTrue(isAtLeast("2.12.0", "2.12.0"))
    assert.isTrue(isAtLeast("2.15.1", "2.12.0"))
    assert.isTrue(isAtLeast("3.0.0", "2.12.0"))
    assert.isTrue(isAtLeast("2.12.0-RC.3", "2.12.0"))
  })

  it("knows the sum of each official archive", () => {
    assert.sameMembers(Object.keys(release.sha256), ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"])
    for (const sum of Object.values(release.sha256)) assert.match(sum, /^[0-9a-f]{64}$/)
    assert.strictEqual(new Set(Object.values(release.sha256)).size, 4)
  })

  it("takes an archive of the release only with the sum that is written down here", async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-nats-"))
    vi.stubEnv("HEDDLE_TOOLS", join(folder, "tools"))
    const platform = `${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`
    const name = `nats-server-v9.9.9-${platform}`
    pretend(join(folder, "made", name), "9.9.9")
    execFileSync("tar", ["-czf", join(folder, "archive"), "-C", join(folder, "made"), name])
    const archive = readFileSync(join(folder, "archive"))
    const server = createServer((request, response) => {
      response.statusCode = request.url === `/v9.9.9/${name}.tar.gz` ? 200 : 404
      response.end(archive)
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    try {
      const address = server.address()
      assert.isObject(address)
      const of = (sum: string): Release => ({
        version: "9.9.9",
        base: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
        sha256: { [platform]: sum }
      })
      for (const part of ["tools", "forged", "true"]) mkdirSync(join(folder, part))
      assert.match(
        await messageOf(fromRelease(join(folder, "forged"), of("0".repeat(64)))),
        /checksum .* is \w{64}, not 0{64}/
      )
      assert.isFalse(existsSync(join(folder, "tools", "nats-server")))
      const sum = createHash("sha256").update(archive).digest("hex")
      assert.deepStrictEqual(await fromRelease(join(folder, "true"), of(sum)), {
        path: join(folder, "tools", "nats-server"),
        version: "9.9.9"
      })
      assert.match(await messageOf(fromRelease(join(folder, "true"), { ...of(sum), sha256: {} })), /there is none for/)
    } finally {
      server.closeAllConnections()
      server.close()
      vi.unstubAllEnvs()
      rmSync(folder, { recursive: true })
    }
  })

  describe("looks in order, without network", () => {
    let folder = ""
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), "heddle-nats-"))
      vi.stubEnv("HEDDLE_NATS_SERVER", "")
      vi.stubEnv("HEDDLE_TOOLS", join(folder, "tools"))
      vi.stubEnv("PATH", `${join(folder, "path")}:/bin:/usr/bin`)
      onTestFinished(() => {
        vi.unstubAllEnvs()
        rmSync(folder, { recursive: true })
      })
    })

    it("the named one first", async () => {
      pretend(join(folder, "path"), "2.15.0")
      vi.stubEnv("HEDDLE_NATS_SERVER", pretend(join(folder, "named"), "2.13.1"))
      assert.deepStrictEqual(await findNatsServer({ install: false }), {
        path: join(folder, "named", "nats-server"),
        version: "2.13.1"
      })
    })

    it("a named one that is too old is refused, not replaced", async () => {
      pretend(join(folder, "path"), "2.15.0")
      vi.stubEnv("HEDDLE_NATS_SERVER", pretend(join(folder, "named"), "2.10.4"))
      const message = await messageOf(findNatsServer({ install: false }))
      assert.include(message, "is version 2.10.4")
      assert.include(message, "What to do:")
    })

    it("PATH, passing over one that is too old, then the tool folder", async () => {
      pretend(join(folder, "path"), "2.10.27")
      const own = pretend(join(folder, "tools"), "2.14.0")
      assert.deepStrictEqual(await findNatsServer({ install: false }), { path: own, version: "2.14.0" })
      const newer = pretend(join(folder, "path"), "2.12.2")
      assert.deepStrictEqual(await findNatsServer({ install: false }), { path: newer, version: "2.12.2" })
    })
  })
})
