/**
 * One pool while this process owns it, as those who serve its requests see it: its scheduler and its task core under one session, and the claims whose ids their senders chose.
 *
 * What it keeps true: the records of a claim with a chosen id are stored, first its result and then its end; an id that the scheduler has forgotten, or an earlier owner
 * may have answered, is looked up before it is taken for new. Put together by `PoolLife`.
 */
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { Snapshot } from "../../shared/protocol/Claim.ts"
import { claimTtlDefaultMs } from "../../shared/protocol/Claim.ts"
import { mostOf, type PoolSpec } from "../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { EpochMs, SessionId, StartupId } from "../../shared/protocol/Token.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import * as ClaimResults from "./ClaimResults.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { Counters } from "./EnvScheduler.ts"
import type { Owned } from "./PoolOwnership.ts"
import type { PoolScheduler } from "./PoolScheduler.ts"
import type { SchedulerCore } from "./SchedulerCore.ts"
import type { OnSettled } from "./Settled.ts"

export class OwnedPool {
  readonly pool: PoolRef
  readonly session: SessionId
  readonly owned: Owned
  readonly scheduler: PoolScheduler
  readonly core: SchedulerCore
  readonly now: () => EpochMs
  /** Takes a changed spec over; what may change while the pool is open is `PoolDirectory.adjustable`. */
  readonly reconfigure: (spec: PoolSpec) => void
  /** Its counters are told to who wants to know, soon. */
  readonly tell: () => void
  /** Whether another process can have its sandboxes: if not, nothing is gained by holding it. */
  readonly isPersistent: boolean
  /** Somebody wants spans of its claims. */
  readonly isTraced: boolean
  private readonly specNow: () => PoolSpec
  private readonly nats: Connection
  private readonly chosenIds: Set<string>
  private readonly lookUntil: EpochMs
  private readonly laneBuffered: () => number
  private claimNumber = 0

  constructor(parts: {
    readonly pool: PoolRef
    readonly owned: Owned
    readonly scheduler: PoolScheduler
    readonly core: SchedulerCore
    readonly now: () => EpochMs
    readonly reconfigure: (spec: PoolSpec) => void
    readonly specNow: () => PoolSpec
    readonly tell: () => void
    readonly isPersistent: boolean
    readonly isTraced: boolean
    readonly nats: Connection
    readonly chosenIds: Set<string>
    readonly lookUntil: EpochMs
    readonly laneBuffered: () => number
  }) {
    this.pool = parts.pool
    this.owned = parts.owned
    this.session = parts.owned.session
    this.scheduler = parts.scheduler
    this.core = parts.core
    this.now = parts.now
    this.reconfigure = parts.reconfigure
    this.specNow = parts.specNow
    this.tell = parts.tell
    this.isPersistent = parts.isPersistent
    this.isTraced = parts.isTraced
    this.nats = parts.nats
    this.chosenIds = parts.chosenIds
    this.lookUntil = parts.lookUntil
    this.laneBuffered = parts.laneBuffered
  }

  get spec(): PoolSpec {
    return this.specNow()
  }

  /** Lease of claims that name none. */
  get ttlDefaultMs(): number {
    return this.specNow().ttl ?? claimTtlDefaultMs
  }

  /** An id for a claim that brought none. */
  nextClaimId(): string {
    return `c${this.session.toString(36)}-${(this.claimNumber++).toString(36)}`
  }

  /** Whether an id that the scheduler does not know may have a stored result. */
  mayBeStored(claimId: ClaimSpec["claimId"]): boolean {
    return this.scheduler.get(claimId) === undefined && (this.scheduler.hasForgotten || this.now() < this.lookUntil)
  }

  /** A claim for one sandbox, or a batch. */
  enqueue(spec: ClaimSpec, count: number, onSettled: OnSettled): void {
    if (count === 1) this.scheduler.enqueue(spec, onSettled)
    else this.scheduler.enqueueBatch(spec, count, onSettled)
  }

  /** A claim whose id its sender chose: its records are stored; the first one by the caller if it `storesResult`. */
  enqueueChosen(spec: ClaimSpec, count: number, onSettled: OnSettled, storesResult = false): void {
    this.chosenIds.add(spec.claimId)
    this.enqueue(spec, count, (settled) => {
      if (!storesResult && settled.outcome !== "QueueFull" && settled.outcome !== "ShuttingDown") {
        ClaimResults.store(this.nats, this.pool, ClaimMessages.resultOf(settled, this.session), () => {})
      }
      if (settled.outcome !== "Claimed") this.chosenIds.delete(spec.claimId)
      onSettled(settled)
    })
    const known = this.scheduler.get(spec.claimId)
    if (known === undefined || known.settled !== undefined && known.settled.outcome !== "Claimed") {
      this.chosenIds.delete(spec.claimId)
    }
  }

  /** For the ranking of envs. */
  counters(): Counters {
    const { claimed, idleReady, queueLen, total } = this.scheduler.snapshot()
    const spec = this.specNow()
    return { idleReady, queueLen, claimed, total, max: mostOf(spec), isDraining: spec.drain === true }
  }

  snapshot(): Snapshot {
    const counters = this.scheduler.snapshot()
    return {
      ...counters,
      lastDispatchAt: counters.lastDispatchAt === 0 ? null : timestamp(counters.lastDispatchAt),
      sessionId: this.session,
      laneQueued: this.core.waiting + this.laneBuffered(),
      dispatchQueued: this.core.dispatch.size
    }
  }

  executorLost(startup: StartupId): number {
    return this.core.executorLost(startup)
  }
}
