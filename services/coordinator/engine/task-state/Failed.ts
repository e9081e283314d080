/** FAILED: waits for its retry (`due`), or has ended. design/03 section 4.2, columns "FAILED (waiting for retry)" and "finished". */
import * as TaskFlow from "../TaskFlow.ts"
import { isEnded } from "../TaskState.ts"
import { ignore, type TaskStateAction } from "../TaskStateAction.ts"
import type { Unit } from "../Unit.ts"

const isWaiting = ({ execution }: Unit): boolean => !isEnded(execution)

export const failed: TaskStateAction = {
  TASK_START: (turn, unit) => isWaiting(unit) ? TaskFlow.rearmRetry(turn, unit) : TaskFlow.replayChain(turn, unit),
  TASK_DISPATCH: ignore,
  TASK_SLOT_GRANTED: (turn, unit) => TaskFlow.slotGranted(turn, unit),
  TASK_FORCE_START: (turn, unit) => TaskFlow.forceStart(turn, unit),
  TASK_DISPATCHED: ignore,
  TASK_RUNNING: ignore,
  TASK_RUNTIME_CONTEXT_CHANGED: ignore,
  TASK_TIMEOUT: ignore,
  TASK_RETRY: (turn, unit) => {
    if (isWaiting(unit)) TaskFlow.retry(turn, unit)
  },
  TASK_PAUSE: (turn, unit) => {
    if (isWaiting(unit)) TaskFlow.paused(turn, unit, undefined)
  },
  TASK_PAUSED: (turn, unit, event) => {
    if (isWaiting(unit)) TaskFlow.paused(turn, unit, event)
  },
  TASK_FAILOVER: ignore,
  TASK_KILL: (turn, unit) => {
    if (isWaiting(unit)) TaskFlow.killed(turn, unit, undefined)
  },
  TASK_KILLED: (turn, unit, event) => {
    // The kill of an attempt that timed out is why this one waits: reported again, it changes nothing.
    if (isWaiting(unit) && unit.execution.attempt.timedOut === undefined) TaskFlow.killed(turn, unit, event)
  },
  TASK_SUCCEEDED: ignore,
  TASK_FAILED: ignore,
  TASK_FATAL: (turn, unit, event) => {
    if (isWaiting(unit)) TaskFlow.failed(turn, unit, event, event.reason, false)
  }
}
