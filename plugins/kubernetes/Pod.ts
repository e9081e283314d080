/**
 * A pod as the provider keeps it: only what a claim, a release or the scheduler's cache asks for, and the sandbox that it is.
 *
 * Pure. Keeps true: a pod that is being deleted or whose containers have ended is no sandbox any more; a phase is never better than what the kubelet has seen (an idle
 * pod is Idle only while it is Ready); a claim mark that cannot be read is no claim, and its pod is reset. docs/design/kubernetes.md, "What stands on a pod".
 */
import * as Schema from "effect/Schema"
import type { ClaimMark, SandboxState } from "../../shared/plugin/PoolProvider.ts"
import type { PoolRef, Sandbox } from "../../shared/protocol/Sandbox.ts"
import { ClaimId, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import { at, isObject, listAt, textAt, textsAt } from "./Json.ts"
import * as Json from "./Json.ts"
import { annotation, domain, label } from "./Names.ts"
import * as ResourceVersion from "./ResourceVersion.ts"

export interface Pod {
  readonly uid: SandboxUid
  readonly version: number
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** By container, of the spec: what should run. */
  readonly images: Readonly<Record<string, string>>
  /** By container: how often it was started again. */
  readonly restarts: Readonly<Record<string, number>>
  readonly isReady: boolean
  readonly isDeleting: boolean
  /** All containers have ended (evicted, failed, done); says why. */
  readonly ended: string | undefined
  readonly node: string | undefined
  readonly ip: string | undefined
  readonly sandboxPhase: "Idle" | "Running" | "Stopping"
  readonly claim: ClaimMark | undefined
  readonly session: number
  readonly createdAt: number | undefined
  readonly uses: number
}

const isUid = Schema.is(SandboxUid)
const isClaimId = Schema.is(ClaimId)

const wholeNumber = (text: string | undefined): number | undefined => {
  const value = text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
  return value !== undefined && Number.isSafeInteger(value) ? value : undefined
}

const claimOf = (annotations: Readonly<Record<string, string>>): ClaimMark | undefined => {
  const claimId = annotations[annotation.claim]
  const sessionId = wholeNumber(annotations[annotation.session])
  const ttlMs = wholeNumber(annotations[annotation.ttlMs])
  if (claimId === undefined || !isClaimId(claimId) || sessionId === undefined || ttlMs === undefined) return undefined
  const team = annotations[annotation.team]
  const user = annotations[annotation.user]
  const batch = annotations[annotation.batch]
  return {
    claimId,
    holder: annotations[annotation.holder] ?? "",
    sessionId: SessionId.make(sessionId),
    ttlMs,
    ...(team === undefined ? {} : { team }),
    ...(user === undefined ? {} : { user }),
    ...(batch === undefined || !isClaimId(batch) ? {} : { batch })
  }
}

const timeOf = (text: string | undefined): number | undefined => {
  const time = Date.parse(text ?? "")
  return Number.isNaN(time) ? undefined : time
}

const isReady = (pod: unknown): boolean =>
  listAt(pod, "status", "conditions").some((one) =>
    isObject(one) && one["type"] === "Ready" && one["status"] === "True"
  )

/** `undefined`: not a pod that can be told apart from others (no UID, no version that can be compared). */
export const read = (pod: unknown): Pod | undefined => {
  const uid = textAt(pod, "metadata", "uid")
  const name = textAt(pod, "metadata", "name")
  const namespace = textAt(pod, "metadata", "namespace")
  const version = ResourceVersion.parse(at(pod, "metadata", "resourceVersion"))
  if (uid === undefined || !isUid(uid) || name === undefined || namespace === undefined || version === undefined) {
    return undefined
  }
  const labels = textsAt(pod, "metadata", "labels")
  const annotations = textsAt(pod, "metadata", "annotations")
  const images: Record<string, string> = Object.create(null) as Record<string, string> // names from outside
  for (const container of listAt(pod, "spec", "containers")) {
    const of = textAt(container, "name")
    if (of !== undefined) images[of] = textAt(container, "image") ?? ""
  }
  const restarts: Record<string, number> = Object.create(null) as Record<string, number> // names from outside
  for (const status of listAt(pod, "status", "containerStatuses")) {
    const of = textAt(status, "name")
    const count = at(status, "restartCount")
    if (of !== undefined && typeof count === "number") restarts[of] = count
  }
  const kubePhase = textAt(pod, "status", "phase")
  const hasEnded = kubePhase === "Failed" || kubePhase === "Succeeded"
  const told = labels[label.phase]
  const claim = claimOf(annotations)
  return {
    uid,
    version,
    name,
    namespace,
    labels,
    annotations,
    images,
    restarts,
    isReady: isReady(pod),
    isDeleting: at(pod, "metadata", "deletionTimestamp") !== undefined,
    ended: hasEnded
      ? [textAt(pod, "status", "reason") ?? kubePhase, textAt(pod, "status", "message") ?? ""].join(" ").trim()
      : undefined,
    node: textAt(pod, "spec", "nodeName"),
    ip: textAt(pod, "status", "podIP"),
    sandboxPhase: told === "Idle"
      ? "Idle"
      : told === "Running" && claim !== undefined
      ? "Running"
      : "Stopping",
    claim,
    session: wholeNumber(annotations[annotation.session]) ?? 0,
    createdAt: timeOf(textAt(pod, "metadata", "creationTimestamp")),
    uses: wholeNumber(annotations[annotation.uses]) ?? 0
  }
}

/** What a pod's address says, for `connect`: `kubernetes://<namespace>/<pod>?ip=10.0.0.7`. */
export const addressOf = (pod: Pod): string =>
  `kubernetes://${pod.namespace}/${pod.name}${pod.ip === undefined ? "" : `?ip=${pod.ip}`}`

/** Namespace and name of the pod behind a sandbox's address. */
export const parseAddress = (
  address: string | undefined
): { readonly namespace: string; readonly name: string } | undefined => {
  const match = /^kubernetes:\/\/([a-z0-9-]+)\/([a-z0-9.-]+)(?:\?|$)/.exec(address ?? "")
  return match?.[1] === undefined || match[2] === undefined ? undefined : { namespace: match[1], name: match[2] }
}

/** Labels without heddle's own, and the node under its usual key, so that a claim can ask for one. */
const labelsOf = (pod: Pod): Readonly<Record<string, string>> => {
  const labels: Record<string, string> = {}
  for (const [key, value] of Object.entries(pod.labels)) if (!key.startsWith(`${domain}/`)) labels[key] = value
  if (pod.node !== undefined) labels["kubernetes.io/hostname"] ??= pod.node
  return labels
}

const decodeEnv = Schema.decodeUnknownOption(Schema.Record(Schema.String, Schema.String))

/** The environment that its claim asked for; nothing if that cannot be read. */
export const envOf = (pod: Pod): Readonly<Record<string, string>> => {
  const decoded = decodeEnv(Json.parse(pod.annotations[annotation.env] ?? ""))
  return decoded._tag === "Some" ? decoded.value : {}
}

export const sandboxOf = (pod: Pod, pool: PoolRef): Sandbox => ({
  uid: pod.uid,
  name: pod.annotations[annotation.name] ?? pod.name,
  namespace: pool.namespace,
  provider: "kubernetes",
  address: addressOf(pod),
  labels: labelsOf(pod),
  ...(pod.sandboxPhase === "Running" && pod.annotations[annotation.env] !== undefined ? { env: envOf(pod) } : {})
})

/** It is or will be no sandbox any more: deleted, evicted, ended. */
export const isGone = (pod: Pod): boolean => pod.isDeleting || pod.ended !== undefined

/** Kept by an operator, in either word. */
export const isProtected = (pod: Pod): boolean => pod.annotations[annotation.protected] === "true"

/** Not to be scaled down. Claimed pods carry the autoscaler's word as well; they are not idle. */
export const isKept = (pod: Pod): boolean => isProtected(pod) || pod.annotations[annotation.safeToEvict] === "false"

/** `undefined`: gone. */
export const stateOf = (pod: Pod, pool: PoolRef): SandboxState | undefined =>
  isGone(pod) ? undefined : {
    sandbox: sandboxOf(pod, pool),
    phase: pod.sandboxPhase === "Idle" && !pod.isReady ? "Starting" : pod.sandboxPhase,
    version: pod.version,
    ...(pod.sandboxPhase !== "Idle" && pod.claim !== undefined ? { claim: pod.claim } : {}),
    uses: pod.uses,
    ...(pod.createdAt === undefined ? {} : { createdAt: pod.createdAt }),
    ...(isProtected(pod) ? { isProtected: true } : {}),
    ...(isKept(pod) && pod.sandboxPhase === "Idle" ? { isKept: true } : {})
  }

const Undo = Schema.Struct({
  labels: Schema.Record(Schema.String, Schema.NullOr(Schema.String)),
  annotations: Schema.Record(Schema.String, Schema.NullOr(Schema.String)),
  images: Schema.Record(Schema.String, Schema.String)
})
export type Undo = typeof Undo.Type
const decodeUndo = Schema.decodeUnknownOption(Undo)

/** What the claim on this pod changed; nothing if that cannot be read. */
export const undoOf = (pod: Pod): Undo => {
  const decoded = decodeUndo(Json.parse(pod.annotations[annotation.undo] ?? ""))
  return decoded._tag === "Some" ? decoded.value : { labels: {}, annotations: {}, images: {} }
}

const ResetMark = Schema.Struct({
  /** Milliseconds since the epoch, by the clock of the scheduler that began it. */
  at: Schema.Finite,
  /** By container: its restarts when it was asked to restart. */
  restarts: Schema.Record(Schema.String, Schema.Finite)
})
export type ResetMark = typeof ResetMark.Type
const decodeReset = Schema.decodeUnknownOption(ResetMark)

export const resetOf = (pod: Pod): ResetMark | undefined => {
  const decoded = decodeReset(Json.parse(pod.annotations[annotation.reset] ?? ""))
  return decoded._tag === "Some" ? decoded.value : undefined
}
