/**
 * Backfills: one workflow started once for each date of a range, some at a time. What `heddle.rpc.backfill.*` takes and answers.
 *
 * The instance of a date is `<backfill>-<yyyymmdd>`, with a cron `<backfill>-<yyyymmddThhmmss>` in UTC; so one that is started again after a crash is the same
 * instance. A backfill goes on when its coordinator is gone. Follows design/02 "Workflows", design/03 section 6.
 */
import * as Schema from "effect/Schema"
import { BackfillName, StartOf, WrittenBy } from "./Schedule.ts"
import { Timestamp } from "./Time.ts"
import { InstanceId, Namespace } from "./Token.ts"
import { WorkflowStatus } from "./Workflow.ts"

export { BackfillName } from "./Schedule.ts"

/** The most dates of one backfill. */
export const datesMax = 5_000
export const parallelismMax = 100

export const CalendarDate = Schema.String.check(Schema.isPattern(/^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/u, {
  message: "a date such as 2026-11-21"
}))

export const BackfillSpec = Schema.Struct({
  /** First and last date, both included; or `dates`. */
  from: Schema.optionalKey(CalendarDate),
  to: Schema.optionalKey(CalendarDate),
  dates: Schema.optionalKey(Schema.Array(CalendarDate).check(Schema.isMinLength(1), Schema.isMaxLength(datesMax))),
  /** The times of these dates that match; the start of each date when not given. */
  cron: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(200))),
  /** IANA name, `UTC` when not given. */
  timezone: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(64))),
  /** How many run at once; 1 (serial) when not given. */
  parallelism: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: parallelismMax }))),
  /** `ascending` when not given. */
  order: Schema.optionalKey(Schema.Literals(["ascending", "descending"])),
  /** After a date whose run did not succeed: `stop` (when not given) starts no further date, `skip` goes on. */
  onFailure: Schema.optionalKey(Schema.Literals(["stop", "skip"])),
  workflow: StartOf
})
export type BackfillSpec = typeof BackfillSpec.Type

/** Body of `start`. The same name again with the same content answers the same backfill. */
export const StartBackfill = Schema.Struct({
  apiVersion: Schema.optionalKey(Schema.Literals(["heddle.dev/v1"])),
  kind: Schema.optionalKey(Schema.Literals(["Backfill"])),
  metadata: Schema.Struct({ name: BackfillName, namespace: Schema.optionalKey(Namespace) }),
  spec: BackfillSpec
})
export type StartBackfill = typeof StartBackfill.Type

export const BackfillRef = Schema.Struct({ name: BackfillName })
export const BackfillStop = Schema.Struct({
  name: BackfillName,
  /** Stop the runs under way as well; else they go to their end. */
  stopRuns: Schema.optionalKey(Schema.Boolean)
})
export const BackfillListQuery = Schema.Struct({
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))),
  next: Schema.optionalKey(Schema.String)
})

/** `Stopping`: no further date is started, some still run. `Failed`: a date did not succeed (with `skip`: told when all have ended). */
export const BackfillState = Schema.Literals(["Running", "Stopping", "Succeeded", "Failed", "Stopped"])
export type BackfillState = typeof BackfillState.Type
/** A date whose run did not succeed. `state` is absent when it could not be started. */
export const FailedDate = Schema.Struct({
  scheduledAt: Timestamp,
  instanceId: InstanceId,
  state: Schema.optionalKey(WorkflowStatus),
  reason: Schema.optionalKey(Schema.String)
})
export const BackfillView = Schema.Struct({
  name: BackfillName,
  namespace: Namespace,
  state: BackfillState,
  spec: BackfillSpec,
  total: Schema.Int,
  started: Schema.Int,
  succeeded: Schema.Int,
  failed: Schema.Array(FailedDate),
  running: Schema.Array(Schema.Struct({ scheduledAt: Timestamp, instanceId: InstanceId })),
  startedAt: Timestamp,
  endedAt: Schema.optionalKey(Timestamp)
})
export type BackfillView = typeof BackfillView.Type
export const BackfillList = Schema.Struct({
  items: Schema.Array(BackfillView),
  next: Schema.optionalKey(Schema.String)
})

/** Value of a key `backfill.<name>` of the bucket `heddle_schedules`. `running` and `failed` hold positions in the list of times, in the order of starting. */
export const BackfillStored = Schema.Struct({
  v: Schema.Literals([1]),
  by: WrittenBy,
  name: BackfillName,
  namespace: Namespace,
  spec: BackfillSpec,
  state: BackfillState,
  /** Stop was asked for, or a date failed that stops. */
  ending: Schema.optionalKey(Schema.Literals(["stopped", "failed"])),
  total: Schema.Int,
  /** The next date to start. */
  position: Schema.Int,
  running: Schema.Array(Schema.Int),
  succeeded: Schema.Int,
  failed: Schema.Array(Schema.Struct({
    index: Schema.Int,
    state: Schema.optionalKey(WorkflowStatus),
    reason: Schema.optionalKey(Schema.String)
  })),
  startedAt: Schema.Finite,
  endedAt: Schema.optionalKey(Schema.Finite)
})
export type BackfillStored = typeof BackfillStored.Type
