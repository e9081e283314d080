import { assert, beforeEach, describe, it, vi } from "@effect/vitest"
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onTestFinished } from "vitest"
import { findNatsServer, isAtLeast, parseVersion } from "./nats-server.mjs"

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
