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
  ClaimMark,
  ClaimOutcome,
  ClaimWrite,
  PauseOutcome,
  ProviderPool,
  ReadBackOutcome,
  SandboxDelta,
  SandboxState,
  Version
} from "../../shared/plugin/PoolProvider.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import {
  creatingMaxDefault,
  inflightCasMaxDefault,
  queueLengthMaxDefault,
  sizeMax
} from "../../shared/protocol/Pool.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { ClaimId, EpochMs, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import { priorityDefault } from "../../shared/protocol/Token.ts"
import * as Admission from "./Admission.ts"
import * as Alarms from "./Alarms.ts"
import type { Autoscaler } from "./Autoscaler.ts"
import { Batch, memberId } from "./Batch.ts"
import * as Batches from "./Batches.ts"
import { Claim, type ClaimSpec, type OnSettled, type Settled } from "./Claim.ts"
import { ClaimQueue } from "./ClaimQueue.ts"
import { type CreationLimits, Creations } from "./Creations.ts"
import type { Errand, ProviderDesk } from "./ProviderDesk.ts"
import { ReadyQueue } from "./ReadyQueue.ts"
import { Releases } from "./Releases.ts"
import { Reservations } from "./Reservations.ts"
import * as SandboxCell from "./SandboxCell.ts"
import { ScaleDown } from "./ScaleDown.ts"
import * as Selector from "./Selector.ts"
import { type QuotaLimits, TeamQuotas, unlimited } from "./TeamQuotas.ts"

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
  /** Some counter of `snapshot` may have changed: told often, must cost nothing. */
  readonly changed?: () => void
}

/** Units in the names; each has the default that design/04 gives. */
export interface Options {
  readonly sessionId: SessionId
  /** Prefix of the names of sandboxes that it creates. */
  readonly poolName: string
  /** Of a pool of fixed size. */
  readonly size: number
  /** Decides instead of `size`. */
  readonly autoscaler?: Autoscaler | undefined
  /** The most that there may ever be: a batch of more is refused. */
  readonly sizeMax: number
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
  readonly createPerSecond?: number | undefined
  readonly wear: SandboxCell.WearLimits
  readonly quotas: QuotaLimits
  readonly whenQuotaReached: "wait" | "refuse"
  /** Gives nothing out, lets its sandboxes go. */
  readonly isDraining: boolean
  /** Results kept in memory for repeated claim ids. */
  readonly resultsMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
  readonly weights: ReadonlyMap<string, number>
  /** Lease of an adopted claim whose mark names none. */
  readonly ttlDefaultMs: number
}

/** What may change while the pool is open. */
export type Adjustable = Pick<
  Options,
  | "size"
  | "autoscaler"
  | "sizeMax"
  | "creatingMax"
  | "createPerSecond"
  | "wear"
  | "quotas"
  | "whenQuotaReached"
  | "isDraining"
  | "weights"
>

export const defaults = {
  sizeMax,
  wear: {},
  quotas: unlimited,
  whenQuotaReached: "wait",
  isDraining: false,
  release: "recycle",
  queueLengthMax: queueLengthMaxDefault,
  inflightCasMax: inflightCasMaxDefault,
  casDeadlineMs: 5_000,
  reservationTtlMs: 2_000,
  attemptsMax: 16,
  notifyIdleMs: 200,
  creatingMax: creatingMaxDefault,
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
  /** Sandboxes that it means to have now, and those under creation. */
  readonly target: number
  readonly creating: number
  readonly quotaBlocked: number
}

type Cell = SandboxCell.SandboxCell

