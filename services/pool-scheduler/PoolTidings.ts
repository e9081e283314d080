/**
 * An owner's word to others about its pool while its counters change: to the other replicas (for the ranking of envs) and to the provider (its status).
 *
 * `changed` is called on the hot path and costs one comparison; what is told is read at most every `tidingsEveryMs`, all changes in between as one. A pool that is a member of
 * an env is also told of every `heartbeatMs`, so that a replica that has just come hears of it, and one whose owner is gone is noticed.
 */
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import type { PoolTidings as Told } from "../../shared/protocol/Pool.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"
import { StatusRule } from "./StatusRule.ts"

export const tidingsEveryMs = 100
export const heartbeatMs = 5_000

export interface TidingsPorts {
  readonly now: () => EpochMs
  readonly arm: (at: EpochMs) => void
  /** Some env has the pool as a member. */
  readonly isWatched: () => boolean
  readonly read: () => { readonly told: Told; readonly status: PoolStatus }
  readonly publish: (told: Told) => void
  /** Undefined: the provider wants none. */
  readonly writeStatus: ((status: PoolStatus) => void) | undefined
}

export class PoolTidings {
  private readonly ports: TidingsPorts
  private readonly rule = new StatusRule()
  private isDirty = false
  private toldAt: EpochMs = -Infinity
  private lastTold = ""
  private statusAt: EpochMs = Infinity

  constructor(ports: TidingsPorts) {
    this.ports = ports
  }

  /** Something may have changed. */
  readonly changed = (): void => {
    if (this.isDirty) return
    this.isDirty = true
    this.ports.arm(this.ports.now() + tidingsEveryMs)
  }

  tick(now: EpochMs): EpochMs {
    const isWatched = this.ports.isWatched()
    const heartbeatAt = isWatched ? this.toldAt + heartbeatMs : Infinity
    const dueAt = this.isDirty ? Math.max(this.toldAt + tidingsEveryMs, -Infinity) : Infinity
    if (now < Math.min(heartbeatAt, dueAt, this.statusAt)) return Math.min(heartbeatAt, dueAt, this.statusAt)
    this.isDirty = false
    const { status, told } = this.ports.read()
    if (isWatched) {
      const text = JSON.stringify(told)
      if (text !== this.lastTold || now >= heartbeatAt) this.ports.publish(told)
      this.lastTold = text
    }
    this.toldAt = now
    this.statusAt = Infinity
    if (this.ports.writeStatus !== undefined) {
      const { lookAt, write } = this.rule.look(status, now)
      if (write) this.ports.writeStatus(status)
      this.statusAt = lookAt
    }
    return Math.min(isWatched ? now + heartbeatMs : Infinity, this.statusAt)
  }
}
