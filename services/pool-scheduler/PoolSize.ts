/**
 * As many sandboxes as a pool means to have: what is missing is created, what is idle and too much is taken away, what is too old is replaced.
 *
 * What it keeps true: a creation counts from its beginning, so nothing is created twice because a watch lags; nothing is decided before the first list; a provider
 * that answers at once does not make it decide while it decides. Follows design/04 points 11 and 12 and the autoscaling rules.
 */
import type { DeleteOutcome } from "../../shared/plugin/PoolProvider.ts"
import type { EpochMs, SandboxUid } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { ClaimQueue } from "./ClaimQueue.ts"
import { type CreationLimits, Creations } from "./Creations.ts"
import type { LiveClaims } from "./LiveClaims.ts"
import type { Options } from "./PoolOptions.ts"
import type { DeskAlarm, ProviderDesk } from "./ProviderDesk.ts"
import type { SandboxCache } from "./SandboxCache.ts"
import * as SandboxCell from "./SandboxCell.ts"
import { ScaleDown } from "./ScaleDown.ts"

export interface SizePorts {
  /** As they stand now. */
  readonly options: () => Options
  /** Nothing is created or taken away: before the first list, at the end, and while the pool may not be ours. */
  readonly isAtRest: () => boolean
  /** A sandbox that was to go stays, or its reservation is over. */
  readonly settled: () => void
  readonly changed: (() => void) | undefined
}

export class PoolSize {
  private readonly desk: ProviderDesk
  private readonly cache: SandboxCache
  private readonly queue: ClaimQueue
  private readonly claims: LiveClaims
  private readonly ports: SizePorts
  private readonly creations: Creations
  private readonly scaleDown: ScaleDown
  private readonly again: DeskAlarm
  private meant: number
  private isDeciding = false

  constructor(desk: ProviderDesk, cache: SandboxCache, queue: ClaimQueue, claims: LiveClaims, ports: SizePorts) {
    this.desk = desk
    this.cache = cache
    this.queue = queue
    this.claims = claims
    this.ports = ports
    const options = ports.options()
    this.meant = options.autoscaler?.target ?? options.size
    this.again = Alarms.make({ run: () => this.decide() })
    this.creations = new Creations(
      desk,
      `${options.poolName}-${options.sessionId.toString(36)}`,
      limitsOf(options),
      () => cache.deltas,
      () => this.decide()
    )
    this.scaleDown = new ScaleDown(desk, cache.ready, {
      cellOf: (uid) => cache.get(uid),
      isFree: (cell) => cache.isFree(cell),
      leaving: (cell) => {
        cache.reservations.hold(cell.uid)
        cell.released = undefined
        cache.setLeaving(cell, true)
      },
      settled: (cell, isDeleted, version) => {
        // Not deleted, as far as is known: it counts again; a delta, or the end of the reservation, decides.
        if (!isDeleted && cache.get(cell.uid) === cell) cache.setLeaving(cell, false)
        cache.settle(cell.uid, version + 1, desk.now())
        ports.settled()
      }
    })
  }

  /** Sandboxes that the pool means to have now. */
  get target(): number {
    return this.meant
  }

  /** Under creation. */
  get creating(): number {
    return this.creations.size
  }

  /** The watch shows a sandbox of this name. */
  appeared(name: string): void {
    this.creations.shown(name)
  }

  /** A list that began at `token` is complete. */
  listed(token: number): void {
    this.creations.listed(token)
  }

  /** Other limits of creation. */
  adjust(options: Options): void {
    this.creations.setLimits(limitsOf(options))
  }

  /** Somebody waits, or nothing is idle any more: an autoscaled pool looks at its target. */
  demand(): void {
    if (this.ports.options().autoscaler === undefined) return
    if (this.queue.waiting > 0 || this.cache.ready.size === 0) this.decide()
  }

  /** Decides the target, and refills to it or takes idle ones away. */
  decide(): void {
    // A provider that answers at once shows the delta of each step before the step is over: the loops below go on by themselves.
    if (this.isDeciding || this.ports.isAtRest()) return
    this.isDeciding = true
    try {
      this.meant = this.targetNow()
      this.creations.refill(this.missing)
      if (this.cache.total > this.meant) this.scaleDown.shrink(this.cache.total - this.meant)
    } finally {
      this.isDeciding = false
    }
    this.ports.changed?.()
  }

  private readonly missing = (): number => this.meant - this.cache.total - this.creations.size

  private targetNow(): number {
    const { autoscaler, isDraining, size } = this.ports.options()
    if (isDraining) return 0
    if (autoscaler === undefined) return size
    const target = autoscaler.decide({
      idle: this.cache.ready.size,
      waiting: this.queue.length - this.queue.quotaBlocked,
      claimed: this.claims.held,
      creating: this.creations.size,
      total: this.cache.total
    }, this.desk.now())
    if (autoscaler.nextAt !== Infinity) this.desk.setAlarm(this.again, autoscaler.nextAt)
    return target
  }

  /** Idle ones beyond the pool's age go, a tenth at a time; the size then refills. */
  replaceAged(): void {
    const { wear } = this.ports.options()
    if (wear.maxAgeMs === undefined || this.ports.isAtRest()) return
    const now: EpochMs = this.desk.now()
    let left = Math.max(1, Math.floor(this.cache.total / 10))
    for (const cell of this.cache.all) {
      if (left === 0) return
      if (!this.cache.isFree(cell) || cell.state.isKept === true || !SandboxCell.isAged(cell, wear, now)) continue
      left--
      this.scaleDown.take(cell)
    }
  }

  /**
   * The pool is deleted: every sandbox goes, also claimed ones. What has no clear answer is asked for again, a few times. `onDone` when each deletion has come to its end.
   */
  removeAll(onDone: () => void): void {
    let open = 1
    const ended = (): void => {
      if (--open === 0) onDone()
    }
    for (const { uid } of this.cache.all) {
      open++
      this.removeOne(uid, 0, ended)
    }
    ended()
  }

  private removeOne(uid: SandboxUid, attempt: number, done: () => void): void {
    const { desk } = this
    let isAnswered = false
    const answered = (outcome: DeleteOutcome): void => {
      if (isAnswered) return
      isAnswered = true
      desk.clearAlarm(alarm)
      if (outcome._tag === "Done") {
        desk.meters.deleted.total++
        return done()
      }
      if (outcome._tag === "Fenced" || attempt >= removalsMax) {
        desk.warn("a sandbox of a deleted pool may be left", { sandbox: uid, outcome: outcome._tag })
        return done()
      }
      desk.setAlarm(again, desk.now() + desk.backOffMs(attempt))
    }
    const again: DeskAlarm = Alarms.make({ run: () => this.removeOne(uid, attempt + 1, done) })
    const alarm: DeskAlarm = Alarms.make({
      run: () => answered({ _tag: "Unknown", reason: `no answer within ${desk.writeDeadlineMs} ms` })
    })
    desk.setAlarm(alarm, desk.now() + desk.writeDeadlineMs)
    desk.provider.delete({ uid, sessionId: desk.sessionId }, answered)
  }
}

/** Of one sandbox of a deleted pool, after the first try. */
const removalsMax = 5

const limitsOf = (options: Options): CreationLimits => ({
  creatingMax: options.creatingMax,
  perSecond: options.createPerSecond
})
