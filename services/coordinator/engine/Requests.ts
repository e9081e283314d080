/**
 * Commands that came with an id (header `Nats-Msg-Id`): the instance remembers the newest of them, so that one that is asked again, of whatever owner and however often,
 * is done once and answered the same. design/02 ("Headers").
 *
 * Kept true here: what was done stands in the journal (`REQUESTED`), so it is known after a take-over, from a checkpoint and of an instance that has left memory; a command
 * that was refused leaves no trace, so it may be asked again with the same id.
 */
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { RequestId } from "../../../shared/protocol/Token.ts"

/** Remembered of one instance; of more, the oldest are forgotten. */
export const requestsMax = 64

export interface Request {
  readonly id: RequestId
  /** What it asked for, without the reason: the same id for something else is a conflict. */
  readonly asks: string
}

/** The id that a command came with. */
export const idOf = (event: LifecycleEvent): RequestId | undefined => "request" in event ? event.request : undefined

/** `rerun`, `run-task load TASK_POST`: in the words of the contract. */
export const asksOf = (event: LifecycleEvent): string => {
  switch (event._tag) {
    case "WORKFLOW_PAUSE":
      return "pause"
    case "WORKFLOW_STOP":
      return "stop"
    case "WORKFLOW_RECOVER":
      return event.mode
    case "WORKFLOW_FORCE_SUCCESS":
      return `force-success ${event.task}`
    case "WORKFLOW_FORCE_START":
      return `force-start ${event.task}`
    case "WORKFLOW_RUN_TASK":
      return `run-task ${event.task} ${event.dependType ?? "TASK_ONLY"}`
    default:
      return event._tag
  }
}

/** `new`: not done yet, or without an id. `done`: a repetition. `other`: its id is that of another command. */
export const standing = (requests: ReadonlyArray<Request>, event: LifecycleEvent): "new" | "done" | "other" => {
  const id = idOf(event)
  const known = id === undefined ? undefined : requests.find((request) => request.id === id)
  return known === undefined ? "new" : known.asks === asksOf(event) ? "done" : "other"
}

export const remember = (requests: ReadonlyArray<Request>, event: LifecycleEvent): ReadonlyArray<Request> => {
  const id = idOf(event)
  return id === undefined ? requests : [...requests, { id, asks: asksOf(event) }].slice(-requestsMax)
}
