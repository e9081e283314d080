/**
 * What the scheduler of a pool shows of itself: counters of one moment, kept as it goes and read in O(1).
 */
import type { EpochMs } from "../../shared/protocol/Token.ts"

/** `shared/protocol` Snapshot without what the task side adds. `lastDispatchAt` 0: never. */
export interface PoolCounters {
  readonly idleReady: number
  readonly queueLen: number
  readonly reservedCount: number
  readonly inflightCas: number
  readonly lastDispatchAt: EpochMs
  readonly claimed: number
  readonly total: number
  /** Sandboxes that it means to have now, and those under creation. */
  readonly target: number
  readonly creating: number
  readonly quotaBlocked: number
}
