/** The state of an instance before its first event (status WAIT_TO_RUN, run 0). */
import type { InstanceId, Shard } from "../../../shared/protocol/Token.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"
/** Feed it `WORKFLOW_START`. */
export const initial = (_graph: WorkflowGraph, _instance: InstanceId, _shard: Shard): WorkflowState => {
  throw new Error("not written yet")
}
