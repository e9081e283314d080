/** SUBMITTED, DELAY_EXECUTION: an attempt that may run, or whose delay is not over, and that no executor has yet. design/03 section 4.2, column SUBMITTED / DELAY_EXECUTION. */
import * as TaskFlow from "../TaskFlow.ts"
import { ignore, type TaskStateAction } from "../TaskStateAction.ts"

export const submitted: TaskStateAction = {
  TASK_START: (turn, unit) => TaskFlow.start(turn, unit),
  TASK_DISPATCH: (turn, unit) => TaskFlow.dispatch(turn, unit),
  TASK_SLOT_GRANTED: (turn, unit) => TaskFlow.slotGranted(turn, unit),
  TASK_FORCE_START: (turn, unit) => TaskFlow.forceStart(turn, unit),
  TASK_DISPATCHED: (turn, unit) => TaskFlow.placed(turn, unit),
  // Facts may overtake the registration's event.
  TASK_RUNNING: (turn, unit) => TaskFlow.running(turn, unit),
  TASK_RUNTIME_CONTEXT_CHANGED: ignore,
  TASK_TIMEOUT: (turn, unit, { kind }) => TaskFlow.timedOut(turn, unit, kind),
  TASK_RETRY: ignore,
  TASK_PAUSE: (turn, unit) => TaskFlow.withdraw(turn, unit, "pause"),
  TASK_PAUSED: (turn, unit, event) => TaskFlow.paused(turn, unit, event),
  TASK_FAILOVER: ignore,
  TASK_KILL: (turn, unit) => TaskFlow.withdraw(turn, unit, "kill"),
  TASK_KILLED: (turn, unit, event) => TaskFlow.killed(turn, unit, event),
  TASK_SUCCEEDED: (turn, unit, event) => TaskFlow.succeeded(turn, unit, event),
  TASK_FAILED: (turn, unit, event) => TaskFlow.failed(turn, unit, event, event.reason, true),
  TASK_FATAL: (turn, unit, event) => TaskFlow.failed(turn, unit, event, event.reason, false)
}
