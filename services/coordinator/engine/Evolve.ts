/** The fold: transitions over state. Pure. */
import type { Entry, LifecycleEvent, Transition } from "../../../shared/protocol/Journal.ts"
import type { EpochMs } from "../../../shared/protocol/Token.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** The part of an entry that its transitions refer to: their time, and the causes whose payload they take over (`of`). */
export interface TurnContext {
  readonly at: EpochMs
  readonly cause: ReadonlyArray<LifecycleEvent>
}
export const evolve = (_state: WorkflowState, _transition: Transition, _turn: TurnContext): WorkflowState => {
  throw new Error("not written yet")
}
/** `evolve` over all transitions of one entry. */
export const foldEntry = (
  state: WorkflowState,
  entry: Pick<Entry, "at" | "cause" | "transitions">
): WorkflowState => {
  let next = state
  for (const transition of entry.transitions) next = evolve(next, transition, entry)
  return next
}
