/**
 * What is written to pods: one patch for each step of a sandbox's life, each with the version that it was decided on, so that it changes nothing if another was faster.
 *
 * Pure. Strategic merge patches: labels and annotations merge by key (null takes one away), containers by name. docs/design/kubernetes.md, "Writes".
 */
import type { ClaimWrite, OpenContext } from "../../shared/plugin/PoolProvider.ts"
import type { PodReset } from "../../shared/protocol/SandboxPool.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"
import type { Config } from "./Config.ts"
import { type JsonObject, listAt } from "./Json.ts"
import { annotation, annotationsProblem, label, labelsProblem, podName } from "./Names.ts"
import * as Pod from "./Pod.ts"

type Changes = Record<string, string | null>

const patch = (
  version: number,
  labels: Changes,
  annotations: Changes,
  images: Readonly<Record<string, string>> = {}
): JsonObject => {
  const containers = Object.entries(images).map(([name, image]) => ({ name, image }))
  return {
    metadata: { resourceVersion: String(version), labels, annotations },
    ...(containers.length === 0 ? {} : { spec: { containers } })
  }
}

/** What a claim asks for and no pod of this pool can have; the claim is refused without a request. */
export const claimProblem = (template: Config["template"], pod: Pod.Pod, write: ClaimWrite): string | undefined => {
  const container = Object.keys(write.images ?? {}).find((name) =>
    pod.images[name] === undefined && !template.spec.containers.some((one) => one.name === name)
  )
  if (container !== undefined) return `the pods of this pool have no container ${JSON.stringify(container)}`
  return labelsProblem(write.labels ?? {}) ?? annotationsProblem(write.annotations ?? {})
}

/** What a claim asks for and this pod, made of an earlier template, cannot have: another one of the pool may. */
export const podProblem = (pod: Pod.Pod, write: ClaimWrite): string | undefined => {
  const container = Object.keys(write.images ?? {}).find((name) => pod.images[name] === undefined)
  return container === undefined ? undefined : `the pod ${pod.name} has no container ${JSON.stringify(container)}`
}

/** Whether what the API server finds invalid is what the claim asked for, and not how this pod is. */
export const isOfClaim = (write: ClaimWrite, fields: ReadonlyArray<string>): boolean => {
  const isAsked = (asked: Readonly<Record<string, string>> | undefined): boolean =>
    asked !== undefined && Object.keys(asked).length > 0
  return fields.some((field) =>
    (field.startsWith("metadata.labels") && isAsked(write.labels)) ||
    (field.startsWith("metadata.annotations") && (isAsked(write.annotations) || isAsked(write.env))) ||
    (/^spec\.containers\[\d+\]\.image$/.test(field) && isAsked(write.images))
  )
}

const before = (
  wanted: Readonly<Record<string, string>>,
  present: Readonly<Record<string, string>>
): Record<string, string | null> => Object.fromEntries(Object.keys(wanted).map((key) => [key, present[key] ?? null]))

/** Idle -> Running, with everything that the claim asks for, in one write. */
export const claim = (pod: Pod.Pod, write: ClaimWrite): JsonObject => {
  const { batch, claimId, holder, sessionId, team, ttlMs, user } = write.mark
  const changed = { ...write.annotations, [annotation.safeToEvict]: "false" }
  const images = Object.fromEntries(
    Object.entries(write.images ?? {}).filter(([name, image]) => pod.images[name] !== image)
  )
  const undo: Pod.Undo = {
    labels: before(write.labels ?? {}, pod.labels),
    annotations: before(changed, pod.annotations),
    images: Object.fromEntries(Object.keys(images).map((name) => [name, pod.images[name] ?? ""]))
  }
  return patch(pod.version, { ...write.labels, [label.phase]: "Running" }, {
    ...changed,
    [annotation.claim]: claimId,
    [annotation.holder]: holder,
    [annotation.session]: String(sessionId),
    [annotation.ttlMs]: String(ttlMs),
    [annotation.team]: team ?? null,
    [annotation.user]: user ?? null,
    [annotation.batch]: batch ?? null,
    [annotation.env]: write.env === undefined || Object.keys(write.env).length === 0 ? null : JSON.stringify(write.env),
    [annotation.undo]: JSON.stringify(undo),
    [annotation.uses]: String(pod.uses + 1),
    [annotation.reset]: null
  }, images)
}

