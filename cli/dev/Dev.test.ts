import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Dev from "./Dev.ts"
import * as NatsServer from "./NatsServer.ts"

it("what dev proposes works on the pools that it has", () => {
  assert.lengthOf(Dev.tries(["default", "inline"]), 3)
  assert.include(Dev.tries(["quick", "default"])[0], "claim default --exec")
  const other = Dev.tries(["quick", "inline"])
  assert.include(other[0], "claim quick --exec")
  assert.notInclude(other.join(), "examples/", "they ask for the pool default")
})

it.effect("a data folder that cannot be is told, not a defect", () =>
  Effect.gen(function*() {
    // Node's own way of making folders does not return from the second.
    for (
      const [folder, code] of [
        [`${import.meta.filename}/below-a-file`, "ENOTDIR"],
        ["/proc/heddle/dev", "ENOENT"],
        [import.meta.filename, "ENOTDIR"]
      ]
    ) {
      const failed = yield* Effect.flip(NatsServer.lock(folder ?? ""))
      assert.strictEqual(failed.exit, 2)
      assert.match(failed.message, new RegExp(`^The data folder .* cannot be used: .*${code}`))
      assert.include(failed.fix, "--data-dir")
    }
  }))
