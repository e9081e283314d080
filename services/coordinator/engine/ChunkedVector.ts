/**
 * A persistent vector of fixed length: `set` copies one chunk of 32 and the list of chunks, and shares the rest with the value before it.
 *
 * Kept true here: a value is never changed after it was returned, so a state and the one before it can be compared or kept side by side.
 */

const chunkBits = 5
const chunkSize = 1 << chunkBits
const chunkMask = chunkSize - 1

export interface ChunkedVector<A> {
  readonly length: number
  readonly chunks: ReadonlyArray<ReadonlyArray<A>>
}

/** `length` times the same value. */
export const filled = <A>(length: number, value: A): ChunkedVector<A> => {
  const chunks: Array<ReadonlyArray<A>> = []
  const whole: ReadonlyArray<A> = Array.from({ length: Math.min(chunkSize, length) }, () => value)
  for (let start = 0; start < length; start += chunkSize) {
    chunks.push(length - start >= chunkSize ? whole : Array.from({ length: length - start }, () => value))
  }
  return { length, chunks }
}

export const fromArray = <A>(values: ReadonlyArray<A>): ChunkedVector<A> => {
  const chunks: Array<ReadonlyArray<A>> = []
  for (let start = 0; start < values.length; start += chunkSize) chunks.push(values.slice(start, start + chunkSize))
  return { length: values.length, chunks }
}

export const toArray = <A>(self: ChunkedVector<A>): Array<A> => self.chunks.flat() as Array<A>

/** The caller keeps `index` within `0 .. length - 1`. */
export const get = <A>(self: ChunkedVector<A>, index: number): A => {
  const chunk = self.chunks[index >> chunkBits]
  if (chunk === undefined || index < 0 || index >= self.length) throw new RangeError(`${index} of ${self.length}`)
  // The bound was checked above; the chunk is full up to `length`.
  return chunk[index & chunkMask] as A
}

export const set = <A>(self: ChunkedVector<A>, index: number, value: A): ChunkedVector<A> => {
  const old = self.chunks[index >> chunkBits]
  if (old === undefined || index < 0 || index >= self.length) throw new RangeError(`${index} of ${self.length}`)
  const chunk = old.slice()
  chunk[index & chunkMask] = value
  const chunks = self.chunks.slice()
  chunks[index >> chunkBits] = chunk
  return { length: self.length, chunks }
}
