/**
 * A ledger's subject in HEDDLE_JOURNAL, as `Ledger` needs it. The last message is asked of the stream's leader, again and again while the broker is away.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Append from "../../shared/jetstream/Append.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { Ledger } from "../../shared/protocol/Token.ts"
import type { JournalAppend } from "./JournalAppend.ts"

const idPattern = /^\{"v":1,"id":"([^"]*)"/

/** The `id` of an append's body, without parsing it. */
export const idOf = (body: string): string | undefined => idPattern.exec(body)?.[1]

/** `run` starts a fiber that takes the service down when it fails. */
export const make = (
  nats: Connection,
  ledger: Ledger,
  run: (effect: Effect.Effect<void, JetStreamFailed>) => void
): JournalAppend => {
  const subject = Subject.journal(ledger)
  return {
    append: (body, expectedLastSequence, timeoutMs, done, reply) =>
      Append.appendUnsafe(
        nats,
        subject,
        body,
        expectedLastSequence,
        timeoutMs,
        (outcome) =>
          done(outcome._tag === "Fenced" ? { _tag: "Fenced", lastSequence: outcome.lastSequence ?? 0 } : outcome),
        reply === undefined ? undefined : { reply }
      ),
    last: (done) =>
      run(
        Read.lastMessage(nats, Streams.name.journal, subject).pipe(
          Effect.retry({ while: (error) => error.isTransient, schedule: Schedule.spaced("200 millis") }),
          Effect.map((last) =>
            done(
              Option.isSome(last)
                ? { sequence: last.value.sequence, id: idOf(last.value.text) }
                : { sequence: 0, id: undefined }
            )
          )
        )
      )
  }
}
