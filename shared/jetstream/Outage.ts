/**
 * Waiting for a broker that is away.
 *
 * Keeps true: time without a connection never makes anything give up, however long it lasts, and neither does time in which the server is there and JetStream is not (a cluster that
 * has lost its majority); a broker that is there and goes on refusing for `forMs` does, so that what is really broken is told and not hidden behind retries.
 * docs/design/modules.md "shared/jetstream".
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { ask } from "./JetStreamApi.ts"
import type { Connection } from "./Nats.ts"

export interface OutlastOptions<E> {
  /** How long a connected broker may refuse, counted from the first failure; an attempt that went well for so long begins the count anew. */
  readonly forMs: number
  /** Failures that an outage explains. Any other ends it at once. */
  readonly isPassing: (error: E) => boolean
  /** Told before each wait. */
  readonly failed?: (error: E) => Effect.Effect<void>
  /** Between two attempts, with jitter; default from 50 ms doubling to 500 ms. */
  readonly waitMs?: { readonly first: number; readonly max: number }
}
const waitDefault = { first: 50, max: 500 }

type Broker = Pick<Connection, "clock" | "isConnected" | "request">

/** Does JetStream answer, whatever it says? Where a cluster has no leader, nobody does, or a server says that it is not available. */
const isServing = (nats: Broker): Effect.Effect<boolean> =>
  ask<unknown>(nats, "INFO", undefined).pipe(
    Effect.match({ onFailure: (error) => !error.isTransient, onSuccess: () => true })
  )

/** Runs the effect again while it fails for a reason that passes. */
export const outlast =
  <E>(nats: Broker, options: OutlastOptions<E>) => <A, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function*() {
      const { first, max } = options.waitMs ?? waitDefault
      const now = () => nats.clock.currentTimeMillisUnsafe()
      let failingSince: number | undefined
      let waitMs = first
      while (true) {
        const begun = now()
        const wasConnected = nats.isConnected
        const result = yield* Effect.result(effect)
        if (Result.isSuccess(result)) return result.success
        const error = result.failure
        if (!options.isPassing(error)) return yield* Effect.fail(error)
        if (now() - begun >= options.forMs) waitMs = first
        const isAway = !wasConnected || !nats.isConnected
        if (isAway || now() - begun >= options.forMs) failingSince = undefined
        else failingSince ??= begun
        if (failingSince !== undefined && now() - failingSince >= options.forMs) {
          if (yield* isServing(nats)) return yield* Effect.fail(error)
          failingSince = undefined
        }
        if (options.failed !== undefined) yield* options.failed(error)
        yield* Effect.sleep(Math.ceil(waitMs * (0.5 + (yield* Random.next))))
        waitMs = Math.min(max, waitMs * 2)
      }
    })
