/**
 * What the scheduler of a pool keeps to: sizes, limits, deadlines, and which of them may change while the pool is open.
 *
 * Follows design/04 section 1; a pool's spec (`shared/protocol` Pool) sets what a user may set, the rest is a default here.
 */
import {
  creatingMaxDefault,
  inflightCasMaxDefault,
  queueLengthMaxDefault,
  sizeMax
} from "../../shared/protocol/Pool.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"
import type { Autoscaler } from "./Autoscaler.ts"
import type * as SandboxCell from "./SandboxCell.ts"
import { type QuotaLimits, unlimited } from "./TeamQuotas.ts"

/** Units in the names; each has the default that design/04 gives. */
export interface Options {
  readonly sessionId: SessionId
  /** Prefix of the names of sandboxes that it creates. */
  readonly poolName: string
  /** Of a pool of fixed size. */
  readonly size: number
  /** Decides instead of `size`. */
  readonly autoscaler?: Autoscaler | undefined
  /** The most that there may ever be: a batch of more is refused. */
  readonly sizeMax: number
  readonly release: "recycle" | "delete"
  readonly queueLengthMax: number
  readonly inflightCasMax: number
  /** The deadline of one write, whatever its caller does. */
  readonly casDeadlineMs: number
  readonly reservationTtlMs: number
  readonly attemptsMax: number
  readonly notifyIdleMs: number
  /** Sandboxes under creation at once. */
  readonly creatingMax: number
  readonly createPerSecond?: number | undefined
  readonly wear: SandboxCell.WearLimits
  readonly quotas: QuotaLimits
  readonly whenQuotaReached: "wait" | "refuse"
  /** Gives nothing out, lets its sandboxes go. */
  readonly isDraining: boolean
  /** Results kept in memory for repeated claim ids. */
  readonly resultsMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
  readonly weights: ReadonlyMap<string, number>
  /** Lease of an adopted claim whose mark names none. */
  readonly ttlDefaultMs: number
}

/** What may change while the pool is open. */
export type Adjustable = Pick<
  Options,
  | "size"
  | "autoscaler"
  | "sizeMax"
  | "creatingMax"
  | "createPerSecond"
  | "wear"
  | "quotas"
  | "whenQuotaReached"
  | "isDraining"
  | "weights"
>

export const defaults = {
  sizeMax,
  wear: {},
  quotas: unlimited,
  whenQuotaReached: "wait",
  isDraining: false,
  release: "recycle",
  queueLengthMax: queueLengthMaxDefault,
  inflightCasMax: inflightCasMaxDefault,
  casDeadlineMs: 5_000,
  reservationTtlMs: 2_000,
  attemptsMax: 16,
  notifyIdleMs: 200,
  creatingMax: creatingMaxDefault,
  resultsMax: 10_000,
  retryMinMs: 100,
  retryMaxMs: 10_000,
  weights: new Map<string, number>(),
  ttlDefaultMs: 600_000
} as const
