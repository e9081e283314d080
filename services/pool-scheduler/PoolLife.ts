/**
 * One pool from its take-over to its end: provider, claim scheduler, task core, lanes, durable claims and event stream put together under one session.
 *
 * What it keeps true: nothing is served before the sandboxes were listed and those of an earlier owner adopted; requests are from then on, lanes and durable claims as
 * soon as their consumers stand. When ownership is lost or the scope closes, what waits is answered, writes in flight are settled (for at most `drainMs`), and lane
 * messages stay unacknowledged for the next owner. A part that fails ends the pool; one that dies of a defect ends the service. What those who serve requests see of it is `OwnedPool`.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { PlacementPolicy } from "../../shared/plugin/PlacementPolicy.ts"
import type { PoolProvider, ProviderPool } from "../../shared/plugin/PoolProvider.ts"
import type { ScalePolicy } from "../../shared/plugin/ScalePolicy.ts"
import { claimTtlDefaultMs } from "../../shared/protocol/Claim.ts"
import { creatingMaxDefault, mostOf, type PoolSpec, sizeMax, sizeOf } from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import { stopwatch, Telemetry } from "../../shared/telemetry/Meters.ts"
import { ProcessSpans } from "../../shared/telemetry/Spans.ts"
import * as AdoptedTasks from "./AdoptedTasks.ts"
import type * as AlarmClock from "./AlarmClock.ts"
import * as Autoscaling from "./Autoscaling.ts"
import type { Claim } from "./Claim.ts"
import type { ClaimEvent } from "./ClaimEvent.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import * as ClaimResults from "./ClaimResults.ts"
import * as DurableClaims from "./DurableClaims.ts"
import * as LaneStorageClient from "./LaneStorageClient.ts"
import { OwnedPool } from "./OwnedPool.ts"
import { PoolEvents } from "./PoolEvents.ts"
import * as PoolMeters from "./PoolMeters.ts"
import type { Adjustable } from "./PoolOptions.ts"
import type { Owned } from "./PoolOwnership.ts"
import { PoolScheduler } from "./PoolScheduler.ts"
import { PoolTidings } from "./PoolTidings.ts"
import { SchedulerCore } from "./SchedulerCore.ts"

export interface PoolLifeOptions {
  readonly nats: Connection
  readonly pool: PoolRef
  readonly spec: PoolSpec
  readonly provider: PoolProvider
  readonly policy: PlacementPolicy
  readonly owned: Owned
  /** The timer that all pools of the process share. */
  readonly alarms: AlarmClock.SharedAlarmClock
  /** This process, for providers that show it. */
  readonly member: MemberId
  /** The executors that live now. */
  readonly executors: () => ReadonlyArray<MemberId>
  /** Time between two repair lists when nothing asks for one; jittered by a fifth. */
  readonly repairMs: number
  readonly handOffMax: number
  /** Some env has the pool as a member: other replicas want to know its counters. */
  readonly isWatched: () => boolean
  /** The pool exists no more: when it ends, its sandboxes go too. */
  readonly isDeleted: () => boolean
  readonly scalePolicies: ReadonlyMap<string, ScalePolicy>
}

/** Another owner has taken the pool: not an error of ours. */
export class OwnershipLost
  extends Schema.TaggedError<OwnershipLost>()("OwnershipLost", { pool: Schema.String, reason: Schema.String })
{
  override get message(): string {
    return `pool ${this.pool} has another owner: ${this.reason}`
  }
}
/** The provider or the broker failed the pool; it is opened again under a new session. */
export class PoolFailed
  extends Schema.TaggedError<PoolFailed>()("PoolFailed", { pool: Schema.String, reason: Schema.String })
{
  override get message(): string {
    return `pool ${this.pool} failed: ${this.reason}`
  }
}

const drainMs = 6_000
const resultsKeptMs = 3_600_000

