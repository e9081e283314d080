/**
 * Which way a switch or a condition goes on. Decided by the coordinator when the task would be dispatched. design/03 section 6.
 *
 * Kept true here: the branch is the task's output, so the journal has it and no replay evaluates it again; a successor that was not taken is skipped, unless it has begun.
 */
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Condition from "./Condition.ts"
import * as Expression from "./Expression.ts"
import * as Rendering from "./Rendering.ts"
import { Mark } from "./TaskState.ts"
import type { Turn } from "./Turn.ts"
import type { Unit } from "./Unit.ts"
import type { ConditionPlan, TaskNode } from "./WorkflowGraph.ts"

export const decideSwitch = (turn: Turn, { execution, node }: Unit): void => {
  const { id } = execution.attempt
  const scope = Rendering.scopeOf(turn.state, node, -1)
  for (const { next, when } of node.cases) {
    const value = Expression.evaluate(when, scope)
    if (value instanceof Expression.ExpressionProblem) {
      return turn.publish({ _tag: "TASK_FATAL", id, reason: `when: ${value.message}` })
    }
    if (typeof value !== "boolean") {
      return turn.publish({
        _tag: "TASK_FATAL",
        id,
        reason: `when: expression ${JSON.stringify(when.source)} gives neither true nor false`
      })
    }
    if (value) return turn.publish({ _tag: "TASK_SUCCEEDED", id, outputs: { branch: next } })
  }
  if (node.fallback === undefined) {
    return turn.publish({ _tag: "TASK_FATAL", id, reason: "no case holds and there is no default" })
  }
  turn.publish({ _tag: "TASK_SUCCEEDED", id, outputs: { branch: node.fallback } })
}

export const decideCondition = (turn: Turn, { execution }: Unit, plan: ConditionPlan): void => {
  const { graph, tasks } = turn.state
  const branch = Condition.holds(plan.when, (index) => ChunkedVector.get(tasks, index)) ? "success" : "failed"
  const next = plan[branch].map((index) => graph.nodes[index]?.name)
  turn.publish({ _tag: "TASK_SUCCEEDED", id: execution.attempt.id, outputs: { branch, next } })
}

/** Whether a branching task went on to this successor. */
const took = (node: TaskNode, index: number, name: string, branch: unknown): boolean =>
  node.condition === undefined
    ? name === branch
    : node.condition[branch === "success" ? "success" : "failed"].includes(index)

/** Skips what it did not take. `chosen`: as its outputs name it. */
export const skipOthers = (turn: Turn, node: TaskNode, chosen: unknown): void => {
  for (const index of node.branches) {
    const branch = turn.state.graph.nodes[index]
    if (branch === undefined || took(node, index, branch.name, chosen)) continue
    const marks = turn.task(branch).marks
    if ((marks & (Mark.Outside | Mark.Active | Mark.Inactive | Mark.Held)) === 0) {
      turn.apply({
        _tag: "SKIPPED",
        task: branch.name,
        why: `the ${node.type} ${node.name} took ${String(chosen)}`,
        notTaken: true
      })
      turn.settled.push(index)
    }
  }
}
