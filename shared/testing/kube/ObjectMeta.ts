/**
 * The rules that hold for the metadata of every kind: what a client may set, what only the server sets, what never changes. After k8s.io/apimachinery's validation.
 */
import { equal, isObject, type Json, type KubeObject, type ObjectMeta } from "./Json.ts"
import { badRequest, type Cause, cause } from "./Refusal.ts"
import type { Resource } from "./Resource.ts"

const qualifiedName = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$/
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/
const nameRule =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
const valueRule =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
const annotationsBytesMax = 256 * 1024

/** What a typed server cannot even decode is 400, before any validation. */
export const checkTypes = (object: Json, kind: string): void => {
  if (!isObject(object)) throw badRequest("the object provided is unrecognized (must be of type object)")
  const metadata = object["metadata"]
  if (metadata !== undefined && metadata !== null && !isObject(metadata)) {
    throw badRequest(
      `${kind} in version cannot be handled as a ${kind}: json: cannot unmarshal into Go struct field .metadata`
    )
  }
  for (const name of ["name", "generateName", "namespace", "uid", "resourceVersion"]) {
    const text = metadata?.[name]
    if (text === undefined || text === null || typeof text === "string") continue
    throw badRequest(
      `${kind} cannot be handled as a ${kind}: json: cannot unmarshal ${typeof text} into Go struct field ObjectMeta.metadata.${name} of type string`
    )
  }
  for (const name of ["labels", "annotations"]) {
    const map = metadata?.[name]
    if (map === undefined || map === null) continue
    if (!isObject(map)) {
      throw badRequest(
        `json: cannot unmarshal into Go struct field ObjectMeta.metadata.${name} of type map[string]string`
      )
    }
    for (const key in map) {
      if (typeof map[key] !== "string") {
        throw badRequest(
          `${kind} cannot be handled as a ${kind}: json: cannot unmarshal ${typeof map[
            key
          ]} into Go struct field ObjectMeta.metadata.${name} of type string`
        )
      }
    }
  }
}

/** `previous`: its unchanged maps have been validated before. */
export const validate = (metadata: ObjectMeta, resource: Resource, previous?: ObjectMeta): Array<Cause> => {
  const causes: Array<Cause> = []
  if (previous === undefined) {
    if (metadata.name === undefined || metadata.name === "") {
      causes.push(cause.required("metadata.name", "name or generateName is required"))
    } else {
      const problem = resource.strategy.name?.(metadata.name)
      if (problem !== undefined) causes.push(cause.invalid("metadata.name", metadata.name, problem))
    }
  }
  if (metadata.labels !== undefined && metadata.labels !== previous?.labels) {
    for (const [key, value] of Object.entries(metadata.labels)) {
      if (!qualifiedName.test(key)) causes.push(cause.invalid("metadata.labels", key, nameRule))
      if (value.length > 63) causes.push(cause.invalid("metadata.labels", value, "must be no more than 63 characters"))
      else if (!labelValue.test(value)) causes.push(cause.invalid("metadata.labels", value, valueRule))
    }
  }
  if (metadata.annotations !== undefined && metadata.annotations !== previous?.annotations) {
    let bytes = 0
    for (const [key, value] of Object.entries(metadata.annotations)) {
      if (!qualifiedName.test(key.toLowerCase())) causes.push(cause.invalid("metadata.annotations", key, nameRule))
      bytes += key.length + value.length
    }
    if (bytes > annotationsBytesMax) {
      causes.push({
        reason: "FieldValueTooLong",
        field: "metadata.annotations",
        message: `Too long: must have at most ${annotationsBytesMax} bytes`
      })
    }
  }
  if (metadata.finalizers !== previous?.finalizers) {
    for (const finalizer of metadata.finalizers ?? []) {
      if (!qualifiedName.test(finalizer)) causes.push(cause.invalid("metadata.finalizers", finalizer, nameRule))
    }
  }
  if (metadata.ownerReferences !== previous?.ownerReferences) {
    const owners = metadata.ownerReferences ?? []
    owners.forEach((owner, index) => {
      for (const name of ["apiVersion", "kind", "name", "uid"] as const) {
        if (!owner[name]) {
          causes.push(
            cause.invalid(
              `metadata.ownerReferences[${index}].${name}`,
              owner[name] ?? "",
              `${name === "apiVersion" ? "version" : name} must not be empty`
            )
          )
        }
      }
    })
    const controllers = owners.filter((owner) => owner.controller === true)
    if (controllers.length > 1) {
      causes.push(
        cause.invalid(
          "metadata.ownerReferences",
          owners,
          `Only one reference can have Controller set to true. Found "true" in references for ${
            controllers[0]?.name
          } and ${controllers[1]?.name}`
        )
      )
    }
  }
  return causes
}

const known = new Set([
  "name",
  "generateName",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "labels",
  "annotations",
  "finalizers",
  "ownerReferences",
  "managedFields"
])

const serverSet = ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] as const

/**
 * The metadata an update may write: what only the server sets is taken from `previous` when left out, and refused when changed.
 * Labels and the like that are equal keep their old reference.
 */
export const carryOver = (
  next: ObjectMeta,
  previous: ObjectMeta
): { readonly metadata: ObjectMeta; readonly causes: Array<Cause> } => {
  const causes: Array<Cause> = []
  if (next === previous) return { metadata: previous, causes }
  const metadata: Record<string, Json> = {}
  for (const key in next) if (known.has(key)) metadata[key] = (next as unknown as Record<string, Json>)[key]
  for (const name of serverSet) {
    const had = previous[name]
    if (name === "generation" || name === "creationTimestamp") metadata[name] = had
    else if (metadata[name] === undefined || metadata[name] === null) metadata[name] = had
    else if (metadata[name] !== had) {
      causes.push(cause.invalid(`metadata.${name}`, metadata[name], "field is immutable"))
    }
    if (metadata[name] === undefined) delete metadata[name]
  }
  if (previous.deletionTimestamp !== undefined) {
    const added = (next.finalizers ?? []).filter((one) => !(previous.finalizers ?? []).includes(one))
    if (added.length > 0) {
      causes.push(
        cause.forbidden(
          "metadata.finalizers",
          `no new finalizers can be added if the object is being deleted, found new finalizers []string{${
            added.map((one) => JSON.stringify(one)).join(", ")
          }}`
        )
      )
    }
  }
  for (const name of ["labels", "annotations", "finalizers", "ownerReferences", "managedFields"] as const) {
    if (metadata[name] !== previous[name] && equal(metadata[name], previous[name])) metadata[name] = previous[name]
    const value = metadata[name]
    const isEmpty = value === undefined || value === null ||
      (typeof value === "object" && Object.keys(value).length === 0)
    if (isEmpty && name in metadata) delete metadata[name]
  }
  return { metadata: metadata as unknown as ObjectMeta, causes } // every member of `previous` is there
}

/** The object an update without status leaves: the status it had. */
export const keepStatus = (next: KubeObject, previous: KubeObject): KubeObject => {
  if (next.status === previous.status) return next
  if (previous.status !== undefined) return { ...next, status: previous.status }
  const copy: Record<string, Json> = { ...next }
  delete copy["status"]
  return copy as unknown as KubeObject // apiVersion, kind and metadata are still there
}
