/**
 * The serial decision maker between the lanes and the executors: which task goes next, under which session, into which sandbox (design/04 section 2).
 *
 * What it keeps true: a lane message is acknowledged only when every entry of it is registered or dropped, so a lost answer, a dead scheduler or a dead executor
 * strands no task; an entry of an older session of its shard is dropped, a newer session clears what is buffered and queued of that shard (I6); commit and cleanup
 * lanes take turns with the ready lane; a sandbox is claimed for a task only while an executor asks, and is given back when nobody takes it.
 * A task's claim is a claim like any other of the pool, so tasks and direct claims compete fairly. No I/O: plain synchronous code behind `CorePorts`.
 */
import * as Result from "effect/Result"
import type { Placement, PlacementPolicy } from "../../shared/plugin/PlacementPolicy.ts"
import type { SettleRequest, TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import type { LaneName } from "../../shared/protocol/Lane.ts"
import type {
  ClaimId,
  EpochMs,
  InstanceId,
  MemberId,
  SessionId,
  Shard,
  StartupId,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import { DispatchQueue, type Poll } from "./DispatchQueue.ts"
import type { PoolScheduler } from "./PoolScheduler.ts"
import type { LaneMessage, SchedulerStorageClient } from "./SchedulerStorageClient.ts"
import type { Settled } from "./Settled.ts"
import { type Carrier, type Custody, keyOf, TaskEntry, taskHolder } from "./TaskEntry.ts"
import { WaitingTasks } from "./WaitingTasks.ts"

export interface CorePorts {
  readonly now: () => EpochMs
  readonly arm: (at: EpochMs) => void
  readonly storage: SchedulerStorageClient
  readonly scheduler: Pick<PoolScheduler, "enqueue" | "releaseClaim" | "cancel" | "queueLength" | "idleReady">
  /** Asks an executor whether it has this task. */
  readonly ask: (entry: TaskEntry, executor: MemberId, done: (custody: Custody) => void) => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
}

export interface CoreOptions {
  readonly sessionId: SessionId
  readonly policy: PlacementPolicy
  readonly weights: ReadonlyMap<string, number>
  readonly handOffMax: number
  readonly dispatchCapacity: number
  /** Claims beyond what executors ask for, so that a slow provider's latency is hidden; 0 for providers that answer at once. */
  readonly prefetch: number
  /** An assignment that is not settled after this time is asked about. */
  readonly overdueMs: number
  /** Assignments that no executor takes for this time are given back. */
  readonly unaskedMs: number
  /** An entry that has waited this long is asked about before it is claimed for. */
  readonly jobStateAfterMs: number
  /** Claims of tasks with a selector that may wait at once: they must not use up the window of the others. */
  readonly selectorWindow: number
  readonly entriesMax: number
}

/** Tasks that may follow in a sandbox although others of the same priority and team wait for one: a job that has begun goes on, for a short while. */
export const handOffBusyMax = 4

export const coreDefaults = {
  handOffMax: 32,
  dispatchCapacity: 1_024,
  prefetch: 0,
  overdueMs: 5_000,
  unaskedMs: 2_000,
  jobStateAfterMs: 60_000,
  selectorWindow: 256,
  entriesMax: 100_000
} as const

interface Lane {
  readonly name: LaneName
  readonly placement: Placement<TaskEntry>
}

/** The state now: a callback may have changed it. */
const stateOf = (entry: TaskEntry): TaskEntry["state"] => entry.state

/** Lane messages taken in at once; the rest at the next turn. */
const pollMax = 256
/** Questions about jobs under way at once; beyond that the registration decides. */
const checkingMax = 64

export class SchedulerCore {
  readonly dispatch: DispatchQueue<TaskEntry>
  private readonly ports: CorePorts
  private readonly options: CoreOptions
  private readonly lanes: readonly [Lane, Lane, Lane]
  private readonly latest = new Map<Shard, SessionId>()
  /** Entries that are not yet delivered, or delivered and not yet registered, by task. */
  private readonly entries = new Map<string, TaskEntry>()
  private readonly carriers = new Map<string, Carrier>()
  /** Every claim that an executor has or is about to have, until it is released. */
  private readonly held = new Map<ClaimId, TaskEntry>()
  private readonly waitingTasks = new WaitingTasks()
  private readonly prefix: string
  private claimNumber = 0
  private turn = 0
  private claiming = 0
  private claimingSelected = 0
  private checking = 0
  private retryAt: EpochMs = Infinity
  private nextOverdueAt: EpochMs = Infinity
  private isPumping = false
  private isClosed = false

  constructor(ports: CorePorts, options: Pick<CoreOptions, "sessionId" | "policy"> & Partial<CoreOptions>) {
    this.ports = ports
    this.options = { ...coreDefaults, weights: new Map(), ...options }
    const lane = (name: LaneName): Lane => ({
      name,
      placement: this.options.policy.make<TaskEntry>({ weights: this.options.weights })
    })
    this.lanes = [lane("ready"), lane("commit"), lane("cleanup")]
    this.dispatch = new DispatchQueue({ capacity: this.options.dispatchCapacity, arm: ports.arm })
    this.prefix = `t${options.sessionId.toString(36)}-`
  }

  /** Entries that wait for a sandbox or an executor. */
  get waiting(): number {
    return this.lanes[0].placement.size + this.lanes[1].placement.size + this.lanes[2].placement.size + this.claiming +
      this.checking
  }
  /** Entries whose lane message is not settled. */
  get open(): number {
    return this.entries.size
  }
  get heldCount(): number {
    return this.held.size
  }
  /** Lanes should not be polled now: enough waits here already. */
  get isFull(): boolean {
    return this.entries.size >= this.options.entriesMax
  }

  // ---------------------------------------------------------------- from the lanes

  /** Something has arrived: polls the three lanes together, decides, hands out. */
  wake(): void {
    const { storage } = this.ports
    for (;;) {
      const ready = this.isFull ? [] : storage.pollReady(pollMax)
      const commit = storage.pollCommitReady(pollMax)
      const cleanup = storage.pollCleanupReady(pollMax)
      for (const message of ready) this.ingest(message)
      for (const message of commit) this.ingest(message)
      for (const message of cleanup) this.ingest(message)
      if (ready.length < pollMax && commit.length < pollMax && cleanup.length < pollMax) break
    }
    this.pump()
  }

  private ingest(message: LaneMessage): void {
    const { batch, lane } = message
    const carrierKey = `${lane}/${message.id}`
    const known = this.carriers.get(carrierKey)
    if (known !== undefined) {
      // Delivered again because an acknowledgement took long: the same message, answered by its newest delivery.
      known.ack = message.ack
      return
    }
    const carrier: Carrier = { key: carrierKey, ack: message.ack, open: 0 }
    const placement = this.lanes[lane === "ready" ? 0 : lane === "commit" ? 1 : 2].placement
    for (const group of batch.groups) {
      const { session, shard } = group
      const latest = this.latest.get(shard) ?? 0
      if (session < latest) continue // the whole group is of an owner that is gone
      if (session > latest) this.bump(shard, session)
      for (const inbound of group.entries) {
        const entry = new TaskEntry(lane, batch.owner, shard, session, inbound, carrier)
        if (this.entries.has(entry.key)) continue // told twice: the first one stands
        carrier.open++
        this.entries.set(entry.key, entry)
        placement.offer(entry)
        this.waitingTasks.offered(entry)
      }
    }
    if (carrier.open === 0) carrier.ack()
    else this.carriers.set(carrierKey, carrier)
  }

  /** A shard has a new owner: what is here of the old one will be told again, or will not run. */
  private bump(shard: Shard, session: SessionId): void {
    this.latest.set(shard, session)
    const stale = this.dispatch.bumpSessionId(shard, session)
    if (Result.isFailure(stale)) throw stale.failure // the two counts are bumped together: a defect
    for (const entry of Array.from(this.entries.values())) {
      if (entry.shard === shard && entry.session < session) this.drop(entry)
    }
  }

  /** An entry will not run (any more): its lane is told, its sandbox is free again. One that an executor has is that executor's to settle. */
  private drop(entry: TaskEntry): void {
    const { state } = entry
    this.settleEntry(entry)
    switch (state) {
      case "Waiting":
        this.laneOf(entry).placement.remove(entry)
        this.waitingTasks.taken(entry)
        entry.state = "Done"
        return
      case "Checking":
        entry.state = "Done"
        return
      case "Claiming": {
        entry.state = "Done"
        const { claim } = entry
        if (claim !== undefined) this.ports.scheduler.cancel(claim.spec.claimId)
        return
      }
      case "Queued":
        entry.state = "Done"
        this.dispatch.withdraw(entry)
        this.releaseOf(entry, undefined)
        return
      case "Delivered":
      case "Registered":
      case "Done":
        return
    }
  }

  /** These tasks can no longer run, says their coordinator. Best effort: registration is what refuses them. */
  withdraw(instance: InstanceId, tasks: ReadonlyArray<TaskInstanceId>): void {
    for (const task of tasks) {
      const entry = this.entries.get(keyOf(instance, task))
      if (entry !== undefined && entry.state !== "Delivered") this.drop(entry)
    }
    this.pump()
  }

  /** The entry's lane message needs it no more. */
  private settleEntry(entry: TaskEntry): void {
    if (this.entries.get(entry.key) === entry) this.entries.delete(entry.key)
    const { carrier } = entry
    if (carrier === undefined) return
    entry.carrier = undefined
    if (--carrier.open > 0) return
    this.carriers.delete(carrier.key)
    carrier.ack()
  }

  // ---------------------------------------------------------------- decisions

  /** Claims sandboxes for the next tasks, as many as executors ask for, and hands out what has one. */
  pump(): void {
    if (this.isPumping || this.isClosed) return
    this.isPumping = true
    try {
      while (this.hasRoom()) {
        const entry = this.next()
        if (entry === undefined) break
        this.claimFor(entry)
      }
    } finally {
      this.isPumping = false
    }
    this.dispatch.flush()
  }

  private hasRoom(): boolean {
    const { dispatch, options } = this
    if (this.retryAt !== Infinity || dispatch.size + this.claiming >= dispatch.capacity) return false
    return dispatch.demand + (dispatch.parked > 0 ? options.prefetch : 0) > this.claiming &&
      this.claimingSelected < options.selectorWindow
  }

  /** The next entry; the lanes take turns. */
  private next(): TaskEntry | undefined {
    for (let i = 0; i < 3; i++) {
      const lane = this.lanes[(this.turn + i) % 3] as Lane // one of three
      const entry = lane.placement.next()
      if (entry === undefined) continue
      this.waitingTasks.taken(entry)
      this.turn = (this.turn + i + 1) % 3
      if (this.checking >= checkingMax || this.ports.now() - entry.checkedAt < this.options.jobStateAfterMs) {
        return entry
      }
      this.checkJob(entry)
      i = -1
    }
    return undefined
  }

  /** An entry that has waited for long may be of a job that is over: asked before a sandbox is spent on it. */
  private checkJob(entry: TaskEntry): void {
    entry.state = "Checking"
    this.checking++
    this.ports.storage.jobState(entry.owner, [{ shard: entry.shard, instance: entry.instance }], (states) => {
      this.checking--
      if (entry.state !== "Checking") return
      const state = states?.[0]
      if (state === "Dead" || state === "Finalizing") this.drop(entry)
      else {
        // Runnable, or nobody knows: the registration decides.
        entry.checkedAt = this.ports.now()
        this.putBack(entry)
      }
      this.pump()
    })
  }

  private claimFor(entry: TaskEntry): void {
    entry.state = "Claiming"
    const isSelected = entry.selector !== undefined
    if (isSelected) this.claimingSelected++
    else this.claiming++
    const claimId = `${this.prefix}${(this.claimNumber++).toString(36)}` as ClaimId // letters, digits and one dash
    const claim = this.ports.scheduler.enqueue(
      {
        claimId,
        holder: taskHolder(entry.shard, entry.instance, entry.taskInstanceId),
        team: entry.team,
        priority: entry.priority,
        deadlineAt: Infinity,
        ttlMs: 0,
        selector: entry.selector
      },
      (settled) => {
        if (isSelected) this.claimingSelected--
        else this.claiming--
        this.claimSettled(entry, settled)
      }
    )
    if (claim === undefined) return
    entry.claim = claim
    // Answered before it returned: what needed the claim at hand is done now.
    if (stateOf(entry) === "Queued") this.queued(entry)
  }

  private claimSettled(entry: TaskEntry, settled: Settled): void {
    switch (settled.outcome) {
      case "Claimed": {
        const isDropped = entry.state === "Done"
        entry.state = "Queued"
        if (entry.claim === undefined) return // `claimFor` goes on
        if (isDropped) {
          entry.state = "Done"
          this.ports.scheduler.releaseClaim(entry.claim)
        } else {
          this.queued(entry)
          if (!this.isPumping) this.dispatch.flush()
        }
        return
      }
      case "Cancelled":
        return
      case "ShuttingDown":
        // Unacknowledged: the next owner gets it.
        return
      default:
        if (entry.state !== "Claiming") return
        entry.claim = undefined
        this.putBack(entry)
        this.retryAt = this.ports.now() + (settled.outcome === "QueueFull" ? 50 : 1_000)
        this.ports.arm(this.retryAt)
    }
  }

  private queued(entry: TaskEntry): void {
    if (this.dispatch.offer(entry)) {
      if (this.dispatch.parked === 0) this.ports.arm(this.ports.now() + this.options.unaskedMs)
      return
    }
    // Its session has passed, or the queue is closed.
    entry.state = "Done"
    this.settleEntryIfStale(entry)
    this.releaseOf(entry, undefined)
  }

  private settleEntryIfStale(entry: TaskEntry): void {
    if (entry.session < (this.latest.get(entry.shard) ?? 0)) this.settleEntry(entry)
  }

  private putBack(entry: TaskEntry): void {
    if (entry.session < (this.latest.get(entry.shard) ?? 0)) {
      entry.state = "Done"
      this.settleEntry(entry)
      return
    }
    entry.state = "Waiting"
    entry.claim = undefined
    entry.executor = undefined
    entry.startup = undefined
    entry.isAsked = false
    this.laneOf(entry).placement.putBack(entry)
    this.waitingTasks.offered(entry)
  }

  // ---------------------------------------------------------------- to and from the executors

  /** A long poll: answered as soon as there is one assignment, with all that are there. */
  dequeue(
    request: Omit<Poll<TaskEntry>, "respond">,
    respond: (assignments: ReadonlyArray<TaskAssignment> | undefined) => void
  ): void {
    const now = this.ports.now()
    this.dispatch.dequeue({
      ...request,
      respond: (items) =>
        respond(
          items === undefined ? undefined : items.map((entry) => this.deliver(entry, request.executor, request.startup))
        )
    }, now)
    this.pump()
  }

  private deliver(entry: TaskEntry, executor: MemberId, startup: StartupId): TaskAssignment {
    const { claim } = entry
    if (claim?.sandbox === undefined) throw new Error("an assignment without a sandbox was queued") // a defect
    entry.state = "Delivered"
    entry.executor = executor
    entry.startup = startup
    entry.deliveredAt = this.ports.now()
    this.held.set(claim.spec.claimId, entry)
    if (this.nextOverdueAt === Infinity) {
      this.nextOverdueAt = entry.deliveredAt + this.options.overdueMs
      this.ports.arm(this.nextOverdueAt)
    }
    return {
      claimId: claim.spec.claimId,
      sandbox: claim.sandbox,
      owner: entry.owner,
      shard: entry.shard,
      session: entry.session,
      instance: entry.instance,
      taskInstanceId: entry.taskInstanceId,
      type: entry.type,
      handOff: this.handOffFor(entry)
    }
  }

  /** Tasks that may follow `entry` in its sandbox: many while nobody waits for one, a few while only equals do, none while somebody with a better claim does. */
  private handOffFor(entry: TaskEntry): number {
    const [ready, commit, cleanup] = this.lanes
    if (this.ports.scheduler.queueLength > 0 || commit.placement.size > 0 || cleanup.placement.size > 0) return 0
    if (ready.placement.size === 0) return this.options.handOffMax
    return this.waitingTasks.hasBetterThan(entry) ? 0 : Math.min(this.options.handOffMax, handOffBusyMax)
  }

  /** What became of assignments. Idempotent: an id that is not held (any more) is done with. */
  settle(request: SettleRequest): void {
    for (const id of request.registered) this.registered(id, request)
    for (const id of request.dropped) {
      const entry = this.held.get(id)
      if (entry === undefined) continue
      this.settleEntry(entry)
      this.releaseOf(entry, undefined)
    }
    if (request.returned.length > 0) {
      this.takeAllBack(request.returned.flatMap((id) => this.held.get(id) ?? []))
    }
    for (const id of request.released) {
      const entry = this.held.get(id)
      if (entry === undefined) continue
      this.settleEntry(entry)
      this.releaseOf(entry, undefined)
    }
    for (const id of request.lost) {
      const entry = this.held.get(id)
      if (entry === undefined) continue
      if (entry.state === "Delivered" && entry.carrier !== undefined) this.takeBack(entry, "delete")
      else {
        this.settleEntry(entry)
        this.releaseOf(entry, "delete")
      }
    }
    this.pump()
  }

  private registered(id: ClaimId, request: Pick<SettleRequest, "executor" | "startup">): void {
    const entry = this.held.get(id)
    if (entry === undefined) return
    entry.state = "Registered"
    entry.executor = request.executor
    entry.startup = request.startup
    this.settleEntry(entry)
  }

  /** A task that did not get to run goes back to its place, its sandbox is free. */
  private takeBack(entry: TaskEntry, mode?: "delete"): void {
    const { carrier } = entry
    if (entry.claim === undefined) return // named twice
    this.releaseOf(entry, mode)
    if (carrier === undefined) {
      // Its session has passed, or it was registered: not this pool's business any more.
      entry.state = "Done"
      return
    }
    this.putBack(entry)
  }

  private releaseOf(entry: TaskEntry, mode: "delete" | undefined): void {
    const { claim } = entry
    entry.state = "Done"
    if (claim === undefined) return
    this.held.delete(claim.spec.claimId)
    entry.claim = undefined
    if (mode === undefined) this.ports.scheduler.releaseClaim(claim)
    else this.ports.scheduler.releaseClaim(claim, mode)
  }

  /** A sandbox was claimed for a task by an owner before this one; its executor says `registered` again, or is asked. */
  adopt(claim: Claim, entry: TaskEntry): void {
    entry.claim = claim
    entry.state = "Registered"
    this.held.set(claim.spec.claimId, entry)
  }

  /** No executor has the task of an adopted claim: its sandbox is free. */
  releaseAdopted(entry: TaskEntry): void {
    if (entry.state !== "Registered") return
    this.releaseOf(entry, undefined)
    this.pump()
  }

  /** The sandbox under a task is gone. True: a task held it. */
  sandboxLost(claimId: ClaimId): boolean {
    const entry = this.held.get(claimId)
    if (entry === undefined) return false
    // Its executor finds out and tells; the claim has ended already.
    this.held.delete(claimId)
    if (entry.state === "Delivered" && entry.carrier !== undefined) {
      entry.claim = undefined
      this.putBack(entry)
    }
    this.pump()
    return true
  }

  /** An executor is gone: what it had not registered goes back to its place, what it held is free. */
  executorLost(startup: StartupId): number {
    this.dispatch.forget(startup)
    const held = Array.from(this.held.values()).filter((entry) => entry.startup === startup)
    this.takeAllBack(held)
    this.pump()
    return held.length
  }

  /** Each goes before what waits, so the last one goes first: they keep their order. Nothing is claimed in between. */
  private takeAllBack(entries: ReadonlyArray<TaskEntry>): void {
    const wasPumping = this.isPumping
    this.isPumping = true
    for (let i = entries.length - 1; i >= 0; i--) this.takeBack(entries[i] as TaskEntry) // within the array
    this.isPumping = wasPumping
  }

  // ---------------------------------------------------------------- time and end

  tick(now: EpochMs): EpochMs {
    if (this.retryAt <= now) this.retryAt = Infinity
    const polls = this.dispatch.tick(now)
    if (
      this.dispatch.size > 0 && this.dispatch.parked === 0 && now - this.dispatch.lastPollAt >= this.options.unaskedMs
    ) {
      this.takeAllBack(this.dispatch.takeAll())
    }
    if (this.nextOverdueAt <= now) this.askOverdue(now)
    this.pump()
    const unasked = this.dispatch.size > 0
      ? Math.max(this.dispatch.lastPollAt + this.options.unaskedMs, now + 1)
      : Infinity
    return Math.min(polls, this.retryAt, this.nextOverdueAt, unasked)
  }

  /** Assignments that were sent and never settled: their answer may have been lost, and then nobody has them. */
  private askOverdue(now: EpochMs): void {
    this.nextOverdueAt = Infinity
    for (const entry of this.held.values()) {
      if (entry.state !== "Delivered") continue
      const dueAt = entry.deliveredAt + this.options.overdueMs
      if (dueAt > now) {
        if (dueAt < this.nextOverdueAt) this.nextOverdueAt = dueAt
        continue
      }
      entry.deliveredAt = now
      if (now + this.options.overdueMs < this.nextOverdueAt) this.nextOverdueAt = now + this.options.overdueMs
      if (entry.isAsked || entry.executor === undefined) continue
      entry.isAsked = true
      const { claim } = entry
      this.ports.ask(entry, entry.executor, (custody) => {
        entry.isAsked = false
        if (custody !== "Unknown" || entry.state !== "Delivered" || entry.claim !== claim) return
        this.ports.warn("an assignment never reached its executor; the task goes back to its place", {
          task: `${entry.instance}/${entry.taskInstanceId}`
        })
        this.takeBack(entry)
        this.pump()
      })
    }
  }

  /** Nothing more is handed out; what is queued keeps its lane messages unacknowledged, for the next owner. */
  close(): void {
    this.isClosed = true
    for (const entry of this.dispatch.close()) this.releaseOf(entry, undefined)
  }

  private laneOf(entry: TaskEntry): Lane {
    return this.lanes[entry.lane === "ready" ? 0 : entry.lane === "commit" ? 1 : 2]
  }
}
