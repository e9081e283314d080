/**
 * The registry of workflow states: a new state is a line here and a new file, or the file of those that do the same. The files follow the columns of the table in
 * design/03 section 4.1; what each state does, event by event: docs/reference/state-machines.md.
 */
import type { WorkflowStatus } from "../../../shared/protocol/Workflow.ts"
import { failover } from "./workflow-state/Failover.ts"
import { finished, paused, succeeded } from "./workflow-state/Finished.ts"
import { readyPause } from "./workflow-state/ReadyPause.ts"
import { readyStop } from "./workflow-state/ReadyStop.ts"
import { running } from "./workflow-state/Running.ts"
import { serialWait } from "./workflow-state/SerialWait.ts"
import { waitToRun } from "./workflow-state/WaitToRun.ts"
import type { WorkflowStateAction } from "./WorkflowStateAction.ts"

export const workflowStates: Readonly<Record<WorkflowStatus, WorkflowStateAction>> = {
  SERIAL_WAIT: serialWait,
  WAIT_TO_RUN: waitToRun,
  RUNNING: running,
  READY_PAUSE: readyPause,
  PAUSED: paused,
  READY_STOP: readyStop,
  STOPPED: finished,
  FAILED: finished,
  SUCCEEDED: succeeded,
  FAILOVER: failover
}
