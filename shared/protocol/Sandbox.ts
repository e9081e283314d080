/**
 * A sandbox: one warm unit of a pool (on Kubernetes a pod, on one machine a child process). Words of design/04.
 */
import * as Schema from "effect/Schema"
import { Namespace, PoolName, SandboxUid } from "./Token.ts"

export const Labels = Schema.Record(Schema.String, Schema.String)
export type Labels = typeof Labels.Type

/** Labels of a sandbox by which claims ask to be near something (`affinity`); its provider sets them where it knows them. */
export const nodeLabel = "heddle.dev/node"
export const zoneLabel = "heddle.dev/zone"

/** `Starting -> Idle -> Running -> Stopping -> Idle | Gone`. */
export const SandboxPhase = Schema.Literals(["Starting", "Idle", "Running", "Stopping", "Gone"])
export type SandboxPhase = typeof SandboxPhase.Type

/** What a claim's holder gets: enough to reach the sandbox. `address` is the provider's (`unix:/…`, `10.0.0.7:8080`). */
export const Sandbox = Schema.Struct({
  uid: SandboxUid,
  name: Schema.String,
  namespace: Namespace,
  provider: Schema.String,
  address: Schema.optionalKey(Schema.String),
  labels: Labels,
  /** Of a claimed one: the environment that the claim asked for, which processes started in it get. */
  env: Schema.optionalKey(Labels)
})
export type Sandbox = typeof Sandbox.Type

/** `<namespace>/<name>`: names a pool across namespaces. */
export const PoolRef = Schema.Struct({ namespace: Namespace, name: PoolName })
export type PoolRef = typeof PoolRef.Type
export const poolKey = (pool: PoolRef): string => `${pool.namespace}/${pool.name}`
