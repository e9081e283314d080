/**
 * How an attempt begins, and when none may.
 *
 * Kept true here: attempts of a task or an item count on for the whole run, so none has the id of another; the cleanup task begins whatever happens.
 */
import * as AttemptId from "./AttemptId.ts"
import type { Turn } from "./Turn.ts"
import { executionOf } from "./Unit.ts"
import type { TaskNode } from "./WorkflowGraph.ts"

/** A new attempt of a task or of an item, and its START. */
export const submit = (turn: Turn, node: TaskNode, item: number): void => {
  const task = turn.task(node)
  const before = executionOf(task, item)
  const n = before === undefined ? (task.attemptFloor ?? 0) + 1 : before.attempt.n + 1
  const id = AttemptId.make(node, turn.state.run, n, item)
  turn.apply({ _tag: "SUBMITTED", id })
  turn.publish({ _tag: "TASK_START", id })
}

/** Nothing of this task may start: the run is stopping, or ends because of a failure. The cleanup task runs whatever happens. */
export const isHalting = (turn: Turn, node: TaskNode): boolean =>
  node.kind !== "cleanup" && (turn.state.status === "READY_STOP" || turn.state.ending)
/** As `isHalting`, but for now. */
export const isPausing = (turn: Turn, node: TaskNode): boolean =>
  node.kind !== "cleanup" && turn.state.status === "READY_PAUSE"
