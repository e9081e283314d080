/**
 * Requests to the gateway (docs/design/gateway.md). The shapes are those of the contract, imported as types only.
 *
 * Kept true: every request has a deadline; what went wrong is a `Failure` with the gateway's own code and words, never a swallowed one; the token is sent to the gateway alone and kept for
 * this tab only.
 */
import { signal } from "@preact/signals"
import type { Snapshot } from "../shared/protocol/Claim.ts"
import type * as Definition from "../shared/protocol/Definition.ts"
import type { HistoryList } from "../shared/protocol/History.ts"
import type { MemberList } from "../shared/protocol/Member.ts"
import type { PoolList, PoolView } from "../shared/protocol/Pool.ts"
import type { ScheduleList } from "../shared/protocol/Schedule.ts"
import type { FailoverList } from "../shared/protocol/SystemEvent.ts"
import type { WorkflowView } from "../shared/protocol/Workflow.ts"

export interface Failure {
  readonly code: string
  readonly message: string
  readonly path?: string
  readonly details?: unknown
}
export type Answer<A> = { readonly ok: true; readonly value: A } | { readonly ok: false; readonly failure: Failure }

export interface Run {
  readonly instanceId: string
  readonly state: string
  readonly definition: { readonly namespace: string; readonly name: string; readonly version: number }
  readonly startedAt: string
  readonly endedAt?: string
  readonly runNumber?: number
  readonly reason?: string
  readonly parent?: string
}
export interface RunList {
  readonly items: ReadonlyArray<Run>
  readonly next?: string
  readonly seq: number
}
export interface RunCounts {
  readonly total: number
  readonly byState: Readonly<Record<string, number>>
  readonly since?: string
}
export interface LogList {
  readonly items: ReadonlyArray<{
    readonly seq: number
    readonly taskId: string
    readonly at: string
    readonly stream: string
    readonly text: string
    readonly dropped?: number
  }>
  readonly next: string
}
export interface Info {
  readonly version: string
  readonly member: string
  readonly startedAt: string
  readonly natsServer: string
  readonly durability?: string
  readonly readModel: { readonly runs: number; readonly runsMax: number; readonly seq: number }
}
export type View = typeof WorkflowView.Encoded
export type TaskOfView = View["tasks"][number]
export type AttemptOfView = TaskOfView["attempts"][number]
export type History = typeof HistoryList.Encoded
export type Pools = typeof PoolList.Encoded
export type PoolOfList = typeof PoolView.Encoded
export type PoolSnapshot = typeof Snapshot.Encoded
export type Members = typeof MemberList.Encoded
export type Failovers = typeof FailoverList.Encoded
export type Definitions = typeof Definition.DefinitionList.Encoded
export type StoredDefinition = typeof Definition.DefinitionStored.Encoded
export type Schedules = typeof ScheduleList.Encoded

const tokenKey = "heddle-token"
/** Wanted by the gateway when it has one; of this tab. */
export const token = signal(sessionStorage.getItem(tokenKey) ?? "")
/** The gateway has refused the token, or the lack of one. */
export const isTokenWanted = signal(false)

export const setToken = (text: string): void => {
  token.value = text
  isTokenWanted.value = false
  if (text === "") sessionStorage.removeItem(tokenKey)
  else sessionStorage.setItem(tokenKey, text)
}

/** Relative to the page, so that a prefix of a proxy stays. */
export const address = (path: string, query: Record<string, string | number | undefined> = {}): string => {
  const set = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [[name, String(value)]]
  )
  return `./api/v1/${path}${set.length === 0 ? "" : `?${new URLSearchParams(set).toString()}`}`
}
export const headers = (): Record<string, string> =>
  token.value === "" ? {} : { authorization: `Bearer ${token.value}` }

const deadlineMs = 15_000

const failureOf = (body: unknown, status: number): Failure => {
  const error = typeof body === "object" && body !== null && "error" in body ? body.error : undefined
  if (typeof error === "object" && error !== null && "code" in error && "message" in error) {
    return {
      code: String(error.code),
      message: String(error.message),
      ...("path" in error ? { path: String(error.path) } : {}),
      ...("details" in error ? { details: error.details } : {})
    }
  }
  return { code: `HTTP ${status}`, message: "the gateway gave no reason" }
}

const ask = async <A>(path: string, init: RequestInit, ended?: AbortSignal): Promise<Answer<A>> => {
  const deadline = AbortSignal.timeout(deadlineMs)
  try {
    const response = await fetch(path, {
      ...init,
      headers: { ...headers(), ...init.headers },
      signal: ended === undefined ? deadline : AbortSignal.any([deadline, ended])
    })
    const body: unknown = await response.json()
    if (response.status === 401) isTokenWanted.value = true
    // the gateway answers by the same schemas that these types are of
    return response.ok ? { ok: true, value: body as A } : { ok: false, failure: failureOf(body, response.status) }
  } catch (error) {
    const message = deadline.aborted
      ? `no answer within ${deadlineMs / 1_000} s`
      : error instanceof Error
      ? error.message
      : String(error)
    return { ok: false, failure: { code: "Unreachable", message: `the gateway cannot be reached: ${message}` } }
  }
}

/** `ended`: what asked is no longer there. */
export const get = <A>(
  path: string,
  query?: Record<string, string | number | undefined>,
  ended?: AbortSignal
): Promise<Answer<A>> => ask<A>(address(path, query), {}, ended)

const triesMax = 3

/** Carries an id, so that an answer that was lost is asked for again without its being done twice. */
export const post = async <A>(path: string, body: unknown): Promise<Answer<A>> => {
  const init = {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": crypto.randomUUID() },
    body: JSON.stringify(body)
  }
  for (let tries = 1;; tries++) {
    const answer = await ask<A>(address(path), init)
    if (answer.ok || answer.failure.code !== "Unreachable" || tries === triesMax) return answer
  }
}

export const segment = encodeURIComponent
