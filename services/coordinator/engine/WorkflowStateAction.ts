/**
 * What a workflow does in one state: a method per lifecycle event, none may be missing (DSIP-61's IWorkflowStateAction). One file in `workflow-state/` per state, or for those that
 * do the same.
 */
import type { WorkflowLifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { Turn } from "./Turn.ts"

export type WorkflowStateAction = {
  readonly [Tag in WorkflowLifecycleEvent["_tag"]]: (
    turn: Turn,
    event: Extract<WorkflowLifecycleEvent, { readonly _tag: Tag }>
  ) => void
}

/** The event is of no interest in this state: acknowledged, nothing changes. */
export const ignore = (): void => undefined
