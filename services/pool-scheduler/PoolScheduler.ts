/**
 * The streaming claim scheduler of one pool: a claim gets one idle sandbox with one compare-and-set write (design/04 section 1).
 *
 * What it keeps true: no two live claims hold one sandbox (I1); every admitted claim gets exactly one terminal result (I2); every sandbox is idle, held by a
 * live claim, on its way, or gone (I3); order of arrival within (team, priority) (I7); `queueLen` counts exactly the claims without a terminal result (I8).
 *
 * Here stand the public operations and the loop (`pump`): who waits (`ClaimQueue`) meets what is free (`SandboxCache`) in one write (`ClaimWrites`), and the claim
 * lives until its end (`LiveClaims`). It decides and does no I/O of its own: time, timer and provider come in as `Ports`, whose calls return at once and answer by
 * callback. So it is plain synchronous code: an in-memory provider that answers before it returns costs microseconds a claim and no fiber, and a simulation can
 * drive every step.
 */
import type { SandboxDelta, SandboxState, Version } from "../../shared/plugin/PoolProvider.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { ClaimId, EpochMs } from "../../shared/protocol/Token.ts"
import * as Admission from "./Admission.ts"
import * as Alarms from "./Alarms.ts"
import type { Batch } from "./Batch.ts"
import * as Batches from "./Batches.ts"
import { Claim } from "./Claim.ts"
import { ClaimQueue } from "./ClaimQueue.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import { ClaimWrites } from "./ClaimWrites.ts"
import { LiveClaims } from "./LiveClaims.ts"
import * as Pause from "./Pause.ts"
import type { PoolCounters } from "./PoolCounters.ts"
import * as PoolMeters from "./PoolMeters.ts"
import { type Adjustable, defaults, type Options } from "./PoolOptions.ts"
import type { Ports } from "./PoolPorts.ts"
import { PoolSize } from "./PoolSize.ts"
import type { DeskAlarm, Errand, ProviderDesk } from "./ProviderDesk.ts"
import { RecentResults } from "./RecentResults.ts"
import { Releases } from "./Releases.ts"
import { SandboxCache } from "./SandboxCache.ts"
import type { SandboxCell } from "./SandboxCell.ts"
import type { OnSettled, Settled } from "./Settled.ts"
import { TeamQuotas } from "./TeamQuotas.ts"

export class PoolScheduler {
  private readonly ports: Ports
  private options: Options
  private readonly queue: ClaimQueue
  private readonly quotas: TeamQuotas
  private readonly cache: SandboxCache
  private readonly claims: LiveClaims
  private readonly batches: Batches.Batches
  private readonly results: RecentResults
  private readonly writes: ClaimWrites
  private readonly releases: Releases
  private readonly size: PoolSize
  private readonly desk: ProviderDesk
  private readonly alarms = new Alarms.Alarms<Claim | Errand>()
  private readonly wake: DeskAlarm
  private sequence = 0
  private lastDispatchAt = 0
  private isPumping = false
  private isListed = false
  private isStopping = false
  private isHeld = false
  private onDrained: (() => void) | undefined = undefined

