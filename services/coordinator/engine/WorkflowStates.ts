/** The registry of workflow states: a new state is a new file and a line here. design/03 section 4. */
import type { WorkflowStatus } from "../../../shared/protocol/Workflow.ts"
import { failed } from "./workflow-state/Failed.ts"
import { failover } from "./workflow-state/Failover.ts"
import { paused } from "./workflow-state/Paused.ts"
import { readyPause } from "./workflow-state/ReadyPause.ts"
import { readyStop } from "./workflow-state/ReadyStop.ts"
import { running } from "./workflow-state/Running.ts"
import { serialWait } from "./workflow-state/SerialWait.ts"
import { stopped } from "./workflow-state/Stopped.ts"
import { succeeded } from "./workflow-state/Succeeded.ts"
import { waitToRun } from "./workflow-state/WaitToRun.ts"
import type { WorkflowStateAction } from "./WorkflowStateAction.ts"

export const workflowStates: Readonly<Record<WorkflowStatus, WorkflowStateAction>> = {
  SERIAL_WAIT: serialWait,
  WAIT_TO_RUN: waitToRun,
  RUNNING: running,
  READY_PAUSE: readyPause,
  PAUSED: paused,
  READY_STOP: readyStop,
  STOPPED: stopped,
  FAILED: failed,
  SUCCEEDED: succeeded,
  FAILOVER: failover
}
