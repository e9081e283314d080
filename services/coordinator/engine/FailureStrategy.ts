/**
 * What the failure of a task does to the whole: nothing, or with strategy `end` the end of the run. Of the cleanup task it is an alert.
 *
 * Kept true here: it strikes once in a run; a failure that conditions judge does not make it strike.
 */
import type { Turn } from "./Turn.ts"
import { activeUnits } from "./Unit.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import type { TaskNode } from "./WorkflowGraph.ts"

/** A task has failed for good. */
export const failed = (turn: Turn, node: TaskNode, reason: string | undefined): void => {
  if (node.kind === "cleanup") {
    turn.emit({
      _tag: "Alert",
      id: `alert:CleanupFailed:${turn.state.run}@${turn.at}`,
      kind: "CleanupFailed",
      task: node.name,
      message: reason ?? "failed"
    })
    return
  }
  if (!turn.state.graph.endOnFailure || turn.state.ending) return
  if (WorkflowExecutionGraph.areAllSuccessorsConditions(turn.state, node)) return
  turn.apply({ _tag: "ENDING", reason: `task ${node.name} failed: ${reason ?? "no reason given"}` })
  for (const unit of activeUnits(turn.state)) turn.publish({ _tag: "TASK_KILL", id: unit.execution.attempt.id })
}
