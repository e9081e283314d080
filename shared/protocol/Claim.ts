/**
 * Claims: the messages by which any program holds a warm sandbox. design/02 "Claims", design/04 section 1.
 */
import * as Schema from "effect/Schema"
import { ErrorBody } from "./ErrorCode.ts"
import { Labels, PoolRef, Sandbox } from "./Sandbox.ts"
import { DurationMs, Timestamp } from "./Time.ts"
import { ClaimId, Priority, SessionId, Token } from "./Token.ts"

/** How long a claim waits when it names no deadline, and the longest it may name. */
export const claimDeadlineDefaultMs = 30_000
export const claimDeadlineMaxMs = 24 * 3_600_000
/** The lease of a claim that names no ttl. */
export const claimTtlDefaultMs = 10 * 60_000
export const claimTtlMaxMs = 7 * 24 * 3_600_000
export const claimCountMax = 1_000

const bounded = (maximumMs: number) => DurationMs.check(Schema.isBetween({ minimum: 0, maximum: maximumMs }))

/** A place: the node, the zone, or both (labels `heddle.dev/node` and `heddle.dev/zone` of the sandbox). */
export const Place = Schema.Struct({ node: Schema.optionalKey(Schema.String), zone: Schema.optionalKey(Schema.String) })
export type Place = typeof Place.Type

/** Where the sandbox should be. `required`: waits for one there. `preferred`: there if one is idle there, else anywhere. */
export const Affinity = Schema.Struct({ required: Schema.optionalKey(Place), preferred: Schema.optionalKey(Place) })
export type Affinity = typeof Affinity.Type

/** Everything optional: `{}` claims one sandbox for 10 minutes, waiting 30 s at most. */
export const ClaimRequest = Schema.Struct({
  claimId: Schema.optionalKey(ClaimId),
  holder: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256))),
  team: Schema.optionalKey(Token),
  user: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256))),
  priority: Schema.optionalKey(Priority),
  deadline: Schema.optionalKey(bounded(claimDeadlineMaxMs)),
  ttl: Schema.optionalKey(bounded(claimTtlMaxMs)),
  selector: Schema.optionalKey(Labels),
  targetPhase: Schema.optionalKey(Schema.Literals(["Running"])),
  images: Schema.optionalKey(Labels),
  labels: Schema.optionalKey(Labels),
  annotations: Schema.optionalKey(Labels),
  env: Schema.optionalKey(Labels),
  affinity: Schema.optionalKey(Affinity),
  /** A batch: that many sandboxes or, when the deadline passes first, none. One claim id, one lease, one release. */
  count: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: claimCountMax })))
})
export type ClaimRequest = typeof ClaimRequest.Type

export const ClaimOutcome = Schema.Literals([
  "Claimed",
  "QueueFull",
  "DeadlineExceeded",
  "Cancelled",
  "NoSuchPool",
  "Invalid",
  "ShuttingDown",
  "Failed",
  "Released",
  "Expired"
])
export type ClaimOutcome = typeof ClaimOutcome.Type

/** `queuedMs`: from arrival to the write's start. `casMs`: the write. `attempts`: sandboxes tried. */
export const ClaimResult = Schema.Struct({
  claimId: ClaimId,
  outcome: ClaimOutcome,
  sandbox: Schema.optionalKey(Sandbox),
  /** Of a batch (`count` above 1), instead of `sandbox`. */
  sandboxes: Schema.optionalKey(Schema.Array(Sandbox)),
  /** The pool that it came from, when the claim was made to an env. */
  pool: Schema.optionalKey(PoolRef),
  isPaused: Schema.optionalKey(Schema.Boolean),
  sessionId: SessionId,
  leaseExpiresAt: Schema.optionalKey(Timestamp),
  queuedMs: Schema.Finite,
  casMs: Schema.Finite,
  attempts: Schema.Int,
  error: Schema.optionalKey(ErrorBody)
})
export type ClaimResult = typeof ClaimResult.Type

export const ClaimRef = Schema.Struct({ claimId: ClaimId })
export type ClaimRef = typeof ClaimRef.Type
export const RenewRequest = Schema.Struct({ claimId: ClaimId, ttl: Schema.optionalKey(bounded(claimTtlMaxMs)) })
export type RenewRequest = typeof RenewRequest.Type

/** A pool's counters in one moment: O(1) reads, no I/O (design/04 point 9). */
export const Snapshot = Schema.Struct({
  idleReady: Schema.Int,
  queueLen: Schema.Int,
  reservedCount: Schema.Int,
  inflightCas: Schema.Int,
  lastDispatchAt: Schema.NullOr(Timestamp),
  sessionId: SessionId,
  claimed: Schema.Int,
  total: Schema.Int,
  laneQueued: Schema.Int,
  dispatchQueued: Schema.Int,
  /** Sandboxes that the pool means to have now. */
  target: Schema.optionalKey(Schema.Int),
  /** Sandboxes under creation. */
  creating: Schema.optionalKey(Schema.Int),
  /** The part of `queueLen` that waits for its team's quota. */
  quotaBlocked: Schema.optionalKey(Schema.Int)
})
export type Snapshot = typeof Snapshot.Type
