/** FAILOVER: taken from a dead coordinator and not rebuilt yet. START rebuilds. Our owners carry out again what is outstanding and need no state for it, so nothing puts a run here. */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import { ignore, type WorkflowStateAction } from "../WorkflowStateAction.ts"

export const failover: WorkflowStateAction = {
  WORKFLOW_START: (turn) => {
    turn.apply({ _tag: "WORKFLOW", status: "RUNNING" })
    WorkflowFlow.rebuild(turn)
  },
  TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH: (turn, { task }) => WorkflowFlow.topology(turn, task),
  WORKFLOW_PAUSE: (turn, { reason }) => WorkflowFlow.pause(turn, reason),
  WORKFLOW_PAUSED: ignore,
  WORKFLOW_STOP: (turn, { reason }) => WorkflowFlow.stop(turn, reason),
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
