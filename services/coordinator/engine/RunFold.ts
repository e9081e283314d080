/**
 * The fold of how a run begins, ends and begins again: started, rerun, recovered, one task run again, abandoned. design/03 sections 2 and 4.1.
 *
 * Kept true here: what a run that goes on has done stays done, and what is behind a task that runs again runs again too; attempts go on counting, so no two of a run have
 * one id; nothing of how the last run ended is left in the one that begins.
 */
import type { StartData, Transition } from "../../../shared/protocol/Journal.ts"
import type { EpochMs } from "../../../shared/protocol/Token.ts"
import { finished, withoutDue } from "./AttemptFold.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import { initial } from "./Initial.ts"
import { type Execution, isEnded, type Items, Mark, type TaskState } from "./TaskState.ts"
import type { TurnContext } from "./TurnContext.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import { nodeAt, parsePool } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

type Of<Tag extends Transition["_tag"]> = Extract<Transition, { readonly _tag: Tag }>

/** The first run. */
export const started = (state: WorkflowState, transition: Of<"STARTED">, turn: TurnContext): WorkflowState => {
  const event = turn.cause[transition.of]
  if (event?._tag !== "WORKFLOW_START") throw new Error(`STARTED: cause ${transition.of} is no WORKFLOW_START`)
  const { start } = event
  const tasks = WorkflowExecutionGraph.table(state.graph, start)
  return {
    ...state,
    status: "RUNNING",
    run: 1,
    start,
    params: transition.params ??
      (start.params === undefined ? state.graph.params : { ...state.graph.params, ...start.params }),
    pool: start.pool === undefined ? state.graph.pool : parsePool(start.pool, state.graph.namespace),
    startedAt: turn.at,
    timeoutAt: transition.due,
    limitAt: transition.limit,
    parent: start.parent === undefined
      ? undefined
      : { instance: start.parent.instance, task: start.parent.task },
    tasks,
    withOutputs: outputsOfFork(tasks, start)
  }
}

/** All over again, with what it was started with. */
export const rerun = (state: WorkflowState, transition: Of<"RERUN">, turn: TurnContext): WorkflowState => {
  const tasks = state.start === undefined
    ? state.graph.fresh
    : WorkflowExecutionGraph.table(state.graph, state.start)
  return {
    ...initial(state.graph, state.instance, state.shard),
    status: "RUNNING",
    run: state.run + 1,
    start: state.start,
    params: state.params,
    pool: state.pool,
    startedAt: turn.at,
    timeoutAt: transition.due,
    limitAt: transition.limit,
    parent: state.parent,
    serial: state.serial,
    requests: state.requests,
    tasks,
    withOutputs: outputsOfFork(tasks, state.start)
  }
}

/** How many tasks a run begins with that have outputs. */
const outputsOfFork = (tasks: WorkflowState["tasks"], start: StartData | undefined): number =>
  start?.fork === undefined ? 0 : ChunkedVector.toArray(tasks).filter(hasOutputs).length

const hasOutputs = ({ execution, items, status, taken }: TaskState): boolean =>
  taken !== undefined ||
  (status === "SUCCEEDED" || status === "FORCED_SUCCESS") && (items !== undefined || execution?.outputs !== undefined)

const reopened = (items: Items): Items => ({ ...items, next: 0, active: 0, failed: 0, halted: 0 })
const highestAttempt = (items: Items | undefined): number => {
  let highest = 0
  for (const execution of items === undefined ? [] : ChunkedVector.toArray(items.executions)) {
    highest = Math.max(highest, execution?.attempt.n ?? 0)
  }
  return highest
}

/** When the time-out of a run that begins, or goes on, strikes, and when the system's maximum is over. */
interface Deadlines {
  readonly due?: EpochMs
  readonly limit?: EpochMs
}