export class PoolScheduler {
  private readonly ports: Ports
  private options: Options
  private readonly desk: ProviderDesk
  private readonly queue: ClaimQueue
  private readonly ready = new ReadyQueue()
  private readonly reservations: Reservations
  private readonly quotas: TeamQuotas
  private readonly creations: Creations
  private readonly releases: Releases
  private readonly scaleDown: ScaleDown
  private readonly alarms = new Alarms.Alarms<Claim | Errand>()
  private readonly cells = new Map<SandboxUid, Cell>()
  /** Claims that are not Ended, and those whose write is still to be settled. */
  private readonly claims = new Map<ClaimId, Claim>()
  private readonly results = new Map<ClaimId, Settled>()
  private readonly resultIds: Array<ClaimId | undefined> = []
  private resultAt = 0
  private forgotten = 0
  private readonly batches: Batches.Batches
  private readonly wake: Alarms.Alarm<Claim | Errand>
  private readonly breaker: Alarms.Alarm<Claim | Errand>
  private readonly rescale: Alarms.Alarm<Claim | Errand>
  private breakerUntil = 0
  private breakerTrips = 0
  private target: number
  private sequence = 0
  private deltas = 0
  private inflight = 0
  private claimedCount = 0
  private totalCount = 0
  private lastDispatchAt = 0
  private isPumping = false
  private isScaling = false
  private isListed = false
  private isStopping = false
  private isHeld = false
  private onDrained: (() => void) | undefined = undefined

  constructor(ports: Ports, options: Pick<Options, "sessionId" | "poolName" | "size"> & Partial<Options>) {
    this.ports = ports
    this.options = { ...defaults, ...options }
    this.target = this.options.autoscaler?.target ?? options.size
    this.queue = new ClaimQueue({
      lengthMax: this.options.queueLengthMax,
      weights: this.options.weights,
      hasRoom: (batch) => this.hasRoomFor(batch)
    })
    this.reservations = new Reservations(this.options.reservationTtlMs)
    this.quotas = new TeamQuotas(this.options.quotas)
    this.wake = Alarms.make<Claim | Errand>({ run: () => this.wakeUp() })
    this.breaker = Alarms.make<Claim | Errand>({ run: () => this.pump() })
    this.rescale = Alarms.make<Claim | Errand>({ run: () => this.scale() })
    this.desk = {
      provider: ports.provider,
      sessionId: options.sessionId,
      now: ports.now,
      setAlarm: (alarm, at) => this.setAlarm(alarm, at),
      clearAlarm: (alarm) => this.alarms.clear(alarm),
      isHeld: () => this.isHeld,
      fenced: ports.fenced,
      warn: ports.warn,
      writeDeadlineMs: this.options.casDeadlineMs,
      backOffMs: (attempt) => this.backOffMs(attempt)
    }
    this.creations = new Creations(
      this.desk,
      `${this.options.poolName}-${options.sessionId.toString(36)}`,
      this.creationLimits,
      () => this.deltas,
      () => this.scale()
    )
    this.batches = new Batches.Batches({
      now: ports.now,
      end: (member, now) => this.end(member, "Released", this.options.release, now),
      renew: (member, now) => this.renewOne(member, undefined, now),
      abandon: (member, now) => this.abandon(member, "Cancelled", now),
      record: (settled) => this.keepResult(settled),
      ended: () => this.pump()
    })
    this.releases = new Releases(this.desk, {
      done: (cell) => {
        this.admit(cell)
        this.pump()
      },
      gone: (cell) => {
        this.remove(cell.uid, "it was gone when it was released")
        this.scale()
      },
      leaving: (cell) => this.setLeaving(cell),
      staying: (cell) => this.setStaying(cell)
    })
    this.scaleDown = new ScaleDown(this.desk, this.ready, {
      cellOf: (uid) => this.cells.get(uid),
      isFree: (cell) => this.isFree(cell),
      leaving: (cell) => {
        this.reservations.hold(cell.uid)
        this.setLeaving(cell)
      },
      settled: (cell, isDeleted, version) => {
        // Not deleted, as far as is known: it counts again; a delta, or the end of the reservation, decides.
        if (!isDeleted && this.cells.get(cell.uid) === cell) this.setStaying(cell)
        this.settleReservation(cell.uid, version + 1, this.ports.now())
        this.pump()
      }
    })
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
    const batch = this.batches.get(spec.claimId)
    if (batch !== undefined) {
      Batches.join(batch, onSettled)
      return undefined
    }
    const now = this.ports.now()
    const claim = new Claim(spec, this.sequence++, now, onSettled)
    const refusal = this.refusalOf(claim, 1)
    if (refusal !== undefined) {
      claim.phase = "Ended"
      this.answer(claim, { ...this.resultOf(claim, refusal.outcome, now), error: refusal.error })
      return undefined
    }
    if (!this.queue.admit(claim)) {
      claim.phase = "Ended"
      this.answer(claim, { ...this.resultOf(claim, "QueueFull", now), error: Admission.queueFull(this.queue.length) })
      return undefined
    }
    this.claims.set(spec.claimId, claim)
    this.pump()
    if (claim.phase === "Waiting") this.watchDeadline(claim)
    this.demand()
    return claim
  }

