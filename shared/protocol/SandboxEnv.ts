/**
 * An env as a Kubernetes object: `SandboxEnv`, group heddle.dev/v1alpha1. It groups pools; a claim to it goes to the member that is best at that moment.
 *
 * The custom resource definition in infra/crds is generated from these schemas. Follows design/04 section 1, "EnvScheduler".
 */
import * as Schema from "effect/Schema"
import { Labels } from "./Sandbox.ts"
import { Condition } from "./SandboxPool.ts"
import { PoolName } from "./Token.ts"

export const membersMax = 100
const Weight = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1_000 }))

/** A pool named by the env; of two that could serve a claim, the one with the higher priority is preferred. */
export const SandboxEnvMember = Schema.Struct({
  pool: PoolName,
  /** 0 when not given. */
  priority: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 })))
})
export type SandboxEnvMember = typeof SandboxEnvMember.Type

/** How much each score counts in the ranking of members; 1 when not given, 0: not at all. */
export const RankingWeights = Schema.Struct({
  /** Of the member, as the env gives it. */
  priority: Schema.optionalKey(Weight),
  /** Sandboxes that are idle now. */
  idle: Schema.optionalKey(Weight),
  /** What the pool may still grow by. */
  headroom: Schema.optionalKey(Weight),
  /** Claims that wait there already. */
  queue: Schema.optionalKey(Weight),
  /** Refusals a moment ago (`QueueFull`), with a cool-down. */
  saturation: Schema.optionalKey(Weight)
})
export type RankingWeights = typeof RankingWeights.Type

/** Members by name, by label, or both. */
export const SandboxEnvSpec = Schema.Struct({
  members: Schema.optionalKey(Schema.Array(SandboxEnvMember).check(Schema.isMaxLength(membersMax))),
  /** Pools of this namespace that carry all of these labels. */
  selector: Schema.optionalKey(Labels),
  ranking: Schema.optionalKey(RankingWeights)
})
export type SandboxEnvSpec = typeof SandboxEnvSpec.Type

export const SandboxEnvStatus = Schema.Struct({
  observedGeneration: Schema.optionalKey(Schema.Int),
  /** How many pools it has now. */
  members: Schema.optionalKey(Schema.Int),
  idle: Schema.optionalKey(Schema.Int),
  pendingRequests: Schema.optionalKey(Schema.Int),
  conditions: Schema.optionalKey(Schema.Array(Condition).check(Schema.isMaxLength(16)))
})
export type SandboxEnvStatus = typeof SandboxEnvStatus.Type
