/** decide: one turn of an instance. */
import type { LifecycleEvent, Transition } from "../../../shared/protocol/Journal.ts"
import type { FactReport } from "../../../shared/protocol/Report.ts"
import type { EpochMs } from "../../../shared/protocol/Token.ts"
import type { EngineEffect } from "./EngineEffect.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** `cause`: the events as the entry must record them. No transitions and no effects: nothing happened, no entry is needed. */
export interface Decision {
  readonly state: WorkflowState
  readonly cause: ReadonlyArray<LifecycleEvent>
  readonly transitions: ReadonlyArray<Transition>
  readonly effects: ReadonlyArray<EngineEffect>
}
export const decide = (_state: WorkflowState, _events: ReadonlyArray<LifecycleEvent>, _now: EpochMs): Decision => {
  throw new Error("not written yet")
}
/** After a defect in `decide` that came back N times: the workflow FAILED with that reason. */
export const poison = (_state: WorkflowState, _reason: string, _now: EpochMs): Decision => {
  throw new Error("not written yet")
}
/** An executor's report as a lifecycle event. */
export const fromFact = (_report: FactReport): LifecycleEvent => {
  throw new Error("not written yet")
}
/** Why a command can't be taken now (answer `Conflict` with it), or undefined. */
export const refusal = (_state: WorkflowState, _event: LifecycleEvent): string | undefined => {
  throw new Error("not written yet")
}
