/**
 * JSON as the Kubernetes API has it, treated as immutable: whoever changes a value makes a new one and shares what stays the same.
 * Two values that are the same reference are equal, which is what makes a patch of a large object cheap (see Patch.ts, ApiStore.ts).
 */

/** Read by path, of a shape that only the kind's own validation knows: a type would be a second, worse copy of the Kubernetes API. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Json = any
export type JsonObject = Record<string, Json>

export interface OwnerReference {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
  readonly controller?: boolean
  readonly blockOwnerDeletion?: boolean
}

export interface ManagedFields {
  readonly manager: string
  readonly operation: "Apply" | "Update"
  readonly apiVersion?: string
  readonly time?: string
  readonly fieldsType?: string
  readonly fieldsV1?: JsonObject
  readonly subresource?: string
}

export interface ObjectMeta {
  readonly name: string
  readonly generateName?: string
  readonly namespace?: string
  readonly uid: string
  readonly resourceVersion: string
  readonly generation?: number
  readonly creationTimestamp: string
  readonly deletionTimestamp?: string
  readonly deletionGracePeriodSeconds?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: ReadonlyArray<string>
  readonly ownerReferences?: ReadonlyArray<OwnerReference>
  readonly managedFields?: ReadonlyArray<ManagedFields>
}

/** A stored object. `spec`, `status` and the rest are the kind's. */
export interface KubeObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: ObjectMeta
  readonly spec?: Json
  readonly status?: Json
  readonly [field: string]: Json
}

export const isObject = (value: Json): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Deep equality of JSON; parts that are shared cost nothing. A member that is `undefined` counts as absent. */
export const equal = (left: Json, right: Json): boolean => {
  if (left === right) return true
  if (typeof left !== "object" || typeof right !== "object" || left === null || right === null) return false
  if (Array.isArray(left)) {
    if (!Array.isArray(right) || left.length !== right.length) return false
    for (let index = 0; index < left.length; index++) if (!equal(left[index], right[index])) return false
    return true
  }
  if (Array.isArray(right)) return false
  let count = 0
  for (const key in left) {
    if (left[key] === undefined) continue
    count++
    if (!equal(left[key], right[key])) return false
  }
  for (const key in right) if (right[key] !== undefined) count--
  return count === 0
}

/** The object without one member. Made anew: `delete` would make every later read of the object slow. */
export const without = (object: JsonObject, key: string): JsonObject => {
  const copy: JsonObject = {}
  for (const name in object) if (name !== key) copy[name] = object[name]
  return copy
}

/** The same without what is `undefined`, as it would be after a trip over the wire. */
export const withoutUndefined = <A extends object>(object: A): A => {
  const source: JsonObject = object
  const copy: JsonObject = {}
  for (const name in source) if (source[name] !== undefined) copy[name] = source[name]
  return copy as A
}

/** The value at a dotted path such as `.spec.replicas`, or undefined. */
export const at = (object: Json, path: string): Json => {
  let value = object
  for (const name of path.split(".")) if (name !== "") value = value?.[name]
  return value
}

/** A copy in which the value at a dotted path is `value`; missing objects on the way are made. */
export const withAt = (object: Json, path: string, value: Json): Json => {
  const names = path.split(".").filter((name) => name !== "")
  const set = (target: Json, depth: number): Json => {
    const name = names[depth]
    return name === undefined ? value : { ...target, [name]: set(target?.[name], depth + 1) }
  }
  return set(object, 0)
}
