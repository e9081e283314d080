/** What an executor asks before it runs an attempt, and what its reports are checked against. */
import type * as Option from "effect/Option"
import type * as Result from "effect/Result"
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { TaskSpec } from "../../../shared/protocol/Report.ts"
import type { MemberId, SessionId, StartupId, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** `Registered`: publish TASK_DISPATCHED (idempotent), then answer with `taskSpec`. */
export type RegistrationOutcome =
  | { readonly _tag: "Registered" }
  | { readonly _tag: "AlreadyAssigned" }
  | { readonly _tag: "NoLongerRunnable"; readonly why: string }
export const registrationOutcome = (
  _state: WorkflowState,
  _id: TaskInstanceId,
  _placement: Placement
): RegistrationOutcome => {
  throw new Error("not written yet")
}
/** Ask it with the state after the turn. The failure text can't happen for a task that decide dispatched; publish it as TASK_FATAL. */
export const taskSpec = (
  _state: WorkflowState,
  _id: TaskInstanceId,
  _session: SessionId
): Result.Result<TaskSpec, string> => {
  throw new Error("not written yet")
}
/** Whether the attempt is its task's newest and is (or was, when it has ended) held by this executor: false = answer Superseded. */
export const isLive = (
  _state: WorkflowState,
  _id: TaskInstanceId,
  _executor: MemberId,
  _startup: StartupId
): boolean => {
  throw new Error("not written yet")
}
/** The attempt that was handed the sandbox of `id` (also for a repeated final fact), while it runs: `Accepted.next`. */
export const handedTo = (_state: WorkflowState, _id: TaskInstanceId): Option.Option<TaskInstanceId> => {
  throw new Error("not written yet")
}
/** Attempts that this incarnation of an executor holds: the targets of a WORKER_FAILOVER. */
export const heldBy = (
  _state: WorkflowState,
  _executor: MemberId,
  _startup: StartupId
): ReadonlyArray<TaskInstanceId> => {
  throw new Error("not written yet")
}
