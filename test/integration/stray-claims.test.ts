/** Durable claims that no pool will read: to pools that are not there, that were deleted, or that have no name (services/pool-scheduler/StrayClaims.ts). */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Append from "../../shared/jetstream/Append.ts"
import { ask } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ClaimResult } from "../../shared/protocol/Claim.ts"
import { Deleted } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { apply, claim, connect, pool, quick, scheduler, until } from "./PoolSchedulers.ts"

const published = (nats: Connection, subject: string, body: string, headers: Readonly<Record<string, string>> = {}) =>
  Append.publish(nats, subject, body, { headers })
const resultOn = (nats: Connection, subject: string) =>
  until(Read.lastMessage(nats, Streams.name.results, subject), Option.isSome).pipe(
    Effect.map((found) => Option.match(found, { onNone: () => undefined, onSome: ({ text }) => JSON.parse(text) }))
  )
const waiting = (nats: Connection) =>
  Effect.map(
    ask<{ readonly state: { readonly messages: number } }>(nats, `STREAM.INFO.${Streams.name.claims}`, {}),
    ({ state }) => state.messages
  )

layer(Broker.layer(), { timeout: "180 seconds", excludeTestServices: true })("claims that no pool reads", (it) => {
  it.effect("each is answered on its result subject and to Heddle-Reply-To, and leaves the stream", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* Streams.ensure(nats)
      // Before anybody lives who could hear it.
      yield* published(nats, Subject.claim(pool("stray-early")), "{}", { "Nats-Msg-Id": "early" })
      yield* scheduler("ps-strays")
      const early = yield* resultOn(nats, "heddle.pool.default.stray-early.result.early")
      assert.deepStrictEqual([early.claimId, early.outcome, early.error.code], ["early", "NoSuchPool", "NoSuchPool"])

      const told: Array<string> = []
      yield* nats.subscribe("stray.answers", ({ text }) => told.push(JSON.parse(text).outcome))
      const replyTo = { "Heddle-Reply-To": "stray.answers" }
      yield* published(nats, Subject.claim(pool("stray-late")), "{\"claimId\":\"late\"}", replyTo)
      assert.strictEqual(
        (yield* resultOn(nats, "heddle.pool.default.stray-late.result.late")).outcome,
        "NoSuchPool"
      )
      const { sequence } = yield* published(nats, Subject.claim(pool("stray-late")), "nonsense", replyTo)
      const malformed = yield* resultOn(nats, `heddle.pool.default.stray-late.result.d${sequence}`)
      assert.deepStrictEqual([malformed.outcome, malformed.error.code], ["Invalid", "InvalidJson"])
      yield* published(nats, "heddle.pool.de$fault.p.claim", "{\"claimId\":\"odd\"}", replyTo)
      const odd = yield* resultOn(nats, "heddle.pool.de$fault.p.result.odd")
      assert.deepStrictEqual([odd.outcome, odd.error.code, odd.error.details], ["Invalid", "InvalidName", {
        name: "de$fault"
      }])
      yield* until(Effect.sync(() => told.length), (count) => count === 3)
      assert.deepStrictEqual(told, ["NoSuchPool", "Invalid", "Invalid"])
      yield* until(waiting(nats), (count) => count === 0)
    }))

  it.effect("one that waits in a pool that is deleted is answered, and keeps its answer; a pool made later reads its own", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-strays-2")
      const of = yield* apply(nats, "stray-gone", { ...quick, size: 1 })
      assert.strictEqual((yield* claim(nats, of)).outcome, "Claimed")
      yield* published(nats, Subject.claim(of), "{\"claimId\":\"w\",\"deadline\":\"1h\"}")
      yield* Rpc.call(nats, Subject.rpc.pools("delete"), Deleted, { name: of.name })
      const result = yield* resultOn(nats, "heddle.pool.default.stray-gone.result.w")
      assert.include(["NoSuchPool", "ShuttingDown"], result.outcome)
      yield* until(waiting(nats), (count) => count === 0)
      yield* apply(nats, "stray-gone", { ...quick, size: 1 })
      yield* published(nats, Subject.claim(of), "{\"claimId\":\"new\"}")
      assert.strictEqual((yield* resultOn(nats, "heddle.pool.default.stray-gone.result.new")).outcome, "Claimed")
      // Answered while the pool was not there: the same id is the same claim.
      assert.strictEqual(
        (yield* Rpc.call(nats, Subject.rpc.pool(of, "claim"), ClaimResult, { claimId: "w" })).outcome,
        result.outcome
      )
    }))
})
