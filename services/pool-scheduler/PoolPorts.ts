/**
 * What the scheduler of a pool needs from the world: all that a simulation has to stand in for.
 */
import type { ProviderPool } from "../../shared/plugin/PoolProvider.ts"
import type { EpochMs, SessionId } from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import type { ClaimEvent } from "./ClaimEvent.ts"
import type { PoolMeters } from "./PoolMeters.ts"

/** The world as the scheduler sees it. Nothing here waits or throws. */
export interface Ports {
  readonly provider: Omit<ProviderPool, "list" | "watch">
  readonly now: () => EpochMs
  /** Call `tick` at this time at the latest. */
  readonly arm: (at: EpochMs) => void
  /** List the sandboxes (`listing`, then `listed`); several wishes become one list. */
  readonly repair: (reason: string) => void
  readonly event: (event: ClaimEvent) => void
  /** A task's claim was found on a sandbox: claimed by an owner before this one. */
  readonly adoptedTask: (claim: Claim) => void
  /** A later owner has written: this one must stop. */
  readonly fenced: (current: SessionId) => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
  /** Some counter of `snapshot` may have changed: told often, must cost nothing. */
  readonly changed?: () => void
  /** Absent: nothing is counted for anybody. */
  readonly meters?: PoolMeters
}