  /** A claim for `count` sandboxes, all or none. As `enqueue`; the result carries `sandboxes`. */
  enqueueBatch(spec: ClaimSpec, count: number, onSettled: OnSettled): Batch | undefined {
    const known = this.batches.get(spec.claimId)
    if (known !== undefined && known.isAdopted && known.held < count) {
      // All or none: what an earlier owner had not completed is given back, and the batch begins anew.
      const now = this.ports.now()
      for (const member of known.members) {
        if (member.phase === "Claimed") this.end(member, "Released", this.options.release, now)
      }
      this.results.delete(spec.claimId)
    } else if (known !== undefined) {
      Batches.join(known, onSettled)
      return known
    }
    const past = this.results.get(spec.claimId) ?? this.claims.get(spec.claimId)?.settled
    if (past !== undefined) {
      onSettled(past)
      return undefined
    }
    const now = this.ports.now()
    const batch = new Batch(spec, onSettled)
    for (let i = 0; i < count; i++) {
      const claim = new Claim(
        { ...spec, claimId: memberId(spec.claimId, i) },
        this.sequence++,
        now,
        (settled) => this.batches.memberSettled(batch, settled)
      )
      claim.batch = batch
      batch.members.push(claim)
    }
    const [first] = batch.members
    if (first === undefined) return undefined
    const isTaken = batch.members.some((member) => this.claims.has(member.spec.claimId))
    const refusal = isTaken
      ? {
        outcome: "Invalid",
        error: { code: "Conflict", message: `another claim has an id of this batch's: ${first.spec.claimId}, ...` }
      } as const
      : this.refusalOf(first, count)
    if (refusal !== undefined || !this.queue.admitBatch(batch)) {
      const { error, outcome } = refusal ??
        { outcome: "QueueFull", error: Admission.queueFull(this.queue.length) } as const
      batch.settled = { claimId: spec.claimId, outcome, queuedMs: 0, casMs: 0, attempts: 0, error }
      onSettled(batch.settled)
      return undefined
    }
    this.batches.add(batch)
    for (const member of batch.members) this.claims.set(member.spec.claimId, member)
    this.pump()
    if (first.phase === "Waiting" && !batch.isOpen) this.watchDeadline(first)
    this.demand()
    return batch
  }

  /** What is known of a claim: its result or latest record; `Waiting` claims have none yet. */
  get(claimId: ClaimId): { readonly settled: Settled | undefined; readonly claim: Claim | undefined } | undefined {
    const claim = this.claims.get(claimId)
    if (claim !== undefined) return { settled: claim.settled, claim }
    const batch = this.batches.get(claimId)
    const settled = batch === undefined ? this.results.get(claimId) : batch.settled
    return settled === undefined && batch === undefined ? undefined : { settled, claim: undefined }
  }

