/**
 * The live clock plus what a test has skipped: `skip` moves it forward at once, and whoever sleeps until then wakes.
 *
 * Time also passes by itself, so a service under this clock keeps its heartbeats and back-offs while its I/O is real; a case skips the 30 seconds of a retry instead of waiting
 * for them. Given to the service's layer alone: the connection keeps the live clock, so requests in flight do not time out in a skip.
 */
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

export class SkippingClock implements Clock.Clock {
  readonly #live: Clock.Clock
  #skippedMs = 0
  #skip = Deferred.makeUnsafe<void>()

  constructor(live: Clock.Clock) {
    this.#live = live
  }

  /** Moves time forward by `ms`. */
  skip(ms: number): void {
    this.#skippedMs += ms
    const before = this.#skip
    this.#skip = Deferred.makeUnsafe<void>()
    Deferred.doneUnsafe(before, Effect.void)
  }

  /** Moves time forward to this moment; does nothing when it has passed: so what the machine took meanwhile is not skipped on top. */
  skipTo(epochMs: number): void {
    this.skip(Math.max(0, epochMs - this.currentTimeMillisUnsafe()))
  }

  currentTimeMillisUnsafe(): number {
    return this.#live.currentTimeMillisUnsafe() + this.#skippedMs
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  currentTimeNanosUnsafe(): bigint {
    return this.#live.currentTimeNanosUnsafe() + BigInt(this.#skippedMs) * 1_000_000n
  }
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  monotonicTimeNanosUnsafe(): bigint {
    return this.#live.monotonicTimeNanosUnsafe() + BigInt(this.#skippedMs) * 1_000_000n
  }
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.suspend(() => this.#until(this.currentTimeMillisUnsafe() + Duration.toMillis(duration)))
  }

  #until(due: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const left = due - this.currentTimeMillisUnsafe()
      return left <= 0
        ? Effect.void
        : Effect.andThen(
          Effect.raceFirst(this.#live.sleep(Duration.millis(left)), Deferred.await(this.#skip)),
          this.#until(due)
        )
    })
  }
}
