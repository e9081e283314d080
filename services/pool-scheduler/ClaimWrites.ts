/**
 * The one compare-and-set write of a claim, from the sandbox that was picked to an outcome that is certain.
 *
 * What it keeps true: a sandbox is reserved from before the write until its outcome is known; an answer counts once, and a late one not at all; Unknown is neither
 * yes nor no, so the claim stays unsettled and the sandbox reserved until a read-back has told; no more writes at once than there are slots; a provider that
 * refuses everything is left alone for a while. Follows design/04 section 1, points 4 to 6.
 */
import type { ClaimMark, ClaimOutcome, ReadBackOutcome, Version } from "../../shared/plugin/PoolProvider.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs, SandboxUid, SessionId } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { Claim } from "./Claim.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { DeskAlarm, ProviderDesk } from "./ProviderDesk.ts"
import type { SandboxCache } from "./SandboxCache.ts"
import type { SandboxCell } from "./SandboxCell.ts"

/** How a write ends. Its slot is free by then. */
export interface WriteEnds {
  /** It took effect (told by its answer, or by reading back). The sandbox is reserved until the watch shows it. */
  readonly granted: (claim: Claim, cell: SandboxCell, version: Version, now: EpochMs) => void
  /** It did not: the next sandbox may be tried. */
  readonly missed: (claim: Claim, now: EpochMs) => void
  /** The claim itself is at fault, and no other sandbox would do. */
  readonly refused: (claim: Claim, now: EpochMs) => void
  readonly fenced: (claim: Claim, current: SessionId, now: EpochMs) => void
  /** Its deadline has passed while the outcome is open: whoever waits is told, the write is settled all the same. */
  readonly late: (claim: Claim, now: EpochMs) => void
  /** The breaker's time is over: writes may go on. */
  readonly resumed: () => void
}

export class ClaimWrites {
  private readonly desk: ProviderDesk
  private readonly cache: SandboxCache
  private readonly slots: number
  private readonly ends: WriteEnds
  private readonly breaker: DeskAlarm
  private breakerUntil = 0
  private breakerTrips = 0
  private underWay = 0

  constructor(desk: ProviderDesk, cache: SandboxCache, slots: number, ends: WriteEnds) {
    this.desk = desk
    this.cache = cache
    this.slots = slots
    this.ends = ends
    this.breaker = Alarms.make({ run: () => ends.resumed() })
  }

  /** Written or being read back. */
  get inflight(): number {
    return this.underWay
  }

  /** There is a slot, and the provider is not left alone. */
  get isOpen(): boolean {
    return this.underWay < this.slots && (this.breakerTrips === 0 || this.desk.now() >= this.breakerUntil)
  }

  /** Claims this free sandbox. */
  write(claim: Claim, cell: SandboxCell): void {
    const { desk } = this
    const now = desk.now()
    const { spec } = claim
    const { uid } = cell
    const { version } = cell.state
    this.underWay++
    this.cache.reservations.start(uid)
    claim.phase = "Inflight"
    claim.uid = uid
    claim.sandbox = asClaimed(cell.state.sandbox, spec)
    const seconds = desk.meters.seconds()
    if (claim.attempts++ === 0) {
      claim.firstWriteAt = now
      claim.firstWriteSeconds = seconds
    }
    claim.writeStartedAt = now
    const number = ++claim.writes
    let isAnswered = false
    desk.provider.claim({
      uid,
      version,
      mark: this.markOf(claim),
      labels: spec.labels,
      annotations: spec.annotations,
      images: spec.images,
      env: spec.env,
      targetPhase: spec.targetPhase
    }, (outcome) => {
      if (isAnswered) return
      isAnswered = true
      desk.meters.written(outcome, seconds)
      // A later answer than the write's deadline: it is being read back, which says the same and more.
      if (claim.writes !== number || claim.phase !== "Inflight") return
      this.written(claim, uid, version, outcome)
    })
    if (!isAnswered) desk.setAlarm(claim.alarm, Math.min(now + desk.writeDeadlineMs, deadlineOf(claim)))
  }

  private markOf({ batch, spec }: Claim): ClaimMark {
    return {
      claimId: spec.claimId,
      holder: spec.holder,
      sessionId: this.desk.sessionId,
      ttlMs: spec.ttlMs,
      team: spec.team,
      user: spec.user,
      batch: batch?.claimId
    }
  }

