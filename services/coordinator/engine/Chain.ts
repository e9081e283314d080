/**
 * The hash chain of one instance's journal entries: a gap, an exchange or a flipped bit is found by whoever walks it. design/01 section 3.
 *
 * Kept true here: what is hashed is the entry's own JSON text without `hash`, in the key order it was written with. So verification works on entries as
 * `JSON.parse` gave them, not on decoded ones: a field that this version does not know is covered too.
 */
import type { Entry } from "../../../shared/protocol/Journal.ts"

/** sha256 of a UTF-8 text, in hex (the shell passes node:crypto's). */
export type Sha256 = (text: string) => string

/** What the first entry of an instance is chained to. */
export const genesis = "0".repeat(64)

export type EntryDraft = Omit<Entry, "hash">

/** Hash of an entry that follows one with `prevHash`. A `hash` that the entry has already is left out. */
export const entryHash = (prevHash: string, entry: EntryDraft, sha256: Sha256): string => {
  const { hash: _, ...rest } = entry as EntryDraft & { readonly hash?: string }
  return sha256(`${prevHash}\n${JSON.stringify(rest)}`)
}

/** For the hot path: the entry's JSON with its hash as the last key, stringified once. */
export const sealEntry = (
  prevHash: string,
  entry: EntryDraft,
  sha256: Sha256
): { readonly text: string; readonly hash: string } => {
  const text = JSON.stringify(entry)
  const hash = sha256(`${prevHash}\n${text}`)
  return { text: `${text.slice(0, -1)},"hash":"${hash}"}`, hash }
}

/** `n`: the entry at which the chain breaks. */
export type ChainProblem = { readonly n: number; readonly message: string }

/** Entries of one instance from `n` = 1 (or from after the entry with hash `after`), oldest first, as they were parsed from the journal. */
export const verifyChain = (
  entries: ReadonlyArray<Entry>,
  sha256: Sha256,
  after: { readonly n: number; readonly hash: string } = { n: 0, hash: genesis }
): ChainProblem | undefined => {
  let { hash, n } = after
  for (const entry of entries) {
    n += 1
    if (entry.n !== n) return { n, message: `entry ${n} is missing: found ${entry.n}` }
    if (entryHash(hash, entry, sha256) !== entry.hash) {
      return { n, message: `entry ${n} is not what was written, or does not follow entry ${n - 1}` }
    }
    hash = entry.hash
  }
  return undefined
}
