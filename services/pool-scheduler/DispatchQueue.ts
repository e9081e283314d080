/**
 * The bounded queue between the scheduler's core and the executors: the core enqueues assignments, executors take them by long poll (design/04 section 2).
 *
 * What it keeps true: at most `capacity` wait here, and a core that finds it full waits, so the fleet's drain rate throttles the core; what was enqueued under an old
 * session of its shard is never delivered after a bump (I6), also not to a poll that was parked before it; a closed queue says so to both sides. Sessions are per shard
 * (docs/design/modules.md, point 7). Synchronous: nobody's wait holds up anybody else.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import type { EpochMs, MemberId, SessionId, Shard, StartupId } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"

/** What the queue needs to know of an assignment. */
export interface Queueable {
  readonly shard: Shard
  readonly session: SessionId
}

/** One executor's long poll. */
export interface Poll<Item> {
  readonly executor: MemberId
  readonly startup: StartupId
  readonly max: number
  readonly until: EpochMs
  /** Called once: with at least one item, or none when its time is over, or undefined when the queue is closed. */
  readonly respond: (items: ReadonlyArray<Item> | undefined) => void
}

export const closed = (): ContractError =>
  new ContractError({
    code: "DispatchQueueClosed",
    message: `${errorCodes.DispatchQueueClosed.meaning} ${errorCodes.DispatchQueueClosed.fix}`
  })

/** The core's side. */
export interface DispatchQueueSink<Item extends Queueable> {
  /** Waits while the queue is full. */
  enqueue(item: Item): Effect.Effect<void, ContractError>
  /** Must be greater than the shard's current one. Answers what was queued under older ones: none of it will be delivered. */
  bumpSessionId(shard: Shard, session: SessionId): Result.Result<ReadonlyArray<Item>, ContractError>
}

/** The executors' side. */
export interface DispatchQueueSource<Item extends Queueable> {
  dequeue(poll: Poll<Item>, now: EpochMs): void
}

export class DispatchQueue<Item extends Queueable> implements DispatchQueueSink<Item>, DispatchQueueSource<Item> {
  readonly capacity: number
  private readonly arm: (at: EpochMs) => void
  private items: Array<Item> = []
  private head = 0
  /** Polls that wait, oldest first, by the life of the executor that asks; who was served last is last. */
  private readonly polls = new Map<StartupId, Array<Alarms.Alarm<Poll<Item>>>>()
  private pollCount = 0
  private readonly alarms = new Alarms.Alarms<Poll<Item>>()
  private readonly sessions = new Map<Shard, SessionId>()
  private readonly waiting: Array<() => void> = []
  private parkedMax = 0
  private isClosed = false
  /** When an executor asked last. */
  lastPollAt: EpochMs = 0

  constructor(options: { readonly capacity: number; readonly arm: (at: EpochMs) => void }) {
    this.capacity = options.capacity
    this.arm = options.arm
  }

  get size(): number {
    return this.items.length - this.head
  }
  /** Free slots of parked polls that nothing is queued for yet. */
  get demand(): number {
    return this.parkedMax - this.size
  }
  get parked(): number {
    return this.pollCount
  }
  get isOpen(): boolean {
    return !this.isClosed
  }

  sessionOf(shard: Shard): SessionId | undefined {
    return this.sessions.get(shard)
  }

  /** False: full, closed, or of an old session. `flush` hands it out. */
  offer(item: Item): boolean {
    if (this.isClosed || this.size >= this.capacity || this.isStale(item)) return false
    this.items.push(item)
    return true
  }

  enqueue(item: Item): Effect.Effect<void, ContractError> {
    return Effect.callback<void, ContractError>((resume) => {
      const attempt = (): void => {
        if (this.isClosed) return resume(Effect.fail(closed()))
        if (this.size >= this.capacity) {
          this.waiting.push(attempt)
          return
        }
        // Of an old session by now: there is nothing to deliver.
        if (this.offer(item)) this.flush()
        resume(Effect.void)
      }
      attempt()
      return Effect.sync(() => {
        const at = this.waiting.indexOf(attempt)
        if (at >= 0) this.waiting.splice(at, 1)
      })
    })
  }

