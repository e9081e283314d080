/**
 * A fork: a new instance that begins with what another one had come to. What it takes over stands in its START, so its journal needs no other one. design/03 section 2.
 *
 * Kept true here: taken over is what had ended well, was skipped or forbidden, and stands behind nothing that runs again; everything else (what was under way, failed, blocked, or
 * a failure that a condition judged) begins anew. What is taken over never ran here: it has no attempts, and its successors see its outputs.
 */
import type { Fork, StartData, Taken } from "../../../shared/protocol/Journal.ts"
import type { StreamSequence } from "../../../shared/protocol/Token.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Rendering from "./Rendering.ts"
import { Mark, type TaskState } from "./TaskState.ts"
import { nodeAt, type TaskNode, type WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** How a task counts for a fork; nothing: it begins anew. */
const asOf = (state: WorkflowState, node: TaskNode, task: TaskState): Taken["as"] | undefined => {
  const again = Mark.FailedChain | Mark.PausedChain | Mark.KilledChain | Mark.Blocked | Mark.Held
  if ((task.marks & Mark.Inactive) === 0 || (task.marks & again) !== 0) return undefined
  if ((task.marks & Mark.NotTaken) !== 0) return "NOT_TAKEN"
  if ((task.marks & Mark.Skipped) !== 0) return "SKIPPED"
  if (node.forbidden) return "FORBIDDEN"
  if (state.start?.dryRun === true) return undefined
  return task.status === "SUCCEEDED" || task.status === "FORCED_SUCCESS" ? task.status : undefined
}

const takenOf = (state: WorkflowState): ReadonlyArray<Taken> => {
  const { graph } = state
  const found = new Map<number, Taken>()
  for (const index of graph.order) {
    const node = nodeAt(graph, index)
    const task = ChunkedVector.get(state.tasks, index)
    if ((task.marks & Mark.Outside) !== 0) continue
    const isBehind = node.predecessors.every((before) =>
      found.has(before) || (ChunkedVector.get(state.tasks, before).marks & Mark.Outside) !== 0
    )
    const as = isBehind ? asOf(state, node, task) : undefined
    if (as === undefined) continue
    const outputs = Rendering.outputsOf(task)
    found.set(index, {
      task: node.name,
      as,
      ...(task.why === undefined || as === "SUCCEEDED" || as === "FORCED_SUCCESS" ? {} : { why: task.why }),
      ...(Object.keys(outputs).length === 0 ? {} : { outputs })
    })
  }
  return [...found.values()]
}

/** What the START of a fork says, of an original in this state; `seq`: of the newest entry that the state holds. A request's own settings go before these. */
export const startOf = (
  state: WorkflowState,
  seq: StreamSequence
): { readonly fork: Fork } & Pick<StartData, "params" | "startNodes" | "dependType" | "pool" | "priority" | "team"> => {
  const { dependType, pool, priority, startNodes, team } = state.start ?? {}
  return {
    fork: { instance: state.instance, seq, tasks: takenOf(state) },
    // all of them, so that those that were computed stay what they were
    params: state.params,
    ...(startNodes === undefined ? {} : { startNodes }),
    ...(dependType === undefined ? {} : { dependType }),
    ...(pool === undefined ? {} : { pool }),
    ...(priority === undefined ? {} : { priority }),
    ...(team === undefined ? {} : { team })
  }
}

const marksOf: Readonly<Record<Taken["as"], number>> = {
  SUCCEEDED: Mark.Inactive,
  FORCED_SUCCESS: Mark.Inactive,
  FORBIDDEN: Mark.Inactive | Mark.Passed,
  SKIPPED: Mark.Inactive | Mark.Skipped,
  NOT_TAKEN: Mark.Inactive | Mark.Skipped | Mark.NotTaken
}

/** The tasks that a run begins with, by node index. A name that the graph does not have is left out: its journal is of another definition. */
export const tasksOf = (graph: WorkflowGraph, fork: Fork | undefined): ReadonlyMap<number, TaskState> => {
  const found = new Map<number, TaskState>()
  for (const { as, outputs, task, why } of fork?.tasks ?? []) {
    const index = graph.indexOf.get(task)
    if (index === undefined) continue
    const taken = `taken over from ${fork?.instance ?? ""}`
    found.set(index, {
      marks: marksOf[as],
      pending: 0,
      ok: 0,
      failed: 0,
      skipped: 0,
      ...(as === "SUCCEEDED" || as === "FORCED_SUCCESS" ? { status: as } : {}),
      why: why === undefined || why.includes(taken) ? why ?? taken : `${why} (${taken})`,
      ...(outputs === undefined ? {} : { taken: outputs })
    })
  }
  return found
}
