/**
 * The results of claims that have ended, for whoever asks again with the same id: the latest ones only, in a ring of fixed length.
 *
 * What is pushed out is gone; that anything was is remembered, so that an unknown id is never mistaken for one that was never used.
 */
import type { ClaimId } from "../../shared/protocol/Token.ts"
import type { Settled } from "./Settled.ts"

export class RecentResults {
  private readonly lengthMax: number
  private readonly byId = new Map<ClaimId, Settled>()
  private readonly ring: Array<ClaimId | undefined> = []
  private next = 0
  private forgotten = 0

  constructor(lengthMax: number) {
    this.lengthMax = lengthMax
  }

  /** Results have been pushed out: an unknown id may have been known. */
  get hasForgotten(): boolean {
    return this.forgotten > 0
  }

  has(claimId: ClaimId): boolean {
    return this.byId.has(claimId)
  }

  get(claimId: ClaimId): Settled | undefined {
    return this.byId.get(claimId)
  }

  delete(claimId: ClaimId): void {
    this.byId.delete(claimId)
  }

  keep(settled: Settled): void {
    const oldest = this.ring[this.next]
    if (oldest !== undefined) {
      this.byId.delete(oldest)
      this.forgotten++
    }
    this.ring[this.next] = settled.claimId
    this.next = (this.next + 1) % this.lengthMax
    this.byId.set(settled.claimId, settled)
  }
}
