/**
 * Pools as they are applied and listed. design/02 `heddle.rpc.pool.list|apply`, design/04 section 1.
 */
import * as Schema from "effect/Schema"
import { Snapshot } from "./Claim.ts"
import { Labels } from "./Sandbox.ts"
import { DurationMs } from "./Time.ts"
import { MemberId, Namespace, PoolName, SessionId, Token } from "./Token.ts"

export const queueLengthMaxDefault = 10_000
export const inflightCasMaxDefault = 128

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))

/** One scale policy plugin with its config: `{policy: "schedule", config: {...}}`. */
export const ScalePolicyUse = Schema.Struct({
  /** Scale policy plugin: `buffer`, `schedule`, ... */
  policy: Token,
  /** What that plugin takes. */
  config: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
})
export type ScalePolicyUse = typeof ScalePolicyUse.Type

/** Makes a pool follow its demand between `min` and `max`; `{}` is the buffer policy: idle buffer + waiting + claimed. design/04 point 12. */
export const Autoscale = Schema.Struct({
  /** The largest of their targets counts; `[{policy: "buffer"}]` when not given. */
  policies: Schema.optionalKey(Schema.Array(ScalePolicyUse)),
  /** Between two increases that no waiting claim asks for; 0 when not given. */
  upCooldown: Schema.optionalKey(DurationMs),
  /** From the last increase or demand to the first decrease; 60 s when not given. */
  downCooldown: Schema.optionalKey(DurationMs)
})
export type Autoscale = typeof Autoscale.Type

/** A sandbox is replaced instead of being used again once it has served `maxUses` claims or is older than `maxAge`. */
export const Recycle = Schema.Struct({
  /** Claims that one sandbox serves at most; unlimited when not given. */
  maxUses: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
  /** Unlimited when not given. */
  maxAge: Schema.optionalKey(DurationMs)
})
export type Recycle = typeof Recycle.Type

/** Sandboxes that one team may hold at once. */
export const Quotas = Schema.Struct({
  /** Of a team that `teams` does not name; unlimited when not given. */
  default: Schema.optionalKey(Count),
  /** By team. */
  teams: Schema.optionalKey(Schema.Record(Schema.String, Count)),
  /** A claim over its team's quota waits for one of the team's to end (default), or is refused with `QuotaExceeded`. */
  whenReached: Schema.optionalKey(Schema.Literals(["wait", "refuse"]))
})
export type Quotas = typeof Quotas.Type

/** What a pool is made of. `provider` names a pool provider plugin; `config` is decoded by that plugin's schema. */
export const PoolSpec = Schema.Struct({
  namespace: Schema.optionalKey(Namespace),
  name: PoolName,
  provider: Token,
  /** Sandboxes kept by a pool of fixed size, which names it. An autoscaled pool keeps between `min` and `max` and begins with `size`, or `min`. */
  size: Schema.optionalKey(Count),
  /** Never fewer, also without demand; 0 when not given: scales to zero (together with `minIdle` 0). */
  min: Schema.optionalKey(Count),
  /** Never more; 100 000 when not given. */
  max: Schema.optionalKey(Count),
  /** The idle buffer: sandboxes kept idle beyond the demand; 1 when not given. */
  minIdle: Schema.optionalKey(Count),
  /** Makes the pool follow its demand between `min` and `max`; `{}` is enough. Not given: a pool of fixed size. */
  autoscale: Schema.optionalKey(Autoscale),
  /** Sandboxes begun per second at most, in bursts of one second's worth; unlimited when not given. */
  createPerSecond: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))),
  /** Sandboxes under creation at once; 32 when not given. */
  creatingMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))),
  /** When a used sandbox is replaced instead of being used again; never when not given. */
  recycle: Schema.optionalKey(Recycle),
  /** How many sandboxes a team may hold at once; unlimited when not given. */
  quotas: Schema.optionalKey(Quotas),
  /** Gives nothing out any more and lets its sandboxes go as their claims end (`heddle pools drain`). */
  drain: Schema.optionalKey(Schema.Boolean),
  /** What the provider takes. */
  config: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  /** Of the pool and each of its sandboxes: envs and claims select by them. */
  labels: Schema.optionalKey(Labels),
  /** Placement policy plugin of the task lanes: `fifo` (when not given), `priority`, `fair-share` (docs/placement.md), or one of your own. */
  policy: Schema.optionalKey(Token),
  /** Weights of teams in the fair share; a team not named weighs 1. */
  teams: Schema.optionalKey(Schema.Record(Schema.String, Schema.Finite.check(Schema.isGreaterThan(0)))),
  /** Claims that may wait at once, then `QueueFull`; 10 000 when not given. */
  queueLengthMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))),
  /** Claims' writes on their way to the provider at once; 128 when not given. */
  inflightCasMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))),
  /** Lease of claims that name no ttl. */
  ttl: Schema.optionalKey(DurationMs),
  /** What a release does: `recycle` resets the sandbox and keeps it, `delete` replaces it. */
  release: Schema.optionalKey(Schema.Literals(["recycle", "delete"])),
  /** Who keeps it as it is: a pool source, which changes and deletes it; not given: whoever applies it. */
  source: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256)))
})
export type PoolSpec = typeof PoolSpec.Type

