/**
 * Alerts: that a run failed, timed out, ... told to the sinks that its definition or the deployment names. Body of `heddle.alert.<sink>` (stream HEDDLE_ALERTS).
 *
 * At least once: a sink may get the same `id` twice. Follows design/03 section 6 ("alerts by result").
 */
import * as Schema from "effect/Schema"
import { Timestamp } from "./Time.ts"
import { InstanceId, TaskName, Token } from "./Token.ts"

export const AlertKind = Schema.Literals([
  "TaskTimeout",
  "WorkflowTimeout",
  "WorkflowFailed",
  "WorkflowStopped",
  "WorkflowSucceeded",
  "CleanupFailed",
  "Poisoned",
  /** A firing of a schedule whose start was refused for good. */
  "ScheduleFailed",
  "BackfillFailed"
])
export type AlertKind = typeof AlertKind.Type

/** The kinds that go to a sink when `on` is not given: everything but success. */
export const kindsDefault: ReadonlyArray<AlertKind> = AlertKind.literals.filter((kind) => kind !== "WorkflowSucceeded")

/** `spec.alerts` of a definition. `[]`: nobody is told. */
export const AlertTarget = Schema.Struct({
  /** Name of a sink of the deployment. */
  sink: Token,
  /** Only these; everything but WorkflowSucceeded when not given. */
  on: Schema.optionalKey(Schema.Array(AlertKind))
})
export type AlertTarget = typeof AlertTarget.Type

export const AlertMessage = Schema.Struct({
  /** The same for every delivery of the same alert. */
  id: Schema.String,
  kind: AlertKind,
  at: Timestamp,
  message: Schema.String,
  namespace: Schema.optionalKey(Schema.String),
  definition: Schema.optionalKey(Schema.Struct({ name: Schema.String, version: Schema.Int })),
  instanceId: Schema.optionalKey(InstanceId),
  task: Schema.optionalKey(TaskName),
  schedule: Schema.optionalKey(Schema.String),
  backfill: Schema.optionalKey(Schema.String)
})
export type AlertMessage = typeof AlertMessage.Type
