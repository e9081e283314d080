/**
 * A claim's selector in the form by which the queues look it up: two that ask for the same labels have the same `key`, in whatever order they were written.
 *
 * `shape` names the label keys alone. A sandbox's labels seen through a shape give the key of the only selector of that shape which it matches, so "which of the
 * waiting claims does this sandbox serve" is one look-up per shape in use, not a comparison with each claim. Follows design/04 section 1, "claim options".
 */
import type { Labels } from "../../shared/protocol/Sandbox.ts"

export interface Selector {
  readonly labels: Labels
  readonly shape: string
  readonly key: string
}

/** Undefined for no selector and for an empty one: both match everything. */
export const compile = (labels: Labels | undefined): Selector | undefined => {
  if (labels === undefined) return undefined
  const names = Object.keys(labels)
  if (names.length === 0) return undefined
  names.sort()
  return { labels, shape: JSON.stringify(names), key: JSON.stringify(names.map((name) => [name, labels[name]])) }
}

/** The key of the selector with these label names that `labels` matches; undefined: none, a name is missing. */
export const keyThrough = (names: ReadonlyArray<string>, labels: Labels): string | undefined => {
  const pairs: Array<readonly [string, string]> = []
  for (const name of names) {
    const value = labels[name]
    if (value === undefined) return undefined
    pairs.push([name, value])
  }
  return JSON.stringify(pairs)
}

export const matches = (selector: Labels, labels: Labels): boolean => {
  for (const name in selector) if (labels[name] !== selector[name]) return false
  return true
}
