/**
 * Between a task executor and the pool's owner: `heddle.rpc.pool.<ns>.<pool>.dequeue` (long poll) and `.settle`. design/04 section 2.
 */
import * as Schema from "effect/Schema"
import { PoolRef, Sandbox } from "./Sandbox.ts"
import { ClaimId, InstanceId, MemberId, SessionId, Shard, StartupId, TaskInstanceId, Token } from "./Token.ts"

export const dequeueMax = 1_000
export const dequeueWaitMaxMs = 30_000

/** `max`: free slots. The answer comes as soon as there is one assignment, with all that are there, or empty after `waitMs`. */
export const DequeueRequest = Schema.Struct({
  executor: MemberId,
  startup: StartupId,
  max: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: dequeueMax })),
  waitMs: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: dequeueWaitMaxMs }))
})
export type DequeueRequest = typeof DequeueRequest.Type

/** A sandbox claimed for a task that has still to be registered with `owner`, who refuses an older `session` of the shard. */
export const TaskAssignment = Schema.Struct({
  claimId: ClaimId,
  sandbox: Sandbox,
  owner: MemberId,
  shard: Shard,
  session: SessionId,
  instance: InstanceId,
  taskInstanceId: TaskInstanceId,
  type: Token,
  /** Further tasks of the same instance that may follow in this sandbox without going through the pool again (hand-off, design/04 section 2). */
  handOff: Schema.Int
})
export type TaskAssignment = typeof TaskAssignment.Type

/** `sessionId`: the pool's session, checked at delivery. */
export const DequeueAnswer = Schema.Struct({ sessionId: SessionId, assignments: Schema.Array(TaskAssignment) })
export type DequeueAnswer = typeof DequeueAnswer.Type

/**
 * What became of assignments. `registered`: the lane entry is done with. `dropped`: stale or no longer runnable: lane entry done with, sandbox free again.
 * `returned`: not registered for want of an answer or at shutdown: the entry goes back to its place. `released`: the task has ended, so the lane entry is done with too, and the sandbox is free.
 * `lost`: the sandbox vanished or is broken: replace it.
 * Idempotent per claim; retried until answered.
 */
export const SettleRequest = Schema.Struct({
  executor: MemberId,
  startup: StartupId,
  registered: Schema.Array(ClaimId),
  dropped: Schema.Array(ClaimId),
  returned: Schema.Array(ClaimId),
  released: Schema.Array(ClaimId),
  lost: Schema.Array(ClaimId)
})
export type SettleRequest = typeof SettleRequest.Type
export const SettleAnswer = Schema.Struct({ sessionId: SessionId })

/** Where a task runs, as the journal keeps it. */
export const Placement = Schema.Struct({
  executor: MemberId,
  startup: StartupId,
  pool: PoolRef,
  poolSession: SessionId,
  claimId: ClaimId,
  sandbox: Schema.String
})
export type Placement = typeof Placement.Type
