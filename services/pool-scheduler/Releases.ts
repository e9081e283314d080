/**
 * Sandboxes on their way back: each release is repeated until the provider has confirmed it, whatever became of its answers; one that cannot be reset is deleted and replaced.
 *
 * Follows design/04 point 11: `recycle` is Stopping -> Idle by a delta, `delete` is gone for good (the size then refills).
 */
import type { ClaimId, SandboxUid } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { ProviderDesk } from "./ProviderDesk.ts"
import type { SandboxCache } from "./SandboxCache.ts"
import * as SandboxCell from "./SandboxCell.ts"

type Cell = SandboxCell.SandboxCell

/** While nothing may be written: the next look. */
const heldAgainMs = 500

export interface ReleaseEnds {
  /** The provider has taken it (or another claim has the sandbox). */
  readonly done: () => void
  /** There is one sandbox less. */
  readonly gone: () => void
}

export class Releases {
  private readonly desk: ProviderDesk
  private readonly cache: SandboxCache
  private readonly wear: () => SandboxCell.WearLimits
  private readonly ends: ReleaseEnds

  constructor(desk: ProviderDesk, cache: SandboxCache, wear: () => SandboxCell.WearLimits, ends: ReleaseEnds) {
    this.desk = desk
    this.cache = cache
    this.wear = wear
    this.ends = ends
  }

  /** The sandbox of a claim that has ended. One that has served enough is deleted. */
  giveBack(uid: SandboxUid, claimId: ClaimId, mode: "recycle" | "delete"): void {
    const cell = this.cache.get(uid)
    if (cell === undefined) return
    this.cache.ready.delete(uid)
    const isReplaced = mode === "delete" || SandboxCell.isWorn(cell, this.wear(), this.desk.now())
    this.start(cell, claimId, isReplaced ? "delete" : "recycle")
  }

  private start(cell: Cell, claimId: ClaimId, mode: "recycle" | "delete"): void {
    const release: SandboxCell.Release = {
      claimId,
      mode,
      attempts: 0,
      alarm: Alarms.make({ run: () => this.send(cell, release) })
    }
    cell.releasing = release
    if (mode === "delete") this.cache.setLeaving(cell, true)
    this.send(cell, release)
  }

  /** The sandbox is gone by itself. */
  forget(cell: Cell): void {
    if (cell.releasing !== undefined) this.desk.clearAlarm(cell.releasing.alarm)
    cell.releasing = undefined
  }

  private send(cell: Cell, release: SandboxCell.Release): void {
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
          if (outcome._tag === "Done") {
            cell.released = release.claimId
            if (release.mode === "delete") desk.meters.deleted.total++
          }
          if (outcome._tag === "NotOurs" && release.mode === "delete") this.cache.setLeaving(cell, false)
          this.cache.admit(cell)
          return this.ends.done()
        case "Gone":
          this.forget(cell)
          this.cache.remove(cell.uid, "it was gone when it was released")
          return this.ends.gone()
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
            this.cache.setLeaving(cell, true)
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
