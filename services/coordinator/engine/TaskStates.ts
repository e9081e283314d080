/**
 * The registry of task states: a new state is a line here and a new file, or the file of those that do the same. The files are the columns of the table in design/03
 * section 4.2; what each state does, event by event: docs/reference/state-machines.md.
 */
import type { TaskStatus } from "../../../shared/protocol/Workflow.ts"
import { dispatched } from "./task-state/Dispatched.ts"
import { failed } from "./task-state/Failed.ts"
import { failover } from "./task-state/Failover.ts"
import { finished } from "./task-state/Finished.ts"
import { running } from "./task-state/Running.ts"
import { submitted } from "./task-state/Submitted.ts"
import type { TaskStateAction } from "./TaskStateAction.ts"

export const taskStates: Readonly<Record<TaskStatus, TaskStateAction>> = {
  SUBMITTED: submitted,
  DELAY_EXECUTION: submitted,
  DISPATCHED: dispatched,
  RUNNING: running,
  FAILED: failed,
  FAILOVER: failover,
  PAUSED: finished,
  KILLED: finished,
  SUCCEEDED: finished,
  FORCED_SUCCESS: finished
}
