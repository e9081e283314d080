/**
 * The fold: what a transition makes of a state. Pure, and the only place where a state changes. design/03 section 2.
 *
 * Kept true here: no decision is taken (whether a task is retried, skipped or blocked stands in the transition), so that a journal means the same to every later
 * version; the cost of a transition is that of the task it names and, where its end is handled, of its own edges. A transition that does not fit the graph
 * throws: the journal belongs to another definition.
 */
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { Entry, LifecycleEvent, StartData, Transition } from "../../../shared/protocol/Journal.ts"
import type { EpochMs, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { TaskStatus } from "../../../shared/protocol/Workflow.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import { initial } from "./Initial.ts"
import * as Requests from "./Requests.ts"
import * as Semaphore from "./Semaphore.ts"
import { type Attempt, type Execution, isEnded, type Items, Mark, type TaskState } from "./TaskState.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import { nodeAt, parsePool, type TaskNode, type WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** The part of an entry that its transitions refer to: their time, and the causes whose payload they take over (`of`). */
export interface TurnContext {
  readonly at: EpochMs
  readonly cause: ReadonlyArray<LifecycleEvent>
}

/** Position of a fan-out item in the list: the last part of its attempt's id. -1 for a task that is none. */
export const itemOf = (node: TaskNode, id: TaskInstanceId): number =>
  node.forEach === undefined ? -1 : Number(id.slice(id.lastIndexOf(":") + 1))

/** The node that an attempt's id names. */
export const indexOf = (graph: WorkflowGraph, id: TaskInstanceId): number =>
  graph.indexOf.get(id.slice(0, id.indexOf(":"))) ?? -1

const requireNode = (graph: WorkflowGraph, name: string): TaskNode => {
  const index = graph.indexOf.get(name)
  if (index === undefined) {
    throw new Error(
      `the journal names the task ${name}, which ${graph.definition.name}@${graph.definition.version} does not have`
    )
  }
  return nodeAt(graph, index)
}

const requireExecution = (task: TaskState, item: number, id: TaskInstanceId): Execution => {
  const execution = item < 0
    ? task.execution
    : task.items === undefined
    ? undefined
    : ChunkedVector.get(task.items.executions, item)
  if (execution === undefined || execution.attempt.id !== id) {
    throw new Error(`the journal names the attempt ${id}, which is not its task's newest`)
  }
  return execution
}

const mark = (state: WorkflowState, index: number, task: TaskState): WorkflowState => ({
  ...state,
  tasks: ChunkedVector.set(state.tasks, index, task)
})

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

/** Puts an execution back after a change that does not end or begin it. */
const keep = (
  state: WorkflowState,
  node: TaskNode,
  task: TaskState,
  item: number,
  execution: Execution
): WorkflowState => {
  if (item < 0) return mark(state, node.index, { ...task, execution, status: execution.status })
  const items = task.items
  if (items === undefined) throw new Error(`${node.name} has no items`)
  return mark(state, node.index, {
    ...task,
    items: { ...items, executions: ChunkedVector.set(items.executions, item, execution) }
  })
}

/** As `keep`, for one that has ended. */
const end = (
  state: WorkflowState,
  node: TaskNode,
  task: TaskState,
  item: number,
  execution: Execution,
  as: "succeeded" | "failed" | "paused" | "killed"
): WorkflowState => {
  if (item >= 0) {
    const items = task.items
    if (items === undefined) throw new Error(`${node.name} has no items`)
    return mark(state, node.index, {
      ...task,
      items: {
        ...items,
        executions: ChunkedVector.set(items.executions, item, execution),
        active: items.active - 1,
        succeeded: as === "succeeded" ? items.succeeded + 1 : items.succeeded,
        failed: as === "failed" ? items.failed + 1 : items.failed,
        halted: as === "paused" || as === "killed" ? items.halted + 1 : items.halted
      }
    })
  }
  const bit = as === "succeeded" || (as === "failed" && WorkflowExecutionGraph.areAllSuccessorsConditions(state, node))
    ? 0
    : as === "failed"
    ? Mark.FailedChain
    : as === "paused"
    ? Mark.PausedChain
    : Mark.KilledChain
  return {
    ...state,
    tasks: ChunkedVector.set(state.tasks, node.index, {
      ...task,
      marks: task.marks | bit,
      status: execution.status,
      execution
    }),
    failedChains: bit === Mark.FailedChain ? state.failedChains + 1 : state.failedChains,
    pausedChains: bit === Mark.PausedChain ? state.pausedChains + 1 : state.pausedChains,
    killedChains: bit === Mark.KilledChain ? state.killedChains + 1 : state.killedChains,
    withOutputs: as === "succeeded" && execution.outputs !== undefined ? state.withOutputs + 1 : state.withOutputs
  }
}

const submitted = (state: WorkflowState, id: TaskInstanceId, at: EpochMs): WorkflowState => {
  const node = requireNode(state.graph, id.slice(0, id.indexOf(":")))
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = itemOf(node, id)
  const before = item < 0
    ? task.execution
    : task.items === undefined
    ? undefined
    : ChunkedVector.get(task.items.executions, item)
  const floor = task.attemptFloor ?? 0
  const execution: Execution = {
    attempt: {
      id,
      n: before === undefined ? floor + 1 : before.attempt.n + 1,
      status: "SUBMITTED",
      submittedAt: at
    },
    past: before === undefined ? noAttempts : [...before.past, before.attempt],
    status: "SUBMITTED",
    intent: "none",
    // A task that goes on after a failure has used up a retry; one that was paused, killed or lost has not.
    failures: before === undefined || (before.status === "FAILED" && isEnded(before)) ? 0 : before.failures
  }
  const isNew = (task.marks & Mark.Active) === 0
  const marks = (task.marks & ~Mark.Outside) | Mark.Active
  let next: TaskState
  if (item < 0) next = { ...task, marks, status: "SUBMITTED", execution }
  else {
    const items = task.items
    if (items === undefined) throw new Error(`${node.name} has no items`)
    const starts = before === undefined || isEnded(before)
    next = {
      ...task,
      marks,
      status: "RUNNING",
      items: {
        ...items,
        executions: ChunkedVector.set(items.executions, item, execution),
        next: starts ? item + 1 : items.next,
        active: starts ? items.active + 1 : items.active
      }
    }
  }
  return {
    ...state,
    tasks: ChunkedVector.set(state.tasks, node.index, next),
    active: isNew ? state.active + 1 : state.active
  }
}
const noAttempts: ReadonlyArray<Attempt> = []

/** The attempt's part of a final fact. */
const finished = (attempt: Attempt, status: TaskStatus, event: LifecycleEvent | undefined, at: EpochMs): Attempt => {
  const { context: _, due: __, slot: ___, ...rest } = attempt
  const fact = event !== undefined && "by" in event ? event : undefined
  const startedAt = fact !== undefined && "startedAt" in fact ? fact.startedAt : undefined
  const exitCode = fact !== undefined && "exitCode" in fact ? fact.exitCode : undefined
  return {
    ...rest,
    status,
    endedAt: fact?.by?.at ?? at,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(rest.executor === undefined && fact?.by !== undefined
      ? { executor: fact.by.executor, startup: fact.by.startup }
      : {})
  }
}

const withoutDue = (attempt: Attempt): Attempt => {
  const { due: _, ...rest } = attempt
  return rest
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
const recovered = (state: WorkflowState, deadlines: Deadlines): WorkflowState => {
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

export const evolve = (state: WorkflowState, transition: Transition, turn: TurnContext): WorkflowState => {
  switch (transition._tag) {
    case "STARTED": {
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
    case "RERUN": {
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
    case "RECOVERED":
      return recovered(state, transition)
    case "WORKFLOW": {
      const { reason, status } = transition
      const rests = status === "PAUSED" || status === "STOPPED" || status === "FAILED" || status === "SUCCEEDED"
      return {
        ...state,
        status,
        reason: reason ?? state.reason,
        endedAt: rests ? turn.at : undefined,
        timeoutAt: rests ? undefined : state.timeoutAt,
        limitAt: rests ? undefined : state.limitAt
      }
    }
    case "ENDING":
      return { ...state, ending: true, reason: transition.reason ?? state.reason }
    case "TIMED_OUT":
      // Both may strike: what the first has decided stays.
      return {
        ...state,
        timedOut: state.timedOut || transition.fail,
        ...(transition.limit === undefined ? { timeoutAt: undefined } : { limitAt: undefined })
      }
    case "RESOLVED":
      return {
        ...state,
        resolved: {
          status: transition.status,
          ...(transition.reason === undefined ? {} : { reason: transition.reason })
        }
      }
    case "POISONED":
      return {
        ...(transition.abandons === true ? abandoned(state, turn.at) : state),
        status: "FAILED",
        poisoned: true,
        reason: transition.reason,
        endedAt: turn.at,
        timeoutAt: undefined,
        limitAt: undefined
      }
    case "RUN_TASK": {
      const event = turn.cause[transition.of]
      if (event?._tag !== "WORKFLOW_RUN_TASK") {
        throw new Error(`RUN_TASK: cause ${transition.of} is no WORKFLOW_RUN_TASK`)
      }
      const { dependType = "TASK_ONLY", task } = event
      const inside = WorkflowExecutionGraph.reach(state.graph, { startNodes: [task], dependType })
      return chosen(state, inside, transition)
    }
    case "FORCED_SUCCESS": {
      const node = requireNode(state.graph, transition.task)
      const task = ChunkedVector.get(state.tasks, node.index)
      const { execution, marks } = task
      return {
        ...mark(state, node.index, {
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
    case "REQUESTED": {
      const event = turn.cause[transition.of]
      if (event === undefined) throw new Error(`REQUESTED: there is no cause ${transition.of}`)
      return { ...state, requests: Requests.remember(state.requests, event) }
    }
    case "PARENT":
      return state.parent === undefined
        ? state
        : { ...state, parent: { instance: state.parent.instance, task: transition.task } }
    case "SERIAL":
      return { ...state, status: "SERIAL_WAIT", serial: transition.ticket, timeoutAt: undefined, limitAt: undefined }
    case "SERIAL_GRANTED":
      return { ...state, status: "RUNNING", timeoutAt: transition.due, limitAt: transition.limit }
    case "SLOT_QUEUED":
    case "SLOT_GIVEN":
    case "SLOT_REFUSED":
    case "SLOT_FREED":
    case "SLOT_LIMITED":
    case "SLOT_MOVED":
      return { ...state, semaphore: Semaphore.evolve(state.semaphore ?? Semaphore.empty, transition, turn.cause) }
    case "HANDLED": {
      const node = requireNode(state.graph, transition.task)
      const task = ChunkedVector.get(state.tasks, node.index)
      const marks = (task.marks & ~Mark.Active) | Mark.Inactive
      return {
        ...state,
        tasks: tell(ChunkedVector.set(state.tasks, node.index, { ...task, marks }), node, marks),
        active: state.active - 1
      }
    }
    case "SKIPPED":
      return settle(
        state,
        requireNode(state.graph, transition.task),
        transition.notTaken === undefined ? Mark.Skipped : Mark.Skipped | Mark.NotTaken,
        transition.why
      )
    case "BLOCKED":
      return settle(state, requireNode(state.graph, transition.task), Mark.Blocked, transition.why)
    case "PASSED": {
      const node = requireNode(state.graph, transition.task)
      return settle(state, node, Mark.Passed, transition.why, node.forbidden ? undefined : "SUCCEEDED")
    }
    case "SUBMITTED":
      return submitted(state, transition.id, turn.at)
    case "ITEMS": {
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
    case "FANNED_IN": {
      const node = requireNode(state.graph, transition.task)
      const task = ChunkedVector.get(state.tasks, node.index)
      const { reason, status } = transition
      const bit = status === "SUCCEEDED" ||
          (status === "FAILED" && WorkflowExecutionGraph.areAllSuccessorsConditions(state, node))
        ? 0
        : status === "FAILED"
        ? Mark.FailedChain
        : status === "PAUSED"
        ? Mark.PausedChain
        : Mark.KilledChain
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
    default:
      return evolveAttempt(state, transition, turn)
  }
}

type AttemptTransition = Extract<Transition, { readonly id: TaskInstanceId }>

/** Transitions of one attempt that exists. */
const evolveAttempt = (
  state: WorkflowState,
  transition: Exclude<AttemptTransition, { readonly _tag: "SUBMITTED" }>,
  turn: TurnContext
): WorkflowState => {
  const { id } = transition
  const node = requireNode(state.graph, id.slice(0, id.indexOf(":")))
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = itemOf(node, id)
  const execution = requireExecution(task, item, id)
  const { attempt } = execution
  switch (transition._tag) {
    case "SLOT":
      return keep(state, node, task, item, {
        ...execution,
        attempt: {
          ...attempt,
          slot: transition.slot,
          ...(transition.slot === "waiting" ? {} : { slotAt: turn.at })
        }
      })
    case "DELAYED":
      return keep(state, node, task, item, {
        ...execution,
        status: "DELAY_EXECUTION",
        attempt: { ...attempt, status: "DELAY_EXECUTION", due: transition.due }
      })
    case "ENQUEUED":
      return keep(state, node, task, item, {
        ...execution,
        status: "SUBMITTED",
        attempt: { ...withoutDue(attempt), status: "SUBMITTED" }
      })
    case "DISPATCHED": {
      const event = turn.cause[transition.of]
      const placement = event?._tag === "TASK_DISPATCHED"
        ? event.placement
        : event !== undefined && "id" in event
        ? placementOf(state, event.id)
        : undefined
      if (placement === undefined) throw new Error(`DISPATCHED: cause ${transition.of} holds no placement`)
      const next = keep(state, node, task, item, {
        ...execution,
        status: "DISPATCHED",
        attempt: {
          ...withoutDue(attempt),
          status: "DISPATCHED",
          dispatchedAt: turn.at,
          executor: placement.executor,
          startup: placement.startup,
          placement,
          ...(transition.due === undefined ? {} : { timeoutAt: transition.due })
        }
      })
      return transition.handOff === undefined || event === undefined || !("id" in event)
        ? next
        : handOver(next, event.id, id)
    }
    case "BEGUN":
      return keep(state, node, task, item, {
        ...execution,
        status: "RUNNING",
        attempt: {
          ...withoutDue(attempt),
          status: "RUNNING",
          startedAt: turn.at,
          ...(transition.due === undefined ? {} : { timeoutAt: transition.due })
        }
      })
    case "CHILD":
      return keep(state, node, task, item, {
        ...execution,
        status: "DISPATCHED",
        attempt: {
          ...withoutDue(attempt),
          status: "DISPATCHED",
          dispatchedAt: turn.at,
          child: transition.child,
          ...(transition.due === undefined ? {} : { timeoutAt: transition.due })
        }
      })
    case "RUNNING": {
      const event = turn.cause[transition.of]
      const by = event !== undefined && "by" in event ? event.by : undefined
      return keep(state, node, task, item, {
        ...execution,
        status: "RUNNING",
        attempt: {
          ...withoutDue(attempt),
          status: "RUNNING",
          startedAt: attempt.startedAt ?? by?.at ?? turn.at,
          ...(attempt.executor === undefined && by !== undefined ? { executor: by.executor, startup: by.startup } : {}),
          ...(transition.due === undefined ? {} : { timeoutAt: transition.due })
        }
      })
    }
    case "CONTEXT": {
      const event = turn.cause[transition.of]
      if (event?._tag !== "TASK_RUNTIME_CONTEXT_CHANGED") {
        throw new Error(`CONTEXT: cause ${transition.of} holds no context`)
      }
      return keep(state, node, task, item, {
        ...execution,
        attempt: {
          ...attempt,
          context: event.context,
          ...(event.by === undefined ? {} : { sequence: event.by.sequence })
        }
      })
    }
    case "INTENT":
      return keep(state, node, task, item, {
        ...execution,
        intent: transition.intent,
        attempt: transition.timedOut === undefined ? attempt : { ...attempt, timedOut: true }
      })
    case "WARNED":
      return keep(state, node, task, item, { ...execution, attempt: { ...attempt, warned: true } })
    case "SUCCEEDED": {
      const event = transition.of === undefined ? undefined : turn.cause[transition.of]
      const outputs = transition.outputs ?? (event?._tag === "TASK_SUCCEEDED" ? event.outputs : undefined)
      const next: Execution = {
        ...execution,
        status: "SUCCEEDED",
        intent: "none",
        attempt: finished(attempt, "SUCCEEDED", event, turn.at),
        ...(outputs === undefined || isEmpty(outputs) ? {} : { outputs })
      }
      return end(state, node, task, item, next, "succeeded")
    }
    case "FAILED": {
      const event = transition.of === undefined ? undefined : turn.cause[transition.of]
      const reason = transition.reason ?? (event !== undefined && "reason" in event ? event.reason : undefined)
      const ended = finished(attempt, "FAILED", event, turn.at)
      const next: Execution = {
        ...execution,
        status: "FAILED",
        intent: "none",
        failures: execution.failures + 1,
        attempt: {
          ...ended,
          ...(reason === undefined ? {} : { reason }),
          ...(transition.due === undefined ? {} : { due: transition.due })
        }
      }
      return transition.due === undefined
        ? end(state, node, task, item, next, "failed")
        : keep(state, node, task, item, next)
    }
    case "KILLED":
    case "PAUSED": {
      const event = transition.of === undefined ? undefined : turn.cause[transition.of]
      // A task that waited for its retry keeps the attempt that failed.
      const next: Execution = {
        ...execution,
        status: transition._tag,
        intent: "none",
        attempt: execution.status === "FAILED"
          ? withoutDue(attempt)
          : finished(attempt, transition._tag, event, turn.at)
      }
      return end(state, node, task, item, next, transition._tag === "KILLED" ? "killed" : "paused")
    }
    case "FAILOVER":
      return keep(state, node, task, item, {
        ...execution,
        status: "FAILOVER",
        intent: "none",
        attempt: { ...finished(attempt, "FAILOVER", undefined, turn.at), reason: transition.reason }
      })
  }
}

const isEmpty = (outputs: Readonly<Record<string, unknown>>): boolean => {
  for (const _ in outputs) return false
  return true
}

/** Where an attempt was (or is) placed. */
const placementOf = (state: WorkflowState, id: TaskInstanceId): Placement | undefined => {
  const node = requireNode(state.graph, id.slice(0, id.indexOf(":")))
  return requireExecution(ChunkedVector.get(state.tasks, node.index), itemOf(node, id), id).attempt.placement
}

/** Notes at the attempt that had the sandbox which one got it. */
const handOver = (state: WorkflowState, from: TaskInstanceId, next: TaskInstanceId): WorkflowState => {
  const node = requireNode(state.graph, from.slice(0, from.indexOf(":")))
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = itemOf(node, from)
  const execution = requireExecution(task, item, from)
  return keep(state, node, task, item, {
    ...execution,
    attempt: { ...execution.attempt, next: [...execution.attempt.next ?? [], next] }
  })
}

/** `evolve` over all transitions of one entry. */
export const foldEntry = (state: WorkflowState, entry: Pick<Entry, "at" | "cause" | "transitions">): WorkflowState => {
  let next = state
  for (const transition of entry.transitions) next = evolve(next, transition, entry)
  return next
}
