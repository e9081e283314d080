/**
 * Opening and sealing ledgers: the two ends of a writer's life, as every coordinator shares them. design/01 section 3.
 *
 * Keeps true: a ledger is opened once, on an empty subject, by the life it is named after; after `sealLedger` has returned, no append of its writer is ever stored again
 * (the writer's expected sequence is behind for good), because the seal is stored or somebody else's seal was read from the leader. Liveness plays no part.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Append from "../jetstream/Append.ts"
import type { JetStreamFailed } from "../jetstream/JetStreamApi.ts"
import { retryTransient } from "../jetstream/JetStreamApi.ts"
import type { Connection } from "../jetstream/Nats.ts"
import * as Read from "../jetstream/Read.ts"
import * as Streams from "../jetstream/Streams.ts"
import type { JournalRecord } from "../protocol/Journal.ts"
import * as Subject from "../protocol/Subject.ts"
import { Ledger, type MemberId, type StartupId } from "../protocol/Token.ts"
import * as LedgerMessage from "./LedgerMessage.ts"

/** The subject of a new ledger holds messages already: this startup id was used before. Take a new one. */
export class LedgerTaken extends Schema.TaggedError<LedgerTaken>()("LedgerTaken", { ledger: Schema.String }) {
  override get message(): string {
    return `ledger ${this.ledger} exists already; a life of a member needs a startup id of its own`
  }
}
/** The broker stayed away (`reason`). */
export class LedgerUnavailable
  extends Schema.TaggedError<LedgerUnavailable>()("LedgerUnavailable", { ledger: Schema.String, reason: Schema.String })
{
  override get message(): string {
    return `ledger ${this.ledger}: ${this.reason}`
  }
}

/** How long to try while the broker is away. */
const persistMs = 30_000

/** `<member>-<startup>`, cut in the member's part so that it fits a token. */
export const ledgerOf = (member: MemberId, startup: StartupId): Ledger =>
  Ledger.make(`${member.slice(0, 62 - startup.length)}-${startup}`)

const unavailable = (ledger: Ledger) => (error: JetStreamFailed) =>
  new LedgerUnavailable({ ledger, reason: error.message })
const bodyOf = (record: JournalRecord): string => JSON.stringify({ v: 1, records: [record] })

/** Opens the ledger of this life: its first message, `Opened`, at expected last sequence 0. Gives the sequence that the next append expects. */
export const openLedger: (
  nats: Connection,
  member: MemberId,
  startup: StartupId
) => Effect.Effect<{ readonly ledger: Ledger; readonly sequence: number }, LedgerTaken | LedgerUnavailable> = Effect.fn(
  "LedgerSeal.openLedger"
)(
  function*(nats, member, startup) {
    const ledger = ledgerOf(member, startup)
    const subject = Subject.journal(ledger)
    const body = bodyOf({ _tag: "Opened", member, startup, at: yield* Clock.currentTimeMillis })
    const until = (yield* Clock.currentTimeMillis) + persistMs
    while (true) {
      const outcome = yield* Append.append(nats, subject, body, 0)
      if (outcome._tag === "Acked") return { ledger, sequence: outcome.sequence }
      // Fenced by an own append that was taken for lost, or unknown: what stands there decides.
      const settled = yield* Append.settleUnknown(nats, Streams.name.journal, subject, 0, (last) => last.text === body)
        .pipe(Effect.mapError(unavailable(ledger)))
      if (settled._tag === "Ours") return { ledger, sequence: settled.sequence }
      if (settled._tag === "Fenced") return yield* new LedgerTaken({ ledger })
      if ((yield* Clock.currentTimeMillis) > until) {
        return yield* new LedgerUnavailable({
          ledger,
          reason: outcome._tag === "Unknown" ? outcome.reason : "fenced, yet empty"
        })
      }
      yield* Effect.sleep(100)
    }
  }
)

/** `sequence`: of the message that carries the seal, the last one of this ledger for ever. `by`: who sealed it; it may be somebody else. */
export interface Sealed {
  readonly sequence: number
  readonly by: MemberId
}

/**
 * Ends a ledger for ever. A ledger that is sealed already is fine. One that was never written is sealed too: its writer's first append is refused then.
 * `Unavailable` after 30 s without the broker: not sealed as far as is known; try again.
 */
export const sealLedger: (nats: Connection, ledger: Ledger, by: MemberId) => Effect.Effect<Sealed, LedgerUnavailable> =
  Effect.fn("LedgerSeal.sealLedger")(
    function*(nats, ledger, by) {
      const subject = Subject.journal(ledger)
      const until = (yield* Clock.currentTimeMillis) + persistMs
      while (true) {
        const last = yield* Read.lastMessage(nats, Streams.name.journal, subject).pipe(
          retryTransient(persistMs),
          Effect.mapError(unavailable(ledger))
        )
        if (Option.isSome(last)) {
          // What cannot be read is no seal of this version. A seal behind it ends the writer just as well, whose expected sequence is behind either.
          const message = LedgerMessage.judge(last.value)
          const seal = message._tag === "Append"
            ? message.records.find((record) => record._tag === "Sealed")
            : undefined
          if (seal !== undefined) return { sequence: last.value.sequence, by: seal.by }
        }
        const expected = Option.isSome(last) ? last.value.sequence : 0
        const outcome = yield* Append.append(
          nats,
          subject,
          bodyOf({ _tag: "Sealed", by, at: yield* Clock.currentTimeMillis }),
          expected
        )
        if (outcome._tag === "Acked") return { sequence: outcome.sequence, by }
        // Fenced: the writer or another sealer was faster. Unknown: our seal may stand. Both are told by reading again.
        if ((yield* Clock.currentTimeMillis) > until) {
          return yield* new LedgerUnavailable({
            ledger,
            reason: outcome._tag === "Unknown" ? outcome.reason : "its writer is faster than the seal"
          })
        }
        if (outcome._tag === "Unknown") yield* Effect.sleep(100)
      }
    }
  )
