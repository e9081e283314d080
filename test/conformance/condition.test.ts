import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Script from "./Script.ts"
import { conform, type Spec, type Task, task, World } from "./World.ts"

// design/conformance-workflow.md, A28 to A34: task type condition.
/** `a`, judged by `gate`, which leads to `good` or to `bad`. */
const gated = (gate: Partial<Task> = {}, more: Partial<Spec> = {}): Spec => ({
  ...more,
  tasks: [
    task("a", [], { retry: { times: 0 } }),
    task("gate", ["a"], { type: "condition", with: { success: ["good"], failed: ["bad"] }, ...gate }),
    task("good", ["gate"]),
    task("bad", ["gate"])
  ]
})

describe("A. condition", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("A28 predecessor succeeded: the success branch only", () =>
      conform(function*({ start }) {
        const one = yield* start("A28", gated())
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 gate:SUCCEEDED/1 good:SUCCEEDED/1 bad:-/0")
        assert.strictEqual((yield* one.taskView("bad")).why, "the condition gate took success")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "good:1:1"])
      }))

    it.effect("A29 predecessor failed: the failed branch, the workflow SUCCEEDED", () =>
      conform(function*({ coordinator, start }) {
        const one = yield* start("A29", gated(), { a: Script.fail() })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:FAILED/1 gate:SUCCEEDED/1 good:-/0 bad:SUCCEEDED/1")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "bad:1:1"])
        assert.isFalse(coordinator.logs.some((line) => line.includes(`WorkflowFailed: ${one.id}`)))
      }))

    it.effect("A30 predecessor FATAL: as failed, without a retry, with failure strategy end too", () =>
      conform(function*({ start }) {
        for (const failureStrategy of ["continue", "end"] as const) {
          const spec = gated({}, { failureStrategy })
          const [a, ...rest] = spec.tasks
          const one = yield* start("A30", {
            ...spec,
            tasks: [{ ...a, ...task("a", [], { retry: { times: 3, interval: "1m" } }) }, ...rest]
          }, { a: Script.fatal() })
          assert.strictEqual((yield* one.result).state, "SUCCEEDED", failureStrategy)
          assert.strictEqual(yield* one.summary, "a:FAILED/1 gate:SUCCEEDED/1 good:-/0 bad:SUCCEEDED/1")
        }
      }))

    it.effect("A31 a forbidden condition passes through: both branches run", () =>
      conform(function*({ start }) {
        const one = yield* start("A31", gated({ forbidden: true }))
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 gate:-/0 good:SUCCEEDED/1 bad:SUCCEEDED/1")
        assert.strictEqual((yield* one.taskView("gate")).why, "forbidden")
      }))

    it.effect("A32 a forbidden condition with a failed predecessor: FAILED, one attempt", () =>
      conform(function*({ start }) {
        const one = yield* start("A32", gated({ forbidden: true }), { a: Script.fail("exit 2") })
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task a failed: exit 2")
        assert.strictEqual(yield* one.summary, "a:FAILED/1 gate:-/0 good:-/0 bad:-/0")
        assert.deepStrictEqual(one.ran(), ["a:1:1"])
      }))

    it.effect("A33 a condition on an unknown task: refused at definition", () =>
      conform(function*({ mesh, start }) {
        const spec = gated({ with: { when: { task: "nowhere" }, success: ["good"], failed: ["bad"] } })
        for (const refused of [Effect.asVoid(mesh.define("A33", spec)), Effect.asVoid(start("A33", spec))]) {
          const answer = yield* Effect.result(refused)
          if (Result.isSuccess(answer)) return assert.fail("it was taken")
          const error = answer.failure
          assert.strictEqual(error.code, "InvalidDefinition")
          const text = JSON.stringify(error.answer)
          assert.include(text, "spec.tasks[1].with.when.task")
          assert.include(text, "nowhere")
        }
        assert.deepStrictEqual(yield* mesh.runsOf("A33"), [])
      }))

    it.effect("A34 and / or over mixed predecessors", () =>
      conform(function*({ start }) {
        const when = {
          or: [{ and: [{ task: "a" }, { task: "b" }] }, { and: [{ task: "a", is: "failed" }, { task: "c" }] }]
        }
        const names = ["a", "b", "c"]
        // every way in which the three can end
        for (let bits = 0; bits < 8; bits++) {
          const [a, b, c] = names.map((_, i) => (bits & (1 << i)) !== 0)
          const label = `a ${a}, b ${b}, c ${c}`
          const one = yield* start(
            "A34",
            {
              tasks: [
                ...names.map((name) => task(name)),
                task("gate", names, { type: "condition", with: { when, success: ["good"], failed: ["bad"] } }),
                task("good", ["gate"]),
                task("bad", ["gate"])
              ]
            },
            Object.fromEntries(
              names.map((name, i) => [name, (bits & (1 << i)) === 0 ? Script.fail() : Script.succeed()])
            )
          )
          assert.strictEqual((yield* one.result).state, "SUCCEEDED", label)
          const branch = (a && b) || (!a && c) ? "good" : "bad"
          assert.deepStrictEqual(one.ran().slice(3), [`${branch}:1:1`], label)
        }
      }))
  })
})
