/**
 * How many sandboxes each team holds, and how many it may (design/04 section 1, "Team quotas per pool").
 *
 * A sandbox counts from the moment its write begins until the claim ends or waits again, so that writes in flight never overrun a quota. O(1).
 */

export interface QuotaLimits {
  /** Of a team that `teams` does not name; undefined: unlimited. */
  readonly default?: number | undefined
  readonly teams: ReadonlyMap<string, number>
}

export const unlimited: QuotaLimits = { teams: new Map() }

export class TeamQuotas {
  private readonly held = new Map<string, number>()
  private limits: QuotaLimits

  constructor(limits: QuotaLimits) {
    this.limits = limits
  }

  /** Infinity: none. */
  limitOf(team: string): number {
    return this.limits.teams.get(team) ?? this.limits.default ?? Infinity
  }

  heldBy(team: string): number {
    return this.held.get(team) ?? 0
  }

  /** Whether `count` more go into the quota. */
  hasRoom(team: string, count: number): boolean {
    return this.heldBy(team) + count <= this.limitOf(team)
  }

  take(team: string): void {
    this.held.set(team, this.heldBy(team) + 1)
  }

  give(team: string): void {
    const left = this.heldBy(team) - 1
    if (left > 0) this.held.set(team, left)
    else this.held.delete(team)
  }

  get teams(): ReadonlyMap<string, number> {
    return this.held
  }

  setLimits(limits: QuotaLimits): void {
    this.limits = limits
  }
}
