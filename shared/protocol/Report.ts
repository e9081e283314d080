/**
 * Between a task executor and the shard's owner: registration, facts, control. Every batch holds what was waiting; answers keep its order.
 *
 * `heddle.member.<coordinator>.register|facts` and `heddle.member.<executor>.control`. A fact is answered only after the journal has it. When no owner
 * answers, facts go to `heddle.wf.<shard>.<instance>.cmd` instead (design/01 section 4).
 */
import * as Schema from "effect/Schema"
import { Placement } from "./Dispatch.ts"
import { Labels } from "./Sandbox.ts"
import { EpochMs, InstanceId, MemberId, SessionId, Shard, StartupId, TaskInstanceId, TaskName, Token } from "./Token.ts"

export const Registration = Schema.Struct({
  shard: Shard,
  session: SessionId,
  instance: InstanceId,
  taskInstanceId: TaskInstanceId,
  placement: Placement
})
export type Registration = typeof Registration.Type
/** The executor that reads `heddle.ack.<ackReader>.>`: its answer may go ahead of the append that makes it true (`onceAcknowledged`). */
const ackReader = Schema.optionalKey(MemberId)
/** The answer holds once the broker has acknowledged an append on this subject (`Subject.acknowledgement`). Only for who gave `ackReader`; without an acknowledgement nothing was answered. */
const onceAcknowledged = Schema.optionalKey(Schema.String)

export const RegisterRequest = Schema.Struct({ registrations: Schema.Array(Registration), ackReader })

/** What an executor needs to run one attempt; `with`, `params` and `env` have their expressions filled in. */
export const TaskSpec = Schema.Struct({
  instance: InstanceId,
  task: TaskName,
  taskInstanceId: TaskInstanceId,
  attempt: Schema.Int,
  type: Token,
  with: Schema.Record(Schema.String, Schema.Unknown),
  params: Schema.Record(Schema.String, Schema.Unknown),
  env: Labels,
  shard: Shard,
  session: SessionId
})
export type TaskSpec = typeof TaskSpec.Type

export const RegisterOutcome = Schema.Union([
  Schema.TaggedStruct("Registered", { spec: TaskSpec }),
  Schema.TaggedStruct("StaleSession", { current: SessionId }),
  Schema.TaggedStruct("AlreadyAssigned", {}),
  Schema.TaggedStruct("NoLongerRunnable", { why: Schema.String }),
  Schema.TaggedStruct("NotOwner", { owner: Schema.NullOr(MemberId) })
])
export type RegisterOutcome = typeof RegisterOutcome.Type
export const RegisterAnswer = Schema.Struct({ outcomes: Schema.Array(RegisterOutcome), onceAcknowledged })

export const Outputs = Schema.Record(Schema.String, Schema.Unknown)
export type Outputs = typeof Outputs.Type

const ended = { startedAt: Schema.optionalKey(EpochMs), exitCode: Schema.optionalKey(Schema.Int) }
/** What the executor saw happen to an attempt. A final fact carries `startedAt`, so a RUNNING that it overtakes is not needed. */
export const TaskFact = Schema.Union([
  Schema.TaggedStruct("RUNNING", {}),
  Schema.TaggedStruct("RUNTIME_CONTEXT_CHANGED", { context: Outputs }),
  Schema.TaggedStruct("SUCCEEDED", { ...ended, outputs: Outputs }),
  Schema.TaggedStruct("FAILED", { ...ended, reason: Schema.String }),
  Schema.TaggedStruct("FATAL", { ...ended, reason: Schema.String }),
  Schema.TaggedStruct("KILLED", ended),
  Schema.TaggedStruct("PAUSED", ended),
  /** The sandbox vanished under the task: it fails over (design/05 SANDBOX_LOST). */
  Schema.TaggedStruct("SANDBOX_LOST", { reason: Schema.String })
])
export type TaskFact = typeof TaskFact.Type

/** `sequence`: 1, 2, ... per attempt, so that a repeated or late report is recognised. `at`: the executor's clock. `offer`, with a final fact: the
 * sandbox stays with the executor, placed as it is, for this many further tasks of the instance in the same pool (hand-off, design/04 section 2).
 */
export const FactReport = Schema.Struct({
  shard: Shard,
  instance: InstanceId,
  taskInstanceId: TaskInstanceId,
  executor: MemberId,
  startup: StartupId,
  sequence: Schema.Int,
  at: EpochMs,
  fact: TaskFact,
  offer: Schema.optionalKey(Schema.Int),
  /** With an offer: tasks of this type end at once here, so all that became runnable may follow together, one after the other in the one sandbox. */
  together: Schema.optionalKey(Schema.Literals([true]))
})
export type FactReport = typeof FactReport.Type
export const FactRequest = Schema.Struct({ facts: Schema.Array(FactReport), ackReader })

export const FactOutcome = Schema.Union([
  /** In the journal. `next`: tasks already registered in the sandbox that was offered, to run in this order; several only when `together` was said. */
  Schema.TaggedStruct("Accepted", { next: Schema.optionalKey(Schema.Array(TaskSpec)) }),
  /** This attempt is no longer the live one: kill it and release its sandbox (design/05 rule 6). */
  Schema.TaggedStruct("Superseded", {}),
  Schema.TaggedStruct("NotOwner", { owner: Schema.NullOr(MemberId) })
])
export type FactOutcome = typeof FactOutcome.Type
export const FactAnswer = Schema.Struct({ outcomes: Schema.Array(FactOutcome), onceAcknowledged })

/** `ask` only asks. Each task is answered; an unknown one too, so that the coordinator can settle it. */
export const ControlRequest = Schema.Struct({
  kind: Schema.Literals(["kill", "pause", "ask"]),
  owner: MemberId,
  tasks: Schema.Array(Schema.Struct({ shard: Shard, instance: InstanceId, taskInstanceId: TaskInstanceId }))
})
export type ControlRequest = typeof ControlRequest.Type
/** `Running`: has it (the command is under way). `Reporting`: ended, its final fact is on the way. `Unknown`: never had it, or settled it long ago. */
export const ControlAnswer = Schema.Struct({
  startup: StartupId,
  tasks: Schema.Array(Schema.Literals(["Running", "Reporting", "Unknown"]))
})
export type ControlAnswer = typeof ControlAnswer.Type

/** Body of a message on `heddle.wf.<shard>.<instance>.cmd`: a fact, or a command from outside. */
export const InboxMessage = Schema.Union([
  Schema.TaggedStruct("Fact", { report: FactReport }),
  Schema.TaggedStruct("Start", { request: Schema.Unknown }),
  Schema.TaggedStruct("Pause", { reason: Schema.optionalKey(Schema.String) }),
  Schema.TaggedStruct("Resume", { reason: Schema.optionalKey(Schema.String) }),
  Schema.TaggedStruct("Stop", { reason: Schema.optionalKey(Schema.String) })
])
export type InboxMessage = typeof InboxMessage.Type

/** A message of `heddle.logs.<instance>.<task instance>`. `dropped`: bytes left out since the last line for want of room. */
export const LogLine = Schema.Struct({
  at: EpochMs,
  stream: Schema.Literals(["stdout", "stderr", "system"]),
  text: Schema.String,
  dropped: Schema.optionalKey(Schema.Int)
})
export type LogLine = typeof LogLine.Type
