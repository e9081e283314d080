/**
 * Time and chance of the API-server double. Nothing in shared/testing/kube reads the machine's clock or Math.random except `real` here, so that a simulation
 * with `VirtualClock` and a seed runs the same way every time.
 */

export interface KubeClock {
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number
  /** Runs `run` once, `delayMs` from now (at least 0). The answer takes it back. */
  readonly after: (delayMs: number, run: () => void) => () => void
}

export const real: KubeClock = {
  nowMs: () => Date.now(),
  after: (delayMs, run) => {
    // Node takes more than 2^31 ms for 1 ms.
    const timer = setTimeout(run, Math.min(Math.max(0, delayMs), 2_000_000_000))
    // A double that nobody stops does not keep the process alive; its HTTP server does, until it is closed.
    timer.unref()
    return () => clearTimeout(timer)
  }
}

interface Entry {
  readonly atMs: number
  readonly order: number
  run: (() => void) | undefined
}

const isBefore = (left: Entry, right: Entry): boolean =>
  left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order)

/** Time that moves only when told to. What is due at one instant runs in the order in which it was asked for. */
export class VirtualClock implements KubeClock {
  readonly #heap: Array<Entry> = []
  #nowMs: number
  #order = 0

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs
  }

  readonly nowMs = (): number => this.#nowMs

  readonly after = (delayMs: number, run: () => void): () => void => {
    const entry: Entry = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run }
    this.#push(entry)
    return () => {
      entry.run = undefined
    }
  }

  /** When the next thing is due, or undefined. */
  get nextMs(): number | undefined {
    this.#dropCancelled()
    return this.#heap[0]?.atMs
  }

  /** Runs the next thing that is due at or before `untilMs`; false when there is none. */
  runNext(untilMs = Number.POSITIVE_INFINITY): boolean {
    this.#dropCancelled()
    const entry = this.#heap[0]
    if (entry === undefined || entry.atMs > untilMs) return false
    this.#pop()
    this.#nowMs = Math.max(this.#nowMs, entry.atMs)
    entry.run?.()
    return true
  }

  /** Moves time on by `ms` and runs all that becomes due, also what that asks for. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    while (this.runNext(untilMs));
    this.#nowMs = untilMs
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]?.run === undefined) this.#pop()
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let index = heap.length
    heap.push(entry)
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(entry, above)) break
      heap[index] = above
      index = parent
    }
    heap[index] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      const left = heap[child]
      if (left === undefined) break
      const right = heap[child + 1]
      let least = left
      if (right !== undefined && isBefore(right, left)) {
        child++
        least = right
      }
      if (!isBefore(least, last)) break
      heap[index] = least
      index = child
    }
    heap[index] = last
  }
}

/** Numbers in [0, 1), the same for the same seed. */
export type Random = () => number

/** A small fast generator of 32 bits of state (mulberry's construction): good enough to choose faults and names. */
export const seeded = (seed: number): Random => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const hex = Array.from({ length: 256 }, (_, index) => index.toString(16).padStart(2, "0"))

/** A version 4 UUID. */
export const uuid = (random: Random): string => {
  let text = ""
  for (let index = 0; index < 16; index++) {
    let byte = (random() * 256) | 0
    if (index === 6) byte = (byte & 0x0f) | 0x40
    if (index === 8) byte = (byte & 0x3f) | 0x80
    text += hex[byte]
    if (index === 3 || index === 5 || index === 7 || index === 9) text += "-"
  }
  return text
}

/** As metav1.Time is written: whole seconds, UTC. */
export const timestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`
/** As metav1.MicroTime is written. */
export const microTimestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 23)}000Z`
