/**
 * `/openapi/v3`: what `kubectl explain` shows, and how kubectl learns that the server itself checks for unknown fields (`fieldValidation`). Custom resources have the schema of their
 * definition; of built-in kinds there are the paths and no fields.
 */
import { type Json, type JsonObject } from "./Json.ts"
import { apiVersion, type Resource } from "./Resource.ts"

const metaName = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
const text = (description: string): Json => ({ type: "string", description })
const texts = (description: string): Json => ({
  type: "object",
  description,
  additionalProperties: { type: "string", default: "" }
})
const objectMeta: Json = {
  type: "object",
  description:
    "ObjectMeta is metadata that all persisted resources must have, which includes all objects users must create.",
  properties: {
    name: text("Name must be unique within a namespace."),
    generateName: text("A prefix for a name that the server makes."),
    namespace: text("Namespace defines the space within which each name must be unique."),
    uid: text("Unique in time and space."),
    resourceVersion: text("The internal version of this object."),
    generation: { type: "integer", format: "int64", description: "Grows with each change of what is desired." },
    creationTimestamp: { ...text("When it was created."), format: "date-time" },
    deletionTimestamp: { ...text("When it will be deleted."), format: "date-time" },
    deletionGracePeriodSeconds: { type: "integer", format: "int64" },
    labels: texts("Map of string keys and values that can be used to organize and categorize objects."),
    annotations: texts("An unstructured key value map."),
    finalizers: { type: "array", items: { type: "string" } },
    ownerReferences: { type: "array", items: { type: "object", additionalProperties: true } },
    managedFields: { type: "array", items: { type: "object", additionalProperties: true } }
  }
}

const kindText = "Kind is a string value representing the REST resource this object represents."
const versionText = "APIVersion defines the versioned schema of this representation of an object."

const gvk = (resource: Resource) => ({ group: resource.group, version: resource.version, kind: resource.kind })

/** `dev.heddle.v1alpha1.SandboxPool`. */
const schemaName = (resource: Resource): string =>
  resource.group === ""
    ? `io.k8s.api.core.${resource.version}.${resource.kind}`
    : `${resource.group.split(".").toReversed().join(".")}.${resource.version}.${resource.kind}`

const schemaOf = (resource: Resource): Json => {
  const own: Record<string, Json> = resource.schema?.["properties"] ?? {}
  return {
    type: "object",
    ...resource.schema,
    properties: {
      ...own,
      apiVersion: { type: "string", description: versionText },
      kind: { type: "string", description: kindText },
      metadata: {
        description: "Standard object's metadata.",
        allOf: [{ $ref: `#/components/schemas/${metaName}` }]
      }
    },
    "x-kubernetes-group-version-kind": [gvk(resource)]
  }
}

const parameter = (name: string, description: string): Json => ({
  name,
  in: "query",
  description,
  schema: { type: "string", uniqueItems: true }
})
const writing = [
  parameter("dryRun", "When present, indicates that modifications should not be persisted."),
  parameter("fieldManager", "The actor or entity that is making these changes."),
  parameter("fieldValidation", "What to do with unknown or duplicate fields: Ignore, Warn or Strict.")
]

const pathsOf = (resource: Resource): JsonObject => {
  const root = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`
  const collection = `${root}${resource.isNamespaced ? "/namespaces/{namespace}" : ""}/${resource.plural}`
  const schema = { $ref: `#/components/schemas/${schemaName(resource)}` }
  const operation = (action: string, parameters: ReadonlyArray<Json>) => ({
    operationId: `${action}${resource.kind}`,
    parameters,
    responses: { "200": { description: "OK", content: { "application/json": { schema } } } },
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": gvk(resource)
  })
  const body = (types: ReadonlyArray<string>) => ({
    requestBody: { content: Object.fromEntries(types.map((type) => [type, { schema }])) }
  })
  return {
    [collection]: {
      get: operation("list", []),
      post: { ...operation("post", writing), ...body(["application/json", "application/yaml"]) }
    },
    [`${collection}/{name}`]: {
      get: operation("get", []),
      put: { ...operation("put", writing), ...body(["application/json", "application/yaml"]) },
      patch: {
        ...operation("patch", [...writing, parameter("force", "Only for apply patch requests.")]),
        ...body(["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"])
      },
      delete: operation("delete", [])
    }
  }
}

const pathOf = (resource: Resource): string =>
  resource.group === "" ? `api/${resource.version}` : `apis/${apiVersion(resource)}`

/** `undefined`: no such group or version. */
export const answer = (resources: ReadonlyArray<Resource>, segments: ReadonlyArray<string>): Json => {
  const path = segments.slice(2).join("/")
  if (path === "") {
    const paths = [...new Set(resources.map(pathOf))].sort()
    return {
      paths: Object.fromEntries(paths.map((one) => [one, { serverRelativeURL: `/openapi/v3/${one}` }]))
    }
  }
  const own = resources.filter((one) => pathOf(one) === path)
  if (own.length === 0) return undefined
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: "double" },
    paths: Object.assign({}, ...own.map(pathsOf)),
    components: {
      schemas: {
        [metaName]: objectMeta,
        ...Object.fromEntries(own.map((one) => [schemaName(one), schemaOf(one)]))
      }
    }
  }
}