/** The run goes on as one that has just begun: how the last one ended, or was about to, does not concern it. Nothing is under way. */
const begunAgain = (state: WorkflowState, { due, limit }: Deadlines): WorkflowState => ({
  ...state,
  status: "RUNNING",
  endedAt: undefined,
  reason: undefined,
  timeoutAt: due,
  limitAt: limit,
  timedOut: false,
  ending: false,
  resolved: undefined,
  partial: undefined,
  poisoned: false,
  active: 0
})

/** Everything of a run begins again; attempts of fan-outs go on counting where the old ones ended. */
export const recovered = (state: WorkflowState, deadlines: Deadlines): WorkflowState => {
  const { graph } = state
  const again = new Uint8Array(graph.nodes.length)
  const table: Array<TaskState> = []
  for (const index of graph.order) {
    const task = ChunkedVector.get(state.tasks, index)
    const halted = Mark.FailedChain | Mark.PausedChain | Mark.KilledChain | Mark.Blocked
    const fails = (task.marks & halted) !== 0 || (task.status === "FAILED" && (task.marks & Mark.Inactive) !== 0)
    // What a switch that stays did not take stays untaken.
    const stays = (task.marks & Mark.NotTaken) !== 0 &&
      nodeAt(graph, index).predecessors.some((p) => {
        const node = nodeAt(graph, p)
        return (node.kind === "switch" || node.kind === "condition") && node.branches.includes(index) && again[p] === 0
      })
    if (
      !stays && (fails || nodeAt(graph, index).predecessors.some((p) => again[p] === 1)) &&
      (task.marks & Mark.Outside) === 0
    ) again[index] = 1
  }
  let withOutputs = 0
  for (const node of graph.nodes) {
    const task = ChunkedVector.get(state.tasks, node.index)
    if (node.kind === "commit" || node.kind === "cleanup") {
      table.push({
        ...ChunkedVector.get(graph.fresh, node.index),
        ...(task.execution === undefined ? {} : { execution: task.execution })
      })
      continue
    }
    if ((task.marks & Mark.Outside) !== 0) {
      table.push(task)
      continue
    }
    let pending = 0
    let ok = 0
    let skipped = 0
    let failed = 0
    for (const p of node.predecessors) {
      const marks = ChunkedVector.get(state.tasks, p).marks
      if ((marks & Mark.Outside) !== 0) continue
      if (again[p] === 1 || (marks & Mark.Inactive) === 0) pending += 1
      else if ((marks & (Mark.FailedChain | Mark.Blocked)) !== 0) failed += 1
      else if ((marks & Mark.Skipped) !== 0) skipped += 1
      else ok += 1
    }
    const counts = { pending, ok, failed, skipped }
    if (again[node.index] === 0) {
      table.push({ ...task, ...counts, marks: task.marks & ~Mark.Held })
      if (hasOutputs(task)) withOutputs += 1
      continue
    }
    // A fan-out goes on with its list unless something before it runs again.
    const items = task.items !== undefined && !node.predecessors.some((p) => again[p] === 1)
      ? reopened(task.items)
      : undefined
    const floor = Math.max(task.attemptFloor ?? 0, highestAttempt(task.items))
    table.push({
      marks: 0,
      ...counts,
      ...(task.execution === undefined ? {} : { execution: task.execution }),
      ...(items === undefined ? {} : { items }),
      ...(floor === 0 ? {} : { attemptFloor: floor })
    })
  }
  return {
    ...begunAgain(state, deadlines),
    tasks: ChunkedVector.fromArray(table),
    failedChains: 0,
    pausedChains: 0,
    killedChains: 0,
    withOutputs
  }
}