/** The containers that a reset by restart restarts, with the image that each gets. Empty: it would restart nothing. */
export const restartImages = (pod: Pod.Pod, reset: PodReset, template: Config["template"]): Record<string, string> => {
  const images: Record<string, string> = {}
  const original = new Map(template.spec.containers.map((one) => [one.name, one.image]))
  for (const [name, alternate] of Object.entries(reset.alternates ?? {})) {
    const image = original.get(name)
    if (image === undefined || pod.images[name] === undefined) continue
    images[name] = pod.images[name] === image ? alternate : image
  }
  for (const [name, image] of Object.entries(Pod.undoOf(pod).images)) {
    if (pod.images[name] !== undefined && pod.images[name] !== image) images[name] = image
  }
  return images
}

/** Running -> Stopping: the reset begins. `restart`: the images that restart what must be restarted. */
export const stopping = (
  pod: Pod.Pod,
  session: SessionId,
  now: number,
  restart: Readonly<Record<string, string>>
): JsonObject => {
  const mark: Pod.ResetMark = {
    at: now,
    restarts: Object.fromEntries(Object.keys(restart).map((name) => [name, pod.restarts[name] ?? 0]))
  }
  return patch(pod.version, { [label.phase]: "Stopping" }, {
    [annotation.session]: String(session),
    [annotation.reset]: JSON.stringify(mark)
  }, restart)
}

/** -> Idle: the claim's marks and changes are taken away. `isRestarted`: the images were put right by the restart. */
export const idle = (pod: Pod.Pod, session: SessionId, isRestarted: boolean): JsonObject => {
  const undo = Pod.undoOf(pod)
  const images = isRestarted
    ? {}
    : Object.fromEntries(
      Object.entries(undo.images).filter(([name, image]) =>
        pod.images[name] !== undefined && pod.images[name] !== image
      )
    )
  return patch(pod.version, { ...undo.labels, [label.phase]: "Idle" }, {
    ...undo.annotations,
    [annotation.claim]: null,
    [annotation.holder]: null,
    [annotation.ttlMs]: null,
    [annotation.team]: null,
    [annotation.user]: null,
    [annotation.batch]: null,
    [annotation.env]: null,
    [annotation.undo]: null,
    [annotation.reset]: null,
    [annotation.fence]: null,
    [annotation.session]: String(session)
  }, images)
}

/** Changes nothing but the version: a write that was decided on this version can no longer happen. */
export const fence = (pod: Pod.Pod, session: SessionId, by: string): JsonObject =>
  patch(pod.version, {}, { [annotation.fence]: by, [annotation.session]: String(session) })

const lostNode = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]

/** A new pod of the pool. */
export const create = (
  name: string,
  context: Pick<OpenContext, "pool" | "labels">,
  session: SessionId,
  namespace: string,
  config: Config
): JsonObject => {
  const { metadata, spec } = config.template
  const tolerations = listAt(spec, "tolerations")
  const isTolerated = (key: string) =>
    tolerations.some((one) => {
      const of = (one as JsonObject | null)?.["key"] // of a list of objects
      return of === key || of === undefined || of === ""
    })
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: podName(name),
      namespace,
      labels: {
        ...context.labels,
        ...metadata?.labels,
        [label.pool]: context.pool.name,
        [label.namespace]: context.pool.namespace,
        [label.phase]: "Idle",
        "app.kubernetes.io/managed-by": "heddle"
      },
      annotations: {
        ...metadata?.annotations,
        [annotation.name]: name,
        [annotation.session]: String(session)
      },
      ...(config.owner === undefined ? {} : {
        ownerReferences: [{ ...config.owner, controller: true, blockOwnerDeletion: false }]
      })
    },
    spec: {
      // A sandbox runs what others wrote: it gets no right in the cluster unless the template says so.
      automountServiceAccountToken: false,
      ...spec,
      tolerations: [
        ...tolerations,
        ...lostNode.filter((key) => !isTolerated(key)).map((key) => ({
          key,
          operator: "Exists",
          effect: "NoExecute",
          tolerationSeconds: Math.round(config.nodeLost / 1_000)
        }))
      ]
    }
  }
}

/** A DELETE's body: only this incarnation, and with a version only as it was seen. */
export const deleteOptions = (pod: Pick<Pod.Pod, "uid">, version: number | undefined, graceMs: number | undefined) => ({
  apiVersion: "v1",
  kind: "DeleteOptions",
  preconditions: { uid: pod.uid, ...(version === undefined ? {} : { resourceVersion: String(version) }) },
  ...(graceMs === undefined ? {} : { gracePeriodSeconds: Math.ceil(graceMs / 1_000) })
})
