/**
 * What goes back to the client: JSON with the contract's errors and the status that fits, and the headers that every answer has. docs/design/gateway.md "Rules", "Security". Pure.
 */
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { ClaimOutcome } from "../../shared/protocol/Claim.ts"
import type { ContractError, ErrorCode } from "../../shared/protocol/ErrorCode.ts"

const statuses: Partial<Record<ErrorCode, number>> = {
  Unauthorized: 401,
  Forbidden: 403,
  UnknownSubject: 404,
  NoSuchPool: 404,
  NoSuchEnv: 404,
  NoSuchClaim: 404,
  NoSuchDefinition: 404,
  NoSuchInstance: 404,
  NoSuchSchedule: 404,
  NoSuchBackfill: 404,
  NoSuchGroup: 404,
  Conflict: 409,
  PayloadTooLarge: 413,
  InvalidDefinition: 422,
  QueueFull: 429,
  QuotaExceeded: 429,
  Overloaded: 429,
  Internal: 500,
  Unsupported: 501,
  Unavailable: 503,
  ShuttingDown: 503,
  NotOwner: 503,
  PoolDraining: 503,
  DispatchQueueClosed: 503,
  DeadlineExceeded: 504
}

/** 400 is what a request itself is wrong with. */
export const statusOf = (code: ErrorCode): number => statuses[code] ?? 400

const claimStatuses: Readonly<Record<ClaimOutcome, number>> = {
  Claimed: 200,
  Released: 200,
  Expired: 200,
  Cancelled: 200,
  QueueFull: 429,
  DeadlineExceeded: 504,
  NoSuchPool: 404,
  Invalid: 400,
  ShuttingDown: 503,
  Failed: 502
}

/** The status of a `ClaimResult`; of anything else 200. */
export const statusOfAnswer = (answer: unknown): number => {
  if (typeof answer !== "object" || answer === null || !("outcome" in answer) || !("claimId" in answer)) return 200
  const { outcome } = answer
  return typeof outcome === "string" && Object.hasOwn(claimStatuses, outcome)
    ? claimStatuses[outcome as ClaimOutcome] // one of its keys
    : 200
}

/** Whoever is told to wait is told how long, in seconds. */
const retryAfter = (status: number) => status === 429 || status === 503 ? { "retry-after": "1" } : {}

export const json = (value: unknown, status = 200): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(JSON.stringify(value), {
    status,
    contentType: "application/json",
    headers: { "cache-control": "no-store", ...retryAfter(status) }
  })

export const error = (
  failure: ContractError,
  status = statusOf(failure.code)
): HttpServerResponse.HttpServerResponse => {
  const response = json(failure.answer, status)
  return status === 401 ? HttpServerResponse.setHeader(response, "www-authenticate", "Bearer") : response
}

const everywhere = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "x-frame-options": "DENY",
  "content-security-policy":
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
} as const

/** With the headers of every answer. */
export const secured = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.setHeaders(response, everywhere)
