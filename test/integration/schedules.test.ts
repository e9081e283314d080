import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { parse } from "yaml"
import * as Coordinator from "../../services/coordinator/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { BackfillList, BackfillView } from "../../shared/protocol/Backfill.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import { Deleted, ScheduleList, SchedulePreview, ScheduleView } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { SkippingClock } from "../conformance/SkippingClock.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))

/** A coordinator under a clock that the test may skip. */
const coordinator = (name: string, clock: SkippingClock) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    const connection = yield* Scope.provide(open({ url: broker.url, name }), scope) // keeps the live clock
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 8, ttlMs: 30_000 }).pipe(
        Layer.provide(Layer.succeed(Nats, connection))
      ),
      scope
    ).pipe(Effect.provideService(Clock.Clock, clock))
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { stop: Scope.close(scope, Exit.void) }
  })
const skipping = Effect.map(Clock.Clock, (live) => new SkippingClock(live))

const call = <A, I>(
  nats: Connection,
  verb: Subject.ScheduleVerb,
  answer: Schema.Codec<A, I>,
  body: Record<string, unknown>
) => Rpc.call(nats, Subject.rpc.schedule(verb), answer, body)

/** Until `look` holds, looked at as the event loop goes round; the test's time-out bounds it. */
const until = <A, E>(look: Effect.Effect<A, E>, holds: (value: A) => boolean): Effect.Effect<A, E> =>
  Effect.flatMap(
    look,
    (value) => holds(value) ? Effect.succeed(value) : Effect.andThen(Effect.sleep("5 millis"), until(look, holds))
  )

