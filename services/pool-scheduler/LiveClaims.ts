/**
 * The live claims of a pool and their ends: each is answered exactly once (design/04 I2), and what becomes of it afterwards is its record, not a second answer.
 *
 * What it keeps true: a claim is here until it has ended and its write is settled; a lease runs from the answer (or from a take-over, or from the last member of a
 * batch) and is over when it is not renewed; a claim counts against its team's quota from its write on until it ends or waits again; the sandbox of a claim that
 * ends is given back, once. A direct claim's record goes to `RecentResults`; a batch's stands under the batch's id.
 */
import type { ClaimMark } from "../../shared/plugin/PoolProvider.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { ClaimId, EpochMs, SandboxUid } from "../../shared/protocol/Token.ts"
import { priorityDefault } from "../../shared/protocol/Token.ts"
import type { Batches } from "./Batches.ts"
import { Claim } from "./Claim.ts"
import type { ClaimEvent } from "./ClaimEvent.ts"
import type { ClaimQueue } from "./ClaimQueue.ts"
import type { ProviderDesk } from "./ProviderDesk.ts"
import type { RecentResults } from "./RecentResults.ts"
import type { SandboxCache } from "./SandboxCache.ts"
import type { SandboxCell } from "./SandboxCell.ts"
import type { Settled } from "./Settled.ts"
import type { TeamQuotas } from "./TeamQuotas.ts"

/** The parts of its scheduler that it works with, and whom it tells. */
export interface Surroundings {
  readonly desk: ProviderDesk
  readonly cache: SandboxCache
  readonly queue: ClaimQueue
  readonly quotas: TeamQuotas
  readonly results: RecentResults
  readonly batches: Batches
  readonly event: (event: ClaimEvent) => void
  /** The sandbox of a claim that has ended goes back. */
  readonly giveBack: (uid: SandboxUid, claimId: ClaimId, mode: "recycle" | "delete") => void
}

export class LiveClaims {
  private readonly around: Surroundings
  /** Claims that are not Ended, and those whose write is still to be settled. */
  private readonly byId = new Map<ClaimId, Claim>()
  private heldCount = 0

  constructor(around: Surroundings) {
    this.around = around
  }

  /** Those that hold a sandbox. */
  get held(): number {
    return this.heldCount
  }

  /** A copy: what is done with each may end it. */
  get all(): ReadonlyArray<Claim> {
    return Array.from(this.byId.values())
  }

  get(claimId: ClaimId): Claim | undefined {
    return this.byId.get(claimId)
  }

  has(claimId: ClaimId): boolean {
    return this.byId.has(claimId)
  }

  add(claim: Claim): void {
    this.byId.set(claim.spec.claimId, claim)
  }

  // ---------------------------------------------------------------- beginnings

  /** Holds this sandbox from now on. `version`: of the write that gave it. */
  grant(claim: Claim, cell: SandboxCell, now: EpochMs): void {
    claim.phase = "Claimed"
    this.heldCount++
    if (claim.batch !== undefined) claim.batch.held++
    cell.claim = claim
    this.around.cache.ready.delete(cell.uid)
    // A batch has one lease, which begins when the last of it is there.
    if (claim.batch === undefined) this.startLease(claim, claim.spec.ttlMs, now)
    this.around.event({ kind: "Claimed", at: now, claim, sandbox: cell.state.sandbox })
    this.around.queue.settle(claim, false)
    this.answer(claim, this.resultOf(claim, "Claimed", now))
  }

  /** Claimed by an owner before this one, perhaps a moment ago: its holder goes on, on a lease that starts anew. */
  adopt(mark: ClaimMark, cell: SandboxCell, sequence: number, now: EpochMs): Claim {
    const { state } = cell
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
      sequence,
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
    this.count(claim)
    cell.claim = claim
    cell.grantedAt = state.version
    this.add(claim)
    this.heldCount++
    this.startLease(claim, mark.ttlMs, now)
    claim.settled = this.resultOf(claim, "Claimed", now)
    if (mark.batch !== undefined) this.around.batches.adopt(mark.batch, claim)
    this.around.event({ kind: "Adopted", at: now, claim, sandbox: state.sandbox })
    return claim
  }

  // ---------------------------------------------------------------- leases, deadlines, quota

  private startLease(claim: Claim, ttlMs: number, now: EpochMs): void {
    if (ttlMs <= 0) return
    claim.leaseExpiresAt = now + ttlMs
    this.around.desk.setAlarm(claim.alarm, claim.leaseExpiresAt)
  }

  /** The lease begins anew. Undefined: it holds no sandbox. */
  renew(claim: Claim, ttlMs: number | undefined, now: EpochMs): Settled | undefined {
    if (claim.phase !== "Claimed" || claim.settled === undefined) return undefined
    this.startLease(claim, ttlMs ?? claim.spec.ttlMs, now)
    claim.settled = { ...claim.settled, leaseExpiresAt: claim.leaseExpiresAt }
    return claim.settled
  }

