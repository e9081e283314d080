import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { HomeEntities } from "../../services/coordinator/HomeEntities.ts"
import * as ScheduleState from "../../services/coordinator/ScheduleState.ts"
import { open } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { PutSchedule, ScheduleStored } from "../../shared/protocol/Schedule.ts"
import { MemberId, SessionId } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"

const noSuch = (name: string) => new ContractError({ code: "NoSuchSchedule", message: name })
const request = Schema.decodeSync(PutSchedule)({
  metadata: { name: "nightly" },
  spec: { cron: "* * * * *", workflow: { definition: "report" } }
})
const minute = 60_000

/** What a coordinator with this session of the home shard holds; `session` may change. */
const owner = (member: string, session: { value: number | undefined }) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const nats = yield* open({ url: broker.url, name: member })
    yield* Streams.ensure(nats)
    return new HomeEntities({
      home: {
        nats,
        member: MemberId.make(member),
        shardCount: 4,
        sessionOf: () => session.value === undefined ? undefined : SessionId.make(session.value),
        ownerOf: () => undefined,
        now: () => 0,
        warn: () => undefined
      },
      kind: "schedule",
      schema: ScheduleStored,
      noSuch
    })
  })
const put = (current: ScheduleStored | undefined) => ScheduleState.put(current, request, 0)
const fireAt = (now: number) => (current: ScheduleStored | undefined) =>
  current === undefined
    ? Result.fail(noSuch("nightly"))
    : Result.map(ScheduleState.cadenceOf(current), (cadence) => ScheduleState.fire(current, cadence, now))

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("entities with a home shard", (it) => {
  it.effect("an owner that was replaced loses; what was decided before is what the next one finds", () =>
    Effect.gen(function*() {
      const old = yield* owner("old", { value: 5 })
      const next = yield* owner("next", { value: 9 })
      yield* old.modify("nightly", put)
      const decided = yield* old.modify("nightly", fireAt(minute))
      assert.deepStrictEqual([decided.pending, decided.by.session], [[minute], SessionId.make(5)])
      // the replacement does not decide anew: it finds the decision and confirms it, under its own session
      const found = yield* next.modify("nightly", fireAt(2 * minute))
      assert.deepStrictEqual(found.pending, [minute])
      const settled = yield* next.modify(
        "nightly",
        (current) =>
          current === undefined
            ? Result.fail(noSuch("nightly"))
            : Result.succeed(
              ScheduleState.settle(current, minute, { instanceId: ScheduleState.instanceOf("nightly", minute) })
            )
      )
      assert.deepStrictEqual([settled.started, settled.by.session], [1, SessionId.make(9)])
      const lost = yield* Effect.flip(old.modify("nightly", fireAt(3 * minute)))
      const gone = yield* Effect.flip(old.remove("nightly"))
      assert.deepStrictEqual([lost.code, gone.code], ["NotOwner", "NotOwner"])
      const left = yield* next.read("nightly")
      assert.deepStrictEqual([left.pending, left.started], [[], 1])
    }))

  it.effect("writers at the same time: each change is applied once; without a session nothing is written", () =>
    Effect.gen(function*() {
      const session: { value: number | undefined } = { value: 5 }
      const one = yield* owner("one", session)
      const two = yield* owner("two", session)
      yield* one.modify("count", (current) => put(current))
      const add = (of: typeof one) =>
        of.modify(
          "count",
          (current) =>
            current === undefined
              ? Result.fail(noSuch("count"))
              : Result.succeed({ ...current, skipped: current.skipped + 1 })
        )
      yield* Effect.all([add(one), add(two), add(one), add(two), add(one), add(two)], { concurrency: 6 })
      assert.strictEqual((yield* one.read("count")).skipped, 6)
      session.value = undefined
      assert.strictEqual((yield* Effect.flip(add(one))).code, "NotOwner")
      session.value = 6
      yield* one.remove("count")
      assert.strictEqual((yield* Effect.flip(one.read("count"))).code, "NoSuchSchedule")
      assert.strictEqual((yield* two.modify("count", put)).skipped, 0)
    }))
})
