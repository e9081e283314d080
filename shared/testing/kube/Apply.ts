/**
 * Server-side apply, as far as a client of ours uses it: who owns which field (metadata.managedFields, fieldsV1), 409 with a cause for each field that another manager
 * set to something else, `force` to take those over, removal of what a manager no longer applies and nobody else owns.
 *
 * Simplified: owners of custom resources are tracked from their creation on, those of built-in kinds from the first apply of an object on. What was there before belongs to
 * `before-first-apply`, as for objects older than server-side apply.
 * Lists that are maps are known for built-in kinds (Patch.strategicKeys) and, if they have one key, from the schemas of CRDs; every other list is one value.
 */
import {
  equal,
  isObject,
  type Json,
  type JsonObject,
  type KubeObject,
  type ManagedFields,
  type ObjectMeta
} from "./Json.ts"
import { strategicKeys } from "./Patch.ts"
import * as Refusal from "./Refusal.ts"

/** An element of a path: `f:name`, `k:{"name":"x"}`, `v:"x"`, as fieldsV1 writes them. */
type Path = ReadonlyArray<string>
type FieldSet = Map<string, Path>

export interface Conflict {
  /** The other manager, in quotes. */
  readonly by: string
  readonly field: string
}

export interface Applied {
  readonly object: JsonObject
  readonly managedFields: ReadonlyArray<ManagedFields>
  readonly conflicts: ReadonlyArray<Conflict>
}

const unowned = new Set([
  "apiVersion",
  "kind",
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "metadata.resourceVersion",
  "metadata.creationTimestamp",
  "metadata.generation",
  "metadata.managedFields",
  "metadata.generateName",
  "metadata.deletionTimestamp",
  "metadata.deletionGracePeriodSeconds"
])

const noKeys: Readonly<Record<string, string>> = { "metadata.finalizers": "", "metadata.ownerReferences": "uid" }
const customKeys = new Map<string, Readonly<Record<string, string>>>()
const keysOf = (kind: string): Readonly<Record<string, string>> => strategicKeys[kind] ?? customKeys.get(kind) ?? noKeys

/** Learns from a CRD's schema which of its lists are maps, and by which key. */
export const learnLists = (kind: string, schema: Json): void => {
  const keys: Record<string, string> = { ...noKeys }
  const visit = (part: Json, dotted: string): void => {
    if (!isObject(part)) return
    const listKeys: ReadonlyArray<string> = part["x-kubernetes-list-map-keys"] ?? []
    if (part["x-kubernetes-list-type"] === "map" && listKeys.length === 1) keys[dotted] = listKeys[0] ?? ""
    for (const [name, child] of Object.entries(part["properties"] ?? {})) {
      visit(child, dotted === "" ? name : `${dotted}.${name}`)
    }
    visit(part["items"], dotted)
  }
  visit(schema, "")
  customKeys.set(kind, keys)
}

const add = (set: FieldSet, path: Path): void => {
  set.set(path.join("\n"), path)
}

const itemElement = (item: Json, key: string): string =>
  key === "" ? `v:${JSON.stringify(item)}` : `k:${JSON.stringify({ [key]: item?.[key] })}`

/** The leaves of a value. */
const leaves = (
  value: Json,
  keys: Readonly<Record<string, string>>,
  set: FieldSet,
  path: Path = [],
  dotted = ""
): FieldSet => {
  if (unowned.has(dotted)) return set
  if (isObject(value)) {
    const names = Object.keys(value)
    if (names.length === 0 && path.length > 0) add(set, path)
    for (const name of names) {
      leaves(value[name], keys, set, [...path, `f:${name}`], dotted === "" ? name : `${dotted}.${name}`)
    }
  } else if (Array.isArray(value) && keys[dotted] !== undefined) {
    const key = keys[dotted] ?? ""
    for (const item of value) {
      const element = [...path, itemElement(item, key)]
      if (key === "") add(set, element)
      else leaves(item, keys, set, element, dotted)
    }
  } else if (path.length > 0) add(set, path)
  return set
}

const fieldsOf = (object: Json, kind: string): FieldSet => leaves(object, keysOf(kind), new Map())

const encode = (set: FieldSet): JsonObject => {
  const root: JsonObject = {}
  for (const path of set.values()) {
    let node = root
    for (const element of path) {
      // an item or object that is owned through its members carries "." as well
      node = node[element] ??= {}
    }
  }
  return root
}

const decode = (fields: Json, set: FieldSet = new Map(), path: Path = []): FieldSet => {
  if (!isObject(fields)) return set
  const names = Object.keys(fields).filter((name) => name !== ".")
  if (names.length === 0 && path.length > 0) add(set, path)
  for (const name of names) decode(fields[name], set, [...path, name])
  return set
}

