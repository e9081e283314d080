/**
 * What the parts of a pool's scheduler that write to the provider share: the provider, the session, the clock, the one heap of alarms, and how long a write may take.
 */
import type { ProviderPool } from "../../shared/plugin/PoolProvider.ts"
import type { EpochMs, SessionId } from "../../shared/protocol/Token.ts"
import type * as Alarms from "./Alarms.ts"
import type { Claim } from "./Claim.ts"
import type { PoolMeters } from "./PoolMeters.ts"

/** Something to be done later that is not about a claim. */
export interface Errand {
  readonly run: (now: EpochMs) => void
}

/** Of a claim's deadline, write or lease, or of an errand. */
export type DeskAlarm = Alarms.Alarm<Claim | Errand>

export interface ProviderDesk {
  readonly provider: Omit<ProviderPool, "list" | "watch">
  readonly sessionId: SessionId
  readonly now: () => EpochMs
  readonly setAlarm: (alarm: DeskAlarm, at: EpochMs) => void
  readonly clearAlarm: (alarm: DeskAlarm) => void
  /** Nothing may be written for now: it is not certain that the pool is still ours. */
  readonly isHeld: () => boolean
  /** A later owner has written: this one must stop. */
  readonly fenced: (current: SessionId) => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
  /** The deadline of one write, whatever its caller does. */
  readonly writeDeadlineMs: number
  readonly backOffMs: (attempt: number) => number
  readonly meters: PoolMeters
}
