import { assert, describe, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import * as Script from "./Script.ts"
import type { Passing } from "./Severable.ts"
import { SkippingClock } from "./SkippingClock.ts"
import { nextName, nobodyIsRegistered, publish, shards, Site, survive, takeOver, upcomingName } from "./Survival.ts"
import { type Case, coordinator, leaksNothing, type Running, task, until } from "./World.ts"

// design/conformance-workflow.md, section C.
const attemptsOf = (one: Case, name: string) =>
  Effect.map(one.taskView(name), ({ attempts }) => attempts.map(({ state }) => state))

describe("C. failover", () => {
  layer(Site.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("C01 RUNNING x SUBMITTED: dispatched once, SUCCEEDED", () =>
      survive(function*({ crash, executor, start }) {
        const one = yield* start("C01", { tasks: [task("a")] }, { a: Script.leave })
        yield* until("it is on the lane", Effect.sync(() => executor.emitted.get(`${one.id}/a:1:1`) === 1))
        yield* crash
        yield* until("it is emitted again", Effect.sync(() => executor.emitted.get(`${one.id}/a:1:1`) === 2))
        executor.take(one.id)
        yield* one.succeed("a")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1")
        assert.deepStrictEqual(one.ran(), ["a:1:1"])
      }))

    const takenOver = (name: string, state: "DISPATCHED" | "RUNNING") =>
      survive(function*({ crash, executor, start }) {
        const one = yield* start(name, { tasks: [task("a"), task("b", ["a"])] }, {
          a: state === "RUNNING" ? Script.hold : Script.holdQuietly
        })
        yield* one.reaches("a", state)
        yield* crash
        yield* until(
          "the new owner asks",
          Effect.sync(() => executor.controls.some(({ instance, kind }) => instance === one.id && kind === "ask"))
        )
        yield* one.succeed("a", { rows: 3 })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "b:1:1"])
      })
    it.effect("C02 RUNNING x DISPATCHED, executor alive: taken over, one attempt", () => takenOver("C02", "DISPATCHED"))
    it.effect("C03 RUNNING x RUNNING, executor alive: taken over, one attempt", () => takenOver("C03", "RUNNING"))

    const executorGone = (name: string, state: "DISPATCHED" | "RUNNING") =>
      survive(function*({ clock, crash, executor, start }) {
        const one = yield* start(name, { tasks: [task("a", [], { retry: { times: 1, interval: "1m" } })] }, {
          a: [state === "RUNNING" ? Script.hold : Script.holdQuietly, Script.fail(), Script.succeed()]
        })
        yield* one.reaches("a", state)
        executor.restart()
        yield* crash
        // the FAILOVER used up no retry: the failure after it is retried
        yield* one.reaches("a", "FAILED")
        clock.skip(60_000)
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(yield* attemptsOf(one, "a"), ["FAILOVER", "FAILED", "SUCCEEDED"])
      })
    it.effect("C04 RUNNING x DISPATCHED, executor gone: FAILOVER and a new attempt, no retry used up", () =>
      executorGone("C04", "DISPATCHED"))
    it.effect("C05 RUNNING x RUNNING, executor gone: FAILOVER and a new attempt, no retry used up", () =>
      executorGone("C05", "RUNNING"))

    it.effect("C06 RUNNING x SUCCEEDED: kept, goes on", () =>
      survive(function*({ crash, start }) {
        const one = yield* start("C06", { tasks: [task("a"), task("b"), task("c", ["a", "b"])] }, {
          a: Script.succeed({ x: 1 }),
          b: Script.hold
        })
        yield* one.reaches("a", "SUCCEEDED")
        yield* one.running("b")
        yield* crash
        yield* one.succeed("b")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual((yield* one.view).outputs, { x: 1 })
        assert.deepStrictEqual([...one.ran()].sort(), ["a:1:1", "b:1:1", "c:1:1"])
      }))

    it.effect("C07 RUNNING x FAILED: not run again, FAILED", () =>
      survive(function*({ crash, start }) {
        const one = yield* start("C07", { tasks: [task("a"), task("b"), task("c", ["a"])] }, {
          a: Script.fail("exit 7"),
          b: Script.hold
        })
        yield* one.reaches("a", "FAILED")
        yield* one.running("b")
        yield* crash
        yield* one.succeed("b")
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task a failed: exit 7")
        assert.strictEqual(yield* one.summary, "a:FAILED/1 b:SUCCEEDED/1 c:-/0")
      }))

    const ready = { pause: "READY_PAUSE", stop: "READY_STOP" } as const
    const rest = { pause: "PAUSED", stop: "STOPPED" } as const
    const settled = { pause: "PAUSED", stop: "KILLED" } as const
    /** A command settles what is SUBMITTED in the same turn: what is left to survive is the entry on the lane. */
    const submitted = (name: string, verb: "pause" | "stop") =>
      survive(function*({ crash, executor, first, mesh, start }) {
        const one = yield* start(name, { tasks: [task("a"), task("b")] }, { a: Script.leave, b: Script.holdDeaf })
        yield* one.running("b")
        yield* until("a is on the lane", Effect.sync(() => executor.lane.has(`${one.id}/a:1:1`)))
        const stale = executor.lane.get(`${one.id}/a:1:1`)
        yield* one.command(verb)
        assert.strictEqual((yield* one.view).state, ready[verb])
        const next = yield* crash
        if (stale === undefined) return assert.fail("nothing was on the lane")
        for (const owner of [first.name, (next as Running).name]) {
          executor.register({ ...stale, owner: MemberId.make(owner) })
        }
        yield* until(
          "both registrations are answered",
          Effect.sync(() =>
            executor.registered.filter(({ id, instance }) => instance === one.id && id === "a:1:1").length === 2
          )
        )
        yield* mesh.nats.flush
        yield* one.succeed("b")
        assert.strictEqual((yield* one.result).state, rest[verb])
        assert.strictEqual(yield* one.summary, `a:${settled[verb]}/1 b:SUCCEEDED/1`)
        assert.deepStrictEqual(one.ran(), ["b:1:1"])
      })
    it.effect("C08 READY_PAUSE x SUBMITTED: PAUSED", () => submitted("C08", "pause"))

    const commanded = (name: string, verb: "pause" | "stop") =>
      survive(function*({ crash, executor, mesh, start }) {
        const one = yield* start(name, { tasks: [task("a"), task("b", ["a"])] }, {
          a: Script.holdQuietlyPausable
        })
        yield* one.reaches("a", "DISPATCHED")
        executor.isReachable = false
        yield* mesh.nats.flush
        yield* one.command(verb)
        assert.strictEqual((yield* one.view).state, ready[verb])
        executor.isReachable = true
        yield* mesh.nats.flush
        const before = executor.controls.length
        yield* crash
        assert.strictEqual((yield* one.result).state, rest[verb])
        assert.strictEqual(yield* one.summary, `a:${settled[verb]}/1 b:-/0`)
        const kinds = executor.controls.slice(before).filter(({ instance }) => instance === one.id).map(({ kind }) =>
          kind
        )
        assert.include(kinds, verb === "stop" ? "kill" : "pause")
      })
    it.effect("C09 READY_PAUSE x DISPATCHED, executor alive: pause sent again, PAUSED", () => commanded("C09", "pause"))

    /** `a` has ended so before the crash, `b` still runs. */
    const ended = (
      name: string,
      verb: "pause" | "stop",
      cases: ReadonlyArray<readonly ["SUCCEEDED" | "FAILED" | "PAUSED" | "KILLED", string]>
    ) =>
      survive(function*({ crash, executor, start }) {
        const all: Array<readonly [Case, string, string]> = []
        for (const [state, expected] of cases) {
          const one = yield* start(name, { tasks: [task("a"), task("b")] }, {
            a: state === "PAUSED" || state === "KILLED" ? Script.holdPausable : Script.holdDeaf,
            b: Script.holdDeaf
          })
          yield* one.running("a")
          yield* one.running("b")
          yield* one.command(verb)
          if (state === "SUCCEEDED") yield* one.succeed("a")
          if (state === "FAILED") yield* one.fail("a")
          yield* one.reaches("a", state)
          assert.strictEqual((yield* one.view).state, ready[verb])
          all.push([one, state, expected])
        }
        yield* crash
        for (const [one, state, expected] of all) {
          yield* until(
            "the new owner repeats the command to what runs",
            Effect.sync(() => executor.controls.some(({ id, instance }) => instance === one.id && id === "b:1:1"))
          )
          yield* one.succeed("b")
          assert.strictEqual((yield* one.result).state, expected)
          assert.strictEqual(yield* one.summary, `a:${state}/1 b:SUCCEEDED/1`)
        }
      })
    it.effect("C10 READY_PAUSE x SUCCEEDED, FAILED, PAUSED", () =>
      ended("C10", "pause", [["SUCCEEDED", "SUCCEEDED"], ["FAILED", "FAILED"], ["PAUSED", "PAUSED"]]))
    it.effect("C11 READY_STOP x SUBMITTED: KILLED, STOPPED", () => submitted("C11", "stop"))
    it.effect("C12 READY_STOP x DISPATCHED, executor alive: kill sent again", () => commanded("C12", "stop"))
    it.effect("C13 READY_STOP x SUCCEEDED, FAILED, KILLED", () =>
      ended("C13", "stop", [["SUCCEEDED", "SUCCEEDED"], ["FAILED", "FAILED"], ["KILLED", "STOPPED"]]))

    it.effect("B18 recover from another coordinator", () =>
      survive(function*({ crash, start }) {
        const one = yield* start("B18", { tasks: [task("a"), task("b"), task("c", ["a", "b"])] }, {
          b: [Script.fail(), Script.succeed()]
        })
        assert.strictEqual((yield* one.result).state, "FAILED")
        yield* crash
        yield* one.command("recover")
        yield* one.workflowReaches("SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/1")
        assert.deepStrictEqual([...one.ran()].sort(), ["a:1:1", "b:1:1", "b:1:2", "c:1:1"])
      }))

    it.effect("C19 a zombie owner writes after the take-over: refused, nothing changed", () =>
      survive(function*({ clock, crash, first, start }) {
        const one = yield* start("C19", { tasks: [task("a", [], { retry: { times: 3, interval: "30s" } })] }, {
          a: [Script.fail(), Script.hold]
        })
        yield* one.reaches("a", "FAILED")
        yield* crash
        // both believe that they own it, and the retry is due at both
        first.mend()
        clock.skip(31_000)
        yield* until(
          "the zombie's append was refused",
          Effect.sync(() => first.logs.some((line) => line.includes("was sealed by another coordinator")))
        )
        yield* one.running("a")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "a:1:2"])
        yield* one.succeed("a")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(yield* attemptsOf(one, "a"), ["FAILED", "SUCCEEDED"])
        const entries = yield* one.history
        assert.deepStrictEqual(entries.map(({ entry }) => entry.n), entries.map((_, i) => i + 1))
        yield* first.stop
      }))

    it.effect("C20 retry timer of 30 s, 20 s gone, crash: fires after 10 s", () =>
      survive(function*({ clock, crash, start }) {
        const one = yield* start("C20", { tasks: [task("a", [], { retry: { times: 1, interval: "30s" } })] }, {
          a: [Script.fail(), Script.succeed()]
        })
        yield* one.reaches("a", "FAILED")
        const failedAt = Date.parse((yield* one.taskView("a")).attempts[0]?.endedAt ?? "")
        clock.skipTo(failedAt + 20_000)
        const next = (yield* crash) as Running
        yield* until(
          "the timer is armed again",
          Effect.sync(() => next.stats().timers.some((key) => key.includes("retry:")) || one.ran().length > 1)
        )
        clock.skipTo(failedAt + 27_000)
        const early = yield* attemptsOf(one, "a")
        // a slow machine may have taken the rest of the time by itself
        if (clock.currentTimeMillisUnsafe() < failedAt + 30_000) assert.deepStrictEqual(early, ["FAILED"], "too early")
        clock.skipTo(failedAt + 30_000)
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        const { attempts } = yield* one.taskView("a")
        const waited = Date.parse(attempts[1]?.submittedAt ?? "") - Date.parse(attempts[0]?.endedAt ?? "")
        // 20 s and the whole interval once more, if it had been armed anew
        assert.isTrue(waited >= 29_900 && waited < 50_000, `waited ${waited} ms`)
      }))

    it.effect("C21 time-out and delay likewise", () =>
      survive(function*({ clock, crash, start }) {
        const begun = clock.currentTimeMillisUnsafe()
        const late = yield* start("C21", { tasks: [task("a", [], { delay: "30s" })] })
        const slow = yield* start("C21", { tasks: [task("a", [], { timeout: { after: "30s" } })] }, { a: Script.hold })
        yield* late.reaches("a", "DELAY_EXECUTION")
        yield* slow.reaches("a", "RUNNING")
        const running = clock.currentTimeMillisUnsafe()
        clock.skipTo(running + 20_000)
        const next = (yield* crash) as Running
        yield* until(
          "both timers are armed again",
          Effect.sync(() =>
            next.stats().timers.filter((key) => /delay:|timeout:/.test(key)).length === 2 ||
            clock.currentTimeMillisUnsafe() >= begun + 30_000
          )
        )
        clock.skipTo(begun + 27_000)
        const early = [(yield* late.taskView("a")).state, (yield* slow.taskView("a")).intent]
        // a slow machine may have taken the rest of the time by itself
        if (clock.currentTimeMillisUnsafe() < begun + 30_000) {
          assert.deepStrictEqual(early, ["DELAY_EXECUTION", undefined], "too early")
        }
        clock.skipTo(running + 30_000)
        assert.strictEqual((yield* late.result).state, "SUCCEEDED")
        assert.strictEqual((yield* slow.result).reason, "task a failed: timed out after 30s")
      }))

    it.effect("C22 an executor cut off, superseded, comes back with SUCCEEDED: refused, told to kill", () =>
      survive(function*({ executor, first, mesh, start }) {
        const one = yield* start("C22", { tasks: [task("a")] }, { a: Script.holdDeaf })
        const { spec } = yield* one.running("a")
        const old = executor.reportOf(spec, { _tag: "SUCCEEDED", outputs: { from: "the old one" } })
        yield* Effect.orDie(publish(mesh, {
          _tag: "WORKER_FAILOVER",
          id: `worker/${executor.startup}`,
          at: 0,
          member: executor.member,
          startup: executor.startup,
          cause: "test"
        }))
        executor.restart()
        yield* until("a new attempt runs", Effect.sync(() => one.ran().includes("a:1:2")))
        executor.report(old, MemberId.make(first.name))
        // Superseded is what tells an executor to kill the attempt and give its sandbox back
        yield* until(
          "it is refused",
          Effect.sync(() => executor.reported.some(({ id, outcome }) => id === "a:1:1" && outcome === "Superseded"))
        )
        assert.strictEqual((yield* one.view).state, "RUNNING")
        yield* one.succeed("a", { from: "the new one" })
        assert.deepStrictEqual((yield* one.result).outputs, { from: "the new one" })
        assert.deepStrictEqual(yield* attemptsOf(one, "a"), ["FAILOVER", "SUCCEEDED"])
      }))

    it.effect("C24 duplicate, late and reordered reports, in all permutations: the same final state", () =>
      survive(function*({ executor, first, start }) {
        const owner = MemberId.make(first.name)
        const steps = ["register", "RUNNING", "RUNTIME_CONTEXT_CHANGED", "SUCCEEDED", "SUCCEEDED again"] as const
        const permutations = <A>(list: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
          list.length === 0
            ? [[]]
            : list.flatMap((head, i) => permutations(list.filter((_, k) => k !== i)).map((tail) => [head].concat(tail)))
        const one = (order: ReadonlyArray<typeof steps[number]>) =>
          Effect.gen(function*() {
            const run = yield* start("C24", { tasks: [task("a"), task("b", ["a"])] }, { a: Script.leave })
            const label = order.join(", ")
            const key = `${run.id}/a:1:1`
            yield* until("it is on the lane", Effect.sync(() => executor.lane.has(key)))
            const waiting = executor.lane.get(key)
            if (waiting === undefined) return assert.fail(label)
            executor.lane.delete(key)
            const spec = { shard: waiting.shard, instance: run.id, taskInstanceId: waiting.entry.taskInstanceId }
            const running = executor.reportOf(spec, { _tag: "RUNNING" })
            const context = executor.reportOf(spec, { _tag: "RUNTIME_CONTEXT_CHANGED", context: { pid: 1 } })
            const success = executor.reportOf(spec, { _tag: "SUCCEEDED", outputs: { x: 1 } })
            const before = executor.reported.length
            for (const step of order) {
              if (step === "register") executor.register(waiting)
              else if (step === "RUNNING") executor.report(running, owner)
              else if (step === "RUNTIME_CONTEXT_CHANGED") executor.report(context, owner)
              else executor.report(success, owner)
            }
            assert.strictEqual((yield* run.result).state, "SUCCEEDED", label)
            assert.strictEqual(yield* run.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1", label)
            assert.deepStrictEqual((yield* run.view).outputs, { x: 1 }, label)
            yield* until("all are answered", Effect.sync(() => executor.reported.length >= before + 5))
            executor.held.delete(key)
          })
        for (const order of permutations(steps)) yield* one(order)
      }))

    it.effect("C25 two coordinators start the same instance: one instance", () =>
      survive(function*({ executor, first, mesh }) {
        const second = yield* coordinator(nextName(), { clock: first.clock })
        yield* until(
          "shards are shared",
          Effect.sync(() =>
            first.stats().shards + second.stats().shards === shards && second.stats().shards > 0 || undefined
          )
        )
        const inline = { metadata: { name: "C25" }, spec: { tasks: [task("a")] } }
        for (let i = 0; i < 8; i++) {
          const instanceId = `C25-${first.name}-${i}`
          const subject = Subject.rpc.workflow("start")
          const answers = yield* Effect.forEach(
            [first.name, second.name, first.name, second.name],
            (name) =>
              Effect.result(
                Rpc.call(mesh.nats, Subject.forwarded(MemberId.make(name), subject), StartAnswer, {
                  inline,
                  instanceId
                })
              ),
            { concurrency: 4 }
          )
          // whoever does not own it says so; nobody starts it twice
          assert.isTrue(answers.some((answer) => answer._tag === "Success"))
          for (const answer of answers) {
            if (answer._tag === "Success") assert.strictEqual(answer.success.instanceId, instanceId)
            else assert.strictEqual(answer.failure.code, "NotOwner")
          }
          const one = mesh.of(InstanceId.make(instanceId))
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
          assert.deepStrictEqual(executor.ranOf(one.id), ["a:1:1"])
        }
        yield* second.stop
        yield* until("the first has everything back", Effect.sync(() => first.stats().shards === shards))
      }))

    it.effect("C26 no task runs twice after a pure coordinator crash", () =>
      survive(function*({ crash, executor, first, start }) {
        const diamond = [task("a"), task("b", ["a"]), task("c", ["a"]), task("d", ["b", "c"])]
        const plans: ReadonlyArray<Script.Plan> = [
          { a: Script.hold },
          { a: Script.leave },
          { b: Script.hold, c: Script.holdQuietly },
          { b: Script.leave, c: Script.hold },
          { d: Script.hold }
        ]
        const all: Array<Case> = []
        for (const plan of [...plans, ...plans]) {
          const one = yield* start("C26", { tasks: diamond }, plan)
          all.push(one)
          for (const [name, act] of Object.entries(plan)) {
            yield* until(
              `${name} is where it should be`,
              Effect.sync(() =>
                act === Script.leave
                  ? executor.lane.has(`${one.id}/${name}:1:1`)
                  : executor.of(one.id, name) !== undefined
              )
            )
          }
        }
        first.cut()
        executor.isGone(first.name)
        // half of what runs ends while there is no owner: the durable inbox has it, and the executor forgets it
        const ending = [...executor.held.values()].filter((_, i) => i % 2 === 0)
        const stored = executor.reported.length + ending.length
        for (const { spec } of ending) executor.end(spec, { _tag: "SUCCEEDED", outputs: {} })
        yield* until("the inbox has them", Effect.sync(() => executor.reported.length >= stored))
        yield* crash
        for (let i = 0; i < 1_000 && all.some((one) => !one.log().includes("end d")); i++) {
          executor.take()
          for (const { spec } of executor.held.values()) executor.end(spec, { _tag: "SUCCEEDED", outputs: {} })
          yield* Effect.sleep(5)
          if (i % 20 === 19) first.clock.skip(1_000)
        }
        for (const one of all) {
          assert.strictEqual((yield* one.result).state, "SUCCEEDED")
          assert.deepStrictEqual(one.ran().map((id) => id.slice(0, 1)).sort(), ["a", "b", "c", "d"])
          assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1 c:SUCCEEDED/1 d:SUCCEEDED/1")
        }
      }))

    it.effect("C18 a crash at every point: the result is as without it", () =>
      Effect.gen(function*() {
        const { mesh } = yield* Site
        const { executor } = mesh
        const clock = new SkippingClock(yield* Clock.Clock)
        executor.now = () => clock.currentTimeMillisUnsafe()
        /** Messages of one run that are about it: not the registry's, not what reads the log. */
        const concerns = (id: string, { body, subject }: Passing): boolean =>
          subject.includes(id) || body.includes(id) || subject.startsWith("heddle.journal.")
        let count = 0
        let cutAt = 0
        let watched = ""
        let where = ""
        let serving = ""
        /** For the coordinator that is made next. */
        const makeProbe = () => {
          const name = upcomingName()
          return (passing: Passing): boolean => {
            if (watched === "" || name !== serving || !concerns(watched, passing)) return false
            if (++count !== cutAt) return false
            where = `${passing.direction} ${passing.subject}`
            return true
          }
        }
        yield* nobodyIsRegistered(mesh)
        const onMessage = makeProbe()
        let running = yield* coordinator(nextName(), { clock, onMessage })
        serving = running.name
        yield* until("it serves all shards", Effect.sync(() => running.stats().shards === shards))
        const points: Array<string> = []
        for (cutAt = 1;; cutAt++) {
          count = 0
          where = ""
          const id = `C18-${cutAt}-of-many`
          executor.plan(id, { a: Script.succeed({ x: 1 }), b: Script.fail("exit 4"), c: Script.succeed({ y: 2 }) })
          watched = id
          const inline = {
            metadata: { name: "C18" },
            spec: { tasks: [task("a"), task("b", ["a"]), task("c", ["b"], { join: "all_done" })] }
          }
          // the client asks until it is answered; a repeated start is the same start
          const client = Effect.gen(function*() {
            for (;;) {
              const answer = yield* Effect.option(
                Rpc.call(mesh.nats, Subject.rpc.workflow("start"), StartAnswer, { inline, instanceId: id }, {
                  timeoutMs: 300
                })
              )
              if (answer._tag === "Some") return
              yield* Effect.sleep(5)
            }
          })
          const one = mesh.of(InstanceId.make(id))
          const asking = yield* Effect.forkChild(client)
          yield* until(
            `crash at ${cutAt} survived`,
            Effect.gen(function*() {
              if (running.isCut()) {
                watched = ""
                running = yield* takeOver(mesh, running, makeProbe())
                serving = running.name
              }
              const { live, shards: served, unprojected } = running.stats()
              return one.log().includes("end c") && served === shards && live === 0 && unprojected === 0
            })
          )
          watched = ""
          yield* Fiber.join(asking)
          const label = `crash at ${cutAt}: ${where}`
          const result = yield* one.result
          assert.strictEqual(result.state, "FAILED", label)
          assert.strictEqual(result.reason, "task b failed: exit 4", label)
          assert.deepStrictEqual(result.outputs, { x: 1, y: 2 }, label)
          const log = one.log()
          for (const name of ["a", "b", "c"]) {
            assert.strictEqual(log.filter((line) => line === `begin ${name}`).length, 1, `${label}: ${name} ran once`)
          }
          yield* leaksNothing(running)
          if (where === "") break
          points.push(where)
        }
        yield* mesh.streamsAreEmpty
        assert.isAbove(points.length, 12, "START, three registrations, three facts and what follows from them")
      }), { timeout: 180_000 })
  })
})
