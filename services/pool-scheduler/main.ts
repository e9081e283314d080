/**
 * The pool-scheduler service: wiring only. What ends the service itself fails `Nats.failure`.
 *
 * A registration that is lost for a while (the broker was away) is made anew under the same startup id and the pools go on: whether they are still ours is told by
 * their owner keys and event streams, never by the registry (design/01 section 3). Until it stands again, pools whose sandboxes another owner could have write nothing.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { hostname } from "node:os"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import { type Connection, Nats } from "../../shared/jetstream/Nats.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { PluginHost } from "../../shared/plugin/Plugin.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { Member } from "../../shared/protocol/Member.ts"
import { type PoolSpec, PoolTidings } from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { type MemberId, Namespace, PoolName, StartupId, Token } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { Telemetry } from "../../shared/telemetry/Meters.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import * as AlarmClock from "./AlarmClock.ts"
import * as ClaimRpcs from "./ClaimRpcs.ts"
import { EnvDirectory } from "./EnvDirectory.ts"
import * as EnvRpcs from "./EnvRpcs.ts"
import { directoryDefaults, PoolDirectory } from "./PoolDirectory.ts"
import * as PoolLife from "./PoolLife.ts"
import * as PoolOwnership from "./PoolOwnership.ts"
import * as PoolRpcs from "./PoolRpcs.ts"
import * as PoolSources from "./PoolSources.ts"
import * as StrayClaims from "./StrayClaims.ts"
import * as TaskRpcs from "./TaskRpcs.ts"

export interface PoolSchedulerConfig {
  readonly member: MemberId
  /** Of heddle, for the registry. */
  readonly version: string
  /** How streams are made that the broker has lost; as all services of the mesh. */
  readonly streams?: Streams.StreamsOptions
  /** Pools to make at the start if they do not exist. */
  readonly pools?: ReadonlyArray<PoolSpec>
  /** Of the registry entry, default 3 s: with `ownerGraceMs` it bounds how long a pool is without an owner after a kill. */
  readonly ttlMs?: number
  /** Between two lists of a pool's sandboxes, default 10 s. */
  readonly repairMs?: number
  /** Tasks that may follow one another in a sandbox without going through the pool, default 128; 0: none. */
  readonly handOffMax?: number
  /** From the expiry of another scheduler's registration to the take-over of its pools, default 500 ms. */
  readonly ownerGraceMs?: number
}
const repairMsDefault = 10_000
/**
 * Of the entry: 3 s, renewed each third of it, and 500 ms of grace.
 * - A process that stands still for less than 3 - 1 + 0.5 = 2.5 s keeps its pools, whenever that begins: the entry is at most 1 s old by then, and whoever registers again within the
 *   grace is no dead owner.
 * - A killed one's pools are served again within 5 s: the entry goes at most 3 s after the kill, the broker tells it within 0.25 s, 0.5 s of grace; then come the owner key,
 *   ADOPTED and the first list (0.1 s of an inline pool), for which more than a second is left.
 */
const ttlMsDefault = 3_000
const handOffMaxDefault = 128

/** What runs, for the program around it and for tests. */
export class PoolSchedulerService extends Context.Service<PoolSchedulerService, {
  readonly identity: PoolOwnership.Identity
  readonly directory: PoolDirectory
}>()("heddle/pool-scheduler/PoolSchedulerService") {}

/** Ready when requests are answered; each pool is served from when its owner has listed its sandboxes. */
export const layer = (
  config: PoolSchedulerConfig
): Layer.Layer<PoolSchedulerService, ContractError, Nats | PluginHost> =>
  Layer.effect(PoolSchedulerService, make(config))

const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: `the pool scheduler cannot run: ${error.message}` })
const decodeSystemEvent = Decode.decoder(SystemEvent)

