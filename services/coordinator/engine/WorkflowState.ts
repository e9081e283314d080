/**
 * The state of one workflow instance: an immutable value, the fold of its journal's transitions. design/03 sections 2 and 4.
 *
 * Kept true here: everything but `graph` is JSON (a snapshot is the value itself); a change copies what it touches and shares the rest; the counters always
 * agree with the table (`active` is the number of nodes with the mark Active, and so on), so no question about the whole needs a walk over it.
 */
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { Parent, StartData } from "../../../shared/protocol/Journal.ts"
import type { Outputs } from "../../../shared/protocol/Report.ts"
import type { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import type { EpochMs, InstanceId, MemberId, Shard, StartupId, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { Intent, TaskStatus, WorkflowStatus } from "../../../shared/protocol/Workflow.ts"
import type * as ChunkedVector from "./ChunkedVector.ts"
import type { Request } from "./Requests.ts"
import type { Semaphore } from "./Semaphore.ts"
import type { WorkflowGraph } from "./WorkflowGraph.ts"

/** Bits of `TaskState.marks`: design/03 section 5. */
export const Mark = {
  /** Not part of this run's sub-DAG. */
  Outside: 1,
  /** From its trigger to its TOPOLOGY event. */
  Active: 2,
  /** Its TOPOLOGY event was handled (or it will never run, and its successors know). */
  Inactive: 4,
  Skipped: 8,
  /** A switch did not take it: stays skipped when a run is recovered. */
  NotTaken: 16,
  FailedChain: 32,
  PausedChain: 64,
  KilledChain: 128,
  /** Can't run because of its predecessors. */
  Blocked: 256,
  /** Counts as succeeded without an attempt (forbidden, dry run). */
  Passed: 512,
  /** Not among the tasks that are run again; the next recovery has it again. */
  Held: 1024
} as const

/** One attempt of a task or of a fan-out item. Times are epoch milliseconds. */
export interface Attempt {
  readonly id: TaskInstanceId
  /** 1, 2, ... */
  readonly n: number
  readonly status: TaskStatus
  readonly submittedAt: EpochMs
  readonly dispatchedAt?: EpochMs
  readonly startedAt?: EpochMs
  readonly endedAt?: EpochMs
  readonly exitCode?: number
  readonly reason?: string
  readonly executor?: MemberId
  readonly startup?: StartupId
  readonly placement?: Placement
  /** Of a task in a concurrency group, while it lives: it waits for a slot, has one, or goes without. `slotAt`: since when it need not wait. */
  readonly slot?: "waiting" | "held" | "forced"
  readonly slotAt?: EpochMs
  /** Of a sub-workflow: the instance that it is. */
  readonly child?: InstanceId
  /** End of the delay, or of the wait for a retry. */
  readonly due?: EpochMs
  /** When its time-out strikes (has struck, with `timedOut`, or warned, with `warned`). */
  readonly timeoutAt?: EpochMs
  readonly timedOut?: true
  readonly warned?: true
  /** Highest sequence of a runtime context seen, and that context (while it runs). */
  readonly sequence?: number
  readonly context?: Outputs
  /** The attempts that were handed the sandbox of this one, in order. */
  readonly next?: ReadonlyArray<TaskInstanceId>
}

/** What runs: a task, or one item of a fan-out. `attempt` is the newest; `past` those before it, oldest first. */
export interface Execution {
  readonly attempt: Attempt
  readonly past: ReadonlyArray<Attempt>
  /** State of the task; that of its newest attempt may differ (FAILED attempt of a task PAUSED while it waits for its retry). */
  readonly status: TaskStatus
  readonly intent: Intent
  /** Failures counted against `retry.times`. */
  readonly failures: number
  readonly outputs?: Outputs
}

/** A fan-out: one execution for each value, `undefined` before its first attempt. */
export interface Items {
  readonly values: ReadonlyArray<unknown>
  readonly executions: ChunkedVector.ChunkedVector<Execution | undefined>
  /** Items before it were started. */
  readonly next: number
  readonly active: number
  readonly succeeded: number
  readonly failed: number
  readonly halted: number
}

/** One node of the graph in this run. `pending`: predecessors not handled yet; `ok`, `failed`, `skipped`: how the handled ones ended. */
export interface TaskState {
  readonly marks: number
  readonly pending: number
  readonly ok: number
  readonly failed: number
  readonly skipped: number
  readonly status?: TaskStatus
  readonly why?: string
  readonly execution?: Execution
  readonly items?: Items
  /** Attempts of fan-outs that were started again begin above this. */
  readonly attemptFloor?: number
  /** Outputs that a fork took over from its original; no attempt of this run gave them. */
  readonly taken?: Outputs
}

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

/** It holds no attempt that may still do something: not even one that waits for its retry. */
export const isEnded = ({ attempt, status }: Execution): boolean =>
  status === "SUCCEEDED" || status === "FORCED_SUCCESS" || status === "KILLED" || status === "PAUSED" ||
  (status === "FAILED" && attempt.due === undefined)
