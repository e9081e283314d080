/**
 * What a task event is about: a task's execution, or that of one item of a fan-out, with its node.
 *
 * Kept true here: a unit is a view of the state it was taken from, never newer; those under way are found in an order that the definition alone decides.
 */
import * as ChunkedVector from "./ChunkedVector.ts"
import { type Execution, isEnded, Mark, type TaskState } from "./TaskState.ts"
import type { TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** `item`: position in a fan-out, -1 for a task. */
export interface Unit {
  readonly node: TaskNode
  readonly item: number
  readonly execution: Execution
}

/** `undefined` also for a position that the list does not have. */
export const executionOf = (task: TaskState, item: number): Execution | undefined => {
  if (item === -1) return task.execution
  const executions = task.items?.executions
  return executions === undefined || !(item >= 0 && item < executions.length)
    ? undefined
    : ChunkedVector.get(executions, item)
}

/** Every unit of the state that is under way, tasks in the order of the definition, items in the order of their list. */
export const activeUnits = (state: WorkflowState): ReadonlyArray<Unit> => {
  const units: Array<Unit> = []
  for (const node of state.graph.nodes) {
    const task = ChunkedVector.get(state.tasks, node.index)
    if ((task.marks & Mark.Active) === 0) continue
    if (task.items === undefined || node.forEach === undefined) {
      if (task.execution !== undefined && !isEnded(task.execution)) {
        units.push({ node, item: -1, execution: task.execution })
      }
      continue
    }
    if (task.items.active === 0) continue
    for (let item = 0; item < task.items.next; item++) {
      const execution = ChunkedVector.get(task.items.executions, item)
      if (execution !== undefined && !isEnded(execution)) units.push({ node, item, execution })
    }
  }
  return units
}
