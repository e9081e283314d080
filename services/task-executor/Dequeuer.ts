/**
 * Fetches assignments from one pool by long polls, as many as there are free slots.
 *
 * Keeps true: at most two polls are in flight (one while the pool has nothing, so that an idle pool holds few slots of the others); each asks for slots that
 * it has reserved; after an error it waits, longer each time; once stopped it asks no more, and what still arrives is handed back. Follows design/04 section 2.
 */
import * as Result from "effect/Result"
import { DequeueAnswer, dequeueMax, type DequeueRequest, type TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { poolKey } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"
import type { Identity } from "./Attempt.ts"
import type { Later } from "./Later.ts"
import type { Slots } from "./Slots.ts"
import * as Wire from "./Wire.ts"

/** How long the pool may hold a poll. Short, so that a dead scheduler and an ending executor are soon seen. */
export const waitMs = 1_000
/** Beyond `waitMs`: the way there and back. */
const slackMs = 2_000
export const pollsMax = 2
const backoffFirstMs = 100
const backoffMaxMs = 5_000
/** The share of the slots that a pool which has nothing may hold. */
const idleShare = 16

const dequeue = Wire.question(DequeueAnswer)

export interface DequeuerOptions {
  readonly pool: PoolRef
  readonly identity: Identity
  readonly slots: Slots
  readonly wire: Wire.Wire
  readonly later: Later
  /** Never more than what was asked for; their slots are taken. */
  readonly onAssignments: (pool: PoolRef, session: SessionId, assignments: ReadonlyArray<TaskAssignment>) => void
  /** Assignments beyond what was asked for, or after the end: they are to be returned. */
  readonly onSurplus: (pool: PoolRef, assignments: ReadonlyArray<TaskAssignment>) => void
  /** After each poll, when slots have become free. */
  readonly onSettled: () => void
}

export class Dequeuer {
  private readonly options: DequeuerOptions
  private readonly subject: string
  private polls = 0
  private failures = 0
  private isWaiting = false
  private isBusy = false
  private isStopped = false

  constructor(options: DequeuerOptions) {
    this.options = options
    this.subject = Subject.rpc.pool(options.pool, "dequeue")
  }

  get pool(): PoolRef {
    return this.options.pool
  }

  get inFlight(): number {
    return this.polls
  }

  /** Asks if there is something to ask for. Called whenever slots have become free; cheap. */
  pump(): void {
    while (!this.isStopped && !this.isWaiting && this.polls < (this.isBusy ? pollsMax : 1)) {
      const { slots } = this.options
      const share = this.isBusy
        ? Math.ceil(slots.free / 2)
        : Math.min(slots.free, Math.ceil(slots.capacity / idleShare))
      const max = Math.min(share, dequeueMax)
      if (max <= 0) return
      this.poll(max)
    }
  }

  /** No further poll. Those in flight are still answered, and their assignments handed back. */
  stop(): void {
    this.isStopped = true
  }

  private poll(max: number): void {
    const { identity, slots, wire } = this.options
    slots.reserve(max)
    this.polls++
    const request: DequeueRequest = { executor: identity.member, startup: identity.startup, max, waitMs }
    wire.ask(dequeue, this.subject, JSON.stringify(request), waitMs + slackMs, (result) => this.settle(max, result))
  }

  private settle(max: number, result: Result.Result<DequeueAnswer, Wire.AskFailure>): void {
    const { later, onAssignments, onSettled, onSurplus, pool, slots } = this.options
    this.polls--
    if (Result.isFailure(result)) {
      slots.settle(max, 0)
      this.failures++
      this.isBusy = false
      // Only what a pool's owner would have to repair is worth a line, and only when it lasts.
      if (this.failures === 5 && !this.isStopped) {
        later.warn(`pool ${poolKey(pool)} gives no assignments: ${Wire.reasonOf(result.failure)}`)
      }
      if (!this.isWaiting && !this.isStopped) {
        this.isWaiting = true
        later.after(later.backoffMs(this.failures, backoffFirstMs, backoffMaxMs), () => {
          this.isWaiting = false
          this.pump()
        })
      }
      onSettled()
      return
    }
    this.failures = 0
    const { assignments, sessionId } = result.success
    const taken = this.isStopped ? 0 : Math.min(assignments.length, max)
    slots.settle(max, taken)
    this.isBusy = assignments.length > 0
    if (taken > 0) {
      onAssignments(pool, sessionId, taken === assignments.length ? assignments : assignments.slice(0, taken))
    }
    if (taken < assignments.length) onSurplus(pool, assignments.slice(taken))
    onSettled()
  }
}
