/**
 * What became of a request to the API server, and what that says about the write it carried: done, surely not done, or unknown.
 *
 * Follows docs/design/kubernetes.md, "Answers". The rule behind the table: `Unknown` unless the answer proves that nothing was stored; a wrong `Unknown` costs one
 * read, a wrong "not done" costs a sandbox.
 */
import { isObject, listAt, textAt } from "./Json.ts"

export type Answer =
  | {
    readonly _tag: "Answered"
    readonly status: number
    readonly body: unknown
    readonly retryAfterMs: number | undefined
  }
  /** The request never left: no connection was made. */
  | { readonly _tag: "NotSent"; readonly reason: string }
  /** It left, and no whole answer came back. */
  | { readonly _tag: "Lost"; readonly reason: string }

export type Verdict =
  | { readonly _tag: "Done"; readonly body: unknown }
  | { readonly _tag: "NotFound"; readonly message: string }
  /** Another version, another UID, or the name is taken. */
  | { readonly _tag: "Conflict"; readonly message: string }
  /** The resource version is too old for a watch, or a continue token has expired. */
  | { readonly _tag: "Expired"; readonly message: string }
  /** Not done, and may be tried again after this time. */
  | { readonly _tag: "Later"; readonly message: string; readonly afterMs: number }
  /**
   * Not done, and never will be as it is. `everywhere`: nothing about this object is to blame (no right, no server). `fields`: those of the object that the API server
   * names as invalid (422), e.g. `metadata.annotations`, `spec.containers[0].image`.
   */
  | {
    readonly _tag: "Refused"
    readonly message: string
    readonly everywhere: boolean
    readonly fields: ReadonlyArray<string>
  }
  | { readonly _tag: "Unknown"; readonly message: string }

const retryAfterDefaultMs = 1_000

const messageOf = (status: number, body: unknown): string => {
  const message = isObject(body) ? body["message"] : undefined
  const text = typeof message === "string" ? message : typeof body === "string" ? body.trim() : ""
  return text === "" ? `the API server answered ${status}` : `${text.slice(0, 500)} (${status})`
}

const fieldsOf = (body: unknown): ReadonlyArray<string> =>
  listAt(body, "details", "causes").flatMap((cause) => textAt(cause, "field") ?? [])

export const verdict = (answer: Answer): Verdict => {
  if (answer._tag === "NotSent") return { _tag: "Refused", message: answer.reason, everywhere: true, fields: [] }
  if (answer._tag === "Lost") return { _tag: "Unknown", message: answer.reason }
  const { body, retryAfterMs, status } = answer
  if (status >= 200 && status < 300) return { _tag: "Done", body }
  const message = messageOf(status, body)
  switch (status) {
    case 401:
    case 403:
    case 405:
    case 415:
      return { _tag: "Refused", message, everywhere: true, fields: [] }
    case 404:
      return { _tag: "NotFound", message }
    case 409:
      return { _tag: "Conflict", message }
    case 410:
      return { _tag: "Expired", message }
    case 429:
      // Priority and fairness, and evictions, refuse before anything is done.
      return { _tag: "Later", message, afterMs: retryAfterMs ?? retryAfterDefaultMs }
    default:
      return status >= 400 && status < 500
        ? { _tag: "Refused", message, everywhere: false, fields: status === 422 ? fieldsOf(body) : [] }
        : { _tag: "Unknown", message }
  }
}

/** `Retry-After` in seconds, as the API server writes it. */
export const retryAfterMs = (header: string | undefined): number | undefined => {
  if (header === undefined || !/^\d{1,6}$/.test(header.trim())) return undefined
  return Number(header.trim()) * 1_000
}
