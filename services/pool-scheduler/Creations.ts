/**
 * Sandboxes under creation: as many as are missing and no more, at a bounded rate, each under a name that makes a repeated creation the same one.
 *
 * A creation counts from its beginning until the watch or a list shows its sandbox (an expectation), so a slow watch never makes it create too many. One that a list
 * begun after its answer does not show is gone, and its name with it. Errors pause all of them, longer each time. Follows design/04 points 11 and 12.
 */
import type { EpochMs } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { DeskAlarm, ProviderDesk } from "./ProviderDesk.ts"

interface Creation {
  readonly name: string
  attempts: number
  /** Number of the delta at which it was answered; a list that began before need not show it. */
  doneAt: number
  readonly alarm: DeskAlarm
}

export interface CreationLimits {
  /** Under creation at once. */
  readonly creatingMax: number
  /** Begun per second; the burst is what a second gives, at least one. Undefined: no limit. */
  readonly perSecond?: number | undefined
}

export class Creations {
  private readonly desk: ProviderDesk
  private readonly prefix: string
  private readonly deltas: () => number
  private readonly onRoom: () => void
  private readonly pending = new Map<string, Creation>()
  private readonly pause: DeskAlarm
  private limits: CreationLimits
  private made = 0
  private failures = 0
  /** Of the rate: what may be begun now, as of `creditAt`. */
  private credit: number
  private creditAt: EpochMs

  /** `prefix`: of the names. `deltas`: the number of the latest delta. `onRoom`: more may be created than a moment ago. */
  constructor(desk: ProviderDesk, prefix: string, limits: CreationLimits, deltas: () => number, onRoom: () => void) {
    this.desk = desk
    this.prefix = prefix
    this.limits = limits
    this.deltas = deltas
    this.onRoom = onRoom
    this.pause = Alarms.make({ run: onRoom })
    this.creditAt = desk.now()
    this.credit = this.burst
  }

  get size(): number {
    return this.pending.size
  }

  setLimits(limits: CreationLimits): void {
    this.limits = limits
    this.creditAt = this.desk.now()
    this.credit = this.burst
    this.onRoom()
  }

  /** Creates until `missing()` says that nothing is missing, or no more may be begun now. */
  refill(missing: () => number): void {
    for (let wanted = missing(); wanted > 0;) {
      if (this.pending.size >= this.limits.creatingMax || Alarms.isSet(this.pause) || !this.spend()) return
      this.create()
      const left = missing()
      if (left >= wanted) return // it could not be begun, or the pool has grown in need
      wanted = left
    }
  }

  /** The watch shows a sandbox of this name. */
  shown(name: string): void {
    const creation = this.pending.get(name)
    if (creation !== undefined) this.forget(creation)
  }

  /** A list begun at `token` is complete: what was created before, and is not there, is gone again. */
  listed(token: number): void {
    for (const creation of this.pending.values()) if (creation.doneAt < token) this.forget(creation)
  }

  private get burst(): number {
    return this.limits.perSecond === undefined ? Infinity : Math.max(1, this.limits.perSecond)
  }

  private spend(): boolean {
    const { perSecond } = this.limits
    if (perSecond === undefined) return true
    const now = this.desk.now()
    this.credit = Math.min(this.burst, this.credit + (now - this.creditAt) * perSecond / 1_000)
    this.creditAt = now
    if (this.credit >= 1) {
      this.credit--
      return true
    }
    this.desk.setAlarm(this.pause, now + Math.ceil((1 - this.credit) * 1_000 / perSecond))
    return false
  }

  private create(): void {
    const name = `${this.prefix}-${(this.made++).toString(36)}`
    const creation: Creation = {
      name,
      attempts: 0,
      doneAt: Infinity,
      alarm: Alarms.make({ run: () => this.send(creation) })
    }
    this.pending.set(name, creation)
    this.send(creation)
  }

  private send(creation: Creation): void {
    if (this.pending.get(creation.name) !== creation || creation.doneAt !== Infinity) return
    const { desk } = this
    if (desk.isHeld()) return desk.setAlarm(creation.alarm, desk.now() + desk.writeDeadlineMs)
    const number = ++creation.attempts
    let isAnswered = false
    desk.provider.create({ name: creation.name, sessionId: desk.sessionId }, (outcome) => {
      if (isAnswered || creation.attempts !== number) return
      isAnswered = true
      const now = desk.now()
      switch (outcome._tag) {
        case "Done":
          this.failures = 0
          desk.meters.created.total++
          creation.doneAt = this.deltas()
          desk.clearAlarm(creation.alarm)
          return
        case "Fenced":
          this.forget(creation)
          desk.fenced(outcome.current)
          return
        case "HardError": {
          // Not this one but creating as such: one pause for all, then new names.
          this.forget(creation)
          desk.meters.notCreated.total++
          const waitMs = Math.min(1_000 * 2 ** this.failures++, 60_000)
          desk.setAlarm(this.pause, now + waitMs)
          desk.warn("a sandbox could not be created", { name: creation.name, reason: outcome.message, waitMs })
          return
        }
        case "Unknown":
          desk.setAlarm(creation.alarm, now + desk.backOffMs(creation.attempts))
      }
    })
    if (!isAnswered && this.pending.get(creation.name) === creation) {
      desk.setAlarm(creation.alarm, desk.now() + desk.writeDeadlineMs)
    }
  }

  private forget(creation: Creation): void {
    this.pending.delete(creation.name)
    this.desk.clearAlarm(creation.alarm)
  }
}
