/**
 * The one timer behind `Alarms`: sleeps until the earliest time it was given, then calls back. Time is Effect's Clock, so tests move it.
 *
 * Arming is synchronous and costs nothing unless the new time is earlier than the armed one; it may ring early (what it was armed for has gone), never late.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

export interface AlarmClock {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Rings at `at` at the latest, unless it rings before. Infinity is ignored. */
  readonly arm: (at: number) => void
  /** Never ends by itself; a defect in the callback ends it, and with it whoever runs it. */
  readonly run: Effect.Effect<never>
}

/** `ring` gets the time and answers when it wants to be called next (Infinity: until armed). */
export const make = (ring: (now: number) => number): Effect.Effect<AlarmClock> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const changed = yield* Latch.make(false)
    let armedAt = Infinity
    const now = () => clock.currentTimeMillisUnsafe()
    const arm = (at: number): void => {
      if (at >= armedAt) return
      armedAt = at
      changed.openUnsafe()
    }
    const turn = Effect.suspend(() => {
      changed.closeUnsafe()
      const waitMs = Math.ceil(armedAt - now())
      if (waitMs > 0) return waitMs === Infinity ? changed.await : Effect.timeoutOption(changed.await, waitMs)
      armedAt = Infinity
      arm(ring(now()))
      return Effect.void
    })
    return { now, arm, run: Effect.forever(turn) }
  })
