/**
 * A pool's event stream: `heddle.pool.<ns>.<pool>.event` in HEDDLE_POOL_EVENTS. Who held which sandbox when, and why; who owned the pool.
 *
 * One literal subject per pool, every message appended with the expected last sequence: an owner that has been replaced is refused there (design/01 section 3).
 * The sequence of an `ADOPTED` is the pool's session.
 */
import * as Schema from "effect/Schema"
import { PoolRef } from "./Sandbox.ts"
import { ClaimId, EpochMs, MemberId, SandboxUid, SessionId, StartupId } from "./Token.ts"

export const ClaimEvent = Schema.Struct({
  kind: Schema.Literals(["Claimed", "Adopted", "Released", "Expired", "Lost"]),
  at: EpochMs,
  claimId: ClaimId,
  holder: Schema.String,
  sandbox: SandboxUid,
  name: Schema.String,
  /** Of `Claimed` and `Adopted`, when the claim has a lease. */
  leaseExpiresAt: Schema.optionalKey(EpochMs)
})
export type ClaimEvent = typeof ClaimEvent.Type

export const PoolEvent = Schema.Union([
  Schema.TaggedStruct("ADOPTED", { pool: PoolRef, owner: MemberId, startup: StartupId, at: EpochMs }),
  /** What happened since the last append; `batch` counts the appends of a session. */
  Schema.TaggedStruct("CLAIMS", { session: SessionId, batch: Schema.Int, events: Schema.Array(ClaimEvent) })
])
export type PoolEvent = typeof PoolEvent.Type
