/**
 * The state as clients see it: `heddle.rpc.workflow.get`, `.result`, `.list`. design/02.
 */
import { poolKey } from "../../../shared/protocol/Sandbox.ts"
import { timestamp } from "../../../shared/protocol/Time.ts"
import type { SessionId, StreamSequence } from "../../../shared/protocol/Token.ts"
import {
  type AttemptView,
  finalStatuses,
  type TaskView,
  type WorkflowResult,
  type WorkflowSummary,
  type WorkflowView
} from "../../../shared/protocol/Workflow.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Rendering from "./Rendering.ts"
import * as TaskEffect from "./TaskEffect.ts"
import { type Attempt, type Execution, Mark, type TaskState } from "./TaskState.ts"
import { nodeAt, type TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

const definitionOf = ({ graph }: WorkflowState) => ({ name: graph.definition.name, version: graph.definition.version })
const times = ({ endedAt, startedAt }: { readonly startedAt: number; readonly endedAt?: number | undefined }) => ({
  startedAt: timestamp(startedAt),
  ...(endedAt === undefined ? {} : { endedAt: timestamp(endedAt) })
})

const attemptView = (attempt: Attempt, item: number): typeof AttemptView.Type => ({
  attempt: attempt.n,
  state: attempt.status,
  ...(attempt.executor === undefined ? {} : { executor: attempt.executor }),
  ...(attempt.placement === undefined ? {} : { sandbox: attempt.placement.sandbox }),
  submittedAt: timestamp(attempt.submittedAt),
  ...(attempt.startedAt === undefined ? {} : { startedAt: timestamp(attempt.startedAt) }),
  ...(attempt.endedAt === undefined ? {} : { endedAt: timestamp(attempt.endedAt) }),
  ...(attempt.exitCode === undefined ? {} : { exitCode: attempt.exitCode }),
  ...(attempt.reason === undefined ? {} : { reason: attempt.reason }),
  ...(attempt.child === undefined ? {} : { child: attempt.child }),
  ...(item < 0 ? {} : { item })
})

const attemptsOf = (execution: Execution | undefined, item: number) =>
  execution === undefined ? [] : [...execution.past, execution.attempt].map((attempt) => attemptView(attempt, item))

/** Why a task is not getting on, or did not run. */
const whyOf = (state: WorkflowState, node: TaskNode, task: TaskState): string | undefined => {
  if (task.why !== undefined) return task.why
  const rests = finalStatuses.has(state.status)
  const { execution } = task
  if (execution?.attempt.slot === "waiting") return `waits for a slot of group ${node.group?.name ?? ""}`
  if (execution?.status === "SUBMITTED" && TaskEffect.isOnLane(node)) {
    return `waits for an executor of pool ${poolKey(node.pool ?? state.pool)}`
  }
  if (execution?.status === "DELAY_EXECUTION" && execution.attempt.due !== undefined) {
    return `starts at ${timestamp(execution.attempt.due)}`
  }
  if (execution?.status === "FAILED" && execution.attempt.due !== undefined) {
    return `is tried again at ${timestamp(execution.attempt.due)}`
  }
  if (task.status !== undefined) return undefined
  if (rests || state.ending) {
    return `not started when the run ended (${state.ending ? "failure strategy end" : state.status})`
  }
  const waits = node.predecessors.filter((index) => {
    const { marks } = ChunkedVector.get(state.tasks, index)
    return (marks & (Mark.Outside | Mark.Inactive)) === 0
  })
  const names = waits.slice(0, 3).map((index) => nodeAt(state.graph, index).name)
  if (names.length === 0) return undefined
  return `waits for ${names.join(", ")}${waits.length > names.length ? ` and ${waits.length - names.length} more` : ""}`
}

const taskView = (state: WorkflowState, node: TaskNode, task: TaskState): TaskView => {
  const outputs = Rendering.outputsOf(task)
  const intent = task.execution?.intent
  const why = whyOf(state, node, task)
  return {
    name: node.name,
    type: node.type,
    ...(node.predecessors.length === 0
      ? {}
      : { dependsOn: node.predecessors.map((index) => nodeAt(state.graph, index).name) }),
    ...(task.status === undefined ? {} : { state: task.status }),
    ...(intent === undefined || intent === "none" ? {} : { intent }),
    ...(why === undefined ? {} : { why }),
    attempts: task.items === undefined
      ? attemptsOf(task.execution, -1)
      : ChunkedVector.toArray(task.items.executions).flatMap((execution, item) => attemptsOf(execution, item)),
    ...(Object.keys(outputs).length === 0 ? {} : { outputs })
  }
}

/** Every task of the execution graph. `seq`: journal sequence of the newest entry that the state holds. */
export const view = (state: WorkflowState, session: SessionId, seq: StreamSequence): WorkflowView => ({
  instanceId: state.instance,
  state: state.status,
  definition: definitionOf(state),
  params: state.params,
  outputs: Rendering.workflowOutputs(state),
  runNumber: state.run,
  shard: state.shard,
  sessionId: session,
  seq,
  ...times(state),
  ...(state.reason === undefined ? {} : { reason: state.reason }),
  ...(state.parent === undefined ? {} : { parent: state.parent.instance }),
  ...(state.start?.fork === undefined
    ? {}
    : { forkOf: { instanceId: state.start.fork.instance, seq: state.start.fork.seq } }),
  tasks: state.graph.nodes.flatMap((node) => {
    const task = ChunkedVector.get(state.tasks, node.index)
    return (task.marks & Mark.Outside) === 0 ? [taskView(state, node, task)] : []
  })
})

export const result = (state: WorkflowState): WorkflowResult => ({
  instanceId: state.instance,
  state: state.status,
  outputs: Rendering.workflowOutputs(state),
  ...(state.reason === undefined ? {} : { reason: state.reason }),
  ...times(state)
})

export const summary = (state: WorkflowState): typeof WorkflowSummary.Type => ({
  instanceId: state.instance,
  state: state.status,
  definition: { namespace: state.graph.namespace, ...definitionOf(state) },
  ...times(state)
})
