/**
 * What is asked of the shell for one task: the lane, its executor, the slot of its group. Made of the state alone, so that `Outstanding` can ask for it again.
 *
 * Kept true here: an effect's id follows from the attempt and the kind, so one that is asked for twice is known as one.
 */
import type { InboundEntry } from "../../../shared/protocol/Lane.ts"
import type { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import { type EpochMs, priorityDefault, type TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as Dependent from "./Dependent.ts"
import type { Control, Dispatch, Query, Send, Withdraw } from "./EngineEffect.ts"
import * as Semaphore from "./Semaphore.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import type { Attempt, Execution } from "./TaskState.ts"
import type { Unit } from "./Unit.ts"
import type { TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** The pool of a task: its own, else that of the start request, else the workflow's. */
export const poolOf = (state: WorkflowState, node: TaskNode): PoolRef => node.pool ?? state.pool

/** Whether an executor runs it; the coordinator decides the others itself. */
export const isOnLane = ({ kind }: TaskNode): boolean =>
  kind !== "switch" && kind !== "condition" && kind !== "sub-workflow" && kind !== "dependent"

/** Puts the attempt on its lane. */
export const dispatch = (state: WorkflowState, { execution, node }: Unit, at: EpochMs): Dispatch => {
  const entry: InboundEntry = {
    instance: state.instance,
    taskInstanceId: execution.attempt.id,
    // The definition's schema took it as a Token.
    type: node.type,
    priority: state.start?.priority ?? state.graph.priority,
    taskPriority: node.priority,
    ...(state.start?.team === undefined ? {} : { team: state.start.team }),
    enqueuedAt: at
  }
  return { _tag: "Dispatch", id: `dispatch:${execution.attempt.id}`, lane: node.lane, pool: poolOf(state, node), entry }
}

/** Takes it off again. */
export const withdraw = (state: WorkflowState, { execution, node }: Unit): Withdraw => ({
  _tag: "Withdraw",
  id: `withdraw:${execution.attempt.id}`,
  pool: poolOf(state, node),
  instance: state.instance,
  taskInstanceId: execution.attempt.id
})

/** Nothing when nobody is known to hold the attempt. To a child where the attempt is one. */
export const control = (
  state: WorkflowState,
  kind: Control["_tag"],
  unit: Unit
): Control | Query | Send | undefined => {
  if (unit.node.kind === "dependent") return kind === "Ask" ? Dependent.query(state, unit) : undefined
  const { child, executor, id, startup } = unit.execution.attempt
  if (child !== undefined) return SubWorkflow.tell(state, kind, unit)
  return executor === undefined || startup === undefined
    ? undefined
    : { _tag: kind, id: `${kind.toLowerCase()}:${id}`, taskInstanceId: id, executor, startup }
}

// ---- times

const firstAttempt = (execution: Execution): Attempt => execution.past[0] ?? execution.attempt

/** End of the delay: counted from the first attempt, so that a retry does not wait for it again. */
export const delayEnd = (node: TaskNode, execution: Execution): EpochMs =>
  firstAttempt(execution).submittedAt + node.delayMs

/** When a dispatch that nobody takes fails. */
export const dispatchDue = (node: TaskNode, execution: Execution): EpochMs | undefined =>
  node.dispatchTimeoutMs === undefined
    ? undefined
    : Math.max(execution.attempt.slotAt ?? execution.attempt.submittedAt, delayEnd(node, execution)) +
      node.dispatchTimeoutMs

// ---- slots of a concurrency group

const slotMessage = (state: WorkflowState, node: TaskNode, id: TaskInstanceId, verb: "acquire" | "release"): Send => ({
  _tag: "Send",
  id: `${verb}:${id}`,
  to: Semaphore.idOfGroup(state.graph.namespace, node.group?.name ?? ""),
  from: state.instance,
  event: verb === "release"
    ? { _tag: "SLOT_RELEASE", from: state.instance, ticket: id }
    : {
      _tag: "SLOT_ACQUIRE",
      from: state.instance,
      ticket: id,
      ...(node.group?.slots === undefined ? {} : { slots: node.group.slots }),
      priority: node.group?.priority ?? priorityDefault,
      mode: "wait",
      ...(node.group === undefined ? {} : { group: { namespace: state.graph.namespace, name: node.group.name } })
    }
})

export const acquire = (state: WorkflowState, { execution, node }: Unit): Send =>
  slotMessage(state, node, execution.attempt.id, "acquire")

/** The attempt has a slot, or waits for one, and has no use for it. */
export const release = (state: WorkflowState, node: TaskNode, id: TaskInstanceId): Send =>
  slotMessage(state, node, id, "release")

/** An owner that takes over has itself told again what was granted: what the one before gave back may have been lost. */
export const checks = (state: WorkflowState): ReadonlyArray<Send> =>
  state.graph.groups.map((name) => ({
    _tag: "Send",
    id: `check:${name}`,
    to: Semaphore.idOfGroup(state.graph.namespace, name),
    from: state.instance,
    event: { _tag: "SLOT_CHECK", from: state.instance }
  }))
