/**
 * SUCCEEDED, FORCED_SUCCESS, KILLED, PAUSED: nothing is under way, and what is said of the attempt comes too late. design/03 section 4.2, column "finished". What a run that is
 * resumed or recovered begins again is another attempt. FAILED has its own file: its retry may be to come.
 */
import * as TaskFlow from "../TaskFlow.ts"
import { ignore, type TaskStateAction } from "../TaskStateAction.ts"

export const finished: TaskStateAction = {
  TASK_START: (turn, unit) => TaskFlow.replayChain(turn, unit),
  TASK_DISPATCH: ignore,
  TASK_SLOT_GRANTED: (turn, unit) => TaskFlow.slotGranted(turn, unit),
  TASK_FORCE_START: (turn, unit) => TaskFlow.forceStart(turn, unit),
  TASK_DISPATCHED: ignore,
  TASK_RUNNING: ignore,
  TASK_RUNTIME_CONTEXT_CHANGED: ignore,
  TASK_TIMEOUT: ignore,
  TASK_RETRY: ignore,
  TASK_PAUSE: ignore,
  TASK_PAUSED: ignore,
  TASK_FAILOVER: ignore,
  TASK_KILL: ignore,
  TASK_KILLED: ignore,
  TASK_SUCCEEDED: ignore,
  TASK_FAILED: ignore,
  TASK_FATAL: ignore
}
