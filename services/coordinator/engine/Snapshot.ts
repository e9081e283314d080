/** A state as JSON and back. */
import type * as Result from "effect/Result"
import type { WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"
/** JSON.stringify it as it is. `Snapshot.definition(json)` tells which graph to compile for `fromSnapshot`. */
export const snapshotOf = (_state: WorkflowState): unknown => {
  throw new Error("not written yet")
}
/** Fails with what is wrong when the JSON is no snapshot of this version or not of this graph. */
export const fromSnapshot = (_json: unknown, _graph: WorkflowGraph): Result.Result<WorkflowState, string> => {
  throw new Error("not written yet")
}
