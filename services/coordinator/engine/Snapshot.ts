/**
 * A state as JSON and back, for checkpoints and passivated instances. design/01 section 3.
 *
 * Kept true here: `fromSnapshot(JSON of snapshotOf(state), graph)` equals the state, or says why it can't be restored; only tasks that differ from the graph's fresh
 * table are written, so a snapshot grows with what happened, not with the definition. `v` is this format's version.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { DefinitionRef } from "../../../shared/protocol/Definition.ts"
import { Placement } from "../../../shared/protocol/Dispatch.ts"
import { GroupRef, StartData } from "../../../shared/protocol/Journal.ts"
import { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import {
  EpochMs,
  InstanceId,
  MemberId,
  Priority,
  RequestId,
  Shard,
  StartupId,
  TaskInstanceId
} from "../../../shared/protocol/Token.ts"
import { Intent, TaskStatus, WorkflowStatus } from "../../../shared/protocol/Workflow.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import type { Execution, TaskState } from "./TaskState.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

const { optionalKey } = Schema
const JsonRecord = Schema.Record(Schema.String, Schema.Unknown)
const Yes = optionalKey(Schema.Literals([true]))

const AttemptJson = Schema.Struct({
  id: TaskInstanceId,
  n: Schema.Int,
  status: TaskStatus,
  submittedAt: EpochMs,
  dispatchedAt: optionalKey(EpochMs),
  startedAt: optionalKey(EpochMs),
  endedAt: optionalKey(EpochMs),
  exitCode: optionalKey(Schema.Int),
  reason: optionalKey(Schema.String),
  executor: optionalKey(MemberId),
  startup: optionalKey(StartupId),
  placement: optionalKey(Placement),
  slot: optionalKey(Schema.Literals(["waiting", "held", "forced"])),
  slotAt: optionalKey(EpochMs),
  child: optionalKey(InstanceId),
  due: optionalKey(EpochMs),
  timeoutAt: optionalKey(EpochMs),
  timedOut: Yes,
  warned: Yes,
  sequence: optionalKey(Schema.Int),
  context: optionalKey(JsonRecord),
  next: optionalKey(Schema.Array(TaskInstanceId))
})
const ExecutionJson = Schema.Struct({
  attempt: AttemptJson,
  past: Schema.Array(AttemptJson),
  status: TaskStatus,
  intent: Intent,
  failures: Schema.Int,
  outputs: optionalKey(JsonRecord)
})
const ItemsJson = Schema.Struct({
  values: Schema.Array(Schema.Unknown),
  executions: Schema.Array(Schema.NullOr(ExecutionJson)),
  next: Schema.Int,
  active: Schema.Int,
  succeeded: Schema.Int,
  failed: Schema.Int,
  halted: Schema.Int
})
const TaskStateJson = Schema.Struct({
  marks: Schema.Int,
  pending: Schema.Int,
  ok: Schema.Int,
  failed: Schema.Int,
  skipped: Schema.Int,
  status: optionalKey(TaskStatus),
  why: optionalKey(Schema.String),
  execution: optionalKey(ExecutionJson),
  items: optionalKey(ItemsJson),
  attemptFloor: optionalKey(Schema.Int),
  taken: optionalKey(JsonRecord)
})
const TicketJson = Schema.Struct({ from: InstanceId, ticket: Schema.String, priority: Priority, replace: Yes })
const SemaphoreJson = Schema.Struct({
  slots: Schema.Int,
  limit: optionalKey(Schema.Int),
  group: optionalKey(GroupRef),
  held: Schema.Array(TicketJson),
  waiting: Schema.Array(TicketJson),
  refused: Schema.Array(TicketJson)
})
const SnapshotJson = Schema.Struct({
  v: Schema.Literals([1]),
  definition: DefinitionRef,
  instance: InstanceId,
  shard: Shard,
  status: WorkflowStatus,
  run: Schema.Int,
  start: optionalKey(StartData),
  params: JsonRecord,
  pool: PoolRef,
  startedAt: EpochMs,
  endedAt: optionalKey(EpochMs),
  reason: optionalKey(Schema.String),
  timeoutAt: optionalKey(EpochMs),
  limitAt: optionalKey(EpochMs),
  timedOut: Schema.Boolean,
  ending: Schema.Boolean,
  resolved: optionalKey(Schema.Struct({ status: WorkflowStatus, reason: optionalKey(Schema.String) })),
  poisoned: Schema.Boolean,
  partial: optionalKey(Schema.Struct({ status: WorkflowStatus, reason: optionalKey(Schema.String) })),
  parent: optionalKey(Schema.Struct({ instance: InstanceId, task: TaskInstanceId })),
  serial: optionalKey(Schema.String),
  semaphore: optionalKey(SemaphoreJson),
  requests: optionalKey(Schema.Array(Schema.Struct({ id: RequestId, asks: Schema.String }))),
  nodes: Schema.Int,
  tasks: Schema.Array(Schema.Tuple([Schema.Int, TaskStateJson])),
  active: Schema.Int,
  failedChains: Schema.Int,
  pausedChains: Schema.Int,
  killedChains: Schema.Int,
  withOutputs: Schema.Int
})
type SnapshotJson = typeof SnapshotJson.Type
type TaskStateJson = typeof TaskStateJson.Type

const decode = Schema.decodeUnknownResult(SnapshotJson)
const Identity = Schema.Struct({ instance: InstanceId, definition: DefinitionRef, start: optionalKey(StartData) })
const decodeIdentity = Schema.decodeUnknownResult(Identity)

/** Whose snapshot it is, and of which definition: what must be known before `fromSnapshot`. `undefined`: it is none. */
export const identity = (json: unknown): typeof Identity.Type | undefined => Result.getOrUndefined(decodeIdentity(json))