  private written(claim: Claim, uid: SandboxUid, version: Version, outcome: ClaimOutcome): void {
    const now = this.desk.now()
    switch (outcome._tag) {
      case "Success":
        this.breakerTrips = 0
        return this.granted(claim, uid, outcome.version, now)
      case "Conflict":
      case "WrongPhase":
        this.slotFree(claim)
        this.cache.settle(uid, version + 1, now)
        return this.ends.missed(claim, now)
      case "Gone":
        return this.gone(claim, uid, "it was gone when it was claimed", now)
      case "HardError":
        this.slotFree(claim)
        claim.lastError = { code: "Unavailable", message: `the provider refused the claim: ${outcome.message}` }
        if (outcome.isFinal === true) {
          // Asked again it would end the same way.
          claim.lastError = { ...claim.lastError, code: "InvalidMessage" }
          this.cache.release(uid)
          return this.ends.refused(claim, now)
        }
        if (!outcome.everySandbox) {
          this.cache.settle(uid, version + 1, now)
          return this.ends.missed(claim, now)
        }
        this.tripBreaker(outcome.message, now)
        claim.attempts--
        this.cache.release(uid)
        return this.ends.missed(claim, now)
      case "Unknown":
        claim.lastError = { code: "Unavailable", message: `the claim's write had no clear answer: ${outcome.reason}` }
        return this.readBack(claim, uid, now)
      case "Fenced":
        this.slotFree(claim)
        this.cache.reservations.release(uid)
        claim.lastError = { code: "NotOwner", message: "the pool has another owner" }
        this.ends.fenced(claim, outcome.current, now)
    }
  }

  private granted(claim: Claim, uid: SandboxUid, version: Version, now: EpochMs): void {
    this.slotFree(claim)
    const cell = this.cache.get(uid)
    if (cell === undefined) {
      // Removed since: what was won is gone.
      this.cache.reservations.release(uid)
      return this.ends.missed(claim, now)
    }
    cell.grantedAt = version
    cell.released = undefined
    cell.uses++
    this.cache.settle(uid, version, now)
    this.ends.granted(claim, cell, version, now)
  }

  private gone(claim: Claim, uid: SandboxUid, reason: string, now: EpochMs): void {
    this.slotFree(claim)
    this.cache.reservations.release(uid)
    this.cache.remove(uid, reason)
    this.ends.missed(claim, now)
  }

  /** The claim's deadline has come, the write has had no answer in time, or the next read-back is due. */
  overdue(claim: Claim, now: EpochMs): void {
    const { desk } = this
    if (claim.phase === "Inflight" && now < claim.writeStartedAt + desk.writeDeadlineMs) {
      // Its caller is told at its time; the write's own is not over.
      if (claim.settled === undefined && now >= claim.spec.deadlineAt) this.ends.late(claim, now)
      return desk.setAlarm(claim.alarm, claim.writeStartedAt + desk.writeDeadlineMs)
    }
    if (claim.phase === "Inflight") {
      claim.lastError = {
        code: "Unavailable",
        message: `the claim's write had no answer within ${this.desk.writeDeadlineMs} ms`
      }
    }
    if (claim.settled === undefined && now >= claim.spec.deadlineAt) this.ends.late(claim, now)
    this.readBack(claim, claim.uid as SandboxUid, now) // set with the write
  }

  /** Unknown is neither yes nor no: the sandbox stays reserved and the claim unsettled until the provider has told. */
  private readBack(claim: Claim, uid: SandboxUid, now: EpochMs): void {
    const { desk } = this
    claim.phase = "Unsettled"
    const number = ++claim.writes
    let isAnswered = false
    desk.provider.readBack(uid, claim.spec.claimId, (outcome) => {
      if (isAnswered) return
      isAnswered = true
      if (claim.writes !== number || claim.phase !== "Unsettled") return
      this.wasReadBack(claim, uid, outcome)
    })
    if (!isAnswered) desk.setAlarm(claim.alarm, Math.min(now + desk.writeDeadlineMs, deadlineOf(claim)))
  }

  private wasReadBack(claim: Claim, uid: SandboxUid, outcome: ReadBackOutcome): void {
    const now = this.desk.now()
    switch (outcome._tag) {
      case "Ours":
        return this.granted(claim, uid, outcome.version, now)
      case "NotOurs":
        this.slotFree(claim)
        this.cache.reservations.release(uid)
        this.cache.upsert(outcome.state)
        this.cache.release(uid)
        return this.ends.missed(claim, now)
      case "Gone":
        return this.gone(claim, uid, "it was gone when its claim was read back", now)
      case "Unknown": {
        const waitMs = this.desk.backOffMs(claim.readBacks++)
        this.desk.setAlarm(claim.alarm, Math.min(now + waitMs, deadlineOf(claim)))
      }
    }
  }

  private slotFree(claim: Claim): void {
    this.underWay--
    this.desk.clearAlarm(claim.alarm)
  }

  private tripBreaker(message: string, now: EpochMs): void {
    const waitMs = Math.min(1_000 * 2 ** this.breakerTrips++, 30_000)
    this.breakerUntil = now + waitMs
    this.desk.setAlarm(this.breaker, this.breakerUntil)
    this.desk.warn("the provider refuses every claim; none is tried for a while", { reason: message, waitMs })
  }
}

/** The sandbox as the write makes it: its own labels and those of the claim, and the claim's environment. */
const asClaimed = (sandbox: Sandbox, { env, labels }: ClaimSpec): Sandbox =>
  env === undefined && labels === undefined ? sandbox : {
    ...sandbox,
    labels: { ...sandbox.labels, ...labels },
    ...(env === undefined ? {} : { env })
  }

/** The deadline as far as somebody still waits for it. */
const deadlineOf = (claim: Claim): EpochMs => claim.settled === undefined ? claim.spec.deadlineAt : Infinity