const valueAt = (object: Json, path: Path): Json => {
  let value = object
  for (const element of path) {
    if (element.startsWith("f:")) value = isObject(value) ? value[element.slice(2)] : undefined
    else if (!Array.isArray(value)) return undefined
    else {
      const wanted: Json = JSON.parse(element.slice(2))
      value = element.startsWith("v:")
        ? value.find((item) => equal(item, wanted))
        : value.find((item) => Object.keys(wanted).every((key) => equal(item?.[key], wanted[key])))
    }
    if (value === undefined) return undefined
  }
  return value
}

const removeAt = (value: Json, path: Path): Json => {
  const [element, ...rest] = path
  if (element === undefined || value === undefined) return value
  if (element.startsWith("f:")) {
    const name = element.slice(2)
    if (!isObject(value) || !(name in value)) return value
    const copy = { ...value }
    if (rest.length === 0) delete copy[name]
    else {
      const inner = removeAt(copy[name], rest)
      // what becomes empty by the removal goes as well
      if (
        inner === undefined || (isObject(inner) && Object.keys(inner).length === 0) ||
        (Array.isArray(inner) && inner.length === 0)
      ) delete copy[name]
      else copy[name] = inner
    }
    return copy
  }
  if (!Array.isArray(value)) return value
  const wanted: Json = JSON.parse(element.slice(2))
  if (element.startsWith("v:")) return value.filter((item) => !equal(item, wanted))
  const isWanted = (item: Json) => Object.keys(wanted).every((key) => equal(item?.[key], wanted[key]))
  return value.flatMap((item) => {
    if (!isWanted(item)) return [item]
    const left = rest.length === 0 ? undefined : removeAt(item, rest)
    const isOnlyKey = isObject(left) && Object.keys(left).every((key) => key in wanted)
    return left === undefined ||
        (isOnlyKey && rest.length === 1 && rest[0]?.startsWith("f:") && rest[0].slice(2) in wanted)
      ? []
      : [left]
  })
}

const mergeInto = (target: Json, config: Json, keys: Readonly<Record<string, string>>, dotted = ""): Json => {
  if (isObject(config)) {
    const next: JsonObject = isObject(target) ? { ...target } : {}
    for (const name of Object.keys(config)) {
      const merged = mergeInto(next[name], config[name], keys, dotted === "" ? name : `${dotted}.${name}`)
      next[name] = equal(merged, next[name]) ? next[name] : merged
    }
    return next
  }
  const key = keys[dotted]
  if (!Array.isArray(config) || key === undefined || !Array.isArray(target)) return config
  const merged = [...target]
  for (const item of config) {
    const index = merged.findIndex((one) => (key === "" ? equal(one, item) : equal(one?.[key], item?.[key])))
    if (index === -1) merged.push(item)
    else if (key !== "") merged[index] = mergeInto(merged[index], item, keys, dotted)
  }
  return merged
}

const readable = (path: Path): string =>
  path.map((element) => {
    if (element.startsWith("f:")) return `.${element.slice(2)}`
    if (element.startsWith("v:")) return `[=${element.slice(2)}]`
    const wanted: JsonObject = JSON.parse(element.slice(2))
    return `[${Object.entries(wanted).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(",")}]`
  }).join("")

const isOwn = (
  entry: ManagedFields,
  manager: string,
  operation: ManagedFields["operation"],
  subresource: string | undefined
) => entry.manager === manager && entry.operation === operation && (entry.subresource ?? "") === (subresource ?? "")

const withFields = (entry: ManagedFields, set: FieldSet): ReadonlyArray<ManagedFields> =>
  set.size === 0 ? [] : [{ ...entry, fieldsV1: encode(set) }]

