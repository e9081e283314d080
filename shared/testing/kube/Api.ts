/**
 * One request to the API server, answered: authorization, the verb on the store, subresources, and the answer's code and body. Still without time and without sockets:
 * Cluster.ts adds faults and latency, ApiServer.ts adds HTTP.
 */
import { type ApiStore, type DeleteOptions, type ListResult, type Watcher, type WatchEvent } from "./ApiStore.ts"
import { type Json, type JsonObject, type KubeObject } from "./Json.ts"
import * as Rbac from "./Rbac.ts"
import * as Refusal from "./Refusal.ts"
import { apiVersion, type Resource } from "./Resource.ts"
import * as Route from "./Route.ts"
import * as Subresource from "./Subresource.ts"

export interface Answer {
  readonly code: number
  readonly body: Json
  /** Told beside the answer, in `Warning` headers. */
  readonly warnings?: ReadonlyArray<string>
}

export const refused = (error: unknown): Answer => {
  if (error instanceof Refusal.Refusal) return { code: error.code, body: error.status }
  throw error
}

export const accessOf = (request: Route.ApiRequest): Rbac.Access => ({
  verb: request.verb,
  group: request.resource.group,
  resource: request.resource.plural,
  subresource: request.subresource,
  namespace: request.resource.plural === "namespaces" && request.resource.group === ""
    ? request.name
    : request.namespace,
  name: request.name
})

export const authorize = (request: Route.ApiRequest, user: Rbac.User): void => {
  const access = accessOf(request)
  if (!Rbac.isAllowed(user, access)) {
    throw Refusal.forbidden(request.resource, request.name ?? "", Rbac.denial(user, access))
  }
}

export const listBody = (resource: Resource, list: ListResult): JsonObject => ({
  kind: resource.listKind,
  apiVersion: apiVersion(resource),
  metadata: {
    resourceVersion: list.resourceVersion,
    ...(list.continue === undefined ? {} : { continue: list.continue }),
    ...(list.remainingItemCount === undefined ? {} : { remainingItemCount: list.remainingItemCount })
  },
  items: list.items
})

const success = (resource: Resource, object: KubeObject): Refusal.Status => ({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Success",
  details: {
    name: object.metadata.name,
    ...(resource.group === "" ? {} : { group: resource.group }),
    kind: resource.plural,
    uid: object.metadata.uid
  }
})

const selection = (request: Route.ApiRequest) => ({
  namespace: request.namespace,
  labelSelector: request.query["labelSelector"],
  fieldSelector: request.query["fieldSelector"]
})

const nameOf = (request: Route.ApiRequest): string => {
  if (request.name === undefined) throw Refusal.methodNotAllowed(request.verb)
  return request.name
}

/** Everything but `watch` and the upgrades (`exec`). */
export const perform = (store: ApiStore, request: Route.ApiRequest): Answer => {
  const warnings: Array<string> = []
  const answer = answerOf(store, request, (text) => warnings.push(text))
  return warnings.length === 0 ? answer : { ...answer, warnings }
}

const validations = ["Ignore", "Warn", "Strict"] as const

const answerOf = (store: ApiStore, request: Route.ApiRequest, warn: (text: string) => void): Answer => {
  const { resource, namespace, query } = request
  const validation = query["fieldValidation"] ?? ""
  const fieldValidation = validation === "" ? "Warn" : validations.find((one) => one === validation)
  if (fieldValidation === undefined) {
    throw Refusal.invalid({ group: "meta.k8s.io", plural: "createoptions", kind: "CreateOptions" }, "", [
      Refusal.cause.notSupported("fieldValidation", validation, validations)
    ])
  }
  const write = {
    dryRun: Route.isDryRun(request),
    fieldManager: query["fieldManager"] ?? (request.patchType === "apply" ? undefined : request.userAgent),
    force: Route.isTrue(query["force"]),
    fieldValidation,
    warn
  }
  if (request.subresource !== undefined && request.subresource !== "status") {
    return Subresource.perform(store, request, write)
  }
  const subresource = request.subresource
  if (
    subresource !== undefined && (!resource.strategy.hasStatus || !["get", "update", "patch"].includes(request.verb))
  ) {
    throw resource.strategy.hasStatus ? Refusal.methodNotAllowed(request.verb) : Refusal.noSuchPath()
  }
  switch (request.verb) {
    case "get":
      return { code: 200, body: store.get(resource, namespace, nameOf(request)) }
    case "list": {
      const list = store.list(resource, {
        ...selection(request),
        limit: Route.limitOf(request),
        continue: query["continue"],
        resourceVersion: query["resourceVersion"],
        resourceVersionMatch: query["resourceVersionMatch"]
      })
      return { code: 200, body: listBody(resource, list) }
    }
    case "create":
      if (request.name !== undefined) throw Refusal.methodNotAllowed("create")
      return { code: 201, body: store.create(resource, namespace, request.body, write) }
    case "update": {
      const name = nameOf(request)
      const isThere = store.peek(resource, namespace, name) !== undefined
      return {
        code: isThere ? 200 : 201,
        body: store.update(resource, namespace, name, request.body, { ...write, subresource })
      }
    }
    case "patch": {
      const name = nameOf(request)
      const isThere = store.peek(resource, namespace, name) !== undefined
      const object = store.patch(resource, namespace, name, request.patchType ?? "merge", request.body, {
        ...write,
        subresource
      })
      return { code: isThere ? 200 : 201, body: object }
    }
    case "delete": {
      const { object, isRemoved } = remove(store, request, nameOf(request), Route.deleteOptions(request))
      return {
        code: 200,
        body: isRemoved && !resource.strategy.answersDeletedObject ? success(resource, object) : object
      }
    }
    case "deletecollection": {
      const list = store.deleteCollection(resource, {
        ...selection(request),
        limit: Route.limitOf(request),
        continue: query["continue"]
      }, Route.deleteOptions(request))
      return { code: 200, body: listBody(resource, list) }
    }
    case "watch":
      throw Refusal.methodNotAllowed("watch")
  }
}

const remove = (store: ApiStore, request: Route.ApiRequest, name: string, options: DeleteOptions) =>
  store.delete(request.resource, request.namespace, name, options)

/** A watch of one object by name is told by its path. */
export const watch = (store: ApiStore, request: Route.ApiRequest, send: (event: WatchEvent) => void): Watcher => {
  const { query } = request
  const named = request.name === undefined ? undefined : `metadata.name=${request.name}`
  const selected = [query["fieldSelector"], named].filter((one) => one !== undefined && one !== "").join(",")
  return store.watch(request.resource, {
    ...selection(request),
    ...(selected === "" ? {} : { fieldSelector: selected }),
    resourceVersion: query["resourceVersion"],
    resourceVersionMatch: query["resourceVersionMatch"],
    allowWatchBookmarks: Route.isTrue(query["allowWatchBookmarks"]),
    ...(query["sendInitialEvents"] === undefined || query["sendInitialEvents"] === ""
      ? {}
      : { sendInitialEvents: Route.isTrue(query["sendInitialEvents"]) })
  }, send)
}
