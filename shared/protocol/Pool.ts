/**
 * Pools as they are applied and listed. design/02 `heddle.rpc.pool.list|apply`, design/04 section 1.
 */
import * as Schema from "effect/Schema"
import { Snapshot } from "./Claim.ts"
import { Labels } from "./Sandbox.ts"
import { DurationMs } from "./Time.ts"
import { MemberId, Namespace, PoolName, Token } from "./Token.ts"

export const queueLengthMaxDefault = 10_000
export const inflightCasMaxDefault = 128

/** What a pool is made of. `provider` names a pool provider plugin; `config` is decoded by that plugin's schema. */
export const PoolSpec = Schema.Struct({
  namespace: Schema.optionalKey(Namespace),
  name: PoolName,
  provider: Token,
  /** Sandboxes kept (fixed size); an autoscaled pool keeps between `min` and `max`. */
  size: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 })),
  config: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  labels: Schema.optionalKey(Labels),
  /** Placement policy plugin of the task lanes; `fifo` when not given. */
  policy: Schema.optionalKey(Token),
  /** Weights of teams in the fair share; a team not named weighs 1. */
  teams: Schema.optionalKey(Schema.Record(Schema.String, Schema.Finite.check(Schema.isGreaterThan(0)))),
  queueLengthMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))),
  inflightCasMax: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))),
  /** Lease of claims that name no ttl. */
  ttl: Schema.optionalKey(DurationMs),
  /** What a release does: `recycle` resets the sandbox and keeps it, `delete` replaces it. */
  release: Schema.optionalKey(Schema.Literals(["recycle", "delete"]))
})
export type PoolSpec = typeof PoolSpec.Type

/** The pool that a bare name means. */
export const namespaceDefault: Namespace = Namespace.make("default")

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