const make = Effect.fnUntraced(function*(config: PoolSchedulerConfig) {
  const nats = yield* Nats
  const host = yield* PluginHost
  const meters = yield* Telemetry
  yield* Streams.maintain(nats, config.streams)
  const identity: PoolOwnership.Identity = { member: config.member, startup: yield* newStartup }
  const fibers = yield* FiberSet.make<void, never>()
  const fork = yield* FiberSet.runtime(fibers)<never>()
  /** A part that ends without having been told to takes the service down. */
  const supervised = <A, E>(what: string, effect: Effect.Effect<A, E>) =>
    effect.pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return
          nats.fail(`pool scheduler ${config.member}: ${what}: ${Cause.pretty(exit.cause)}`, exit.cause)
        })
      ),
      Effect.ignore,
      Effect.forkScoped
    )

  const member: Member = {
    ...identity,
    role: "pool-scheduler",
    host: hostname(),
    pid: process.pid,
    version: config.version,
    startedAt: timestamp(nats.clock.currentTimeMillisUnsafe())
  }
  let isHeld = false
  const takenOver = {
    nobody: meters.counter(Catalog.poolTakeovers, { from: "nobody" }),
    dead: meters.counter(Catalog.poolTakeovers, { from: "dead" })
  }
  const setHeld = (isInDoubt: boolean): void => {
    isHeld = isInDoubt
    for (const { live } of directory.pools) if (live?.isPersistent === true) live.scheduler.setHeld(isHeld)
  }
  yield* supervised("what it does beside its requests", FiberSet.join(fibers))
  yield* register(nats, member, config.ttlMs ?? ttlMsDefault, setHeld, supervised)

  const alarm: AlarmClock.AlarmClock = yield* AlarmClock.make((now) => directory.tick(now))
  const directory: PoolDirectory = new PoolDirectory({
    now: alarm.now,
    arm: alarm.arm,
    start: (pool, spec) => startPool(pool, spec),
    stop: (pool) => fork(FiberMap.remove(running, poolKey(pool)))
  }, {
    identity,
    ...directoryDefaults,
    ...(config.ownerGraceMs === undefined ? {} : { ownerGraceMs: config.ownerGraceMs })
  })

  const envs = new EnvDirectory(directory, alarm.now)
  const changes = new PoolSources.Changes()
  const bucket = Kv.bucket(nats, Streams.bucketName.pools)
  /** Providers whose pools may become ours: what the first pool would load is loaded before. */
  const prepared = new Set<string>()
  const prepareFor = (provider: string): void => {
    if (prepared.has(provider)) return
    prepared.add(provider)
    const prepare = host.poolProviders.get(provider)?.prepare
    if (prepare !== undefined) fork(prepare)
  }
  const putSpec = (pool: PoolRef, text: string): void => {
    const spec = PoolRpcs.decodeSpec(text)
    if (Result.isSuccess(spec)) {
      prepareFor(spec.success.provider)
      directory.specPut(pool, spec.success, text)
    } else {fork(
        Effect.logError(`the spec of pool ${poolKey(pool)} cannot be read and is left alone: ${spec.failure.message}`)
      )}
  }
  const lookUp = (pool: PoolRef, done: () => void): void => {
    fork(
      bucket.get(PoolOwnership.specKey(pool)).pipe(
        Effect.map((entry) => {
          if (Option.isSome(entry)) putSpec(pool, entry.value.value)
        }),
        Effect.catch((error) => Effect.logWarning(`pool ${poolKey(pool)} cannot be looked up: ${error.message}`)),
        Effect.andThen(Effect.sync(done))
      )
    )
  }
  const routing = { nats, directory, lookUp, fork: (effect: Effect.Effect<void>) => fork(effect) }
  const service = yield* RpcService.serve(nats, {
    service: "heddle-pool-scheduler",
    version: config.version,
    description: "Claims sandboxes, hands tasks to executors",
    id: identity.startup
  }, [
    ...ClaimRpcs.endpoints(routing),
    ...TaskRpcs.endpoints(routing),
    ...PoolRpcs.endpoints({ nats, directory, host }),
    ...EnvRpcs.endpoints({
      nats,
      envs,
      member: config.member,
      fork: routing.fork,
      idPrefix: `e${identity.startup.slice(0, 8)}-`,
      homeOf: (key) => directory.homeOf(key)
    })
  ])
  yield* Forwarding.takeForwarded(nats, Subject.forwarded(config.member, ""), service)

  // From here on last in, first out: pools end while requests are still answered, and the registration goes last.
  const alarms = yield* AlarmClock.shared
  yield* supervised("the pools' timer", alarms.run)
  const running = yield* FiberMap.make<string>()
  const context = yield* Effect.context<never>()
  const startPool = (pool: PoolRef, spec: PoolSpec): void => {
    Effect.runForkWith(context)(FiberMap.run(running, poolKey(pool), runPool(pool, spec), { onlyIfMissing: false }))
  }
  const failovers = new Map<StartupId, string>()
  const runPool = (pool: PoolRef, spec: PoolSpec): Effect.Effect<void> => {
    const provider = host.poolProviders.get(spec.provider)
    const policy = host.placementPolicies.get(spec.policy ?? PoolRpcs.policyDefault)
    let isFailure = false
    const life = Effect.gen(function*() {
      if (provider === undefined || policy === undefined) {
        isFailure = true
        return yield* Effect.logError(
          `pool ${poolKey(pool)} needs provider "${spec.provider}" and policy "${
            spec.policy ?? PoolRpcs.policyDefault
          }", which are not both loaded here`
        )
      }
      const before = directory.ownerOf(pool)
      const owned = yield* PoolOwnership.acquire(nats, pool, identity, (owner) => directory.mayTake(owner))
      if (Option.isNone(owned)) return
      directory.ownerPut(pool, { owner: identity.member, startup: identity.startup }, owned.value.revision)
      takenOver[before === undefined || before.startup === identity.startup ? "nobody" : "dead"].total++
      yield* Effect.logInfo(`pool ${poolKey(pool)} is ours, session ${owned.value.session}`)
      yield* PoolLife.run({
        nats,
        pool,
        spec,
        provider,
        policy,
        owned: owned.value,
        alarms,
        executors: () => directory.liveExecutors,
        member: identity.member,
        repairMs: config.repairMs ?? repairMsDefault,
        handOffMax: config.handOffMax ?? handOffMaxDefault,
        isWatched: () => envs.isMember(pool),
        isDeleted: () => !directory.exists(pool),
        scalePolicies: host.scalePolicies
      }, (live) =>
        Effect.gen(function*() {
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              directory.withdrawn(live)
              changes.tell()
            })
          )
          if (live.isPersistent) live.scheduler.setHeld(isHeld)
          directory.serving(live)
          changes.tell()
          const event = before === undefined ? undefined : failovers.get(before.startup)
          if (event !== undefined) tellProgress(event, pool)
        })).pipe(
          Effect.catchTag("OwnershipLost", (error) => Effect.logWarning(error.message)),
          Effect.onInterrupt(() => PoolOwnership.release(nats, pool, owned.value))
        )
    })
    return life.pipe(
      Effect.catch((error) => {
        isFailure = true
        return Effect.logError(`pool ${poolKey(pool)}: ${error.message}`)
      }),
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit) && Cause.hasDies(exit.cause)) {
            nats.fail(`pool ${poolKey(pool)}: ${Cause.pretty(exit.cause)}`, exit.cause)
          }
          directory.ended(pool, isFailure)
        })
      )
    )
  }
  const tellProgress = (of: string, pool: PoolRef): void => {
    const event: SystemEvent = {
      _tag: "FAILOVER_PROGRESS",
      id: `${of}-${identity.startup}-${pool.namespace}-${pool.name}`,
      at: alarm.now(),
      by: identity.member,
      of,
      shards: 1,
      instances: 0,
      tasks: 0,
      done: true
    }
    fork(
      Append.publish(nats, Subject.system(event._tag), JSON.stringify(event), { msgId: event.id }).pipe(
        Effect.catch((error) => Effect.logWarning(`the progress of a failover could not be told: ${error.message}`)),
        Effect.asVoid
      )
    )
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => directory.close()))

  const decodeTidings = Decode.decoder(PoolTidings)
  yield* nats.subscribe("heddle.pool.*.*.tidings", (message) => {
    const [, , namespace = "", name = ""] = message.subject.split(".")
    const told = decodeTidings(message.text)
    if (Result.isSuccess(told) && isToken(namespace) && isToken(name)) {
      envs.tidings({ namespace: Namespace.make(namespace), name: PoolName.make(name) }, told.success)
    }
  })
  const strays = yield* StrayClaims.serve({ nats, exists: (pool) => directory.exists(pool), fork: routing.fork })
  yield* supervised("the timer", alarm.run)
  yield* supervised(
    "the watch of pools",
    Stream.runForEach(bucket.watch(""), (event) =>
      Effect.sync(() => {
        poolChanged(directory, envs, putSpec, event)
        lookForStrays(strays, (key) => directory.homeOf(key) ?? config.member, config.member, event)
        changes.tell()
        // Which pools others want to hear of may have changed.
        if (event._tag !== "UpToDate" && !event.key.startsWith("owner.")) {
          for (const { live } of directory.pools) live?.tell()
        }
      }))
  )
  yield* supervised(
    "the watch of the registry",
    Stream.runForEach(Registry.watch(nats), (event) =>
      Effect.sync(() => {
        memberChanged(directory, event)
        changes.tell()
      }))
  )
  const system = yield* Consume.consume(nats, Streams.name.system, {
    filter: [Subject.system("SCHEDULER_FAILOVER"), Subject.system("WORKER_FAILOVER")],
    from: "new",
    acknowledge: "none"
  }, (delivery) => {
    const event = decodeSystemEvent(delivery.text)
    if (Result.isFailure(event)) return
    if (event.success._tag === "SCHEDULER_FAILOVER") {
      failovers.set(event.success.startup, event.success.id)
      directory.schedulerDead(event.success.startup)
      changes.tell()
    } else if (event.success._tag === "WORKER_FAILOVER") directory.executorDead(event.success.startup)
  }).pipe(Effect.mapError(unavailable))
  yield* supervised("the system event bus", system.failure)

  for (const spec of config.pools ?? []) {
    const problem = PoolRpcs.problemOf(host, spec)
    if (problem !== undefined) return yield* problem
    const pool = PoolRpcs.refOf(spec)
    const outcome = yield* bucket.create(PoolOwnership.specKey(pool), PoolRpcs.textOf(spec))
    if (outcome._tag === "Unknown") {
      return yield* unavailable({ message: `pool ${poolKey(pool)} could not be made: ${outcome.reason}` })
    }
  }
  yield* meters.gaugeScoped(Catalog.poolsOwned, {}, () => directory.served)
  yield* (yield* ProcessReadiness).addScoped(
    "pool-scheduler",
    () => isHeld ? "it is not registered: its registration was lost and is made anew" : directory.unready()
  )
  const sink = PoolSources.sink(nats, { directory, envs, member: config.member, changes })
  for (const source of host.poolSources.values()) {
    yield* supervised(`the pool source ${source.name}`, Effect.scoped(source.run(sink)))
  }
  return PoolSchedulerService.of({ identity, directory })
})

