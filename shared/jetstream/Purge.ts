/**
 * Removes the beginning of one subject from a stream.
 *
 * Keeps true: nothing after `through` goes, so what is written meanwhile stays; doing it again removes nothing more.
 */
import * as Effect from "effect/Effect"
import { ask, type JetStreamFailed } from "./JetStreamApi.ts"
import type { Connection } from "./Nats.ts"

/** Removes the messages of `subject` up to and with the stream sequence `through`; tells how many. A stream with `deny_purge` refuses. */
export const purge = (
  nats: Connection,
  stream: string,
  subject: string,
  through: number
): Effect.Effect<number, JetStreamFailed> =>
  Effect.map(
    ask<{ readonly purged: number }>(nats, `STREAM.PURGE.${stream}`, { filter: subject, seq: through + 1 }),
    ({ purged }) => purged
  )