const report = {
  metadata: { name: "report" },
  spec: { params: { date: "never" }, tasks: [{ name: "a", type: "noop", with: { day: "${{ params.date }}" } }] }
}
const schedule = (name: string, spec: Record<string, unknown>) => ({
  metadata: { name },
  spec: { cron: "0 * * * *", workflow: { definition: "report" }, ...spec }
})
const hour = 3_600_000

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("schedules", (it) => {
  it.effect("B25 cron every 5 s, at least 3, then off; the time params reach the task", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const clock = yield* skipping
      yield* coordinator("co-s1", clock)
      const executor = yield* ScriptedExecutor.make(nats, "ex-s1", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, report)
      const view = yield* call(nats, "put", ScheduleView, schedule("every5", { cron: "*/5 * * * * *" }))
      assert.strictEqual(view.state, "Active")
      const get = call(nats, "get", ScheduleView, { name: "every5" })
      for (let n = 1; n <= 3; n++) {
        clock.skip(5_000)
        yield* until(get, ({ pending, started }) => started >= n && pending.length === 0)
      }
      yield* until(Effect.sync(() => executor.ran.length), (ran) => ran >= 3)
      const off = yield* call(nats, "delete", Deleted, { name: "every5" })
      assert.isTrue(off.deleted)
      const deletedAt = clock.currentTimeMillisUnsafe()
      clock.skip(60_000)
      const gone = yield* Effect.flip(get)
      assert.strictEqual(gone.code, "NoSuchSchedule")
      // a firing of just before may still run
      for (const { params } of executor.ran) assert.isAtMost(Date.parse(String(params["scheduledAt"])), deletedAt)
      const spec = executor.ran[0]
      assert.match(spec?.instance ?? "", /^every5-\d{8}T\d{6}$/)
      assert.match(String(spec?.params["scheduledAt"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d[05]\.000Z$/)
      assert.strictEqual(spec?.with["day"], spec?.params["date"])
      assert.notStrictEqual(spec?.params["date"], "never")
    }))

  it.effect("B26 missed firings: after an hour without a coordinator, each catch-up policy; a second coordinator takes over", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const clock = yield* skipping
      const first = yield* coordinator("co-s2", clock)
      const executor = yield* ScriptedExecutor.make(nats, "ex-s2", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, report)
      // the hour does not end in the test's first seconds
      clock.skip(hour - (clock.currentTimeMillisUnsafe() % hour) + hour / 2)
      const policies = ["all", "last", "none"] as const
      for (const catchUp of policies) {
        yield* call(nats, "put", ScheduleView, schedule(`missed-${catchUp}`, { cron: "0 0 * * * *", catchUp }))
      }
      yield* first.stop
      const now = clock.currentTimeMillisUnsafe()
      // to half past an hour, after four full hours
      clock.skip(hour - (now % hour) + 3.5 * hour)
      const second = yield* coordinator("co-s3", clock)
      const settled = (name: string) =>
        until(
          call(nats, "get", ScheduleView, { name }).pipe(
            Effect.retry({ times: 1_200, schedule: Schedule.spaced("50 millis") })
          ),
          (view) => view.pending.length === 0 && view.started + view.skipped === 4
        )
      const views = yield* Effect.forEach(policies, (catchUp) => settled(`missed-${catchUp}`))
      assert.deepStrictEqual(views.map(({ skipped, started }) => [started, skipped]), [[4, 0], [1, 3], [0, 4]])
      const instances = () => [...new Set(executor.ran.map((spec) => spec.instance))].toSorted()
      yield* until(Effect.sync(instances), (ran) => ran.length >= 5)
      assert.deepStrictEqual(
        instances().map((id) => id.replace(/-\d{8}T/, "-")).map((id) => id.replace(/\d{2}0000$/, "")),
        [
          "missed-all-",
          "missed-all-",
          "missed-all-",
          "missed-all-",
          "missed-last-"
        ]
      )
      const before = instances().length
      yield* second.stop
      clock.skip(hour)
      yield* coordinator("co-s4", clock)
      yield* until(
        call(nats, "get", ScheduleView, { name: "missed-all" }).pipe(
          Effect.retry({ times: 1_200, schedule: Schedule.spaced("50 millis") })
        ),
        (view) => view.started === 5
      )
      yield* until(Effect.sync(instances), (ran) => ran.length >= before + 2)
      for (const catchUp of policies) yield* call(nats, "delete", Deleted, { name: `missed-${catchUp}` })
    }))

  it.effect("pause, resume, trigger, preview, list; two coordinators answer alike", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const clock = yield* skipping
      yield* coordinator("co-s5", clock)
      yield* coordinator("co-s6", clock)
      const executor = yield* ScriptedExecutor.make(nats, "ex-s5", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, report)
      const names = ["a", "b", "c", "d"].map((name) => `pauses-${name}`)
      for (const name of names) {
        const spec = { cron: "0 9 * * *", timezone: "Europe/Berlin" }
        yield* call(nats, "put", ScheduleView, schedule(name, spec)).pipe(
          Effect.retry({ times: 1_200, schedule: Schedule.spaced("50 millis") })
        )
        const paused = yield* call(nats, "pause", ScheduleView, { name, reason: "holiday" })
        assert.deepStrictEqual([paused.state, paused.reason], ["Paused", "holiday"])
      }
      clock.skip(48 * hour)
      for (const name of names) {
        const preview = yield* call(nats, "preview", SchedulePreview, {
          name,
          after: "2026-03-28T12:00:00Z",
          count: 2
        })
        assert.deepStrictEqual(preview.times.map(({ at }) => at), [
          "2026-03-29T07:00:00.000Z",
          "2026-03-30T07:00:00.000Z"
        ])
        const resumed = yield* call(nats, "resume", ScheduleView, { name })
        assert.deepStrictEqual([resumed.state, resumed.started, resumed.skipped], ["Active", 0, 0])
        const { instanceId } = yield* call(nats, "trigger", StartAnswer, {
          name,
          scheduledAt: "2026-03-29T07:00:00Z",
          params: { extra: "x" }
        })
        assert.strictEqual(instanceId, `${name}-20260329T070000`)
        assert.strictEqual(preview.times[0]?.instanceId, instanceId)
        yield* until(
          Effect.sync(() => executor.ran.find((spec) => spec.instance === instanceId)),
          (spec) => spec !== undefined
        )
        const view = yield* Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
        assert.deepStrictEqual(
          [view.params["date"], view.params["previous"], view.params["extra"]],
          ["2026-03-29", "2026-03-28T08:00:00.000Z", "x"]
        )
      }
      const list = yield* until(
        call(nats, "list", ScheduleList, {}),
        ({ items }) => items.filter(({ state }) => state === "Active").length === 4
      )
      assert.deepStrictEqual(list.items.map(({ name }) => String(name)), names)
      const page = yield* call(nats, "list", ScheduleList, { limit: 3 })
      const rest = yield* call(nats, "list", ScheduleList, { limit: 3, next: page.next })
      assert.deepStrictEqual([page.items.length, rest.items.length, rest.next], [3, 1, undefined])
      for (const name of names) yield* call(nats, "delete", Deleted, { name })
    }))

  it.effect("what can't be: a wrong cron, an unknown name, a definition that is not there", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const clock = yield* skipping
      yield* coordinator("co-s7", clock)
      const wrong = yield* Effect.flip(call(nats, "put", ScheduleView, schedule("wrong", { cron: "61 * * * *" })))
      assert.deepStrictEqual([wrong.code, wrong.path], ["InvalidMessage", "spec.cron"])
      const long = yield* Effect.flip(call(nats, "put", ScheduleView, schedule("x".repeat(41), {})))
      assert.strictEqual(long.path, "metadata.name")
      const unknown = yield* Effect.flip(call(nats, "pause", ScheduleView, { name: "nobody" }))
      assert.strictEqual(unknown.code, "NoSuchSchedule")
      yield* call(
        nats,
        "put",
        ScheduleView,
        schedule("lost", { cron: "* * * * * *", workflow: { definition: "not-there" } })
      )
      clock.skip(1_000)
      const view = yield* until(
        call(nats, "get", ScheduleView, { name: "lost" }),
        ({ problem }) => problem !== undefined
      )
      assert.deepStrictEqual([view.problem?.code, view.started], ["NoSuchDefinition", 0])
      yield* call(nats, "delete", Deleted, { name: "lost" })
    }))
})

