/**
 * A fan-out: one execution for each value of a list, so many at once. design/03 section 6.
 *
 * Kept true here: the list is evaluated once in a run and stands in the journal; items begin in its order; all of them run, whatever becomes of the others, unless the
 * run halts or ends; the task ends when no item is under way and none is left to begin.
 */
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Expression from "./Expression.ts"
import * as FailureStrategy from "./FailureStrategy.ts"
import * as Rendering from "./Rendering.ts"
import * as Submission from "./Submission.ts"
import type { Items } from "./TaskState.ts"
import type { Turn } from "./Turn.ts"
import { itemsMax, type TaskNode } from "./WorkflowGraph.ts"

/** Starts what a fan-out may have under way. Its list is evaluated here, once, and journalled. */
export const start = (turn: Turn, node: TaskNode): void => {
  const { forEach } = node
  if (forEach === undefined) return
  if (Submission.isHalting(turn, node)) return fanIn(turn, node, "KILLED")
  if (Submission.isPausing(turn, node)) return fanIn(turn, node, "PAUSED")
  if (turn.task(node).items === undefined) {
    const values = Expression.evaluate(forEach.items, Rendering.scopeOf(turn.state, node, -1))
    if (values instanceof Expression.ExpressionProblem) {
      return fanIn(turn, node, "FAILED", `forEach.items: ${values.message}`)
    }
    if (!Array.isArray(values)) {
      return fanIn(
        turn,
        node,
        "FAILED",
        `forEach.items: expression ${JSON.stringify(forEach.items.source)} gives no list`
      )
    }
    if (values.length > itemsMax) {
      return fanIn(turn, node, "FAILED", `forEach.items: the list has ${values.length} items, more than ${itemsMax}`)
    }
    turn.apply({ _tag: "ITEMS", task: node.name, values })
  }
  goOn(turn, node)
}

/** An item has ended, or the first ones are to begin: begins the next ones, or ends the task when none is under way and none is left. */
export const goOn = (turn: Turn, node: TaskNode): void => {
  const parallelism = node.forEach?.parallelism ?? 0
  let items = turn.task(node).items
  while (
    items !== undefined && !Submission.isHalting(turn, node) && !Submission.isPausing(turn, node) &&
    items.active < parallelism
  ) {
    const next = nextItem(items)
    if (next < 0) break
    Submission.submit(turn, node, next)
    items = turn.task(node).items
    // what an untouched journal never folds to: an item under way where the next one begins. Better a defect with a name than no end.
    if (items !== undefined && items.next <= next) throw new Error(`${node.name}[${next}] is under way and to be begun`)
  }
  if (items === undefined || items.active > 0) return
  const failure = items.failed > 0 ? firstFailure(items) : undefined
  if (items.succeeded + items.failed === items.values.length || (items.failed > 0 && turn.state.ending)) {
    return failure === undefined ? fanIn(turn, node, "SUCCEEDED") : fanIn(turn, node, "FAILED", failure)
  }
  fanIn(turn, node, Submission.isPausing(turn, node) ? "PAUSED" : "KILLED")
}

const nextItem = (items: Items): number => {
  for (let item = items.next; item < items.values.length; item++) {
    if (ChunkedVector.get(items.executions, item)?.status !== "SUCCEEDED") return item
  }
  return -1
}

const firstFailure = (items: Items): string => {
  for (let item = 0; item < items.next; item++) {
    const execution = ChunkedVector.get(items.executions, item)
    if (execution?.status === "FAILED") return `item ${item}: ${execution.attempt.reason ?? "failed"}`
  }
  return "an item failed"
}

const fanIn = (
  turn: Turn,
  node: TaskNode,
  status: "SUCCEEDED" | "FAILED" | "KILLED" | "PAUSED",
  reason?: string
): void => {
  turn.apply({ _tag: "FANNED_IN", task: node.name, status, ...(reason === undefined ? {} : { reason }) })
  if (status === "FAILED") FailureStrategy.failed(turn, node, reason)
  turn.publish({ _tag: "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", task: node.name })
}
