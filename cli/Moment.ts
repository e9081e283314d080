/**
 * A moment in the past as people write one: a time (RFC 3339, or a date: its beginning in UTC), or how long ago it was (`10m`). Where a journal is meant, also a stream sequence.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { parseDurationMs } from "../shared/protocol/Time.ts"
import * as Globals from "./Globals.ts"
import type { Recorded } from "./Journal.ts"

const time = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/iu
const good = "write 2026-11-21T10:00:00Z, 2026-11-21, or how long ago: 10m."

/** Epoch milliseconds; `undefined`: it says no moment. A time without a zone is none: nobody can tell whose it is. */
export const parse = (text: string, nowMs: number): number | undefined => {
  if (text === "now") return nowMs
  const ago = parseDurationMs(text)
  if (ago !== undefined) return nowMs - ago
  const at = time.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? undefined : at
}

/** A moment that has been; `what`: the flag or argument. */
export const past = Effect.fnUntraced(function*(what: string, text: string) {
  const now = yield* Clock.currentTimeMillis
  const at = parse(text, now)
  if (at === undefined) return yield* Globals.usage(`${what} ${JSON.stringify(text)} is no time.`, good)
  if (at > now) {
    return yield* Globals.usage(
      `${what} ${JSON.stringify(text)} is in the future, by ${Math.ceil((at - now) / 1_000)} s.`,
      "give a time that has been; now is `now`."
    )
  }
  return at
})

/** The oldest entries of a journal, up to a stream sequence (digits alone) or a moment. */
export const upTo = Effect.fnUntraced(function*(what: string, text: string) {
  if (/^\d+$/u.test(text)) {
    const sequence = Number(text)
    return (entries: ReadonlyArray<Recorded>) => beginning(entries, (recorded) => recorded.sequence <= sequence)
  }
  const at = parse(text, yield* Clock.currentTimeMillis)
  if (at === undefined) {
    return yield* Globals.usage(
      `${what} ${JSON.stringify(text)} is neither a sequence nor a time.`,
      "write 1234, 2026-11-21T10:00:00Z, or how long ago: 10m."
    )
  }
  return (entries: ReadonlyArray<Recorded>) => beginning(entries, (recorded) => recorded.entry.at <= at)
})

/** Up to the last that is meant: clocks of two owners may differ, the order of a journal does not. */
const beginning = (entries: ReadonlyArray<Recorded>, isMeant: (recorded: Recorded) => boolean) =>
  entries.slice(0, entries.findLastIndex(isMeant) + 1)
