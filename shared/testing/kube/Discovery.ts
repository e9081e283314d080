/**
 * What a client asks before it knows any kind: `/version`, `/api`, `/apis` with their groups and resources, `/openapi/v3`, health, and who it is and what it may do (self reviews).
 */
import type { ApiStore } from "./ApiStore.ts"
import type { Json } from "./Json.ts"
import * as OpenApi from "./OpenApi.ts"
import * as Rbac from "./Rbac.ts"
import * as Refusal from "./Refusal.ts"
import type { Resource } from "./Resource.ts"

/** Whose behaviour this is. */
export const version = { major: "1", minor: "33", gitVersion: "v1.33.0+heddle-double" }

const allVerbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
const partVerbs = ["get", "patch", "update"]

const categoriesOf = (resource: Resource): ReadonlyArray<string> =>
  resource.categories ?? (resource.group === "" && resource.plural === "pods" ? ["all"] : [])

const entries = (resource: Resource): ReadonlyArray<Json> => {
  const base = { singularName: "", namespaced: resource.isNamespaced, kind: resource.kind }
  const isPod = resource.group === "" && resource.plural === "pods"
  return [
    {
      ...base,
      name: resource.plural,
      singularName: resource.singular,
      verbs: allVerbs,
      ...(resource.shortNames.length === 0 ? {} : { shortNames: resource.shortNames }),
      ...(categoriesOf(resource).length === 0 ? {} : { categories: categoriesOf(resource) })
    },
    ...(resource.strategy.hasStatus ? [{ ...base, name: `${resource.plural}/status`, verbs: partVerbs }] : []),
    ...(resource.scale === undefined
      ? []
      : [{
        ...base,
        name: `${resource.plural}/scale`,
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        verbs: partVerbs
      }]),
    ...(isPod
      ? [
        { ...base, name: "pods/binding", kind: "Binding", verbs: ["create"] },
        { ...base, name: "pods/eviction", group: "policy", version: "v1", kind: "Eviction", verbs: ["create"] },
        { ...base, name: "pods/exec", kind: "PodExecOptions", verbs: ["create", "get"] },
        { ...base, name: "pods/log", verbs: ["get"] }
      ]
      : [])
  ]
}

const resourceList = (resources: ReadonlyArray<Resource>, groupVersion: string): Json => ({
  kind: "APIResourceList",
  apiVersion: "v1",
  groupVersion,
  resources: [...resources.flatMap(entries), ...(virtual[groupVersion] ?? [])]
})

const groupOf = (name: string, versions: ReadonlyArray<string>): Json => {
  const list = versions.map((one) => ({ groupVersion: `${name}/${one}`, version: one }))
  return { name, versions: list, preferredVersion: list[0] }
}

/** What a user may do in a namespace: `kubectl auth can-i --list`. */
const rulesReview = (user: Rbac.User, body: Json): Json => {
  const namespace = body?.spec?.namespace
  const rules = user.grants.filter((one) => one.namespace === undefined || one.namespace === namespace).flatMap((one) =>
    one.rules
  )
  return {
    kind: "SelfSubjectRulesReview",
    apiVersion: "authorization.k8s.io/v1",
    metadata: {},
    spec: {},
    status: { resourceRules: rules, nonResourceRules: [], incomplete: false }
  }
}

/** `kubectl auth whoami`. */
const subjectReview = (user: Rbac.User): Json => ({
  kind: "SelfSubjectReview",
  apiVersion: "authentication.k8s.io/v1",
  metadata: {},
  status: { userInfo: { username: user.name, groups: [...(user.groups ?? []), "system:authenticated"] } }
})

const review = (user: Rbac.User, body: Json): Json => {
  const asked: Json = body?.spec?.resourceAttributes
  const isAllowed = asked !== undefined && Rbac.isAllowed(user, {
    verb: asked.verb ?? "",
    group: asked.group ?? "",
    resource: asked.resource ?? "",
    subresource: asked.subresource === "" ? undefined : asked.subresource,
    namespace: asked.namespace === "" ? undefined : asked.namespace,
    name: asked.name === "" ? undefined : asked.name
  })
  return {
    kind: "SelfSubjectAccessReview",
    apiVersion: "authorization.k8s.io/v1",
    metadata: {},
    spec: body?.spec ?? {},
    status: { allowed: isAllowed }
  }
}

const builtInGroups: Readonly<Record<string, ReadonlyArray<string>>> = {
  "authorization.k8s.io": ["v1"],
  "authentication.k8s.io": ["v1"]
}
const asked = (plural: string, kind: string) => ({
  name: plural,
  singularName: kind.toLowerCase(),
  namespaced: false,
  kind,
  verbs: ["create"]
})
/** Kinds that are asked and not kept. */
const virtual: Readonly<Record<string, ReadonlyArray<Json>>> = {
  "authorization.k8s.io/v1": [
    asked("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    asked("selfsubjectrulesreviews", "SelfSubjectRulesReview")
  ],
  "authentication.k8s.io/v1": [asked("selfsubjectreviews", "SelfSubjectReview")]
}

export const answer = (
  store: ApiStore,
  method: string,
  segments: ReadonlyArray<string>,
  user: Rbac.User,
  body: Json
): Json => {
  const path = segments.join("/")
  const { resources } = store
  if (method === "POST") {
    if (path === "apis/authorization.k8s.io/v1/selfsubjectaccessreviews") return review(user, body)
    if (path === "apis/authorization.k8s.io/v1/selfsubjectrulesreviews") return rulesReview(user, body)
    if (path === "apis/authentication.k8s.io/v1/selfsubjectreviews") return subjectReview(user)
    throw Refusal.noSuchPath()
  }
  if (method !== "GET" && method !== "HEAD") throw Refusal.methodNotAllowed(method.toLowerCase())
  switch (path) {
    case "version":
      return {
        ...version,
        gitCommit: "",
        gitTreeState: "clean",
        buildDate: "1970-01-01T00:00:00Z",
        goVersion: "",
        compiler: "",
        platform: ""
      }
    case "healthz":
    case "livez":
    case "readyz":
      return "ok"
    case "api":
      return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] }
    case "api/v1":
      return resourceList(resources.filter((one) => one.group === ""), "v1")
    case "apis": {
      const versions = new Map<string, Set<string>>(
        Object.entries(builtInGroups).map(([group, list]) => [group, new Set(list)])
      )
      for (const one of resources) {
        if (one.group !== "") versions.set(one.group, (versions.get(one.group) ?? new Set()).add(one.version))
      }
      return {
        kind: "APIGroupList",
        apiVersion: "v1",
        groups: [...versions].map(([name, list]) => groupOf(name, [...list]))
      }
    }
    default:
  }
  const [root, group, ofVersion, more] = segments
  if (root === "openapi" && group === "v3") {
    const described = OpenApi.answer(resources, segments)
    if (described === undefined) throw Refusal.pageNotFound()
    return described
  }
  const own = resources.filter((one) => one.group === group && (ofVersion === undefined || one.version === ofVersion))
  if (
    root !== "apis" || group === undefined || more !== undefined ||
    (own.length === 0 && builtInGroups[group] === undefined)
  ) {
    throw Refusal.pageNotFound()
  }
  return ofVersion === undefined
    ? { kind: "APIGroup", apiVersion: "v1", ...groupOf(group, [...new Set(own.map((one) => one.version))]) }
    : resourceList(own, `${group}/${ofVersion}`)
}
