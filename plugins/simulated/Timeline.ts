/**
 * What will happen when, in a simulated pool: callbacks in order of (time, arrival), run by one fiber on Effect's Clock.
 *
 * Under a TestClock nothing happens until the test moves it, and then in exactly this order: a run is the same for the same seed.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

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
  /** Never succeeds; dies with what a callback has thrown: nothing happens from then on. */
  readonly failure: Effect.Effect<never>
}

/** What is to happen, soonest first. */
class Agenda {
  private readonly heap: Array<Item> = []
  private order = 0

  get first(): Item | undefined {
    return this.heap[0]
  }

  /** True: it is the next one now. */
  add(at: number, run: () => void): boolean {
    const item = { at, order: this.order++, run }
    const { heap } = this
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
    return index === 0
  }

  /** Takes the next one if it is due. */
  due(now: number): Item | undefined {
    const item = this.heap[0]
    if (item === undefined || item.at > now) return undefined
    this.shift()
    return item
  }

  private shift(): void {
    const { heap } = this
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
}

const atOnceMax = 256

/** Ends with its scope; what has not happened by then never will. */
export const make: Effect.Effect<Timeline, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const agenda = new Agenda()
  const changed = yield* Latch.make(false)
  const now = () => clock.currentTimeMillisUnsafe()
  const after = (delayMs: number, run: () => void): void => {
    if (agenda.add(now() + Math.ceil(delayMs), run)) changed.openUnsafe()
  }
  const turn = Effect.suspend(() => {
    changed.closeUnsafe()
    // Thousands of sandboxes that start at once do not keep the process from its messages.
    for (let left = atOnceMax; left > 0; left--) {
      const item = agenda.due(now())
      if (item === undefined) break
      item.run()
      if (left === 1) return Effect.yieldNow
    }
    const next = agenda.first
    return next === undefined ? changed.await : Effect.timeoutOption(changed.await, Math.max(next.at - now(), 0))
  })
  const died = Deferred.makeUnsafe<never>()
  // A defect in a callback is the scheduler's, whose pools would stand still.
  yield* Effect.forever(turn).pipe(
    Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Deferred.failCause(died, cause)),
    Effect.forkScoped({ startImmediately: true })
  )
  return { now, after, failure: Deferred.await(died) }
})

/** Timelines by clock, each with those who use it. */
const held = new WeakMap<
  Clock.Clock,
  { readonly timeline: Timeline; readonly scope: Scope.Closeable; users: number }
>()
const holding = Semaphore.makeUnsafe(1)

/** One timeline for all pools of a process, so that hundreds of them cost one fiber; what a pool has asked for does not happen after its scope. */
export const shared: Effect.Effect<Timeline, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const join = holding.withPermits(1)(Effect.gen(function*() {
    let found = held.get(clock)
    if (found === undefined) {
      const scope = yield* Scope.make()
      found = { timeline: yield* Scope.provide(make, scope), scope, users: 0 }
      held.set(clock, found)
    }
    found.users++
    return { ...found.timeline, isOpen: true }
  }))
  const leave = holding.withPermits(1)(Effect.suspend(() => {
    const found = held.get(clock)
    if (found === undefined || --found.users > 0) return Effect.void
    held.delete(clock)
    return Scope.close(found.scope, Exit.void)
  }))
  const own = yield* Effect.acquireRelease(join, (joined) => {
    joined.isOpen = false
    return leave
  })
  return {
    now: own.now,
    failure: own.failure,
    after: (delayMs, run) =>
      own.after(delayMs, () => {
        if (own.isOpen) run()
      })
  }
})

/** A timeline whose time moves only when it is told to: for simulations of many seeds, without a fiber. */
export interface VirtualTimeline extends Timeline {
  /** Moves time on and runs all that becomes due meanwhile, also what that asks for, each at its time. What it throws comes out here. */
  readonly advance: (ms: number) => void
}

/** Begins at `startMs`. */
export const virtual = (startMs = 0): VirtualTimeline => {
  const agenda = new Agenda()
  let nowMs = startMs
  return {
    now: () => nowMs,
    after: (delayMs, run) => void agenda.add(nowMs + Math.ceil(delayMs), run),
    failure: Effect.never,
    advance: (ms) => {
      const untilMs = nowMs + ms
      for (let item = agenda.due(untilMs); item !== undefined; item = agenda.due(untilMs)) {
        nowMs = Math.max(nowMs, item.at)
        item.run()
      }
      nowMs = untilMs
    }
  }
}
