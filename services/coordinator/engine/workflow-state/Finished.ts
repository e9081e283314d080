/**
 * FAILED, STOPPED, SUCCEEDED, PAUSED: the run rests. design/03 section 4.1, column "finished states". It can be recovered, resumed or run again, and single tasks of it be forced or run again where
 * that means anything.
 */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import { ignore, type WorkflowStateAction } from "../WorkflowStateAction.ts"

/** FAILED, STOPPED. */
export const finished: WorkflowStateAction = {
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
  WORKFLOW_RUN_TASK: (turn, { task }) => WorkflowFlow.runTask(turn, task),
  WORKFLOW_FORCE_START: ignore,
  WORKFLOW_SLOT_GRANTED: (turn, { ticket }) => WorkflowFlow.slotGranted(turn, ticket),
  WORKFLOW_SLOT_REFUSED: (turn, { ticket }) => WorkflowFlow.slotRefused(turn, ticket),
  WORKFLOW_RECOVER: (turn, { mode }) => WorkflowFlow.recover(turn, mode)
}

/** SUCCEEDED: nothing is left to force. */
export const succeeded: WorkflowStateAction = { ...finished, WORKFLOW_FORCE_SUCCESS: ignore }

/** PAUSED: its tasks go on with the run, none by itself. */
export const paused: WorkflowStateAction = { ...finished, WORKFLOW_RUN_TASK: ignore }
