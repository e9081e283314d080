/**
 * The API server's failures as `Status` objects, with the reasons, codes and details of k8s.io/apimachinery. Inside the double a refusal is thrown and caught once,
 * where a request is answered (ApiStore callers: Cluster.ts); it is no `Error`, since a simulation makes thousands of conflicts a second and needs no stack of any.
 */
import type { JsonObject } from "./Json.ts"

export interface Cause {
  readonly reason: string
  readonly message: string
  readonly field: string
}

export interface StatusDetails {
  readonly name?: string
  readonly group?: string
  readonly kind?: string
  readonly uid?: string
  readonly causes?: ReadonlyArray<{ readonly reason?: string; readonly message?: string; readonly field?: string }>
  readonly retryAfterSeconds?: number
}

export interface Status {
  readonly kind: "Status"
  readonly apiVersion: "v1"
  readonly metadata: JsonObject
  readonly status: "Failure" | "Success"
  readonly message?: string
  readonly reason?: string
  readonly details?: StatusDetails
  readonly code?: number
}

export class Refusal {
  readonly status: Status
  /** Instead of the Status: a path that no API serves is answered in plain text. */
  readonly text: string | undefined
  constructor(status: Status, text?: string) {
    this.status = status
    this.text = text
  }
  get code(): number {
    return this.status.code ?? 500
  }
  get message(): string {
    return this.status.message ?? ""
  }
}

/** What a resource is called in a message: `pods`, `sandboxpools.heddle.dev`. */
export interface Named {
  readonly group: string
  readonly plural: string
  readonly kind: string
}

export const qualified = (resource: Named): string =>
  resource.group === "" ? resource.plural : `${resource.plural}.${resource.group}`
const qualifiedKind = (resource: Named): string =>
  resource.group === "" ? resource.kind : `${resource.kind}.${resource.group}`

const details = (resource: Named, name: string, more: StatusDetails = {}, kind = resource.plural): StatusDetails => ({
  ...(name === "" ? {} : { name }),
  ...(resource.group === "" ? {} : { group: resource.group }),
  kind,
  ...more
})

export const failure = (
  code: number,
  reason: string,
  message: string,
  more?: StatusDetails,
  metadata: JsonObject = {}
): Refusal =>
  new Refusal({
    kind: "Status",
    apiVersion: "v1",
    metadata,
    status: "Failure",
    message,
    reason,
    ...(more === undefined ? {} : { details: more }),
    code
  })

export const notFound = (resource: Named, name: string): Refusal =>
  failure(404, "NotFound", `${qualified(resource)} "${name}" not found`, details(resource, name))

export const alreadyExists = (resource: Named, name: string): Refusal =>
  failure(409, "AlreadyExists", `${qualified(resource)} "${name}" already exists`, details(resource, name))

export const conflict = (resource: Named, name: string, why: string): Refusal =>
  failure(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(resource)} "${name}": ${why}`,
    details(resource, name)
  )

export const isModified = "the object has been modified; please apply your changes to the latest version and try again"

/** 422 with one cause for each fault of the object. */
export const invalid = (resource: Named, name: string, causes: ReadonlyArray<Cause>): Refusal => {
  const texts = causes.map((cause) => `${cause.field}: ${cause.message}`)
  return failure(
    422,
    "Invalid",
    `${qualifiedKind(resource)} "${name}" is invalid: ${texts.length === 1 ? texts[0] : `[${texts.join(", ")}]`}`,
    details(
      resource,
      name,
      { causes: causes.map(({ reason, message, field }) => ({ reason, message, field })) },
      resource.kind
    )
  )
}

export const badRequest = (message: string): Refusal => failure(400, "BadRequest", message)

export const forbidden = (resource: Named, name: string, why: string): Refusal =>
  failure(
    403,
    "Forbidden",
    `${qualified(resource)}${name === "" ? " is" : ` "${name}" is`} forbidden: ${why}`,
    details(resource, name)
  )

export const unauthorized = (): Refusal => failure(401, "Unauthorized", "Unauthorized")

export const expired = (message: string, continueToken?: string): Refusal =>
  failure(410, "Expired", message, undefined, continueToken === undefined ? {} : { continue: continueToken })

export const methodNotAllowed = (verb: string): Refusal =>
  failure(405, "MethodNotAllowed", `the server does not allow this method on the requested resource (${verb})`)

export const unsupportedMediaType = (accepted: ReadonlyArray<string>): Refusal =>
  failure(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`
  )

export const tooManyRequests = (retryAfterSeconds: number): Refusal =>
  failure(429, "TooManyRequests", "Too many requests, please try again later.", { retryAfterSeconds })

/** What the server has no reason for: an error of a layer below that nobody gave a meaning. */
export const unexplained = (code: number, message: string): Refusal =>
  new Refusal({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, code })

/** 422 for a patch whose result cannot be read as the kind. */
export const unreadablePatch = (detail: string): Refusal =>
  invalid({ group: "", plural: "", kind: "" }, "", [
    { reason: "FieldValueInvalid", field: "patch", message: `Invalid value: ${detail}` }
  ])

export const internalError = (message: string): Refusal =>
  failure(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] })

export const tooLargeResourceVersion = (wanted: number, current: number): Refusal =>
  failure(504, "Timeout", `Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1
  })

/** 404 of a group, version or kind that is not served. */
export const pageNotFound = (): Refusal => new Refusal(noSuchPath().status, "404 page not found\n")

/** 404 of a path that no resource answers. */
export const noSuchPath = (): Refusal =>
  failure(404, "NotFound", "the server could not find the requested resource", {})

/** One cause, worded as field.Error words it. */
export const cause = {
  required: (field: string, detail = ""): Cause => ({
    reason: "FieldValueRequired",
    field,
    message: detail === "" ? "Required value" : `Required value: ${detail}`
  }),
  invalid: (field: string, value: unknown, detail: string): Cause => ({
    reason: "FieldValueInvalid",
    field,
    message: `Invalid value: ${JSON.stringify(value) ?? "null"}: ${detail}`
  }),
  forbidden: (field: string, detail: string): Cause => ({
    reason: "FieldValueForbidden",
    field,
    message: `Forbidden: ${detail}`
  }),
  notSupported: (field: string, value: unknown, supported: ReadonlyArray<unknown>): Cause => ({
    reason: "FieldValueNotSupported",
    field,
    message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${
      supported.map((one) => JSON.stringify(one)).join(", ")
    }`
  }),
  duplicate: (field: string, value: unknown): Cause => ({
    reason: "FieldValueDuplicate",
    field,
    message: `Duplicate value: ${JSON.stringify(value)}`
  }),
  type: (field: string, value: unknown, detail: string): Cause => ({
    reason: "FieldValueTypeInvalid",
    field,
    message: `Invalid value: ${JSON.stringify(value)}: ${detail}`
  })
} as const