  bumpSessionId(shard: Shard, session: SessionId): Result.Result<ReadonlyArray<Item>, ContractError> {
    const current = this.sessions.get(shard) ?? 0
    if (session <= current) {
      return Result.fail(
        new ContractError({
          code: "InvalidSessionId",
          message: `session ${session} of shard ${shard} is not greater than ${current}`,
          details: { current }
        })
      )
    }
    this.sessions.set(shard, session)
    const stale: Array<Item> = []
    const kept: Array<Item> = []
    for (let i = this.head; i < this.items.length; i++) {
      const item = this.items[i] as Item // between head and length
      if (this.isStale(item)) stale.push(item)
      else kept.push(item)
    }
    if (stale.length > 0) {
      this.items = kept
      this.head = 0
      this.wakeSinks()
    }
    return Result.succeed(stale)
  }

  /** Takes one out that must not be delivered. */
  withdraw(item: Item): boolean {
    const at = this.items.indexOf(item, this.head)
    if (at < 0) return false
    this.items.splice(at, 1)
    this.wakeSinks()
    return true
  }

  /** Takes everything out: nobody asks for it. */
  takeAll(): ReadonlyArray<Item> {
    const all = this.items.slice(this.head)
    this.items = []
    this.head = 0
    this.wakeSinks()
    return all
  }

  dequeue(poll: Poll<Item>, now: EpochMs): void {
    this.lastPollAt = now
    if (this.isClosed) return poll.respond(undefined)
    const parked = Alarms.make(poll)
    const others = this.polls.get(poll.startup)
    if (others === undefined) this.polls.set(poll.startup, [parked])
    else others.push(parked)
    this.pollCount++
    this.parkedMax += poll.max
    this.alarms.set(parked, poll.until)
    this.arm(poll.until)
  }

  /**
   * Hands out what is queued, evenly among the executors that wait. What one of them gets goes into as few answers as its polls allow: each answer costs a
   * registration and a settlement more.
   */
  flush(): void {
    let isTaken = false
    let left = 0
    while (this.size > 0) {
      const [next] = this.polls
      if (next === undefined) break
      if (left === 0) left = this.polls.size
      const taken = this.serve(next[0], next[1], Math.ceil(this.size / left--))
      if (taken === 0) break
      isTaken = true
    }
    if (isTaken) this.wakeSinks()
  }

  /** Answers an executor's polls, oldest first, with at most `share` items; then it is the others' turn. */
  private serve(startup: StartupId, polls: ReadonlyArray<Alarms.Alarm<Poll<Item>>>, share: number): number {
    let given = 0
    for (let parked = polls[0]; parked !== undefined && given < share; parked = polls[0]) {
      const taken = this.take(Math.min(share - given, parked.owner.max))
      if (taken.length === 0) break
      given += taken.length
      this.end(parked)
      parked.owner.respond(taken)
    }
    const rest = this.polls.get(startup)
    if (rest !== undefined && this.polls.size > 1) {
      this.polls.delete(startup)
      this.polls.set(startup, rest)
    }
    return given
  }

  /** Answers the polls whose time is over; returns when the next one's is. */
  tick(now: EpochMs): EpochMs {
    for (let alarm = this.alarms.due(now); alarm !== undefined; alarm = this.alarms.due(now)) {
      this.end(alarm)
      alarm.owner.respond([])
    }
    return this.alarms.earliest
  }

  /** The polls of an executor that is gone wait no more. */
  forget(startup: StartupId): void {
    for (const parked of Array.from(this.polls.get(startup) ?? [])) {
      this.end(parked)
      parked.owner.respond([])
    }
  }

  close(): ReadonlyArray<Item> {
    this.isClosed = true
    for (const parked of Array.from(this.polls.values()).flat()) {
      this.end(parked)
      parked.owner.respond(undefined)
    }
    return this.takeAll()
  }

  private isStale(item: Item): boolean {
    return item.session < (this.sessions.get(item.shard) ?? 0)
  }

  private take(max: number): Array<Item> {
    const taken: Array<Item> = []
    while (taken.length < max && this.head < this.items.length) {
      const item = this.items[this.head++] as Item // between head and length
      if (!this.isStale(item)) taken.push(item)
    }
    if (this.head === this.items.length) {
      this.items = []
      this.head = 0
    }
    return taken
  }

  private end(parked: Alarms.Alarm<Poll<Item>>): void {
    const polls = this.polls.get(parked.owner.startup)
    const at = polls?.indexOf(parked) ?? -1
    if (polls === undefined || at < 0) return
    polls.splice(at, 1)
    if (polls.length === 0) this.polls.delete(parked.owner.startup)
    this.pollCount--
    this.alarms.clear(parked)
    this.parkedMax -= parked.owner.max
  }

  private wakeSinks(): void {
    if (this.waiting.length === 0) return
    for (const attempt of this.waiting.splice(0)) attempt()
  }
}
