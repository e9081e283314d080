/**
 * When a pool's status is written for people and autoscalers to read: at most every 3 s, and only for a change that matters (design/04 section 1, point 9).
 *
 * `pendingRequests` is the same counter as `queueLen`; it matters when it crosses zero or changes by a fifth of what was written. The other fields matter when they differ.
 */
import type { PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"

export const statusEveryMs = 3_000

export const matters = (before: PoolStatus | undefined, now: PoolStatus): boolean => {
  if (before === undefined) return true
  const { pendingRequests: was } = before
  const { pendingRequests: is } = now
  if ((was === 0) !== (is === 0) || Math.abs(is - was) * 5 >= Math.max(was, 1) && is !== was) return true
  return before.idle !== now.idle || before.claimed !== now.claimed || before.creating !== now.creating ||
    before.total !== now.total || before.target !== now.target || before.isDraining !== now.isDraining
}

export class StatusRule {
  private written: PoolStatus | undefined = undefined
  private writtenAt: EpochMs = -Infinity

  /** The status to write now, or when to look again (Infinity: at the next change). */
  look(status: PoolStatus, now: EpochMs): { readonly write: boolean; readonly lookAt: EpochMs } {
    if (!matters(this.written, status)) return { write: false, lookAt: Infinity }
    const at = this.writtenAt + statusEveryMs
    if (now < at) return { write: false, lookAt: at }
    this.written = status
    this.writtenAt = now
    return { write: true, lookAt: Infinity }
  }
}
