/**
 * What a task (or an item of a fan-out) does in one state: a method per lifecycle event, none may be missing (DSIP-61's ITaskStateAction). One file in `task-state/` per
 * state, or for those that do the same. The event is about the unit's newest attempt: events of earlier ones do not come here.
 */
import type { TaskLifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { Turn } from "./Turn.ts"
import type { Unit } from "./Unit.ts"

export type TaskStateAction = {
  readonly [Tag in TaskLifecycleEvent["_tag"]]: (
    turn: Turn,
    unit: Unit,
    event: Extract<TaskLifecycleEvent, { readonly _tag: Tag }>
  ) => void
}

/** The event is of no interest in this state: acknowledged, nothing changes. */
export const ignore = (): void => undefined
