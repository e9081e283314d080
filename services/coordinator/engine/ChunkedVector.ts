/**
 * A persistent vector of fixed length: a tree of two levels of 32. `set` copies a chunk of 32 values, a group of 32 chunks and the list of groups (one for each 1,024
 * values), and shares the rest with the value before it; so it costs the same for ten tasks and nearly the same for ten thousand.
 *
 * Kept true here: a value is never changed after it was returned, so a state and the one before it can be compared or kept side by side.
 */

const chunkBits = 5
const chunkSize = 1 << chunkBits
const mask = chunkSize - 1
const groupBits = 2 * chunkBits

type Chunk<A> = ReadonlyArray<A>
type Group<A> = ReadonlyArray<Chunk<A>>

export interface ChunkedVector<A> {
  readonly length: number
  readonly groups: ReadonlyArray<Group<A>>
}

const make = <A>(length: number, chunkAt: (start: number, end: number) => Chunk<A>): ChunkedVector<A> => {
  const groups: Array<Array<Chunk<A>>> = []
  for (let start = 0; start < length; start += chunkSize) {
    const chunk = chunkAt(start, Math.min(start + chunkSize, length))
    const group = groups[start >> groupBits]
    if (group === undefined) groups.push([chunk])
    else group.push(chunk)
  }
  return { length, groups }
}

/** `length` times the same value. */
export const filled = <A>(length: number, value: A): ChunkedVector<A> => {
  const whole: Chunk<A> = Array.from({ length: Math.min(chunkSize, length) }, () => value)
  return make(length, (start, end) => end - start === whole.length ? whole : whole.slice(0, end - start))
}

export const fromArray = <A>(values: ReadonlyArray<A>): ChunkedVector<A> =>
  make(values.length, (start, end) => values.slice(start, end))

export const toArray = <A>(self: ChunkedVector<A>): Array<A> => self.groups.flat(2) as Array<A> // two levels by its type

/** Parts of `self` that `other`, of the same length, does not share with it: where they begin, and both their values. */
export const changedChunks = function*<A>(
  self: ChunkedVector<A>,
  other: ChunkedVector<A>
): Generator<{ readonly start: number; readonly self: Chunk<A>; readonly other: Chunk<A> }> {
  for (const [g, group] of self.groups.entries()) {
    const otherGroup = other.groups[g]
    if (otherGroup === undefined || group === otherGroup) continue
    for (const [c, chunk] of group.entries()) {
      const otherChunk = otherGroup[c]
      if (otherChunk === undefined || chunk === otherChunk) continue
      yield { start: (g << groupBits) | (c << chunkBits), self: chunk, other: otherChunk }
    }
  }
}

/** The caller keeps `index` within `0 .. length - 1`. */
export const get = <A>(self: ChunkedVector<A>, index: number): A => {
  const chunk = self.groups[index >> groupBits]?.[(index >> chunkBits) & mask]
  if (chunk === undefined || index < 0 || index >= self.length) throw new RangeError(`${index} of ${self.length}`)
  // The bound was checked above; the chunk is full up to `length`.
  return chunk[index & mask] as A
}

export const set = <A>(self: ChunkedVector<A>, index: number, value: A): ChunkedVector<A> => {
  const oldGroup = self.groups[index >> groupBits]
  const oldChunk = oldGroup?.[(index >> chunkBits) & mask]
  if (oldGroup === undefined || oldChunk === undefined || index < 0 || index >= self.length) {
    throw new RangeError(`${index} of ${self.length}`)
  }
  const chunk = oldChunk.slice()
  chunk[index & mask] = value
  const group = oldGroup.slice()
  group[(index >> chunkBits) & mask] = chunk
  const groups = self.groups.slice()
  groups[index >> groupBits] = group
  return { length: self.length, groups }
}
