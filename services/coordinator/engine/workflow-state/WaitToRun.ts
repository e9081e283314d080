/** WAIT_TO_RUN: accepted, not started. Can be paused and stopped directly. design/03 section 4.1. */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import { ignore, type WorkflowStateAction } from "../WorkflowStateAction.ts"

export const waitToRun: WorkflowStateAction = {
  WORKFLOW_START: (turn, { start }) => WorkflowFlow.begin(turn, start),
  TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH: ignore,
  WORKFLOW_PAUSE: (turn, { reason }) => WorkflowFlow.rest(turn, "PAUSED", reason),
  WORKFLOW_PAUSED: ignore,
  WORKFLOW_STOP: (turn, { reason }) => WorkflowFlow.rest(turn, "STOPPED", reason),
  WORKFLOW_STOPPED: ignore,
  WORKFLOW_SUCCEED: ignore,
  WORKFLOW_FAILED: ignore,
  WORKFLOW_FINALIZE: ignore,
  WORKFLOW_TIMEOUT: ignore,
  WORKFLOW_FORCE_SUCCESS: ignore,
  WORKFLOW_RUN_TASK: ignore,
  WORKFLOW_FORCE_START: ignore,
  WORKFLOW_SLOT_GRANTED: (turn, { ticket }) => WorkflowFlow.slotGranted(turn, ticket),
  WORKFLOW_SLOT_REFUSED: (turn, { ticket }) => WorkflowFlow.slotRefused(turn, ticket),
  WORKFLOW_RECOVER: ignore
}
