/**
 * The state of one workflow instance: an immutable value, the fold of its journal's transitions. design/03 sections 2 and 4.
 *
 * Kept true here: everything but `graph` is JSON (a snapshot is the value itself); a change copies what it touches and shares the rest; the counters always
 * agree with the table (`active` is the number of nodes with the mark Active, and so on), so no question about the whole needs a walk over it.
 */
import type { Parent, StartData } from "../../../shared/protocol/Journal.ts"
import type { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import type { EpochMs, InstanceId, Shard } from "../../../shared/protocol/Token.ts"
import type { WorkflowStatus } from "../../../shared/protocol/Workflow.ts"
import type * as ChunkedVector from "./ChunkedVector.ts"
import type { Request } from "./Requests.ts"
import type { Semaphore } from "./Semaphore.ts"
import type { TaskState } from "./TaskState.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"

export interface WorkflowState {
  readonly graph: WorkflowGraph
  readonly instance: InstanceId
  readonly shard: Shard
  readonly status: WorkflowStatus
  /** 1, 2, ...: a rerun adds one. 0 before START. */
  readonly run: number
  readonly start: StartData | undefined
  /** Global params overridden by start params. */
  readonly params: Readonly<Record<string, unknown>>
  /** For tasks that name none: the start request's, else the definition's. */
  readonly pool: PoolRef
  readonly startedAt: EpochMs
  readonly endedAt: EpochMs | undefined
  readonly reason: string | undefined
  /** The workflow's time-out, while it is armed. */
  readonly timeoutAt: EpochMs | undefined
  /** When the system's maximum run time is over, while that is armed. */
  readonly limitAt: EpochMs | undefined
  /** The time-out struck with strategy `fail`, or the maximum run time was over: a stop whose result is FAILED. */
  readonly timedOut: boolean
  /** Failure strategy `end` has struck: nothing starts any more. */
  readonly ending: boolean
  /** The result that is taken once the cleanup task has ended. */
  readonly resolved: { readonly status: WorkflowStatus; readonly reason?: string } | undefined
  readonly poisoned: boolean
  /** While only chosen tasks of an ended run are run again: how it had ended. */
  readonly partial: { readonly status: WorkflowStatus; readonly reason?: string } | undefined
  /** The attempt that it is the sub-workflow of. */
  readonly parent: Omit<Parent, "depth"> | undefined
  /** Its ticket for the slot of its serial definition, the last one when it rests. */
  readonly serial: string | undefined
  /** Of an instance that is one. */
  readonly semaphore: Semaphore | undefined
  /** The newest commands that were done and had an id, oldest first. */
  readonly requests: ReadonlyArray<Request>
  /** By node index; after the tasks the nodes of `onCommit` and `onCleanup` where the definition has them. */
  readonly tasks: ChunkedVector.ChunkedVector<TaskState>
  readonly active: number
  readonly failedChains: number
  readonly pausedChains: number
  readonly killedChains: number
  /** Tasks whose outputs are not empty. */
  readonly withOutputs: number
}
