/**
 * The timers of an instance: their names, and how they are armed and cancelled. design/03 section 2.
 *
 * Kept true here: what a timer is for and whom it concerns make its name, so that the same one armed again replaces itself, by whoever takes the instance over too.
 */
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { EpochMs, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { ArmTimer, CancelTimer } from "./EngineEffect.ts"

/** Of an attempt by its id, of the workflow by its run. */
export const timerOf = {
  retry: (id: TaskInstanceId) => `retry:${id}`,
  delay: (id: TaskInstanceId) => `delay:${id}`,
  run: (id: TaskInstanceId) => `timeout:${id}`,
  dispatch: (id: TaskInstanceId) => `dispatch:${id}`,
  workflow: (run: number) => `workflow:${run}`,
  limit: (run: number) => `limit:${run}`
}

export const arm = (timer: string, dueAt: EpochMs, event: LifecycleEvent): ArmTimer => ({
  _tag: "ArmTimer",
  id: `arm:${timer}@${dueAt}`,
  timer,
  dueAt,
  event
})
export const cancel = (timer: string): CancelTimer => ({ _tag: "CancelTimer", id: `cancel:${timer}`, timer })
