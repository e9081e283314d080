/**
 * SandboxPool and SandboxEnv objects as the specs that they mean to the mesh, and the status that is shown on them.
 *
 * Pure. Keeps true: an object's namespace and name are the pool's; what cannot be read is a refusal with its reason, never a pool that differs from what stands there.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { isDeepStrictEqual } from "node:util"
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import type { PoolStanding } from "../../shared/plugin/PoolSource.ts"
import { EnvSpec } from "../../shared/protocol/Env.ts"
import { PoolSpec } from "../../shared/protocol/Pool.ts"
import { type SandboxEnvMember, statusMembersMax } from "../../shared/protocol/SandboxEnv.ts"
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
  readonly status: unknown
  /** Those of its status by type, as they stand. */
  readonly conditions: ReadonlyMap<string, Shown>
  /** Who wrote `status.owner` last. */
  readonly owner: string | undefined
}

interface Shown {
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly since: string
  readonly observedGeneration: unknown
}

const shownOf = (condition: unknown): Shown => ({
  status: textAt(condition, "status") ?? "",
  reason: textAt(condition, "reason") ?? "",
  message: textAt(condition, "message") ?? "",
  since: textAt(condition, "lastTransitionTime") ?? "",
  observedGeneration: at(condition, "observedGeneration")
})

export const read = (kind: Kind) => (object: unknown): DeclaredObject | undefined => {
  const uid = textAt(object, "metadata", "uid")
  const name = textAt(object, "metadata", "name")
  const namespace = textAt(object, "metadata", "namespace")
  const version = ResourceVersion.parse(at(object, "metadata", "resourceVersion"))
  if (uid === undefined || name === undefined || namespace === undefined || version === undefined) return undefined
  const generation = at(object, "metadata", "generation")
  return {
    kind,
    uid,
    version,
    namespace,
    name,
    generation: typeof generation === "number" ? generation : 0,
    isDeleting: at(object, "metadata", "deletionTimestamp") !== undefined,
    spec: at(object, "spec"),
    status: at(object, "status"),
    conditions: new Map(
      listAt(object, "status", "conditions").map((one) => [textAt(one, "type") ?? "", shownOf(one)])
    ),
    owner: textAt(object, "status", "owner")
  }
}

/** Of a SandboxPool. */
export const providerOf = (object: DeclaredObject): string => textAt(object.spec, "provider") ?? "kubernetes"

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
 * The statuses. No text in them is empty: server-side apply of Kubernetes 1.20 makes null of an empty string in a list, and then refuses its own null (422).
 */
interface Said {
  readonly type: "Accepted" | "Ready"
  readonly status: "True" | "False" | "Unknown"
  readonly reason: string
  readonly message: string
}

const messageMax = 32_000

/** With the time of its last transition: as it stands on the object, or now. */
const conditionOf = (object: DeclaredObject, said: Said, now: number): JsonObject => {
  const shown = object.conditions.get(said.type)
  return {
    ...said,
    message: said.message.slice(0, messageMax),
    lastTransitionTime: shown?.status === said.status && shown.since !== "" ? shown.since : timestamp(now),
    observedGeneration: object.generation
  }
}

/** What the mesh makes of an object. `problem`: why it does not take the spec. */
export interface Judged {
  readonly problem: string | undefined
  /** Of a pool; undefined: not known yet. */
  readonly standing?: PoolStanding | undefined
  /** Of an env: the pools that belong to it; undefined: not known yet. */
  readonly members?: ReadonlyArray<Member> | undefined
}

export interface Member {
  readonly pool: string
  readonly standing: PoolStanding
}

/** Of an env: what the mesh counts to it, and what the list names and is not there. By name. */
export const membersOf = (
  object: DeclaredObject,
  found: ReadonlyArray<string> | undefined
): ReadonlyArray<string> | undefined => {
  if (found === undefined) return undefined
  const named = listAt(object.spec, "members").flatMap((one) => textAt(one, "pool") ?? [])
  return [...new Set([...found, ...named])].sort()
}

const readyOfPool = (object: DeclaredObject, { problem, standing }: Judged): Said | undefined => {
  if (standing?._tag === "NoOwner") {
    return {
      type: "Ready",
      status: "Unknown",
      reason: "NoOwner",
      message: object.owner === undefined
        ? "no pool scheduler serves it"
        : `no pool scheduler serves it: ${object.owner} did, and nobody has taken over`
    }
  }
  if (problem !== undefined && standing?._tag !== "Served") {
    return { type: "Ready", status: "False", reason: "Refused", message: "the mesh does not take its spec" }
  }
  // The owner of a pool of pods says it itself, with the counters.
  if (standing?._tag !== "Served" || providerOf(object) === "kubernetes") return undefined
  return serving(standing.isDraining)
}

