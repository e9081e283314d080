/**
 * SandboxPool and SandboxEnv objects as the specs that they mean to the mesh, and the status that is shown on them.
 *
 * Pure. Keeps true: an object's namespace and name are the pool's; what cannot be read is a refusal with its reason, never a pool that differs from what stands there.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import { EnvSpec } from "../../shared/protocol/Env.ts"
import { PoolSpec } from "../../shared/protocol/Pool.ts"
import { apiVersion, SandboxPoolSpec } from "../../shared/protocol/SandboxPool.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import { at, isObject, type JsonObject, listAt, textAt } from "./Json.ts"
import * as ResourceVersion from "./ResourceVersion.ts"

export type Kind = "SandboxPool" | "SandboxEnv"

export const plural: Readonly<Record<Kind, string>> = { SandboxPool: "sandboxpools", SandboxEnv: "sandboxenvs" }

/** An object as far as the source needs it. */
export interface DeclaredObject {
  readonly kind: Kind
  readonly uid: string
  readonly version: number
  readonly namespace: string
  readonly name: string
  readonly generation: number
  readonly isDeleting: boolean
  readonly spec: unknown
  readonly observedGeneration: number | undefined
  /** Its condition `Accepted`, as it stands. */
  readonly accepted: { readonly status: string; readonly message: string; readonly since: string } | undefined
}

export const read = (kind: Kind) => (object: unknown): DeclaredObject | undefined => {
  const uid = textAt(object, "metadata", "uid")
  const name = textAt(object, "metadata", "name")
  const namespace = textAt(object, "metadata", "namespace")
  const version = ResourceVersion.parse(at(object, "metadata", "resourceVersion"))
  if (uid === undefined || name === undefined || namespace === undefined || version === undefined) return undefined
  const generation = at(object, "metadata", "generation")
  const observed = at(object, "status", "observedGeneration")
  const accepted = listAt(object, "status", "conditions").find((one) => isObject(one) && one["type"] === "Accepted")
  return {
    kind,
    uid,
    version,
    namespace,
    name,
    generation: typeof generation === "number" ? generation : 0,
    isDeleting: at(object, "metadata", "deletionTimestamp") !== undefined,
    spec: at(object, "spec"),
    observedGeneration: typeof observed === "number" ? observed : undefined,
    accepted: accepted === undefined
      ? undefined
      : {
        status: textAt(accepted, "status") ?? "",
        message: textAt(accepted, "message") ?? "",
        since: textAt(accepted, "lastTransitionTime") ?? ""
      }
  }
}

/** `PoolSpec.source` of what a source made of objects in this cluster. */
const sourcePrefix = "kubernetes:"
export const sourceOf = (object: Pick<DeclaredObject, "namespace" | "name" | "uid">): string =>
  `${sourcePrefix}${object.namespace}/${object.name}:${object.uid}`
export const isOurs = (source: string | undefined): source is string => source?.startsWith(sourcePrefix) === true

const decodePoolObject = Schema.decodeUnknownResult(SandboxPoolSpec, { errors: "all" })
const decodePool = Schema.decodeUnknownResult(PoolSpec, { errors: "all" })
const decodeEnv = Schema.decodeUnknownResult(EnvSpec, { errors: "all" })

export const poolSpec = (object: DeclaredObject): Result.Result<PoolSpec, string> => {
  const decoded = decodePoolObject(object.spec)
  if (Result.isFailure(decoded)) return Result.fail(decoded.failure.message)
  const raw = isObject(object.spec) ? object.spec : {}
  const { agent, config, env, exec, labels, provider = "kubernetes", reset, team, template, user, ...rest } = raw
  for (const [field, value] of Object.entries({ exec, agent })) {
    if (value !== undefined && provider !== "kubernetes") {
      return Result.fail(`${field}: is for the provider kubernetes, not for ${String(provider)}: leave it out`)
    }
  }
  const owner = { apiVersion, kind: "SandboxPool", name: object.name, uid: object.uid }
  const spec = decodePool({
    ...rest,
    namespace: object.namespace,
    name: object.name,
    provider,
    source: sourceOf(object),
    labels: {
      ...(team === undefined ? {} : { team }),
      ...(user === undefined ? {} : { user }),
      ...(env === undefined ? {} : { env }),
      ...(isObject(labels) ? labels : {})
    },
    ...(provider === "kubernetes"
      ? {
        config: {
          namespace: object.namespace,
          template,
          ...(reset === undefined ? {} : { reset }),
          ...(exec === undefined ? {} : { exec }),
          ...(agent === undefined ? {} : { agent }),
          owner
        }
      }
      : config === undefined
      ? {}
      : { config })
  })
  return Result.isFailure(spec) ? Result.fail(spec.failure.message) : Result.succeed(spec.success)
}

export const envSpec = (object: DeclaredObject): Result.Result<EnvSpec, string> => {
  const spec = decodeEnv({
    ...(isObject(object.spec) ? object.spec : {}),
    namespace: object.namespace,
    name: object.name,
    source: sourceOf(object)
  })
  return Result.isFailure(spec) ? Result.fail(spec.failure.message) : Result.succeed(spec.success)
}

/**
 * No text that is written here is empty: server-side apply of Kubernetes 1.20 makes null of an empty string in a list, and then refuses its own null (422).
 * What the source writes: whether the mesh takes the spec. `undefined`: it stands there already.
 */
export const acceptedStatus = (
  object: DeclaredObject,
  problem: string | undefined,
  now: number
): JsonObject | undefined => {
  const status = problem === undefined ? "True" : "False"
  const message = problem?.slice(0, 32_000) ?? "the mesh has taken this spec"
  const { accepted } = object
  if (
    object.observedGeneration === object.generation && accepted?.status === status && accepted.message === message
  ) return undefined
  return {
    observedGeneration: object.generation,
    conditions: [{
      type: "Accepted",
      status,
      reason: problem === undefined ? "Applied" : "Refused",
      message,
      lastTransitionTime: accepted?.status === status && accepted.since !== "" ? accepted.since : timestamp(now),
      observedGeneration: object.generation
    }]
  }
}

export interface Phases {
  readonly starting: number
  readonly idle: number
  readonly running: number
  readonly stopping: number
}

/** What the pool's owner writes. `pendingRequests` is the scheduler's own counter (`queueLen`), the phases are those of the pods. */
export const statusOf = (
  status: PoolStatus,
  phases: Phases,
  by: { readonly owner: MemberId | undefined; readonly selector: string; readonly since: number }
): JsonObject => {
  const total = phases.starting + phases.idle + phases.running + phases.stopping
  return {
    replicas: total,
    selector: by.selector,
    ready: `${phases.idle + phases.running}/${total}`,
    target: status.target,
    phases,
    pendingRequests: status.pendingRequests,
    ...(by.owner === undefined ? {} : { owner: by.owner }),
    session: status.sessionId,
    conditions: [{
      type: "Ready",
      status: "True",
      reason: status.isDraining ? "Draining" : "Serving",
      message: status.isDraining ? "gives nothing out, lets its sandboxes go" : "has an owner that serves claims",
      lastTransitionTime: timestamp(by.since)
    }]
  }
}
