import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as Script from "./Script.ts"
import { type Case, conform, task, until, World } from "./World.ts"

// design/conformance-workflow.md, section B: pause, stop, recover.
const chains = ["a", "b", "c"].flatMap((name) => [
  task(`${name}1`),
  task(`${name}2`, [`${name}1`]),
  task(`${name}3`, [`${name}2`])
])
const verbs = {
  pause: { task: "PAUSED", rest: "PAUSED", on: "READY_PAUSE" },
  stop: { task: "KILLED", rest: "STOPPED", on: "READY_STOP" }
} as const
const refused = (effect: Effect.Effect<unknown, ContractError>) =>
  Effect.map(Effect.flip(effect), (error) => error.code)

describe("B. pause, stop, recover", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    const controlsOf = (world: typeof World.Service, one: Case) =>
      world.executor.controls.filter(({ instance }) => instance === one.id).map(({ kind }) => kind)

    it.effect("B01 pause while the only task runs: task and workflow SUCCEEDED", () =>
      conform(function*(world) {
        const one = yield* world.start("B01", { tasks: [task("a")] }, { a: Script.hold })
        yield* one.running("a")
        yield* one.command("pause", { reason: "lunch" })
        assert.strictEqual((yield* one.view).state, "READY_PAUSE")
        yield* until("the pause arrives", Effect.sync(() => controlsOf(world, one).includes("pause")))
        yield* one.succeed("a")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1")
      }))

    it.effect("B02 pause while the only task fails: FAILED", () =>
      conform(function*({ start }) {
        const one = yield* start("B02", { tasks: [task("a")] }, { a: Script.hold })
        yield* one.running("a")
        yield* one.command("pause")
        yield* one.fail("a")
        assert.strictEqual((yield* one.result).state, "FAILED")
      }))

    const threeChains = (name: string, verb: "pause" | "stop") =>
      conform(function*({ start }) {
        // deaf: what runs ends by itself
        const one = yield* start(name, { tasks: chains }, {
          a1: Script.holdDeaf,
          b1: Script.holdDeaf,
          c1: Script.holdDeaf
        })
        for (const each of ["a1", "b1", "c1"]) yield* one.running(each)
        yield* one.command(verb)
        assert.strictEqual((yield* one.view).state, verbs[verb].on)
        for (const each of ["a1", "b1", "c1"]) yield* one.succeed(each)
        assert.strictEqual((yield* one.result).state, verbs[verb].rest)
        assert.strictEqual(
          yield* one.summary,
          ["a", "b", "c"].map((each) => `${each}1:SUCCEEDED/1 ${each}2:${verbs[verb].task}/1 ${each}3:-/0`).join(" ")
        )
        assert.deepStrictEqual([...one.ran()].sort(), ["a1:1:1", "b1:1:1", "c1:1:1"])
      })
    it.effect("B03 pause three parallel chains: running ones end, second level PAUSED, third no attempt", () =>
      threeChains("B03", "pause"))
    it.effect("B09 stop three parallel chains: running ones end, second level KILLED, third no attempt", () =>
      threeChains("B09", "stop"))

    const whileWaitingForRetry = (name: string, verb: "pause" | "stop") =>
      conform(function*({ clock, start }) {
        const one = yield* start(name, { tasks: [task("a", [], { retry: { times: 3, interval: "1m" } })] }, {
          a: Script.fail()
        })
        yield* one.reaches("a", "FAILED")
        yield* one.command(verb)
        assert.strictEqual((yield* one.result).state, verbs[verb].rest)
        clock.skip(120_000)
        assert.strictEqual(yield* one.summary, `a:${verbs[verb].task}/1`)
        assert.deepStrictEqual(one.ran(), ["a:1:1"])
      })
    it.effect("B05 pause a task that waits for its retry: PAUSED, no new attempt", () =>
      whileWaitingForRetry("B05", "pause"))
    it.effect("B11 stop a task that waits for its retry: KILLED, no new attempt", () =>
      whileWaitingForRetry("B11", "stop"))

    it.effect("B07 stop while the only task runs: KILLED, STOPPED", () =>
      conform(function*(world) {
        const one = yield* world.start("B07", { tasks: [task("a")] }, { a: Script.hold })
        yield* one.running("a")
        yield* one.command("stop", { reason: "enough" })
        assert.strictEqual((yield* one.result).state, "STOPPED")
        assert.strictEqual(yield* one.summary, "a:KILLED/1")
        assert.deepStrictEqual(controlsOf(world, one), ["kill"])
        // the pause of the same: what was not taken by an executor is withdrawn
        const left = yield* world.start("B07", { tasks: [task("a")] }, { a: Script.leave })
        yield* until("it is on the lane", Effect.sync(() => world.executor.lane.size === 1))
        yield* left.command("stop")
        assert.strictEqual((yield* left.result).state, "STOPPED")
        yield* until("it is withdrawn", Effect.sync(() => world.executor.lane.size === 0))
      }))

    it.effect("B08 stop while the only task fails: FAILED", () =>
      conform(function*({ start }) {
        const one = yield* start("B08", { tasks: [task("a")] }, { a: Script.holdDeaf })
        yield* one.running("a")
        yield* one.command("stop")
        yield* one.fail("a")
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* one.summary, "a:FAILED/1")
      }))

    it.effect("B13 stop during READY_PAUSE: STOPPED", () =>
      conform(function*(world) {
        const one = yield* world.start("B13", { tasks: [task("a"), task("b", ["a"])] }, { a: Script.hold })
        yield* one.running("a")
        yield* one.command("pause")
        yield* until("the pause arrives", Effect.sync(() => controlsOf(world, one).includes("pause")))
        yield* one.command("stop")
        assert.strictEqual((yield* one.result).state, "STOPPED")
        assert.strictEqual(yield* one.summary, "a:KILLED/1 b:-/0")
      }))

    it.effect("B14 stop twice: kill sent again, one result", () =>
      conform(function*(world) {
        const one = yield* world.start("B14", { tasks: [task("a")] }, { a: Script.holdDeaf })
        const { spec } = yield* one.running("a")
        yield* one.command("stop")
        yield* until("the first kill", Effect.sync(() => controlsOf(world, one).length === 1))
        yield* one.command("stop")
        yield* until("the second kill", Effect.sync(() => controlsOf(world, one).length === 2))
        world.executor.end(spec, { _tag: "KILLED" })
        assert.strictEqual((yield* one.result).state, "STOPPED")
        const entries = yield* one.history
        assert.strictEqual(
          entries.filter(({ entry }) => entry.effects.some((id) => id.startsWith("finalize:"))).length,
          1
        )
      }))

    it.effect("B16 recover stopped: new attempts, the old superseded", () =>
      conform(function*({ executor, start }) {
        const one = yield* start("B16", { tasks: [task("a"), task("b", ["a"])] }, {
          a: [Script.hold, Script.succeed()]
        })
        const { spec } = yield* one.running("a")
        yield* one.command("stop")
        assert.strictEqual((yield* one.result).state, "STOPPED")
        yield* one.command("recover")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/2 b:SUCCEEDED/1")
        assert.deepStrictEqual((yield* one.taskView("a")).attempts.map(({ state }) => state), ["KILLED", "SUCCEEDED"])
        executor.end(spec, { _tag: "FAILED", reason: "late" })
        yield* until(
          "the late fact is answered",
          Effect.sync(() => executor.reported.at(-1)?.fact === "FAILED" || undefined)
        )
        assert.strictEqual((yield* one.view).state, "SUCCEEDED")
      }))

    it.effect("B17 recover failed: succeeded tasks kept, failed rerun, downstream of it rerun", () =>
      conform(function*({ start }) {
        const one = yield* start("B17", {
          tasks: [
            task("a"),
            task("b"),
            task("c", ["a", "b"]),
            task("d", ["b"], { join: "all_done" }),
            task("e", ["a"])
          ]
        }, { b: [Script.fail(), Script.succeed()] })
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:FAILED/1 c:-/0 d:SUCCEEDED/1 e:SUCCEEDED/1")
        yield* one.command("recover")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/1 d:SUCCEEDED/2 e:SUCCEEDED/1")
        assert.strictEqual(yield* refused(one.command("recover")), "Conflict")
      }))

    it.effect("B20 rerun whole: same instance id, run number + 1", () =>
      conform(function*({ start }) {
        const one = yield* start("B20", { tasks: [task("a"), task("b", ["a"])] }, {}, { params: { x: 1 } })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        yield* one.command("rerun")
        yield* until("the second run ends", Effect.sync(() => one.ran().length === 4))
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        const view = yield* one.view
        assert.strictEqual(view.instanceId, one.id)
        assert.strictEqual(view.runNumber, 2)
        assert.deepStrictEqual(view.params, { x: 1 })
        assert.deepStrictEqual(one.ran(), ["a:1:1", "b:1:1", "a:2:1", "b:2:1"])
      }))

    it.effect("B21 rerun keeps TASK_ONLY", () =>
      conform(function*({ start }) {
        const one = yield* start("B21", { tasks: [task("a"), task("b", ["a"]), task("c", ["b"])] }, {}, {
          startNodes: ["b"],
          dependType: "TASK_ONLY"
        })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        yield* one.command("rerun")
        yield* until("the second run", Effect.sync(() => one.ran().length === 2))
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(one.ran(), ["b:1:1", "b:2:1"])
      }))

    /** The double is in the registry for as long as `body` runs: unreachable is then not gone. */
    const registered = <A, E>(world: typeof World.Service, body: Effect.Effect<A, E>) =>
      Effect.scoped(Effect.andThen(
        Effect.orDie(Registry.register(world.mesh.nats, {
          member: world.executor.member,
          startup: world.executor.startup,
          role: "task-executor",
          host: "test",
          pid: 1,
          version: "test",
          startedAt: new Date(0).toISOString()
        }, { ttlMs: 60_000 })),
        body
      ))
    const lostOnTheWay = (name: string, verb: "pause" | "stop") =>
      conform(function*(world) {
        const { clock, executor, start } = world
        yield* registered(
          world,
          Effect.gen(function*() {
            const one = yield* start(name, { tasks: [task("a"), task("b", ["a"])] }, { a: Script.holdPausable })
            yield* one.running("a")
            executor.isReachable = false
            yield* world.mesh.nats.flush
            yield* one.command(verb)
            const intent = verb === "stop" ? "kill" : "pause"
            for (let i = 0; i < 3; i++) {
              clock.skip(30_000)
              yield* until("the intent stays", Effect.map(one.taskView("a"), (view) => view.intent === intent))
              assert.strictEqual((yield* one.view).state, verbs[verb].on)
            }
            assert.deepStrictEqual(controlsOf(world, one), [])
            executor.isReachable = true
            yield* world.mesh.nats.flush
            // re-sent with back-off
            yield* until(
              "the command arrives at last",
              Effect.sync(() => {
                clock.skip(1_000)
                return controlsOf(world, one).length > 0
              })
            )
            assert.strictEqual((yield* one.result).state, verbs[verb].rest)
            assert.strictEqual(yield* one.summary, `a:${verbs[verb].task}/1 b:-/0`)
          })
        )
      })
    it.effect("B27 kill lost on the way: the intent stays, is sent again, KILLED at last", () =>
      lostOnTheWay("B27", "stop"))
    it.effect("B28 pause lost on the way: the intent stays, is sent again, PAUSED at last", () =>
      lostOnTheWay("B28", "pause"))

    it.effect("B29 kill crosses SUCCEEDED: one result, no hang", () =>
      conform(function*(world) {
        const { executor, start } = world
        const one = yield* start("B29", { tasks: [task("a"), task("b", ["a"])] }, { a: Script.holdDeaf })
        const { spec } = yield* one.running("a")
        yield* one.command("stop")
        yield* until("the kill arrives", Effect.sync(() => controlsOf(world, one).includes("kill")))
        executor.end(spec, { _tag: "SUCCEEDED", outputs: {} })
        executor.report(executor.reportOf(spec, { _tag: "KILLED" }), MemberId.make("co-1"))
        assert.strictEqual((yield* one.result).state, "STOPPED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:KILLED/1")
        // alone: the only task succeeded, so nothing was stopped
        const alone = yield* start("B29", { tasks: [task("a")] }, { a: Script.holdDeaf })
        const held = yield* alone.running("a")
        yield* alone.command("stop")
        executor.end(held.spec, { _tag: "SUCCEEDED", outputs: {} })
        executor.report(executor.reportOf(held.spec, { _tag: "KILLED" }), MemberId.make("co-1"))
        assert.strictEqual((yield* alone.result).state, "SUCCEEDED")
      }))
  })
})
