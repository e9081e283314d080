/**
 * A claim for several sandboxes at once (`count`): all of them or, when its deadline passes first, none.
 *
 * It waits at one place of the queue until as many sandboxes are idle as it asks for, then its members are claimed one by one like any other claim, before everything
 * else that waits: so two batches never hold parts of what both need. A member that cannot be had ends the batch and gives the others back. One claim id, one
 * lease, one release; its members are claims `<claimId>-0`, `-1`, ..., which is what stands on the sandboxes. Each counts in `queueLen`.
 * A mutable record, changed only by `PoolScheduler` and `ClaimQueue`. Follows design/04 section 1, "claim options" (count).
 */
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import { ClaimId } from "../../shared/protocol/Token.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { OnSettled, Settled } from "./Settled.ts"

export const memberId = (claimId: ClaimId, index: number): ClaimId => ClaimId.make(`${claimId}-${index}`)

/** What a batch asks of a member: a claim, which knows its batch. */
export interface BatchMember {
  readonly sandbox: Sandbox | undefined
  readonly settled: Settled | undefined
}

export class Batch<Member extends BatchMember> {
  readonly claimId: ClaimId
  /** Of the batch; those of its members differ in the claim id. */
  readonly spec: ClaimSpec
  readonly members: Array<Member> = []
  waiters: Array<OnSettled>
  /** Its one terminal result; then replaced by Released, Expired or Failed of a batch that was Claimed. */
  settled: Settled | undefined = undefined
  /** Its members are in the queue one by one. */
  isOpen = false
  /** Found after a take-over: whether the earlier owner had completed it is not known. */
  isAdopted = false
  /** Members that hold a sandbox. */
  held = 0

  constructor(spec: ClaimSpec, onSettled: OnSettled) {
    this.claimId = spec.claimId
    this.spec = spec
    this.waiters = [onSettled]
  }

  get count(): number {
    return this.members.length
  }
  /** It had all its sandboxes, and holds none any more. */
  get isOver(): boolean {
    return this.settled !== undefined && this.held === 0
  }

  /** The result of a batch whose members all hold theirs. */
  claimed(): Settled {
    const sandboxes: Array<Sandbox> = []
    let queuedMs = 0
    let casMs = 0
    let attempts = 0
    let leaseExpiresAt = Infinity
    for (const { sandbox, settled } of this.members) {
      if (sandbox !== undefined) sandboxes.push(sandbox)
      queuedMs = Math.max(queuedMs, settled?.queuedMs ?? 0)
      casMs = Math.max(casMs, settled?.casMs ?? 0)
      attempts += settled?.attempts ?? 0
      leaseExpiresAt = Math.min(leaseExpiresAt, settled?.leaseExpiresAt ?? Infinity)
    }
    return {
      claimId: this.claimId,
      outcome: "Claimed",
      sandboxes,
      queuedMs,
      casMs,
      attempts,
      ...(leaseExpiresAt === Infinity ? {} : { leaseExpiresAt })
    }
  }
}
