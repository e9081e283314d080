import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Coordinator from "../../services/coordinator/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
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

layer(Broker.layer(), { timeout: 60_000, excludeTestServices: true })("schedules", (it) => {
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
      const ran = executor.ran.length
      clock.skip(60_000)
      const gone = yield* Effect.flip(get)
      assert.strictEqual(gone.code, "NoSuchSchedule")
      assert.strictEqual(executor.ran.length, ran)
      const spec = executor.ran[0]
      assert.match(spec?.instance ?? "", /^every5-\d{8}T\d{6}$/)
      assert.match(String(spec?.params["scheduledAt"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d[05]\.000Z$/)
      assert.strictEqual(spec?.with["day"], spec?.params["date"])
      assert.notStrictEqual(spec?.params["date"], "never")
    }))
})
