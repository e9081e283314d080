/**
 * The streaming claim scheduler of one pool: a claim gets one idle sandbox with one compare-and-set write (design/04 section 1).
 *
 * What it keeps true: no two live claims hold one sandbox (I1); every admitted claim gets exactly one terminal result (I2); every sandbox is idle, held by a
 * live claim, on its way, or gone (I3); order of arrival within (team, priority) (I7); `queueLen` counts exactly the claims without a terminal result (I8).
 *
 * It decides and does no I/O of its own: time, timer and provider come in as `Ports`, whose calls return at once and answer by callback. So it is plain
 * synchronous code: an in-memory provider that answers before it returns costs microseconds a claim and no fiber, and a simulation can drive every step.
 */
import type {
  ClaimOutcome,
  ClaimWrite,
  ProviderPool,
  ReadBackOutcome,
  SandboxDelta,
  SandboxState,
  Version
} from "../../shared/plugin/PoolProvider.ts"
import { inflightCasMaxDefault, queueLengthMaxDefault } from "../../shared/protocol/Pool.ts"
import type { Labels, Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { ClaimId, EpochMs, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import { priorityDefault } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import { Claim, type ClaimSpec, type OnSettled, type Settled } from "./Claim.ts"
import { ClaimQueue } from "./ClaimQueue.ts"
import { ReadyQueue } from "./ReadyQueue.ts"
import { Reservations } from "./Reservations.ts"

/** What happened to a sandbox's holder and why, for the pool's event stream. */
export interface ClaimEvent {
  readonly kind: "Claimed" | "Adopted" | "Released" | "Expired" | "Lost"
  readonly at: EpochMs
  readonly claim: Claim
  readonly sandbox: Sandbox
}

/** The world as the scheduler sees it. Nothing here waits or throws. */
export interface Ports {
  readonly provider: Omit<ProviderPool, "list" | "watch">
  readonly now: () => EpochMs
  /** Call `tick` at this time at the latest. */
  readonly arm: (at: EpochMs) => void
  /** List the sandboxes (`listing`, then `listed`); several wishes become one list. */
  readonly repair: (reason: string) => void
  readonly event: (event: ClaimEvent) => void
  /** A task's claim was found on a sandbox: claimed by an owner before this one. */
  readonly adoptedTask: (claim: Claim) => void
  /** A later owner has written: this one must stop. */
  readonly fenced: (current: SessionId) => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
}

/** Units in the names; each has the default that design/04 gives. */
export interface Options {
  readonly sessionId: SessionId
  /** Prefix of the names of sandboxes that it creates. */
  readonly poolName: string
  readonly size: number
  readonly release: "recycle" | "delete"
  readonly queueLengthMax: number
  readonly inflightCasMax: number
  /** The deadline of one write, whatever its caller does. */
  readonly casDeadlineMs: number
  readonly reservationTtlMs: number
  readonly attemptsMax: number
  readonly notifyIdleMs: number
  /** Sandboxes under creation at once. */
  readonly creatingMax: number
  /** Results kept in memory for repeated claim ids. */
  readonly resultsMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
  readonly weights: ReadonlyMap<string, number>
  /** Lease of an adopted claim whose mark names none. */
  readonly ttlDefaultMs: number
}

export const defaults = {
  release: "recycle",
  queueLengthMax: queueLengthMaxDefault,
  inflightCasMax: inflightCasMaxDefault,
  casDeadlineMs: 5_000,
  reservationTtlMs: 2_000,
  attemptsMax: 16,
  notifyIdleMs: 200,
  creatingMax: 32,
  resultsMax: 10_000,
  retryMinMs: 100,
  retryMaxMs: 10_000,
  weights: new Map<string, number>(),
  ttlDefaultMs: 600_000
} as const

/** `shared/protocol` Snapshot without what the task side adds. `lastDispatchAt` 0: never. */
export interface Counters {
  readonly idleReady: number
  readonly queueLen: number
  readonly reservedCount: number
  readonly inflightCas: number
  readonly lastDispatchAt: EpochMs
  readonly claimed: number
  readonly total: number
}

/** Something to be done later that is not about a claim. */
interface Errand {
  readonly run: (now: EpochMs) => void
}

/** One sandbox: the watch cache's view and what this scheduler is doing with it. */
interface Cell {
  readonly uid: SandboxUid
  state: SandboxState
  /** Number of the delta that showed it last; a list that began before does not remove it. */
  seen: number
  /** The live claim that holds it. */
  claim: Claim | undefined
  /** Version of the write that gave it to `claim`: what is older says nothing about the claim. */
  grantedAt: Version
  /** Being given back: until the provider has confirmed it. */
  releasing: Release | undefined
  /** Will not come back: not counted in `total`. */
  isLeaving: boolean
}

interface Release {
  readonly claimId: ClaimId
  mode: "recycle" | "delete"
  attempts: number
  readonly alarm: Alarms.Alarm<Claim | Errand>
}

interface Creation {
  readonly name: string
  attempts: number
  /** Number of the delta at which it was answered; a list that began before need not show it. */
  doneAt: number
  readonly alarm: Alarms.Alarm<Claim | Errand>
}

export const matches = (selector: Labels, labels: Labels): boolean => {
  for (const key in selector) if (labels[key] !== selector[key]) return false
  return true
}

export class PoolScheduler {
  private readonly ports: Ports
  private readonly options: Options
  private readonly queue: ClaimQueue
  private readonly ready = new ReadyQueue()
  private readonly reservations: Reservations
  private readonly alarms = new Alarms.Alarms<Claim | Errand>()
  private readonly cells = new Map<SandboxUid, Cell>()
  /** Claims that are not Ended, and those whose write is still to be settled. */
  private readonly claims = new Map<ClaimId, Claim>()
  private readonly results = new Map<ClaimId, Settled>()
  private readonly resultIds: Array<ClaimId | undefined> = []
  private resultAt = 0
  private forgotten = 0
  private readonly creations = new Map<string, Creation>()
  private readonly wake: Alarms.Alarm<Claim | Errand>
  private readonly breaker: Alarms.Alarm<Claim | Errand>
  private readonly createPause: Alarms.Alarm<Claim | Errand>
  private breakerUntil = 0
  private breakerTrips = 0
  private createFailures = 0
  private size: number
  private sequence = 0
  private deltas = 0
  private created = 0
  private inflight = 0
  private claimedCount = 0
  private totalCount = 0
  private lastDispatchAt = 0
  private isPumping = false
  private isScaling = false
  private isListed = false
  private isStopping = false
  private onDrained: (() => void) | undefined = undefined

  constructor(ports: Ports, options: Pick<Options, "sessionId" | "poolName" | "size"> & Partial<Options>) {
    this.ports = ports
    this.options = { ...defaults, ...options }
    this.size = options.size
    this.queue = new ClaimQueue({ lengthMax: this.options.queueLengthMax, weights: this.options.weights })
    this.reservations = new Reservations(this.options.reservationTtlMs)
    this.wake = Alarms.make<Claim | Errand>({ run: () => this.wakeUp() })
    this.breaker = Alarms.make<Claim | Errand>({ run: () => this.pump() })
    this.createPause = Alarms.make<Claim | Errand>({ run: () => this.scale() })
  }

  // ---------------------------------------------------------------- claims

  /**
   * A new claim. `onSettled` is called once, perhaps before this returns. The same claim id again joins the first (or gets its result).
   * Full: answered `QueueFull` with the queue's length, at once.
   */
  enqueue(spec: ClaimSpec, onSettled: OnSettled): Claim | undefined {
    const known = this.claims.get(spec.claimId)
    if (known !== undefined) {
      if (known.settled === undefined) known.waiters.push(onSettled)
      else onSettled(known.settled)
      return known
    }
    const past = this.results.get(spec.claimId)
    if (past !== undefined) {
      onSettled(past)
      return undefined
    }
    const now = this.ports.now()
    const claim = new Claim(spec, this.sequence++, now, onSettled)
    if (this.isStopping) {
      claim.phase = "Ended"
      this.answer(claim, this.resultOf(claim, "ShuttingDown", now))
      return undefined
    }
    if (!this.queue.admit(claim)) {
      claim.phase = "Ended"
      const queueLen = this.queue.length
      this.answer(claim, {
        ...this.resultOf(claim, "QueueFull", now),
        error: {
          code: "QueueFull",
          message: `${queueLen} claims wait already; try again later or scale the pool up`,
          details: { queueLen }
        }
      })
      return undefined
    }
    this.claims.set(spec.claimId, claim)
    this.pump()
    if (claim.phase === "Waiting" && spec.deadlineAt !== Infinity) this.setAlarm(claim.alarm, spec.deadlineAt)
    return claim
  }

  /** What is known of a claim: its result or latest record; `Waiting` claims have none yet. */
  get(claimId: ClaimId): { readonly settled: Settled | undefined; readonly claim: Claim | undefined } | undefined {
    const claim = this.claims.get(claimId)
    if (claim !== undefined) return { settled: claim.settled, claim }
    const settled = this.results.get(claimId)
    return settled === undefined ? undefined : { settled, claim: undefined }
  }

  /** Ends a claim whatever it is doing: one that waits is answered `Cancelled`, one that holds a sandbox gives it back. Idempotent. */
  cancel(claimId: ClaimId): Settled | undefined {
    const claim = this.claims.get(claimId)
    if (claim === undefined) return this.results.get(claimId)
    if (claim.phase === "Claimed") return this.release(claimId)
    this.abandon(claim, "Cancelled", this.ports.now())
    this.pump()
    return claim.settled
  }

  /** Gives a claimed sandbox back. A claim that still waits is cancelled. Idempotent. */
  release(claimId: ClaimId, mode: "recycle" | "delete" = this.options.release): Settled | undefined {
    const claim = this.claims.get(claimId)
    if (claim === undefined) return this.results.get(claimId)
    if (claim.phase !== "Claimed") return this.cancel(claimId)
    this.end(claim, "Released", mode, this.ports.now())
    this.pump()
    return claim.settled
  }

  /** The same for a holder that has the claim itself at hand. */
  releaseClaim(claim: Claim, mode: "recycle" | "delete" = this.options.release): void {
    if (claim.phase === "Claimed") {
      this.end(claim, "Released", mode, this.ports.now())
      this.pump()
    } else if (claim.phase !== "Ended") this.cancel(claim.spec.claimId)
  }

  /** Lengthens the lease to `ttlMs` from now. Undefined: no such live claim. */
  renew(claimId: ClaimId, ttlMs: number | undefined): Settled | undefined {
    const claim = this.claims.get(claimId)
    if (claim === undefined || claim.phase !== "Claimed" || claim.settled === undefined) return undefined
    const now = this.ports.now()
    this.startLease(claim, ttlMs ?? claim.spec.ttlMs, now)
    claim.settled = { ...claim.settled, leaseExpiresAt: claim.leaseExpiresAt }
    return claim.settled
  }

  /** Counters of one moment; O(1). */
  snapshot(): Counters {
    return {
      idleReady: this.ready.size,
      queueLen: this.queue.length,
      reservedCount: this.reservations.size,
      inflightCas: this.inflight,
      lastDispatchAt: this.lastDispatchAt,
      claimed: this.claimedCount,
      total: this.totalCount
    }
  }

  get queueLength(): number {
    return this.queue.length
  }

  /** Results have been pushed out of memory: an unknown id may have been known. */
  get hasForgotten(): boolean {
    return this.forgotten > 0
  }

  get idleReady(): number {
    return this.ready.size
  }

  // ---------------------------------------------------------------- sandboxes

  observe(delta: SandboxDelta): void {
    this.deltas++
    if (delta._tag === "Upsert") this.upsert(delta.state)
    else if (delta._tag === "Removed") this.remove(delta.uid, "it was removed")
    else this.ports.repair(delta.reason)
    this.pump()
    this.scale()
  }

  /** Somebody saw a sandbox become idle. Many calls, one wake. */
  notifyIdle(): void {
    if (!Alarms.isSet(this.wake)) this.setAlarm(this.wake, this.ports.now() + this.options.notifyIdleMs)
  }

  /** A list begins: the number to hand to `listed`. */
  listing(): number {
    return ++this.deltas
  }

  /** The repair: everything that exists. What a delta has shown since the list began is left alone. */
  listed(token: number, states: ReadonlyArray<SandboxState>): void {
    const listed = new Set<SandboxUid>()
    for (const state of states) {
      listed.add(state.sandbox.uid)
      this.upsert(state)
    }
    for (const cell of Array.from(this.cells.values())) {
      if (cell.seen < token && !listed.has(cell.uid)) this.remove(cell.uid, "it is not listed any more")
    }
    for (const creation of this.creations.values()) {
      // Created, listed since, and not there: it is gone again, and its name with it.
      if (creation.doneAt < token) this.forgetCreation(creation)
    }
    this.isListed = true
    this.pump()
    this.scale()
  }

  setSize(size: number): void {
    this.size = size
    this.scale()
  }

  setWeights(weights: ReadonlyMap<string, number>): void {
    this.queue.setWeights(weights)
  }

  // ---------------------------------------------------------------- time and end

  /** Does what is due; returns when it wants to be called next. */
  tick(now: EpochMs): EpochMs {
    for (let alarm = this.alarms.due(now); alarm !== undefined; alarm = this.alarms.due(now)) {
      const { owner } = alarm
      if (owner instanceof Claim) this.claimDue(owner, now)
      else owner.run(now)
    }
    if (this.reservations.earliest <= now) {
      for (const uid of this.reservations.expire(now)) {
        const cell = this.cells.get(uid)
        if (cell !== undefined) this.admit(cell)
      }
      this.ports.repair("the watch has not shown a write within the reservation's time")
    }
    this.pump()
    return Math.min(this.alarms.earliest, this.reservations.earliest)
  }

  /** Takes nothing more, answers all that wait, and calls back when the last write is settled. */
  shutdown(onDrained: () => void): void {
    this.isStopping = true
    this.onDrained = onDrained
    const now = this.ports.now()
    for (const claim of Array.from(this.claims.values())) {
      if (claim.phase !== "Waiting") continue
      this.abandon(claim, "ShuttingDown", now)
    }
    this.drained()
  }

  // ---------------------------------------------------------------- dispatch

  private pump(): void {
    if (this.isPumping) return
    this.isPumping = true
    try {
      while (
        this.ready.size > 0 && this.queue.servable > 0 && this.inflight < this.options.inflightCasMax
        && !this.isStopping && (this.breakerTrips === 0 || this.ports.now() >= this.breakerUntil)
      ) {
        const claim = this.queue.take()
        if (claim === undefined) break
        // The slot comes before the sandbox: one that is popped and cannot be written would be idle and unseen.
        this.inflight++
        const cell = this.pop(claim.spec.selector)
        if (cell === undefined) {
          this.inflight--
          if (claim.spec.selector !== undefined) this.queue.exhaust(claim)
          this.queue.putBack(claim)
          continue
        }
        this.write(claim, cell)
      }
    } finally {
      this.isPumping = false
    }
  }

  /** The longest idle sandbox that is still what the queue believes. */
  private pop(selector: Labels | undefined): Cell | undefined {
    for (;;) {
      const uid = selector === undefined
        ? this.ready.shift()
        : this.ready.shiftWhere((candidate) => {
          const cell = this.cells.get(candidate)
          return cell === undefined || matches(selector, cell.state.sandbox.labels)
        })
      if (uid === undefined) return undefined
      const cell = this.cells.get(uid)
      if (cell !== undefined && this.isFree(cell)) return cell
    }
  }

  private isFree(cell: Cell): boolean {
    return cell.state.phase === "Idle" && cell.state.isProtected !== true && !cell.isLeaving && cell.claim === undefined
      && cell.releasing === undefined && cell.state.version >= cell.grantedAt && !this.reservations.has(cell.uid)
  }

  /** Into the ready queue, or out of it, by what is known now. */
  private admit(cell: Cell): void {
    if (!this.isFree(cell)) {
      this.ready.delete(cell.uid)
      return
    }
    if (!this.ready.push(cell.uid)) return
    const { labels } = cell.state.sandbox
    this.queue.revive((selector) => matches(selector, labels))
  }

  private write(claim: Claim, cell: Cell): void {
    const now = this.ports.now()
    const { spec } = claim
    this.reservations.hold(cell.uid)
    claim.phase = "Inflight"
    claim.uid = cell.uid
    claim.sandbox = cell.state.sandbox
    if (claim.attempts++ === 0) claim.firstWriteAt = now
    claim.writeStartedAt = now
    const number = ++claim.writes
    const { version } = cell.state
    const write: ClaimWrite = {
      uid: cell.uid,
      version,
      mark: { claimId: spec.claimId, holder: spec.holder, sessionId: this.options.sessionId, ttlMs: spec.ttlMs },
      labels: spec.labels,
      annotations: spec.annotations,
      images: spec.images,
      env: spec.env
    }
    this.reservations.start(cell.uid)
    let isAnswered = false
    this.ports.provider.claim(write, (outcome) => {
      if (isAnswered) return
      isAnswered = true
      // A later answer than the write's deadline: it is being read back, which says the same and more.
      if (claim.writes !== number || claim.phase !== "Inflight") return
      this.written(claim, cell.uid, version, outcome)
    })
    if (!isAnswered) this.setAlarm(claim.alarm, now + this.options.casDeadlineMs)
  }

  private written(claim: Claim, uid: SandboxUid, version: Version, outcome: ClaimOutcome): void {
    const now = this.ports.now()
    switch (outcome._tag) {
      case "Success":
        this.breakerTrips = 0
        return this.granted(claim, uid, outcome.version, now)
      case "Conflict":
      case "WrongPhase":
        this.slotFree(claim)
        this.settleReservation(uid, version + 1, now)
        return this.retry(claim, now)
      case "Gone":
        this.slotFree(claim)
        this.reservations.release(uid)
        this.remove(uid, "it was gone when it was claimed")
        return this.retry(claim, now)
      case "HardError":
        this.slotFree(claim)
        claim.lastError = { code: "Unavailable", message: `the provider refused the claim: ${outcome.message}` }
        if (!outcome.everySandbox) {
          this.settleReservation(uid, version + 1, now)
          return this.retry(claim, now)
        }
        this.tripBreaker(outcome.message, now)
        claim.attempts--
        this.reservations.release(uid)
        this.readmit(uid)
        return this.retry(claim, now)
      case "Unknown":
        claim.lastError = { code: "Unavailable", message: `the claim's write had no clear answer: ${outcome.reason}` }
        return this.readBack(claim, uid, now)
      case "Fenced":
        this.slotFree(claim)
        this.reservations.release(uid)
        this.stopForGood(claim, outcome.current, now)
    }
  }

  /** The write took effect (told by its answer, or by reading back). */
  private granted(claim: Claim, uid: SandboxUid, version: Version, now: EpochMs): void {
    this.slotFree(claim)
    const cell = this.cells.get(uid)
    if (cell === undefined) {
      // Removed since: what was won is gone.
      this.reservations.release(uid)
      return this.retry(claim, now)
    }
    cell.grantedAt = version
    this.settleReservation(uid, version, now)
    if (claim.settled !== undefined) {
      // Nobody waits for it any more: the sandbox is given back at once.
      this.forget(claim)
      this.giveBack(uid, claim.spec.claimId, this.options.release)
      this.drained()
      return
    }
    claim.phase = "Claimed"
    this.claimedCount++
    this.lastDispatchAt = now
    cell.claim = claim
    this.ready.delete(uid)
    this.startLease(claim, claim.spec.ttlMs, now)
    this.ports.event({ kind: "Claimed", at: now, claim, sandbox: cell.state.sandbox })
    this.queue.settle(claim, false)
    this.answer(claim, this.resultOf(claim, "Claimed", now))
    if (cell.claim === claim && cell.state.version > version && cell.state.claim?.claimId !== claim.spec.claimId) {
      cell.claim = undefined
      this.lost(claim, "its holder was changed from outside", now)
      this.admit(cell)
    }
    this.drained()
  }

  /** The next sandbox, at the claim's old place. */
  private retry(claim: Claim, now: EpochMs): void {
    if (claim.settled !== undefined) {
      this.forget(claim)
      this.drained()
      return
    }
    const { attemptsMax } = this.options
    if (this.isStopping) this.finish(claim, "ShuttingDown", now)
    else if (now >= claim.spec.deadlineAt) this.finish(claim, "DeadlineExceeded", now)
    else if (claim.attempts >= attemptsMax) {
      claim.lastError ??= {
        code: "Unavailable",
        message: `${attemptsMax} sandboxes were tried and none could be claimed`
      }
      this.finish(claim, "Failed", now)
    } else {
      claim.phase = "Waiting"
      claim.uid = undefined
      this.queue.putBack(claim)
      this.watchDeadline(claim)
      this.pump()
      return
    }
    this.drained()
  }

  /** Unknown is neither yes nor no: the sandbox stays reserved and the claim unsettled until the provider has told. */
  private readBack(claim: Claim, uid: SandboxUid, now: EpochMs): void {
    claim.phase = "Unsettled"
    const number = ++claim.writes
    let isAnswered = false
    this.ports.provider.readBack(uid, claim.spec.claimId, (outcome) => {
      if (isAnswered) return
      isAnswered = true
      if (claim.writes !== number || claim.phase !== "Unsettled") return
      this.wasReadBack(claim, uid, outcome)
    })
    if (!isAnswered) this.setAlarm(claim.alarm, Math.min(now + this.options.casDeadlineMs, this.deadlineOf(claim)))
  }

  private wasReadBack(claim: Claim, uid: SandboxUid, outcome: ReadBackOutcome): void {
    const now = this.ports.now()
    switch (outcome._tag) {
      case "Ours":
        return this.granted(claim, uid, outcome.version, now)
      case "NotOurs":
        this.slotFree(claim)
        this.reservations.release(uid)
        this.upsert(outcome.state)
        this.readmit(uid)
        return this.retry(claim, now)
      case "Gone":
        this.slotFree(claim)
        this.reservations.release(uid)
        this.remove(uid, "it was gone when its claim was read back")
        return this.retry(claim, now)
      case "Unknown": {
        const waitMs = this.backOffMs(claim.readBacks++)
        this.setAlarm(claim.alarm, Math.min(now + waitMs, this.deadlineOf(claim)))
      }
    }
  }

  /** The deadline as far as somebody still waits for it. */
  private deadlineOf(claim: Claim): EpochMs {
    return claim.settled === undefined ? claim.spec.deadlineAt : Infinity
  }

  private claimDue(claim: Claim, now: EpochMs): void {
    switch (claim.phase) {
      case "Waiting":
        this.abandon(claim, "DeadlineExceeded", now)
        return
      case "Inflight":
        claim.lastError = {
          code: "Unavailable",
          message: `the claim's write had no answer within ${this.options.casDeadlineMs} ms`
        }
        if (claim.settled === undefined && now >= claim.spec.deadlineAt) this.abandon(claim, "DeadlineExceeded", now)
        this.readBack(claim, claim.uid as SandboxUid, now) // set with the write
        return
      case "Unsettled":
        if (claim.settled === undefined && now >= claim.spec.deadlineAt) this.abandon(claim, "DeadlineExceeded", now)
        this.readBack(claim, claim.uid as SandboxUid, now) // set with the write
        return
      case "Claimed":
        this.end(claim, "Expired", this.options.release, now)
        return
      case "Ended":
        return
    }
  }

  // ---------------------------------------------------------------- ends of claims

  /** A terminal result for a claim that holds nothing (yet): one that waits ends; one whose write is under way ends when that is settled. */
  private abandon(claim: Claim, outcome: "Cancelled" | "DeadlineExceeded" | "ShuttingDown", now: EpochMs): void {
    if (claim.settled !== undefined) return
    const isWaiting = claim.phase === "Waiting"
    this.queue.settle(claim, isWaiting)
    if (isWaiting) {
      claim.phase = "Ended"
      this.alarms.clear(claim.alarm)
    }
    this.answer(claim, this.resultOf(claim, outcome, now))
    if (isWaiting) this.forget(claim)
  }

  /** A terminal result for a claim whose write has just been settled without success. */
  private finish(claim: Claim, outcome: "DeadlineExceeded" | "ShuttingDown" | "Failed", now: EpochMs): void {
    claim.phase = "Ended"
    this.alarms.clear(claim.alarm)
    this.queue.settle(claim, false)
    this.answer(claim, this.resultOf(claim, outcome, now))
    this.forget(claim)
  }

  /** A live claim ends; its sandbox is given back. */
  private end(claim: Claim, outcome: "Released" | "Expired", mode: "recycle" | "delete", now: EpochMs): void {
    this.alarms.clear(claim.alarm)
    claim.phase = "Ended"
    this.claimedCount--
    if (claim.settled !== undefined) claim.settled = { ...claim.settled, outcome }
    const uid = claim.uid as SandboxUid // a claimed one has a sandbox
    const cell = this.cells.get(uid)
    if (cell?.claim === claim) cell.claim = undefined
    this.ports.event({ kind: outcome, at: now, claim, sandbox: claim.sandbox as Sandbox }) // a claimed one has a sandbox
    this.forget(claim)
    this.giveBack(uid, claim.spec.claimId, mode)
  }

  /** The sandbox of a live claim has vanished or was taken away. */
  private lost(claim: Claim, reason: string, now: EpochMs): void {
    if (claim.phase !== "Claimed") return
    this.alarms.clear(claim.alarm)
    claim.phase = "Ended"
    this.claimedCount--
    if (claim.settled !== undefined) {
      claim.settled = {
        ...claim.settled,
        outcome: "Failed",
        error: { code: "Unavailable", message: `the sandbox was lost: ${reason}` }
      }
    }
    this.ports.event({ kind: "Lost", at: now, claim, sandbox: claim.sandbox as Sandbox }) // a claimed one has a sandbox
    this.forget(claim)
  }

  private answer(claim: Claim, settled: Settled): void {
    claim.settled = settled
    const { waiters } = claim
    claim.waiters = []
    for (const waiter of waiters) waiter(settled)
  }

  private resultOf(claim: Claim, outcome: Settled["outcome"], now: EpochMs): Settled {
    const isClaimed = outcome === "Claimed"
    return {
      claimId: claim.spec.claimId,
      outcome,
      sandbox: isClaimed ? claim.sandbox : undefined,
      leaseExpiresAt: isClaimed && claim.leaseExpiresAt !== Infinity ? claim.leaseExpiresAt : undefined,
      queuedMs: (claim.attempts > 0 ? claim.firstWriteAt : now) - claim.arrivedAt,
      casMs: isClaimed ? now - claim.writeStartedAt : 0,
      attempts: claim.attempts,
      error: isClaimed ? undefined : claim.lastError
    }
  }

  /** Out of the live claims; a direct claim's record stays for those who ask again. */
  private forget(claim: Claim): void {
    claim.phase = "Ended"
    this.alarms.clear(claim.alarm)
    this.claims.delete(claim.spec.claimId)
    if (claim.spec.ttlMs === 0 || claim.settled === undefined) return
    const oldest = this.resultIds[this.resultAt]
    if (oldest !== undefined) {
      this.results.delete(oldest)
      this.forgotten++
    }
    this.resultIds[this.resultAt] = claim.spec.claimId
    this.resultAt = (this.resultAt + 1) % this.options.resultsMax
    this.results.set(claim.spec.claimId, claim.settled)
  }

  private startLease(claim: Claim, ttlMs: number, now: EpochMs): void {
    if (ttlMs <= 0) return
    claim.leaseExpiresAt = now + ttlMs
    this.setAlarm(claim.alarm, claim.leaseExpiresAt)
  }

  private watchDeadline(claim: Claim): void {
    if (claim.spec.deadlineAt !== Infinity) this.setAlarm(claim.alarm, claim.spec.deadlineAt)
    else this.alarms.clear(claim.alarm)
  }

  private slotFree(claim: Claim): void {
    this.inflight--
    this.alarms.clear(claim.alarm)
  }

  private drained(): void {
    if (!this.isStopping || this.inflight > 0 || this.onDrained === undefined) return
    const done = this.onDrained
    this.onDrained = undefined
    done()
  }

  private stopForGood(claim: Claim, current: SessionId, now: EpochMs): void {
    this.isStopping = true
    claim.lastError = { code: "NotOwner", message: "the pool has another owner" }
    this.retry(claim, now)
    this.ports.fenced(current)
  }

  // ---------------------------------------------------------------- giving back

  private giveBack(uid: SandboxUid, claimId: ClaimId, mode: "recycle" | "delete"): void {
    const cell = this.cells.get(uid)
    if (cell === undefined) return
    const release: Release = {
      claimId,
      mode,
      attempts: 0,
      alarm: Alarms.make<Claim | Errand>({ run: () => this.sendRelease(cell, release) })
    }
    cell.releasing = release
    this.ready.delete(uid)
    if (mode === "delete") this.setLeaving(cell)
    this.sendRelease(cell, release)
  }

  private sendRelease(cell: Cell, release: Release): void {
    if (cell.releasing !== release) return
    const number = ++release.attempts
    let isAnswered = false
    this.ports.provider.release({
      uid: cell.uid,
      claimId: release.claimId,
      sessionId: this.options.sessionId,
      mode: release.mode
    }, (outcome) => {
      if (isAnswered || cell.releasing !== release || release.attempts !== number) return
      isAnswered = true
      switch (outcome._tag) {
        case "Done":
        case "NotOurs":
          this.alarms.clear(release.alarm)
          cell.releasing = undefined
          if (outcome._tag === "NotOurs" && release.mode === "delete") this.setStaying(cell)
          this.admit(cell)
          this.pump()
          return
        case "Gone":
          this.alarms.clear(release.alarm)
          cell.releasing = undefined
          this.remove(cell.uid, "it was gone when it was released")
          this.scale()
          return
        case "Fenced":
          this.alarms.clear(release.alarm)
          this.ports.fenced(outcome.current)
          return
        case "HardError":
          // A sandbox that cannot be reset is of no use: it is replaced.
          this.ports.warn("a sandbox could not be released", {
            sandbox: cell.uid,
            mode: release.mode,
            reason: outcome.message
          })
          if (release.mode === "recycle" && !outcome.everySandbox) {
            release.mode = "delete"
            this.setLeaving(cell)
          }
          break
        case "Unknown":
          break
      }
      this.setAlarm(release.alarm, this.ports.now() + this.backOffMs(release.attempts))
    })
    if (!isAnswered && cell.releasing === release) {
      this.setAlarm(release.alarm, this.ports.now() + this.options.casDeadlineMs)
    }
  }

  // ---------------------------------------------------------------- the watch cache

  private upsert(state: SandboxState): void {
    const { uid } = state.sandbox
    let cell = this.cells.get(uid)
    if (cell === undefined) {
      if (state.phase === "Gone") return
      cell = { uid, state, seen: this.deltas, claim: undefined, grantedAt: -1, releasing: undefined, isLeaving: false }
      this.cells.set(uid, cell)
      this.totalCount++
      const creation = this.creations.get(state.sandbox.name)
      if (creation !== undefined) this.forgetCreation(creation)
    } else {
      cell.seen = this.deltas
      if (state.version < cell.state.version) return
      cell.state = state
    }
    if (state.phase === "Gone") return this.remove(uid, "it ended")
    this.reservations.observed(uid, state.version)
    const holder = cell.claim
    if (holder !== undefined && state.version > cell.grantedAt && state.claim?.claimId !== holder.spec.claimId) {
      cell.claim = undefined
      this.lost(holder, "its holder was changed from outside", this.ports.now())
    }
    if (
      state.phase === "Running" && cell.claim === undefined && cell.releasing === undefined && state.claim !== undefined
    ) {
      this.stray(cell, state)
    }
    this.admit(cell)
  }

  /** A sandbox that runs for a claim which this scheduler does not hold it for. */
  private stray(cell: Cell, state: SandboxState): void {
    const mark = state.claim
    // A write of our own that is under way or to be read back answers for itself; one that the watch has overtaken, too.
    if (mark === undefined || this.reservations.has(cell.uid) || state.version <= cell.grantedAt) return
    if (this.claims.has(mark.claimId) || this.results.has(mark.claimId) || mark.sessionId === this.options.sessionId) {
      // The claim has ended, or holds another sandbox: a write that took effect after it was given up.
      cell.grantedAt = state.version
      this.giveBack(cell.uid, mark.claimId, this.options.release)
      return
    }
    // Claimed by an owner before this one, perhaps a moment ago: its holder goes on, on a lease that starts anew.
    const now = this.ports.now()
    const claim = new Claim(
      {
        claimId: mark.claimId,
        holder: mark.holder,
        team: "",
        priority: priorityDefault,
        deadlineAt: Infinity,
        ttlMs: mark.ttlMs
      },
      this.sequence++,
      now,
      () => {}
    )
    claim.waiters = []
    claim.phase = "Claimed"
    claim.uid = cell.uid
    claim.sandbox = state.sandbox
    claim.firstWriteAt = now
    claim.writeStartedAt = now
    cell.claim = claim
    cell.grantedAt = state.version
    this.claims.set(mark.claimId, claim)
    this.claimedCount++
    this.startLease(claim, mark.ttlMs, now)
    claim.settled = this.resultOf(claim, "Claimed", now)
    this.ports.event({ kind: "Adopted", at: now, claim, sandbox: state.sandbox })
    if (mark.ttlMs === 0) this.ports.adoptedTask(claim)
  }

  private remove(uid: SandboxUid, reason: string): void {
    const cell = this.cells.get(uid)
    if (cell === undefined) return
    this.cells.delete(uid)
    this.ready.delete(uid)
    if (!cell.isLeaving) this.totalCount--
    if (cell.releasing !== undefined) this.alarms.clear(cell.releasing.alarm)
    cell.releasing = undefined
    // A write under way keeps its reservation until it has answered.
    if (this.reservations.get(uid)?._tag === "Settling") this.reservations.release(uid)
    const holder = cell.claim
    cell.claim = undefined
    if (holder !== undefined) this.lost(holder, reason, this.ports.now())
  }

  private readmit(uid: SandboxUid): void {
    const cell = this.cells.get(uid)
    if (cell !== undefined) this.admit(cell)
  }

  private settleReservation(uid: SandboxUid, at: Version, now: EpochMs): void {
    const cell = this.cells.get(uid)
    if (cell === undefined || cell.state.version >= at) {
      this.reservations.release(uid)
      if (cell !== undefined) this.admit(cell)
      return
    }
    this.reservations.settle(uid, at, now)
    this.ports.arm(this.reservations.earliest)
  }

  private wakeUp(): void {
    if (this.queue.servable > 0 && this.ready.size === 0) {
      this.ports.repair("a sandbox is said to be idle and the watch has not shown it")
    }
    this.pump()
  }

  private tripBreaker(message: string, now: EpochMs): void {
    const waitMs = Math.min(1_000 * 2 ** this.breakerTrips++, 30_000)
    this.breakerUntil = now + waitMs
    this.setAlarm(this.breaker, this.breakerUntil)
    this.ports.warn("the provider refuses every claim; none is tried for a while", { reason: message, waitMs })
  }

  // ---------------------------------------------------------------- size

  /** Refills to the pool's size, or takes idle ones away. */
  private scale(): void {
    // A provider that answers at once shows the delta of each step before the step is over: the loops below go on by themselves.
    if (!this.isListed || this.isStopping || this.isScaling) return
    this.isScaling = true
    try {
      this.refill()
      if (this.totalCount > this.size) this.shrink(this.totalCount - this.size)
    } finally {
      this.isScaling = false
    }
  }

  /** Creates what is missing, until enough are under way or one could not be begun. */
  private refill(): void {
    let present = this.totalCount + this.creations.size
    while (
      present < this.size && this.creations.size < this.options.creatingMax && !Alarms.isSet(this.createPause)
    ) {
      const before = present
      this.create()
      present = this.totalCount + this.creations.size
      if (present <= before) return
    }
  }

  private create(): void {
    const name = `${this.options.poolName}-${this.options.sessionId.toString(36)}-${(this.created++).toString(36)}`
    const creation: Creation = {
      name,
      attempts: 0,
      doneAt: Infinity,
      alarm: Alarms.make<Claim | Errand>({ run: () => this.sendCreate(creation) })
    }
    this.creations.set(name, creation)
    this.sendCreate(creation)
  }

  private sendCreate(creation: Creation): void {
    if (this.creations.get(creation.name) !== creation || creation.doneAt !== Infinity) return
    const number = ++creation.attempts
    let isAnswered = false
    this.ports.provider.create({ name: creation.name, sessionId: this.options.sessionId }, (outcome) => {
      if (isAnswered || creation.attempts !== number) return
      isAnswered = true
      const now = this.ports.now()
      switch (outcome._tag) {
        case "Done":
          this.createFailures = 0
          creation.doneAt = this.deltas
          this.alarms.clear(creation.alarm)
          return
        case "Fenced":
          this.forgetCreation(creation)
          this.ports.fenced(outcome.current)
          return
        case "HardError": {
          // Not this one but creating as such: one pause for all, then new names.
          this.forgetCreation(creation)
          const waitMs = Math.min(1_000 * 2 ** this.createFailures++, 60_000)
          this.setAlarm(this.createPause, now + waitMs)
          this.ports.warn("a sandbox could not be created", { name: creation.name, reason: outcome.message, waitMs })
          return
        }
        case "Unknown":
          this.setAlarm(creation.alarm, now + this.backOffMs(creation.attempts))
      }
    })
    if (!isAnswered && this.creations.get(creation.name) === creation) {
      this.setAlarm(creation.alarm, this.ports.now() + this.options.casDeadlineMs)
    }
  }

  private forgetCreation(creation: Creation): void {
    this.creations.delete(creation.name)
    this.alarms.clear(creation.alarm)
  }

  /** Idle, unprotected and unreserved ones, those that became idle last first. */
  private shrink(surplus: number): void {
    const victims: Array<SandboxUid> = []
    for (const uid of this.ready.newestFirst()) {
      if (victims.length >= surplus) break
      victims.push(uid)
    }
    for (const uid of victims) {
      const cell = this.cells.get(uid)
      this.ready.delete(uid)
      if (cell === undefined || !this.isFree(cell)) continue
      this.reservations.hold(uid)
      this.setLeaving(cell)
      this.sendDelete(cell)
    }
  }

  private sendDelete(cell: Cell): void {
    const { uid } = cell
    const { version } = cell.state
    let isAnswered = false
    const answered = (isDeleted: boolean): void => {
      if (isAnswered) return
      isAnswered = true
      this.alarms.clear(overdue)
      // Not deleted, as far as is known: it counts again; a delta, or the end of the reservation, decides.
      if (!isDeleted && this.cells.get(uid) === cell) this.setStaying(cell)
      this.settleReservation(uid, version + 1, this.ports.now())
      this.pump()
    }
    const overdue = Alarms.make<Claim | Errand>({ run: () => answered(false) })
    this.ports.provider.delete({ uid, version, sessionId: this.options.sessionId }, (outcome) => {
      answered(outcome._tag === "Done")
      if (outcome._tag === "Fenced") this.ports.fenced(outcome.current)
    })
    if (!isAnswered) this.setAlarm(overdue, this.ports.now() + this.options.casDeadlineMs)
  }

  private setStaying(cell: Cell): void {
    if (!cell.isLeaving) return
    cell.isLeaving = false
    this.totalCount++
  }

  private setLeaving(cell: Cell): void {
    if (cell.isLeaving) return
    cell.isLeaving = true
    this.totalCount--
  }

  private backOffMs(attempt: number): number {
    return Math.min(this.options.retryMinMs * 2 ** Math.min(attempt, 20), this.options.retryMaxMs)
  }

  private setAlarm(alarm: Alarms.Alarm<Claim | Errand>, at: EpochMs): void {
    this.alarms.set(alarm, at)
    this.ports.arm(at)
  }
}