const startBackfill = (nats: Connection, name: string, spec: Record<string, unknown>) =>
  Rpc.call(nats, Subject.rpc.backfill("start"), BackfillView, {
    metadata: { name },
    spec: { from: "2026-11-20", to: "2026-11-23", workflow: { definition: "report" }, ...spec }
  })
const backfillOf = (nats: Connection, name: string) =>
  Rpc.call(nats, Subject.rpc.backfill("get"), BackfillView, { name }).pipe(
    Effect.retry({ times: 1_200, schedule: Schedule.spaced("50 millis") })
  )

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("backfills", (it) => {
  it.effect("B22 4 dates ascending; B23 parallel 2; B24 a failed date with stop and with skip", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-b1", yield* skipping)
      const executor = yield* ScriptedExecutor.make(nats, "ex-b1", (spec) => {
        return /fails-.*-20261121$/.test(spec.instance)
          ? { _tag: "FAILED", reason: "exit 1" }
          : { _tag: "SUCCEEDED", outputs: {} }
      })
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, report)
      const datesOf = (name: string) =>
        executor.ran.filter((spec) => spec.instance.startsWith(`${name}-2026`)).map((spec) => spec.with["day"])
      const end = (name: string) => until(backfillOf(nats, name), ({ endedAt }) => endedAt !== undefined)

      yield* startBackfill(nats, "asc", {})
      const ascending = yield* end("asc")
      assert.deepStrictEqual([ascending.state, ascending.succeeded], ["Succeeded", 4])
      assert.deepStrictEqual(datesOf("asc"), ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"])
      const again = yield* startBackfill(nats, "asc", {})
      assert.strictEqual(again.state, "Succeeded")
      const other = yield* Effect.flip(startBackfill(nats, "asc", { parallelism: 2 }))
      assert.strictEqual(other.code, "Conflict")

      yield* startBackfill(nats, "desc", { order: "descending", parallelism: 2 })
      const descending = yield* end("desc")
      assert.strictEqual(descending.state, "Succeeded")
      assert.deepStrictEqual(datesOf("desc").toSorted(), datesOf("asc"))

      yield* startBackfill(nats, "fails-stop", {})
      const stopped = yield* end("fails-stop")
      assert.deepStrictEqual(
        [stopped.state, stopped.succeeded, stopped.started, stopped.failed.map(({ instanceId }) => String(instanceId))],
        ["Failed", 1, 2, ["fails-stop-20261121"]]
      )
      yield* startBackfill(nats, "fails-skip", { onFailure: "skip" })
      const skipped = yield* end("fails-skip")
      assert.deepStrictEqual([skipped.state, skipped.succeeded, skipped.started], ["Failed", 3, 4])
      assert.deepStrictEqual(skipped.failed.map(({ state }) => state), ["FAILED"])
      const list = yield* until(
        Rpc.call(nats, Subject.rpc.backfill("list"), BackfillList, {}),
        ({ items }) => items.length === 4
      )
      assert.deepStrictEqual(list.items.map(({ name }) => String(name)), ["asc", "desc", "fails-skip", "fails-stop"])
    }))

  it.effect("its coordinator goes in the middle, another goes on: each date runs once; then it is stopped with its runs", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const clock = yield* skipping
      const first = yield* coordinator("co-b2", clock)
      const executor = yield* ScriptedExecutor.make(nats, "ex-b2", () => undefined)
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, report)
      yield* startBackfill(nats, "moved", { parallelism: 2 })
      yield* until(Effect.sync(() => executor.ran.length), (ran) => ran === 2)
      yield* first.stop
      yield* coordinator("co-b3", clock)
      const report1 = executor.ran[0]
      assert.isDefined(report1)
      if (report1 === undefined) return
      executor.report(report1, MemberId.make("co-b3"), { _tag: "SUCCEEDED", outputs: {} })
      yield* until(Effect.sync(() => executor.ran.length), (ran) => ran === 3)
      const middle = yield* until(backfillOf(nats, "moved"), ({ succeeded }) => succeeded === 1)
      assert.deepStrictEqual(middle.running.map(({ instanceId }) => String(instanceId)).length, 2)
      const stopping = yield* Rpc.call(nats, Subject.rpc.backfill("stop"), BackfillView, {
        name: "moved",
        stopRuns: true
      })
      assert.strictEqual(stopping.state, "Stopping")
      const stopped = yield* until(backfillOf(nats, "moved"), ({ endedAt }) => endedAt !== undefined)
      assert.deepStrictEqual([stopped.state, stopped.started, stopped.succeeded], ["Stopped", 3, 1])
      assert.strictEqual(new Set(executor.ran.map((spec) => spec.instance)).size, 3)
      assert.strictEqual(executor.ran.length, 3, "no date ran twice")
    }))

  it.effect("the examples: examples/schedule.yaml and examples/backfill.yaml with examples/dated-report.yaml", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-b4", yield* skipping)
      const executor = yield* ScriptedExecutor.make(nats, "ex-b4", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const example = (name: string): Record<string, unknown> =>
        parse(readFileSync(new URL(`../../examples/${name}.yaml`, import.meta.url), "utf8"))
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, example("dated-report"))
      const stored = yield* call(nats, "put", ScheduleView, example("schedule"))
      assert.strictEqual(stored.state, "Active")
      const { instanceId } = yield* call(nats, "trigger", StartAnswer, { name: stored.name })
      yield* Rpc.call(nats, Subject.rpc.backfill("start"), BackfillView, example("backfill"))
      const ended = yield* until(backfillOf(nats, "reports-of-november"), ({ endedAt }) => endedAt !== undefined)
      assert.deepStrictEqual([ended.state, ended.succeeded], ["Succeeded", 4])
      yield* until(Effect.sync(() => executor.ran.length), (ran) => ran === 5)
      assert.deepStrictEqual(
        executor.ran.filter((spec) => spec.instance !== instanceId).map((spec) => spec.params["date"]).toSorted(),
        ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
      )
      yield* call(nats, "delete", Deleted, { name: stored.name })
    }))
})
