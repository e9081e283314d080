/**
 * Envs: several pools under one name; a claim to an env gets a sandbox of the member that is best for it now. design/02 `heddle.rpc.env.*`, design/04 EnvScheduler.
 */
import * as Schema from "effect/Schema"
import { Labels } from "./Sandbox.ts"
import { DurationMs } from "./Time.ts"
import { MemberId, Namespace, PoolName, Token } from "./Token.ts"

export const EnvName = Token.pipe(Schema.brand("EnvName"))
export type EnvName = typeof EnvName.Type

/** One pool of the env's namespace. `priority`: the highest first; 0 when not given. */
export const EnvMember = Schema.Struct({
  /** Name of a pool in the same namespace. */
  pool: PoolName,
  /** The highest first; 0 when not given. */
  priority: Schema.optionalKey(Schema.Int)
})
export type EnvMember = typeof EnvMember.Type

const Weight = Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })))
/** What each part of a member's score weighs. Not given: priority 100, idle 10, headroom 5, queue 10, saturation 50. */
export const EnvWeights = Schema.Struct({
  /** Of the member, as `members` gives it. */
  priority: Weight,
  /** Something is idle there now; half of it for the first, nearly all for many. */
  idle: Weight,
  /** What it may still create below its maximum, as a part of the maximum. */
  headroom: Weight,
  /** Taken off for the claims that wait there, as a part of the pool. */
  queue: Weight,
  /** Taken off while it was full a moment ago. */
  saturation: Weight
})
export type EnvWeights = typeof EnvWeights.Type

/** Members: those of the list, and every pool of the namespace whose labels match `selector`. */
export const EnvSpec = Schema.Struct({
  namespace: Schema.optionalKey(Namespace),
  name: EnvName,
  /** Pools by name. */
  members: Schema.optionalKey(Schema.Array(EnvMember)),
  /** And every pool of the namespace that has these labels. */
  selector: Schema.optionalKey(Labels),
  /** What counts how much when members are compared. */
  weights: Schema.optionalKey(EnvWeights),
  /** How long a member that answered `QueueFull` is ranked behind the others; 5 s when not given. */
  saturationCooldown: Schema.optionalKey(DurationMs),
  /** Of the env. */
  labels: Schema.optionalKey(Labels),
  /** Who keeps it as it is: a pool source, which changes and deletes it; not given: whoever applies it. */
  source: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256)))
})
export type EnvSpec = typeof EnvSpec.Type

/** A member as the env sees it now: its counters (none: not told yet) and its score, best first. */
export const EnvMemberView = Schema.Struct({
  pool: PoolName,
  owner: Schema.NullOr(MemberId),
  score: Schema.Finite,
  /** `Open`: has what a claim asks for idle now. The others are ranked behind: `Busy` (the claim would wait), `Unknown` (not heard of), ... */
  standing: Schema.Literals(["Open", "Busy", "Saturated", "Draining", "Unknown", "TooSmall"]),
  idleReady: Schema.optionalKey(Schema.Int),
  queueLen: Schema.optionalKey(Schema.Int),
  claimed: Schema.optionalKey(Schema.Int),
  total: Schema.optionalKey(Schema.Int)
})
export type EnvMemberView = typeof EnvMemberView.Type

export const EnvView = Schema.Struct({
  namespace: Namespace,
  name: EnvName,
  spec: EnvSpec,
  members: Schema.Array(EnvMemberView)
})
export type EnvView = typeof EnvView.Type
export const EnvList = Schema.Struct({ items: Schema.Array(EnvView), next: Schema.optionalKey(Schema.String) })
export type EnvList = typeof EnvList.Type

/** Names an env in `heddle.rpc.env.delete`. Its pools stay. */
export const EnvRef = Schema.Struct({ namespace: Schema.optionalKey(Namespace), name: EnvName })
export type EnvRef = typeof EnvRef.Type
