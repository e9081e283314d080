/**
 * Timers: what becomes due later on some instance's bus, kept by due time. A delayed event never holds up one that is due (design/03 section 1).
 *
 * One binary heap and one waiting fiber for all instances of the process. A timer lives in the instance's state; this is only its alarm, rebuilt from
 * `outstanding` after a take-over, so it needs no durability of its own.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

/** `key` names a timer within the process; arming it again replaces it. */
export interface Timer {
  readonly key: string
  readonly dueAt: number
  readonly fire: () => void
}

/** Cancelled timers that may stay in the heap beyond as many as are armed. */
const sweepAt = 1_024

interface Slot extends Timer {
  fire: () => void
  cancelled: boolean
}
const nothing = (): void => {}

export class Timers {
  readonly #heap: Array<Slot> = []
  readonly #byKey = new Map<string, Slot>()
  readonly #changed = Latch.makeUnsafe(false)
  readonly #clock: Clock.Clock

  constructor(clock: Clock.Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#byKey.size
  }

  /** Keys of what is armed. */
  get keys(): ReadonlyArray<string> {
    return [...this.#byKey.keys()]
  }

  arm(timer: Timer): void {
    this.cancel(timer.key)
    const slot: Slot = { ...timer, cancelled: false }
    this.#byKey.set(timer.key, slot)
    push(this.#heap, slot)
    if (this.#heap[0] === slot) this.#changed.openUnsafe()
  }

  /** `arm` with a delay from now. */
  armIn(timer: { readonly key: string; readonly delayMs: number; readonly fire: () => void }): void {
    this.arm({ key: timer.key, dueAt: this.#clock.currentTimeMillisUnsafe() + timer.delayMs, fire: timer.fire })
  }

  cancel(key: string): void {
    const slot = this.#byKey.get(key)
    if (slot === undefined) return
    // left in the heap: removal from the middle would cost a search; swept when the dead outnumber the living
    slot.cancelled = true
    slot.fire = nothing // what it would have told is let go of now
    this.#byKey.delete(key)
    if (this.#heap.length > 2 * this.#byKey.size + sweepAt) this.#sweep()
  }

  #sweep(): void {
    const living = this.#heap.filter((slot) => !slot.cancelled)
    this.#heap.length = 0
    for (const slot of living) push(this.#heap, slot)
  }

  /** Fires what is due at `now`, in order of due time; gives the next due time. */
  fireDue(now: number): number | undefined {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined) return undefined
      if (!first.cancelled && first.dueAt > now) return first.dueAt
      pop(this.#heap)
      if (first.cancelled) continue
      this.#byKey.delete(first.key)
      first.fire()
    }
  }

  /** Waits for the earliest timer and fires it, for ever: run it as a supervised fiber. */
  readonly run: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    for (;;) {
      this.#changed.closeUnsafe()
      const now = yield* Clock.currentTimeMillis
      const next = this.fireDue(now)
      yield* next === undefined
        ? this.#changed.await
        : Effect.timeoutOrElse(this.#changed.await, { duration: next - now, orElse: () => Effect.void })
    }
  })
}

const push = (heap: Array<Slot>, slot: Slot): void => {
  let index = heap.length
  heap.push(slot)
  while (index > 0) {
    const up = (index - 1) >> 1
    const parent = heap[up] as Slot // index is inside the heap
    if (parent.dueAt <= slot.dueAt) break
    heap[index] = parent
    index = up
  }
  heap[index] = slot
}

const pop = (heap: Array<Slot>): void => {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let index = 0
  for (;;) {
    let child = index * 2 + 1
    if (child >= heap.length) break
    const right = heap[child + 1]
    if (right !== undefined && right.dueAt < (heap[child] as Slot).dueAt) child++
    const smaller = heap[child] as Slot // child < length
    if (smaller.dueAt >= last.dueAt) break
    heap[index] = smaller
    index = child
  }
  heap[index] = last
}
