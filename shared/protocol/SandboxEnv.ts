/**
 * An env as a Kubernetes object: `SandboxEnv`, group heddle.dev/v1alpha1. It groups pools; a claim to it goes to the member that is best at that moment.
 *
 * Says what `EnvSpec` says; its name and namespace are the env's. The custom resource definition in infra/crds is generated from these schemas. Follows design/04 section 1,
 * "EnvScheduler".
 */
import * as Schema from "effect/Schema"
import { EnvSpec } from "./Env.ts"
import { Condition } from "./SandboxPool.ts"

const { name: _name, namespace: _namespace, source: _source, ...fields } = EnvSpec.fields

/** Members by name, by label, or both. */
export const SandboxEnvSpec = Schema.Struct(fields)
export type SandboxEnvSpec = typeof SandboxEnvSpec.Type

/** Written when the mesh has taken or refused the spec. */
export const SandboxEnvStatus = Schema.Struct({
  /** The `metadata.generation` that was judged last. */
  observedGeneration: Schema.optionalKey(Schema.Int),
  /** `Accepted`: the mesh takes the spec. */
  conditions: Schema.optionalKey(Schema.Array(Condition).check(Schema.isMaxLength(16)))
})
export type SandboxEnvStatus = typeof SandboxEnvStatus.Type
