/**
 * The journal: the durable truth of every workflow instance, one `JournalMessage` per append on `heddle.journal.<ledger>`. design/01 section 3, design/03 section 2.
 *
 * Kept true here: a record, once written, decodes for ever (new fields are optional, new tags are added, `v` grows when that is not enough); what the state
 * is can be told from `transitions` alone; a payload is written once (a transition names the cause it came from, `of`, and does not repeat it); `hash` is the
 * last key of an entry, so that the text before it is what was hashed.
 */
import * as Schema from "effect/Schema"
import { DefinitionRef, PoolText } from "./Definition.ts"
import { Placement } from "./Dispatch.ts"
import { Outputs } from "./Report.ts"
import {
  EpochMs,
  InstanceId,
  MemberId,
  Namespace,
  Priority,
  RequestId,
  Shard,
  StartupId,
  StreamSequence,
  TaskInstanceId,
  TaskName,
  Token
} from "./Token.ts"
import { DependType, Intent, WorkflowStatus } from "./Workflow.ts"

// ------------------------------------------------------------------------------------------------------------- lifecycle events

/** The attempt of another instance that a run is the sub-workflow of. `depth`: 1 for the child of a run that is no child. */
export const Parent = Schema.Struct({ instance: InstanceId, task: TaskInstanceId, depth: Schema.Int })
export type Parent = typeof Parent.Type

/** What a fork takes over of one task of its original; `why`: of one that never ran there. */
export const Taken = Schema.Struct({
  task: TaskName,
  as: Schema.Literals(["SUCCEEDED", "FORCED_SUCCESS", "FORBIDDEN", "SKIPPED", "NOT_TAKEN"]),
  why: Schema.optionalKey(Schema.String),
  outputs: Schema.optionalKey(Outputs)
})
export type Taken = typeof Taken.Type
/** The instance that a run is a fork of, as it was at `seq` of the journal, and what is taken over. */
export const Fork = Schema.Struct({ instance: InstanceId, seq: StreamSequence, tasks: Schema.Array(Taken) })
export type Fork = typeof Fork.Type

/** What a run was asked to be. `inline`: the definition as it was sent, for one that no store holds. `replyTo`: also publish the result there. */
export const StartData = Schema.Struct({
  definition: DefinitionRef,
  inline: Schema.optionalKey(Schema.Unknown),
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  startNodes: Schema.optionalKey(Schema.Array(TaskName)),
  dependType: Schema.optionalKey(DependType),
  dryRun: Schema.optionalKey(Schema.Boolean),
  priority: Schema.optionalKey(Priority),
  pool: Schema.optionalKey(PoolText),
  team: Schema.optionalKey(Token),
  replyTo: Schema.optionalKey(Schema.String),
  /** Trace context of the start: what tasks do is part of that trace. */
  traceparent: Schema.optionalKey(Schema.String),
  parent: Schema.optionalKey(Parent),
  fork: Schema.optionalKey(Fork),
  /** The longest that the run may take, whatever its definition says: the coordinator's setting at the time of the start. */
  runMaxMs: Schema.optionalKey(Schema.Int),
  /** Fingerprint of the request, for a start that is repeated with the same instance id. */
  content: Schema.optionalKey(Schema.String)
})
export type StartData = typeof StartData.Type

/** Who saw a fact, and when by its clock. Absent when the coordinator itself says it. */
export const FactSource = Schema.Struct({ executor: MemberId, startup: StartupId, sequence: Schema.Int, at: EpochMs })
export type FactSource = typeof FactSource.Type

const reason = { reason: Schema.optionalKey(Schema.String) }
/** Of somebody outside. `request`: the id that it came with; one with the same id again changes nothing. */
const command = { ...reason, request: Schema.optionalKey(RequestId) }
const task = { id: TaskInstanceId }
const fact = { id: TaskInstanceId, by: Schema.optionalKey(FactSource) }
const ended = {
  ...fact,
  startedAt: Schema.optionalKey(EpochMs),
  exitCode: Schema.optionalKey(Schema.Int),
  /** Further tasks that the sandbox of this attempt is kept for. */
  offer: Schema.optionalKey(Schema.Int),
  together: Schema.optionalKey(Schema.Literals([true]))
}

