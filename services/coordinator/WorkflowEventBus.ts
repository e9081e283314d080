/**
 * The event bus of one workflow instance: the events that wait for it, in order of arrival, and the instance's place in the journal.
 *
 * Nothing but the bus's worker changes the instance. An event is settled exactly once: recorded (the journal has the entry that handled it) or lost (this
 * process stopped owning the shard). The queue is bounded: a full bus refuses, and the sender tries again. Follows design/03 section 1.
 */
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import type { InstanceId, MemberId, Shard } from "../../shared/protocol/Token.ts"
import type { WorkflowResult } from "../../shared/protocol/Workflow.ts"
import * as Chain from "./engine/Chain.ts"
import type { Alert } from "./engine/EngineEffect.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"

/** Events that may wait on one bus. */
export const busLengthMax = 16_384

export type Settlement = "Recorded" | "Lost"

export interface PendingEvent {
  /** `undefined`: nothing but a wait until everything before it is recorded. */
  readonly event: LifecycleEvent | undefined
  /** After the turn, before the append: reads from the new state what the answer will be. */
  readonly decided?: (state: WorkflowState) => void
  /** The answer may go ahead of the append, to an executor that reads the append's acknowledgement: called after `decided`, at most once; `settled` follows all the same. */
  readonly early?: { readonly reader: MemberId; readonly send: (subject: string) => void } | undefined
  /** After the append, or when it can no longer happen. */
  readonly settled?: (settlement: Settlement) => void
}

/** An entry as the journal has it, for the derived history. */
export interface RecordedEntry {
  readonly sequence: number
  readonly n: number
  readonly text: string
}

export class WorkflowEventBus {
  readonly instance: InstanceId
  readonly shard: Shard
  /** As decided; ahead of `committed` only while an append is in flight. */
  state: WorkflowState
  /** As the journal has it: the only state that leaves this process. */
  committed: WorkflowState
  /** Entries so far, the hash of the last one, and the journal sequence of its message. */
  n = 0
  hash = Chain.genesis
  sequence = 0
  /** Fingerprint of the start request while START waits for its turn; from then on the state has it. */
  startContent: string | undefined
  /** In its worker's line of buses that have something to do. */
  isWaiting = false
  /** An entry of it is in the append that is in flight. */
  isAppending = false
  /** `n` when the sweep looked last, when it was found to stay in memory, and when it was to leave (`PassiveInstances`). */
  sweptAt = -1
  staysAt = -1
  leavesAt = -1
  /** Recorded, not yet in the derived history. */
  readonly unprojected: Array<RecordedEntry> = []
  /** Alerts of entries that were read from the journal: whoever recorded them may have died before they were stored. */
  readonly untold: Array<Alert> = []
  /** Who wants the result when the run rests; `undefined`: this process no longer owns the shard. The set outlives the bus while the instance is passive. */
  resultWaiters = new Set<(result: WorkflowResult | undefined) => void>()
  #queue: Array<PendingEvent> = []

  constructor(state: WorkflowState) {
    this.instance = state.instance
    this.shard = state.shard
    this.state = state
    this.committed = state
  }

  get length(): number {
    return this.#queue.length
  }

  /** `false`: full. */
  offer(pending: PendingEvent): boolean {
    if (this.#queue.length >= busLengthMax) return false
    this.#queue.push(pending)
    return true
  }

  /** The next events, `max` at most. */
  take(max: number): ReadonlyArray<PendingEvent> {
    if (this.#queue.length <= max) {
      const all = this.#queue
      this.#queue = []
      return all
    }
    return this.#queue.splice(0, max)
  }
}
