/**
 * What happened to a sandbox's holder and why: for the pool's event stream, and for what a pool counts of itself.
 */
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"

export interface ClaimEvent {
  readonly kind: "Claimed" | "Adopted" | "Released" | "Expired" | "Lost"
  readonly at: EpochMs
  readonly claim: Claim
  readonly sandbox: Sandbox
}
