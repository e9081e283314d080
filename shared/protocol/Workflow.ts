/**
 * Workflow commands and queries: the messages of `heddle.rpc.workflow.*`. design/02 "Workflows".
 */
import * as Schema from "effect/Schema"
import { Definition, DefinitionRefText, PoolText } from "./Definition.ts"
import { Timestamp } from "./Time.ts"
import { InstanceId, MemberId, Namespace, Priority, SessionId, Shard, StreamSequence, TaskName } from "./Token.ts"

/** design/03 section 4. */
export const WorkflowStatus = Schema.Literals([
  "SERIAL_WAIT",
  "WAIT_TO_RUN",
  "RUNNING",
  "READY_PAUSE",
  "PAUSED",
  "READY_STOP",
  "STOPPED",
  "FAILED",
  "SUCCEEDED",
  "FAILOVER"
])
export type WorkflowStatus = typeof WorkflowStatus.Type

/** The states a run rests in: nothing is active, a result can be answered. */
export const finalStatuses: ReadonlySet<WorkflowStatus> = new Set(["PAUSED", "STOPPED", "FAILED", "SUCCEEDED"])

export const TaskStatus = Schema.Literals([
  "SUBMITTED",
  "DELAY_EXECUTION",
  "DISPATCHED",
  "RUNNING",
  "PAUSED",
  "KILLED",
  "FAILED",
  "SUCCEEDED",
  "FORCED_SUCCESS",
  "FAILOVER"
])
export type TaskStatus = typeof TaskStatus.Type

/** A pause or kill that the executor has not confirmed yet; durable, re-sent until it is (design/03 section 4). */
export const Intent = Schema.Literals(["none", "pause", "kill"])
export type Intent = typeof Intent.Type

export const DependType = Schema.Literals(["TASK_ONLY", "TASK_PRE", "TASK_POST"])
export type DependType = typeof DependType.Type

/** Another instance, as it was at `seq` of the journal (`replay` shows them); without: as it is. */
export const ForkRequest = Schema.Struct({ instanceId: InstanceId, seq: Schema.optionalKey(StreamSequence) })

/**
 * One of `definition`, `inline` and `fork`. A fork has the definition of its original, its params (but for those given here) and its settings, and begins with the results of the
 * tasks that had ended well. With the header `Heddle-Reply-To`, the `WorkflowResult` is also published to that subject when the run rests.
 */
export const StartRequest = Schema.Struct({
  definition: Schema.optionalKey(DefinitionRefText),
  inline: Schema.optionalKey(Definition),
  fork: Schema.optionalKey(ForkRequest),
  namespace: Schema.optionalKey(Namespace),
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  instanceId: Schema.optionalKey(InstanceId),
  startNodes: Schema.optionalKey(Schema.Array(TaskName)),
  dependType: Schema.optionalKey(DependType),
  dryRun: Schema.optionalKey(Schema.Boolean),
  priority: Schema.optionalKey(Priority),
  pool: Schema.optionalKey(PoolText)
})
export type StartRequest = typeof StartRequest.Type
export const StartAnswer = Schema.Struct({ instanceId: InstanceId })

export const InstanceRef = Schema.Struct({ instanceId: InstanceId })
/** `pause`, `resume`, `stop`, ...: the reason goes into the journal. */
export const CommandRequest = Schema.Struct({
  instanceId: InstanceId,
  reason: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(1_000)))
})
export type CommandRequest = typeof CommandRequest.Type
/** `force-success`, `force-start`, `run-task`; `dependType` for the last: that task alone unless it says otherwise. */
export const TaskCommandRequest = Schema.Struct({
  ...CommandRequest.fields,
  task: TaskName,
  dependType: Schema.optionalKey(DependType)
})
export type TaskCommandRequest = typeof TaskCommandRequest.Type
export const Accepted = Schema.Struct({ accepted: Schema.Boolean })

