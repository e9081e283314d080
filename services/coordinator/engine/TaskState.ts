/**
 * The state of one node of the graph in a run: its marks, how its predecessors ended, its attempts or those of its items. design/03 sections 4 and 5.
 *
 * Kept true here: all of it is JSON; it names other nodes by nothing but counts, so it can be read without the graph.
 */
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { Outputs } from "../../../shared/protocol/Report.ts"
import type { EpochMs, InstanceId, MemberId, StartupId, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { Intent, TaskStatus } from "../../../shared/protocol/Workflow.ts"
import type * as ChunkedVector from "./ChunkedVector.ts"

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

/** It holds no attempt that may still do something: not even one that waits for its retry. */
export const isEnded = ({ attempt, status }: Execution): boolean =>
  status === "SUCCEEDED" || status === "FORCED_SUCCESS" || status === "KILLED" || status === "PAUSED" ||
  (status === "FAILED" && attempt.due === undefined)
