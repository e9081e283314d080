/**
 * One live claim: what was asked for, where it stands, who waits for its result.
 *
 * Its life: Waiting -> Inflight (-> Unsettled -> Inflight or Waiting) -> Claimed -> Ended. It has exactly one terminal result (design/04 I2), the first one
 * set; `Claimed` is one, and what follows it (Released, Expired) is its record, not a second answer. A mutable record, changed only by `PoolScheduler`.
 */
import type { ClaimOutcome } from "../../shared/protocol/Claim.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { Labels, Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { ClaimId, EpochMs, Priority, SandboxUid } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"

/** What is asked for, with every default filled in. */
export interface ClaimSpec {
  readonly claimId: ClaimId
  readonly holder: string
  readonly team: string
  readonly priority: Priority
  /** Infinity: waits as long as it takes (a task's claim; its end comes from its lane). */
  readonly deadlineAt: EpochMs
  /** The lease in milliseconds; 0: none (a task's claim ends with its executor). */
  readonly ttlMs: number
  readonly selector?: Labels | undefined
  readonly labels?: Labels | undefined
  readonly annotations?: Labels | undefined
  readonly images?: Labels | undefined
  readonly env?: Labels | undefined
}

/** A claim's result, or what became of it afterwards. Times in milliseconds; `shared/protocol` ClaimResult is its form on the wire. */
export interface Settled {
  readonly claimId: ClaimId
  readonly outcome: ClaimOutcome
  readonly sandbox?: Sandbox | undefined
  readonly leaseExpiresAt?: EpochMs | undefined
  readonly queuedMs: number
  readonly casMs: number
  readonly attempts: number
  readonly error?: ErrorBody | undefined
}

export type Phase =
  | "Waiting"
  /** Its write is under way. */
  | "Inflight"
  /** Its write had no clear answer: it is being read back. */
  | "Unsettled"
  | "Claimed"
  | "Ended"

export type OnSettled = (settled: Settled) => void

export class Claim {
  readonly spec: ClaimSpec
  /** Order of arrival, which is its place for good: a claim that comes back goes there. */
  readonly sequence: number
  readonly arrivedAt: EpochMs
  readonly alarm: Alarms.Alarm<Claim>
  phase: Phase = "Waiting"
  /** Set once, with the terminal result; then replaced only by Released, Expired or Failed of a claim that was Claimed. */
  settled: Settled | undefined = undefined
  attempts = 0
  uid: SandboxUid | undefined = undefined
  sandbox: Sandbox | undefined = undefined
  leaseExpiresAt: EpochMs = Infinity
  firstWriteAt: EpochMs = 0
  writeStartedAt: EpochMs = 0
  /** Counts writes, so that an answer that comes after its deadline is known to be late. */
  writes = 0
  readBacks = 0
  lastError: ErrorBody | undefined = undefined
  waiters: Array<OnSettled>

  constructor(spec: ClaimSpec, sequence: number, arrivedAt: EpochMs, onSettled: OnSettled) {
    this.spec = spec
    this.sequence = sequence
    this.arrivedAt = arrivedAt
    this.alarm = Alarms.make(this)
    this.waiters = [onSettled]
  }
}