/** Registers, and again whenever the registration was lost; another process of the same name ends the service. */
const register = Effect.fnUntraced(function*(
  nats: Connection,
  member: Member,
  ttlMs: number,
  setHeld: (isInDoubt: boolean) => void,
  supervised: <A, E>(
    what: string,
    effect: Effect.Effect<A, E>
  ) => Effect.Effect<unknown, never, Scope.Scope>
) {
  const options = { ttlMs }
  const first = yield* Registry.register(nats, member, options).pipe(Effect.mapError(unavailable))
  const onLost = (lost: Registry.RegistrationLost) =>
    lost.reason === "Replaced"
      ? Effect.fail(
        new ContractError({
          code: "Conflict",
          message: `another process runs as pool scheduler ${member.member}: give each a member name of its own`
        })
      )
      : Effect.andThen(
        Effect.sync(() => setHeld(true)),
        Effect.logWarning(
          `${lost.message}: registering again; pools that others could take over write nothing meanwhile`
        )
      )
  const again = Effect.scoped(
    Registry.register(nats, member, options).pipe(
      Effect.tap(() => Effect.sync(() => setHeld(false))),
      Effect.flatMap((registration) => registration.lost),
      Effect.catchTags({
        RegistrationLost: onLost,
        RegisterFailed: (error) => Effect.logWarning(error.message)
      })
    )
  )
  yield* supervised("its registration", Effect.andThen(Effect.catch(first.lost, onLost), Effect.forever(again)))
})

