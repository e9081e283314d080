/**
 * What will happen when, in a simulated pool: callbacks in order of (time, arrival), run by one fiber on Effect's Clock.
 *
 * Under a TestClock nothing happens until the test moves it, and then in exactly this order: a run is the same for the same seed.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"

interface Item {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

const isBefore = (a: Item, b: Item) => a.at < b.at || (a.at === b.at && a.order < b.order)

export interface Timeline {
  readonly now: () => number
  /** Runs `run` after `delayMs`; never before this returns. */
  readonly after: (delayMs: number, run: () => void) => void
}

/** Ends with its scope; what has not happened by then never will. */
export const make: Effect.Effect<Timeline, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const heap: Array<Item> = []
  const changed = yield* Latch.make(false)
  let order = 0
  const now = () => clock.currentTimeMillisUnsafe()

  const push = (item: Item): void => {
    let index = heap.length
    heap.push(item)
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = heap[parentIndex] as Item // within the heap
      if (!isBefore(item, parent)) break
      heap[index] = parent
      index = parentIndex
    }
    heap[index] = item
  }
  const shift = (): void => {
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      const left = heap[index * 2 + 1]
      const right = heap[index * 2 + 2]
      if (left === undefined) break
      const isRight = right !== undefined && isBefore(right, left)
      const child = isRight ? right : left
      if (!isBefore(child, last)) break
      heap[index] = child
      index = index * 2 + (isRight ? 2 : 1)
    }
    heap[index] = last
  }
  const after = (delayMs: number, run: () => void): void => {
    const item = { at: now() + Math.ceil(delayMs), order: order++, run }
    const first = heap[0]
    push(item)
    if (first === undefined || isBefore(item, first)) changed.openUnsafe()
  }
  const turn = Effect.suspend(() => {
    changed.closeUnsafe()
    for (let item = heap[0]; item !== undefined && item.at <= now(); item = heap[0]) {
      shift()
      item.run()
    }
    const next = heap[0]
    return next === undefined ? changed.await : Effect.timeoutOption(changed.await, Math.max(next.at - now(), 0))
  })
  // A defect in a callback is the scheduler's: it must not pass unseen.
  yield* Effect.forever(turn).pipe(
    Effect.tapCause((cause) => Effect.logError("the simulated pool has died", cause)),
    Effect.forkScoped({ startImmediately: true })
  )
  return { now, after }
})
