/**
 * The patch types of the API server other than server-side apply: RFC 6902 (JSON patch), RFC 7386 (merge patch) and Kubernetes' strategic merge patch.
 *
 * Keeps true: the object patched is never changed, and whatever a patch leaves alone is the same reference in the result. That is why these are not a library's: the
 * store decides by reference what changed (a PATCH of a pod's labels must not compare its spec), and a deep copy would cost more than all the rest of a PATCH.
 */
import { equal, isObject, type Json, type JsonObject, without } from "./Json.ts"
import * as Refusal from "./Refusal.ts"

/** RFC 7386. */
export const merge = (target: Json, patch: Json): Json => {
  if (!isObject(patch)) return equal(target, patch) ? target : patch
  const base: JsonObject = isObject(target) ? target : {}
  let next = base
  for (const key in patch) {
    if (key === "__proto__") continue
    const value = patch[key]
    if (value === null) {
      if (key in base) next = without(next, key)
      continue
    }
    const merged = merge(base[key], value)
    if (merged === base[key] && key in base) continue
    if (next === base) next = { ...base }
    next[key] = merged
  }
  return next
}

const unescape = (token: string): string => token.replaceAll("~1", "/").replaceAll("~0", "~")

const pointer = (path: Json): Array<string> => {
  if (typeof path !== "string") throw Refusal.badRequest("json patch: an operation without a path")
  if (path === "") return []
  if (!path.startsWith("/")) {
    throw Refusal.failure(422, "Invalid", `the server rejected our request due to an error in our request`, {})
  }
  return path.slice(1).split("/").map(unescape)
}

const unprocessable = (detail: string): Refusal.Refusal =>
  Refusal.failure(422, "Invalid", `the server rejected our request due to an error in our request: ${detail}`, {})

const listIndex = (token: string, length: number, isInsert: boolean): number => {
  if (token === "-" && isInsert) return length
  if (!/^(0|[1-9][0-9]*)$/.test(token)) throw unprocessable(`invalid index ${token}`)
  const index = Number(token)
  if (index > (isInsert ? length : length - 1)) throw unprocessable(`index ${token} is out of range`)
  return index
}

const readAt = (document: Json, tokens: ReadonlyArray<string>): Json => {
  let value = document
  for (const token of tokens) {
    if (Array.isArray(value)) value = value[listIndex(token, value.length, false)]
    else if (isObject(value) && Object.hasOwn(value, token)) value = value[token]
    else throw unprocessable(`no value at /${tokens.join("/")}`)
  }
  return value
}

type Edit = (container: Json, token: string) => Json

const editAt = (document: Json, tokens: ReadonlyArray<string>, edit: Edit, depth = 0): Json => {
  const token = tokens[depth]
  if (token === undefined || token === "__proto__") throw unprocessable("the whole document cannot be edited")
  if (typeof document !== "object" || document === null) throw unprocessable(`no value at /${tokens.join("/")}`)
  if (depth === tokens.length - 1) return edit(document, token)
  if (Array.isArray(document)) {
    const index = listIndex(token, document.length, false)
    return document.with(index, editAt(document[index], tokens, edit, depth + 1))
  }
  if (!Object.hasOwn(document, token)) throw unprocessable(`no value at /${tokens.join("/")}`)
  return { ...document, [token]: editAt(document[token], tokens, edit, depth + 1) }
}

const addAt = (document: Json, tokens: ReadonlyArray<string>, value: Json): Json =>
  tokens.length === 0 ? value : editAt(document, tokens, (container, token) =>
    Array.isArray(container)
      ? container.toSpliced(listIndex(token, container.length, true), 0, value)
      : { ...container, [token]: value })

const removeAt = (document: Json, tokens: ReadonlyArray<string>): Json =>
  editAt(document, tokens, (container, token) => {
    if (Array.isArray(container)) return container.toSpliced(listIndex(token, container.length, false), 1)
    if (!Object.hasOwn(container, token)) throw unprocessable(`no value at /${tokens.join("/")}`)
    return without(container, token)
  })

const operationsMax = 10_000

