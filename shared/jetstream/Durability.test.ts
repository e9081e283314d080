import { assert, describe, it } from "@effect/vitest"
import * as Durability from "./Durability.ts"
import * as ServerVersion from "./ServerVersion.ts"

describe("Durability", () => {
  it("compares versions", () => {
    assert.deepStrictEqual(
      ["2.9.10", "2.11.99", "2.12.0", "2.12.0-RC.1", "2.15.1", "3.0.0"].map((version) =>
        ServerVersion.isOlder(version, "2.12.0")
      ),
      [true, true, false, false, false, false]
    )
  })
  it("reads the sync interval as nats-server writes it, and nothing else", () => {
    assert.deepStrictEqual(Durability.parseSync("\"always\""), { _tag: "Always" })
    assert.deepStrictEqual(Durability.parseSync("1m30s"), { _tag: "Every", intervalMs: 90_000 })
    assert.deepStrictEqual(Durability.parseSync("500ms"), { _tag: "Every", intervalMs: 500 })
    for (const text of ["", "soon", "2", "2m x", "always!"]) assert.strictEqual(Durability.parseSync(text), undefined)
  })
  it("says what the monitor proves", () => {
    assert.deepStrictEqual(Durability.fsyncOfMonitor({ config: { sync_interval: 120_000_000_000 } }), {
      _tag: "Every",
      intervalMs: 120_000
    })
    assert.deepStrictEqual(
      Durability.fsyncOfMonitor({ config: { sync_interval: 120_000_000_000, sync_always: true } }),
      { _tag: "Always" }
    )
    for (const other of [undefined, null, {}, { config: null }, { config: {} }]) {
      assert.strictEqual(Durability.fsyncOfMonitor(other), undefined)
    }
  })
  it("says it in one line", () => {
    assert.strictEqual(Durability.describe({ _tag: "Always" }, 3), "R3, fsync always")
    assert.strictEqual(
      Durability.describe({ _tag: "Unknown", assumedMs: 120_000 }, 1),
      "R1, fsync unknown (assumed every 2m)"
    )
  })
})
