import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Script from "./Script.ts"
import { type Case, conform, type Spec, task, until, World } from "./World.ts"

// design/conformance-workflow.md, A60 to A63: execution types of a definition. What waits for its turn is counted by the leak assertion.
const serial = (executionType: NonNullable<Spec["executionType"]>, more: Partial<Spec> = {}): Spec => ({
  executionType,
  tasks: [task("a"), task("b", ["a"])],
  ...more
})
const hold = { a: Script.hold }

describe("A. execution types", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    const states = (runs: ReadonlyArray<Case>) =>
      Effect.forEach(runs, (one) => Effect.map(one.view, ({ state }) => state))
    /** In the queue before the next one comes. */
    const queued = (world: typeof World.Service, count: number) =>
      until(`${count} in the queue`, Effect.sync(() => world.coordinator.stats().tickets === count))

    it.effect("A60 serial-wait: in the order in which they came", () =>
      conform(function*(world) {
        const runs: Array<Case> = []
        for (let i = 1; i <= 3; i++) {
          runs.push(yield* world.start("A60", serial("serial-wait"), hold))
          yield* queued(world, i)
        }
        const [first] = runs
        yield* first?.running("a") ?? Effect.void
        assert.deepStrictEqual(yield* states(runs), ["RUNNING", "SERIAL_WAIT", "SERIAL_WAIT"])
        for (const [i, one] of runs.entries()) {
          yield* one.running("a")
          for (const later of runs.slice(i + 1)) assert.deepStrictEqual(later.log(), [])
          yield* one.succeed("a")
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
          assert.deepStrictEqual(one.ran(), ["a:1:1", "b:1:1"])
        }
        // one that fails or is stopped makes way too
        const failing = yield* world.start("A60", serial("serial-wait"), hold)
        yield* failing.running("a")
        const waiting = yield* world.start("A60", serial("serial-wait"))
        yield* queued(world, 2)
        const stopped = yield* world.start("A60", serial("serial-wait"))
        yield* queued(world, 3)
        yield* stopped.command("stop")
        assert.strictEqual((yield* stopped.result).state, "STOPPED")
        yield* failing.fail("a")
        assert.strictEqual((yield* failing.result).state, "FAILED")
        assert.strictEqual((yield* waiting.result).state, "SUCCEEDED")
        assert.deepStrictEqual(stopped.ran(), [])
      }))

    it.effect("A61 serial-discard: the second is STOPPED with the reason, the first goes on", () =>
      conform(function*(world) {
        const first = yield* world.start("A61", serial("serial-discard"), hold)
        yield* first.running("a")
        const second = yield* world.start("A61", serial("serial-discard"))
        const result = yield* second.result
        assert.strictEqual(result.state, "STOPPED")
        assert.strictEqual(result.reason, "another run of the definition is under way (serial-discard)")
        assert.deepStrictEqual(second.ran(), [])
        yield* first.succeed("a")
        assert.strictEqual((yield* first.result).state, "SUCCEEDED")
        const third = yield* world.start("A61", serial("serial-discard"))
        assert.strictEqual((yield* third.result).state, "SUCCEEDED")
      }))

    it.effect("A62 serial-priority: the newest takes the place of all others, which are stopped", () =>
      conform(function*(world) {
        const first = yield* world.start("A62", serial("serial-priority"), { a: Script.holdDeaf })
        yield* first.running("a")
        const second = yield* world.start("A62", serial("serial-priority"))
        yield* first.workflowReaches("READY_STOP")
        const third = yield* world.start("A62", serial("serial-priority"))
        const result = yield* second.result
        assert.strictEqual(result.state, "STOPPED")
        assert.strictEqual(result.reason, "a newer run of the definition takes its place (serial-priority)")
        // the newest begins when what ran has really ended
        assert.strictEqual((yield* third.view).state, "SERIAL_WAIT")
        const { spec } = yield* first.running("a")
        world.executor.end(spec, { _tag: "KILLED" })
        assert.strictEqual((yield* first.result).state, "STOPPED")
        assert.strictEqual((yield* third.result).state, "SUCCEEDED")
        assert.deepStrictEqual([first.ran(), second.ran(), third.ran()], [["a:1:1"], [], ["a:1:1", "b:1:1"]])
      }))

    it.effect("A63 across two versions of the definition: one queue", () =>
      conform(function*(world) {
        const { mesh } = world
        assert.strictEqual((yield* mesh.define("A63", serial("serial-wait"))).version, 1)
        const first = yield* mesh.start("A63", { definition: "A63@1" }, hold)
        yield* first.running("a")
        assert.strictEqual((yield* mesh.define("A63", serial("serial-wait", { priority: 7 }))).version, 2)
        const second = yield* mesh.start("A63", { definition: "A63@2" }, hold)
        yield* queued(world, 2)
        const third = yield* mesh.start("A63", { definition: "A63@1" }, hold)
        yield* queued(world, 3)
        assert.deepStrictEqual(yield* states([first, second, third]), ["RUNNING", "SERIAL_WAIT", "SERIAL_WAIT"])
        for (const [one, version] of [[first, 1], [second, 2], [third, 1]] as const) {
          yield* one.running("a")
          assert.strictEqual((yield* one.view).definition.version, version)
          assert.strictEqual(
            [...world.executor.held.values()].filter(({ spec }) => spec.instance.startsWith("A63-")).length,
            1
          )
          yield* one.succeed("a")
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        }
      }))
  })
})