const isToken = Schema.is(Token)

const poolChanged = (
  directory: PoolDirectory,
  envs: EnvDirectory,
  putSpec: (pool: PoolRef, text: string) => void,
  event: Kv.WatchEvent
): void => {
  if (event._tag === "UpToDate") return directory.poolsComplete()
  const [kind, namespace = "", name = ""] = event.key.split(".")
  if (!isToken(namespace) || !isToken(name)) return // somebody else's key
  const pool: PoolRef = { namespace: Namespace.make(namespace), name: PoolName.make(name) }
  if (kind === "spec") {
    if (event._tag === "Put") putSpec(pool, event.value)
    else {
      directory.specRemoved(pool)
      envs.poolRemoved(pool)
    }
  } else if (kind === "env") {
    const spec = event._tag === "Put" ? EnvRpcs.decodeEnv(event.value) : undefined
    if (spec !== undefined && Result.isSuccess(spec)) envs.put({ ...spec.success, namespace: pool.namespace })
    else envs.remove({ namespace, name })
  } else if (kind === "owner") {
    const owner = event._tag === "Put" ? PoolOwnership.readOwnership(event.value) : undefined
    if (owner === undefined) directory.ownerRemoved(pool, event.revision)
    else directory.ownerPut(pool, owner, event.revision)
  }
}

