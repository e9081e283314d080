/**
 * What a backfill does, as pure functions of its stored state: its dates, which of them to start next, when it has ended.
 *
 * Kept true: a date is `running` in the state before it is started and until its run has ended, so whoever takes over in the middle starts it again under the same
 * instance id and waits for it; at most `parallelism` are; each date is counted once. Follows design/03 section 6.
 */
import * as Result from "effect/Result"
import type { BackfillStored, BackfillView, StartBackfill } from "../../shared/protocol/Backfill.ts"
import { datesMax } from "../../shared/protocol/Backfill.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { type EpochMs, InstanceId } from "../../shared/protocol/Token.ts"
import type { WorkflowStatus } from "../../shared/protocol/Workflow.ts"
import * as Cadence from "./Cadence.ts"

/** The stored state without who wrote it, which the store adds. */
export type BackfillContent = Omit<BackfillStored, "by">

/** The times of a backfill, in the order of starting, and the cadence they come from. */
export interface Plan {
  readonly times: ReadonlyArray<EpochMs>
  readonly cadence: Cadence.Cadence
}

const invalid = (path: string, message: string) => new ContractError({ code: "InvalidMessage", message, path })
const dayMs = 86_400_000
/** More than any time zone is off from UTC. */
const zoneMs = 2 * dayMs

/** The times that a spec names: the same whenever it is asked. */
export const plan = ({ spec }: Pick<BackfillContent, "spec">): Result.Result<Plan, ContractError> => {
  const made = Cadence.make({
    cron: spec.cron ?? Cadence.daily,
    ...(spec.timezone === undefined ? {} : { timezone: spec.timezone })
  }, "spec")
  if (Result.isFailure(made)) return Result.fail(made.failure)
  const cadence = made.success
  const { dates } = spec
  if ((dates === undefined) === (spec.from === undefined || spec.to === undefined)) {
    return Result.fail(invalid("spec.dates", "name either `from` and `to` (both included), or `dates`"))
  }
  const first = dates?.toSorted()[0] ?? spec.from ?? ""
  const last = dates?.toSorted().at(-1) ?? spec.to ?? ""
  if (first > last) return Result.fail(invalid("spec.to", `\`to\` (${last}) is before \`from\` (${first})`))
  for (
    const [path, text] of dates?.map((text, i) => [`spec.dates[${i}]`, text] as const) ??
      [["spec.from", first], ["spec.to", last]] as const
  ) {
    if (
      !Number.isFinite(Date.parse(`${text}T00:00:00Z`)) ||
      timestamp(Date.parse(`${text}T00:00:00Z`)).slice(0, 10) !== text
    ) {
      return Result.fail(invalid(path, `${text} is no date of the calendar`))
    }
  }
  const wanted = dates === undefined ? undefined : new Set(dates)
  const times: Array<EpochMs> = []
  let at = cadence.next(Date.parse(`${first}T00:00:00Z`) - zoneMs)
  const end = Date.parse(`${last}T00:00:00Z`) + zoneMs
  for (; at !== undefined && at < end; at = cadence.next(at)) {
    const date = cadence.date(at)
    if (date < first || date > last || wanted !== undefined && !wanted.has(date)) continue
    times.push(at)
    if (times.length > datesMax) {
      return Result.fail(invalid("spec", `these are more than ${datesMax} times: split the backfill`))
    }
  }
  if (times.length === 0) return Result.fail(invalid("spec.cron", "no time of these dates matches"))
  return Result.succeed({ times: spec.order === "descending" ? times.toReversed() : times, cadence })
}

/** `load-20261121`, with a cron `load-20261121T020000`. */
export const instanceOf = (
  content: Pick<BackfillContent, "name" | "spec">,
  { cadence }: Plan,
  at: EpochMs
): InstanceId =>
  InstanceId.make(
    `${content.name}-${content.spec.cron === undefined ? cadence.date(at).replaceAll("-", "") : Cadence.stamp(at)}`
  )

/** A new backfill; the same content under a known name is that one, other content a conflict. */
export const start = (
  current: BackfillContent | undefined,
  request: StartBackfill,
  now: EpochMs
): Result.Result<BackfillContent, ContractError> => {
  const { name } = request.metadata
  const namespace = request.metadata.namespace ?? namespaceDefault
  if (current !== undefined) {
    return current.namespace === namespace && JSON.stringify(current.spec) === JSON.stringify(request.spec)
      ? Result.succeed(current)
      : Result.fail(
        new ContractError({ code: "Conflict", message: `backfill ${name} exists with other content: use another name` })
      )
  }
  return Result.map(plan(request), ({ times }): BackfillContent => ({
    v: 1,
    name,
    namespace,
    spec: request.spec,
    state: "Running",
    total: times.length,
    position: 0,
    running: [],
    succeeded: 0,
    failed: [],
    startedAt: now
  }))
}

export const isOver = ({ state }: Pick<BackfillContent, "state">): boolean =>
  state === "Succeeded" || state === "Failed" || state === "Stopped"

/** With as many dates running as may, or ended when nothing is left to do. The same object when nothing changes. */
export const advance = (content: BackfillContent, now: EpochMs): BackfillContent => {
  if (isOver(content)) return content
  const parallelism = content.spec.parallelism ?? 1
  const running = content.running.slice()
  let { position } = content
  while (content.ending === undefined && running.length < parallelism && position < content.total) {
    running.push(position)
    position += 1
  }
  if (running.length === 0) {
    const state = content.ending === "stopped" ? "Stopped" : content.failed.length > 0 ? "Failed" : "Succeeded"
    return { ...content, state, endedAt: now }
  }
  const state = content.ending === undefined ? "Running" : "Stopping"
  return position === content.position && state === content.state ? content : { ...content, state, running, position }
}

/** The run of a date has ended (`state`), or could not be started (`reason` alone). */
export const settle = (
  content: BackfillContent,
  index: number,
  outcome: { readonly state?: WorkflowStatus; readonly reason?: string }
): BackfillContent => {
  if (!content.running.includes(index)) return content
  const running = content.running.filter((one) => one !== index)
  if (outcome.state === "SUCCEEDED") return { ...content, running, succeeded: content.succeeded + 1 }
  const ends = content.spec.onFailure !== "skip" && content.ending === undefined
  return {
    ...content,
    running,
    failed: [...content.failed, {
      index,
      ...(outcome.state === undefined ? {} : { state: outcome.state }),
      ...(outcome.reason === undefined ? {} : { reason: outcome.reason.slice(0, 500) })
    }],
    ...(ends ? { ending: "failed" as const } : {})
  }
}

/** No further date is started. */
export const stop = (content: BackfillContent, now: EpochMs): BackfillContent =>
  isOver(content) || content.ending === "stopped" ? content : advance({ ...content, ending: "stopped" }, now)

export const view = (content: BackfillContent): BackfillView => {
  const planned = Result.getOrUndefined(plan(content))
  const of = (index: number) => {
    const at = planned?.times[index] ?? 0
    return {
      scheduledAt: timestamp(at),
      instanceId: planned === undefined ? InstanceId.make(content.name) : instanceOf(content, planned, at)
    }
  }
  return {
    name: content.name,
    namespace: content.namespace,
    state: content.state,
    spec: content.spec,
    total: content.total,
    started: content.position,
    succeeded: content.succeeded,
    failed: content.failed.map(({ index, ...rest }) => ({ ...of(index), ...rest })),
    running: content.running.map(of),
    startedAt: timestamp(content.startedAt),
    ...(content.endedAt === undefined ? {} : { endedAt: timestamp(content.endedAt) })
  }
}
