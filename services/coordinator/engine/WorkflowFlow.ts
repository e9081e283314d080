/**
 * What the actions of the workflow states are made of: begin, trigger, TOPOLOGY, finish, pause, stop, recover. The table that says which of them an event means in
 * which state stands in `workflow-state/`. design/03 sections 4.1 and 5.
 *
 * Kept true here: a node is settled once (run, skipped, blocked or passed), and each that never runs has its reason in the journal; the end is looked for only
 * when no task is active; the result is chosen in the order of the table; after it nothing is left but `Finalize`.
 */
import type { StartData } from "../../../shared/protocol/Journal.ts"
import { formatDuration } from "../../../shared/protocol/Time.ts"
import { type EpochMs, priorityDefault, type TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { ArmTimer, Send } from "./EngineEffect.ts"
import { arm, cancel, timerOf } from "./EngineTimer.ts"
import * as Expression from "./Expression.ts"
import * as FanOut from "./FanOut.ts"
import * as Rendering from "./Rendering.ts"
import * as Semaphore from "./Semaphore.ts"
import * as Submission from "./Submission.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import { Mark } from "./TaskState.ts"
import type { Turn } from "./Turn.ts"
import { activeUnits } from "./Unit.ts"
import * as View from "./View.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import { nodeAt, type TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** Of a run that begins, or goes on, now. */
const deadlinesOf = (turn: Turn, start = turn.state.start): { readonly due?: EpochMs; readonly limit?: EpochMs } => {
  const { timeout } = turn.state.graph
  return {
    ...(timeout === undefined ? {} : { due: turn.at + timeout.afterMs }),
    ...(start?.runMaxMs === undefined ? {} : { limit: turn.at + start.runMaxMs })
  }
}

/** The timers of the workflow's time-out and of the system's maximum, for the run that is going on. */
export const deadlines = ({ limitAt, run, timeoutAt }: WorkflowState): ReadonlyArray<ArmTimer> => {
  const { limit, workflow } = timerOf
  return [
    ...(timeoutAt === undefined ? [] : [arm(workflow(run), timeoutAt, { _tag: "WORKFLOW_TIMEOUT", run })]),
    ...(limitAt === undefined
      ? []
      : [arm(limit(run), limitAt, { _tag: "WORKFLOW_TIMEOUT", run, limit: true })])
  ]
}

const armDeadlines = (turn: Turn): void => {
  turn.effects.push(...deadlines(turn.state))
}

/** First START: the run begins. */
export const begin = (turn: Turn, start: StartData): void => {
  const params = Rendering.workflowParams(turn.state, start, turn.at)
  const isBroken = params instanceof Expression.ExpressionProblem
  turn.apply({
    _tag: "STARTED",
    of: turn.of,
    ...deadlinesOf(turn, start),
    ...(isBroken || params === undefined ? {} : { params })
  })
  if (isBroken) return turn.publish({ _tag: "WORKFLOW_FAILED", reason: `spec.params: ${params.message}` })
  const problems = WorkflowExecutionGraph.problemsOfStart(turn.state.graph, start)
  if (problems.length > 0) {
    return turn.publish({ _tag: "WORKFLOW_FAILED", reason: problems.map((problem) => problem.message).join("; ") })
  }
  go(turn)
}

/** The parent asks for the child again: for an attempt that it has not begun for, it goes on; else it says where it stands. */
export const continueChild = (turn: Turn, task: TaskInstanceId): void => {
  const { endedAt, parent, status } = turn.state
  if (parent === undefined) return
  const mode = status === "PAUSED" ? "resume" : "recover"
  if (parent.task !== task) {
    turn.apply({ _tag: "PARENT", task })
    if (endedAt !== undefined && refusal(turn.state, mode) === undefined) return recover(turn, mode)
  }
  SubWorkflow.emitAll(turn, endedAt === undefined ? SubWorkflow.begun(turn.state) : SubWorkflow.ended(turn.state))
  if (endedAt !== undefined) finalize(turn)
}

/** The run begins, or waits for the slot of its serial definition. */
const go = (turn: Turn): void => {
  const { graph, run, serial, start } = turn.state
  if (graph.isSemaphore) return
  SubWorkflow.emitAll(turn, SubWorkflow.begun(turn.state))
  if (graph.serial === undefined || start?.dryRun === true) {
    armDeadlines(turn)
    return triggerAll(turn)
  }
  const ticket = Semaphore.ticketOfRun(run, turn.at)
  // Never the ticket before: a late answer to that would count for this one.
  turn.apply({ _tag: "SERIAL", ticket: serial?.startsWith(ticket) === true ? `${serial}+` : ticket })
  turn.effects.push(...serialAcquire(turn.state))
}

const serialMessage = (state: WorkflowState, event: Send["event"], verb: string): Send => ({
  _tag: "Send",
  id: `${verb}:${state.serial ?? ""}`,
  to: Semaphore.idOfDefinition(state.graph.namespace, state.graph.definition.name),
  from: state.instance,
  event
})

const modes = { wait: "wait", discard: "try", priority: "replace" } as const

export const serialAcquire = (state: WorkflowState): ReadonlyArray<Send> =>
  state.serial === undefined || state.graph.serial === undefined ? [] : [
    serialMessage(
      state,
      {
        _tag: "SLOT_ACQUIRE",
        from: state.instance,
        ticket: state.serial,
        slots: 1,
        // In the order in which they came: the order is what the strategy is about.
        priority: priorityDefault,
        mode: modes[state.graph.serial]
      },
      "acquire"
    )
  ]

/** As `TaskEffect.checks`. */
export const serialCheck = (state: WorkflowState): ReadonlyArray<Send> =>
  state.serial === undefined ? [] : [serialMessage(state, { _tag: "SLOT_CHECK", from: state.instance }, "check")]

export const serialRelease = (state: WorkflowState): ReadonlyArray<Send> =>
  state.serial === undefined
    ? []
    : [serialMessage(state, { _tag: "SLOT_RELEASE", from: state.instance, ticket: state.serial }, "release")]

/** START again of a run that waits for its slot: asks again. */
export const serialAgain = (turn: Turn): void => {
  turn.effects.push(...serialAcquire(turn.state))
}

export const slotGranted = (turn: Turn, ticket: string): void => {
  const { state } = turn
  if (state.serial === ticket && state.endedAt === undefined) {
    if (state.status !== "SERIAL_WAIT") return
    turn.apply({ _tag: "SERIAL_GRANTED", ...deadlinesOf(turn) })
    armDeadlines(turn)
    return triggerAll(turn)
  }
  turn.effects.push(...serialRelease({ ...state, serial: ticket }))
}

export const slotRefused = (turn: Turn, ticket: string): void => {
  const { state } = turn
  if (state.status !== "SERIAL_WAIT" || state.serial !== ticket) {
    turn.effects.push(...serialRelease({ ...state, serial: ticket }))
    return
  }
  rest(
    turn,
    "STOPPED",
    state.graph.serial === "discard"
      ? "another run of the definition is under way (serial-discard)"
      : "a newer run of the definition takes its place (serial-priority)"
  )
}

/** START of a run that is under way (a rebuild): what is ready is triggered, what is active looks after itself. */
export const rebuild = (turn: Turn): void => {
  const units = activeUnits(turn.state)
  armDeadlines(turn)
  triggerAll(turn)
  for (const unit of units) turn.publish({ _tag: "TASK_START", id: unit.execution.attempt.id })
}

const triggerAll = (turn: Turn): void => {
  const { graph, tasks } = turn.state
  if (tasks === graph.fresh) { for (const index of graph.startNodes) consider(turn, index) }
  else for (const index of graph.order) consider(turn, index)
  settleAll(turn)
  finish(turn)
}

const whyBlocked = (turn: Turn, node: TaskNode): string => {
  const failed: Array<string> = []
  for (const index of node.predecessors) {
    const before = nodeAt(turn.state.graph, index)
    const { marks } = turn.task(before)
    if ((marks & Mark.FailedChain) !== 0) failed.push(`${before.name} failed`)
    else if ((marks & Mark.Blocked) !== 0) failed.push(`${before.name} did not run`)
    if (failed.length === 3) break
  }
  return failed.length === 0 ? `no predecessor succeeded (join ${node.join})` : failed.join(", ")
}

/** Triggers, skips or blocks a node if it is its time. */
const consider = (turn: Turn, index: number): void => {
  const node = nodeAt(turn.state.graph, index)
  switch (WorkflowExecutionGraph.trigger(node, turn.task(node))) {
    case "wait":
      return
    case "skip":
      turn.apply({
        _tag: "SKIPPED",
        task: node.name,
        why: node.join === "one_failed" ? "no predecessor failed" : "all predecessors were skipped"
      })
      turn.settled.push(index)
      return
    case "block":
      turn.apply({ _tag: "BLOCKED", task: node.name, why: whyBlocked(turn, node) })
      turn.settled.push(index)
      return
    case "run":
      return triggerNode(turn, node)
  }
}

const triggerNode = (turn: Turn, node: TaskNode): void => {
  if (node.forbidden || turn.state.start?.dryRun === true) {
    turn.apply({ _tag: "PASSED", task: node.name, why: node.forbidden ? "forbidden" : "dry run" })
    turn.settled.push(node.index)
  } else if (node.forEach !== undefined) FanOut.start(turn, node)
  else Submission.submit(turn, node, -1)
}

/** Goes on behind nodes that were settled without running; a list, not a recursion: a chain may be as long as the definition. */
const settleAll = (turn: Turn): void => {
  const { settled } = turn
  for (let head = 0; head < settled.length; head++) {
    for (const next of nodeAt(turn.state.graph, settled[head] ?? 0).successors) consider(turn, next)
  }
  settled.length = 0
}

/** A task has ended: successors, or the end of the run. */
export const topology = (turn: Turn, name: string): void => {
  const { graph } = turn.state
  const index = graph.indexOf.get(name)
  if (index === undefined) return
  const node = nodeAt(graph, index)
  const task = turn.task(node)
  if ((task.marks & Mark.Active) === 0) return
  turn.apply({ _tag: "HANDLED", task: node.name })
  if (turn.state.ending || turn.state.resolved !== undefined) turn.settled.length = 0
  else {
    for (const next of node.successors) consider(turn, next)
    settleAll(turn)
  }
  finish(turn)
}

/** Looks for the end; only when no task is active. */
export const finish = (turn: Turn): void => {
  const { state } = turn
  if (state.active > 0) return
  if (state.resolved !== undefined) return conclude(turn, state.resolved.status, state.resolved.reason)
  if (state.partial !== undefined) return conclude(turn, ...partialVerdict(state, state.partial))
  const { graph } = state
  const isDry = state.start?.dryRun === true
  const [status, reason] = verdict(state)
  if (
    status === "SUCCEEDED" && graph.commit !== undefined && !isDry &&
    (turn.task(graph.commit).marks & Mark.Outside) !== 0
  ) {
    return Submission.submit(turn, graph.commit, -1)
  }
  if (
    (status === "FAILED" || status === "STOPPED") && graph.cleanup !== undefined && !isDry &&
    (turn.task(graph.cleanup).marks & Mark.Outside) !== 0
  ) {
    turn.apply({ _tag: "RESOLVED", status, ...(reason === undefined ? {} : { reason }) })
    return Submission.submit(turn, graph.cleanup, -1)
  }
  conclude(turn, status, reason)
}

type Rest = "PAUSED" | "STOPPED" | "FAILED" | "SUCCEEDED"

/** The result, in the order of design/03 section 4.1. */
const verdict = (state: WorkflowState): readonly [Rest, reason?: string] => {
  const failed = state.failedChains > 0
  const killed = state.killedChains > 0
  const paused = state.pausedChains > 0
  switch (state.status) {
    case "READY_PAUSE":
      if (paused) return ["PAUSED"]
      if (failed) return ["FAILED", whyFailed(state)]
      return killed ? ["STOPPED"] : ["SUCCEEDED"]
    case "READY_STOP":
      // A chain that was paused before the stop will not go on either.
      if (killed || (paused && !failed)) {
        return state.timedOut
          ? ["FAILED", state.reason ?? "the workflow timed out"]
          : ["STOPPED"]
      }
      return failed ? ["FAILED", whyFailed(state)] : ["SUCCEEDED"]
    default:
      if (failed) return ["FAILED", whyFailed(state)]
      if (killed) return ["STOPPED"]
      return paused ? ["PAUSED"] : ["SUCCEEDED"]
  }
}

/** Of a run of which only chosen tasks were run again: SUCCEEDED when nothing else of it is left to do. */
const partialVerdict = (
  state: WorkflowState,
  before: NonNullable<WorkflowState["partial"]>
): readonly [WorkflowState["status"], reason?: string] => {
  const [status, reason] = verdict(state)
  if (status !== "SUCCEEDED") return reason === undefined ? [status] : [status, reason]
  const isLeft = state.graph.order.some((index) =>
    (WorkflowExecutionGraph.taskState(state, index).marks & (Mark.Blocked | Mark.Held)) !== 0
  )
  return isLeft && before.status !== "SUCCEEDED"
    ? [before.status, "tasks behind the one that was run again have not run: recover runs them"]
    : ["SUCCEEDED"]
}

const whyFailed = (state: WorkflowState): string => {
  if (state.ending && state.reason !== undefined) return state.reason
  for (const node of state.graph.nodes) {
    const task = WorkflowExecutionGraph.taskState(state, node.index)
    if ((task.marks & Mark.FailedChain) !== 0) {
      return `task ${node.name} failed: ${task.execution?.attempt.reason ?? task.why ?? "no reason given"}`
    }
  }
  return "a task failed"
}

const conclude = (turn: Turn, status: WorkflowState["status"], reason: string | undefined): void => {
  const why = reason === undefined ? {} : { reason }
  switch (status) {
    case "PAUSED":
      return turn.publish({ _tag: "WORKFLOW_PAUSED" })
    case "STOPPED":
      return turn.publish({ _tag: "WORKFLOW_STOPPED", ...why })
    case "FAILED":
      return turn.publish({ _tag: "WORKFLOW_FAILED", ...why })
    default:
      return turn.publish({ _tag: "WORKFLOW_SUCCEED" })
  }
}

/** The run takes its result and rests. */
export const rest = (turn: Turn, status: Rest, reason: string | undefined): void => {
  const { limitAt, run, timeoutAt } = turn.state
  if (turn.state.active > 0) return
  if (timeoutAt !== undefined) turn.emit(cancel(timerOf.workflow(run)))
  if (limitAt !== undefined) turn.emit(cancel(timerOf.limit(run)))
  turn.effects.push(...serialRelease(turn.state))
  turn.apply({ _tag: "WORKFLOW", status, ...(reason === undefined ? {} : { reason }) })
  SubWorkflow.emitAll(turn, SubWorkflow.ended(turn.state))
  if (status === "FAILED") {
    turn.emit({
      _tag: "Alert",
      id: `alert:WorkflowFailed:${run}@${turn.at}`,
      kind: "WorkflowFailed",
      message: reason ?? "failed"
    })
  }
  turn.publish({ _tag: "WORKFLOW_FINALIZE" })
}

export const finalize = (turn: Turn): void => turn.emit(finalizeEffect(turn.state))

export const finalizeEffect = (state: WorkflowState) => {
  const replyTo = state.start?.replyTo
  return {
    _tag: "Finalize",
    id: `finalize:${state.run}@${state.endedAt ?? 0}`,
    run: state.run,
    result: View.result(state),
    ...(replyTo === undefined ? {} : { replyTo })
  } as const
}

/** Commands go to every task under way but the cleanup task, which always runs to its end. */
const toEachActive = (turn: Turn, tag: "TASK_PAUSE" | "TASK_KILL"): void => {
  for (const { execution, node } of activeUnits(turn.state)) {
    if (node.kind !== "cleanup") turn.publish({ _tag: tag, id: execution.attempt.id })
  }
}

export const pause = (turn: Turn, reason: string | undefined): void => {
  if (turn.state.resolved !== undefined) return
  turn.apply({ _tag: "WORKFLOW", status: "READY_PAUSE", ...(reason === undefined ? {} : { reason }) })
  toEachActive(turn, "TASK_PAUSE")
  finish(turn)
}

export const stop = (turn: Turn, reason: string | undefined): void => {
  if (turn.state.resolved !== undefined) return
  turn.apply({ _tag: "WORKFLOW", status: "READY_STOP", ...(reason === undefined ? {} : { reason }) })
  toEachActive(turn, "TASK_KILL")
  finish(turn)
}

/** STOP again: KILL again. */
export const stopAgain = (turn: Turn): void => {
  if (turn.state.resolved === undefined) toEachActive(turn, "TASK_KILL")
}

/** The workflow's time-out strikes, or (`isLimit`) the maximum that the system gives every run, which no definition can soften to a warning. */
export const timeout = (turn: Turn, run: number, isLimit: boolean): void => {
  if (isLimit) return runTooLong(turn, run)
  const { state } = turn
  const policy = state.graph.timeout
  if (policy === undefined || run !== state.run || state.timeoutAt === undefined) return
  const isStop = policy.fail && (state.status === "RUNNING" || state.status === "FAILOVER") &&
    state.resolved === undefined
  turn.apply({ _tag: "TIMED_OUT", fail: isStop })
  turn.emit({
    _tag: "Alert",
    id: `alert:WorkflowTimeout:${run}`,
    kind: "WorkflowTimeout",
    message: "the workflow takes longer than its time-out"
  })
  if (isStop) stop(turn, "the workflow timed out")
}

const runTooLong = (turn: Turn, run: number): void => {
  const { limitAt, resolved, start, status } = turn.state
  if (run !== turn.state.run || limitAt === undefined) return
  const isStop = (status === "RUNNING" || status === "READY_PAUSE" || status === "FAILOVER") && resolved === undefined
  const reason = `the run takes longer than the system's maximum of ${formatDuration(start?.runMaxMs ?? 0)}`
  turn.apply({ _tag: "TIMED_OUT", fail: isStop, limit: true })
  turn.emit({ _tag: "Alert", id: `alert:RunMax:${run}@${limitAt}`, kind: "WorkflowTimeout", message: reason })
  if (isStop) stop(turn, reason)
}

/** Resume, recover or rerun of a run that rests. */
export const recover = (turn: Turn, mode: "resume" | "recover" | "rerun"): void => {
  if (refusal(turn.state, mode) !== undefined) return
  turn.apply({ _tag: mode === "rerun" ? "RERUN" : "RECOVERED", of: turn.of, ...deadlinesOf(turn) })
  go(turn)
}

/** A failed task of a run that rests: recover then goes on behind it. */
export const forceSuccess = (turn: Turn, name: string): void => {
  if (refusalOfForce(turn.state, name) !== undefined) return
  const node = WorkflowExecutionGraph.nodeByName(turn.state, name)
  if (node === undefined) return
  turn.apply({ _tag: "FORCED_SUCCESS", task: node.name })
  finalize(turn)
}

export const refusalOfForce = (state: WorkflowState, name: string): string | undefined => {
  const node = WorkflowExecutionGraph.nodeByName(state, name)
  if (node === undefined) return noSuchTask(state, name)
  if (state.endedAt === undefined) return `the run is ${state.status}: wait until it rests`
  const { status } = WorkflowExecutionGraph.taskState(state, node.index)
  return status === "FAILED" || status === "KILLED"
    ? undefined
    : `task ${name} is ${status ?? "not run"}: only a FAILED or KILLED one can be forced to success`
}

const noSuchTask = (state: WorkflowState, name: string): string =>
  `${state.graph.definition.name}@${state.graph.definition.version} has no task ${name}`

/** One task of a run that has ended, again. */
export const runTask = (turn: Turn, name: string): void => {
  if (refusalOfRunTask(turn.state, name) !== undefined) return
  turn.apply({ _tag: "RUN_TASK", of: turn.of, ...deadlinesOf(turn) })
  go(turn)
}

export const refusalOfRunTask = (state: WorkflowState, name: string): string | undefined => {
  const node = WorkflowExecutionGraph.nodeByName(state, name)
  if (node === undefined || node.index >= state.graph.taskCount) return noSuchTask(state, name)
  if (!WorkflowExecutionGraph.isInside(state, node.index)) return `task ${name} is not part of this run`
  return state.status === "SUCCEEDED" || state.status === "FAILED" || state.status === "STOPPED"
    ? undefined
    : `the run is ${state.status}: only tasks of one that has ended can be run again`
}

/** What waits for a slot goes on without. */
export const forceStart = (turn: Turn, name: string): void => {
  for (const { execution, node } of activeUnits(turn.state)) {
    if (node.name === name && execution.attempt.slot === "waiting") {
      turn.publish({ _tag: "TASK_FORCE_START", id: execution.attempt.id })
    }
  }
}

export const refusalOfForceStart = (state: WorkflowState, name: string): string | undefined =>
  activeUnits(state).some(({ execution, node }) => node.name === name && execution.attempt.slot === "waiting")
    ? undefined
    : `task ${name} does not wait for a slot of a group`

/** Why a run can't be resumed, recovered or run again now. */
export const refusal = (state: WorkflowState, mode: "resume" | "recover" | "rerun"): string | undefined => {
  const { status } = state
  if (state.start === undefined) return "the run has not started"
  if (status !== "PAUSED" && status !== "STOPPED" && status !== "FAILED" && status !== "SUCCEEDED") {
    return `the run is ${status}: wait until it rests`
  }
  if (mode === "resume" && status !== "PAUSED") return `only a PAUSED run can be resumed; this one is ${status}`
  if (mode === "recover" && status === "SUCCEEDED") {
    return "the run has SUCCEEDED: there is nothing to recover; rerun it"
  }
  return undefined
}
