/**
 * The hash by which a journal names a definition's content: the same fields with the same values give the same hash, in whatever order they were written. design/03 section 7.
 */
import type { Sha256 } from "./Chain.ts"

const sortedKeys = (_key: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0))
    : value

/** `definition` as it was written, before any decoding. */
export const contentHash = (definition: unknown, sha256: Sha256): string =>
  sha256(JSON.stringify(definition, sortedKeys)).slice(0, 32)
