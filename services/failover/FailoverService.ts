/**
 * Watches registry, ownership keys and the system event bus, asks the Detector, and publishes what it decides. design/05 rules 1, 2 and 7.
 *
 * Keeps true: it only detects, publishes and keeps records; no workflow, shard or pool is touched here. Every replica decides; the active one publishes. A decision stays in
 * the outbox until it was seen on the bus, so it is neither lost with the replica that made it nor with an answer that was lost; a standby publishes by itself what
 * nobody has published for `standbyWaitMs` (the id makes it one event). The registry's connection is the service's own: no client's fiber waits for any of this.
 * The loops are supervised: when one ends, `failure` fails.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Decode from "../../shared/jetstream/Decode.ts"
import { type JetStreamFailed, retryTransient } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type Member, MemberRole, PoolOwnership, ShardOwnership } from "../../shared/protocol/Member.ts"
import type { FailoverRecord, SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { Ledger, MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as ShardMap from "../../shared/registry/ShardMap.ts"
import { Telemetry } from "../../shared/telemetry/Meters.ts"
import * as ActiveLease from "./ActiveLease.ts"
import * as Detector from "./Detector.ts"
import { FailoverMeters } from "./FailoverMeters.ts"
import * as FailoverRecords from "./FailoverRecords.ts"
import * as SystemEventBus from "./SystemEventBus.ts"

export interface FailoverOptions {
  /** Of this life of the service: names it in the lease. */
  readonly startup: StartupId
  /** Between suspicion and event, default 10 s. */
  readonly graceMs?: number
  /** Of the lease that makes one replica active, default 5 s. */
  readonly leaseMs?: number
}

export interface FailoverService {
  /** Newest first. */
  readonly records: (limit?: number) => ReadonlyArray<FailoverRecord>
  /** By role and name, as the registry shows them. */
  readonly members: () => ReadonlyArray<Member>
  readonly isActive: () => boolean
  /** Never succeeds; fails when a part of the service has ended. */
  readonly failure: Effect.Effect<never, FailoverFailed>
}

export class FailoverFailed extends Schema.TaggedError<FailoverFailed>()("FailoverFailed", { reason: Schema.String }) {
  override get message(): string {
    return `the failover service cannot go on: ${this.reason}`
  }
}

/** Decisions not yet seen on the bus; a mesh has fewer processes. */
const outboxMax = 10_000
const inputsMax = 4_096
const publishRetryMs = 500
/** A roster is written at most this often. */
const rosterEveryMs = 1_000
const rosterKey = "roster.failover"

/** The first text of a `heddle_pools` key that names an owner: `owner.<ns>.<pool>`. */
const poolOwnerPrefix = "owner."

const decodeShard = Decode.decoder(ShardOwnership)
const decodePool = Decode.decoder(PoolOwnership)
const Roster = Schema.Array(
  Schema.Struct({ role: MemberRole, member: MemberId, startup: StartupId, ledger: Schema.optionalKey(Ledger) })
)
const decodeRoster = Decode.decoder(Roster)

type Source = { readonly input: Detector.Input } | { readonly bus: SystemEvent }

/** What a change of an ownership bucket means; content that cannot be read counts as no owner. Pure. */
export const ownedOf = (event: Kv.WatchEvent, kind: "shard" | "pool"): Detector.Input | undefined => {
  if (event._tag === "UpToDate") return undefined
  const isOwner = kind === "shard"
    ? ShardMap.shardOfKey(event.key) !== undefined
    : event.key.startsWith(poolOwnerPrefix)
  if (!isOwner) return undefined
  const key = kind === "shard" ? event.key : `pool ${event.key.slice(poolOwnerPrefix.length)}`
  if (event._tag === "Removed") return { _tag: "Owned", key, owner: undefined }
  const { revision } = event
  if (kind === "shard") {
    const decoded = decodeShard(event.value)
    if (Result.isFailure(decoded)) return { _tag: "Owned", key, owner: undefined }
    const { ledger, owner: member, released, startup } = decoded.success
    // Released: it is nobody's until the next one adopts it.
    return released === undefined
      ? { _tag: "Owned", key, owner: { role: "coordinator", member, startup, ledger, revision } }
      : { _tag: "Owned", key, owner: undefined }
  }
  const decoded = decodePool(event.value)
  if (Result.isFailure(decoded)) return { _tag: "Owned", key, owner: undefined }
  return {
    _tag: "Owned",
    key,
    owner: { role: "pool-scheduler", member: decoded.success.owner, startup: decoded.success.startup, revision }
  }
}

