/**
 * What a schedule does, as pure functions of its stored state and the time: which firings are due, which were missed, what is started.
 *
 * Kept true: a firing is first decided (`pending`, with the cursor behind it, in one compare-and-set), then started, then confirmed; so whoever takes over in the
 * middle starts exactly what was decided, and the instance ids (`instanceOf`) make that harmless. The cursor only grows. Follows design/03 section 6.
 */
import * as Result from "effect/Result"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import {
  type CatchUp,
  misfireWindowDefaultMs,
  type PutSchedule,
  type ScheduleStored,
  type ScheduleView,
  type StartOf,
  type StartProblem
} from "../../shared/protocol/Schedule.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { type EpochMs, InstanceId, type Namespace } from "../../shared/protocol/Token.ts"
import type { StartRequest } from "../../shared/protocol/Workflow.ts"
import * as Cadence from "./Cadence.ts"

/** Firings decided in one write; a longer catch-up goes in pages. */
export const pendingMax = 50
/** Missed firings are counted up to here. */
export const missedCountMax = 1_000

/** The stored state without who wrote it, which the store adds. */
export type ScheduleContent = Omit<ScheduleStored, "by">

/** Which firings to start and how far everything is decided. */
export interface Due {
  readonly start: ReadonlyArray<EpochMs>
  readonly cursor: EpochMs
  /** Missed ones that are left out. */
  readonly skipped: number
}

const count = (cadence: Cadence.Cadence, after: EpochMs, before: EpochMs): number => {
  let n = 0
  for (let at = cadence.next(after); at !== undefined && at < before && n < missedCountMax; at = cadence.next(at)) {
    n += 1
  }
  return n
}

/**
 * Of the firings after `cursor` and not after `now`: those late by at most the misfire window are on time and start; the earlier ones were missed. Of those `all`
 * start in order; with `last` the newest one does, unless one that is on time starts anyway; with `none` none does. `undefined`: nothing is due.
 */
export const due = (
  cadence: Cadence.Cadence,
  policy: { readonly catchUp: CatchUp; readonly misfireWindowMs: number },
  cursor: EpochMs,
  now: EpochMs
): Due | undefined => {
  const first = cadence.next(cursor)
  if (first === undefined || first > now) return undefined
  const onTimeFrom = policy.catchUp === "all" ? cursor : Math.max(cursor, now - policy.misfireWindowMs - 1)
  const start: Array<EpochMs> = []
  let at = cadence.next(onTimeFrom)
  for (; at !== undefined && at <= now && start.length < pendingMax; at = cadence.next(at)) start.push(at)
  const hasMore = at !== undefined && at <= now
  const end = hasMore ? start.at(-1) ?? now : now
  const missed = first <= onTimeFrom ? count(cadence, cursor, onTimeFrom + 1) : 0
  if (missed === 0) return { start, cursor: end, skipped: 0 }
  const newest = policy.catchUp === "last" && start.length === 0 ? cadence.previous(onTimeFrom + 1) : undefined
  return newest === undefined
    ? { start, cursor: end, skipped: missed }
    : { start: [newest], cursor: end, skipped: missed - 1 }
}

/** The time zone and cron of a stored schedule were checked when it was put. */
export const cadenceOf = (content: Pick<ScheduleContent, "spec">): Result.Result<Cadence.Cadence, ContractError> =>
  Cadence.make(content.spec, "spec")

/** With the decision in it; the same object when nothing is due, or when the last decision is not confirmed yet. */
export const fire = (content: ScheduleContent, cadence: Cadence.Cadence, now: EpochMs): ScheduleContent => {
  if (content.isPaused || content.pending.length > 0) return content
  const { catchUp, misfireWindow } = content.spec
  const found = due(
    cadence,
    { catchUp: catchUp ?? "last", misfireWindowMs: misfireWindow ?? misfireWindowDefaultMs },
    content.cursor,
    now
  )
  return found === undefined ? content : {
    ...content,
    cursor: found.cursor,
    pending: found.start,
    skipped: content.skipped + found.skipped
  }
}

/** The start of the firing at `at` was answered: it is an instance, or it was refused for good. */
export const settle = (
  content: ScheduleContent,
  at: EpochMs,
  outcome: { readonly instanceId: InstanceId } | { readonly problem: StartProblem }
): ScheduleContent => {
  if (!content.pending.includes(at)) return content
  const pending = content.pending.filter((one) => one !== at)
  return "problem" in outcome
    ? { ...content, pending, problem: outcome.problem }
    : { ...content, pending, started: content.started + 1, last: { at, instanceId: outcome.instanceId } }
}

