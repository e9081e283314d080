/**
 * Time for synchronous code: what time it is, and calling back after a while. Behind it are Effect's Clock and Random, so tests move both.
 *
 * For rare things (a retry's wait, a flush of logs): each call costs a fiber. Nothing is called back after the scope is closed; a callback that throws is a
 * broken invariant and goes to `onDefect`, which takes the service down.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"

export interface Later {
  readonly nowMs: () => number
  readonly after: (delayMs: number, run: () => void) => void
  /** The wait before attempt `attempt` (1, 2, ...): doubles from `firstMs` to `maxMs`, plus or minus a fifth. */
  readonly backoffMs: (attempt: number, firstMs: number, maxMs: number) => number
  /** Writes a line into the service's log. */
  readonly warn: (text: string) => void
}

export const make = (onDefect: (cause: unknown) => void): Effect.Effect<Later, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    const fork = yield* FiberSet.makeRuntime<never, void, never>()
    return {
      nowMs: () => clock.currentTimeMillisUnsafe(),
      after: (delayMs, run) => {
        fork(
          Effect.sleep(delayMs).pipe(
            Effect.andThen(Effect.sync(run)),
            Effect.catchDefect((cause) => Effect.sync(() => onDefect(cause)))
          )
        )
      },
      backoffMs: (attempt, firstMs, maxMs) =>
        Math.round(Math.min(firstMs * 2 ** Math.min(attempt - 1, 20), maxMs) * (0.8 + 0.4 * random.nextDoubleUnsafe())),
      warn: (text) => {
        fork(Effect.logWarning(text))
      }
    }
  })
