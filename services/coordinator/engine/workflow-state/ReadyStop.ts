/** READY_STOP: a stop was asked for (or the workflow timed out), tasks are still under way. design/03 section 4.1, column READY_STOP. */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import { ignore, type WorkflowStateAction } from "../WorkflowStateAction.ts"

export const readyStop: WorkflowStateAction = {
  WORKFLOW_START: (turn) => WorkflowFlow.rebuild(turn),
  TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH: (turn, { task }) => WorkflowFlow.topology(turn, task),
  WORKFLOW_PAUSE: ignore,
  WORKFLOW_PAUSED: ignore,
  WORKFLOW_STOP: (turn) => WorkflowFlow.stopAgain(turn),
  WORKFLOW_STOPPED: (turn, { reason }) => WorkflowFlow.rest(turn, "STOPPED", reason),
  WORKFLOW_SUCCEED: (turn) => WorkflowFlow.rest(turn, "SUCCEEDED", undefined),
  WORKFLOW_FAILED: (turn, { reason }) => WorkflowFlow.rest(turn, "FAILED", reason),
  WORKFLOW_FINALIZE: ignore,
  WORKFLOW_TIMEOUT: (turn, { limit, run }) => WorkflowFlow.timeout(turn, run, limit === true),
  WORKFLOW_FORCE_SUCCESS: ignore,
  WORKFLOW_RUN_TASK: ignore,
  WORKFLOW_FORCE_START: ignore,
  WORKFLOW_SLOT_GRANTED: (turn, { ticket }) => WorkflowFlow.slotGranted(turn, ticket),
  WORKFLOW_SLOT_REFUSED: (turn, { ticket }) => WorkflowFlow.slotRefused(turn, ticket),
  WORKFLOW_RECOVER: ignore
}
