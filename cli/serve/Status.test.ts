import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Status from "./Status.ts"

it.effect("a port is a whole number up to 65535; 0 is one, and nothing is none", () =>
  Effect.gen(function*() {
    assert.strictEqual(yield* Status.portOf("--status-port", "0"), 0)
    assert.strictEqual(yield* Status.portOf("--status-port", "9464"), 9_464)
    for (const text of ["", " ", "http", "-1", "65536", "80.5"]) {
      const error = yield* Effect.flip(Status.portOf("--status-port", text))
      assert.strictEqual(error.exit, 2)
      assert.include(error.message, `--status-port ${JSON.stringify(text)} is no port`)
    }
  }))
