/**
 * What a decision asks the shell to do after the journal has its entry. Data only; each has a deterministic `id` and is idempotent at its target, so that an
 * owner that takes over may do again whatever `Outstanding.outstanding` says. The journal keeps the ids. Follows design/03 section 2.
 */
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { InboundEntry, LaneName } from "../../../shared/protocol/Lane.ts"
import type { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import type { Signal } from "../../../shared/protocol/Signal.ts"
import type {
  EpochMs,
  InstanceId,
  MemberId,
  Namespace,
  StartupId,
  TaskInstanceId,
  TaskName
} from "../../../shared/protocol/Token.ts"
import type { WorkflowResult } from "../../../shared/protocol/Workflow.ts"

/** An attempt may run: put it on the lane. */
export interface Dispatch {
  readonly _tag: "Dispatch"
  readonly id: string
  readonly lane: LaneName
  readonly pool: PoolRef
  readonly entry: InboundEntry
}

/** An attempt that was on a lane may no longer run (best effort; registration is what refuses it). */
export interface Withdraw {
  readonly _tag: "Withdraw"
  readonly id: string
  readonly pool: PoolRef
  readonly instance: InstanceId
  readonly taskInstanceId: TaskInstanceId
}

/**
 * Told to the executor that has the attempt. `Kill` and `Pause` are sent again with backoff while the attempt's intent stands. The answer `Unknown`, or an
 * executor that is gone, becomes `TASK_FAILOVER {lost: true}`, which settles the intent as well.
 */
export interface Control {
  readonly _tag: "Kill" | "Pause" | "Ask"
  readonly id: string
  readonly taskInstanceId: TaskInstanceId
  readonly executor: MemberId
  readonly startup: StartupId
}

/** At `dueAt` put `event` on the instance's bus. The same id again replaces the timer. Ids are unique within an instance. */
export interface ArmTimer {
  readonly _tag: "ArmTimer"
  readonly id: string
  readonly timer: string
  readonly dueAt: EpochMs
  readonly event: LifecycleEvent
}

export interface CancelTimer {
  readonly _tag: "CancelTimer"
  readonly id: string
  readonly timer: string
}

/** A message to another instance, by way of its shard's owner: at least once, in order per target. An instance leaves memory only when its messages are stored. */
export interface Send {
  readonly _tag: "Send"
  readonly id: string
  readonly to: InstanceId
  readonly from: InstanceId
  readonly event: Signal["event"]
}

/** The newest run of `workflow` of `namespace` that started in the window; `is`: how it must have ended. `name`: its key in the outputs. */
export interface Dependency {
  readonly workflow: string
  readonly namespace: Namespace
  readonly name: string
  readonly from: EpochMs
  readonly to: EpochMs
  readonly is: "success" | "failed"
}

/** All of them, or any. */
export interface Question {
  readonly instance: InstanceId
  readonly mode: "all" | "any"
  readonly of: ReadonlyArray<Dependency>
}

/** How other workflows ended: the answer is TASK_SUCCEEDED or TASK_FAILED of this attempt. Asked again until there is one. */
export interface Query {
  readonly _tag: "Query"
  readonly id: string
  readonly taskInstanceId: TaskInstanceId
  readonly question: Question
}

export interface Alert {
  readonly _tag: "Alert"
  readonly id: string
  readonly kind: "TaskTimeout" | "WorkflowTimeout" | "WorkflowFailed" | "WorkflowStopped" | "CleanupFailed" | "Poisoned"
  readonly task?: TaskName
  readonly message: string
}

/** The run rests: snapshot, answer who waits, publish the result, drop the instance from memory. */
export interface Finalize {
  readonly _tag: "Finalize"
  readonly id: string
  readonly run: number
  readonly result: WorkflowResult
  readonly replyTo?: string
}

export type EngineEffect = Dispatch | Withdraw | Control | ArmTimer | CancelTimer | Send | Query | Alert | Finalize
