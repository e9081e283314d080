/**
 * Whether an instance may leave memory while its run goes on: pure.
 *
 * Kept true here: it may when nothing of it is dispatched or running and nothing is asked for it that lives in this process alone, so that all it waits for is a timer that is
 * far, or a message of another instance (a slot, the end of a sub-workflow), which loads it again. What it waits for is read from `Outstanding`, the same list that
 * a take-over does again, so a kind of wait that is added there stays in memory until it is allowed here. Follows design/01 section 3.
 */
import * as Effect from "effect/Effect"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as DurationSetting from "./DurationSetting.ts"
import * as ChunkedVector from "./engine/ChunkedVector.ts"
import * as Outstanding from "./engine/Outstanding.ts"
import { type Execution, isEnded, Mark } from "./engine/TaskState.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"

/** An instance whose next timer is nearer than this stays in memory. */
export const afterMsDefault = 30_000

/** `HEDDLE_PASSIVATE_AFTER` in milliseconds: a duration such as "5m"; 30 s when it is not given, or empty. Fails with InvalidMessage when it is no duration above zero. */
export const fromEnvironment: Effect.Effect<number, ContractError> = Effect.map(
  DurationSetting.fromEnvironment("HEDDLE_PASSIVATE_AFTER", "5m"),
  (ms) => ms ?? afterMsDefault
)

/**
 * `Leaves`: nothing but its timers, the earliest at `dueAt`, and messages concern it; without `dueAt` only a message can.
 * `Stays`: it does not wait, or not for long; that does not change without an event. `Unsure`: more than `looksMax` tasks and items would have had to be looked at.
 */
export type Decision =
  | { readonly _tag: "Stays" }
  | { readonly _tag: "Unsure" }
  | { readonly _tag: "Leaves"; readonly dueAt: number | undefined }

const stays: Decision = { _tag: "Stays" }
const unsure: Decision = { _tag: "Unsure" }

/** Of an execution that has not ended: it waits for a timer, for a slot, or for the instance that it is. */
const waits = ({ attempt, status }: Execution): boolean => {
  switch (status) {
    case "DELAY_EXECUTION":
    case "FAILED":
      return attempt.due !== undefined
    case "SUBMITTED":
      return attempt.slot === "waiting"
    case "DISPATCHED":
    case "RUNNING":
      return attempt.child !== undefined
    default:
      return false
  }
}

/** Stops at the first that does not wait. `undefined`: more than `looksMax` to look at. */
const allWait = (state: WorkflowState, looksMax: number): boolean | undefined => {
  let looks = 0
  for (const node of state.graph.nodes) {
    if (++looks > looksMax) return undefined
    const task = ChunkedVector.get(state.tasks, node.index)
    if ((task.marks & Mark.Active) === 0) continue
    if (task.execution !== undefined && !isEnded(task.execution) && !waits(task.execution)) return false
    if (task.items === undefined || task.items.active === 0) continue
    for (let item = 0; item < task.items.next; item++) {
      if (++looks > looksMax) return undefined
      const execution = ChunkedVector.get(task.items.executions, item)
      if (execution !== undefined && !isEnded(execution) && !waits(execution)) return false
    }
  }
  return true
}

/** What is done about an instance in this state, at `now`, when what waits longer than `afterMs` is to leave. */
export const decide = (state: WorkflowState, now: number, afterMs: number, looksMax = Infinity): Decision => {
  if (state.run === 0 || state.endedAt !== undefined || state.semaphore !== undefined) return stays
  if (state.active === 0 && state.status !== "SERIAL_WAIT") return stays
  const isWaiting = allWait(state, looksMax)
  if (isWaiting !== true) return isWaiting === undefined ? unsure : stays
  let dueAt: number | undefined
  for (const effect of Outstanding.outstanding(state)) {
    if (effect._tag === "ArmTimer") dueAt = Math.min(dueAt ?? Infinity, effect.dueAt)
    // a message was safe at its target before this is asked for good; it is said again only by another owner
    else if (effect._tag !== "Send") return stays
  }
  return dueAt !== undefined && dueAt - now <= afterMs ? stays : { _tag: "Leaves", dueAt }
}
