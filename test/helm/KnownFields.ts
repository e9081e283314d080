/**
 * What the API server would refuse or drop: fields that a kind does not know, and values of another type.
 *
 * Built-in kinds are looked up in the client library's models (made from the API's own OpenAPI document); ours in their definitions; those of operators in the lists below,
 * which have the fields that the chart uses, as their documentation has them.
 */
import * as Models from "@kubernetes/client-node"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { parse } from "yaml"
import { root } from "../../infra/bootstrap/nats-server.mjs"

interface Attribute {
  readonly baseName: string
  readonly type: string
}
type Json = { readonly [key: string]: unknown }
const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

const attributesOf = (type: string): ReadonlyArray<Attribute> | undefined => {
  const model: unknown = Reflect.get(Models, type)
  if (typeof model !== "function" || !("getAttributeTypeMap" in model)) return undefined
  const { getAttributeTypeMap } = model
  return typeof getAttributeTypeMap === "function" ? getAttributeTypeMap.call(model) : undefined
}

const scalars: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  boolean: (value) => typeof value === "boolean",
  IntOrString: (value) => Number.isInteger(value) || typeof value === "string",
  any: () => true,
  object: isJson
}

const check = (value: unknown, type: string, path: string): ReadonlyArray<string> => {
  const list = /^Array<(.+)>$/.exec(type)?.[1]
  if (list !== undefined) {
    return Array.isArray(value)
      ? value.flatMap((one, at) => check(one, list, `${path}[${at}]`))
      : [`${path}: a list is wanted`]
  }
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1]
  if (map !== undefined) {
    return isJson(value)
      ? Object.entries(value).flatMap(([key, one]) => check(one, map, `${path}.${key}`))
      : [`${path}: a map is wanted`]
  }
  const isScalar = scalars[type]
  if (isScalar !== undefined) {
    return isScalar(value) ? [] : [`${path}: ${type} is wanted, not ${JSON.stringify(value)}`]
  }
  const attributes = attributesOf(type)
  if (attributes === undefined) return [`${path}: no model is called ${type}`]
  if (!isJson(value)) return [`${path}: an object is wanted, not ${JSON.stringify(value)}`]
  return Object.entries(value).flatMap(([key, one]) => {
    const attribute = attributes.find(({ baseName }) => baseName === key)
    return attribute === undefined
      ? [`${path}.${key}: unknown field of ${type}`]
      : check(one, attribute.type, `${path}.${key}`)
  })
}

/** A structural schema: unknown fields and types. */
const checkSchema = (value: unknown, schema: unknown, path: string): ReadonlyArray<string> => {
  if (!isJson(schema)) return []
  const { additionalProperties, items, properties, type } = schema
  if (type === "array") {
    return Array.isArray(value)
      ? value.flatMap((one, at) => checkSchema(one, items, `${path}[${at}]`))
      : [`${path}: a list is wanted`]
  }
  if (type === "object") {
    if (!isJson(value)) return [`${path}: an object is wanted`]
    return Object.entries(value).flatMap(([key, one]) => {
      const known = isJson(properties) ? properties[key] : undefined
      if (known !== undefined) return checkSchema(one, known, `${path}.${key}`)
      if (isJson(additionalProperties)) return checkSchema(one, additionalProperties, `${path}.${key}`)
      return schema["x-kubernetes-preserve-unknown-fields"] === true ? [] : [`${path}.${key}: unknown field`]
    })
  }
  if (type === "integer") return Number.isInteger(value) ? [] : [`${path}: an integer is wanted`]
  return typeof type === "string" && typeof value !== type ? [`${path}: ${type} is wanted`] : []
}

const monitorEndpoint = { port: "", path: "", interval: "", relabelings: [], metricRelabelings: [] }
const selector = { matchLabels: {} }
/** `{}` and `[]` may hold anything. */
const operators: Readonly<Record<string, Json>> = {
  "monitoring.coreos.com/v1 PodMonitor": { selector, podTargetLabels: [], podMetricsEndpoints: [monitorEndpoint] },
  "monitoring.coreos.com/v1 ServiceMonitor": { selector, targetLabels: [], endpoints: [monitorEndpoint] },
  "monitoring.coreos.com/v1 PrometheusRule": {
    groups: [{
      name: "",
      interval: "",
      rules: [{ alert: "", record: "", expr: "", for: "", labels: {}, annotations: {} }]
    }]
  },
  "keda.sh/v1alpha1 ScaledObject": {
    scaleTargetRef: { name: "" },
    minReplicaCount: 0,
    maxReplicaCount: 0,
    pollingInterval: 0,
    cooldownPeriod: 0,
    triggers: [{ type: "", metadata: {}, name: "", authenticationRef: {} }],
    advanced: {}
  }
}
const checkExample = (value: unknown, example: unknown, path: string): ReadonlyArray<string> => {
  if (Array.isArray(example)) {
    if (!Array.isArray(value)) return [`${path}: a list is wanted`]
    return example.length === 0 ? [] : value.flatMap((one, at) => checkExample(one, example[0], `${path}[${at}]`))
  }
  if (isJson(example)) {
    if (!isJson(value)) return [`${path}: an object is wanted`]
    return Object.keys(example).length === 0
      ? []
      : Object.entries(value).flatMap(([key, one]) =>
        key in example ? checkExample(one, example[key], `${path}.${key}`) : [`${path}.${key}: unknown field`]
      )
  }
  return typeof value === typeof example ? [] : [`${path}: ${typeof example} is wanted`]
}

const crds: ReadonlyArray<Json> = readdirSync(join(root, "infra/crds")).filter((name) => name.startsWith("heddle.dev_"))
  .map((name) => parse(readFileSync(join(root, "infra/crds", name), "utf8")))

const ownSchema = (kind: string): unknown => {
  for (const { spec } of crds) {
    if (!isJson(spec) || !isJson(spec["names"]) || spec["names"]["kind"] !== kind || !Array.isArray(spec["versions"])) {
      continue
    }
    const [version] = spec["versions"]
    return version.schema.openAPIV3Schema
  }
  return undefined
}

/** What is wrong with an object, by path. */
export const problems = (object: Json): ReadonlyArray<string> => {
  const kind = String(object["kind"])
  const apiVersion = String(object["apiVersion"])
  if (apiVersion.startsWith("heddle.dev/")) {
    const { metadata, ...rest } = object
    return [...checkSchema(rest, ownSchema(kind), kind), ...check(metadata, "V1ObjectMeta", `${kind}.metadata`)]
  }
  const example = operators[`${apiVersion} ${kind}`]
  if (example !== undefined) {
    return [
      ...checkExample(object["spec"], example, `${kind}.spec`),
      ...check(object["metadata"], "V1ObjectMeta", `${kind}.metadata`)
    ]
  }
  const version = apiVersion.split("/").at(-1) ?? ""
  return check(object, `${version.slice(0, 1).toUpperCase()}${version.slice(1)}${kind}`, kind)
}
