/** Replay and verify: design/03 section 2. */
import type { Entry } from "../../../shared/protocol/Journal.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"
/** The fold of one instance's entries from `n` = 1, oldest first. Undefined for none. */
export const replay = (_entries: ReadonlyArray<Entry>, _graph: WorkflowGraph): WorkflowState | undefined => {
  throw new Error("not written yet")
}
/** One entry for which `decide` now gives something else than was recorded. */
export interface Difference {
  readonly n: number
  readonly part: "transitions" | "effects"
  readonly recorded: unknown
  readonly decided: unknown
}
export const verify = (_entries: ReadonlyArray<Entry>, _graph: WorkflowGraph): ReadonlyArray<Difference> => {
  throw new Error("not written yet")
}