/** Only the chosen tasks begin again, whatever is before them; all others stay as they are. */
const chosen = (
  state: WorkflowState,
  inside: ReadonlySet<number>,
  deadlines: Deadlines
): WorkflowState => {
  const { graph } = state
  const halted = Mark.FailedChain | Mark.PausedChain | Mark.KilledChain
  const count = { failed: 0, paused: 0, killed: 0 }
  const table: Array<TaskState> = []
  for (const node of graph.nodes) {
    const task = ChunkedVector.get(state.tasks, node.index)
    if (inside.has(node.index) && (task.marks & Mark.Outside) === 0) {
      const floor = Math.max(task.attemptFloor ?? 0, highestAttempt(task.items))
      table.push({
        marks: 0,
        pending: node.predecessors.filter((p) =>
          inside.has(p) && (ChunkedVector.get(state.tasks, p).marks & Mark.Outside) === 0
        ).length,
        ok: 0,
        failed: 0,
        skipped: 0,
        ...(task.execution === undefined ? {} : { execution: task.execution }),
        ...(floor === 0 ? {} : { attemptFloor: floor })
      })
      continue
    }
    if ((task.marks & Mark.FailedChain) !== 0) count.failed += 1
    if ((task.marks & Mark.PausedChain) !== 0) count.paused += 1
    if ((task.marks & Mark.KilledChain) !== 0) count.killed += 1
    const isUntouched = (task.marks & (Mark.Inactive | Mark.Outside | halted)) === 0
    table.push(isUntouched ? { ...task, marks: task.marks | Mark.Held } : task)
  }
  return {
    ...begunAgain(state, deadlines),
    partial: { status: state.status, ...(state.reason === undefined ? {} : { reason: state.reason }) },
    tasks: ChunkedVector.fromArray(table),
    failedChains: count.failed,
    pausedChains: count.paused,
    killedChains: count.killed,
    withOutputs: table.filter(hasOutputs).length
  }
}

/** One task of a run that rests, and with it what its `dependType` says. */
export const taskRunAgain = (state: WorkflowState, transition: Of<"RUN_TASK">, turn: TurnContext): WorkflowState => {
  const event = turn.cause[transition.of]
  if (event?._tag !== "WORKFLOW_RUN_TASK") {
    throw new Error(`RUN_TASK: cause ${transition.of} is no WORKFLOW_RUN_TASK`)
  }
  const { dependType = "TASK_ONLY", task } = event
  const inside = WorkflowExecutionGraph.reach(state.graph, { startNodes: [task], dependType })
  return chosen(state, inside, transition)
}

/** Everything under way has ended: nobody waits for it any more, and a recovered run begins it again. */
const abandoned = (state: WorkflowState, at: EpochMs): WorkflowState => {
  const killed = (execution: Execution): Execution =>
    isEnded(execution) ? execution : {
      ...execution,
      status: "KILLED",
      intent: "none",
      attempt: execution.status === "FAILED"
        ? withoutDue(execution.attempt)
        : finished(execution.attempt, "KILLED", undefined, at)
    }
  let { tasks } = state
  for (const node of state.graph.nodes) {
    const task = ChunkedVector.get(tasks, node.index)
    if ((task.marks & Mark.Active) === 0) continue
    const { execution, items, marks } = task
    tasks = ChunkedVector.set(tasks, node.index, {
      ...task,
      status: "KILLED",
      marks: (marks & ~Mark.Active) | Mark.Inactive | Mark.KilledChain,
      ...(execution === undefined ? {} : { execution: killed(execution) }),
      ...(items === undefined ? {} : {
        items: {
          ...items,
          active: 0,
          executions: ChunkedVector.fromArray(
            ChunkedVector.toArray(items.executions).map((one) => one === undefined ? undefined : killed(one))
          )
        }
      })
    })
  }
  return { ...state, tasks, active: 0, killedChains: state.killedChains + state.active }
}

/** A defect of the engine has ended it. */
export const poisoned = (state: WorkflowState, transition: Of<"POISONED">, turn: TurnContext): WorkflowState => ({
  ...(transition.abandons === true ? abandoned(state, turn.at) : state),
  status: "FAILED",
  poisoned: true,
  reason: transition.reason,
  endedAt: turn.at,
  timeoutAt: undefined,
  limitAt: undefined
})