const weightsOf = (spec: PoolSpec): ReadonlyMap<string, number> => new Map(Object.entries(spec.teams ?? {}))

/** What a spec says of the scheduler's options that may change. */
const adjustableOf = (spec: PoolSpec): Omit<Adjustable, "autoscaler"> => ({
  size: sizeOf(spec),
  sizeMax: spec.max ?? sizeMax,
  creatingMax: spec.creatingMax ?? creatingMaxDefault,
  createPerSecond: spec.createPerSecond,
  wear: { maxUses: spec.recycle?.maxUses, maxAgeMs: spec.recycle?.maxAge },
  quotas: { default: spec.quotas?.default, teams: new Map(Object.entries(spec.quotas?.teams ?? {})) },
  whenQuotaReached: spec.quotas?.whenReached ?? "wait",
  isDraining: spec.drain === true,
  weights: weightsOf(spec)
})

/**
 * Opens the pool and hands it to `serve` as soon as it may be used; returns only by failing, with the reason why the pool is not ours or not well any more.
 */
export const run = (
  options: PoolLifeOptions,
  serve: (pool: OwnedPool) => Effect.Effect<void, never, Scope.Scope>
): Effect.Effect<never, OwnershipLost | PoolFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const { nats, owned, pool, provider, spec } = options
    const key = poolKey(pool)
    const failed = (error: { readonly message: string }) => new PoolFailed({ pool: key, reason: error.message })
    const ended = yield* Deferred.make<never, OwnershipLost | PoolFailed>()
    const end = (error: OwnershipLost | PoolFailed): void => {
      Deferred.doneUnsafe(ended, Exit.fail(error))
    }
    const fibers = yield* FiberSet.make<void, never>()
    const fork = yield* FiberSet.runtime(fibers)<never>()
    const warn = (message: string, details: Readonly<Record<string, unknown>>): void => {
      fork(Effect.logWarning(message, { pool: key, ...details }))
    }
    const providerPool: ProviderPool = yield* provider.open(
      {
        pool,
        sessionId: owned.session,
        owner: options.member,
        size: sizeOf(spec),
        labels: spec.labels ?? {},
        startedAt: nats.clock.currentTimeMillisUnsafe()
      },
      spec.config
    ).pipe(Effect.mapError(failed))

    const events = new PoolEvents({
      nats,
      pool,
      session: owned.session,
      fork,
      onFenced: () => end(new OwnershipLost({ pool: key, reason: "its event stream was taken over" })),
      warn
    })
    const telemetry = yield* Telemetry
    const spans = yield* ProcessSpans
    const meters = new PoolMeters.PoolMeters(telemetry, key, stopwatch(nats.clock), spans)
    const chosenIds = new Set<string>()
    const hadResults = yield* ClaimResults.hasAny(nats, pool).pipe(Effect.mapError(failed))
    const tellsTasks = !provider.capabilities.synchronous
    /** Tasks' claims of an earlier owner; those that a watch shows only later are asked about as they come. */
    let settleLate: ((claim: Claim) => void) | undefined
    const adopted: Array<Claim> = []

    const publishSystem = (event: SystemEvent): void =>
      Append.publishUnsafe(nats, Subject.system(event._tag), JSON.stringify(event), { msgId: event.id }, (result) => {
        if (Result.isFailure(result)) {
          warn("a system event could not be published", { event: event._tag, reason: result.failure.message })
        }
      })

    const onEvent = (event: ClaimEvent): void => {
      const { claim, sandbox } = event
      const isTask = claim.spec.ttlMs === 0
      if (!isTask || tellsTasks || event.kind === "Lost") {
        events.add({
          kind: event.kind,
          at: event.at,
          claimId: claim.spec.claimId,
          holder: claim.spec.holder,
          sandbox: sandbox.uid,
          name: sandbox.name,
          ...((event.kind === "Claimed" || event.kind === "Adopted") && claim.leaseExpiresAt !== Infinity
            ? { leaseExpiresAt: claim.leaseExpiresAt }
            : {})
        })
      }
      if (event.kind === "Lost") {
        const cause = claim.settled?.error?.message ?? "unknown"
        publishSystem({
          _tag: "SANDBOX_LOST",
          id: `SANDBOX_LOST-${sandbox.uid}`,
          at: event.at,
          pool,
          sandbox: sandbox.uid,
          cause
        })
        if (isTask) core.sandboxLost(claim.spec.claimId)
      }
      if (isTask || event.kind === "Claimed" || event.kind === "Adopted") return
      // The record of a claim whose id was chosen by its sender follows its end; that of a batch, the end of its last member.
      const { batch } = claim
      const ended = batch === undefined ? claim.settled : batch.isOver ? batch.settled : undefined
      if (ended !== undefined && chosenIds.delete(ended.claimId)) {
        ClaimResults.store(nats, pool, ClaimMessages.resultOf(ended, owned.session), () => {})
      }
    }

    let isListing = false
    let isListWanted = false
    const list: Effect.Effect<void> = Effect.suspend(() => {
      const token = scheduler.listing()
      return providerPool.list.pipe(
        Effect.map((states) => scheduler.listed(token, states)),
        Effect.catch((error) =>
          Effect.logWarning("the sandboxes could not be listed", { pool: key, reason: error.message })
        )
      )
    })
    /** Several wishes during one list become one more list. */
    const repair = (): void => {
      isListWanted = true
      if (isListing) return
      isListing = true
      fork(
        Effect.whileLoop({
          while: () => isListWanted,
          body: () => {
            isListWanted = false
            return list
          },
          step: () => {}
        }).pipe(Effect.ensuring(Effect.sync(() => {
          isListing = false
        })))
      )
    }

    const autoscaling = yield* Autoscaling.make({
      pool,
      policies: options.scalePolicies,
      now: () => nats.clock.currentTimeMillisUnsafe(),
      counts: () => {
        const { claimed, creating, idleReady, queueLen, quotaBlocked, total } = scheduler.snapshot()
        return { idle: idleReady, waiting: queueLen - quotaBlocked, claimed, creating, total }
      },
      onFetched: () => scheduler.decideTarget()
    })
    let specNow = spec
    const reconfigure = (changed: PoolSpec): void => {
      specNow = changed
      scheduler.adjust({
        ...adjustableOf(changed),
        autoscaler: autoscaling.configure(changed, scheduler.snapshot().target)
      })
    }
    const alarm: AlarmClock.AlarmClock = options.alarms.make((now) =>
      Math.min(scheduler.tick(now), core.tick(now), tidings.tick(now))
    )
    const tidings = new PoolTidings({
      now: alarm.now,
      arm: alarm.arm,
      isWatched: options.isWatched,
      read: () => {
        const { claimed, creating, idleReady, queueLen, target, total } = scheduler.snapshot()
        const sessionId = owned.session
        const isDraining = specNow.drain === true
        return {
          told: { sessionId, idleReady, queueLen, claimed, total, max: mostOf(specNow), isDraining },
          status: {
            pendingRequests: queueLen,
            idle: idleReady,
            claimed,
            creating,
            total,
            target,
            sessionId,
            isDraining
          }
        }
      },
      publish: (told) => nats.publish(Subject.poolTidings(pool), JSON.stringify(told)),
      writeStatus: providerPool.status === undefined ? undefined : (status) => providerPool.status?.(status)
    })
    const scheduler: PoolScheduler = new PoolScheduler(
      {
        provider: providerPool,
        now: alarm.now,
        arm: alarm.arm,
        repair,
        event: onEvent,
        changed: tidings.changed,
        meters,
        adoptedTask: (claim) => settleLate === undefined ? void adopted.push(claim) : settleLate(claim),
        fenced: (current) => end(new OwnershipLost({ pool: key, reason: `the provider has seen session ${current}` })),
        warn
      },
      {
        sessionId: owned.session,
        poolName: pool.name,
        ...adjustableOf(spec),
        autoscaler: undefined,
        ...(spec.release === undefined ? {} : { release: spec.release }),
        ...(spec.queueLengthMax === undefined ? {} : { queueLengthMax: spec.queueLengthMax }),
        ...(spec.inflightCasMax === undefined ? {} : { inflightCasMax: spec.inflightCasMax }),
        ttlDefaultMs: spec.ttl ?? claimTtlDefaultMs
      }
    )
    reconfigure(spec)
    const storage = LaneStorageClient.make({ nats, pool, session: owned.session, onArrival: () => core.wake(), warn })
    const ask = AdoptedTasks.asker(nats)
    const core: SchedulerCore = new SchedulerCore(
      { now: alarm.now, arm: alarm.arm, storage, scheduler, ask, warn },
      {
        sessionId: owned.session,
        policy: options.policy,
        weights: weightsOf(spec),
        handOffMax: provider.capabilities.handOff ? options.handOffMax : 0,
        prefetch: provider.capabilities.synchronous ? 0 : 16
      }
    )

    // Last in, first out: the scheduler drains while the timer still runs and the provider is still open.
    yield* Effect.forkScoped(alarm.run.pipe(Effect.catchCause((cause) =>
      Effect.sync(() =>
        end(new PoolFailed({ pool: key, reason: `a defect in the scheduler: ${String(cause)}` }))
      )
    )))
    yield* providerPool.watch((delta) =>
      scheduler.observe(delta)
    ).pipe(Effect.mapError(failed))
    const first = scheduler.listing()
    scheduler.listed(first, yield* providerPool.list.pipe(Effect.mapError(failed)))
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        core.close()
        scheduler.shutdown(() =>
          options.isDeleted() ? scheduler.removeAll(() => resume(Effect.void)) : resume(Effect.void)
        )
      }).pipe(Effect.interruptible, Effect.timeoutOption(drainMs))
    )

    const jitter = yield* Random.next
    const repeat = Effect.forever(
      Effect.andThen(Effect.sleep(options.repairMs * (0.9 + jitter * 0.2)), Effect.sync(repair))
    )
    const repeating = yield* Effect.forkScoped(repeat)
    settleLate = (claim) => fork(AdoptedTasks.settle(core, [claim], options.executors, ask))
    if (adopted.length > 0) fork(AdoptedTasks.settle(core, adopted, options.executors, ask))

    // Closed after `serve` has withdrawn the pool and before the scheduler drains.
    const consuming = yield* Scope.fork(yield* Effect.scope)
    const live = new OwnedPool({
      pool,
      owned,
      scheduler,
      core,
      now: alarm.now,
      reconfigure,
      specNow: () => specNow,
      tell: tidings.changed,
      isPersistent: provider.capabilities.persistent,
      isTraced: spans !== undefined,
      nats,
      chosenIds,
      lookUntil: hadResults ? alarm.now() + resultsKeptMs : 0,
      laneBuffered: storage.buffered
    })
    yield* PoolMeters.show(telemetry, key, scheduler, core)
    // Requests need no consumer: after a take-over of many pools each answers claims before the consumers of all stand.
    yield* serve(live)
    const [lanes, durable] = yield* Effect.all([storage.start, DurableClaims.start(nats, live)], { concurrency: 2 })
      .pipe(
        Scope.provide(consuming),
        Effect.mapError(failed)
      )
    core.wake()
    return yield* Effect.raceAllFirst([
      Deferred.await(ended),
      lanes.failure.pipe(Effect.mapError(failed)),
      durable.failure.pipe(Effect.mapError(failed)),
      FiberSet.join(fibers).pipe(Effect.andThen(Effect.never)),
      autoscaling.failure,
      providerPool.failure ?? Effect.never,
      Fiber.join(repeating)
    ])
  }))
