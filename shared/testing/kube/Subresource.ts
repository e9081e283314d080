/**
 * Subresources other than `status`: `scale` of kinds that have one, `binding` (the scheduler's write of `spec.nodeName`) and `eviction` of pods.
 */
import type { ApiStore, WriteOptions } from "./ApiStore.ts"
import { at, isObject, type Json, type JsonObject, type KubeObject, withAt } from "./Json.ts"
import * as Patch from "./Patch.ts"
import * as Refusal from "./Refusal.ts"
import { type Resource, type Scale } from "./Resource.ts"
import type { ApiRequest } from "./Route.ts"

const scaleOf = (object: KubeObject, scale: Scale): JsonObject => {
  const selector = scale.labelSelectorPath === undefined ? undefined : at(object, scale.labelSelectorPath)
  const replicas = at(object, scale.specReplicasPath)
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: {
      name: object.metadata.name,
      ...(object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace }),
      uid: object.metadata.uid,
      resourceVersion: object.metadata.resourceVersion,
      creationTimestamp: object.metadata.creationTimestamp
    },
    spec: replicas === undefined ? {} : { replicas },
    status: {
      replicas: at(object, scale.statusReplicasPath) ?? 0,
      ...(typeof selector === "string" && selector !== "" ? { selector } : {})
    }
  }
}

const writeScale = (
  store: ApiStore,
  resource: Resource,
  scale: Scale,
  current: KubeObject,
  wanted: Json,
  options: WriteOptions
): KubeObject => {
  const replicas = wanted?.spec?.replicas ?? 0
  if (!Number.isInteger(replicas) || replicas < 0) {
    throw Refusal.invalid(resource, current.metadata.name, [
      Refusal.cause.invalid(scale.specReplicasPath, replicas, "should be a non-negative integer")
    ])
  }
  const uid = wanted.metadata?.uid
  if (uid !== undefined && uid !== "" && uid !== current.metadata.uid) {
    throw Refusal.conflict(
      resource,
      current.metadata.name,
      `Precondition failed: UID in precondition: ${String(uid)}, UID in object meta: ${current.metadata.uid}`
    )
  }
  const resourceVersion = wanted.metadata?.resourceVersion
  const versioned = resourceVersion === undefined || resourceVersion === ""
    ? current
    : { ...current, metadata: { ...current.metadata, resourceVersion } }
  return store.update(
    resource,
    current.metadata.namespace,
    current.metadata.name,
    withAt(versioned, scale.specReplicasPath, replicas),
    options
  )
}

const bind = (store: ApiStore, resource: Resource, current: KubeObject, body: Json): Json => {
  const node = body?.target?.name
  if (typeof node !== "string" || node === "") {
    throw Refusal.invalid({ group: "", plural: "bindings", kind: "Binding" }, current.metadata.name, [
      Refusal.cause.required("target.name")
    ])
  }
  const has = current.spec?.nodeName
  if (current.metadata.deletionTimestamp !== undefined) {
    throw Refusal.conflict(
      { ...resource, plural: "pods/binding" },
      current.metadata.name,
      `pod ${current.metadata.name} is being deleted, cannot be assigned to a host`
    )
  }
  if (has !== undefined && has !== "") {
    throw Refusal.conflict(
      { ...resource, plural: "pods/binding" },
      current.metadata.name,
      `pod ${current.metadata.name} is already assigned to node ${JSON.stringify(has)}`
    )
  }
  const conditions: ReadonlyArray<Json> = current.status?.conditions ?? []
  store.overwrite(resource, current, {
    ...current,
    spec: { ...current.spec, nodeName: node },
    status: {
      ...current.status,
      conditions: [
        ...conditions.filter((one) => one?.type !== "PodScheduled"),
        {
          type: "PodScheduled",
          status: "True",
          lastProbeTime: null,
          lastTransitionTime: new Date(store.clock.nowMs()).toISOString().slice(0, 19) + "Z"
        }
      ]
    }
  })
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 }
}

/** What a container has written: nothing, as none runs a program of its own. */
const log = (pod: KubeObject, wanted: string): string => {
  const names: ReadonlyArray<string> = (pod.spec?.containers ?? []).map((one: Json) => one.name)
  if (wanted === "" && names.length > 1) {
    throw Refusal.badRequest(
      `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${names.join(" ")}]`
    )
  }
  const container = wanted === "" ? names[0] : wanted
  if (container === undefined || !names.includes(container)) {
    throw Refusal.badRequest(`container ${wanted} is not valid for pod ${pod.metadata.name}`)
  }
  const status = (pod.status?.containerStatuses ?? []).find((one: Json) => one.name === container)
  if (
    (pod.spec?.nodeName ?? "") !== "" && status?.state?.running === undefined && status?.state?.terminated === undefined
  ) {
    throw Refusal.badRequest(
      `container ${JSON.stringify(container)} in pod ${JSON.stringify(pod.metadata.name)} is waiting to start: ${
        status?.state?.waiting?.reason ?? "ContainerCreating"
      }`
    )
  }
  return ""
}

export const perform = (
  store: ApiStore,
  request: ApiRequest,
  options: WriteOptions
): { readonly code: number; readonly body: Json } => {
  const { resource, namespace, name, subresource, verb } = request
  if (name === undefined) throw Refusal.noSuchPath()
  if (subresource === "scale" && resource.scale !== undefined) {
    const { scale } = resource
    const current = store.get(resource, namespace, name)
    const now = scaleOf(current, scale)
    switch (verb) {
      case "get":
        return { code: 200, body: now }
      case "update":
        return { code: 200, body: scaleOf(writeScale(store, resource, scale, current, request.body, options), scale) }
      case "patch": {
        const patched = request.patchType === "json" ? Patch.json(now, request.body) : Patch.merge(now, request.body)
        return { code: 200, body: scaleOf(writeScale(store, resource, scale, current, patched, options), scale) }
      }
      default:
        throw Refusal.methodNotAllowed(verb)
    }
  }
  const isPod = resource.group === "" && resource.plural === "pods"
  if (isPod && subresource === "binding" && verb === "create") {
    return { code: 201, body: bind(store, resource, store.get(resource, namespace, name), request.body) }
  }
  if (isPod && subresource === "log" && verb === "get") {
    return { code: 200, body: log(store.get(resource, namespace, name), request.query["container"] ?? "") }
  }
  if (isPod && subresource === "eviction" && verb === "create") {
    if (!isObject(request.body)) throw Refusal.badRequest("the body is no Eviction")
    const asked: Json = request.body["deleteOptions"] ?? {}
    store.delete(resource, namespace, name, {
      gracePeriodSeconds: asked.gracePeriodSeconds,
      preconditions: asked.preconditions,
      dryRun: options.dryRun
    })
    return { code: 201, body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 } }
  }
  throw Refusal.noSuchPath()
}