/** RFC 6902, with the API server's limit of 10,000 operations. A failed `test` is 422. */
export const json = (target: Json, operations: Json): Json => {
  if (!Array.isArray(operations)) throw Refusal.badRequest("json patch: the patch is not a list of operations")
  if (operations.length > operationsMax) {
    throw Refusal.failure(
      413,
      "RequestEntityTooLarge",
      `The allowed maximum operations in a JSON patch is ${operationsMax}, got ${operations.length}`
    )
  }
  let document = target
  for (const operation of operations) {
    const path = pointer(operation?.path)
    switch (operation?.op) {
      case "add":
        document = addAt(document, path, operation.value)
        break
      case "remove":
        document = removeAt(document, path)
        break
      case "replace":
        readAt(document, path)
        document = path.length === 0 ?
          operation.value :
          editAt(document, path, (container, token) =>
            Array.isArray(container)
              ? container.with(listIndex(token, container.length, false), operation.value)
              : { ...container, [token]: operation.value })
        break
      case "move": {
        const from = pointer(operation.from)
        const value = readAt(document, from)
        document = addAt(removeAt(document, from), path, value)
        break
      }
      case "copy":
        document = addAt(document, path, readAt(document, pointer(operation.from)))
        break
      case "test": {
        let found: Json = null
        try {
          found = readAt(document, path)
        } catch (error) {
          if (operation.value !== null) throw error
        }
        if (!equal(found, operation.value)) throw unprocessable(`testing value ${operation.path} failed`)
        break
      }
      default:
        throw unprocessable(`unexpected kind of operation: ${String(operation?.op)}`)
    }
  }
  return document
}

/** Lists that a strategic merge patch merges: path without indices -> key of its items; "" for lists of scalars. What is not named is replaced. */
export type MergeKeys = Readonly<Record<string, string>>

const metadataKeys: MergeKeys = { "metadata.finalizers": "", "metadata.ownerReferences": "uid" }

const containerKeys = (path: string): MergeKeys => ({
  [path]: "name",
  [`${path}.env`]: "name",
  [`${path}.ports`]: "containerPort",
  [`${path}.volumeMounts`]: "mountPath",
  [`${path}.volumeDevices`]: "devicePath"
})

/** By kind, from the `patchMergeKey` tags of k8s.io/api. */
export const strategicKeys: Readonly<Record<string, MergeKeys>> = {
  Pod: {
    ...metadataKeys,
    ...containerKeys("spec.containers"),
    ...containerKeys("spec.initContainers"),
    ...containerKeys("spec.ephemeralContainers"),
    "spec.volumes": "name",
    "spec.imagePullSecrets": "name",
    "spec.hostAliases": "ip",
    "spec.topologySpreadConstraints": "topologyKey",
    "spec.schedulingGates": "name",
    "spec.resourceClaims": "name",
    "status.conditions": "type",
    "status.podIPs": "ip",
    "status.hostIPs": "ip"
  },
  Node: { ...metadataKeys, "status.conditions": "type", "status.addresses": "type" },
  Namespace: { ...metadataKeys, "status.conditions": "type" }
}

const elementOrder = "$setElementOrder/"
const deleteFromList = "$deleteFromPrimitiveList/"
const retainKeys = "$retainKeys"

const keyOf = (item: Json, key: string, path: string): Json => {
  if (key === "") return item
  const value = isObject(item) ? item[key] : undefined
  if (value === undefined) {
    throw Refusal.unexplained(500, `map: ${JSON.stringify(item)} does not contain declared merge key: ${key} (${path})`)
  }
  return value
}

/**
 * The order of a merged list: items the patch names in the patch's order, the server's own between them where the old order allows it. An item new to the list therefore
 * comes before those the patch does not name, which surprises, and is how the API server does it.
 */
const ordered = (
  merged: ReadonlyArray<Json>,
  wanted: ReadonlyArray<Json>,
  before: ReadonlyArray<Json>,
  key: string,
  path: string
) => {
  const identity = (item: Json): Json => keyOf(item, key, path)
  const wantedAt = new Map(wanted.map((id, index) => [id, index]))
  const beforeAt = new Map(before.map((item, index) => [identity(item), index]))
  const named = merged.filter((item) => wantedAt.has(identity(item)))
    .sort((left, right) => (wantedAt.get(identity(left)) ?? 0) - (wantedAt.get(identity(right)) ?? 0))
  const own = merged.filter((item) => !wantedAt.has(identity(item)))
  const result: Array<Json> = []
  let next = 0
  for (const item of named) {
    const position = beforeAt.get(identity(item))
    while (next < own.length) {
      const ownPosition = beforeAt.get(identity(own[next]))
      if (position === undefined || ownPosition === undefined || ownPosition >= position) break
      result.push(own[next++])
    }
    result.push(item)
  }
  while (next < own.length) result.push(own[next++])
  return result
}

