/** PAUSED: the run rests and can be resumed. design/03 section 4.1, column "finished states". */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import { ignore, type WorkflowStateAction } from "../WorkflowStateAction.ts"

export const paused: WorkflowStateAction = {
  WORKFLOW_START: ignore,
  TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH: ignore,
  WORKFLOW_PAUSE: ignore,
  WORKFLOW_PAUSED: ignore,
  WORKFLOW_STOP: ignore,
  WORKFLOW_STOPPED: ignore,
  WORKFLOW_SUCCEED: ignore,
  WORKFLOW_FAILED: ignore,
  WORKFLOW_FINALIZE: (turn) => WorkflowFlow.finalize(turn),
  WORKFLOW_TIMEOUT: ignore,
  WORKFLOW_FORCE_SUCCESS: (turn, { task }) => WorkflowFlow.forceSuccess(turn, task),
  WORKFLOW_RUN_TASK: ignore,
  WORKFLOW_FORCE_START: ignore,
  WORKFLOW_SLOT_GRANTED: (turn, { ticket }) => WorkflowFlow.slotGranted(turn, ticket),
  WORKFLOW_SLOT_REFUSED: (turn, { ticket }) => WorkflowFlow.slotRefused(turn, ticket),
  WORKFLOW_RECOVER: (turn, { mode }) => WorkflowFlow.recover(turn, mode)
}