  /** Ends a claim whatever it is doing: one that waits is answered `Cancelled`, one that holds a sandbox gives it back. Idempotent. */
  cancel(claimId: ClaimId): Settled | undefined {
    const claim = this.claims.get(claimId)
    if (claim === undefined) {
      const batch = this.batches.get(claimId)
      if (batch === undefined) return this.results.get(claimId)
      return batch.settled === undefined ? this.batches.fail(batch, "Cancelled", undefined) : this.release(claimId)
    }
    if (claim.phase === "Claimed") return this.release(claimId)
    this.abandon(claim, "Cancelled", this.ports.now())
    this.pump()
    return claim.settled
  }

  /** Gives a claimed sandbox back. A claim that still waits is cancelled. Idempotent. */
  release(claimId: ClaimId, mode: "recycle" | "delete" = this.options.release): Settled | undefined {
    const claim = this.claims.get(claimId)
    if (claim === undefined) {
      const batch = this.batches.get(claimId)
      if (batch === undefined) return this.results.get(claimId)
      if (batch.settled === undefined) return this.cancel(claimId)
      const now = this.ports.now()
      for (const member of batch.members) if (member.phase === "Claimed") this.end(member, "Released", mode, now)
      this.pump()
      this.demand()
      return batch.settled
    }
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

  /** Lengthens the lease to `ttlMs` from now, of every member of a batch. Undefined: no such live claim. */
  renew(claimId: ClaimId, ttlMs: number | undefined): Settled | undefined {
    const now = this.ports.now()
    const batch = this.batches.get(claimId)
    if (batch !== undefined) {
      if (batch.settled?.outcome !== "Claimed") return undefined
      let leaseExpiresAt = Infinity
      for (const member of batch.members) {
        leaseExpiresAt = Math.min(leaseExpiresAt, this.renewOne(member, ttlMs, now)?.leaseExpiresAt ?? Infinity)
      }
      batch.settled = { ...batch.settled, leaseExpiresAt }
      return batch.settled
    }
    const claim = this.claims.get(claimId)
    return claim === undefined ? undefined : this.renewOne(claim, ttlMs, now)
  }

  private renewOne(claim: Claim, ttlMs: number | undefined, now: EpochMs): Settled | undefined {
    if (claim.phase !== "Claimed" || claim.settled === undefined) return undefined
    this.startLease(claim, ttlMs ?? claim.spec.ttlMs, now)
    claim.settled = { ...claim.settled, leaseExpiresAt: claim.leaseExpiresAt }
    return claim.settled
  }

  /**
   * Holds the sandbox of a live claim still, or lets it go on; its lease runs on. `done` gets the claim's record, `undefined` when there is no such live claim, or an error.
   */
  setPaused(claimId: ClaimId, isPaused: boolean, done: (result: Settled | ErrorBody | undefined) => void): void {
    const claim = this.claims.get(claimId)
    if (claim === undefined || claim.phase !== "Claimed" || claim.uid === undefined) return done(undefined)
    const { provider } = this.ports
    const act = isPaused ? provider.pause : provider.resume
    if (act === undefined) {
      return done({ code: "Unsupported", message: "the provider of this pool cannot hold a sandbox still" })
    }
    let isAnswered = false
    const answered = (outcome: PauseOutcome): void => {
      if (isAnswered) return
      isAnswered = true
      this.alarms.clear(overdue)
      if (outcome._tag === "Fenced") this.ports.fenced(outcome.current)
      if (outcome._tag !== "Done") {
        const reason = outcome._tag === "HardError"
          ? outcome.message
          : outcome._tag === "Unknown"
          ? outcome.reason
          : outcome._tag === "Fenced"
          ? "the pool has another owner"
          : "the sandbox is not this claim's any more"
        return done({
          code: "Unavailable",
          message: `the sandbox was not ${isPaused ? "paused" : "resumed"}: ${reason}`
        })
      }
      claim.isPaused = isPaused
      if (claim.settled !== undefined) claim.settled = { ...claim.settled, isPaused }
      done(claim.settled)
    }
    const overdue = Alarms.make<Claim | Errand>({
      run: () => answered({ _tag: "Unknown", reason: `no answer within ${this.options.casDeadlineMs} ms` })
    })
    this.setAlarm(overdue, this.ports.now() + this.options.casDeadlineMs)
    act.call(provider, { uid: claim.uid, claimId, sessionId: this.options.sessionId }, answered)
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
      total: this.totalCount,
      target: this.target,
      creating: this.creations.size,
      quotaBlocked: this.queue.quotaBlocked
    }
  }

