/**
 * What a claim asks for, with every default filled in: what the queues and the provider are told, whoever asked and in whatever way. design/04 section 1, "claim options".
 */
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import type { ClaimId, EpochMs, Priority } from "../../shared/protocol/Token.ts"

export interface ClaimSpec {
  readonly claimId: ClaimId
  readonly holder: string
  readonly team: string
  readonly priority: Priority
  /** Infinity: waits as long as it takes (a task's claim; its end comes from its lane). */
  readonly deadlineAt: EpochMs
  /** The lease in milliseconds; 0: none (a task's claim ends with its executor). */
  readonly ttlMs: number
  /** Also what a required affinity asks for. */
  readonly selector?: Labels | undefined
  /** Selectors to try before `selector`, the best first: a preferred affinity. */
  readonly preferred?: ReadonlyArray<Labels> | undefined
  readonly user?: string | undefined
  /** The trace context that the request came with, if spans are wanted. */
  readonly traceparent?: string | undefined
  readonly targetPhase?: "Running" | undefined
  readonly labels?: Labels | undefined
  readonly annotations?: Labels | undefined
  readonly images?: Labels | undefined
  readonly env?: Labels | undefined
}
