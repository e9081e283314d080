/** RUNNING: the executor runs it. design/03 section 4.2, column RUNNING. */
import * as TaskFlow from "../TaskFlow.ts"
import { ignore, type TaskStateAction } from "../TaskStateAction.ts"

export const running: TaskStateAction = {
  TASK_START: (turn, unit) =>
    turn.publish({ _tag: "TASK_FAILOVER", id: unit.execution.attempt.id, lost: false, reason: "rebuild" }),
  TASK_DISPATCH: ignore,
  TASK_SLOT_GRANTED: (turn, unit) => TaskFlow.slotGranted(turn, unit),
  TASK_FORCE_START: (turn, unit) => TaskFlow.forceStart(turn, unit),
  // The same executor again, or another one: `Registration` has told them apart before.
  TASK_DISPATCHED: ignore,
  TASK_RUNNING: ignore,
  TASK_RUNTIME_CONTEXT_CHANGED: (turn, unit, { by }) => TaskFlow.contextChanged(turn, unit, by?.sequence),
  TASK_TIMEOUT: (turn, unit, { kind }) => TaskFlow.timedOut(turn, unit, kind),
  TASK_RETRY: ignore,
  TASK_PAUSE: (turn, unit) => TaskFlow.intend(turn, unit, "pause"),
  TASK_PAUSED: (turn, unit, event) => TaskFlow.paused(turn, unit, event),
  TASK_FAILOVER: (turn, unit, { lost, reason }) => TaskFlow.failover(turn, unit, lost, reason),
  TASK_KILL: (turn, unit) => TaskFlow.intend(turn, unit, "kill"),
  TASK_KILLED: (turn, unit, event) => TaskFlow.killed(turn, unit, event),
  TASK_SUCCEEDED: (turn, unit, event) => TaskFlow.succeeded(turn, unit, event),
  TASK_FAILED: (turn, unit, event) => TaskFlow.failed(turn, unit, event, event.reason, true),
  TASK_FATAL: (turn, unit, event) => TaskFlow.failed(turn, unit, event, event.reason, false)
}