/** When the pools are known, and when one has been deleted: then by one replica. */
const lookForStrays = (
  strays: StrayClaims.StrayClaims,
  homeOf: (key: string) => MemberId,
  self: MemberId,
  event: Kv.WatchEvent
): void => {
  if (event._tag === "UpToDate") return strays.sweep()
  if (event._tag !== "Removed") return
  const [kind, namespace = "", name = ""] = event.key.split(".")
  if (kind !== "spec" || !isToken(namespace) || !isToken(name) || homeOf(event.key) !== self) return
  strays.deleted({ namespace: Namespace.make(namespace), name: PoolName.make(name) })
}

const memberChanged = (directory: PoolDirectory, event: Registry.MemberEvent): void => {
  if (event._tag === "UpToDate") return directory.registryComplete()
  const { member, role, startup } = event.member
  const isLeft = event._tag === "Left"
  const isCertain = isLeft && (event.reason === "Closed" || event.reason === "Replaced")
  if (role === "pool-scheduler") {
    if (isLeft) directory.schedulerLeft(member, startup, isCertain)
    else directory.schedulerJoined(member, startup)
  } else if (role === "task-executor") {
    if (isLeft) directory.executorLeft(member, startup, isCertain)
    else directory.executorJoined(member, startup)
  }
}

const newStartup = Effect.gen(function*() {
  const random = yield* Random.Random
  const part = (): string => Math.floor(random.nextDoubleUnsafe() * 36 ** 8).toString(36).padStart(8, "0")
  return StartupId.make(part() + part())
})
