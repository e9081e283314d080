/**
 * What must be carried out again by an owner that takes an instance over, told from the state alone. design/03 section 2, design/05 rule 5.
 *
 * Kept true here: everything that a crash between append and effect can have lost is in the answer, with the ids that `decide` gave; timers keep the time at
 * which they were due. A run that rests has only its `Finalize` (idempotent at its target).
 */
import type { Entry } from "../../../shared/protocol/Journal.ts"
import * as Decide from "./Decide.ts"
import type { Alert, EngineEffect } from "./EngineEffect.ts"
import { arm, timerOf } from "./EngineTimer.ts"
import * as SemaphoreFlow from "./SemaphoreFlow.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import * as TaskEffect from "./TaskEffect.ts"
import { activeUnits } from "./Unit.ts"
import * as WorkflowFlow from "./WorkflowFlow.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/**
 * The alerts of one entry, to be raised again when it is read from the journal: decided again from the state before it, by the ids that it recorded. They have their ids, so
 * one that was told is not told twice (for as long as HEDDLE_ALERTS knows ids). What can't be decided any more is told with what the id says.
 */
export const alerts = (before: WorkflowState, entry: Entry): ReadonlyArray<Alert> => {
  const ids = entry.effects.filter((id) => id.startsWith(alertPrefix))
  if (ids.length === 0) return []
  const decided = new Map(decidedAlerts(before, entry).map((alert) => [alert.id, alert]))
  return ids.flatMap((id) => {
    const kind = kinds.find((one) => one === id.split(":")[1])
    return decided.get(id) ?? (kind === undefined ? [] : [{ _tag: "Alert", id, kind, message: "see its journal" }])
  })
}

const alertPrefix = "alert:"
const kinds: ReadonlyArray<Alert["kind"]> = [
  "TaskTimeout",
  "WorkflowTimeout",
  "WorkflowFailed",
  "WorkflowStopped",
  "CleanupFailed",
  "Poisoned"
]

const decidedAlerts = (before: WorkflowState, entry: Entry): ReadonlyArray<Alert> => {
  try {
    const { effects } = Decide.decide(before, entry.cause, entry.at)
    return effects.filter((effect) => effect._tag === "Alert")
  } catch {
    return [] // the defect that poisoned it: `alerts` tells the rest
  }
}

/** Dispatches of SUBMITTED tasks, timers, intents not confirmed, asks for DISPATCHED and RUNNING tasks. */
export const outstanding = (state: WorkflowState): ReadonlyArray<EngineEffect> => {
  if (state.semaphore !== undefined) return SemaphoreFlow.outstanding(state, state.semaphore)
  const effects: Array<EngineEffect> = [...TaskEffect.checks(state), ...WorkflowFlow.serialCheck(state)]
  if (state.endedAt !== undefined) {
    effects.push(...SubWorkflow.ended(state))
    effects.push(WorkflowFlow.finalizeEffect(state))
    return effects
  }
  if (state.status === "SERIAL_WAIT") effects.push(...WorkflowFlow.serialAcquire(state))
  effects.push(...WorkflowFlow.deadlines(state))
  for (const unit of activeUnits(state)) {
    const { execution, node } = unit
    const { attempt } = execution
    const { id } = attempt
    switch (execution.status) {
      case "DELAY_EXECUTION":
        if (attempt.due !== undefined) {
          effects.push(arm(timerOf.delay(id), attempt.due, { _tag: "TASK_DISPATCH", id }))
        }
        break
      case "SUBMITTED": {
        if (attempt.slot === "waiting") {
          effects.push(TaskEffect.acquire(state, unit))
          break
        }
        effects.push(TaskEffect.dispatch(state, unit, attempt.submittedAt))
        const due = TaskEffect.dispatchDue(node, execution)
        if (due !== undefined) {
          effects.push(arm(timerOf.dispatch(id), due, { _tag: "TASK_TIMEOUT", id, kind: "dispatch" }))
        }
        break
      }
      case "FAILED":
        if (attempt.due !== undefined) {
          effects.push(arm(timerOf.retry(id), attempt.due, { _tag: "TASK_RETRY", id }))
        }
        break
      case "DISPATCHED":
      case "RUNNING": {
        const control = TaskEffect.control(
          state,
          execution.intent === "kill" ? "Kill" : execution.intent === "pause" ? "Pause" : "Ask",
          unit
        )
        if (control !== undefined) effects.push(control)
        if (attempt.timeoutAt !== undefined && attempt.timedOut === undefined && attempt.warned === undefined) {
          effects.push(
            arm(timerOf.run(id), attempt.timeoutAt, { _tag: "TASK_TIMEOUT", id, kind: "run" })
          )
        }
        break
      }
      default:
        break
    }
  }
  return effects
}
