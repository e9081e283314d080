import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Script from "./Script.ts"
import { conform, type Task, task, until, World } from "./World.ts"

// design/conformance-workflow.md: concurrency groups. The leak assertion of every case counts the slots that are held and the places in their queues: none.
const grouped = (name: string, group: string, priority?: number, more: Partial<Task> = {}): Task =>
  task(name, [], { ...more, group: { name: group, slots: 1, ...(priority === undefined ? {} : { priority }) } })
const waits = (group: string) => `waits for a slot of group ${group}`

describe("A. concurrency groups", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    const tickets = (world: typeof World.Service, count: number) =>
      until(`${count} slots and places in queues`, Effect.sync(() => world.coordinator.stats().tickets === count))

    it.effect("A13 fail with retry inside a group: the slot is released and taken again between the attempts", () =>
      conform(function*(world) {
        const { clock, start } = world
        const one = yield* start(
          "A13",
          { tasks: [grouped("a", "A13", undefined, { retry: { times: 1, interval: "30s" } })] },
          { a: [Script.fail(), Script.succeed()] }
        )
        yield* one.reaches("a", "FAILED")
        const before = yield* one.taskView("a")
        yield* tickets(world, 0)
        // what another takes meanwhile, the second attempt has to wait for
        const other = yield* start("A13", { tasks: [grouped("b", "A13")] }, { b: Script.hold })
        yield* other.running("b")
        clock.skip(30_000)
        yield* one.reaches("a", "SUBMITTED")
        assert.strictEqual((yield* one.taskView("a")).why, waits("A13"))
        assert.deepStrictEqual(one.ran(), ["a:1:1"])
        yield* tickets(world, 2)
        yield* other.succeed("b")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual((yield* other.result).state, "SUCCEEDED")
        const { attempts } = yield* one.taskView("a")
        assert.deepStrictEqual(attempts.map(({ attempt, state }) => [attempt, state]), [[1, "FAILED"], [
          2,
          "SUCCEEDED"
        ]])
        assert.strictEqual(attempts[0]?.submittedAt, before.attempts[0]?.submittedAt)
      }))

    it.effect("A54 a group of 1: one after the other, the slot count back to 0", () =>
      conform(function*(world) {
        const { executor, start } = world
        const spec = { tasks: ["a", "b", "c"].map((name) => grouped(name, "A54")) }
        const hold = { a: Script.hold, b: Script.hold, c: Script.hold }
        const runs = [yield* start("A54", spec, hold), yield* start("A54", spec, hold)]
        const held = () => [...executor.held.values()].filter(({ spec: { instance } }) => instance.startsWith("A54-"))
        yield* tickets(world, 6)
        for (let ended = 0; ended < 6; ended++) {
          yield* until("the next one runs", Effect.sync(() => held().length === 1))
          yield* world.mesh.nats.flush
          assert.strictEqual(held().length, 1)
          const spec = held()[0]?.spec
          if (spec !== undefined) executor.end(spec, { _tag: "SUCCEEDED", outputs: {} })
        }
        for (const one of runs) assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        // one began only when the one before it had ended, over both runs
        const log = executor.log.flatMap(({ instance, what }) =>
          instance.startsWith("A54-") ? [what.split(" ")[0]] : []
        )
        assert.deepStrictEqual(log, Array.from({ length: 6 }, () => ["begin", "end"]).flat())
        yield* tickets(world, 0)
      }))

    it.effect("A55 a higher group priority first", () =>
      conform(function*(world) {
        const { start } = world
        const first = yield* start("A55", { tasks: [grouped("first", "A55")] }, { first: Script.hold })
        yield* first.running("first")
        const low = yield* start("A55", { tasks: [grouped("low", "A55", 2)] }, { low: Script.hold })
        yield* tickets(world, 2)
        const middle = yield* start("A55", { tasks: [grouped("middle", "A55")] }, { middle: Script.hold })
        yield* tickets(world, 3)
        const high = yield* start("A55", { tasks: [grouped("high", "A55", 8)] }, { high: Script.hold })
        yield* tickets(world, 4)
        const order = [[first, "first"], [high, "high"], [middle, "middle"], [low, "low"]] as const
        for (const [i, [one, name]] of order.entries()) {
          yield* one.running(name)
          for (const [other] of order.slice(i + 1)) {
            assert.deepStrictEqual(other.log(), [], `${name} before ${other.id}`)
          }
          yield* one.succeed(name)
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        }
      }))

    const whileWaiting = (name: string, verb: "pause" | "stop") =>
      conform(function*(world) {
        const { start } = world
        const holder = yield* start(name, { tasks: [grouped("h", name)] }, { h: Script.hold })
        yield* holder.running("h")
        const one = yield* start(name, { tasks: [grouped("a", name), task("b", ["a"])] })
        yield* tickets(world, 2)
        assert.strictEqual((yield* one.taskView("a")).why, waits(name))
        yield* one.command(verb)
        assert.strictEqual((yield* one.result).state, verb === "pause" ? "PAUSED" : "STOPPED")
        assert.strictEqual(yield* one.summary, `a:${verb === "pause" ? "PAUSED" : "KILLED"}/1 b:-/0`)
        yield* tickets(world, 1)
        yield* holder.succeed("h")
        assert.strictEqual((yield* holder.result).state, "SUCCEEDED")
        yield* tickets(world, 0)
        assert.deepStrictEqual(one.ran(), [])
        // and it goes on from there, with a slot of its own
        yield* one.command(verb === "pause" ? "resume" : "recover")
        yield* one.workflowReaches("SUCCEEDED")
        assert.deepStrictEqual(one.ran(), ["a:1:2", "b:1:1"])
      })
    it.effect("B06 pause a task that waits for a slot: PAUSED, no queue entry left", () => whileWaiting("B06", "pause"))
    it.effect("B12 stop a task that waits for a slot: KILLED, no queue entry left", () => whileWaiting("B12", "stop"))
  })
})