/** When to look again: at once while something is pending, `undefined` when no time is left. */
export const wakeAt = (content: ScheduleContent, cadence: Cadence.Cadence): EpochMs | undefined =>
  content.isPaused ? undefined : content.pending.length > 0 ? 0 : cadence.next(content.cursor)

const sameSpec = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

/** A new schedule, or a changed one: it fires from now on. The same content again changes nothing. */
export const put = (
  current: ScheduleContent | undefined,
  request: PutSchedule,
  now: EpochMs
): Result.Result<ScheduleContent, ContractError> => {
  const cadence = cadenceOf(request)
  if (Result.isFailure(cadence)) return Result.fail(cadence.failure)
  const namespace: Namespace = request.metadata.namespace ?? namespaceDefault
  if (current !== undefined && current.namespace === namespace && sameSpec(current.spec, request.spec)) {
    return Result.succeed(current)
  }
  return Result.succeed(
    current === undefined
      ? {
        v: 1,
        name: request.metadata.name,
        namespace,
        spec: request.spec,
        isPaused: false,
        cursor: now,
        pending: [],
        started: 0,
        skipped: 0,
        createdAt: now,
        updatedAt: now
      }
      : { ...current, namespace, spec: request.spec, cursor: Math.max(current.cursor, now), updatedAt: now }
  )
}

/** What was decided and not started yet is not started any more. */
export const pause = (content: ScheduleContent, reason: string | undefined, now: EpochMs): ScheduleContent => {
  if (content.isPaused) return content
  const { reason: _, ...rest } = content
  return { ...rest, ...(reason === undefined ? {} : { reason }), isPaused: true, pending: [], updatedAt: now }
}

/** Times that passed while it was paused were not missed: it goes on from now. */
export const resume = (content: ScheduleContent, now: EpochMs): ScheduleContent => {
  if (!content.isPaused) return content
  const { reason: _, ...rest } = content
  return { ...rest, isPaused: false, cursor: Math.max(content.cursor, now), updatedAt: now }
}

/** `nightly-20261121T020000`. */
export const instanceOf = (name: string, at: EpochMs): InstanceId => InstanceId.make(`${name}-${Cadence.stamp(at)}`)
/** Of a trigger by hand without a time: `nightly-m20261121T020000123`. */
export const triggeredInstanceOf = (name: string, at: EpochMs): InstanceId =>
  InstanceId.make(`${name}-m${Cadence.stamp(at)}${String(at % 1_000).padStart(3, "0")}`)

/** Start params that every firing has; equal for the same `at`, whoever asks. */
export const timeParams = (cadence: Cadence.Cadence, at: EpochMs): Readonly<Record<string, string>> => {
  const previous = cadence.previous(at)
  return {
    scheduledAt: timestamp(at),
    date: cadence.date(at),
    ...(previous === undefined ? {} : { previous: timestamp(previous) })
  }
}

export const startRequest = (
  workflow: StartOf,
  namespace: Namespace,
  instanceId: InstanceId,
  params: Readonly<Record<string, unknown>>
): StartRequest & { readonly instanceId: InstanceId } => ({
  ...workflow,
  namespace,
  instanceId,
  params: { ...params, ...workflow.params }
})

export const view = (content: ScheduleContent): ScheduleView => {
  const cadence = cadenceOf(content)
  const nextAt = Result.isSuccess(cadence) ? cadence.success.next(content.cursor) : undefined
  const { last } = content
  return {
    name: content.name,
    namespace: content.namespace,
    state: content.isPaused ? "Paused" : nextAt === undefined && content.pending.length === 0 ? "Ended" : "Active",
    ...(content.reason === undefined ? {} : { reason: content.reason }),
    spec: content.spec,
    ...(nextAt === undefined || content.isPaused ? {} : { nextAt: timestamp(nextAt) }),
    ...(last === undefined ? {} : { lastScheduledAt: timestamp(last.at), lastInstance: last.instanceId }),
    pending: content.pending.map(timestamp),
    started: content.started,
    skipped: content.skipped,
    ...(content.problem === undefined ? {} : { problem: content.problem }),
    createdAt: timestamp(content.createdAt),
    updatedAt: timestamp(content.updatedAt)
  }
}
