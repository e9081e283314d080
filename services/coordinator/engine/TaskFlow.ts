/**
 * What the actions of the task states are made of: start, dispatch, place, end, retry, pause, kill, fail over. The table that says which of them an event means in
 * which state stands in `task-state/`. design/03 section 4.2.
 *
 * Kept true here: a task is active from its first attempt to its TOPOLOGY event; an attempt that ends leaves no timer; a command that the executor has not confirmed is an
 * intent in the state; what is random elsewhere (the jitter of a retry) is derived from ids, so that `verify` gets the same.
 */
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { poolKey } from "../../../shared/protocol/Sandbox.ts"
import { fnv1a } from "../../../shared/protocol/Shard.ts"
import { formatDuration } from "../../../shared/protocol/Time.ts"
import type { EpochMs, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as Branching from "./Branching.ts"
import * as Dependent from "./Dependent.ts"
import type { Control } from "./EngineEffect.ts"
import { arm, cancel, timerOf } from "./EngineTimer.ts"
import * as FailureStrategy from "./FailureStrategy.ts"
import * as FanOut from "./FanOut.ts"
import * as Rendering from "./Rendering.ts"
import * as Submission from "./Submission.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import * as TaskEffect from "./TaskEffect.ts"
import { type Execution, Mark } from "./TaskState.ts"
import type { Turn } from "./Turn.ts"
import { executionOf, type Unit } from "./Unit.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import type { RetryPolicy } from "./WorkflowGraph.ts"

const control = (turn: Turn, kind: Control["_tag"], unit: Unit): void => {
  const effect = TaskEffect.control(turn.state, kind, unit)
  if (effect !== undefined) turn.emit(effect)
}

// ---- times

/** Wait before the retry after `failures` failures (1, 2, ...). Jitter: within a fifth, from the hash of the ids. */
export const retryIntervalMs = (policy: RetryPolicy, failures: number, seed: string): number => {
  const grown = policy.exponential ? policy.intervalMs * 2 ** Math.min(failures - 1, 40) : policy.intervalMs
  const interval = Math.min(grown, policy.intervalMaxMs)
  return Math.round(policy.jitter ? interval * (0.8 + 0.4 * (fnv1a(seed) / 0x1_0000_0000)) : interval)
}

/** What an attempt that ends would leave behind. */
const cancelTimers = (turn: Turn, { execution, node }: Unit): void => {
  const { attempt, status } = execution
  if (status === "DELAY_EXECUTION") turn.emit(cancel(timerOf.delay(attempt.id)))
  else if (status === "SUBMITTED") {
    if (node.dispatchTimeoutMs !== undefined) turn.emit(cancel(timerOf.dispatch(attempt.id)))
  } else if (status === "FAILED") {
    if (attempt.due !== undefined) turn.emit(cancel(timerOf.retry(attempt.id)))
  } else if (attempt.timeoutAt !== undefined && attempt.timedOut === undefined && attempt.warned === undefined) {
    turn.emit(cancel(timerOf.run(attempt.id)))
  }
}

// ---- begin

export const start = (turn: Turn, unit: Unit): void => {
  if (Submission.isHalting(turn, unit.node)) killed(turn, unit, undefined)
  else if (Submission.isPausing(turn, unit.node)) paused(turn, unit, undefined)
  else if (unit.node.group !== undefined && unit.execution.attempt.slot === undefined) {
    turn.apply({ _tag: "SLOT", id: unit.execution.attempt.id, slot: "waiting" })
    turn.emit(TaskEffect.acquire(turn.state, unit))
  } else if (unit.execution.attempt.slot === "waiting") turn.emit(TaskEffect.acquire(turn.state, unit))
  else turn.publish({ _tag: "TASK_DISPATCH", id: unit.execution.attempt.id })
}

// ---- slots of a concurrency group

/** The attempt ends, or no longer waits. */
export const releaseSlot = (turn: Turn, { execution, node }: Unit): void => {
  if (execution.attempt.slot !== undefined) {
    turn.emit(TaskEffect.release(turn.state, node, execution.attempt.id))
  }
}

/** A slot for an attempt that has no use for it. */
export const giveBackSlot = (turn: Turn, id: TaskInstanceId): void => {
  const node = WorkflowExecutionGraph.nodeById(turn.state, id)
  if (node?.group !== undefined) turn.emit(TaskEffect.release(turn.state, node, id))
}

export const slotGranted = (turn: Turn, { execution }: Unit): void => {
  const { id, slot } = execution.attempt
  if (slot === "held") return
  if (slot !== "waiting") return giveBackSlot(turn, id)
  turn.apply({ _tag: "SLOT", id, slot: "held" })
  turn.publish({ _tag: "TASK_DISPATCH", id })
}

/** Goes on without a slot. */
export const forceStart = (turn: Turn, unit: Unit): void => {
  const { id, slot } = unit.execution.attempt
  if (slot !== "waiting") return
  releaseSlot(turn, unit)
  turn.apply({ _tag: "SLOT", id, slot: "forced" })
  turn.publish({ _tag: "TASK_DISPATCH", id })
}

const waitsForSlot = ({ execution }: Unit): boolean => execution.attempt.slot === "waiting"

/** Delay, then the lane (or a sandbox that the fact being handled offers). A switch is decided here. */
export const dispatch = (turn: Turn, unit: Unit): void => {
  if (waitsForSlot(unit)) return
  const { execution, item, node } = unit
  const { id } = execution.attempt
  if (node.delayMs > 0) {
    const due = TaskEffect.delayEnd(node, execution)
    if (due > turn.at) {
      if (execution.attempt.due !== due) turn.apply({ _tag: "DELAYED", id, due })
      turn.emit(arm(timerOf.delay(id), due, { _tag: "TASK_DISPATCH", id }))
      return
    }
  }
  if (execution.status === "DELAY_EXECUTION") turn.apply({ _tag: "ENQUEUED", id })
  if (node.kind === "switch") return Branching.decideSwitch(turn, unit)
  if (node.condition !== undefined) return Branching.decideCondition(turn, unit, node.condition)
  const problem = Rendering.problem(turn.state, node, item)
  if (problem !== undefined) return turn.publish({ _tag: "TASK_FATAL", id, reason: problem })
  if (node.kind === "sub-workflow") return startChild(turn, unit)
  if (node.kind === "dependent") return askOthers(turn, unit)
  const pool = TaskEffect.poolOf(turn.state, node)
  const { offer } = turn
  if (
    offer !== undefined && item < 0 && node.lane === "ready" && offer.placement.pool.name === pool.name &&
    offer.placement.pool.namespace === pool.namespace && (offer.type === undefined || offer.type === node.type)
  ) {
    if (--offer.left === 0) turn.offer = undefined
    turn.apply({ _tag: "DISPATCHED", id, of: turn.of, handOff: true, ...runDue(turn, unit) })
    return armRunTimer(turn, unit)
  }
  turn.emit(TaskEffect.dispatch(turn.state, unit, turn.at))
  const due = TaskEffect.dispatchDue(node, execution)
  if (due !== undefined) turn.emit(arm(timerOf.dispatch(id), due, { _tag: "TASK_TIMEOUT", id, kind: "dispatch" }))
}

/** The child has its id in the journal before it is asked for. */
const startChild = (turn: Turn, unit: Unit): void => {
  const { execution, item, node } = unit
  const { id } = execution.attempt
  const request = SubWorkflow.request(turn.state, unit)
  if (typeof request === "string") return turn.publish({ _tag: "TASK_FATAL", id, reason: request })
  turn.apply({ _tag: "CHILD", id, child: SubWorkflow.childOf(turn.state, unit), ...runDue(turn, unit) })
  const begun = executionOf(turn.task(node), item)
  if (begun !== undefined) control(turn, "Ask", { node, item, execution: begun })
  armRunTimer(turn, unit)
}

const askOthers = (turn: Turn, unit: Unit): void => {
  const { id } = unit.execution.attempt
  const question = Dependent.question(turn.state, unit)
  if (typeof question === "string") return turn.publish({ _tag: "TASK_FATAL", id, reason: question })
  turn.apply({ _tag: "BEGUN", id, ...runDue(turn, unit) })
  control(turn, "Ask", unit)
  armRunTimer(turn, unit)
}

// ---- under way

const runDue = (turn: Turn, { execution, node }: Unit): { readonly due?: EpochMs } =>
  node.timeout === undefined || execution.attempt.timeoutAt !== undefined ? {} : { due: turn.at + node.timeout.afterMs }

const armRunTimer = (turn: Turn, { execution, node }: Unit): void => {
  if (node.timeout === undefined || execution.attempt.timeoutAt !== undefined) return
  const { id } = execution.attempt
  turn.emit(arm(timerOf.run(id), turn.at + node.timeout.afterMs, { _tag: "TASK_TIMEOUT", id, kind: "run" }))
}

/** Registered with an executor. */
export const placed = (turn: Turn, unit: Unit): void => {
  if (waitsForSlot(unit)) return
  cancelTimers(turn, unit)
  turn.apply({ _tag: "DISPATCHED", id: unit.execution.attempt.id, of: turn.of, ...runDue(turn, unit) })
  armRunTimer(turn, unit)
}

export const running = (turn: Turn, unit: Unit): void => {
  if (waitsForSlot(unit)) return
  leaveLane(turn, unit, turn.cause[turn.of])
  if (unit.execution.status !== "DISPATCHED") cancelTimers(turn, unit)
  turn.apply({ _tag: "RUNNING", id: unit.execution.attempt.id, of: turn.of, ...runDue(turn, unit) })
  armRunTimer(turn, unit)
  // A child may begin after it was told to stop: told again.
  const { attempt: { child }, intent } = unit.execution
  if (child !== undefined && intent !== "none") control(turn, intent === "kill" ? "Kill" : "Pause", unit)
}

/** Keeps the context with the highest sequence. */
export const contextChanged = (turn: Turn, unit: Unit, sequence: number | undefined): void => {
  if (sequence !== undefined && sequence <= (unit.execution.attempt.sequence ?? 0)) return
  turn.apply({ _tag: "CONTEXT", id: unit.execution.attempt.id, of: turn.of })
}

// ---- end

/** The fact is taken: the sandbox it offers may be used. */
const takeOffer = (turn: Turn, { execution, node }: Unit, event: LifecycleEvent | undefined): void => {
  if (event !== undefined && "offer" in event && event.offer !== undefined && event.offer > 0) {
    const { placement } = execution.attempt
    const isTogether = event.together === true
    turn.offer = placement === undefined
      ? undefined
      : { placement, type: isTogether ? node.type : undefined, left: isTogether ? event.offer : 1 }
  }
}

/** A fact overtook the registration: the lane entry is done with (whoever takes it is refused). */
const leaveLane = (turn: Turn, unit: Unit, event: LifecycleEvent | undefined): void => {
  if (
    unit.execution.status === "SUBMITTED" && !waitsForSlot(unit) && event !== undefined && "by" in event &&
    event.by !== undefined
  ) {
    turn.emit(TaskEffect.withdraw(turn.state, unit))
  }
}

const ended = (turn: Turn, { item, node }: Unit): void => {
  if (item < 0) turn.publish({ _tag: "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", task: node.name })
  else FanOut.goOn(turn, node)
}

export const succeeded = (
  turn: Turn,
  unit: Unit,
  event: Extract<LifecycleEvent, { readonly _tag: "TASK_SUCCEEDED" }>
): void => {
  const { execution, node } = unit
  takeOffer(turn, unit, event)
  leaveLane(turn, unit, event)
  cancelTimers(turn, unit)
  releaseSlot(turn, unit)
  turn.apply({ _tag: "SUCCEEDED", id: execution.attempt.id, ...(turn.from(event) ?? { outputs: event.outputs }) })
  Branching.skipOthers(turn, node, event.outputs["branch"])
  ended(turn, unit)
}

/** `retriable`: FAILED; not: FATAL. */
export const failed = (
  turn: Turn,
  unit: Unit,
  event: LifecycleEvent | undefined,
  reason: string,
  retriable: boolean
): void => {
  const { execution, node } = unit
  const { id } = execution.attempt
  takeOffer(turn, unit, event)
  leaveLane(turn, unit, event)
  cancelTimers(turn, unit)
  releaseSlot(turn, unit)
  const from = event === undefined ? undefined : turn.from(event)
  // The fact's own reason is in the journal already.
  const isOwn = from !== undefined && event !== undefined && "reason" in event && event.reason === reason
  const payload = { ...from, ...(isOwn ? {} : { reason }) }
  if (retriable && execution.failures < node.retry.times && execution.status !== "FAILED") {
    const due = turn.at + retryIntervalMs(node.retry, execution.failures + 1, `${turn.state.instance}/${id}`)
    turn.apply({ _tag: "FAILED", id, ...payload, due })
    turn.emit(arm(timerOf.retry(id), due, { _tag: "TASK_RETRY", id }))
    if (Submission.isHalting(turn, node)) turn.publish({ _tag: "TASK_KILL", id })
    else if (Submission.isPausing(turn, node)) turn.publish({ _tag: "TASK_PAUSE", id })
    return
  }
  turn.apply({ _tag: "FAILED", id, ...payload })
  FailureStrategy.failed(turn, node, reason)
  ended(turn, unit)
}

export const killed = (turn: Turn, unit: Unit, event: LifecycleEvent | undefined): void => {
  const { execution, node } = unit
  if (execution.attempt.timedOut !== undefined && execution.status !== "FAILED") {
    return failed(turn, unit, event, `timed out after ${formatDuration(node.timeout?.afterMs ?? 0)}`, true)
  }
  takeOffer(turn, unit, event)
  leaveLane(turn, unit, event)
  cancelTimers(turn, unit)
  releaseSlot(turn, unit)
  turn.apply({ _tag: "KILLED", id: execution.attempt.id, ...(event === undefined ? undefined : turn.from(event)) })
  ended(turn, unit)
}

export const paused = (turn: Turn, unit: Unit, event: LifecycleEvent | undefined): void => {
  takeOffer(turn, unit, event)
  leaveLane(turn, unit, event)
  cancelTimers(turn, unit)
  releaseSlot(turn, unit)
  turn.apply({ _tag: "PAUSED", id: unit.execution.attempt.id, ...(event === undefined ? undefined : turn.from(event)) })
  ended(turn, unit)
}

// ---- commands

/** A task that no executor has: off the lane, and KILLED or PAUSED at once. Registration refuses it from here on. */
export const withdraw = (turn: Turn, unit: Unit, as: "kill" | "pause"): void => {
  if (unit.execution.status === "SUBMITTED" && !waitsForSlot(unit) && TaskEffect.isOnLane(unit.node)) {
    turn.emit(TaskEffect.withdraw(turn.state, unit))
  }
  if (as === "kill") killed(turn, unit, undefined)
  else paused(turn, unit, undefined)
}

/** A task that an executor has: the command is an intent until the executor's fact arrives. Again: sent again. A kill is never weakened to a pause. */
export const intend = (turn: Turn, unit: Unit, intent: "kill" | "pause"): void => {
  const { execution } = unit
  if (intent === "pause" && execution.intent === "kill") return
  // Nobody has to be told: the answer comes too late.
  if (unit.node.kind === "dependent") {
    return intent === "kill" ? killed(turn, unit, undefined) : paused(turn, unit, undefined)
  }
  if (execution.intent !== intent) turn.apply({ _tag: "INTENT", id: execution.attempt.id, intent })
  control(turn, intent === "kill" ? "Kill" : "Pause", unit)
}

export const retry = (turn: Turn, unit: Unit): void => Submission.submit(turn, unit.node, unit.item)

export const timedOut = (turn: Turn, unit: Unit, kind: "dispatch" | "run"): void => {
  const { execution, node } = unit
  const { id } = execution.attempt
  const isPlaced = node.kind !== "dependent" && (execution.status === "DISPATCHED" || execution.status === "RUNNING")
  if (kind === "dispatch") {
    if (execution.status !== "SUBMITTED" || waitsForSlot(unit) || node.dispatchTimeoutMs === undefined) return
    turn.emit(TaskEffect.withdraw(turn.state, unit))
    return failed(
      turn,
      unit,
      undefined,
      `no executor of pool ${poolKey(TaskEffect.poolOf(turn.state, node))} took it within ${
        formatDuration(node.dispatchTimeoutMs)
      }`,
      true
    )
  }
  const { timeout } = node
  if (timeout === undefined || execution.attempt.timedOut !== undefined || execution.attempt.warned !== undefined) {
    return
  }
  const message = `task ${node.name} takes longer than ${formatDuration(timeout.afterMs)}`
  if (timeout.warn) {
    turn.emit({ _tag: "Alert", id: `alert:TaskTimeout:${id}`, kind: "TaskTimeout", task: node.name, message })
  }
  if (!timeout.fail) return turn.apply({ _tag: "WARNED", id })
  if (!isPlaced) {
    if (execution.status === "SUBMITTED" && !waitsForSlot(unit)) turn.emit(TaskEffect.withdraw(turn.state, unit))
    return failed(turn, unit, undefined, `timed out after ${formatDuration(timeout.afterMs)}`, true)
  }
  turn.apply({ _tag: "INTENT", id, intent: "kill", timedOut: true })
  control(turn, "Kill", unit)
}

/** Attempts of a task that may be lost one after the other: the next such loss is its end, retries or not. */
export const failoversMax = 10

const failoversInARow = ({ past }: Execution): number => {
  let n = 0
  while (n < past.length && past[past.length - 1 - n]?.status === "FAILOVER") n += 1
  return n
}

/** Asks the executor whether it has the task; when it is known to be lost, settles its intent or makes a new attempt. */
export const failover = (turn: Turn, unit: Unit, lost: boolean, reason: string): void => {
  const { execution, item, node } = unit
  if (!lost) return control(turn, "Ask", unit)
  if (execution.intent === "kill") return killed(turn, unit, undefined)
  if (execution.intent === "pause") return paused(turn, unit, undefined)
  if (failoversInARow(execution) >= failoversMax) {
    return failed(turn, unit, undefined, `lost ${failoversMax + 1} times in a row, the last time: ${reason}`, false)
  }
  cancelTimers(turn, unit)
  releaseSlot(turn, unit)
  turn.apply({ _tag: "FAILOVER", id: execution.attempt.id, reason })
  Submission.submit(turn, node, item)
}

/** A rebuild meets a task that has ended but whose TOPOLOGY event was not handled. */
export const replayChain = (turn: Turn, { item, node }: Unit): void => {
  if (item < 0 && (turn.task(node).marks & Mark.Active) !== 0) {
    turn.publish({ _tag: "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", task: node.name })
  }
}

/** The retry timer again, with the time that is left. */
export const rearmRetry = (turn: Turn, { execution }: Unit): void => {
  const { due, id } = execution.attempt
  if (due !== undefined) turn.emit(arm(timerOf.retry(id), due, { _tag: "TASK_RETRY", id }))
}