  /** Sandboxes that each team holds. */
  get heldByTeam(): ReadonlyMap<string, number> {
    return this.quotas.teams
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
    this.creations.listed(token)
    this.isListed = true
    this.pump()
    this.replaceAged()
    this.scale()
  }

  /** Another size, other limits: while the pool is open. */
  adjust(change: Partial<Adjustable>): void {
    const before = this.options
    this.options = { ...before, ...change }
    if (change.weights !== undefined) this.queue.setWeights(change.weights)
    if (change.quotas !== undefined) {
      this.quotas.setLimits(change.quotas)
      this.queue.unblockAll()
    }
    if (change.isDraining === true && !before.isDraining) this.refuseWaiting()
    if (this.options.creatingMax !== before.creatingMax || this.options.createPerSecond !== before.createPerSecond) {
      this.creations.setLimits(this.creationLimits)
    }
    this.pump()
    this.scale()
  }

  /** While it is not certain that the pool is still ours nothing is written; what waits goes on waiting (design/04 section 1, point 13). */
  setHeld(isHeld: boolean): void {
    if (this.isHeld === isHeld) return
    this.isHeld = isHeld
    if (isHeld) return
    this.pump()
    this.scale()
  }

  setSize(size: number): void {
    this.adjust({ size })
  }

  /** A policy's fetch has answered, or a time has come: the target is decided anew. */
  decideTarget(): void {
    this.scale()
  }

  private get creationLimits(): CreationLimits {
    return { creatingMax: this.options.creatingMax, perSecond: this.options.createPerSecond }
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
    for (const batch of this.batches.all) {
      if (batch.settled === undefined) this.batches.fail(batch, "ShuttingDown", undefined)
    }
    for (const claim of Array.from(this.claims.values())) {
      if (claim.phase !== "Waiting") continue
      this.abandon(claim, "ShuttingDown", now)
    }
    this.drained()
  }

  /** The pool is deleted: every sandbox goes, also claimed ones. After `shutdown`. `onDone` when each deletion was answered. */
  removeAll(onDone: () => void): void {
    let open = 1
    const answered = (): void => {
      if (--open === 0) onDone()
    }
    for (const cell of Array.from(this.cells.values())) {
      open++
      let isAnswered = false
      this.ports.provider.delete({ uid: cell.uid, sessionId: this.options.sessionId }, (outcome) => {
        if (isAnswered) return
        isAnswered = true
        if (outcome._tag !== "Done") this.ports.warn("a sandbox of a deleted pool may be left", { sandbox: cell.uid })
        answered()
      })
    }
    answered()
  }

  // ---------------------------------------------------------------- dispatch

  private pump(): void {
    if (this.isPumping) return
    this.isPumping = true
    try {
      while (
        this.ready.size > 0 && this.queue.servable > 0 && this.inflight < this.options.inflightCasMax
        && !this.isStopping && !this.isHeld && !this.options.isDraining
        && (this.breakerTrips === 0 || this.ports.now() >= this.breakerUntil)
      ) {
        const claim = this.queue.take()
        if (claim === undefined) break
        const { batch } = claim
        if (batch !== undefined && !batch.isOpen) {
          this.openBatch(batch)
          continue
        }
        if (batch === undefined && !this.quotas.hasRoom(claim.spec.team, 1)) {
          // Blocked from here on; unblocked when one of the team's ends.
          this.queue.putBack(claim)
          this.queue.setBlocked(claim.spec.team, true)
          continue
        }
        // The slot comes before the sandbox: one that is popped and cannot be written would be idle and unseen.
        this.inflight++
        const cell = this.pop(claim)
        if (cell === undefined) {
          this.inflight--
          if (claim.selector !== undefined) this.queue.exhaust(claim)
          this.queue.putBack(claim)
          continue
        }
        this.write(claim, cell)
      }
    } finally {
      this.isPumping = false
    }
    this.ports.changed?.()
  }

