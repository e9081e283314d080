import { assert, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as RunMax from "./RunMax.ts"

const read = (env: Record<string, string>) =>
  Effect.result(RunMax.fromEnvironment).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord(env))))

it.effect("A49 HEDDLE_WORKFLOW_MAX_RUN_TIME: a duration above zero, or nothing", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* read({ HEDDLE_WORKFLOW_MAX_RUN_TIME: "36h" }), Result.succeed(36 * 3_600_000))
    assert.deepStrictEqual(yield* read({}), Result.succeed(undefined))
    assert.deepStrictEqual(yield* read({ HEDDLE_WORKFLOW_MAX_RUN_TIME: "" }), Result.succeed(undefined))
    for (const wrong of ["0s", "24", "-1h", "for ever"]) {
      const refused = yield* read({ HEDDLE_WORKFLOW_MAX_RUN_TIME: wrong })
      assert.include(
        Result.isFailure(refused) ? refused.failure.message : "",
        `HEDDLE_WORKFLOW_MAX_RUN_TIME is "${wrong}"`
      )
    }
  }))
