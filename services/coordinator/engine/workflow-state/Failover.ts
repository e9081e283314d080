/**
 * FAILOVER: taken from a dead coordinator and not rebuilt yet (design/03 section 4 names it). START rebuilds; what comes before it means what it means in RUNNING.
 * Our owners carry out again what is outstanding and need no state for it, so nothing of ours puts a run here: a journal of another version could.
 */
import * as WorkflowFlow from "../WorkflowFlow.ts"
import type { WorkflowStateAction } from "../WorkflowStateAction.ts"
import { running } from "./Running.ts"

export const failover: WorkflowStateAction = {
  ...running,
  WORKFLOW_START: (turn) => {
    turn.apply({ _tag: "WORKFLOW", status: "RUNNING" })
    WorkflowFlow.rebuild(turn)
  }
}