  /** The longest idle sandbox that the claim prefers, or may have, and that is still what the queue believes. */
  private pop(claim: Claim): Cell | undefined {
    for (const preferred of claim.preferred) {
      const cell = this.popMatching(preferred)
      if (cell !== undefined) return cell
    }
    return this.popMatching(claim.selector)
  }

  private popMatching(selector: Selector.Selector | undefined): Cell | undefined {
    for (;;) {
      const uid = this.ready.shift(selector)
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
    const { labels } = cell.state.sandbox
    if (!this.ready.push(cell.uid, labels) || !this.queue.hasSelectors) return
    this.ready.eachKey(labels, this.revive)
    // Shapes that the index has given up: rare, and then every such class is looked at.
    this.queue.reviveWhere((selector) =>
      !this.ready.hasShape(selector.shape) && Selector.matches(selector.labels, labels)
    )
  }

  private readonly revive = (key: string): void => this.queue.revive(key)

  private write(claim: Claim, cell: Cell): void {
    const now = this.ports.now()
    const { spec } = claim
    this.reservations.hold(cell.uid)
    claim.phase = "Inflight"
    if (!claim.isCounted) {
      claim.isCounted = true
      this.quotas.take(spec.team)
    }
    claim.uid = cell.uid
    claim.sandbox = cell.state.sandbox
    if (claim.attempts++ === 0) claim.firstWriteAt = now
    claim.writeStartedAt = now
    const number = ++claim.writes
    const { version } = cell.state
    const write: ClaimWrite = {
      uid: cell.uid,
      version,
      mark: this.markOf(claim),
      labels: spec.labels,
      annotations: spec.annotations,
      images: spec.images,
      env: spec.env,
      targetPhase: spec.targetPhase
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

  private markOf({ batch, spec }: Claim): ClaimMark {
    return {
      claimId: spec.claimId,
      holder: spec.holder,
      sessionId: this.options.sessionId,
      ttlMs: spec.ttlMs,
      team: spec.team,
      user: spec.user,
      batch: batch?.claimId
    }
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
        if (outcome.isFinal === true) {
          this.reservations.release(uid)
          this.readmit(uid)
          claim.attempts = this.options.attemptsMax
          return this.retry(claim, now)
        }
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
    cell.released = undefined
    cell.uses++
    this.settleReservation(uid, version, now)
    if (claim.settled !== undefined) {
      // Nobody waits for it any more: the sandbox is given back at once.
      this.forget(claim)
      this.giveBack(uid, claim.spec.claimId, this.options.release)
      this.pump()
      this.drained()
      return
    }
    claim.phase = "Claimed"
    this.claimedCount++
    this.lastDispatchAt = now
    if (claim.batch !== undefined) claim.batch.held++
    cell.claim = claim
    this.ready.delete(uid)
    // A batch has one lease, which begins when the last of it is there.
    if (claim.batch === undefined) this.startLease(claim, claim.spec.ttlMs, now)
    this.ports.event({ kind: "Claimed", at: now, claim, sandbox: cell.state.sandbox })
    this.queue.settle(claim, false)
    this.answer(claim, this.resultOf(claim, "Claimed", now))
    if (cell.claim === claim && cell.state.version > version && cell.state.claim?.claimId !== claim.spec.claimId) {
      cell.claim = undefined
      this.lost(claim, "its holder was changed from outside", now)
      this.admit(cell)
    }
    this.pump()
    this.drained()
  }

  /** The next sandbox, at the claim's old place. */
  private retry(claim: Claim, now: EpochMs): void {
    if (claim.settled !== undefined) {
      this.forget(claim)
      this.pump()
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
      this.uncount(claim)
      this.queue.putBack(claim)
      this.watchDeadline(claim)
      this.pump()
      return
    }
    // A slot, and perhaps a place in a quota, is free.
    this.pump()
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
  private abandon(
    claim: Claim,
    outcome: "Cancelled" | "DeadlineExceeded" | "ShuttingDown" | "Failed",
    now: EpochMs
  ): void {
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
    this.batches.memberEnded(claim, outcome, undefined)
    this.ports.event({ kind: outcome, at: now, claim, sandbox: claim.sandbox as Sandbox }) // a claimed one has a sandbox
    this.forget(claim)
    this.giveBack(uid, claim.spec.claimId, mode)
    this.batches.memberLeft(claim, outcome, undefined)
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
    this.batches.memberEnded(claim, "Failed", claim.settled?.error)
    this.ports.event({ kind: "Lost", at: now, claim, sandbox: claim.sandbox as Sandbox }) // a claimed one has a sandbox
    this.forget(claim)
    this.batches.memberLeft(claim, "Failed", claim.settled?.error)
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
      error: isClaimed ? undefined : claim.lastError,
      isPaused: isClaimed && claim.isPaused ? true : undefined
    }
  }

  /** Out of the live claims; a direct claim's record stays for those who ask again. */
  private forget(claim: Claim): void {
    claim.phase = "Ended"
    this.alarms.clear(claim.alarm)
    this.uncount(claim)
    this.claims.delete(claim.spec.claimId)
    // The record of a batch is kept under its own id.
    if (claim.batch !== undefined || claim.spec.ttlMs === 0 || claim.settled === undefined) return
    this.keepResult(claim.settled)
  }

  private keepResult(settled: Settled): void {
    const oldest = this.resultIds[this.resultAt]
    if (oldest !== undefined) {
      this.results.delete(oldest)
      this.forgotten++
    }
    this.resultIds[this.resultAt] = settled.claimId
    this.resultAt = (this.resultAt + 1) % this.options.resultsMax
    this.results.set(settled.claimId, settled)
  }

  /** Its sandbox, if it has one, counts no more against its team's quota. */
  private uncount(claim: Claim): void {
    if (!claim.isCounted) return
    claim.isCounted = false
    const { team } = claim.spec
    this.quotas.give(team)
    if (this.queue.isBlocked(team)) this.queue.setBlocked(team, false)
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
    this.ready.delete(uid)
    const isReplaced = mode === "delete" || SandboxCell.isWorn(cell, this.options.wear, this.ports.now())
    this.releases.start(cell, claimId, isReplaced ? "delete" : "recycle")
  }

  // ---------------------------------------------------------------- batches

  /** Whether enough is idle for all of a batch. */
  private hasRoomFor(batch: Batch): boolean {
    return this.ready.count(batch.members[0]?.selector) >= batch.count
  }

  /** Its turn has come and there is room: its members are claimed. */
  private openBatch(batch: Batch): void {
    const [first] = batch.members
    if (first === undefined) return
    if (!this.quotas.hasRoom(batch.spec.team, batch.count)) {
      this.queue.putBack(first)
      this.queue.setBlocked(batch.spec.team, true)
      return
    }
    this.queue.open(batch)
    for (const member of batch.members) this.watchDeadline(member)
  }

  // ---------------------------------------------------------------- the watch cache

  private upsert(state: SandboxState): void {
    const { uid } = state.sandbox
    let cell = this.cells.get(uid)
    if (cell === undefined) {
      if (state.phase === "Gone") return
      cell = SandboxCell.make(state, this.deltas, this.ports.now())
      this.cells.set(uid, cell)
      this.totalCount++
      this.creations.shown(state.sandbox.name)
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
    // A write of our own that is under way or to be read back answers for itself; one that the watch has overtaken, too; and one whose release is confirmed is on its way.
    if (mark === undefined || this.reservations.has(cell.uid) || state.version <= cell.grantedAt) return
    if (mark.claimId === cell.released) return
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
        team: mark.team ?? "",
        user: mark.user,
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
    claim.isPaused = state.isPaused === true
    claim.isCounted = true
    this.quotas.take(claim.spec.team)
    cell.claim = claim
    cell.grantedAt = state.version
    this.claims.set(mark.claimId, claim)
    this.claimedCount++
    this.startLease(claim, mark.ttlMs, now)
    claim.settled = this.resultOf(claim, "Claimed", now)
    if (mark.batch !== undefined) this.batches.adopt(mark.batch, claim)
    this.ports.event({ kind: "Adopted", at: now, claim, sandbox: state.sandbox })
    if (mark.ttlMs === 0) this.ports.adoptedTask(claim)
  }

  private remove(uid: SandboxUid, reason: string): void {
    const cell = this.cells.get(uid)
    if (cell === undefined) return
    this.cells.delete(uid)
    this.ready.delete(uid)
    if (!cell.isLeaving) this.totalCount--
    this.releases.forget(cell)
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

  /** Somebody waits, or nothing is idle any more: an autoscaled pool looks at its target. */
  private demand(): void {
    if (this.options.autoscaler !== undefined && (this.queue.waiting > 0 || this.ready.size === 0)) this.scale()
  }

  /** Refills to the target, or takes idle ones away. */
  private scale(): void {
    // A provider that answers at once shows the delta of each step before the step is over: the loops below go on by themselves.
    if (!this.isListed || this.isStopping || this.isScaling || this.isHeld) return
    this.isScaling = true
    try {
      this.target = this.targetNow()
      this.creations.refill(this.missing)
      if (this.totalCount > this.target) this.scaleDown.shrink(this.totalCount - this.target)
    } finally {
      this.isScaling = false
    }
    this.ports.changed?.()
  }

  private readonly missing = (): number => this.target - this.totalCount - this.creations.size

  private targetNow(): number {
    const { autoscaler, isDraining, size } = this.options
    if (isDraining) return 0
    if (autoscaler === undefined) return size
    const target = autoscaler.decide({
      idle: this.ready.size,
      waiting: this.queue.length - this.queue.quotaBlocked,
      claimed: this.claimedCount,
      creating: this.creations.size,
      total: this.totalCount
    }, this.ports.now())
    if (autoscaler.nextAt !== Infinity) this.setAlarm(this.rescale, autoscaler.nextAt)
    return target
  }

  /** Idle ones beyond the pool's age go, a tenth at a time; the size then refills. */
  private replaceAged(): void {
    const { wear } = this.options
    if (wear.maxAgeMs === undefined || this.isHeld || this.isStopping) return
    const now = this.ports.now()
    let left = Math.max(1, Math.floor(this.totalCount / 10))
    for (const cell of Array.from(this.cells.values())) {
      if (left === 0) return
      if (!this.isFree(cell) || !SandboxCell.isAged(cell, wear, now)) continue
      left--
      this.scaleDown.take(cell)
    }
  }

  // ---------------------------------------------------------------- refusals

  private refusalOf({ spec }: Claim, count: number): Admission.Refusal | undefined {
    const { autoscaler, isDraining, size, whenQuotaReached } = this.options
    return Admission.refusalOf(spec, count, {
      isStopping: this.isStopping,
      isDraining,
      most: autoscaler === undefined ? size : this.options.sizeMax,
      quotas: this.quotas,
      refusesOverQuota: whenQuotaReached === "refuse"
    })
  }

  /** The pool drains: nobody who waits would ever be served, tasks excepted. */
  private refuseWaiting(): void {
    const now = this.ports.now()
    for (const batch of this.batches.all) {
      if (batch.settled === undefined) this.batches.fail(batch, "Failed", Admission.draining)
    }
    for (const claim of Array.from(this.claims.values())) {
      if (claim.phase !== "Waiting" || claim.spec.ttlMs === 0) continue
      claim.lastError = Admission.draining
      this.abandon(claim, "Failed", now)
    }
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