const serving = (isDraining: boolean): Said =>
  isDraining
    ? {
      type: "Ready",
      status: "False",
      reason: "Draining",
      message: "gives nothing out any more, and lets its sandboxes go"
    }
    : { type: "Ready", status: "True", reason: "Serving", message: "has an owner that serves claims" }

const stateOf = ({ standing }: Member): SandboxEnvMember["state"] => {
  switch (standing._tag) {
    case "Absent":
      return "Missing"
    case "NoOwner":
      return "NoOwner"
    case "Served":
      return standing.isDraining ? "Draining" : "Serving"
  }
}

const readyOfEnv = (problem: string | undefined, states: ReadonlyArray<SandboxEnvMember["state"]>): Said => {
  const count = states.filter((state) => state === "Serving").length
  if (count > 0) {
    return {
      type: "Ready",
      status: "True",
      reason: "Serving",
      message: `${count} of ${states.length} pools take claims`
    }
  }
  if (states.length > 0) {
    return {
      type: "Ready",
      status: "False",
      reason: "NoneServing",
      message: `none of its ${states.length} pools takes claims`
    }
  }
  return problem === undefined
    ? { type: "Ready", status: "False", reason: "NoMembers", message: "no pool of this namespace belongs to it" }
    : { type: "Ready", status: "False", reason: "Refused", message: "the mesh does not take its spec" }
}

const envPart = (problem: string | undefined, members: ReadonlyArray<Member>): JsonObject & { readonly said: Said } => {
  const states = members.map(stateOf)
  return {
    ready: `${states.filter((state) => state === "Serving").length}/${members.length}`,
    memberCount: members.length,
    members: members.slice(0, statusMembersMax).map((one, index) => ({
      pool: one.pool,
      state: states[index],
      ...(one.standing._tag === "Served" ? { owner: one.standing.owner } : {})
    })),
    said: readyOfEnv(problem, states)
  }
}

export interface SourceStatus {
  /** What it says, without the times: equal texts say the same. */
  readonly text: string
  readonly status: JsonObject
  /** It stands there already. */
  readonly isShown: boolean
}

/** What the source writes, beside the owner of the pool: whether the mesh takes the spec, and what is to be said where no owner says it. */
export const sourceStatus = (object: DeclaredObject, judged: Judged, now: number): SourceStatus => {
  const { members, problem } = judged
  const accepted: Said = problem === undefined
    ? { type: "Accepted", status: "True", reason: "Applied", message: "the mesh has taken this spec" }
    : { type: "Accepted", status: "False", reason: "Refused", message: problem }
  const isEnv = object.kind === "SandboxEnv"
  const { said: env, ...part } = isEnv && (members !== undefined || problem !== undefined)
    ? envPart(problem, members ?? [])
    : { said: undefined }
  const ready = isEnv ? env : readyOfPool(object, judged)
  const status: JsonObject = {
    observedGeneration: object.generation,
    ...part,
    conditions: [accepted, ready].flatMap((said) => said === undefined ? [] : [conditionOf(object, said, now)])
  }
  const text = JSON.stringify([object.generation, part, accepted, ready])
  return { text, status, isShown: isShown(object, status) }
}

const isShown = (object: DeclaredObject, { conditions, ...status }: JsonObject): boolean =>
  Object.entries(status).every(([name, value]) => isDeepStrictEqual(at(object.status, name), value)) &&
  listAt(conditions).every((one) => {
    const shown = object.conditions.get(textAt(one, "type") ?? "")
    return shown !== undefined && shown.status === textAt(one, "status") && shown.reason === textAt(one, "reason") &&
      shown.message === textAt(one, "message") && shown.observedGeneration === at(one, "observedGeneration")
  })

export interface Phases {
  readonly starting: number
  readonly idle: number
  readonly running: number
  readonly stopping: number
}

/** What the pool's owner writes. `pendingRequests` is the scheduler's own counter (`queueLen`), the phases are those of the pods. `since`: when it began to serve, or to drain. */
export const ownerStatus = (
  status: PoolStatus,
  phases: Phases,
  by: {
    readonly owner: MemberId | undefined
    readonly selector: string
    readonly since: number
    readonly now: number
  }
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
    lastHeartbeatTime: timestamp(by.now),
    conditions: [{ ...serving(status.isDraining), lastTransitionTime: timestamp(by.since) }]
  }
}
