/**
 * A scale policy: how many sandboxes an autoscaled pool should have now. Contributed by a plugin under `scalePolicies`; a pool names it in `autoscale.policies`.
 *
 * `decide` is pure, synchronous and cheap: it is asked whenever the pool's demand changes. A policy that must ask somebody does so in `fetch`, beside the
 * scheduler, every `fetchMs`; the last answer is handed to `decide`, so a failed or slow fetch leaves the last target in force. The host applies min, max,
 * cooldowns and the rate of creation, for every policy alike. Follows design/04 point 12.
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Problem } from "../protocol/ErrorCode.ts"
import type { PoolRef } from "../protocol/Sandbox.ts"
import type { EpochMs } from "../protocol/Token.ts"

/** A pool in one moment. Counts of sandboxes; `waiting` of sandboxes asked for by claims without a result. */
export interface ScaleView {
  readonly pool: PoolRef
  readonly now: EpochMs
  readonly idle: number
  readonly waiting: number
  readonly claimed: number
  readonly creating: number
  readonly total: number
  readonly target: number
  /** Of the pool's spec, with its defaults. */
  readonly min: number
  readonly max: number
  readonly minIdle: number
}

/** What a policy wants; what it leaves out it leaves to the pool's spec and to the other policies. */
export interface ScaleWish {
  /** Sandboxes in all. */
  readonly target?: number | undefined
  /** In the place of the spec's. */
  readonly min?: number | undefined
  readonly max?: number | undefined
  readonly minIdle?: number | undefined
  /** Ask again at this time at the latest, also when nothing changes. */
  readonly until?: EpochMs | undefined
}

export class ScalePolicyFailed extends Schema.TaggedError<ScalePolicyFailed>()("ScalePolicyFailed", {
  policy: Schema.String,
  message: Schema.String
}) {}

/** One policy made for one pool, from the config of its `autoscale.policies` entry. */
export interface ScaleDecider {
  /** `fetched`: the last answer of `fetch`; undefined before the first, and for a policy without. */
  readonly decide: (view: ScaleView, fetched: ScaleWish | undefined) => ScaleWish
  /** Asks elsewhere. Fails: the last answer stays in force, and it is asked again after the next `everyMs`. */
  readonly fetch?: {
    readonly everyMs: number
    readonly run: (view: ScaleView) => Effect.Effect<ScaleWish, ScalePolicyFailed>
  }
}

export interface ScalePolicy {
  readonly name: string
  /** Problems of a pool's config for it, empty when it is good; asked when a pool is applied. */
  validate(config: unknown): ReadonlyArray<Problem>
  /** Of a config that `validate` found good. */
  open(config: unknown): ScaleDecider
}

/** A policy whose config is decoded by a Schema. */
export const make = <Config>(options: {
  readonly name: string
  readonly config: Schema.Codec<Config, unknown>
  readonly problems?: (config: Config) => ReadonlyArray<Problem>
  readonly open: (config: Config) => ScaleDecider
}): ScalePolicy => {
  const decode = Schema.decodeUnknownResult(options.config, { errors: "all" })
  return {
    name: options.name,
    validate: (config) => {
      const result = decode(config ?? {})
      return result._tag === "Success"
        ? options.problems?.(result.success) ?? []
        : [{ path: "config", message: String(result.failure.message), value: config }]
    },
    open: (config) => {
      const result = decode(config ?? {})
      if (result._tag === "Failure") return { decide: () => ({}) }
      return options.open(result.success)
    }
  }
}

/** What the demand of this moment alone asks for: idle buffer + waiting + claimed (design/04 point 12). The target of a pool whose policies name none. */
export const demandOf = (view: ScaleView): number => view.minIdle + view.waiting + view.claimed
