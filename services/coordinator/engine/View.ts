/** The state as clients see it. */
import type { SessionId, StreamSequence } from "../../../shared/protocol/Token.ts"
import type { WorkflowResult, WorkflowSummary, WorkflowView } from "../../../shared/protocol/Workflow.ts"
import type { WorkflowState } from "./WorkflowState.ts"
/** `seq`: journal sequence of the newest entry that the state holds. */
export const view = (_state: WorkflowState, _session: SessionId, _seq: StreamSequence): WorkflowView => {
  throw new Error("not written yet")
}
export const result = (_state: WorkflowState): WorkflowResult => {
  throw new Error("not written yet")
}
export const summary = (_state: WorkflowState): typeof WorkflowSummary.Type => {
  throw new Error("not written yet")
}