/** Runs for the life of the scope. Ready when it has seen everything that stands in the registry, the buckets and the bus. */
export const make: (
  nats: Connection,
  options: FailoverOptions
) => Effect.Effect<FailoverService, FailoverFailed, Scope.Scope> = Effect.fn("FailoverService.make")(
  function*(nats, options) {
    const leaseMs = options.leaseMs ?? ActiveLease.ttlMsDefault
    const standbyWaitMs = 3 * leaseMs
    const registry = Kv.bucket(nats, Streams.bucketName.registry)
    const failed = (error: { readonly message: string }) => new FailoverFailed({ reason: error.message })

    let detector = Detector.make(options.graceMs ?? Detector.graceMsDefault)
    let records = FailoverRecords.empty
    let isActive = false
    const meters = new FailoverMeters(yield* Telemetry)
    yield* meters.show(() => detector, () => isActive)
    let rosterText = ""
    const outbox = new Map<string, { readonly event: SystemEvent; readonly since: number }>()
    const inputs = yield* Queue.bounded<Source>(inputsMax)
    const outgoing = yield* Queue.sliding<void>(1)
    const rosterChanged = yield* Queue.sliding<void>(1)
    const connection = yield* Queue.sliding<"Disconnected" | "Reconnected">(64)
    const ready = yield* Queue.sliding<void>(1)
    const fibers = yield* FiberSet.make<void, FailoverFailed>()
    const run = (effect: Effect.Effect<void, FailoverFailed>) => FiberSet.run(fibers, effect)

    yield* nats.onDisconnect(() => Queue.offerUnsafe(connection, "Disconnected"))
    yield* nats.onReconnect(() => Queue.offerUnsafe(connection, "Reconnected"))

    const feed = <E extends { readonly message: string }>(source: Stream.Stream<Source, E>) =>
      source.pipe(
        Stream.runForEach((one) => Queue.offer(inputs, one)),
        Effect.mapError(failed),
        Effect.andThen(Effect.fail(new FailoverFailed({ reason: "a watch has ended" })))
      )
    const input = (input: Detector.Input): Source => ({ input })

    const stored = yield* registry.get(rosterKey).pipe(retryTransient(20_000), Effect.mapError(failed))
    if (Option.isSome(stored)) {
      const roster = decodeRoster(stored.value.value)
      if (Result.isSuccess(roster)) yield* Queue.offer(inputs, input({ _tag: "Roster", members: roster.success }))
      else yield* Effect.logWarning(`${rosterKey} cannot be read and is left out: ${roster.failure.message}`)
    }

    const ownersOf = (bucket: string, kind: "shard" | "pool", caughtUp: () => boolean) =>
      Kv.bucket(nats, bucket).watch("").pipe(
        Stream.flatMap((event): Stream.Stream<Source, JetStreamFailed> => {
          if (event._tag === "UpToDate") {
            return caughtUp() ? Stream.succeed(input({ _tag: "CaughtUp", source: "owners" })) : Stream.empty
          }
          const owned = ownedOf(event, kind)
          return owned === undefined ? Stream.empty : Stream.succeed(input(owned))
        })
      )
    let bucketsLeft = 2
    const caughtUp = () => --bucketsLeft === 0

    yield* run(feed(Registry.watch(nats).pipe(Stream.map(input))))
    yield* run(feed(ownersOf(Streams.bucketName.shards, "shard", caughtUp)))
    yield* run(feed(ownersOf(Streams.bucketName.pools, "pool", caughtUp)))
    yield* run(feed(
      SystemEventBus.follow(nats).pipe(
        Stream.map((item): Source =>
          item._tag === "CaughtUp" ? input({ _tag: "CaughtUp", source: "bus" }) : { bus: item.event }
        )
      )
    ))
    yield* run(feed(Stream.fromQueue(connection).pipe(Stream.map((_tag) => input({ _tag })))))
    yield* run(
      ActiveLease.hold(nats, options.startup, leaseMs, (now) =>
        Effect.gen(function*() {
          isActive = now
          yield* Effect.logInfo(now ? "failover: active" : "failover: standby")
          if (now) Queue.offerUnsafe(outgoing, undefined)
          if (now) Queue.offerUnsafe(rosterChanged, undefined)
        })).pipe(Effect.scoped, Effect.mapError(failed))
    )

    const decide = (one: Detector.Input, now: number): Effect.Effect<void, FailoverFailed> => {
      const [next, events] = Detector.step(detector, one, now)
      const isFirst = !Detector.isReady(detector) && Detector.isReady(next)
      detector = next
      meters.stepped(next, events, now)
      for (const event of events) outbox.set(event.id, { event, since: now })
      if (events.length > 0) Queue.offerUnsafe(outgoing, undefined)
      if (isFirst) Queue.offerUnsafe(ready, undefined)
      if (one._tag === "Joined" || one._tag === "Left" || isFirst || events.length > 0) {
        Queue.offerUnsafe(rosterChanged, undefined)
      }
      return outbox.size > outboxMax
        ? Effect.fail(new FailoverFailed({ reason: `${outbox.size} events wait to be published` }))
        : Effect.void
    }
    const observe = (event: SystemEvent, now: number) => {
      outbox.delete(event.id)
      records = FailoverRecords.apply(records, event)
      return decide({ _tag: "Published", event }, now)
    }
    yield* run(Effect.gen(function*() {
      while (true) {
        const due = Detector.nextDue(detector)
        const take = Queue.take(inputs)
        const waitMs = due === undefined ? undefined : Math.max(0, due - (yield* Clock.currentTimeMillis))
        const one = waitMs === undefined
          ? Option.some(yield* take)
          : waitMs === 0
          ? yield* Queue.poll(inputs)
          : yield* take.pipe(Effect.timeoutOption(waitMs))
        const now = yield* Clock.currentTimeMillis
        if (Option.isNone(one)) yield* decide({ _tag: "Tick" }, now)
        else if ("bus" in one.value) yield* observe(one.value.bus, now)
        else yield* decide(one.value.input, now)
      }
    }))

    /** Publishes what waits if it is ours to publish; gives the time until it must look again. */
    const publishDue = Effect.gen(function*() {
      let waitMs: number | undefined
      for (const [id, { event, since }] of outbox) {
        const ageMs = (yield* Clock.currentTimeMillis) - since
        if (!isActive && ageMs < standbyWaitMs) {
          waitMs = Math.min(waitMs ?? standbyWaitMs, standbyWaitMs - ageMs)
          continue
        }
        const published = yield* Effect.result(SystemEventBus.publish(nats, event))
        if (Result.isFailure(published)) {
          yield* Effect.logWarning(`${id} is not published yet: ${published.failure.message}`)
          return publishRetryMs
        }
        outbox.delete(id)
        if (!published.success.duplicate) yield* Effect.logInfo(`published ${id}`)
      }
      return waitMs
    })
    yield* run(Effect.gen(function*() {
      while (true) {
        const waitMs = yield* publishDue
        const signal = Queue.take(outgoing)
        yield* waitMs === undefined ? signal : signal.pipe(Effect.timeoutOption(waitMs))
      }
    }))
    yield* run(Effect.gen(function*() {
      while (true) {
        yield* Queue.take(rosterChanged)
        const text = JSON.stringify(Detector.roster(detector))
        if (!isActive || !Detector.isReady(detector) || text === rosterText) continue
        const written = yield* Effect.result(registry.put(rosterKey, text))
        if (Result.isSuccess(written)) rosterText = text
        else Queue.offerUnsafe(rosterChanged, undefined)
        yield* Effect.sleep(rosterEveryMs)
      }
    }))

    const failure = FiberSet.join(fibers).pipe(
      Effect.andThen(Effect.fail(new FailoverFailed({ reason: "its loops have ended" })))
    )
    yield* Effect.raceFirst(Queue.take(ready), failure)
    return {
      records: (limit) => FailoverRecords.list(records, limit),
      members: () => Detector.members(detector),
      isActive: () => isActive,
      failure
    }
  }
)
