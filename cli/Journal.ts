/**
 * The journal of one instance as the NATS server keeps it, without any service: the newest entry is found in the history stream, the rest by walking back along `prev`.
 *
 * History is written a moment after the journal, so the journal is also read forward from where history ends; without history (its messages have expired) the
 * whole journal is read. design/01 section 3 ("an instance can be replayed from the truth by walking back").
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Read from "../shared/jetstream/Read.ts"
import * as Streams from "../shared/jetstream/Streams.ts"
import { type Entry, JournalMessage } from "../shared/protocol/Journal.ts"
import * as Connection from "./Connection.ts"
import { CliFailure } from "./ExitCode.ts"

/** An entry with where it stands. `entry` is as it was parsed, unknown fields included: that is what its hash covers. */
export interface Recorded {
  readonly sequence: number
  readonly ledger: string
  readonly entry: Entry
}

const isMessage = Schema.is(Schema.toEncoded(JournalMessage))

/** Entries of `instance` in one journal message, in their order. */
export const entriesOf = (message: Read.StoredMessage, instance: string): ReadonlyArray<Recorded> => {
  const parsed: unknown = JSON.parse(message.text)
  if (!isMessage(parsed)) return []
  const ledger = message.subject.split(".").at(-1) ?? ""
  return parsed.records.flatMap((record) =>
    record._tag === "Entry" && record.instance === instance
      ? [{ sequence: message.sequence, ledger, entry: record as Entry }] // the same JSON: only brands are missing
      : []
  )
}

/** The greatest journal sequence that a history message speaks of; 0 when it names none. */
export const newestSequence = (text: string): number => {
  let newest = 0
  const look = (value: unknown, depth: number): void => {
    if (typeof value !== "object" || value === null || depth > 3) return
    for (const [key, part] of Object.entries(value)) {
      if ((key === "seq" || key === "sequence") && typeof part === "number" && part > newest) newest = part
      else look(part, depth + 1)
    }
  }
  look(JSON.parse(text), 0)
  return newest
}

const failed = (error: { readonly message: string }) =>
  new CliFailure({
    exit: 1,
    message: `The journal cannot be read: ${error.message}`,
    fix: "`heddle doctor` shows what is missing."
  })

/** All entries of the instance, oldest first. Fails with exit code 3 when there are none. */
export const read = Effect.fnUntraced(function*(instance: string) {
  const nats = yield* Connection.nats
  const last = yield* Read.lastMessage(nats, Streams.name.history, `heddle.wf.*.${instance}.history`).pipe(
    Effect.catch(() => Effect.succeedNone) // the stream may be missing: the journal is the truth
  )
  const known = Option.isSome(last) ? newestSequence(last.value.text) : 0
  const found = new Map<number, Recorded>()
  const take = (message: Read.StoredMessage) => {
    for (const recorded of entriesOf(message, instance)) found.set(recorded.entry.n, recorded)
  }
  yield* Stream.runForEach(
    Read.readRange(nats, Streams.name.journal, { filter: "heddle.journal.*", from: Math.max(1, known) }),
    (message) => Effect.sync(() => take(message))
  ).pipe(Effect.mapError(failed))
  let oldest = [...found.values()].reduce<Recorded | undefined>(
    (least, one) => least === undefined || one.entry.n < least.entry.n ? one : least,
    undefined
  )
  while (oldest !== undefined && oldest.entry.n > 1 && oldest.entry.prev > 0) {
    const message = yield* Read.messageAt(nats, Streams.name.journal, oldest.entry.prev).pipe(Effect.mapError(failed))
    if (Option.isNone(message)) break // retention has taken it: the chain check says so
    const before = found.size
    take(message.value)
    if (found.size === before) break
    oldest = [...found.values()].reduce((least, one) => one.entry.n < least.entry.n ? one : least)
  }
  if (found.size === 0) {
    return yield* new CliFailure({
      exit: 3,
      message: `The journal has no entry of ${instance}.`,
      fix: "`heddle workflows ls` lists instances; entries are kept for the journal's age."
    })
  }
  return [...found.values()].toSorted((a, b) => a.entry.n - b.entry.n)
})