const taskJson = ({ items, ...task }: TaskState): TaskStateJson => ({
  ...task,
  ...(items === undefined
    ? {}
    : {
      items: { ...items, executions: ChunkedVector.toArray(items.executions).map((execution) => execution ?? null) }
    })
})

const taskOf = ({ items, ...task }: TaskStateJson): TaskState => ({
  ...task,
  ...(items === undefined
    ? {}
    : {
      items: {
        ...items,
        executions: ChunkedVector.fromArray<Execution | undefined>(
          items.executions.map((execution) => execution ?? undefined)
        )
      }
    })
})

/** To be written with JSON.stringify as it is. */
export const snapshotOf = (state: WorkflowState): SnapshotJson => {
  const {
    endedAt,
    graph,
    limitAt,
    parent,
    partial,
    reason,
    requests,
    resolved,
    semaphore,
    serial,
    start,
    tasks,
    timeoutAt,
    ...rest
  } = state
  const changed: Array<readonly [number, TaskStateJson]> = []
  for (let index = 0; index < tasks.length; index++) {
    const task = ChunkedVector.get(tasks, index)
    if (task !== ChunkedVector.get(graph.fresh, index)) changed.push([index, taskJson(task)])
  }
  return {
    v: 1,
    definition: graph.definition,
    ...rest,
    ...(start === undefined ? {} : { start }),
    ...(endedAt === undefined ? {} : { endedAt }),
    ...(reason === undefined ? {} : { reason }),
    ...(timeoutAt === undefined ? {} : { timeoutAt }),
    ...(limitAt === undefined ? {} : { limitAt }),
    ...(resolved === undefined ? {} : { resolved }),
    ...(partial === undefined ? {} : { partial }),
    ...(parent === undefined ? {} : { parent }),
    ...(serial === undefined ? {} : { serial }),
    ...(semaphore === undefined ? {} : { semaphore }),
    ...(requests.length === 0 ? {} : { requests }),
    nodes: tasks.length,
    tasks: changed
  }
}

/** Fails with what is wrong when the JSON is no snapshot of this version or not of this graph. */
export const fromSnapshot = (json: unknown, graph: WorkflowGraph): Result.Result<WorkflowState, string> => {
  const decoded = decode(json)
  if (Result.isFailure(decoded)) {
    return Result.fail(`not a snapshot that this version reads: ${decoded.failure.message}`)
  }
  const {
    definition,
    endedAt,
    limitAt,
    nodes,
    parent,
    partial,
    reason,
    requests,
    resolved,
    semaphore,
    serial,
    start,
    tasks,
    timeoutAt,
    v: _,
    ...rest
  } = decoded.success
  const { definition: own } = graph
  if (
    definition.name !== own.name || definition.version !== own.version || definition.hash !== own.hash ||
    nodes !== graph.nodes.length
  ) {
    return Result.fail(
      `the snapshot of ${rest.instance} is of ${definition.name}@${definition.version} (${nodes} nodes), not of ${own.name}@${own.version}`
    )
  }
  const table = ChunkedVector.toArray(graph.fresh)
  for (const [index, task] of tasks) {
    if (index < 0 || index >= table.length) {
      return Result.fail(`the snapshot of ${rest.instance} holds a task ${index} of ${table.length}`)
    }
    table[index] = taskOf(task)
  }
  return Result.succeed({
    ...rest,
    graph,
    start,
    endedAt,
    reason,
    timeoutAt,
    limitAt,
    resolved,
    parent,
    partial,
    serial,
    semaphore,
    requests: requests ?? [],
    tasks: tasks.length === 0 ? graph.fresh : ChunkedVector.fromArray(table)
  })
}