export const AttemptView = Schema.Struct({
  attempt: Schema.Int,
  state: TaskStatus,
  executor: Schema.optionalKey(MemberId),
  sandbox: Schema.optionalKey(Schema.String),
  submittedAt: Timestamp,
  startedAt: Schema.optionalKey(Timestamp),
  endedAt: Schema.optionalKey(Timestamp),
  exitCode: Schema.optionalKey(Schema.Int),
  reason: Schema.optionalKey(Schema.String),
  /** The instance that an attempt of a sub-workflow is. */
  child: Schema.optionalKey(InstanceId),
  /** Position in the list of a `forEach` task. */
  item: Schema.optionalKey(Schema.Int)
})
/** One that never ran has no `state`, `attempts: []`, and `why`. */
export const TaskView = Schema.Struct({
  name: TaskName,
  type: Schema.String,
  dependsOn: Schema.optionalKey(Schema.Array(TaskName)),
  state: Schema.optionalKey(TaskStatus),
  intent: Schema.optionalKey(Intent),
  why: Schema.optionalKey(Schema.String),
  attempts: Schema.Array(AttemptView),
  outputs: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
})
export type TaskView = typeof TaskView.Type

export const WorkflowView = Schema.Struct({
  instanceId: InstanceId,
  state: WorkflowStatus,
  definition: Schema.Struct({ name: Schema.String, version: Schema.Int }),
  params: Schema.Record(Schema.String, Schema.Unknown),
  outputs: Schema.Record(Schema.String, Schema.Unknown),
  runNumber: Schema.Int,
  shard: Shard,
  sessionId: SessionId,
  /** Journal sequence of the newest entry that this view holds. */
  seq: StreamSequence,
  startedAt: Timestamp,
  endedAt: Schema.optionalKey(Timestamp),
  reason: Schema.optionalKey(Schema.String),
  /** The instance whose sub-workflow this is. */
  parent: Schema.optionalKey(InstanceId),
  /** The instance whose results it began with, and up to which sequence of the journal. */
  forkOf: Schema.optionalKey(Schema.Struct({ instanceId: InstanceId, seq: StreamSequence })),
  tasks: Schema.Array(TaskView)
})
export type WorkflowView = typeof WorkflowView.Type

export const WorkflowSummary = Schema.Struct({
  instanceId: InstanceId,
  state: WorkflowStatus,
  /** No `namespace` in what was written before summaries had one: the default one. */
  definition: Schema.Struct({
    namespace: Schema.optionalKey(Namespace),
    name: Schema.String,
    version: Schema.Int
  }),
  startedAt: Timestamp,
  endedAt: Schema.optionalKey(Timestamp)
})
export const WorkflowListQuery = Schema.Struct({
  state: Schema.optionalKey(WorkflowStatus),
  definition: Schema.optionalKey(Schema.String),
  /** Of the definition; any when not given. */
  namespace: Schema.optionalKey(Namespace),
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))),
  next: Schema.optionalKey(Schema.String)
})
export const WorkflowList = Schema.Struct({
  items: Schema.Array(WorkflowSummary),
  next: Schema.optionalKey(Schema.String)
})

/** `wait`: how long the answer may wait for the run to rest; then the error is `DeadlineExceeded`. Not given: 30 s. */
export const ResultRequest = Schema.Struct({
  instanceId: InstanceId,
  wait: Schema.optionalKey(Schema.Union([Schema.String, Schema.Finite]))
})
export const WorkflowResult = Schema.Struct({
  instanceId: InstanceId,
  state: WorkflowStatus,
  outputs: Schema.Record(Schema.String, Schema.Unknown),
  reason: Schema.optionalKey(Schema.String),
  startedAt: Timestamp,
  endedAt: Schema.optionalKey(Timestamp)
})
export type WorkflowResult = typeof WorkflowResult.Type

/** The journal of an instance, oldest first, in pages: records of `Journal.ts` with their stream sequence. */
export const HistoryQuery = Schema.Struct({
  instanceId: InstanceId,
  limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000 }))),
  next: Schema.optionalKey(Schema.String)
})
