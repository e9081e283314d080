/**
 * Takes surplus sandboxes away: idle, unprotected, unkept and unreserved ones only, those that became idle last first, each by a write that names the version it was seen at.
 *
 * One that somebody claims in the meantime survives (the write conflicts), and one whose deletion has no clear answer counts again until a delta tells. Follows design/04 point 12.
 */
import type { Version } from "../../shared/plugin/PoolProvider.ts"
import * as Alarms from "./Alarms.ts"
import type { DeskAlarm, ProviderDesk } from "./ProviderDesk.ts"
import type { ReadyQueue } from "./ReadyQueue.ts"
import type { SandboxCell } from "./SandboxCell.ts"

export interface ScaleDownPorts {
  readonly cellOf: (uid: SandboxCell["uid"]) => SandboxCell | undefined
  readonly isFree: (cell: SandboxCell) => boolean
  /** Reserves it and counts it as leaving. */
  readonly leaving: (cell: SandboxCell) => void
  /** The write is over. `isDeleted` false: it stays, as far as is known. */
  readonly settled: (cell: SandboxCell, isDeleted: boolean, version: Version) => void
}

export class ScaleDown {
  private readonly desk: ProviderDesk
  private readonly ready: ReadyQueue
  private readonly ports: ScaleDownPorts

  constructor(desk: ProviderDesk, ready: ReadyQueue, ports: ScaleDownPorts) {
    this.desk = desk
    this.ready = ready
    this.ports = ports
  }

  /** Takes up to `surplus` of the idle ones. */
  shrink(surplus: number): void {
    const victims: Array<SandboxCell["uid"]> = []
    for (const uid of this.ready.newestFirst()) {
      if (victims.length >= surplus) break
      if (this.ports.cellOf(uid)?.state.isKept === true) continue
      victims.push(uid)
    }
    for (const uid of victims) {
      const cell = this.ports.cellOf(uid)
      if (cell !== undefined && this.ports.isFree(cell)) this.take(cell)
      else this.ready.delete(uid)
    }
  }

  /** Takes this free one. */
  take(cell: SandboxCell): void {
    this.ready.delete(cell.uid)
    this.ports.leaving(cell)
    const { desk } = this
    const { version } = cell.state
    let isAnswered = false
    const answered = (isDeleted: boolean): void => {
      if (isAnswered) return
      isAnswered = true
      desk.clearAlarm(overdue)
      if (isDeleted) desk.meters.deleted.total++
      this.ports.settled(cell, isDeleted, version)
    }
    const overdue: DeskAlarm = Alarms.make({ run: () => answered(false) })
    desk.provider.delete({ uid: cell.uid, version, sessionId: desk.sessionId }, (outcome) => {
      answered(outcome._tag === "Done")
      if (outcome._tag === "Fenced") desk.fenced(outcome.current)
    })
    if (!isAnswered) desk.setAlarm(overdue, desk.now() + desk.writeDeadlineMs)
  }
}
