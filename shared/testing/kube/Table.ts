/**
 * Objects as rows (`Accept: application/json;as=Table;v=v1;g=meta.k8s.io`): what `kubectl get` shows. Columns of custom resources are those of their definition; pods, namespaces and
 * nodes have the ones of the API server, every other kind its default (name and time of creation).
 */
import { type Json, type JsonObject, type KubeObject } from "./Json.ts"
import * as JsonPath from "./JsonPath.ts"
import type { Resource } from "./Resource.ts"

interface Column {
  readonly name: string
  readonly type: string
  readonly format: string
  readonly description: string
  readonly priority: number
}
interface Columns {
  readonly columns: ReadonlyArray<Column>
  readonly cells: (object: KubeObject, nowMs: number) => ReadonlyArray<Json>
}

const column = (name: string, type = "string", priority = 0, format = ""): Column => ({
  name,
  type,
  format,
  description: "",
  priority
})
const nameColumn = column("Name", "string", 0, "name")

const minuteS = 60
const hourS = 3600
const dayS = 86_400
const yearS = dayS * 365

/** A duration as Kubernetes shows an age. */
export const age = (ms: number): string => {
  const s = Math.floor(ms / 1000)
  const part = (of: number, unit: string) => (of > 0 ? `${of}${unit}` : "")
  if (s < 0) return s < -1 ? "<invalid>" : "0s"
  if (s < 2 * minuteS) return `${s}s`
  if (s < 10 * minuteS) return `${Math.floor(s / minuteS)}m${part(s % minuteS, "s")}`
  if (s < 3 * hourS) return `${Math.floor(s / minuteS)}m`
  if (s < 8 * hourS) return `${Math.floor(s / hourS)}h${part(Math.floor((s % hourS) / minuteS), "m")}`
  if (s < 2 * dayS) return `${Math.floor(s / hourS)}h`
  if (s < 8 * dayS) return `${Math.floor(s / dayS)}d${part(Math.floor((s % dayS) / hourS), "h")}`
  if (s < 2 * yearS) return `${Math.floor(s / dayS)}d`
  if (s < 8 * yearS) return `${Math.floor(s / yearS)}y${part(Math.floor((s % yearS) / dayS), "d")}`
  return `${Math.floor(s / yearS)}y`
}

const since = (time: Json, nowMs: number): string => {
  if (time === undefined || time === null) return "<unknown>"
  const ms = Date.parse(String(time))
  return Number.isNaN(ms) ? "<invalid>" : age(nowMs - ms)
}

/** A value of a definition's column; null shows as nothing. */
const cell = (type: string, value: Json, nowMs: number): Json => {
  if (value === undefined || value === null) return null
  switch (type) {
    case "integer":
      return typeof value === "number" ? Math.trunc(value) : null
    case "number":
      return typeof value === "number" ? value : null
    case "boolean":
      return typeof value === "boolean" ? value : null
    case "date":
      return typeof value === "string" ? since(value, nowMs) : null
    default:
      return typeof value === "object" ? JSON.stringify(value) : String(value)
  }
}

const ofDefinition = (columns: ReadonlyArray<Json>): Columns => {
  const paths = columns.map((one) => JsonPath.compile(String(one.jsonPath)))
  return {
    columns: [
      nameColumn,
      ...columns.map((one) => ({
        ...column(String(one.name), String(one.type), Number(one.priority ?? 0), String(one.format ?? "")),
        description: String(one.description ?? "")
      }))
    ],
    cells: (object, nowMs) => [
      object.metadata.name,
      ...columns.map((one, index) => cell(String(one.type), paths[index]?.(object)[0], nowMs))
    ]
  }
}

