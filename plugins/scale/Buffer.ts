/**
 * The scale policy `buffer`: an idle buffer on top of the demand (waiting + claimed), as a number, as a share of what is claimed, or the larger of both.
 *
 * Reactive: whoever waits raises the target at once. Proactive: while anything is claimed at least `spare` stay idle, so that the next claim need not wait; with nothing
 * claimed, nothing waiting and `minIdle` 0 the pool goes to zero. Pure. Follows design/04 point 12.
 */
import * as Schema from "effect/Schema"
import { make, type ScaleView } from "../../shared/plugin/ScalePolicy.ts"

export const Config = Schema.Struct({
  /** Idle sandboxes as a part of those in use: 0.2 keeps one idle for five. 0 when not given. */
  idleShare: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 10 }))),
  /** Kept idle while something is claimed, even with `minIdle` 0; 1 when not given. */
  spare: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })))
})
export type Config = typeof Config.Type

export const target = ({ idleShare = 0, spare = 1 }: Config, { claimed, minIdle, waiting }: ScaleView): number => {
  const demand = waiting + claimed
  const idle = Math.max(minIdle, claimed > 0 ? spare : 0, Math.ceil(demand * idleShare))
  return demand + idle
}

export const buffer = make({
  name: "buffer",
  config: Config,
  open: (config) => ({ decide: (view) => ({ target: target(config, view) }) })
})
