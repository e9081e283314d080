/** SERIAL_WAIT: waits for its turn among the runs of its definition. Can be paused and stopped directly. */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import { ignore, type WorkflowStateAction } from "../WorkflowStateAction.ts"

export const serialWait: WorkflowStateAction = {
  WORKFLOW_START: (turn) => WorkflowFlow.serialAgain(turn),
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