/** design/03 section 3, "Workflow", and RECOVER: resume a paused run, recover a failed or stopped one, or run everything again. */
export const WorkflowLifecycleEvent = Schema.Union([
  Schema.TaggedStruct("WORKFLOW_START", { start: StartData }),
  Schema.TaggedStruct("TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", { task: TaskName }),
  Schema.TaggedStruct("WORKFLOW_PAUSE", command),
  Schema.TaggedStruct("WORKFLOW_PAUSED", {}),
  Schema.TaggedStruct("WORKFLOW_STOP", command),
  Schema.TaggedStruct("WORKFLOW_STOPPED", reason),
  Schema.TaggedStruct("WORKFLOW_SUCCEED", {}),
  Schema.TaggedStruct("WORKFLOW_FAILED", reason),
  Schema.TaggedStruct("WORKFLOW_FINALIZE", {}),
  /** `run`: a timer of an earlier run is ignored. `limit`: it is the system's maximum, not the definition's time-out. */
  Schema.TaggedStruct("WORKFLOW_TIMEOUT", { run: Schema.Int, limit: Schema.optionalKey(Schema.Literals([true])) }),
  /** A failed task of a run that rests counts as succeeded from now on. */
  Schema.TaggedStruct("WORKFLOW_FORCE_SUCCESS", { task: TaskName, ...command }),
  /** One task of a run that has ended, again, or it and what is before or after it. */
  Schema.TaggedStruct("WORKFLOW_RUN_TASK", {
    task: TaskName,
    dependType: Schema.optionalKey(DependType),
    ...command
  }),
  /** What waits for a slot of its group goes on without. */
  Schema.TaggedStruct("WORKFLOW_FORCE_START", { task: TaskName, ...command }),
  /** The run may begin: it has the slot of its serial definition. A ticket of an earlier run is given back. */
  Schema.TaggedStruct("WORKFLOW_SLOT_GRANTED", { ticket: Schema.String }),
  /** Another run of the serial definition is in its way, or has taken its place. */
  Schema.TaggedStruct("WORKFLOW_SLOT_REFUSED", { ticket: Schema.String }),
  Schema.TaggedStruct("WORKFLOW_RECOVER", {
    mode: Schema.Literals(["resume", "recover", "rerun"]),
    /** By a parent, for this attempt of its: a child that has begun for it already only answers. */
    parent: Schema.optionalKey(TaskInstanceId),
    ...command
  })
])
export type WorkflowLifecycleEvent = typeof WorkflowLifecycleEvent.Type

/** design/03 section 3, "Task". `id` names the attempt: an event of an earlier attempt is ignored. */
export const TaskLifecycleEvent = Schema.Union([
  Schema.TaggedStruct("TASK_START", task),
  Schema.TaggedStruct("TASK_DISPATCH", task),
  /** The attempt has a slot of its concurrency group; one that has ended gives it back. */
  Schema.TaggedStruct("TASK_SLOT_GRANTED", task),
  /** Someone said that it need not wait for a slot. */
  Schema.TaggedStruct("TASK_FORCE_START", task),
  Schema.TaggedStruct("TASK_DISPATCHED", { ...task, placement: Placement }),
  Schema.TaggedStruct("TASK_RUNNING", fact),
  Schema.TaggedStruct("TASK_RUNTIME_CONTEXT_CHANGED", { ...fact, context: Outputs }),
  /** `dispatch`: nobody took it in time. `run`: it took too long. */
  Schema.TaggedStruct("TASK_TIMEOUT", { ...task, kind: Schema.Literals(["dispatch", "run"]) }),
  Schema.TaggedStruct("TASK_RETRY", task),
  Schema.TaggedStruct("TASK_PAUSE", task),
  Schema.TaggedStruct("TASK_PAUSED", ended),
  /** `lost`: executor or sandbox is known to be gone (or does not know the task); otherwise the executor is asked first. */
  Schema.TaggedStruct("TASK_FAILOVER", { ...fact, lost: Schema.Boolean, reason: Schema.String }),
  Schema.TaggedStruct("TASK_KILL", task),
  Schema.TaggedStruct("TASK_KILLED", ended),
  Schema.TaggedStruct("TASK_SUCCEEDED", { ...ended, outputs: Outputs }),
  Schema.TaggedStruct("TASK_FAILED", { ...ended, reason: Schema.String }),
  Schema.TaggedStruct("TASK_FATAL", { ...ended, reason: Schema.String })
])
export type TaskLifecycleEvent = typeof TaskLifecycleEvent.Type

/** A concurrency group by name. */
export const GroupRef = Schema.Struct({ namespace: Namespace, name: Token })
export type GroupRef = typeof GroupRef.Type

