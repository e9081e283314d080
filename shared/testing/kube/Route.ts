/**
 * What an HTTP request to an API server asks for: verb, kind, namespace, name, subresource and options, read from method, path and query as the API server reads them.
 */
import type { DeleteOptions, PatchType } from "./ApiStore.ts"
import type { Json } from "./Json.ts"
import * as Refusal from "./Refusal.ts"
import { type Resource, type Verb } from "./Resource.ts"

export interface ApiRequest {
  readonly verb: Verb
  readonly resource: Resource
  readonly namespace?: string | undefined
  readonly name?: string | undefined
  readonly subresource?: string | undefined
  readonly query: Readonly<Record<string, string>>
  /** Decoded from the body. */
  readonly body?: Json
  readonly patchType?: PatchType | undefined
  /** The program's name in `user-agent`: whose fields it writes where it does not say `fieldManager`. */
  readonly userAgent?: string | undefined
}

export type Route =
  | { readonly _tag: "Resource"; readonly request: ApiRequest }
  /** `/version`, `/api`, `/apis/…`: what is there, told by the segments after the first slash. */
  | { readonly _tag: "Discovery"; readonly segments: ReadonlyArray<string> }

const patchTypes: Readonly<Record<string, PatchType>> = {
  "application/json-patch+json": "json",
  "application/merge-patch+json": "merge",
  "application/strategic-merge-patch+json": "strategic",
  "application/apply-patch+yaml": "apply"
}

/** Groups whose kinds are asked and not kept. */
const isReview = /^(authorization|authentication)\.k8s\.io$/

export const queryOf = (search: string): Record<string, string> => {
  const query: Record<string, string> = {}
  if (search !== "") { for (const [key, value] of new URLSearchParams(search)) query[key] ??= value }
  return query
}

export const isTrue = (text: string | undefined): boolean => text === "true" || text === "1"

const verbs = (method: string, name: string | undefined, query: Readonly<Record<string, string>>): Verb => {
  switch (method) {
    case "GET":
    case "HEAD":
      // a watch of one object is a list watch with a field selector on its name
      return isTrue(query["watch"]) ? "watch" : name === undefined ? "list" : "get"
    case "POST":
      return "create"
    case "PUT":
      return "update"
    case "PATCH":
      return "patch"
    case "DELETE":
      return name === undefined ? "deletecollection" : "delete"
    default:
      throw Refusal.methodNotAllowed(method.toLowerCase())
  }
}

/** `find` answers with the kind of a group and plural, when the version is one it is served in. */
export const route = (
  method: string,
  path: string,
  search: string,
  contentType: string | undefined,
  find: (group: string, version: string, plural: string) => Resource | undefined
): Route => {
  const segments = path.split("/").filter((part) => part !== "").map(decodeURIComponent)
  const [root] = segments
  const isCore = root === "api"
  const rest = segments.slice(isCore ? 2 : 3)
  if ((!isCore && root !== "apis") || rest.length === 0 || isReview.test(segments[1] ?? "")) {
    return { _tag: "Discovery", segments }
  }
  const group = isCore ? "" : segments[1] ?? ""
  const version = (isCore ? segments[1] : segments[2]) ?? ""
  const query = queryOf(search)
  let namespace: string | undefined
  let parts = rest
  let isDeprecatedWatch = false
  if (parts[0] === "watch") {
    isDeprecatedWatch = true
    parts = parts.slice(1)
  }
  // `namespaces/x` alone is the namespace, `namespaces/x/pods` what is in it; `namespaces/x/status` is the namespace's again
  if (parts[0] === "namespaces" && parts.length > 2 && !["status", "finalize"].includes(parts[2] ?? "")) {
    namespace = parts[1]
    parts = parts.slice(2)
  }
  const [plural = "", name, ...subresource] = parts
  const resource = find(group, version, plural)
  if (resource === undefined || (namespace !== undefined && !resource.isNamespaced)) throw Refusal.pageNotFound()
  const verb = isDeprecatedWatch ? "watch" : verbs(method, name, query)
  if (resource.isNamespaced && namespace === undefined && !["list", "watch"].includes(verb)) {
    throw verb === "deletecollection" || verb === "create"
      ? Refusal.methodNotAllowed(method.toLowerCase())
      : Refusal.noSuchPath()
  }
  let patchType: PatchType | undefined
  if (verb === "patch") {
    patchType = patchTypes[(contentType ?? "").split(";")[0]?.trim() ?? ""]
    if (patchType === undefined || (patchType === "strategic" && !resource.isStrategicPatchSupported)) {
      throw Refusal.unsupportedMediaType(
        Object.keys(patchTypes).filter((type) => resource.isStrategicPatchSupported || !type.includes("strategic"))
      )
    }
  }
  return {
    _tag: "Resource",
    request: {
      verb,
      resource,
      namespace,
      name,
      subresource: subresource.length === 0 ? undefined : subresource.join("/"),
      query,
      patchType
    }
  }
}

const number = (text: string | undefined, name: string): number | undefined => {
  if (text === undefined || text === "") return undefined
  if (!/^-?[0-9]+$/.test(text)) {
    throw Refusal.badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax (${name})`)
  }
  return Number(text)
}

export const limitOf = (request: ApiRequest): number | undefined => number(request.query["limit"], "limit")
export const timeoutSecondsOf = (request: ApiRequest): number | undefined =>
  number(request.query["timeoutSeconds"], "timeoutSeconds")

const policies = ["Foreground", "Background", "Orphan"] as const

/** From the body (a DeleteOptions) and, where it says nothing, the query. */
export const deleteOptions = (request: ApiRequest): DeleteOptions => {
  const body: Json = request.body ?? {}
  const policy = body.propagationPolicy ?? request.query["propagationPolicy"]
  const known = policies.find((one) => one === policy)
  if (policy !== undefined && known === undefined) {
    throw Refusal.invalid({ group: "meta.k8s.io", plural: "deleteoptions", kind: "DeleteOptions" }, "", [
      Refusal.cause.notSupported("propagationPolicy", policy, [...policies, "nil"])
    ])
  }
  return {
    gracePeriodSeconds: body.gracePeriodSeconds ?? number(request.query["gracePeriodSeconds"], "gracePeriodSeconds"),
    preconditions: body.preconditions,
    propagationPolicy: known,
    dryRun: isDryRun(request)
  }
}

export const isDryRun = (request: ApiRequest): boolean =>
  request.query["dryRun"] === "All" || request.body?.dryRun?.[0] === "All"
