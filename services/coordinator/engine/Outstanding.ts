/** What must be carried out again after a take-over. */
import type { EngineEffect } from "./EngineEffect.ts"
import type { WorkflowState } from "./WorkflowState.ts"
/** Dispatches of SUBMITTED tasks, timers with their own dueAt, intents, asks for DISPATCHED and RUNNING tasks; Finalize of a run that rests. */
export const outstanding = (_state: WorkflowState): ReadonlyArray<EngineEffect> => {
  throw new Error("not written yet")
}