const podStatus = (pod: KubeObject): string => {
  const statuses: ReadonlyArray<Json> = pod.status?.containerStatuses ?? []
  let reason: string = pod.status?.reason ?? pod.status?.phase ?? "Unknown"
  let isRunning = false
  for (const one of statuses.toReversed()) {
    const { running, terminated, waiting } = one.state ?? {}
    if (waiting?.reason) reason = waiting.reason
    else if (terminated?.reason) reason = terminated.reason
    else if (terminated !== undefined) {
      reason = terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`
    } else if (one.ready === true && running !== undefined) isRunning = true
  }
  if (reason === "Completed" && isRunning) {
    const isReady = (pod.status?.conditions ?? []).some((one: Json) => one.type === "Ready" && one.status === "True")
    reason = isReady ? "Running" : "NotReady"
  }
  if (pod.metadata.deletionTimestamp === undefined) return reason
  return pod.status?.reason === "NodeLost" ? "Unknown" : "Terminating"
}

const pods: Columns = {
  columns: [
    nameColumn,
    column("Ready"),
    column("Status"),
    column("Restarts"),
    column("Age"),
    column("IP", "string", 1),
    column("Node", "string", 1),
    column("Nominated Node", "string", 1),
    column("Readiness Gates", "string", 1)
  ],
  cells: (pod, nowMs) => {
    const statuses: ReadonlyArray<Json> = pod.status?.containerStatuses ?? []
    const isUp = (one: Json) => one.ready === true && one.state?.running !== undefined
    const restarts = statuses.reduce((sum, one) => sum + Number(one.restartCount ?? 0), 0)
    return [
      pod.metadata.name,
      `${statuses.filter(isUp).length}/${(pod.spec?.containers ?? []).length}`,
      podStatus(pod),
      String(restarts),
      since(pod.metadata.creationTimestamp, nowMs),
      pod.status?.podIP ?? "<none>",
      pod.spec?.nodeName ?? "<none>",
      pod.status?.nominatedNodeName ?? "<none>",
      "<none>"
    ]
  }
}

const namespaces: Columns = {
  columns: [nameColumn, column("Status"), column("Age")],
  cells: (one, nowMs) => [
    one.metadata.name,
    one.status?.phase ?? "",
    since(one.metadata.creationTimestamp, nowMs)
  ]
}

const nodes: Columns = {
  columns: [nameColumn, column("Status"), column("Roles"), column("Age"), column("Version")],
  cells: (one, nowMs) => {
    const ready = (one.status?.conditions ?? []).find((condition: Json) => condition.type === "Ready")
    return [
      one.metadata.name,
      ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady",
      "<none>",
      since(one.metadata.creationTimestamp, nowMs),
      one.status?.nodeInfo?.kubeletVersion ?? ""
    ]
  }
}

const others: Columns = {
  columns: [nameColumn, column("Created At", "date")],
  cells: (one) => [one.metadata.name, one.metadata.creationTimestamp]
}

const builtIn: Readonly<Record<string, Columns>> = { pods, namespaces, nodes }
const ageColumn = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" }
const made = new WeakMap<Resource, Columns>()

const columnsOf = (resource: Resource): Columns => {
  if (!resource.isCustom) return resource.group === "" ? builtIn[resource.plural] ?? others : others
  let known = made.get(resource)
  if (known === undefined) made.set(resource, known = ofDefinition(resource.columns ?? [ageColumn]))
  return known
}

/** What a client asks for by `Accept`; undefined: objects as they are. */
export const isWanted = (accept: string | undefined): boolean =>
  accept !== undefined && /(^|,)\s*application\/json\s*;(?=[^,]*as=Table)(?=[^,]*v=v1(;|,|$))/.test(accept)

/**
 * A list or one object as a table. `include` is the query's `includeObject`: `Metadata` when not given, `Object` or `None`. `isLater`: a watch's event after the first, which has
 * no columns any more.
 */
export const of = (
  resource: Resource,
  body: JsonObject,
  include: string | undefined,
  nowMs: number,
  isLater = false
): JsonObject => {
  const { cells, columns } = columnsOf(resource)
  const isList = body["kind"] === resource.listKind && Array.isArray(body["items"])
  const objects: ReadonlyArray<KubeObject> = isList ? body["items"] : [body as KubeObject]
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: isList ? body["metadata"] : { resourceVersion: body["metadata"]?.resourceVersion },
    columnDefinitions: isLater ? null : columns,
    rows: objects.map((object) => ({
      cells: cells(object, nowMs),
      object: include === "Object"
        ? object
        : include === "None"
        ? null
        : { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata }
    }))
  }
}
