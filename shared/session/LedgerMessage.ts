/**
 * What a message on a ledger's subject is: an append of a coordinator, or something that somebody else put there.
 *
 * Keeps true: every append and every seal is fenced (it names the subject's last sequence, which the server checked and keeps as a header), so a message without that
 * header was sent by no coordinator of any version. Only such a message may be put aside when it cannot be read; one that was fenced may hold entries that were
 * acknowledged, so whoever cannot read it must not serve the shards that may be in it. docs/design/session-protocol.md "Messages that cannot be read".
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Append from "../jetstream/Append.ts"
import * as Decode from "../jetstream/Decode.ts"
import type { StoredMessage } from "../jetstream/Read.ts"
import { JournalMessage } from "../protocol/Journal.ts"
import { Shard } from "../protocol/Token.ts"

export type LedgerMessage =
  /** As it was parsed: the hash of an entry covers what this version may not know. */
  | { readonly _tag: "Append"; readonly records: JournalMessage["records"] }
  /** Not fenced and not readable: nobody's append. */
  | { readonly _tag: "Foreign"; readonly reason: string }
  /** Fenced, and not readable here: damaged, or of a newer version. `shards`: all that it may concern; `undefined` when it does not tell. */
  | { readonly _tag: "Unreadable"; readonly reason: string; readonly shards: ReadonlySet<Shard> | undefined }

const decode = Decode.decoder(JournalMessage)

const isShard = Schema.is(Shard)
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The shards that its records name, when every one of them names one. */
const shardsOf = (text: string): ReadonlySet<Shard> | undefined => {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return undefined // no JSON: it tells nothing
  }
  if (!isRecord(message) || message["v"] !== 1 || !Array.isArray(message["records"])) return undefined
  const shards = new Set<Shard>()
  for (const record of message["records"]) {
    const shard: unknown = isRecord(record) ? record["shard"] : undefined
    if (!isShard(shard)) return undefined
    shards.add(shard)
  }
  return shards
}

/** Pure. */
export const judge = (stored: Pick<StoredMessage, "text" | "headers">): LedgerMessage => {
  const checked = decode(stored.text)
  if (Result.isSuccess(checked)) {
    return { _tag: "Append", records: (JSON.parse(stored.text) as JournalMessage).records } // just checked
  }
  const reason = checked.failure.message
  return stored.headers[Append.expectedLastSubjectSequence] === undefined
    ? { _tag: "Foreign", reason }
    : { _tag: "Unreadable", reason, shards: shardsOf(stored.text) }
}