  /** While it waits its alarm is its deadline. */
  watchDeadline(claim: Claim): void {
    const { desk } = this.around
    if (claim.spec.deadlineAt !== Infinity) desk.setAlarm(claim.alarm, claim.spec.deadlineAt)
    else desk.clearAlarm(claim.alarm)
  }

  /** Counts against its team's quota. */
  count(claim: Claim): void {
    if (claim.isCounted) return
    claim.isCounted = true
    this.around.quotas.take(claim.spec.team)
  }

  /** Its sandbox, if it has one, counts no more against its team's quota. */
  uncount(claim: Claim): void {
    if (!claim.isCounted) return
    claim.isCounted = false
    const { team } = claim.spec
    const { queue, quotas } = this.around
    quotas.give(team)
    if (queue.isBlocked(team)) queue.setBlocked(team, false)
  }

  // ---------------------------------------------------------------- ends

  /** A terminal result for a claim that holds nothing (yet): one that waits ends; one whose write is under way ends when that is settled. */
  abandon(claim: Claim, outcome: "Cancelled" | "DeadlineExceeded" | "ShuttingDown" | "Failed", now: EpochMs): void {
    if (claim.settled !== undefined) return
    const isWaiting = claim.phase === "Waiting"
    this.around.queue.settle(claim, isWaiting)
    if (isWaiting) {
      claim.phase = "Ended"
      this.around.desk.clearAlarm(claim.alarm)
    }
    this.answer(claim, this.resultOf(claim, outcome, now))
    if (isWaiting) this.forget(claim)
  }

  /** A terminal result for a claim whose write has just been settled without success. */
  finish(claim: Claim, outcome: "DeadlineExceeded" | "ShuttingDown" | "Failed", now: EpochMs): void {
    claim.phase = "Ended"
    this.around.desk.clearAlarm(claim.alarm)
    this.around.queue.settle(claim, false)
    this.answer(claim, this.resultOf(claim, outcome, now))
    this.forget(claim)
  }

  /** One that holds a sandbox ends; the sandbox is given back. */
  end(claim: Claim, outcome: "Released" | "Expired", mode: "recycle" | "delete", now: EpochMs): void {
    const { batches, cache, desk, event, giveBack } = this.around
    desk.clearAlarm(claim.alarm)
    claim.phase = "Ended"
    this.heldCount--
    if (claim.settled !== undefined) claim.settled = { ...claim.settled, outcome }
    const uid = claim.uid as SandboxUid // a claimed one has a sandbox
    const cell = cache.get(uid)
    if (cell?.claim === claim) cell.claim = undefined
    batches.memberEnded(claim, outcome, undefined)
    event({ kind: outcome, at: now, claim, sandbox: claim.sandbox as Sandbox }) // a claimed one has a sandbox
    this.forget(claim)
    giveBack(uid, claim.spec.claimId, mode)
    batches.memberLeft(claim, outcome, undefined)
  }

  /** The sandbox of a live claim has vanished or was taken away. */
  lost(claim: Claim, reason: string, now: EpochMs): void {
    if (claim.phase !== "Claimed") return
    const { batches, desk, event } = this.around
    desk.clearAlarm(claim.alarm)
    claim.phase = "Ended"
    this.heldCount--
    if (claim.settled !== undefined) {
      claim.settled = {
        ...claim.settled,
        outcome: "Failed",
        error: { code: "Unavailable", message: `the sandbox was lost: ${reason}` }
      }
    }
    batches.memberEnded(claim, "Failed", claim.settled?.error)
    event({ kind: "Lost", at: now, claim, sandbox: claim.sandbox as Sandbox }) // a claimed one has a sandbox
    this.forget(claim)
    batches.memberLeft(claim, "Failed", claim.settled?.error)
  }

  /** A new claim that may not even wait: answered at once, and never here. */
  turnAway(claim: Claim, outcome: Settled["outcome"], error: ErrorBody | undefined, now: EpochMs): void {
    claim.phase = "Ended"
    this.answer(claim, { ...this.resultOf(claim, outcome, now), error })
  }

  /** Out of the live claims; a direct claim's record stays for those who ask again. */
  forget(claim: Claim): void {
    claim.phase = "Ended"
    this.around.desk.clearAlarm(claim.alarm)
    this.uncount(claim)
    this.byId.delete(claim.spec.claimId)
    // The record of a batch is kept under its own id.
    if (claim.batch !== undefined || claim.spec.ttlMs === 0 || claim.settled === undefined) return
    this.around.results.keep(claim.settled)
  }

  private answer(claim: Claim, settled: Settled): void {
    claim.settled = settled
    if (claim.batch === undefined) this.around.desk.meters.answered(claim, settled)
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
}