/** The pool that a bare name means. */
export const namespaceDefault: Namespace = Namespace.make("default")

export const sizeMax = 100_000
export const minIdleDefault = 1
export const creatingMaxDefault = 32
export const downCooldownDefaultMs = 60_000

/** A fixed pool has its `size`; an autoscaled one follows demand. */
export const isAutoscaled = (spec: PoolSpec): boolean => spec.autoscale !== undefined

/** What a pool keeps at its start, before any demand is known. */
export const sizeOf = (spec: PoolSpec): number =>
  spec.drain === true
    ? 0
    : isAutoscaled(spec)
    ? Math.max(spec.min ?? 0, Math.min(spec.size ?? spec.min ?? 0, spec.max ?? sizeMax))
    : spec.size ?? 0

/** The most sandboxes that a pool may ever have. */
export const mostOf = (spec: PoolSpec): number => isAutoscaled(spec) ? spec.max ?? sizeMax : sizeOf(spec)

/** A pool with its owner and counters. `size`: what it keeps now; of an autoscaled pool the target of this moment. */
export const PoolView = Schema.Struct({
  namespace: Namespace,
  name: PoolName,
  provider: Token,
  size: Schema.Int,
  owner: Schema.NullOr(MemberId),
  spec: PoolSpec,
  snapshot: Schema.optionalKey(Snapshot)
})
export type PoolView = typeof PoolView.Type
export const PoolList = Schema.Struct({ items: Schema.Array(PoolView), next: Schema.optionalKey(Schema.String) })
export type PoolList = typeof PoolList.Type

/** What `heddle.rpc.pool.delete` is told. Waiting claims are answered, and all sandboxes go, claimed ones too: `heddle pools drain` first spares those. */
export const PoolDelete = Schema.Struct({ namespace: Schema.optionalKey(Namespace), name: PoolName })
export type PoolDelete = typeof PoolDelete.Type

/** Changes what a pool keeps, and nothing else of it. */
export const PoolScale = Schema.Struct({
  namespace: Schema.optionalKey(Namespace),
  name: PoolName,
  size: Schema.optionalKey(Count),
  min: Schema.optionalKey(Count),
  max: Schema.optionalKey(Count),
  minIdle: Schema.optionalKey(Count),
  drain: Schema.optionalKey(Schema.Boolean)
})
export type PoolScale = typeof PoolScale.Type

/** What a pool's owner tells the other replicas of its counters while they change (`heddle.pool.<ns>.<pool>.tidings`), for the ranking of envs. */
export const PoolTidings = Schema.Struct({
  sessionId: SessionId,
  idleReady: Schema.Int,
  queueLen: Schema.Int,
  claimed: Schema.Int,
  total: Schema.Int,
  max: Schema.Int,
  isDraining: Schema.Boolean
})
export type PoolTidings = typeof PoolTidings.Type
