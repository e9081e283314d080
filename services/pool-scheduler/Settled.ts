/**
 * A claim's one result, and how whoever waits for it is told. design/04 I2.
 */
import type { ClaimOutcome } from "../../shared/protocol/Claim.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { ClaimId, EpochMs } from "../../shared/protocol/Token.ts"

/** A claim's result, or what became of it afterwards. Times in milliseconds; `shared/protocol` ClaimResult is its form on the wire. */
export interface Settled {
  readonly claimId: ClaimId
  readonly outcome: ClaimOutcome
  readonly sandbox?: Sandbox | undefined
  /** Of a batch, in the order of its members. */
  readonly sandboxes?: ReadonlyArray<Sandbox> | undefined
  readonly isPaused?: boolean | undefined
  readonly leaseExpiresAt?: EpochMs | undefined
  readonly queuedMs: number
  readonly casMs: number
  readonly attempts: number
  readonly error?: ErrorBody | undefined
}

export type OnSettled = (settled: Settled) => void
