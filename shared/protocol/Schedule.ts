/**
 * Cron schedules: what `heddle.rpc.schedule.*` takes and answers. A schedule starts instances of a stored definition at the times of its cron expression.
 *
 * The instance of the firing at time T is `<schedule>-<T in UTC as yyyymmddThhmmss>`, so a firing that is repeated after a crash is the same instance. Names of
 * schedules are unique in the mesh, as instance ids are. Follows design/02 "Workflows", design/03 section 6.
 */
import * as Schema from "effect/Schema"
import { apiVersion, DefinitionRefText, PoolText } from "./Definition.ts"
import { DurationMs, Timestamp } from "./Time.ts"
import { InstanceId, MemberId, Namespace, Priority, SessionId, TaskName } from "./Token.ts"
import { DependType } from "./Workflow.ts"

/** Room is left for the time in the instance ids. */
export const startNameMax = 40
const startName = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{1,40}$/u, {
  message: `a name of 1 to ${startNameMax} letters, digits, '_' or '-'`
}))
export const ScheduleName = startName.pipe(Schema.brand("ScheduleName"))
export type ScheduleName = typeof ScheduleName.Type
export const BackfillName = startName.pipe(Schema.brand("BackfillName"))
export type BackfillName = typeof BackfillName.Type

/**
 * What each firing starts. The instance's start params are `scheduledAt` (RFC 3339 UTC), `date` (YYYY-MM-DD in the time zone) and `previous` (the time before
 * `scheduledAt`, when there is one), then `params`, which override them.
 */
export const StartOf = Schema.Struct({
  definition: DefinitionRefText,
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  startNodes: Schema.optionalKey(Schema.Array(TaskName)),
  dependType: Schema.optionalKey(DependType),
  dryRun: Schema.optionalKey(Schema.Boolean),
  priority: Schema.optionalKey(Priority),
  pool: Schema.optionalKey(PoolText)
})
export type StartOf = typeof StartOf.Type

/** What happens to firings that were missed: each is started, the newest one is, or none. */
export const CatchUp = Schema.Literals(["all", "last", "none"])
export type CatchUp = typeof CatchUp.Type

const Cron = Schema.String.check(Schema.isMaxLength(200))
const TimeZone = Schema.String.check(Schema.isMaxLength(64))

export const ScheduleSpec = Schema.Struct({
  /** 5 fields, or 6 with seconds first, or a nickname such as `@daily`. */
  cron: Cron,
  /** IANA name, `UTC` when not given. */
  timezone: Schema.optionalKey(TimeZone),
  /** No firing before it. */
  startAt: Schema.optionalKey(Timestamp),
  /** No firing after it. */
  endAt: Schema.optionalKey(Timestamp),
  /** `last` when not given. */
  catchUp: Schema.optionalKey(CatchUp),
  /** A firing that is late by no more than this counts as on time; one that is later was missed. 1m when not given. */
  misfireWindow: Schema.optionalKey(DurationMs),
  workflow: StartOf
})
export type ScheduleSpec = typeof ScheduleSpec.Type
export const misfireWindowDefaultMs = 60_000

/** Body of `put`: a file of `heddle schedules put`. `namespace` is where the definition is looked up. */
export const PutSchedule = Schema.Struct({
  apiVersion: Schema.optionalKey(Schema.Literals([apiVersion])),
  kind: Schema.optionalKey(Schema.Literals(["Schedule"])),
  metadata: Schema.Struct({ name: ScheduleName, namespace: Schema.optionalKey(Namespace) }),
  spec: ScheduleSpec
})
export type PutSchedule = typeof PutSchedule.Type

export const ScheduleRef = Schema.Struct({
  name: ScheduleName,
  /** `pause`: why, shown until it is resumed. */
  reason: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(1_000)))
})
export const ScheduleTrigger = Schema.Struct({
  name: ScheduleName,
  /** Now when not given. A time given makes the trigger repeatable: it is the instance that a firing at that time makes. */
  scheduledAt: Schema.optionalKey(Timestamp),
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  instanceId: Schema.optionalKey(InstanceId)
})
export const ScheduleListQuery = Schema.Struct({
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))),
  next: Schema.optionalKey(Schema.String)
})
/** Of a stored schedule by `name`, or of a `cron` (with `timezone`) that is only looked at. */
export const SchedulePreviewQuery = Schema.Struct({
  name: Schema.optionalKey(ScheduleName),
  cron: Schema.optionalKey(Cron),
  timezone: Schema.optionalKey(TimeZone),
  /** Now when not given. */
  after: Schema.optionalKey(Timestamp),
  /** 10 when not given. */
  count: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 })))
})
export const SchedulePreview = Schema.Struct({
  timezone: Schema.String,
  times: Schema.Array(Schema.Struct({ at: Timestamp, date: Schema.String, instanceId: Schema.optionalKey(InstanceId) }))
})

/** The last firing whose start was refused for good. */
export const StartProblem = Schema.Struct({
  scheduledAt: Timestamp,
  at: Timestamp,
  code: Schema.String,
  message: Schema.String
})
export type StartProblem = typeof StartProblem.Type

/** `Ended`: no time is left. */
export const ScheduleState = Schema.Literals(["Active", "Paused", "Ended"])
export const ScheduleView = Schema.Struct({
  name: ScheduleName,
  namespace: Namespace,
  state: ScheduleState,
  reason: Schema.optionalKey(Schema.String),
  spec: ScheduleSpec,
  nextAt: Schema.optionalKey(Timestamp),
  lastScheduledAt: Schema.optionalKey(Timestamp),
  lastInstance: Schema.optionalKey(InstanceId),
  /** Firings that are decided and not confirmed yet. */
  pending: Schema.Array(Timestamp),
  started: Schema.Int,
  /** Missed firings that the catch-up policy left out (a gap of more than 1,000 counts as 1,000). */
  skipped: Schema.Int,
  problem: Schema.optionalKey(StartProblem),
  createdAt: Timestamp,
  updatedAt: Timestamp
})
export type ScheduleView = typeof ScheduleView.Type
export const ScheduleList = Schema.Struct({
  items: Schema.Array(ScheduleView),
  next: Schema.optionalKey(Schema.String)
})
export const Deleted = Schema.Struct({ name: Schema.String, deleted: Schema.Boolean })

/** Who wrote a durable entity last: a coordinator with an older session of the home shard writes no more. */
export const WrittenBy = Schema.Struct({ member: MemberId, session: SessionId })
/** Value of a key `schedule.<name>` of the bucket `heddle_schedules`. */
export const ScheduleStored = Schema.Struct({
  v: Schema.Literals([1]),
  by: WrittenBy,
  name: ScheduleName,
  namespace: Namespace,
  spec: ScheduleSpec,
  isPaused: Schema.Boolean,
  reason: Schema.optionalKey(Schema.String),
  /** Times up to here are decided: pending, started or left out. Milliseconds since the epoch, like all times here. */
  cursor: Schema.Finite,
  pending: Schema.Array(Schema.Finite),
  last: Schema.optionalKey(Schema.Struct({ at: Schema.Finite, instanceId: InstanceId })),
  started: Schema.Int,
  skipped: Schema.Int,
  problem: Schema.optionalKey(StartProblem),
  createdAt: Schema.Finite,
  updatedAt: Schema.Finite
})
export type ScheduleStored = typeof ScheduleStored.Type