/** To a semaphore (engine/Semaphore.ts): an instance asks for a slot, gives one back or no longer waits. `try`: now or never. `replace`: the others make way. */
export const SemaphoreLifecycleEvent = Schema.Union([
  Schema.TaggedStruct("SLOT_ACQUIRE", {
    from: InstanceId,
    ticket: Schema.String,
    slots: Schema.optionalKey(Schema.Int),
    priority: Priority,
    mode: Schema.Literals(["wait", "try", "replace"]),
    /** The concurrency group, as people call it; absent for a serial definition. */
    group: Schema.optionalKey(GroupRef)
  }),
  Schema.TaggedStruct("SLOT_RELEASE", { from: InstanceId, ticket: Schema.String }),
  /** The instance has a new owner, what it gave back may have been lost: it is told again what it has, and gives back what it has no use for. */
  Schema.TaggedStruct("SLOT_CHECK", { from: InstanceId }),
  /** Somebody says how many slots the group has, whatever definitions say; without `slots` they say it again. */
  Schema.TaggedStruct("SLOT_LIMIT", { group: GroupRef, slots: Schema.optionalKey(Schema.Int) }),
  /** Somebody gives what waits under this ticket another priority. */
  Schema.TaggedStruct("SLOT_PRIORITY", { from: InstanceId, ticket: Schema.String, priority: Priority })
])
export type SemaphoreLifecycleEvent = typeof SemaphoreLifecycleEvent.Type

/** Everything that can happen to an instance. Only what came from outside (clients, executors, timers, failover) is written as a cause. */
export const LifecycleEvent = Schema.Union([
  ...WorkflowLifecycleEvent.members,
  ...TaskLifecycleEvent.members,
  ...SemaphoreLifecycleEvent.members
])
export type LifecycleEvent = typeof LifecycleEvent.Type

// ------------------------------------------------------------------------------------------------------------------ transitions

/** Position of the cause in the entry whose payload this transition takes over. */
const of = Schema.Int
const maybeOf = Schema.optionalKey(of)
const maybeDue = Schema.optionalKey(EpochMs)
/** When the workflow's time-out strikes, and when the system's maximum run time is over. */
const deadlines = { due: maybeDue, limit: maybeDue }

/** What changed. The fold of these over an instance's entries is its state; nothing else is needed. Tasks are named, attempts are named by their id. */
export const Transition = Schema.Union([
  // the workflow
  /** `params`: all of the run's, when the definition computes some of them. */
  Schema.TaggedStruct("STARTED", {
    of,
    ...deadlines,
    params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown))
  }),
  Schema.TaggedStruct("RERUN", { of, ...deadlines }),
  Schema.TaggedStruct("RECOVERED", { of, ...deadlines }),
  Schema.TaggedStruct("RUN_TASK", { of, ...deadlines }),
  Schema.TaggedStruct("WORKFLOW", { status: WorkflowStatus, ...reason }),
  /** Failure strategy `end`: nothing starts any more, the run will be FAILED. */
  Schema.TaggedStruct("ENDING", reason),
  /** The workflow's time-out struck, or (`limit`) the system's maximum; with `fail` the result is FAILED. */
  Schema.TaggedStruct("TIMED_OUT", { fail: Schema.Boolean, limit: Schema.optionalKey(Schema.Literals([true])) }),
  /** The result is decided and will be taken when the cleanup task has ended. */
  Schema.TaggedStruct("RESOLVED", { status: WorkflowStatus, ...reason }),
  /** Given up after a defect of the engine itself: FAILED. `abandons`: what was under way has ended with it, KILLED (not in entries written before this was added). */
  Schema.TaggedStruct("POISONED", { reason: Schema.String, abandons: Schema.optionalKey(Schema.Literal(true)) }),
  /** The command of cause `of` is done, and its id remembered: the same again changes nothing. */
  Schema.TaggedStruct("REQUESTED", { of }),
  /** The attempt of its parent that it goes on for. */
  Schema.TaggedStruct("PARENT", { task: TaskInstanceId }),
  /** Waits for the slot of its serial definition, under this ticket. */
  Schema.TaggedStruct("SERIAL", { ticket: Schema.String }),
  Schema.TaggedStruct("SERIAL_GRANTED", deadlines),
  // a semaphore
  Schema.TaggedStruct("SLOT_QUEUED", { of }),
  Schema.TaggedStruct("SLOT_GIVEN", { from: InstanceId, ticket: Schema.String }),
  Schema.TaggedStruct("SLOT_REFUSED", { from: InstanceId, ticket: Schema.String }),
  Schema.TaggedStruct("SLOT_FREED", { from: InstanceId, ticket: Schema.String }),
  Schema.TaggedStruct("SLOT_LIMITED", { of }),
  Schema.TaggedStruct("SLOT_MOVED", { of }),
  // the graph
  /** TOPOLOGY was handled: inactive, its successors know how it ended. */
  Schema.TaggedStruct("HANDLED", { task: TaskName }),
  /** `notTaken`: by a switch. */
  Schema.TaggedStruct("SKIPPED", {
    task: TaskName,
    why: Schema.String,
    notTaken: Schema.optionalKey(Schema.Literals([true]))
  }),
  /** Can no longer run because of how its predecessors ended. */
  Schema.TaggedStruct("BLOCKED", { task: TaskName, why: Schema.String }),
  /** Counts as succeeded without an attempt: forbidden, or a dry run. */
  Schema.TaggedStruct("PASSED", { task: TaskName, why: Schema.String }),
  /** Failed, and counts as succeeded. */
  Schema.TaggedStruct("FORCED_SUCCESS", { task: TaskName }),
  // a task
  Schema.TaggedStruct("SUBMITTED", { id: TaskInstanceId }),
  /** Waits for a slot of its group, or has one (`held`), or needs none any more (`forced`). */
  Schema.TaggedStruct("SLOT", { id: TaskInstanceId, slot: Schema.Literals(["waiting", "held", "forced"]) }),
  Schema.TaggedStruct("DELAYED", { id: TaskInstanceId, due: EpochMs }),
  Schema.TaggedStruct("ENQUEUED", { id: TaskInstanceId }),
  /** `handOff`: placed where the attempt of the final fact of cause `of` was. `due`: its time-out. */
  Schema.TaggedStruct("DISPATCHED", {
    id: TaskInstanceId,
    of,
    handOff: Schema.optionalKey(Schema.Literals([true])),
    due: maybeDue
  }),
  /** The coordinator itself runs it. */
  Schema.TaggedStruct("BEGUN", { id: TaskInstanceId, due: maybeDue }),
  /** A sub-workflow: the instance that the attempt is. */
  Schema.TaggedStruct("CHILD", { id: TaskInstanceId, child: InstanceId, due: maybeDue }),
  Schema.TaggedStruct("RUNNING", { id: TaskInstanceId, of, due: maybeDue }),
  Schema.TaggedStruct("CONTEXT", { id: TaskInstanceId, of }),
  Schema.TaggedStruct("INTENT", {
    id: TaskInstanceId,
    intent: Intent,
    timedOut: Schema.optionalKey(Schema.Literals([true]))
  }),
  /** The time-out struck and only warns. */
  Schema.TaggedStruct("WARNED", { id: TaskInstanceId }),
  Schema.TaggedStruct("SUCCEEDED", { id: TaskInstanceId, of: maybeOf, outputs: Schema.optionalKey(Outputs) }),
  /** With `due` the task waits for its retry until then, and stays active. */
  Schema.TaggedStruct("FAILED", { id: TaskInstanceId, of: maybeOf, ...reason, due: maybeDue }),
  Schema.TaggedStruct("KILLED", { id: TaskInstanceId, of: maybeOf }),
  Schema.TaggedStruct("PAUSED", { id: TaskInstanceId, of: maybeOf }),
  Schema.TaggedStruct("FAILOVER", { id: TaskInstanceId, reason: Schema.String }),
  // a fan-out
  Schema.TaggedStruct("ITEMS", { task: TaskName, values: Schema.Array(Schema.Unknown) }),
  Schema.TaggedStruct("FANNED_IN", {
    task: TaskName,
    status: Schema.Literals(["SUCCEEDED", "FAILED", "KILLED", "PAUSED"]),
    ...reason
  })
])
export type Transition = typeof Transition.Type