export const apply = (request: {
  readonly current: KubeObject | undefined
  readonly config: JsonObject
  readonly kind: string
  readonly apiVersion: string
  readonly manager: string
  readonly force: boolean
  readonly time: string
  readonly subresource?: string | undefined
}): Applied => {
  const { current, config, kind, manager } = request
  const keys = keysOf(kind)
  const wanted = fieldsOf(config, kind)
  const own: ManagedFields = {
    manager,
    operation: "Apply",
    apiVersion: request.apiVersion,
    time: request.time,
    fieldsType: "FieldsV1",
    fieldsV1: encode(wanted),
    ...(request.subresource === undefined ? {} : { subresource: request.subresource })
  }
  if (current === undefined) return { object: config, managedFields: [own], conflicts: [] }
  const before: ReadonlyArray<ManagedFields> = current.metadata.managedFields ?? [{
    manager: "before-first-apply",
    operation: "Update",
    apiVersion: request.apiVersion,
    time: request.time,
    fieldsType: "FieldsV1",
    fieldsV1: encode(fieldsOf(current, kind))
  }]
  const conflicts: Array<Conflict> = []
  const others: Array<ManagedFields> = []
  const ownedByOthers = new Set<string>()
  let had: FieldSet = new Map()
  let ownBefore: ManagedFields | undefined
  for (const entry of before) {
    const fields = decode(entry.fieldsV1)
    if (isOwn(entry, manager, "Apply", request.subresource)) {
      had = fields
      ownBefore = entry
      continue
    }
    const kept: FieldSet = new Map(fields)
    for (const [id, path] of wanted) {
      if (fields.has(id) && !equal(valueAt(current, path), valueAt(config, path))) {
        // an Update's manager is told with the version it wrote in
        const by = entry.operation === "Update"
          ? `"${entry.manager}" using ${entry.apiVersion ?? request.apiVersion}`
          : `"${entry.manager}"`
        conflicts.push({ by, field: readable(path) })
        kept.delete(id)
      }
    }
    for (const id of kept.keys()) ownedByOthers.add(id)
    others.push(...withFields(entry, kept))
  }
  if (conflicts.length > 0 && !request.force) return { object: current, managedFields: before, conflicts }
  let object: Json = current
  for (const [id, path] of had) {
    if (!wanted.has(id) && !ownedByOthers.has(id)) object = removeAt(object, path)
  }
  object = mergeInto(object, config, keys)
  const isSame = ownBefore !== undefined && equal(ownBefore.fieldsV1, own.fieldsV1)
  const managedFields = [...others, isSame && ownBefore !== undefined ? ownBefore : own]
  return { object: { ...object, metadata: { ...object.metadata, managedFields } }, managedFields, conflicts: [] }
}

export const conflict = (conflicts: ReadonlyArray<Conflict>): Refusal.Refusal => {
  const byManager = Map.groupBy(conflicts, (one) => one.by)
  const texts = [...byManager].map(([manager, list]) =>
    list.length === 1
      ? `conflict with ${manager}: ${list[0]?.field}`
      : `conflicts with ${manager}:\n${list.map((one) => `- ${one.field}`).join("\n")}`
  )
  const plural = conflicts.length === 1 ? "conflict" : "conflicts"
  return Refusal.failure(
    409,
    "Conflict",
    `Apply failed with ${conflicts.length} ${plural}: ${texts.join("\n")}`,
    {
      causes: conflicts.map((one) => ({
        reason: "FieldManagerConflict",
        message: `conflict with ${one.by}`,
        field: one.field
      }))
    }
  )
}

/** The metadata of a new object that was not applied: all of it is its creator's. */
export const withCreation = (object: KubeObject, manager: string, time: string): ObjectMeta => ({
  ...object.metadata,
  managedFields: [{
    manager,
    operation: "Update",
    apiVersion: object.apiVersion,
    time,
    fieldsType: "FieldsV1",
    fieldsV1: encode(fieldsOf(object, object.kind))
  }]
})

/** The metadata after a write that was no apply: what it changed is its manager's now. */
export const withUpdate = (
  next: KubeObject,
  current: KubeObject,
  manager: string,
  time: string,
  subresource: string | undefined
): ObjectMeta => {
  const entries = current.metadata.managedFields ?? []
  const fields = fieldsOf(next, next.kind)
  const changed: FieldSet = new Map()
  for (const [id, path] of fields) if (!equal(valueAt(next, path), valueAt(current, path))) changed.set(id, path)
  const gone = [...fieldsOf(current, current.kind).keys()].some((id) => !fields.has(id))
  if (changed.size === 0 && !gone) return next.metadata
  const kept: Array<ManagedFields> = []
  let own: ManagedFields | undefined
  for (const entry of entries) {
    const set = decode(entry.fieldsV1)
    const isMine = isOwn(entry, manager, "Update", subresource)
    for (const id of set.keys()) if (!fields.has(id) || (!isMine && changed.has(id))) set.delete(id)
    if (isMine) {
      for (const [id, path] of changed) set.set(id, path)
      own = { ...entry, time, fieldsV1: encode(set) }
      if (set.size > 0) kept.push(own)
    } else kept.push(...withFields(entry, set))
  }
  if (own === undefined && changed.size > 0) {
    kept.push({
      manager,
      operation: "Update",
      apiVersion: next.apiVersion,
      time,
      fieldsType: "FieldsV1",
      fieldsV1: encode(changed),
      ...(subresource === undefined ? {} : { subresource })
    })
  }
  return { ...next.metadata, managedFields: kept }
}
