/**
 * The target of an autoscaled pool: what its scale policies want of its live counters, within min and max, going up at once when somebody waits and down after a while.
 *
 * Pure and synchronous; asked at every change of demand, so it does not allocate in the steady state beyond what the policies do. Up: unmet demand and an empty idle
 * buffer raise the target at once; other increases wait for `upCooldownMs` after the last. Down: to the most that was wanted during the last `downCooldownMs`,
 * so a short lull costs no sandbox. What is taken away is the scheduler's (`ScaleDown`: idle, unprotected ones only). Follows design/04 section 1, point 12.
 */
import { demandOf, type ScaleDecider, type ScaleView, type ScaleWish } from "../../shared/plugin/ScalePolicy.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"

export interface AutoscalerOptions {
  readonly pool: PoolRef
  readonly min: number
  readonly max: number
  readonly minIdle: number
  readonly upCooldownMs: number
  readonly downCooldownMs: number
  /** In the order of `autoscale.policies`; none: the demand alone. */
  readonly deciders: ReadonlyArray<ScaleDecider>
  /** What the pool keeps until the first decision. */
  readonly initial: number
}

/** The pool's counters of this moment. `waiting` without those that wait for their team's quota. */
export interface ScaleCounts {
  readonly idle: number
  readonly waiting: number
  readonly claimed: number
  readonly creating: number
  readonly total: number
}

export class Autoscaler {
  private readonly options: AutoscalerOptions
  private readonly fetched: Array<ScaleWish | undefined>
  private targetNow: number
  private raisedAt: EpochMs = -Infinity
  /** Since when less is wanted than there is, and the most wanted since; undefined: it is not. */
  private lull: { readonly since: EpochMs; most: number } | undefined = undefined
  private lookAt: EpochMs = Infinity

  constructor(options: AutoscalerOptions) {
    this.options = options
    this.fetched = options.deciders.map(() => undefined)
    this.targetNow = options.initial
  }

  get target(): number {
    return this.targetNow
  }
  /** When it should be asked again, also if nothing changes. */
  get nextAt(): EpochMs {
    return this.lookAt
  }

  /** The answer of a policy's `fetch`: in force until the next one. */
  setFetched(index: number, wish: ScaleWish): void {
    this.fetched[index] = wish
  }

  viewOf(counts: ScaleCounts, now: EpochMs): ScaleView {
    const { max, min, minIdle, pool } = this.options
    return { pool, now, ...counts, target: this.targetNow, min, max, minIdle }
  }

  /** The target now. */
  decide(counts: ScaleCounts, now: EpochMs): number {
    const { deciders, downCooldownMs, upCooldownMs } = this.options
    let view = this.viewOf(counts, now)
    this.lookAt = Infinity
    if (deciders.length > 0) view = this.bounded(view)
    let wanted = -1
    for (let i = 0; i < deciders.length; i++) {
      const { target } = this.wishOf(i, view)
      if (target !== undefined && target > wanted) wanted = target
    }
    if (wanted < 0) wanted = demandOf(view)
    const bounded = Math.max(view.min, Math.min(Math.ceil(wanted), view.max))
    if (bounded > this.targetNow) {
      this.lull = undefined
      const isUnmet = counts.waiting > 0 || counts.idle === 0 || this.targetNow < view.min
      const readyAt = this.raisedAt + upCooldownMs
      if (!isUnmet && now < readyAt) this.lookAt = Math.min(this.lookAt, readyAt)
      else {
        this.targetNow = bounded
        this.raisedAt = now
      }
    } else if (bounded === this.targetNow) this.lull = undefined
    else this.lower(bounded, view.max, now, downCooldownMs)
    return this.targetNow
  }

  private lower(wanted: number, max: number, now: EpochMs, downCooldownMs: number): void {
    // A maximum holds at once.
    if (this.targetNow > max) this.targetNow = max
    if (this.lull === undefined) this.lull = { since: now, most: wanted }
    else if (wanted > this.lull.most) this.lull.most = wanted
    const endsAt = this.lull.since + downCooldownMs
    if (now >= endsAt) {
      this.targetNow = Math.min(this.targetNow, this.lull.most)
      this.lull = wanted < this.targetNow ? { since: now, most: wanted } : undefined
    }
    if (this.lull !== undefined) this.lookAt = Math.min(this.lookAt, this.lull.since + downCooldownMs)
  }

  /** The view under the bounds that the policies set for now: the tightest of each. */
  private bounded(view: ScaleView): ScaleView {
    let min: number | undefined
    let max: number | undefined
    let minIdle: number | undefined
    for (let i = 0; i < this.options.deciders.length; i++) {
      const wish = this.wishOf(i, view)
      if (wish.until !== undefined && wish.until < this.lookAt) this.lookAt = wish.until
      if (wish.min !== undefined) min = Math.max(min ?? 0, wish.min)
      if (wish.max !== undefined) max = Math.min(max ?? Infinity, wish.max)
      if (wish.minIdle !== undefined) minIdle = Math.max(minIdle ?? 0, wish.minIdle)
    }
    if (min === undefined && max === undefined && minIdle === undefined) return view
    const most = max ?? view.max
    return { ...view, min: Math.min(min ?? view.min, most), max: most, minIdle: minIdle ?? view.minIdle }
  }

  private wishOf(index: number, view: ScaleView): ScaleWish {
    return this.options.deciders[index]?.decide(view, this.fetched[index]) ?? {}
  }
}
