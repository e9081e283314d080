/** SERIAL_WAIT: waits for its turn among the runs of its definition; whatever else happens means what it means to one that has not started. */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import type { WorkflowStateAction } from "../WorkflowStateAction.ts"
import { waitToRun } from "./WaitToRun.ts"

export const serialWait: WorkflowStateAction = {
  ...waitToRun,
  WORKFLOW_START: (turn) => WorkflowFlow.serialAgain(turn)
}
