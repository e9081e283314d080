/**
 * A placement policy: which waiting task goes next. Pure and synchronous: the scheduler's core offers entries, asks for the next, and withdraws what is stale.
 *
 * It owns ordering only. Lanes, sessions, claims and back-pressure are the core's (design/04 section 2). What a policy keeps true: every offered entry is
 * either picked once, withdrawn, or still counted by `size`; `putBack` restores the place an entry was picked from; no operation lists or sorts all entries.
 */
import type { LaneName } from "../protocol/Lane.ts"
import type { InstanceId, Priority, Shard, TaskInstanceId } from "../protocol/Token.ts"

/** A task that may run, as a policy sees it. The core hands in its own objects and gets the same ones back. */
export interface Offered {
  readonly lane: LaneName
  readonly shard: Shard
  /** The job: one workflow instance. */
  readonly instance: InstanceId
  readonly taskInstanceId: TaskInstanceId
  /** Workflow priority, then task priority, 0 lowest .. 9 highest. */
  readonly priority: Priority
  readonly taskPriority: Priority
  readonly team: string
  /** The policy's own note, for instance a number in its order; 0 when it is offered. The core keeps it with the entry and makes nothing of it. */
  place: number
}

/** One pool's policy in use. */
export interface Placement<Entry extends Offered> {
  readonly size: number
  offer(entry: Entry): void
  /** Takes the next entry; `undefined` when there is none. */
  next(): Entry | undefined
  /**
   * A picked entry comes back (no sandbox, a hand-back): to the place it had. When all that was picked lately comes back, in any order, it is picked again in the
   * order that it was picked in before; and it goes before everything like it that was offered after it.
   */
  putBack(entry: Entry): void
  /** An entry that waits will never run (stale session, withdrawn, finished job). Unknown entries are ignored. */
  remove(entry: Entry): void
}

/** What a plugin contributes under `placementPolicies`. */
export interface PlacementPolicy {
  /** `PoolSpec.policy`. */
  readonly name: string
  /** `weights`: shares of teams (`PoolSpec.teams`); a team not named weighs 1. */
  make<Entry extends Offered>(options: { readonly weights: ReadonlyMap<string, number> }): Placement<Entry>
}
