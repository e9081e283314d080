/**
 * The batches of a pool that have not ended: they wait, or some of their members hold a sandbox. All or none, and one terminal result for each.
 *
 * A member that cannot be had ends its batch: the members that hold a sandbox give it back before anybody is told, the others are abandoned. A batch that had everything is over
 * with the last of its members, whatever ended them. Follows design/04 section 1, "claim options" (count).
 */
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { ClaimId, EpochMs } from "../../shared/protocol/Token.ts"
import { Batch, memberId } from "./Batch.ts"
import { Claim } from "./Claim.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { OnSettled, Settled } from "./Settled.ts"

export interface BatchPorts {
  readonly now: () => EpochMs
  /** A member that holds a sandbox gives it back. */
  readonly end: (member: Claim, now: EpochMs) => void
  /** Its lease begins anew. */
  readonly renew: (member: Claim, ttlMs: number | undefined, now: EpochMs) => Settled | undefined
  /** A member that holds none (yet) is not wanted any more. */
  readonly abandon: (member: Claim, now: EpochMs) => void
  /** Kept for whoever asks again. */
  readonly record: (settled: Settled) => void
  /** It has its result: told once. */
  readonly answered: (batch: Batch<Claim>, settled: Settled) => void
  /** Sandboxes, slots and places in a quota may be free. */
  readonly ended: () => void
}

/** Waits with the others for its result, or has it. */
export const join = (batch: Batch<Claim>, onSettled: OnSettled): void => {
  if (batch.settled === undefined) batch.waiters.push(onSettled)
  else onSettled(batch.settled)
}

const settle = (batch: Batch<Claim>, settled: Settled): void => {
  batch.settled = settled
  const { waiters } = batch
  batch.waiters = []
  for (const waiter of waiters) waiter(settled)
}

export class Batches {
  private readonly ports: BatchPorts
  private readonly byId = new Map<ClaimId, Batch<Claim>>()

  constructor(ports: BatchPorts) {
    this.ports = ports
  }

  get(claimId: ClaimId): Batch<Claim> | undefined {
    return this.byId.get(claimId)
  }

  get all(): ReadonlyArray<Batch<Claim>> {
    return Array.from(this.byId.values())
  }

  add(batch: Batch<Claim>): void {
    this.byId.set(batch.claimId, batch)
  }

  /** A new one with its members, which waits for nothing yet. */
  make(spec: ClaimSpec, count: number, nextSequence: () => number, onSettled: OnSettled): Batch<Claim> {
    const now = this.ports.now()
    const batch = new Batch<Claim>(spec, onSettled)
    for (let i = 0; i < count; i++) {
      const claim = new Claim(
        { ...spec, claimId: memberId(spec.claimId, i) },
        nextSequence(),
        now,
        (settled) => this.memberSettled(batch, settled)
      )
      claim.batch = batch
      batch.members.push(claim)
    }
    return batch
  }

  /** The lease of all of its members begins anew. Undefined: it does not hold its sandboxes. */
  renew(batch: Batch<Claim>, ttlMs: number | undefined, now: EpochMs): Settled | undefined {
    if (batch.settled?.outcome !== "Claimed") return undefined
    let leaseExpiresAt = Infinity
    for (const member of batch.members) {
      leaseExpiresAt = Math.min(leaseExpiresAt, this.ports.renew(member, ttlMs, now)?.leaseExpiresAt ?? Infinity)
    }
    batch.settled = { ...batch.settled, leaseExpiresAt }
    return batch.settled
  }

  /** A member has its result; with the last one the batch has its own. */
  memberSettled(batch: Batch<Claim>, settled: Settled): void {
    if (batch.settled !== undefined) return
    if (settled.outcome !== "Claimed") this.fail(batch, settled.outcome, settled.error)
    else if (batch.held === batch.count) {
      // The lease of all of them begins now, however long the first one was held for the last.
      const now = this.ports.now()
      for (const member of batch.members) this.ports.renew(member, undefined, now)
      const settled = batch.claimed()
      settle(batch, settled)
      this.ports.answered(batch, settled)
    }
  }

  /** One of its members cannot be had, or nobody wants it any more. */
  fail(batch: Batch<Claim>, outcome: Settled["outcome"], error: ErrorBody | undefined): Settled {
    const now = this.ports.now()
    const settled: Settled = {
      claimId: batch.claimId,
      outcome,
      queuedMs: now - (batch.members[0]?.arrivedAt ?? now),
      casMs: 0,
      attempts: batch.members.reduce((sum, member) => sum + member.attempts, 0),
      error
    }
    // Set first: what its members tell now does not come back here.
    batch.settled = settled
    for (const member of batch.members) {
      if (member.phase === "Claimed") this.ports.end(member, now)
      else this.ports.abandon(member, now)
    }
    settle(batch, settled)
    this.ports.answered(batch, settled)
    this.over(batch, settled)
    this.ports.ended()
    return settled
  }

  /** A member gave its sandbox up; with the last one the batch is over. */
  memberEnded({ batch }: Claim, outcome: "Released" | "Expired" | "Failed", error: ErrorBody | undefined): void {
    if (batch === undefined) return
    batch.held--
    if (batch.settled?.outcome !== "Claimed" || !batch.isOver || !this.byId.has(batch.claimId)) return
    const { leaseExpiresAt: _, ...rest } = batch.settled
    batch.settled = { ...rest, outcome, ...(error === undefined ? {} : { error }) }
    this.over(batch, batch.settled)
  }

  /** The same member's end has been told: if it was given back or lost before the last of its batch was there, the batch ends with it. */
  memberLeft({ batch }: Claim, outcome: "Released" | "Expired" | "Failed", error: ErrorBody | undefined): void {
    if (batch === undefined || batch.settled !== undefined) return
    this.fail(batch, outcome === "Failed" ? "Failed" : "Cancelled", error)
  }

  /** A member of a batch of an earlier owner: it goes on under its id, with the members that are found. One that was not complete is known by its claimer's repetition, which asks for more. */
  adopt(id: ClaimId, claim: Claim): void {
    let batch = this.byId.get(id)
    if (batch === undefined) {
      batch = new Batch<Claim>({ ...claim.spec, claimId: id }, () => {})
      batch.isOpen = true
      batch.isAdopted = true
      this.add(batch)
    }
    claim.batch = batch
    batch.members.push(claim)
    batch.held++
    batch.settled = batch.claimed()
  }

  private over(batch: Batch<Claim>, settled: Settled): void {
    this.byId.delete(batch.claimId)
    this.ports.record(settled)
  }
}
