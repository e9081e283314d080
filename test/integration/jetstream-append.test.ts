import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

const connect = (name: string) => Nats.open({ url: broker.url, name })
const acked = (outcome: Append.AppendOutcome): number => {
  assert.strictEqual(outcome._tag, "Acked")
  return outcome._tag === "Acked" ? outcome.sequence : 0
}

describe("Append", () => {
  it.live("a second writer fences the first one, whose late append is refused with the last sequence", () =>
    Effect.gen(function*() {
      const first = yield* connect("first")
      const second = yield* connect("second")
      yield* Streams.ensure(first)
      const subject = "heddle.journal.fencing"
      const one = acked(yield* Append.append(first, subject, "1", 0))
      const two = acked(yield* Append.append(first, subject, "2", one))
      const seal = acked(yield* Append.append(second, subject, "seal", two))
      assert.deepStrictEqual(yield* Append.append(first, subject, "late", two), { _tag: "Fenced", lastSequence: seal })
      assert.deepStrictEqual(yield* Append.append(first, subject, "again", 0), { _tag: "Fenced", lastSequence: seal })
      const last = yield* Read.lastMessage(second, Streams.name.journal, subject)
      assert.deepStrictEqual(Option.map(last, (message) => message.text), Option.some("seal"))
    }))

  it.live("eight writers on one subject: exactly one append wins each place", () =>
    Effect.gen(function*() {
      const nats = yield* connect("race")
      yield* Streams.ensure(nats)
      const subject = "heddle.journal.race"
      let last = 0
      for (let round = 0; round < 20; round++) {
        const outcomes = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6, 7], (writer) =>
          Append.append(nats, subject, `${round}.${writer}`, last), { concurrency: 8 })
        const won = outcomes.filter((outcome) =>
          outcome._tag === "Acked"
        )
        assert.strictEqual(won.length, 1)
        assert.strictEqual(outcomes.filter((outcome) => outcome._tag === "Fenced").length, 7)
        last = Math.max(...won.map((outcome) => outcome.sequence))
      }
    }))

  it.live("nobody listening is unknown for an append, and says so for a publish", () =>
    Effect.gen(function*() {
      const nats = yield* connect("nowhere")
      assert.strictEqual((yield* Append.append(nats, "nowhere.at.all", "x", 0))._tag, "Unknown")
      const error = yield* Effect.flip(Append.publish(nats, "nowhere.at.all", "x"))
      assert.isFalse(error.mayBeStored)
    }))

  it.live("a publish with the same message id is stored once", () =>
    Effect.gen(function*() {
      const nats = yield* connect("duplicates")
      yield* Streams.ensure(nats)
      const first = yield* Append.publish(nats, "heddle.system.test", "a", { msgId: "m1" })
      const again = yield* Append.publish(nats, "heddle.system.test", "a", { msgId: "m1" })
      assert.deepStrictEqual([first.duplicate, again.duplicate, again.sequence === first.sequence], [false, true, true])
    }))

  it.live(
    "kill -9 of the server during appends: every unknown outcome is settled, every acknowledged entry is there once",
    () =>
      Effect.gen(function*() {
        const nats = yield* connect("killed")
        yield* Streams.ensure(nats)
        const subject = "heddle.journal.killed"
        const acknowledged: Array<{ readonly n: number; readonly sequence: number }> = []
        let unknown = 0
        let stopAt = Infinity
        const writer = yield* Effect.forkChild(Effect.gen(function*() {
          let last = 0
          for (let n = 0; n < stopAt; n++) {
            const body = JSON.stringify({ n })
            while (true) {
              const outcome = yield* Append.append(nats, subject, body, last, { timeoutMs: 1_000 })
              if (outcome._tag === "Acked") {
                last = outcome.sequence
                break
              }
              unknown++
              const settled = yield* Append.settleUnknown(nats, Streams.name.journal, subject, last, (stored) =>
                stored.text === body)
              if (settled._tag === "Ours") {
                last = settled.sequence
                break
              }
              assert.strictEqual(settled._tag, "NotStored", "one writer is never fenced")
            }
            acknowledged.push({ n, sequence: last })
          }
        }))
        const grown = (size: number) =>
          Effect.suspend(() =>
            acknowledged.length >= size ? Effect.void : Effect.fail("not yet")
          ).pipe(Effect.retry({ schedule: tick }))
        for (let round = 1; round <= 3; round++) {
          yield* grown(acknowledged.length + 200)
          yield* Effect.promise(() =>
            broker.restart()
          )
        }
        yield* grown(acknowledged.length + 200)
        stopAt = 0
        yield* Fiber.join(writer)
        assert.isAbove(unknown, 0, "the kills were noticed")
        const stored = yield* Stream.runCollect(
          Read.readRange(nats, Streams.name.journal, { filter: subject, from: 1 })
        )
        assert.deepStrictEqual(
          Array.from(stored, (message) => [JSON.parse(message.text).n, message.sequence]),
          acknowledged.map((entry) => [entry.n, entry.sequence])
        )
      }),
    180_000
  )
})

const tick = Schedule.spaced(5)