// ---------------------------------------------------------------------------------------------------------------------- records

/**
 * One turn of an instance. `n`: 1, 2, ... per instance. `prev`: journal sequence of the message with the instance's entry before this one, 0 for the first.
 * `effects`: ids of what was to be done after the append; what they are follows from the state. `hash`: sha256 in hex over the previous entry's hash and this
 * entry's text without it (engine/Chain.ts).
 */
export const Entry = Schema.TaggedStruct("Entry", {
  shard: Shard,
  instance: InstanceId,
  n: Schema.Int,
  prev: StreamSequence,
  at: EpochMs,
  cause: Schema.Array(LifecycleEvent),
  transitions: Schema.Array(Transition),
  effects: Schema.Array(Schema.String),
  hash: Schema.String
})
export type Entry = typeof Entry.Type

/** Sequence of the checkpoint that the owner read a shard's state from, 0 for none. */
export const Adopted = Schema.TaggedStruct("Adopted", { shard: Shard, snapshot: StreamSequence, at: EpochMs })
export const Released = Schema.TaggedStruct("Released", { shard: Shard, to: MemberId, at: EpochMs })
export const Opened = Schema.TaggedStruct("Opened", { member: MemberId, startup: StartupId, at: EpochMs })
export const Sealed = Schema.TaggedStruct("Sealed", { by: MemberId, at: EpochMs })

export const JournalRecord = Schema.Union([Opened, Sealed, Adopted, Released, Entry])
export type JournalRecord = typeof JournalRecord.Type

/** The body of one journal message. */
export const JournalMessage = Schema.Struct({
  v: Schema.Literals([1]),
  /** `<startup>:<number>` of the append, by which its writer tells whether one whose answer was lost was stored; messages of a session have none. */
  id: Schema.optionalKey(Schema.String),
  records: Schema.Array(JournalRecord)
})
export type JournalMessage = typeof JournalMessage.Type
