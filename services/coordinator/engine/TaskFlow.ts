/**
 * What the actions of the task states are made of: submit, dispatch, place, end, retry, pause, kill, fail over. The table that says which of them an event means in
 * which state stands in `task-state/`. design/03 section 4.2.
 *
 * Kept true here: a task is active from `submit` to its TOPOLOGY event; an attempt that ends leaves no timer; a command that the executor has not confirmed is an
 * intent in the state; what is random elsewhere (the jitter of a retry) is derived from ids, so that `verify` gets the same.
 */
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { InboundEntry } from "../../../shared/protocol/Lane.ts"
import { poolKey, type PoolRef } from "../../../shared/protocol/Sandbox.ts"
import { fnv1a } from "../../../shared/protocol/Shard.ts"
import { formatDuration } from "../../../shared/protocol/Time.ts"
import { type EpochMs, priorityDefault, type TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as AttemptId from "./AttemptId.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Condition from "./Condition.ts"
import * as Dependent from "./Dependent.ts"
import type { ArmTimer, CancelTimer, Control, Dispatch, Query, Send, Withdraw } from "./EngineEffect.ts"
import * as Expression from "./Expression.ts"
import * as Rendering from "./Rendering.ts"
import * as Semaphore from "./Semaphore.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import { type Attempt, type Execution, type Items, Mark } from "./TaskState.ts"
import type { Turn } from "./Turn.ts"
import { activeUnits, executionOf, type Unit } from "./Unit.ts"
import * as WorkflowExecutionGraph from "./WorkflowExecutionGraph.ts"
import { type ConditionPlan, itemsMax, type RetryPolicy, type TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

export const timerOf = {
  retry: (id: TaskInstanceId) => `retry:${id}`,
  delay: (id: TaskInstanceId) => `delay:${id}`,
  run: (id: TaskInstanceId) => `timeout:${id}`,
  dispatch: (id: TaskInstanceId) => `dispatch:${id}`,
  workflow: (run: number) => `workflow:${run}`,
  limit: (run: number) => `limit:${run}`
}

// ---- effects, also for Outstanding

export const arm = (timer: string, dueAt: EpochMs, event: LifecycleEvent): ArmTimer => ({
  _tag: "ArmTimer",
  id: `arm:${timer}@${dueAt}`,
  timer,
  dueAt,
  event
})
export const cancel = (timer: string): CancelTimer => ({ _tag: "CancelTimer", id: `cancel:${timer}`, timer })

/** The pool of a task: its own, else that of the start request, else the workflow's. */
export const poolOf = (state: WorkflowState, node: TaskNode): PoolRef => node.pool ?? state.pool

/** Whether an executor runs it; the coordinator decides the others itself. */
export const isOnLane = ({ kind }: TaskNode): boolean =>
  kind !== "switch" && kind !== "condition" && kind !== "sub-workflow" && kind !== "dependent"

export const dispatchEffect = (state: WorkflowState, { execution, node }: Unit, at: EpochMs): Dispatch => {
  const entry: InboundEntry = {
    instance: state.instance,
    taskInstanceId: execution.attempt.id,
    // The definition's schema took it as a Token.
    type: node.type,
    priority: state.start?.priority ?? state.graph.priority,
    taskPriority: node.priority,
    ...(state.start?.team === undefined ? {} : { team: state.start.team }),
    enqueuedAt: at
  }
  return { _tag: "Dispatch", id: `dispatch:${execution.attempt.id}`, lane: node.lane, pool: poolOf(state, node), entry }
}

const withdrawEffect = (state: WorkflowState, { execution, node }: Unit): Withdraw => ({
  _tag: "Withdraw",
  id: `withdraw:${execution.attempt.id}`,
  pool: poolOf(state, node),
  instance: state.instance,
  taskInstanceId: execution.attempt.id
})

/** Nothing when nobody is known to hold the attempt. To a child where the attempt is one. */
export const controlEffect = (
  state: WorkflowState,
  kind: Control["_tag"],
  unit: Unit
): Control | Query | Send | undefined => {
  if (unit.node.kind === "dependent") return kind === "Ask" ? Dependent.query(state, unit) : undefined
  const { child, executor, id, startup } = unit.execution.attempt
  if (child !== undefined) return SubWorkflow.tell(state, kind, unit)
  return executor === undefined || startup === undefined
    ? undefined
    : { _tag: kind, id: `${kind.toLowerCase()}:${id}`, taskInstanceId: id, executor, startup }
}

const control = (turn: Turn, kind: Control["_tag"], unit: Unit): void => {
  const effect = controlEffect(turn.state, kind, unit)
  if (effect !== undefined) turn.emit(effect)
}

// ---- times

const firstAttempt = (execution: Execution): Attempt => execution.past[0] ?? execution.attempt

/** End of the delay: counted from the first attempt, so that a retry does not wait for it again. */
const delayEnd = (node: TaskNode, execution: Execution): EpochMs => firstAttempt(execution).submittedAt + node.delayMs

/** When a dispatch that nobody takes fails. */
export const dispatchDue = (node: TaskNode, execution: Execution): EpochMs | undefined =>
  node.dispatchTimeoutMs === undefined
    ? undefined
    : Math.max(execution.attempt.slotAt ?? execution.attempt.submittedAt, delayEnd(node, execution)) +
      node.dispatchTimeoutMs

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
const isHalting = (turn: Turn, node: TaskNode): boolean =>
  node.kind !== "cleanup" && (turn.state.status === "READY_STOP" || turn.state.ending)
const isPausing = (turn: Turn, node: TaskNode): boolean =>
  node.kind !== "cleanup" && turn.state.status === "READY_PAUSE"

export const start = (turn: Turn, unit: Unit): void => {
  if (isHalting(turn, unit.node)) killed(turn, unit, undefined)
  else if (isPausing(turn, unit.node)) paused(turn, unit, undefined)
  else if (unit.node.group !== undefined && unit.execution.attempt.slot === undefined) {
    turn.apply({ _tag: "SLOT", id: unit.execution.attempt.id, slot: "waiting" })
    turn.emit(acquireEffect(turn.state, unit))
  } else if (unit.execution.attempt.slot === "waiting") turn.emit(acquireEffect(turn.state, unit))
  else turn.publish({ _tag: "TASK_DISPATCH", id: unit.execution.attempt.id })
}

// ---- slots of a concurrency group

const slotMessage = (state: WorkflowState, node: TaskNode, id: TaskInstanceId, verb: "acquire" | "release"): Send => ({
  _tag: "Send",
  id: `${verb}:${id}`,
  to: Semaphore.idOfGroup(state.graph.namespace, node.group?.name ?? ""),
  from: state.instance,
  event: verb === "release"
    ? { _tag: "SLOT_RELEASE", from: state.instance, ticket: id }
    : {
      _tag: "SLOT_ACQUIRE",
      from: state.instance,
      ticket: id,
      ...(node.group?.slots === undefined ? {} : { slots: node.group.slots }),
      priority: node.group?.priority ?? priorityDefault,
      mode: "wait",
      ...(node.group === undefined ? {} : { group: { namespace: state.graph.namespace, name: node.group.name } })
    }
})

export const acquireEffect = (state: WorkflowState, { execution, node }: Unit): Send =>
  slotMessage(state, node, execution.attempt.id, "acquire")

/** The attempt ends, or no longer waits. */
export const releaseSlot = (turn: Turn, { execution, node }: Unit): void => {
  if (execution.attempt.slot !== undefined) {
    turn.emit(slotMessage(turn.state, node, execution.attempt.id, "release"))
  }
}

/** A slot for an attempt that has no use for it. */
export const giveBackSlot = (turn: Turn, id: TaskInstanceId): void => {
  const node = WorkflowExecutionGraph.nodeById(turn.state, id)
  if (node?.group !== undefined) turn.emit(slotMessage(turn.state, node, id, "release"))
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

/** An owner that takes over has itself told again what was granted: what the one before gave back may have been lost. */
export const checks = (state: WorkflowState): ReadonlyArray<Send> =>
  state.graph.groups.map((name) => ({
    _tag: "Send",
    id: `check:${name}`,
    to: Semaphore.idOfGroup(state.graph.namespace, name),
    from: state.instance,
    event: { _tag: "SLOT_CHECK", from: state.instance }
  }))

const waitsForSlot = ({ execution }: Unit): boolean => execution.attempt.slot === "waiting"

/** Starts what a fan-out may have under way. Its list is evaluated here, once, and journalled. */
export const fanOut = (turn: Turn, node: TaskNode): void => {
  const { forEach } = node
  if (forEach === undefined) return
  if (isHalting(turn, node)) return fanIn(turn, node, "KILLED")
  if (isPausing(turn, node)) return fanIn(turn, node, "PAUSED")
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
  continueFanOut(turn, node)
}

const continueFanOut = (turn: Turn, node: TaskNode): void => {
  const parallelism = node.forEach?.parallelism ?? 0
  let items = turn.task(node).items
  while (items !== undefined && !isHalting(turn, node) && !isPausing(turn, node) && items.active < parallelism) {
    const next = nextItem(items)
    if (next < 0) break
    submit(turn, node, next)
    items = turn.task(node).items
    // what an untouched journal never folds to: an item under way where the next one begins. Better a defect with a name than no end.
    if (items !== undefined && items.next <= next) throw new Error(`${node.name}[${next}] is under way and to be begun`)
  }
  if (items === undefined || items.active > 0) return
  const failure = items.failed > 0 ? firstFailure(items) : undefined
  if (items.succeeded + items.failed === items.values.length || (items.failed > 0 && turn.state.ending)) {
    return failure === undefined ? fanIn(turn, node, "SUCCEEDED") : fanIn(turn, node, "FAILED", failure)
  }
  fanIn(turn, node, isPausing(turn, node) ? "PAUSED" : "KILLED")
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
  if (status === "FAILED") endRunOnFailure(turn, node, reason)
  turn.publish({ _tag: "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", task: node.name })
}

/** Delay, then the lane (or a sandbox that the fact being handled offers). A switch is decided here. */
export const dispatch = (turn: Turn, unit: Unit): void => {
  if (waitsForSlot(unit)) return
  const { execution, item, node } = unit
  const { id } = execution.attempt
  if (node.delayMs > 0) {
    const due = delayEnd(node, execution)
    if (due > turn.at) {
      if (execution.attempt.due !== due) turn.apply({ _tag: "DELAYED", id, due })
      turn.emit(arm(timerOf.delay(id), due, { _tag: "TASK_DISPATCH", id }))
      return
    }
  }
  if (execution.status === "DELAY_EXECUTION") turn.apply({ _tag: "ENQUEUED", id })
  if (node.kind === "switch") return decideSwitch(turn, unit)
  if (node.condition !== undefined) return decideCondition(turn, unit, node.condition)
  const problem = Rendering.problem(turn.state, node, item)
  if (problem !== undefined) return turn.publish({ _tag: "TASK_FATAL", id, reason: problem })
  if (node.kind === "sub-workflow") return startChild(turn, unit)
  if (node.kind === "dependent") return askOthers(turn, unit)
  const pool = poolOf(turn.state, node)
  const { offer } = turn
  if (
    offer !== undefined && item < 0 && node.lane === "ready" && offer.placement.pool.name === pool.name &&
    offer.placement.pool.namespace === pool.namespace && (offer.type === undefined || offer.type === node.type)
  ) {
    if (--offer.left === 0) turn.offer = undefined
    turn.apply({ _tag: "DISPATCHED", id, of: turn.of, handOff: true, ...runDue(turn, unit) })
    return armRunTimer(turn, unit)
  }
  turn.emit(dispatchEffect(turn.state, unit, turn.at))
  const due = dispatchDue(node, execution)
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

const decideSwitch = (turn: Turn, { execution, node }: Unit): void => {
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

const decideCondition = (turn: Turn, { execution }: Unit, plan: ConditionPlan): void => {
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
    turn.emit(withdrawEffect(turn.state, unit))
  }
}

const ended = (turn: Turn, { item, node }: Unit): void => {
  if (item < 0) turn.publish({ _tag: "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", task: node.name })
  else continueFanOut(turn, node)
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
  if (node.branches.length > 0) {
    for (const index of node.branches) {
      const branch = turn.state.graph.nodes[index]
      if (branch === undefined || took(node, index, branch.name, event.outputs["branch"])) continue
      const marks = turn.task(branch).marks
      if ((marks & (Mark.Outside | Mark.Active | Mark.Inactive | Mark.Held)) === 0) {
        turn.apply({
          _tag: "SKIPPED",
          task: branch.name,
          why: `the ${node.type} ${node.name} took ${String(event.outputs["branch"])}`,
          notTaken: true
        })
        turn.settled.push(index)
      }
    }
  }
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
    if (isHalting(turn, node)) turn.publish({ _tag: "TASK_KILL", id })
    else if (isPausing(turn, node)) turn.publish({ _tag: "TASK_PAUSE", id })
    return
  }
  turn.apply({ _tag: "FAILED", id, ...payload })
  endRunOnFailure(turn, node, reason)
  ended(turn, unit)
}

/** Failure strategy `end`. */
const endRunOnFailure = (turn: Turn, node: TaskNode, reason: string | undefined): void => {
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
  if (unit.execution.status === "SUBMITTED" && !waitsForSlot(unit) && isOnLane(unit.node)) {
    turn.emit(withdrawEffect(turn.state, unit))
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

export const retry = (turn: Turn, unit: Unit): void => submit(turn, unit.node, unit.item)

export const timedOut = (turn: Turn, unit: Unit, kind: "dispatch" | "run"): void => {
  const { execution, node } = unit
  const { id } = execution.attempt
  const isPlaced = node.kind !== "dependent" && (execution.status === "DISPATCHED" || execution.status === "RUNNING")
  if (kind === "dispatch") {
    if (execution.status !== "SUBMITTED" || waitsForSlot(unit) || node.dispatchTimeoutMs === undefined) return
    turn.emit(withdrawEffect(turn.state, unit))
    return failed(
      turn,
      unit,
      undefined,
      `no executor of pool ${poolKey(poolOf(turn.state, node))} took it within ${
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
    if (execution.status === "SUBMITTED" && !waitsForSlot(unit)) turn.emit(withdrawEffect(turn.state, unit))
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
  submit(turn, node, item)
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
