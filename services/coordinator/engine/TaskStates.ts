/** The registry of task states: a new state is a new file and a line here. design/03 section 4. */
import type { TaskStatus } from "../../../shared/protocol/Workflow.ts"
import { delayExecution } from "./task-state/DelayExecution.ts"
import { dispatched } from "./task-state/Dispatched.ts"
import { failed } from "./task-state/Failed.ts"
import { failover } from "./task-state/Failover.ts"
import { forcedSuccess } from "./task-state/ForcedSuccess.ts"
import { killed } from "./task-state/Killed.ts"
import { paused } from "./task-state/Paused.ts"
import { running } from "./task-state/Running.ts"
import { submitted } from "./task-state/Submitted.ts"
import { succeeded } from "./task-state/Succeeded.ts"
import type { TaskStateAction } from "./TaskStateAction.ts"

export const taskStates: Readonly<Record<TaskStatus, TaskStateAction>> = {
  SUBMITTED: submitted,
  DELAY_EXECUTION: delayExecution,
  DISPATCHED: dispatched,
  RUNNING: running,
  PAUSED: paused,
  KILLED: killed,
  FAILED: failed,
  SUCCEEDED: succeeded,
  FORCED_SUCCESS: forcedSuccess,
  FAILOVER: failover
}
