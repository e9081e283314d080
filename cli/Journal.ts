/**
 * The journal of one instance as the NATS server keeps it, without any service: the newest entry is found in the history stream, the rest by walking back along `prev`.
 *
 * History is written a moment after the journal, so the journal is also read forward from where history ends; without history (its messages have expired) the
 * whole journal is read. What retention has taken from the journal is read from the history and the archive instead. design/01 section 3 ("an instance can be replayed from the truth by walking back").
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Nats from "../shared/jetstream/Nats.ts"
import * as Read from "../shared/jetstream/Read.ts"
import * as Streams from "../shared/jetstream/Streams.ts"
import { HistoryMessage } from "../shared/protocol/History.ts"
import { type Entry, JournalMessage } from "../shared/protocol/Journal.ts"
import * as Connection from "./Connection.ts"
import { CliFailure } from "./ExitCode.ts"

/** An entry with where it stands. `entry` is as it was parsed, unknown fields included: that is what its hash covers. */
export interface Recorded {
  readonly sequence: number
  readonly ledger: string
  readonly entry: Entry
}

const isHistory = Schema.is(Schema.toEncoded(HistoryMessage))
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

/** What the derived streams have of it: the history, else the archive. Newest first, and whether it has been archived. */
const derived = Effect.fnUntraced(function*(nats: Nats.Connection, instance: string) {
  const last = (stream: string, subject: string) =>
    Read.lastMessage(nats, stream, subject).pipe(
      Effect.catch(() => Effect.succeedNone) // the stream may be missing: the journal is the truth
    )
  const inHistory = yield* last(Streams.name.history, `heddle.wf.*.${instance}.history`)
  if (Option.isSome(inHistory)) return { known: newestSequence(inHistory.value.text), isArchived: false }
  const inArchive = yield* last(Streams.name.archive, `heddle.archive.*.${instance}`)
  return Option.isSome(inArchive)
    ? { known: newestSequence(inArchive.value.text), isArchived: true }
    : { known: 0, isArchived: false }
})

/** Of the derived streams, the entries that `found` lacks. */
const fill = (nats: Nats.Connection, instance: string, found: Map<number, Recorded>) =>
  Effect.forEach(
    [[Streams.name.history, `heddle.wf.*.${instance}.history`], [
      Streams.name.archive,
      `heddle.archive.*.${instance}`
    ]] as const,
    ([stream, filter]) =>
      Stream.runForEach(Read.readRange(nats, stream, { filter, from: 1 }), (message) =>
        Effect.sync(() => {
          const parsed: unknown = JSON.parse(message.text)
          if (!isHistory(parsed)) return // what is missing then, the chain check says
          for (const { entry, seq } of parsed.entries) {
            if (!found.has(entry.n)) found.set(entry.n, { sequence: seq, ledger: stream, entry: entry as Entry }) // only brands are missing
          }
        })),
    { discard: true }
  ).pipe(Effect.mapError(failed))

/**
 * All entries of the instance, oldest first. Fails with exit code 3 when there are none. What the journal no longer holds comes from the history and the archive: `ledger` is
 * then the name of that stream.
 */
export const read = Effect.fnUntraced(function*(instance: string) {
  const nats = yield* Connection.nats
  const { isArchived, known } = yield* derived(nats, instance)
  const found = new Map<number, Recorded>()
  const take = (message: Read.StoredMessage) => {
    for (const recorded of entriesOf(message, instance)) found.set(recorded.entry.n, recorded)
  }
  // what has been archived ended long ago: the journal has nothing after it
  const range = Read.readRange(nats, Streams.name.journal, {
    filter: "heddle.journal.*",
    from: Math.max(1, known),
    ...(isArchived ? { upTo: known } : {})
  })
  yield* Stream.runForEach(range, (message) => Effect.sync(() => take(message))).pipe(Effect.mapError(failed))
  let oldest = [...found.values()].reduce<Recorded | undefined>(
    (least, one) => least === undefined || one.entry.n < least.entry.n ? one : least,
    undefined
  )
  while (oldest !== undefined && oldest.entry.n > 1 && oldest.entry.prev > 0) {
    const message = yield* Read.messageAt(nats, Streams.name.journal, oldest.entry.prev).pipe(Effect.mapError(failed))
    if (Option.isNone(message)) break // retention has taken it: what is missing now, the chain check says
    const before = found.size
    take(message.value)
    if (found.size === before) break
    oldest = [...found.values()].reduce((least, one) => one.entry.n < least.entry.n ? one : least)
  }
  if (!found.has(1) && known > 0) yield* fill(nats, instance, found)
  if (found.size === 0) {
    return yield* new CliFailure({
      exit: 3,
      code: "NoSuchInstance",
      message: `The journal has no entry of ${instance}.`,
      fix: "`heddle workflows ls` lists instances; entries are kept for the journal's age."
    })
  }
  return [...found.values()].toSorted((a, b) => a.entry.n - b.entry.n)
})