const mergeLists = (
  target: ReadonlyArray<Json>,
  patch: ReadonlyArray<Json>,
  order: ReadonlyArray<Json> | undefined,
  key: string,
  path: string,
  keys: MergeKeys
): ReadonlyArray<Json> => {
  if (key === "") {
    const merged = [...target, ...patch.filter((item) => !target.includes(item))]
    return ordered(merged, order ?? patch, target, key, path)
  }
  const directives = patch.filter((item) => isObject(item) && "$patch" in item)
  if (directives.some((item) => item.$patch === "replace")) {
    return patch.filter((item) => !(isObject(item) && "$patch" in item))
  }
  const removed = new Set(directives.filter((item) => item.$patch === "delete").map((item) => keyOf(item, key, path)))
  const named = patch.filter((item) => !(isObject(item) && item.$patch === "delete"))
  const merged = target.filter((item) => !removed.has(keyOf(item, key, path)))
  for (const item of named) {
    const id = keyOf(item, key, path)
    const index = merged.findIndex((one) => keyOf(one, key, path) === id)
    if (index === -1) merged.push(strategicValue(undefined, item, path, keys))
    else merged[index] = strategicValue(merged[index], item, path, keys)
  }
  const wanted = order === undefined
    ? named.map((item) => keyOf(item, key, path))
    : order.map((item) => keyOf(item, key, path))
  const result = ordered(merged, wanted, target, key, path)
  return result.length === target.length && result.every((item, index) => item === target[index]) ? target : result
}

const strategicValue = (target: Json, patch: JsonObject, path: string, keys: MergeKeys): Json => {
  const directive = patch["$patch"]
  if (directive === "delete") return {}
  if (directive === "replace") return without(patch, "$patch")
  if (directive !== undefined && directive !== "merge") {
    throw Refusal.badRequest(`Unknown patch type found: ${String(directive)}`)
  }
  const base: JsonObject = isObject(target) ? target : {}
  let next: JsonObject = base
  const set = (name: string, value: Json) => {
    if (value === base[name] && next === base && name in base) return
    if (next === base) next = { ...base }
    next[name] = value
  }
  const kept = patch[retainKeys]
  if (Array.isArray(kept)) {
    for (const name of Object.keys(base)) if (!kept.includes(name)) next = without(next, name)
  }
  for (const name in patch) {
    if (name === "$patch" || name === retainKeys || name === "__proto__") continue
    if (name.startsWith(deleteFromList)) {
      const field = name.slice(deleteFromList.length)
      const gone = patch[name]
      const list = next[field]
      if (Array.isArray(list)) {
        const left = list.filter((item) => !gone.includes(item))
        if (left.length === 0) next = without(next, field)
        else if (left.length !== list.length) set(field, left)
      }
      continue
    }
    if (name.startsWith(elementOrder)) {
      const field = name.slice(elementOrder.length)
      const inner = path === "" ? field : `${path}.${field}`
      const key = keys[inner]
      if (key !== undefined && patch[field] === undefined && Array.isArray(next[field])) {
        set(field, mergeLists(next[field], [], patch[name], key, inner, keys))
      }
      continue
    }
    const value = patch[name]
    if (value === null) {
      if (name in next) next = without(next, name)
      continue
    }
    const inner = path === "" ? name : `${path}.${name}`
    const had = next[name]
    if (Array.isArray(value)) {
      const key = keys[inner]
      if (key !== undefined) {
        const list: ReadonlyArray<Json> = Array.isArray(had) ? had : []
        // items that were deleted from the list by the same patch are gone before the rest is merged
        const gone = key === "" ? patch[`${deleteFromList}${name}`] : undefined
        set(
          name,
          mergeLists(
            Array.isArray(gone) ? list.filter((item) => !gone.includes(item)) : list,
            value,
            patch[`${elementOrder}${name}`],
            key,
            inner,
            keys
          )
        )
      } else if (!equal(had, value)) set(name, value)
    } else if (isObject(value)) set(name, strategicValue(had, value, inner, keys))
    else set(name, value)
  }
  return next
}

/** Kubernetes' own: lists of the kind's table are merged by key, with `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`. */
export const strategic = (target: Json, patch: Json, kind: string): Json => {
  if (!isObject(patch)) throw Refusal.badRequest("strategic merge patch: the patch is not an object")
  return strategicValue(target, patch, "", strategicKeys[kind] ?? metadataKeys)
}
