import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as LedgerSeal from "../../shared/session/LedgerSeal.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

const open = Effect.fn("open")(function*(name: string) {
  const nats = yield* Nats.open({ url: broker.url, name })
  yield* Streams.ensure(nats)
  return nats
})
const a = MemberId.make("a")
const b = MemberId.make("b")
const c = MemberId.make("c")

describe("LedgerSeal", () => {
  it.live("a ledger is opened once; the seal ends its writer, and a second seal finds the first", () =>
    Effect.gen(function*() {
      const nats = yield* open("seal")
      const startup = StartupId.make("s1")
      const opened = yield* LedgerSeal.openLedger(nats, a, startup)
      assert.strictEqual((yield* Effect.flip(LedgerSeal.openLedger(nats, a, startup)))._tag, "LedgerTaken")
      const subject = Subject.journal(opened.ledger)
      const entry = yield* Append.append(nats, subject, "{\"v\":1,\"records\":[]}", opened.sequence)
      assert.strictEqual(entry._tag, "Acked")
      const sealed = yield* LedgerSeal.sealLedger(nats, opened.ledger, b)
      assert.strictEqual(
        (yield* Append.append(nats, subject, "{\"v\":1,\"records\":[]}", entry._tag === "Acked" ? entry.sequence : 0))
          ._tag,
        "Fenced"
      )
      assert.deepStrictEqual(yield* LedgerSeal.sealLedger(nats, opened.ledger, c), sealed)
      assert.strictEqual(sealed.by, "b")
    }))

  it.live("sealers race against a busy writer: one seal, last for ever, nothing acknowledged after it", () =>
    Effect.gen(function*() {
      const nats = yield* open("busy")
      for (let round = 0; round < 10; round++) {
        const { ledger, sequence } = yield* LedgerSeal.openLedger(nats, a, StartupId.make(`busy${round}`))
        const subject = Subject.journal(ledger)
        let last = sequence
        const writer = yield* Effect.forkChild(
          Effect.gen(function*() {
            while (true) {
              const outcome = yield* Append.append(nats, subject, "{\"v\":1,\"records\":[]}", last)
              if (outcome._tag !== "Acked") return outcome._tag
              last = outcome.sequence
            }
          }),
          { startImmediately: true }
        )
        const seals = yield* Effect.forEach([b, c], (by) => LedgerSeal.sealLedger(nats, ledger, by), { concurrency: 2 })
        assert.strictEqual(yield* Fiber.join(writer), "Fenced")
        assert.deepStrictEqual(seals[0], seals[1])
        const end = yield* Read.lastMessage(nats, Streams.name.journal, subject)
        assert.strictEqual(end._tag === "Some" ? end.value.sequence : 0, seals[0]?.sequence)
        assert.isBelow(last, seals[0]?.sequence ?? 0)
      }
    }))

  it.live("a ledger that was never opened can be sealed, and is then taken", () =>
    Effect.gen(function*() {
      const nats = yield* open("never")
      const startup = StartupId.make("never")
      yield* LedgerSeal.sealLedger(nats, LedgerSeal.ledgerOf(a, startup), b)
      assert.strictEqual((yield* Effect.flip(LedgerSeal.openLedger(nats, a, startup)))._tag, "LedgerTaken")
    }))

  it.live("a seal outlives a killed broker", () =>
    Effect.gen(function*() {
      const nats = yield* open("killed")
      const { ledger } = yield* LedgerSeal.openLedger(nats, a, StartupId.make("killed"))
      const sealing = yield* Effect.forkChild(LedgerSeal.sealLedger(nats, ledger, b), { startImmediately: true })
      yield* Effect.promise(() => broker.restart())
      const sealed = yield* Fiber.join(sealing)
      assert.deepStrictEqual(yield* LedgerSeal.sealLedger(nats, ledger, c), sealed)
    }))
})