  constructor(ports: Ports, options: Pick<Options, "sessionId" | "poolName" | "size"> & Partial<Options>) {
    this.ports = ports
    this.options = { ...defaults, ...options }
    this.queue = new ClaimQueue({
      lengthMax: this.options.queueLengthMax,
      weights: this.options.weights,
      hasRoom: (batch) => this.hasRoomFor(batch)
    })
    this.quotas = new TeamQuotas(this.options.quotas)
    this.results = new RecentResults(this.options.resultsMax)
    this.wake = Alarms.make({ run: () => this.wakeUp() })
    this.desk = {
      provider: ports.provider,
      sessionId: options.sessionId,
      now: ports.now,
      setAlarm: (alarm, at) => {
        this.alarms.set(alarm, at)
        ports.arm(at)
      },
      clearAlarm: (alarm) => this.alarms.clear(alarm),
      isHeld: () => this.isHeld,
      fenced: ports.fenced,
      warn: ports.warn,
      writeDeadlineMs: this.options.casDeadlineMs,
      backOffMs: (attempt) => Math.min(this.options.retryMinMs * 2 ** Math.min(attempt, 20), this.options.retryMaxMs),
      meters: ports.meters ?? PoolMeters.unseen(ports.now)
    }
    this.cache = new SandboxCache(this.options.reservationTtlMs, {
      now: ports.now,
      arm: ports.arm,
      gap: ports.repair,
      appeared: (name) => this.size.appeared(name),
      idle: (labels) => this.queue.becameIdle(labels, this.cache.ready),
      gone: (cell) => this.releases.forget(cell),
      lost: (claim, reason) => this.claims.lost(claim, reason, ports.now()),
      stray: (cell, state) => this.stray(cell, state)
    })
    this.batches = new Batches.Batches({
      now: ports.now,
      end: (member, now) => this.claims.end(member, "Released", this.options.release, now),
      renew: (member, ttlMs, now) => this.claims.renew(member, ttlMs, now),
      abandon: (member, now) => this.claims.abandon(member, "Cancelled", now),
      record: (settled) => this.results.keep(settled),
      answered: (batch, settled) => this.desk.meters.batchAnswered(batch, settled),
      ended: () => this.pump()
    })
    this.claims = new LiveClaims({
      desk: this.desk,
      cache: this.cache,
      queue: this.queue,
      quotas: this.quotas,
      results: this.results,
      batches: this.batches,
      event: (event) => {
        this.desk.meters.event(event)
        ports.event(event)
      },
      giveBack: (uid, claimId, mode) => this.releases.giveBack(uid, claimId, mode)
    })
    this.writes = new ClaimWrites(this.desk, this.cache, this.options.inflightCasMax, {
      granted: (claim, cell, version, now) => this.granted(claim, cell, version, now),
      missed: (claim, now) => this.retry(claim, now),
      refused: (claim, now) => this.retry(claim, now, true),
      fenced: (claim, current, now) => {
        this.isStopping = true
        this.retry(claim, now)
        ports.fenced(current)
      },
      late: (claim, now) => this.claims.abandon(claim, "DeadlineExceeded", now),
      resumed: () => this.pump()
    })
    this.size = new PoolSize(this.desk, this.cache, this.queue, this.claims, {
      options: () => this.options,
      isAtRest: () => !this.isListed || this.isStopping || this.isHeld,
      settled: () => this.pump(),
      changed: ports.changed
    })
    this.releases = new Releases(this.desk, this.cache, () => this.options.wear, {
      done: () => this.pump(),
      gone: () => this.size.decide()
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
    claim.arrivedSeconds = this.desk.meters.seconds()
    const refusal = this.refusalOf(claim, 1)
    if (refusal !== undefined) {
      this.claims.turnAway(claim, refusal.outcome, refusal.error, now)
      return undefined
    }
    if (!this.queue.admit(claim)) {
      this.claims.turnAway(claim, "QueueFull", Admission.queueFull(this.queue.length), now)
      return undefined
    }
    this.claims.add(claim)
    this.pump()
    if (claim.phase === "Waiting") this.claims.watchDeadline(claim)
    this.size.demand()
    return claim
  }

  /** A claim for `count` sandboxes, all or none. As `enqueue`; the result carries `sandboxes`. */
  enqueueBatch(spec: ClaimSpec, count: number, onSettled: OnSettled): Batch<Claim> | undefined {
    const known = this.batches.get(spec.claimId)
    if (known !== undefined && known.isAdopted && known.held < count) {
      // All or none: what an earlier owner had not completed is given back, and the batch begins anew.
      this.releaseMembers(known, this.options.release)
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
    const batch = this.batches.make(spec, count, () => this.sequence++, onSettled)
    const [first] = batch.members
    if (first === undefined) return undefined
    first.arrivedSeconds = this.desk.meters.seconds()
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
      this.desk.meters.batchAnswered(batch, batch.settled)
      onSettled(batch.settled)
      return undefined
    }
    this.batches.add(batch)
    for (const member of batch.members) this.claims.add(member)
    this.pump()
    if (first.phase === "Waiting" && !batch.isOpen) this.claims.watchDeadline(first)
    this.size.demand()
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
    this.claims.abandon(claim, "Cancelled", this.ports.now())
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
      this.releaseMembers(batch, mode)
      this.pump()
      this.size.demand()
      return batch.settled
    }
    if (claim.phase !== "Claimed") return this.cancel(claimId)
    this.claims.end(claim, "Released", mode, this.ports.now())
    this.pump()
    return claim.settled
  }

  private releaseMembers(batch: Batch<Claim>, mode: "recycle" | "delete"): void {
    const now = this.ports.now()
    for (const member of batch.members) if (member.phase === "Claimed") this.claims.end(member, "Released", mode, now)
  }

  /** The same for a holder that has the claim itself at hand. */
  releaseClaim(claim: Claim, mode: "recycle" | "delete" = this.options.release): void {
    if (claim.phase === "Claimed") {
      this.claims.end(claim, "Released", mode, this.ports.now())
      this.pump()
    } else if (claim.phase !== "Ended") this.cancel(claim.spec.claimId)
  }

  /** Lengthens the lease to `ttlMs` from now, of every member of a batch. Undefined: no such live claim. */
  renew(claimId: ClaimId, ttlMs: number | undefined): Settled | undefined {
    const now = this.ports.now()
    const batch = this.batches.get(claimId)
    const claim = batch === undefined ? this.claims.get(claimId) : undefined
    const renewed = batch !== undefined
      ? this.batches.renew(batch, ttlMs, now)
      : claim === undefined
      ? undefined
      : this.claims.renew(claim, ttlMs, now)
    if (renewed !== undefined) this.desk.meters.renewed.total++
    return renewed
  }

  /**
   * Holds the sandbox of a live claim still, or lets it go on; its lease runs on. `done` gets the claim's record, `undefined` when there is no such live claim, or an error.
   */
  setPaused(claimId: ClaimId, isPaused: boolean, done: (result: Settled | ErrorBody | undefined) => void): void {
    Pause.set(this.desk, this.claims.get(claimId), isPaused, done)
  }

  /** Counters of one moment; O(1). */
  snapshot(): PoolCounters {
    return {
      idleReady: this.cache.ready.size,
      queueLen: this.queue.length,
      reservedCount: this.cache.reservations.size,
      inflightCas: this.writes.inflight,
      lastDispatchAt: this.lastDispatchAt,
      claimed: this.claims.held,
      total: this.cache.total,
      target: this.size.target,
      creating: this.size.creating,
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
    return this.results.hasForgotten
  }

  get idleReady(): number {
    return this.cache.ready.size
  }

  // ---------------------------------------------------------------- sandboxes

  observe(delta: SandboxDelta): void {
    this.cache.observe(delta)
    this.pump()
    this.size.decide()
  }

  /** Somebody saw a sandbox become idle. Many calls, one wake. */
  notifyIdle(): void {
    if (!Alarms.isSet(this.wake)) this.desk.setAlarm(this.wake, this.ports.now() + this.options.notifyIdleMs)
  }

  /** A list begins: the number to hand to `listed`. */
  listing(): number {
    return this.cache.listing()
  }

  /** The repair: everything that exists. What a delta has shown since the list began is left alone. */
  listed(token: number, states: ReadonlyArray<SandboxState>): void {
    this.cache.listed(token, states)
    this.size.listed(token)
    this.isListed = true
    this.pump()
    this.size.replaceAged()
    this.size.decide()
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
      this.size.adjust(this.options)
    }
    this.pump()
    this.size.decide()
  }

  /** While it is not certain that the pool is still ours nothing is written; what waits goes on waiting (design/04 section 1, point 13). */
  setHeld(isHeld: boolean): void {
    if (this.isHeld === isHeld) return
    this.isHeld = isHeld
    if (isHeld) return
    this.pump()
    this.size.decide()
  }

  setSize(size: number): void {
    this.adjust({ size })
  }

  /** A policy's fetch has answered, or a time has come: the target is decided anew. */
  decideTarget(): void {
    this.size.decide()
  }

  // ---------------------------------------------------------------- time and end

  /** Does what is due; returns when it wants to be called next. */
  tick(now: EpochMs): EpochMs {
    for (let alarm = this.alarms.due(now); alarm !== undefined; alarm = this.alarms.due(now)) {
      const { owner } = alarm
      if (owner instanceof Claim) this.claimDue(owner, now)
      else owner.run(now)
    }
    if (this.cache.expire(now)) this.ports.repair("the watch has not shown a write within the reservation's time")
    this.pump()
    return Math.min(this.alarms.earliest, this.cache.reservations.earliest)
  }

  /** Takes nothing more, answers all that wait, and calls back when the last write is settled. */
  shutdown(onDrained: () => void): void {
    this.isStopping = true
    this.onDrained = onDrained
    const now = this.ports.now()
    for (const batch of this.batches.all) {
      if (batch.settled === undefined) this.batches.fail(batch, "ShuttingDown", undefined)
    }
    for (const claim of this.claims.all) {
      if (claim.phase !== "Waiting") continue
      this.claims.abandon(claim, "ShuttingDown", now)
    }
    this.drained()
  }

  /** The pool is deleted: every sandbox goes, also claimed ones. After `shutdown`. `onDone` when each deletion was answered. */
  removeAll(onDone: () => void): void {
    this.size.removeAll(onDone)
  }

  private claimDue(claim: Claim, now: EpochMs): void {
    switch (claim.phase) {
      case "Waiting":
        return this.claims.abandon(claim, "DeadlineExceeded", now)
      case "Inflight":
      case "Unsettled":
        return this.writes.overdue(claim, now)
      case "Claimed":
        return this.claims.end(claim, "Expired", this.options.release, now)
      case "Ended":
        return
    }
  }

  private drained(): void {
    if (!this.isStopping || this.writes.inflight > 0 || this.onDrained === undefined) return
    const done = this.onDrained
    this.onDrained = undefined
    done()
  }

  // ---------------------------------------------------------------- the loop

  /** Who waits meets what is free, until one of both is used up. */
  private pump(): void {
    if (this.isPumping) return
    this.isPumping = true
    try {
      while (
        this.cache.ready.size > 0 && this.queue.servable > 0 && this.writes.isOpen
        && !this.isStopping && !this.isHeld && !this.options.isDraining
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
        const cell = this.cache.pop(claim)
        if (cell === undefined) {
          if (claim.selector !== undefined) this.queue.exhaust(claim)
          this.queue.putBack(claim)
          continue
        }
        this.claims.count(claim)
        this.writes.write(claim, cell)
      }
    } finally {
      this.isPumping = false
    }
    this.ports.changed?.()
  }

  /** Its write took effect. */
  private granted(claim: Claim, cell: SandboxCell, version: Version, now: EpochMs): void {
    if (claim.settled !== undefined) {
      // Nobody waits for it any more: the sandbox is given back at once.
      this.claims.forget(claim)
      this.releases.giveBack(cell.uid, claim.spec.claimId, this.options.release)
    } else {
      this.lastDispatchAt = now
      this.claims.grant(claim, cell, now)
      if (cell.claim === claim && cell.state.version > version && cell.state.claim?.claimId !== claim.spec.claimId) {
        cell.claim = undefined
        this.claims.lost(claim, "its holder was changed from outside", now)
        this.cache.admit(cell)
      }
    }
    this.pump()
    this.drained()
  }

  /** The next sandbox, at the claim's old place, unless no other would do either. */
  private retry(claim: Claim, now: EpochMs, isFinal = false): void {
    const { attemptsMax } = this.options
    if (claim.settled !== undefined) this.claims.forget(claim)
    else if (this.isStopping) this.claims.finish(claim, "ShuttingDown", now)
    else if (now >= claim.spec.deadlineAt) this.claims.finish(claim, "DeadlineExceeded", now)
    else if (isFinal || claim.attempts >= attemptsMax) {
      claim.lastError ??= {
        code: "Unavailable",
        message: `${attemptsMax} sandboxes were tried and none could be claimed`
      }
      this.claims.finish(claim, "Failed", now)
    } else {
      claim.phase = "Waiting"
      claim.uid = undefined
      this.claims.uncount(claim)
      this.queue.putBack(claim)
      this.claims.watchDeadline(claim)
      this.pump()
      return
    }
    // A slot, and perhaps a place in a quota, is free.
    this.pump()
    this.drained()
  }

  private wakeUp(): void {
    if (this.queue.servable > 0 && this.cache.ready.size === 0) {
      this.ports.repair("a sandbox is said to be idle and the watch has not shown it")
    }
    this.pump()
  }

  /** A sandbox runs for a claim which this scheduler does not hold it for. */
  private stray(cell: SandboxCell, { claim: mark, version }: SandboxState): void {
    if (mark === undefined) return
    if (this.claims.has(mark.claimId) || this.results.has(mark.claimId) || mark.sessionId === this.options.sessionId) {
      // The claim has ended, or holds another sandbox: a write that took effect after it was given up.
      cell.grantedAt = version
      this.releases.giveBack(cell.uid, mark.claimId, this.options.release)
      return
    }
    const claim = this.claims.adopt(mark, cell, this.sequence++, this.ports.now())
    if (mark.ttlMs === 0) this.ports.adoptedTask(claim)
  }

  // ---------------------------------------------------------------- batches

  /** Whether enough is idle for all of a batch. */
  private hasRoomFor(batch: Batch<Claim>): boolean {
    return this.cache.ready.count(batch.members[0]?.selector) >= batch.count
  }

  /** Its turn has come and there is room: its members are claimed. */
  private openBatch(batch: Batch<Claim>): void {
    const [first] = batch.members
    if (first === undefined) return
    if (!this.quotas.hasRoom(batch.spec.team, batch.count)) {
      this.queue.putBack(first)
      this.queue.setBlocked(batch.spec.team, true)
      return
    }
    this.queue.open(batch)
    for (const member of batch.members) this.claims.watchDeadline(member)
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
    for (const claim of this.claims.all) {
      if (claim.phase !== "Waiting" || claim.spec.ttlMs === 0) continue
      claim.lastError = Admission.draining
      this.claims.abandon(claim, "Failed", now)
    }
  }
}
