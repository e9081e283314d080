/**
 * `decide`: one turn of an instance. The table lookups are here; what an event means in a state stands in `workflow-state/` and `task-state/`. design/03 sections 2 to 4.
 *
 * Kept true here: pure (no clock, no random; `now` comes in); the returned state is the fold of the returned transitions over the one that came in; an event
 * of no interest leaves no trace, not even as a cause; the same event twice has the same result.
 */
import type {
  FactSource,
  LifecycleEvent,
  SemaphoreLifecycleEvent,
  TaskLifecycleEvent,
  Transition,
  WorkflowLifecycleEvent
} from "../../../shared/protocol/Journal.ts"
import type { FactReport } from "../../../shared/protocol/Report.ts"
import type { EpochMs } from "../../../shared/protocol/Token.ts"
import type { EngineEffect } from "./EngineEffect.ts"
import * as Requests from "./Requests.ts"
import * as SemaphoreFlow from "./SemaphoreFlow.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import * as TaskEffect from "./TaskEffect.ts"
import * as TaskFlow from "./TaskFlow.ts"
import { taskStates } from "./TaskStates.ts"
import { Turn } from "./Turn.ts"
import { activeUnits, type Unit } from "./Unit.ts"
import * as WorkflowFlow from "./WorkflowFlow.ts"
import type { WorkflowState } from "./WorkflowState.ts"
import { workflowStates } from "./WorkflowStates.ts"

/** `cause`: the events as the entry must record them (those that changed something). No transitions and no effects: no entry is needed. */
export interface Decision {
  readonly state: WorkflowState
  readonly cause: ReadonlyArray<LifecycleEvent>
  readonly transitions: ReadonlyArray<Transition>
  readonly effects: ReadonlyArray<EngineEffect>
}

/** Handles the events in order, each with all that follows from it. */
export const decide = (state: WorkflowState, events: ReadonlyArray<LifecycleEvent>, now: EpochMs): Decision => {
  const turn = new Turn(state, now)
  for (const event of events) {
    const { length } = turn.transitions
    const effects = turn.effects.length
    turn.of = turn.cause.length
    turn.cause.push(event)
    turn.offer = undefined
    if (isWanted(turn, event)) handle(turn, event)
    for (let next = turn.next(); next !== undefined; next = turn.next()) handle(turn, next)
    if (turn.transitions.length === length && turn.effects.length === effects) turn.cause.pop()
  }
  return decision(turn)
}

/** Not a command that is done already; one with an id that the state allows is remembered by it. */
const isWanted = (turn: Turn, event: LifecycleEvent): boolean => {
  if (Requests.idOf(event) === undefined) return true
  if (Requests.standing(turn.state.requests, event) !== "new") return false
  if (refusal(turn.state, event) === undefined) turn.apply({ _tag: "REQUESTED", of: turn.of })
  return true
}

const decision = ({ cause, effects, state, transitions }: Turn): Decision => ({ state, cause, transitions, effects })

const handle = (turn: Turn, event: LifecycleEvent): void => {
  if (isTaskEvent(event)) {
    const unit = turn.unit(event.id)
    if (unit === undefined) {
      // The slot that an attempt waited for came when there was a newer one.
      if (event._tag === "TASK_SLOT_GRANTED") TaskFlow.giveBackSlot(turn, event.id)
      return
    }
    if (!isFrom(unit, event)) return
    // The method of this tag takes this event: TypeScript can't follow the pair through the lookup.
    const action = taskStates[unit.execution.status][event._tag] as (
      turn: Turn,
      unit: Unit,
      event: TaskLifecycleEvent
    ) => void
    action(turn, unit, event)
  } else if (isSemaphoreEvent(event)) {
    SemaphoreFlow.handle(turn, event)
  } else if (event._tag === "WORKFLOW_RECOVER" && event.parent !== undefined) {
    WorkflowFlow.continueChild(turn, event.parent)
  } else {
    const action = workflowStates[turn.state.status][event._tag] as (turn: Turn, event: WorkflowLifecycleEvent) => void
    action(turn, event)
  }
}

const semaphoreEvents: ReadonlySet<string> = new Set<SemaphoreLifecycleEvent["_tag"]>([
  "SLOT_ACQUIRE",
  "SLOT_RELEASE",
  "SLOT_CHECK",
  "SLOT_LIMIT",
  "SLOT_PRIORITY"
])
const isSemaphoreEvent = (event: LifecycleEvent): event is SemaphoreLifecycleEvent => semaphoreEvents.has(event._tag)

