/** FAILOVER: the attempt is lost and the next one not made yet; both happen in one turn, so a fold meets this state only inside an entry. */
import * as TaskFlow from "../TaskFlow.ts"
import { ignore, type TaskStateAction } from "../TaskStateAction.ts"

export const failover: TaskStateAction = {
  TASK_START: (turn, unit) => TaskFlow.retry(turn, unit),
  TASK_DISPATCH: ignore,
  TASK_SLOT_GRANTED: (turn, unit) => TaskFlow.slotGranted(turn, unit),
  TASK_FORCE_START: (turn, unit) => TaskFlow.forceStart(turn, unit),
  TASK_DISPATCHED: ignore,
  TASK_RUNNING: ignore,
  TASK_RUNTIME_CONTEXT_CHANGED: ignore,
  TASK_TIMEOUT: ignore,
  TASK_RETRY: ignore,
  TASK_PAUSE: (turn, unit) => TaskFlow.paused(turn, unit, undefined),
  TASK_PAUSED: ignore,
  TASK_FAILOVER: (turn, unit) => TaskFlow.retry(turn, unit),
  TASK_KILL: (turn, unit) => TaskFlow.killed(turn, unit, undefined),
  TASK_KILLED: ignore,
  TASK_SUCCEEDED: ignore,
  TASK_FAILED: ignore,
  TASK_FATAL: ignore
}
