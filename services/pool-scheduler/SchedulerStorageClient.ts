/**
 * The core's view of the coordinators: three lanes to poll and one question (design/04 section 2, after Spider).
 *
 * A poll does not wait: arrivals wake the core. What is polled stays unacknowledged until the core acks it, and comes again to the next owner of the pool otherwise.
 */
import type { JobState, LaneBatch, LaneName } from "../../shared/protocol/Lane.ts"
import type { InstanceId, MemberId, Shard } from "../../shared/protocol/Token.ts"

/** One lane message: what one journal append made ready. A message that comes twice has the same `id`. */
export interface LaneMessage {
  readonly lane: LaneName
  readonly id: string
  readonly batch: LaneBatch
  readonly ack: () => void
}

export interface Job {
  readonly shard: Shard
  readonly instance: InstanceId
}

export interface SchedulerStorageClient {
  pollReady(maxItems: number): ReadonlyArray<LaneMessage>
  pollCommitReady(maxItems: number): ReadonlyArray<LaneMessage>
  pollCleanupReady(maxItems: number): ReadonlyArray<LaneMessage>
  /** Answers in the order of `jobs`; undefined: the coordinator did not answer. */
  jobState(owner: MemberId, jobs: ReadonlyArray<Job>, done: (states: ReadonlyArray<JobState> | undefined) => void): void
}