const isTaskEvent = (event: LifecycleEvent): event is TaskLifecycleEvent => "id" in event

/** A fact counts when it comes from the incarnation that holds the attempt (or from the coordinator itself, or when nobody is known to hold it). */
const isFrom = ({ execution }: Unit, event: TaskLifecycleEvent): boolean => {
  const by: FactSource | undefined = "by" in event ? event.by : undefined
  const { executor, startup } = execution.attempt
  return by === undefined || executor === undefined || (by.executor === executor && by.startup === startup)
}

/** After a defect in `decide` that came back N times: the workflow FAILED with that reason, what runs is told to stop. */
export const poison = (state: WorkflowState, reason: string, now: EpochMs): Decision => {
  const turn = new Turn(state, now)
  if (state.poisoned) return decision(turn)
  const units = activeUnits(state)
  turn.apply({ _tag: "POISONED", reason: `the engine failed: ${reason}`, abandons: true })
  turn.effects.push(...WorkflowFlow.serialRelease(turn.state))
  for (const unit of units) {
    TaskFlow.releaseSlot(turn, unit)
    const kill = TaskEffect.control(state, "Kill", unit)
    if (kill !== undefined) turn.emit(kill)
  }
  turn.emit({ _tag: "Alert", id: `alert:Poisoned:${state.run}@${now}`, kind: "Poisoned", message: reason })
  SubWorkflow.emitAll(turn, SubWorkflow.ended(turn.state))
  turn.emit(WorkflowFlow.finalizeEffect(turn.state))
  return decision(turn)
}

/** An executor's report as a lifecycle event. */
export const fromFact = (report: FactReport): TaskLifecycleEvent => {
  const { fact, taskInstanceId: id } = report
  const by: FactSource = {
    executor: report.executor,
    startup: report.startup,
    sequence: report.sequence,
    at: report.at
  }
  switch (fact._tag) {
    case "RUNNING":
      return { _tag: "TASK_RUNNING", id, by }
    case "RUNTIME_CONTEXT_CHANGED":
      return { _tag: "TASK_RUNTIME_CONTEXT_CHANGED", id, by, context: fact.context }
    case "SANDBOX_LOST":
      return { _tag: "TASK_FAILOVER", id, by, lost: true, reason: fact.reason }
    default: {
      const ended = {
        id,
        by,
        ...(fact.startedAt === undefined ? {} : { startedAt: fact.startedAt }),
        ...(fact.exitCode === undefined ? {} : { exitCode: fact.exitCode }),
        ...(report.offer === undefined ? {} : { offer: report.offer }),
        ...(report.together === undefined ? {} : { together: report.together })
      }
      switch (fact._tag) {
        case "SUCCEEDED":
          return { _tag: "TASK_SUCCEEDED", ...ended, outputs: fact.outputs }
        case "FAILED":
          return { _tag: "TASK_FAILED", ...ended, reason: fact.reason }
        case "FATAL":
          return { _tag: "TASK_FATAL", ...ended, reason: fact.reason }
        case "KILLED":
          return { _tag: "TASK_KILLED", ...ended }
        case "PAUSED":
          return { _tag: "TASK_PAUSED", ...ended }
      }
    }
  }
}

/** Why a command can't be taken now (answer `Conflict` with it), or undefined. */
export const refusal = (state: WorkflowState, event: LifecycleEvent): string | undefined => {
  switch (event._tag) {
    case "WORKFLOW_RECOVER":
      return event.parent === undefined ? WorkflowFlow.refusal(state, event.mode) : undefined
    case "WORKFLOW_FORCE_SUCCESS":
      return WorkflowFlow.refusalOfForce(state, event.task)
    case "WORKFLOW_RUN_TASK":
      return WorkflowFlow.refusalOfRunTask(state, event.task)
    case "WORKFLOW_FORCE_START":
      return WorkflowFlow.refusalOfForceStart(state, event.task)
    case "WORKFLOW_PAUSE":
    case "WORKFLOW_STOP": {
      const verb = event._tag === "WORKFLOW_PAUSE" ? "paused" : "stopped"
      if (state.endedAt !== undefined) return `the run is ${state.status}: it can't be ${verb}`
      if (state.resolved !== undefined) return `the run is ending as ${state.resolved.status}: it can't be ${verb}`
      return event._tag === "WORKFLOW_PAUSE" && state.status === "READY_STOP"
        ? "the run is stopping: it can't be paused"
        : undefined
    }
    default:
      return undefined
  }
}
