/**
 * The scale policies of one pool while it is owned: made from its spec, asked by `Autoscaler`, and their fetches run beside the scheduler.
 *
 * A fetch that fails or takes too long is told in the log once until the next success; the last answer stays in force. A changed spec starts anew.
 */
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import type * as Scope from "effect/Scope"
import type { ScaleDecider, ScalePolicy } from "../../shared/plugin/ScalePolicy.ts"
import {
  downCooldownDefaultMs,
  isAutoscaled,
  minIdleDefault,
  type PoolSpec,
  sizeMax,
  sizeOf
} from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"
import { Autoscaler, type ScaleCounts } from "./Autoscaler.ts"

export interface AutoscalingOptions {
  readonly pool: PoolRef
  readonly policies: ReadonlyMap<string, ScalePolicy>
  readonly now: () => EpochMs
  readonly counts: () => ScaleCounts
  /** A fetch has answered: the target is to be decided anew. */
  readonly onFetched: () => void
}

export interface Autoscaling {
  /** The autoscaler of this spec, its fetches running in the place of those before. Undefined: a fixed size. */
  readonly configure: (spec: PoolSpec, target: number) => Autoscaler | undefined
  /** Never succeeds; dies with the defect of a fetch, or of what it has told. */
  readonly failure: Effect.Effect<never>
}

export const policyDefault = "buffer"

export const make = (options: AutoscalingOptions): Effect.Effect<Autoscaling, never, Scope.Scope> =>
  Effect.gen(function*() {
    const fetching = yield* FiberHandle.make<void, never>()
    const run = yield* FiberHandle.runtime(fetching)<never>()

    const fetchLoop = (autoscaler: Autoscaler, decider: ScaleDecider, index: number, name: string) => {
      const { fetch } = decider
      if (fetch === undefined) return Effect.void
      let isFailing = false
      const once = Effect.suspend(() => fetch.run(autoscaler.viewOf(options.counts(), options.now()))).pipe(
        Effect.map((wish) => {
          isFailing = false
          autoscaler.setFetched(index, wish)
          options.onFetched()
        }),
        Effect.catch((error) => {
          if (isFailing) return Effect.void
          isFailing = true
          return Effect.logWarning(
            `scale policy ${name} of pool ${poolKey(options.pool)}: ${error.message}; its last answer stays in force`
          )
        })
      )
      return Effect.forever(Effect.andThen(once, Effect.sleep(fetch.everyMs)))
    }

    return {
      failure: Effect.andThen(FiberHandle.join(fetching), Effect.never),
      configure: (spec, target) => {
        if (!isAutoscaled(spec)) {
          run(Effect.void)
          return undefined
        }
        const uses = spec.autoscale?.policies ?? [{ policy: policyDefault }]
        const named = uses.flatMap((use) => {
          const policy = options.policies.get(use.policy)
          return policy === undefined ? [] : [{ name: use.policy, decider: policy.open(use.config) }]
        })
        const min = spec.min ?? 0
        const max = spec.max ?? sizeMax
        const autoscaler = new Autoscaler({
          pool: options.pool,
          min,
          max,
          minIdle: spec.minIdle ?? minIdleDefault,
          upCooldownMs: spec.autoscale?.upCooldown ?? 0,
          downCooldownMs: spec.autoscale?.downCooldown ?? downCooldownDefaultMs,
          deciders: named.map((one) => one.decider),
          initial: Math.max(min, Math.min(Math.max(target, sizeOf(spec)), max))
        })
        run(
          Effect.asVoid(
            Effect.forEach(named, ({ decider, name }, index) => fetchLoop(autoscaler, decider, index, name), {
              concurrency: "unbounded"
            })
          )
        )
        return autoscaler
      }
    }
  })
