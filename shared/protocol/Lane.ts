/**
 * Lanes: what a coordinator tells a pool about tasks that may run. Memory storage: a lane that was lost is a session bump and a re-emission (design/01 section 4).
 *
 * One message carries what one journal append made ready for one lane, grouped by shard, each group under its shard's session (Spider's `(SessionId, Vec<InboundEntry>)`).
 */
import * as Schema from "effect/Schema"
import { Labels } from "./Sandbox.ts"
import { EpochMs, InstanceId, MemberId, Priority, SessionId, Shard, TaskInstanceId, Token } from "./Token.ts"

export const LaneName = Schema.Literals(["ready", "commit", "cleanup"])
export type LaneName = typeof LaneName.Type
/** The most entries one lane message carries; more go into further messages. */
export const laneEntriesMax = 256

export const InboundEntry = Schema.Struct({
  instance: InstanceId,
  taskInstanceId: TaskInstanceId,
  type: Token,
  /** Workflow priority, then task priority, 0 lowest .. 9 highest. */
  priority: Priority,
  taskPriority: Priority,
  team: Schema.optionalKey(Token),
  selector: Schema.optionalKey(Labels),
  enqueuedAt: EpochMs
})
export type InboundEntry = typeof InboundEntry.Type

export const LaneGroup = Schema.Struct({ shard: Shard, session: SessionId, entries: Schema.Array(InboundEntry) })
export type LaneGroup = typeof LaneGroup.Type
/** `owner`: the coordinator to register with. */
export const LaneBatch = Schema.Struct({ owner: MemberId, groups: Schema.Array(LaneGroup) })
export type LaneBatch = typeof LaneBatch.Type

/** `heddle.member.<coordinator>.job-state`: lets a pool drop entries of instances that are finished or gone. */
export const JobStateRequest = Schema.Struct({
  jobs: Schema.Array(Schema.Struct({ shard: Shard, instance: InstanceId }))
})
export const JobState = Schema.Literals(["Runnable", "Finalizing", "Dead", "NotOwner"])
export type JobState = typeof JobState.Type
export const JobStateAnswer = Schema.Struct({ states: Schema.Array(JobState) })
/** Core publish on `heddle.rpc.pool.<ns>.<pool>.withdraw`: these entries can no longer run (best effort; registration is what refuses them). */
export const Withdraw = Schema.Struct({ instance: InstanceId, taskInstanceIds: Schema.Array(TaskInstanceId) })
