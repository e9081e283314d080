/**
 * The fold of what happens to one attempt: begun, delayed, dispatched, running, ended, lost. design/03 sections 2 and 4.2.
 *
 * Kept true here: a transition names the newest attempt of its task or item, or the journal is of another definition and the fold throws; an attempt that ends keeps what
 * it was told and nothing that was to come (its context, its delay, its slot); a task that fails for good ends its chain.
 */
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { LifecycleEvent, Transition } from "../../../shared/protocol/Journal.ts"
import type { EpochMs, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { TaskStatus } from "../../../shared/protocol/Workflow.ts"
import * as AttemptId from "./AttemptId.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as NodeFold from "./NodeFold.ts"
import { type Attempt, type Execution, isEnded, Mark, type TaskState } from "./TaskState.ts"
import type { TurnContext } from "./TurnContext.ts"
import type { TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

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
  as: "SUCCEEDED" | "FAILED" | "PAUSED" | "KILLED"
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
        succeeded: as === "SUCCEEDED" ? items.succeeded + 1 : items.succeeded,
        failed: as === "FAILED" ? items.failed + 1 : items.failed,
        halted: as === "PAUSED" || as === "KILLED" ? items.halted + 1 : items.halted
      }
    })
  }
  const bit = NodeFold.chainMark(state, node, as)
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
    withOutputs: as === "SUCCEEDED" && execution.outputs !== undefined ? state.withOutputs + 1 : state.withOutputs
  }
}

/** A new attempt of a task or of an item. */
export const submitted = (state: WorkflowState, id: TaskInstanceId, at: EpochMs): WorkflowState => {
  const node = NodeFold.requireNode(state.graph, AttemptId.taskOf(id))
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = AttemptId.itemOf(node, id)
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
export const finished = (
  attempt: Attempt,
  status: TaskStatus,
  event: LifecycleEvent | undefined,
  at: EpochMs
): Attempt => {
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

/** The time it waited for has come, or does not count any more. */
export const withoutDue = (attempt: Attempt): Attempt => {
  const { due: _, ...rest } = attempt
  return rest
}

type AttemptTransition = Extract<Transition, { readonly id: TaskInstanceId }>

/** Transitions of one attempt that exists. */
export const evolve = (
  state: WorkflowState,
  transition: Exclude<AttemptTransition, { readonly _tag: "SUBMITTED" }>,
  turn: TurnContext
): WorkflowState => {
  const { id } = transition
  const node = NodeFold.requireNode(state.graph, AttemptId.taskOf(id))
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = AttemptId.itemOf(node, id)
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
      return end(state, node, task, item, next, "SUCCEEDED")
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
        ? end(state, node, task, item, next, "FAILED")
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
      return end(state, node, task, item, next, transition._tag)
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
  const node = NodeFold.requireNode(state.graph, AttemptId.taskOf(id))
  return requireExecution(ChunkedVector.get(state.tasks, node.index), AttemptId.itemOf(node, id), id).attempt.placement
}

/** Notes at the attempt that had the sandbox which one got it. */
const handOver = (state: WorkflowState, from: TaskInstanceId, next: TaskInstanceId): WorkflowState => {
  const node = NodeFold.requireNode(state.graph, AttemptId.taskOf(from))
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = AttemptId.itemOf(node, from)
  const execution = requireExecution(task, item, from)
  return keep(state, node, task, item, {
    ...execution,
    attempt: { ...execution.attempt, next: [...execution.attempt.next ?? [], next] }
  })
}
