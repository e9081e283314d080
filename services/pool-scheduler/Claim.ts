/**
 * One live claim: what was asked for, where it stands, who waits for its result.
 *
 * Its life: Waiting -> Inflight (-> Unsettled -> Inflight or Waiting) -> Claimed -> Ended. It has exactly one terminal result (design/04 I2), the first one
 * set; `Claimed` is one, and what follows it (Released, Expired) is its record, not a second answer. A mutable record, changed only by `PoolScheduler`.
 */
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs, SandboxUid } from "../../shared/protocol/Token.ts"
import * as Alarms from "./Alarms.ts"
import type { Batch } from "./Batch.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import * as Selector from "./Selector.ts"
import type { SelectorClass } from "./SelectorClass.ts"
import type { OnSettled, Settled } from "./Settled.ts"

export type Phase =
  | "Waiting"
  /** Its write is under way. */
  | "Inflight"
  /** Its write had no clear answer: it is being read back. */
  | "Unsettled"
  | "Claimed"
  | "Ended"

const none: ReadonlyArray<Selector.Selector> = []

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
  /** The same moments by `PoolMeters.seconds`. */
  arrivedSeconds = 0
  firstWriteSeconds = 0
  /** Counts writes, so that an answer that comes after its deadline is known to be late. */
  writes = 0
  readBacks = 0
  lastError: ErrorBody | undefined = undefined
  waiters: Array<OnSettled>
  /** `spec.selector` as the queues look it up. */
  readonly selector: Selector.Selector | undefined
  readonly preferred: ReadonlyArray<Selector.Selector>
  /** The batch that it is a part of. */
  batch: Batch<Claim> | undefined = undefined
  /** The queue's business: its class, as last looked up. */
  group: SelectorClass | undefined = undefined
  /** Counts against its team's quota: from the write on, until it ends or waits again. */
  isCounted = false
  isPaused = false

  constructor(spec: ClaimSpec, sequence: number, arrivedAt: EpochMs, onSettled: OnSettled) {
    this.spec = spec
    this.sequence = sequence
    this.arrivedAt = arrivedAt
    this.alarm = Alarms.make(this)
    this.selector = Selector.compile(spec.selector)
    this.preferred = spec.preferred === undefined ? none : spec.preferred.flatMap((one) => Selector.compile(one) ?? [])
    this.waiters = [onSettled]
  }
}
