/**
 * Sandboxes on their way back: each release is repeated until the provider has confirmed it, whatever became of its answers; one that cannot be reset is deleted and replaced.
 *
 * Follows design/04 point 11: `recycle` is Stopping -> Idle by a delta, `delete` is gone for good (the size then refills).
 */
import type { ClaimId } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { DeskAlarm, ProviderDesk } from "./ProviderDesk.ts"
import type { SandboxCell } from "./SandboxCell.ts"

export interface Release {
  readonly claimId: ClaimId
  mode: "recycle" | "delete"
  attempts: number
  readonly alarm: DeskAlarm
}

/** While nothing may be written: the next look. */
const heldAgainMs = 500

export interface ReleaseEnds {
  /** The provider has taken it (or another claim has the sandbox). */
  readonly done: (cell: SandboxCell) => void
  readonly gone: (cell: SandboxCell) => void
  /** It will not come back; `staying`: it does after all. */
  readonly leaving: (cell: SandboxCell) => void
  readonly staying: (cell: SandboxCell) => void
}

export class Releases {
  private readonly desk: ProviderDesk
  private readonly ends: ReleaseEnds

  constructor(desk: ProviderDesk, ends: ReleaseEnds) {
    this.desk = desk
    this.ends = ends
  }

  start(cell: SandboxCell, claimId: ClaimId, mode: "recycle" | "delete"): void {
    const release: Release = {
      claimId,
      mode,
      attempts: 0,
      alarm: Alarms.make({ run: () => this.send(cell, release) })
    }
    cell.releasing = release
    if (mode === "delete") this.ends.leaving(cell)
    this.send(cell, release)
  }

  /** The sandbox is gone by itself. */
  forget(cell: SandboxCell): void {
    if (cell.releasing !== undefined) this.desk.clearAlarm(cell.releasing.alarm)
    cell.releasing = undefined
  }

  private send(cell: SandboxCell, release: Release): void {
    if (cell.releasing !== release) return
    const { desk } = this
    if (desk.isHeld()) return desk.setAlarm(release.alarm, desk.now() + heldAgainMs)
    const number = ++release.attempts
    let isAnswered = false
    desk.provider.release({ uid: cell.uid, claimId: release.claimId, sessionId: desk.sessionId, mode: release.mode }, (
      outcome
    ) => {
      if (isAnswered || cell.releasing !== release || release.attempts !== number) return
      isAnswered = true
      switch (outcome._tag) {
        case "Done":
        case "NotOurs":
          this.forget(cell)
          if (outcome._tag === "Done") cell.released = release.claimId
          if (outcome._tag === "NotOurs" && release.mode === "delete") this.ends.staying(cell)
          return this.ends.done(cell)
        case "Gone":
          this.forget(cell)
          return this.ends.gone(cell)
        case "Fenced":
          desk.clearAlarm(release.alarm)
          return desk.fenced(outcome.current)
        case "HardError":
          // A sandbox that cannot be reset is of no use: it is replaced.
          desk.warn("a sandbox could not be released", {
            sandbox: cell.uid,
            mode: release.mode,
            reason: outcome.message
          })
          if (release.mode === "recycle" && !outcome.everySandbox) {
            release.mode = "delete"
            this.ends.leaving(cell)
          }
          break
        case "Unknown":
          break
      }
      desk.setAlarm(release.alarm, desk.now() + desk.backOffMs(release.attempts))
    })
    if (!isAnswered && cell.releasing === release) desk.setAlarm(release.alarm, desk.now() + desk.writeDeadlineMs)
  }
}
