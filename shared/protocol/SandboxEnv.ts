/**
 * An env as a Kubernetes object: `SandboxEnv`, group heddle.dev/v1alpha1. It groups pools; a claim to it goes to the member that is best at that moment.
 *
 * Says what `EnvSpec` says; its name and namespace are the env's. The custom resource definition in infra/crds is generated from these schemas. Follows design/04 section 1,
 * "EnvScheduler".
 */
import * as Schema from "effect/Schema"
import { EnvSpec } from "./Env.ts"
import { Condition } from "./SandboxPool.ts"
import { MemberId, PoolName } from "./Token.ts"

const { name: _name, namespace: _namespace, source: _source, ...fields } = EnvSpec.fields

/** Members by name, by label, or both. */
export const SandboxEnvSpec = Schema.Struct(fields)
export type SandboxEnvSpec = typeof SandboxEnvSpec.Type

/** A pool that belongs to the env, as its status names it. */
export const SandboxEnvMember = Schema.Struct({
  /** Its name. */
  pool: PoolName,
  /** `Serving`: takes claims. `Draining`: takes none any more. `NoOwner`: no pool scheduler serves it. `Missing`: named in `spec.members`, and there is no such pool. */
  state: Schema.Literals(["Serving", "Draining", "NoOwner", "Missing"]),
  /** The pool scheduler that serves it. */
  owner: Schema.optionalKey(MemberId)
})
export type SandboxEnvMember = typeof SandboxEnvMember.Type

/** Members that a status names; the others are counted. */
export const statusMembersMax = 100

/** Written by the pool schedulers, at most every 3 s, when something in it has changed: the spec, or which pools belong to it and whether they serve. Counters are the pools' own. */
export const SandboxEnvStatus = Schema.Struct({
  /** The `metadata.generation` that was judged last. */
  observedGeneration: Schema.optionalKey(Schema.Int),
  /** Members that take claims, of all: `2/3`. */
  ready: Schema.optionalKey(Schema.String),
  /** How many pools belong to it, the missing ones of `spec.members` too. */
  memberCount: Schema.optionalKey(Schema.Int),
  /** The pools that `members` and `selector` mean now, by name: the first 100. */
  members: Schema.optionalKey(Schema.Array(SandboxEnvMember).check(Schema.isMaxLength(statusMembersMax))),
  /**
   * `Accepted`: the mesh takes the spec (reasons `Applied`, `Refused`). `Ready`: at least one member takes claims (`Serving`); else `NoMembers`, `NoneServing` or `Refused`.
   */
  conditions: Schema.optionalKey(Schema.Array(Condition).check(Schema.isMaxLength(16)))
})
export type SandboxEnvStatus = typeof SandboxEnvStatus.Type
