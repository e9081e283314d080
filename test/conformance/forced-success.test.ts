import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { TaskName } from "../../shared/protocol/Token.ts"
import * as Script from "./Script.ts"
import { conform, task, World } from "./World.ts"

// design/conformance-workflow.md, B19: forced success.
describe("B. forced success", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("B19 forced success counts as success", () =>
      conform(function*({ start }) {
        const one = yield* start("B19", {
          tasks: [task("a"), task("b", ["a"]), task("c", ["b"]), task("d", ["a"], { join: "one_failed" })]
        }, { a: Script.fail() })
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* one.summary, "a:FAILED/1 b:-/0 c:-/0 d:SUCCEEDED/1")
        const refused = yield* Effect.result(one.command("force-success", { task: "b" }))
        assert.strictEqual(Result.isFailure(refused) ? refused.failure.code : "taken", "Conflict")
        yield* one.command("force-success", { task: "a", reason: "checked by hand" })
        // the run keeps its result until somebody lets it go on
        assert.strictEqual((yield* one.view).state, "FAILED")
        assert.strictEqual((yield* one.taskView("a")).state, "FORCED_SUCCESS")
        yield* one.command("recover")
        yield* one.workflowReaches("SUCCEEDED")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        // not run again, and what comes after it has run
        assert.deepStrictEqual([...one.ran()].sort(), ["a:1:1", "b:1:1", "c:1:1", "d:1:1"])
        assert.strictEqual((yield* one.taskView("a")).attempts.length, 1)
        const causes = (yield* one.history).flatMap(({ entry }) => entry.cause)
        assert.deepInclude(causes, {
          _tag: "WORKFLOW_FORCE_SUCCESS",
          task: TaskName.make("a"),
          reason: "checked by hand"
        })
        // a task that was killed likewise
        const stopped = yield* start("B19", { tasks: [task("a"), task("b", ["a"])] }, { a: Script.hold })
        yield* stopped.running("a")
        yield* stopped.command("stop")
        assert.strictEqual((yield* stopped.result).state, "STOPPED")
        yield* stopped.command("force-success", { task: "a" })
        yield* stopped.command("recover")
        yield* stopped.workflowReaches("SUCCEEDED")
        assert.deepStrictEqual(stopped.ran(), ["a:1:1", "b:1:1"])
      }))
  })
})
