/**
 * The sub-DAG that a run executes, with its marks: the questions of DSIP-61's IWorkflowExecutionGraph over a `WorkflowState`. design/03 section 5.
 *
 * Kept true here: a question about one task costs what its own edges cost, a question about the whole reads a counter. The marks themselves are set by
 * `Evolve` only, by transitions (`SUBMITTED` = active, `HANDLED` = inactive, `SKIPPED`, `FAILED`, `PAUSED`, `KILLED`).
 */
import type { Problem } from "../../../shared/protocol/ErrorCode.ts"
import type { StartData } from "../../../shared/protocol/Journal.ts"
import type { TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as AttemptId from "./AttemptId.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Fork from "./Fork.ts"
import { Mark, type TaskState } from "./TaskState.ts"
import { nodeAt, type TaskNode, type WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** What a trigger comes to once all predecessors are handled. `wait`: not yet, or never again while the run lasts. */
export type Trigger = "run" | "skip" | "block" | "wait"

// ---- the sub-DAG

/** Nodes of a run that starts from some tasks: those alone, with all before them, or (the default) with all after them. */
export const reach = (
  graph: WorkflowGraph,
  start: Pick<StartData, "startNodes" | "dependType">
): ReadonlySet<number> => {
  const found = new Set<number>()
  for (const name of start.startNodes ?? []) {
    const index = graph.indexOf.get(name)
    if (index !== undefined && index < graph.taskCount) found.add(index)
  }
  if (start.dependType === "TASK_ONLY") return found
  const queue = [...found]
  for (let head = 0; head < queue.length; head++) {
    const node = nodeAt(graph, queue[head] ?? 0)
    for (const next of start.dependType === "TASK_PRE" ? node.predecessors : node.successors) {
      if (found.has(next)) continue
      found.add(next)
      queue.push(next)
    }
  }
  return found
}

/** The table before the first task is triggered. */
export const table = (graph: WorkflowGraph, start: StartData): WorkflowState["tasks"] => {
  const isWhole = start.startNodes === undefined || start.startNodes.length === 0
  if (isWhole && start.fork === undefined) return graph.fresh
  const inside = isWhole ? undefined : reach(graph, start)
  const taken = Fork.tasksOf(graph, start.fork)
  return ChunkedVector.fromArray(
    graph.nodes.map((node) => {
      const state = ChunkedVector.get(graph.fresh, node.index)
      if (inside !== undefined && !inside.has(node.index)) return { ...state, marks: Mark.Outside, pending: 0 }
      const own = taken.get(node.index)
      if (own !== undefined) return own
      let { pending } = state
      let ok = 0
      let skipped = 0
      for (const predecessor of node.predecessors) {
        const before = taken.get(predecessor)
        if (before !== undefined || inside?.has(predecessor) === false) pending -= 1
        if (before === undefined) continue
        if ((before.marks & Mark.Skipped) !== 0) skipped += 1
        else ok += 1
      }
      return { ...state, pending, ok, skipped }
    })
  )
}

/** What is wrong with the start nodes of a request; empty when nothing is. */
export const problemsOfStart = (
  graph: WorkflowGraph,
  start: Pick<StartData, "startNodes" | "dependType">
): ReadonlyArray<Problem> =>
  (start.startNodes ?? []).flatMap((name, i) => {
    const index = graph.indexOf.get(name)
    return index !== undefined && index < graph.taskCount ? [] : [{
      path: `startNodes[${i}]`,
      message: `${name} is no task of ${graph.definition.name}`,
      value: name,
      fix: "Name tasks of the definition."
    }]
  })

// ---- one task

export const taskState = (self: WorkflowState, index: number): TaskState => ChunkedVector.get(self.tasks, index)
const has = (self: WorkflowState, index: number, mark: number) => (taskState(self, index).marks & mark) !== 0

export const isInside = (self: WorkflowState, index: number): boolean => !has(self, index, Mark.Outside)
export const isActive = (self: WorkflowState, index: number): boolean => has(self, index, Mark.Active)
export const isInactive = (self: WorkflowState, index: number): boolean => has(self, index, Mark.Inactive)
export const isSkipped = (self: WorkflowState, index: number): boolean => has(self, index, Mark.Skipped)
export const isForbidden = (self: WorkflowState, index: number): boolean => nodeAt(self.graph, index).forbidden

export const nodeByName = (self: WorkflowState, name: string): TaskNode | undefined => {
  const index = self.graph.indexOf.get(name)
  return index === undefined ? undefined : nodeAt(self.graph, index)
}

/** By the id of one of its attempts (DSIP: by task instance id). The name is what stands before the first colon. */
export const nodeById = (self: WorkflowState, id: TaskInstanceId): TaskNode | undefined =>
  nodeByName(self, AttemptId.taskOf(id))

const inside = (self: WorkflowState, indices: ReadonlyArray<number>) =>
  indices.flatMap((index) => isInside(self, index) ? [nodeAt(self.graph, index)] : [])

export const predecessors = (self: WorkflowState, node: TaskNode): ReadonlyArray<TaskNode> =>
  inside(self, node.predecessors)
export const successors = (self: WorkflowState, node: TaskNode): ReadonlyArray<TaskNode> =>
  inside(self, node.successors)

/** It has no successor in this run. */
export const isEndOfChain = (self: WorkflowState, node: TaskNode): boolean =>
  !node.successors.some((index) => isInside(self, index))

export const areAllPredecessorsSkipped = (self: WorkflowState, node: TaskNode): boolean => {
  const { ok, failed, pending, skipped } = taskState(self, node.index)
  return skipped > 0 && ok + failed + pending === 0
}

/** Its failure is theirs to judge: absorbed. Forbidden ones pass through and judge nothing. */
export const areAllSuccessorsConditions = (self: WorkflowState, node: TaskNode): boolean =>
  node.absorbed && node.successors.every((index) => isInside(self, index))

/**
 * Whether a node is to run now: neither active nor inactive, every predecessor handled, and its join rule holds. A skipped predecessor does not stand in the
 * way; when all are skipped the task is too, unless it runs `always`. A paused or killed predecessor is never counted as handled, so nothing runs after it.
 */
export const trigger = (node: TaskNode, state: TaskState): Trigger => {
  if ((state.marks & (Mark.Outside | Mark.Active | Mark.Inactive | Mark.Held)) !== 0 || state.pending > 0) return "wait"
  const { ok, failed, skipped } = state
  if (ok + failed + skipped === 0) return "run"
  if (node.join === "always") return "run"
  if (ok + failed === 0) return "skip"
  switch (node.join) {
    case "all_done":
      return "run"
    case "all_success":
    case "none_failed":
      return failed === 0 ? "run" : "block"
    case "one_success":
      return ok > 0 ? "run" : "block"
    case "one_failed":
      return failed > 0 ? "run" : "skip"
  }
}

export const isTriggerConditionMet = (self: WorkflowState, node: TaskNode): boolean =>
  trigger(node, taskState(self, node.index)) === "run"

// ---- the whole

export const startNodes = (self: WorkflowState): ReadonlyArray<TaskNode> =>
  all(self).filter((node) => !node.predecessors.some((index) => isInside(self, index)))

/** All nodes of this run, in the order of the definition, a hook once it was needed. */
export const all = (self: WorkflowState): ReadonlyArray<TaskNode> =>
  self.graph.nodes.filter((node) => isInside(self, node.index))
export const active = (self: WorkflowState): ReadonlyArray<TaskNode> =>
  self.graph.nodes.filter((node) => isActive(self, node.index))

export const areAllChainsFinished = (self: WorkflowState): boolean => self.active === 0
export const existsFailedChain = (self: WorkflowState): boolean => self.failedChains > 0
export const existsPausedChain = (self: WorkflowState): boolean => self.pausedChains > 0
export const existsKilledChain = (self: WorkflowState): boolean => self.killedChains > 0
export const areAllChainsSucceeded = (self: WorkflowState): boolean =>
  areAllChainsFinished(self) && self.failedChains + self.pausedChains + self.killedChains === 0
