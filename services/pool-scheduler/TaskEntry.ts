/**
 * One task that may run: an entry of a lane with where it stands between the lane, its claim and its executor. design/04 section 2.
 *
 * Kept true here: one task has one key in a pool, and its claim's holder names it, so that an owner that takes over knows whose sandbox it found. A mutable record,
 * changed only by `SchedulerCore`.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { InboundEntry, LaneName } from "../../shared/protocol/Lane.ts"
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import {
  type EpochMs,
  InstanceId,
  type MemberId,
  type Priority,
  type SessionId,
  Shard,
  type StartupId,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import type { Queueable } from "./DispatchQueue.ts"

/** Who names no team is of this one; direct claims and tasks alike. */
export const teamDefault = "default"

/** What an executor says of a task that it was given: `Held` in any way, or never heard of. */
export type Custody = "Held" | "Unknown" | "NoAnswer"

/** The holder of a task's claim, as it stands on the sandbox. */
export const taskHolder = (shard: Shard, instance: InstanceId, task: TaskInstanceId): string =>
  `task/${shard}/${instance}/${task}`

const decodeTask = Schema.decodeUnknownOption(
  Schema.Struct({ shard: Shard, instance: InstanceId, task: TaskInstanceId })
)

/** `task/<shard>/<instance>/<task instance>` as `taskHolder` writes it; undefined for any other holder. */
export const taskOf = (holder: string) => {
  const [kind, shard, instance, task] = holder.split("/")
  return kind === "task" ? Option.getOrUndefined(decodeTask({ shard: Number(shard), instance, task })) : undefined
}

/** Names a task among all of a pool. */
export const keyOf = (instance: InstanceId, task: TaskInstanceId): string => `${instance}/${task}`

/** A lane message on its way: acknowledged when `open` is 0. */
export interface Carrier {
  readonly key: string
  ack: () => void
  open: number
}

export class TaskEntry implements Queueable {
  readonly lane: LaneName
  readonly shard: Shard
  readonly session: SessionId
  readonly owner: MemberId
  readonly instance: InstanceId
  readonly taskInstanceId: TaskInstanceId
  readonly type: string
  readonly priority: Priority
  readonly taskPriority: Priority
  readonly team: string
  readonly selector: Labels | undefined
  readonly enqueuedAt: EpochMs
  readonly key: string
  place = 0
  /** Its lane message; undefined when it needs no acknowledgement any more. */
  carrier: Carrier | undefined
  state: "Waiting" | "Checking" | "Claiming" | "Queued" | "Delivered" | "Registered" | "Done" = "Waiting"
  claim: Claim | undefined = undefined
  checkedAt: EpochMs
  executor: MemberId | undefined = undefined
  startup: StartupId | undefined = undefined
  deliveredAt: EpochMs = 0
  isAsked = false

  /** The task of a claim that an earlier owner made: past its registration, as far as is known. */
  static adopted(shard: Shard, instance: InstanceId, taskInstanceId: TaskInstanceId): TaskEntry {
    const entry = { instance, taskInstanceId, type: "", priority: 0, taskPriority: 0, enqueuedAt: 0 }
    return new TaskEntry("ready", "" as MemberId, shard, 0 as SessionId, entry, undefined) // whose task it is, is not known and not needed
  }

  constructor(
    lane: LaneName,
    owner: MemberId,
    shard: Shard,
    session: SessionId,
    entry: InboundEntry,
    carrier: Carrier | undefined
  ) {
    this.lane = lane
    this.key = keyOf(entry.instance, entry.taskInstanceId)
    this.owner = owner
    this.shard = shard
    this.session = session
    this.instance = entry.instance
    this.taskInstanceId = entry.taskInstanceId
    this.type = entry.type
    this.priority = entry.priority
    this.taskPriority = entry.taskPriority
    this.team = entry.team ?? teamDefault
    this.selector = entry.selector
    this.enqueuedAt = entry.enqueuedAt
    this.checkedAt = entry.enqueuedAt
    this.carrier = carrier
  }
}
