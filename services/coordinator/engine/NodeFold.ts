/**
 * The fold of what happens to a node of the graph as a whole: skipped, blocked, passed, fanned out and in, forced to success, handled. design/03 section 5.
 *
 * Kept true here: a node that becomes inactive tells its successors once how it ended, unless its chain was paused or killed (then nothing runs behind it); the counters of the
 * state say what the table says.
 */
import type { Transition } from "../../../shared/protocol/Journal.ts"
import type { TaskStatus } from "../../../shared/protocol/Workflow.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import { type Execution, type Items, Mark, type TaskState } from "./TaskState.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import { nodeAt, type TaskNode, type WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

type Of<Tag extends Transition["_tag"]> = Extract<Transition, { readonly _tag: Tag }>

/** Throws where the journal is of another definition. */
export const requireNode = (graph: WorkflowGraph, name: string): TaskNode => {
  const index = graph.indexOf.get(name)
  if (index === undefined) {
    throw new Error(
      `the journal names the task ${name}, which ${graph.definition.name}@${graph.definition.version} does not have`
    )
  }
  return nodeAt(graph, index)
}

/** How a handled node counts for its successors. */
const tell = (tasks: WorkflowState["tasks"], node: TaskNode, marks: number): WorkflowState["tasks"] => {
  if ((marks & (Mark.PausedChain | Mark.KilledChain)) !== 0) return tasks
  const failed = (marks & (Mark.FailedChain | Mark.Blocked)) !== 0
  const skipped = !failed && (marks & Mark.Skipped) !== 0
  let told = tasks
  for (const index of node.successors) {
    const next = ChunkedVector.get(told, index)
    if ((next.marks & (Mark.Outside | Mark.Inactive | Mark.Held)) !== 0) continue
    told = ChunkedVector.set(told, index, {
      ...next,
      pending: next.pending - 1,
      ok: failed || skipped ? next.ok : next.ok + 1,
      failed: failed ? next.failed + 1 : next.failed,
      skipped: skipped ? next.skipped + 1 : next.skipped
    })
  }
  return told
}

/** Never was active, never will be: skipped, blocked, passed. */
const settle = (
  state: WorkflowState,
  node: TaskNode,
  marks: number,
  why: string,
  status?: TaskStatus
): WorkflowState => {
  const task = ChunkedVector.get(state.tasks, node.index)
  const next: TaskState = {
    ...task,
    marks: task.marks | marks | Mark.Inactive,
    why,
    ...(status === undefined ? {} : { status })
  }
  return { ...state, tasks: tell(ChunkedVector.set(state.tasks, node.index, next), node, next.marks) }
}

/** The mark of a chain that ends with a task that ended so; 0: it goes on. A failure that conditions judge ends nothing. */
export const chainMark = (
  state: WorkflowState,
  node: TaskNode,
  status: "SUCCEEDED" | "FAILED" | "PAUSED" | "KILLED"
): number =>
  status === "SUCCEEDED" || (status === "FAILED" && WorkflowExecutionGraph.areAllSuccessorsConditions(state, node))
    ? 0
    : status === "FAILED"
    ? Mark.FailedChain
    : status === "PAUSED"
    ? Mark.PausedChain
    : Mark.KilledChain

/** A task is over, and its successors know how: its chain goes on without it, or ends. */
export const handled = (state: WorkflowState, transition: Of<"HANDLED">): WorkflowState => {
  const node = requireNode(state.graph, transition.task)
  const task = ChunkedVector.get(state.tasks, node.index)
  const marks = (task.marks & ~Mark.Active) | Mark.Inactive
  return {
    ...state,
    tasks: tell(ChunkedVector.set(state.tasks, node.index, { ...task, marks }), node, marks),
    active: state.active - 1
  }
}

export const skipped = (state: WorkflowState, { notTaken, task, why }: Of<"SKIPPED">): WorkflowState =>
  settle(
    state,
    requireNode(state.graph, task),
    notTaken === undefined ? Mark.Skipped : Mark.Skipped | Mark.NotTaken,
    why
  )

export const blocked = (state: WorkflowState, { task, why }: Of<"BLOCKED">): WorkflowState =>
  settle(state, requireNode(state.graph, task), Mark.Blocked, why)

export const passed = (state: WorkflowState, { task, why }: Of<"PASSED">): WorkflowState => {
  const node = requireNode(state.graph, task)
  return settle(state, node, Mark.Passed, why, node.forbidden ? undefined : "SUCCEEDED")
}

/** The list of a fan-out stands. */
export const fannedOut = (state: WorkflowState, transition: Of<"ITEMS">): WorkflowState => {
  const node = requireNode(state.graph, transition.task)
  const task = ChunkedVector.get(state.tasks, node.index)
  const items: Items = {
    values: transition.values,
    executions: ChunkedVector.filled<Execution | undefined>(transition.values.length, undefined),
    next: 0,
    active: 0,
    succeeded: 0,
    failed: 0,
    halted: 0
  }
  const next: TaskState = { ...task, marks: task.marks | Mark.Active, status: "RUNNING", items }
  return {
    ...state,
    tasks: ChunkedVector.set(state.tasks, node.index, next),
    active: (task.marks & Mark.Active) === 0 ? state.active + 1 : state.active
  }
}

/** A fan-out has ended, as its items did or without any. */
export const fannedIn = (state: WorkflowState, transition: Of<"FANNED_IN">): WorkflowState => {
  const node = requireNode(state.graph, transition.task)
  const task = ChunkedVector.get(state.tasks, node.index)
  const { reason, status } = transition
  const bit = chainMark(state, node, status)
  return {
    ...state,
    tasks: ChunkedVector.set(state.tasks, node.index, {
      ...task,
      marks: task.marks | bit | Mark.Active,
      status,
      ...(reason === undefined ? {} : { why: reason })
    }),
    active: (task.marks & Mark.Active) === 0 ? state.active + 1 : state.active,
    failedChains: bit === Mark.FailedChain ? state.failedChains + 1 : state.failedChains,
    pausedChains: bit === Mark.PausedChain ? state.pausedChains + 1 : state.pausedChains,
    killedChains: bit === Mark.KilledChain ? state.killedChains + 1 : state.killedChains,
    withOutputs: status === "SUCCEEDED" ? state.withOutputs + 1 : state.withOutputs
  }
}

export const forcedSuccess = (state: WorkflowState, transition: Of<"FORCED_SUCCESS">): WorkflowState => {
  const node = requireNode(state.graph, transition.task)
  const task = ChunkedVector.get(state.tasks, node.index)
  const { execution, marks } = task
  return {
    ...state,
    tasks: ChunkedVector.set(state.tasks, node.index, {
      ...task,
      marks: marks & ~(Mark.FailedChain | Mark.KilledChain),
      status: "FORCED_SUCCESS",
      ...(execution === undefined ? {} : {
        execution: {
          ...execution,
          status: "FORCED_SUCCESS",
          attempt: { ...execution.attempt, status: "FORCED_SUCCESS" }
        }
      })
    }),
    failedChains: state.failedChains - ((marks & Mark.FailedChain) === 0 ? 0 : 1),
    killedChains: state.killedChains - ((marks & Mark.KilledChain) === 0 ? 0 : 1),
    withOutputs: state.withOutputs + 1
  }
}
