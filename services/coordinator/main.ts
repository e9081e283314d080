/**
 * The coordinator service: wiring only. Lives follow one another (see `CoordinatorLife`); what ends the service itself fails `Nats.failure`.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Schema from "effect/Schema"
import { hostname } from "node:os"
import * as Arguments from "../../shared/authoring/Arguments.ts"
import * as Durability from "../../shared/jetstream/Durability.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Outage from "../../shared/jetstream/Outage.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError, type ErrorCode } from "../../shared/protocol/ErrorCode.ts"
import { type MemberId, StartupId } from "../../shared/protocol/Token.ts"
import { ttlMsDefault } from "../../shared/registry/Registry.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { Telemetry } from "../../shared/telemetry/Meters.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import type { AlertConfig } from "./Alerts.ts"
import * as ArchivePolicy from "./ArchivePolicy.ts"
import * as CoordinatorLife from "./CoordinatorLife.ts"
import * as Passivation from "./Passivation.ts"
import * as RunMax from "./RunMax.ts"

export interface CoordinatorConfig {
  readonly member: MemberId
  /** Of heddle, for the registry. */
  readonly version: string
  /** Shards of a mesh that starts for the first time, default 64; later it is what was stored then. */
  readonly shardCount?: number
  /** Of the registry entry, default 10 s. */
  readonly ttlMs?: number
  readonly streams?: Streams.StreamsOptions
  /** What is known of the server's `sync_interval`, for the durability level. */
  readonly durability?: Durability.DurabilityOptions
  /** Where alerts are told; absent: in the log. */
  readonly alerts?: AlertConfig
  /** By task type what it takes under `with`: definitions are refused whose arguments do not fit. What is not in it is not looked at. */
  readonly taskTypes?: ReadonlyMap<string, Schema.Codec<unknown, unknown>>
  /** The longest that a run which starts now may take (`RunMax`); absent: no maximum. */
  readonly runMaxMs?: number | undefined
  /** Instances that wait longer than this leave memory (`Passivation`), default 30 s. */
  readonly passivateAfterMs?: number
  /** When the history of finished instances goes to the archive; absent: never. */
  readonly archive?: ArchivePolicy.ArchivePolicy
}

/** What the environment says: `HEDDLE_WORKFLOW_MAX_RUN_TIME`, `HEDDLE_PASSIVATE_AFTER`, `HEDDLE_ARCHIVE_AFTER`. */
export const settings = Effect.all({
  runMaxMs: RunMax.fromEnvironment,
  passivateAfterMs: Passivation.fromEnvironment,
  archive: ArchivePolicy.fromEnvironment
})

/** What runs, for the program around it and for tests. */
export class Coordinator extends Context.Service<Coordinator, {
  readonly member: MemberId
  readonly durability: Durability.DurabilityLevel
  /** What the present life holds; of the last one while none is ready. */
  readonly stats: () => CoordinatorLife.LifeStats
}>()("heddle/coordinator/Coordinator") {}

/** Ready when requests are answered and the shards that are this coordinator's are served. What breaks it later fails `Nats.failure`. */
export const layer = (config: CoordinatorConfig): Layer.Layer<Coordinator, ContractError, Nats> =>
  Layer.effect(Coordinator, make(config))

const make = Effect.fnUntraced(function*(config: CoordinatorConfig) {
  const { taskTypes } = config
  const nats = yield* Nats
  yield* Durability.read(nats) // refuses a server that is too old before anything is made on it
  yield* Streams.ensure(nats, config.streams)
  const durability = yield* Durability.read(nats, config.durability)
  yield* Effect.logInfo(`durability: ${durability.text}`)
  yield* showDurability(durability)
  let standing: string | undefined = "it is starting"
  yield* (yield* ProcessReadiness).addScoped("coordinator-life", () => standing)
  const shardCount = yield* Streams.meshShardCount(nats, config.shardCount)
  const ready = yield* Deferred.make<void, ContractError>()
  let stats: () => CoordinatorLife.LifeStats = () => ({
    shards: 0,
    live: 0,
    resting: 0,
    tickets: 0,
    passive: 0,
    events: 0,
    unprojected: 0,
    waiters: 0,
    timers: []
  })

  const isBegun = () => Deferred.isDoneUnsafe(ready)
  const life = Effect.gen(function*() {
    const startup = yield* newStartup
    yield* CoordinatorLife.run(nats, {
      member: {
        member: config.member,
        host: hostname(),
        pid: process.pid,
        version: config.version,
        durability: durability.text
      },
      startup,
      streams: config.streams,
      shardCount,
      registryTtlMs: config.ttlMs ?? ttlMsDefault,
      version: config.version,
      alerts: config.alerts,
      argumentProblems: taskTypes === undefined
        ? undefined
        : ({ spec }) => Arguments.findings(spec, (type) => taskTypes.get(type)).problems,
      runMaxMs: config.runMaxMs,
      passivateAfterMs: config.passivateAfterMs ?? Passivation.afterMsDefault,
      archive: config.archive
    }, (present) =>
      Effect.sync(() => {
        stats = present
        standing = undefined
        Deferred.doneUnsafe(ready, Effect.void)
      })).pipe(
        Effect.ensuring(Effect.sync(() => {
          standing = "it serves no shards and begins anew"
        })),
        Effect.catchTag(
          "LifeEnded",
          (error) => Effect.logWarning(`coordinator ${config.member} lost its shards and begins anew: ${error.message}`)
        )
      )
  })
  const anew = life.pipe(
    Outage.outlast(nats, {
      forMs: beginForMs,
      isPassing: (error) => isBegun() ? isPassing(error) : isSealed(error),
      failed: (error) =>
        Effect.logWarning(`coordinator ${config.member} serves nothing and begins anew: ${error.message}`),
      waitMs: { first: 200, max: 2_000 }
    })
  )
  yield* Effect.raceFirst(Effect.forever(anew), nats.failure).pipe(
    Effect.onExit((exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return
        const error = Cause.findErrorOption(exit.cause)
        const reason = error._tag === "Some" ? error.value.message : Cause.pretty(exit.cause)
        const failure = new ContractError({ code: "Unavailable", message: `the coordinator cannot run: ${reason}` })
        if (!Deferred.doneUnsafe(ready, Effect.fail(failure))) {
          nats.fail(`coordinator ${config.member}: ${reason}`, exit.cause)
        }
      })
    ),
    Effect.forkScoped
  )
  yield* Deferred.await(ready)
  return Coordinator.of({ member: config.member, durability, stats: () => stats() })
})

const showDurability = Effect.fnUntraced(function*({ fsync, replicas }: Durability.DurabilityLevel) {
  const meters = yield* Telemetry
  const kinds = { Always: "always", Every: "every", Unknown: "unknown" } as const
  const intervalMs = fsync._tag === "Always" ? 0 : fsync._tag === "Every" ? fsync.intervalMs : fsync.assumedMs
  yield* meters.gaugeScoped(Catalog.durability, { fsync: kinds[fsync._tag] }, () => 1)
  yield* meters.gaugeScoped(Catalog.durabilityInterval, {}, () => intervalMs / 1_000)
  yield* meters.gaugeScoped(Catalog.durabilityReplicas, {}, () => replicas)
})

/** How long a broker that is there may keep a new life from beginning before the service ends. */
const beginForMs = 60_000
interface LifeError {
  readonly _tag: string
  readonly code?: ErrorCode
}
/** A ledger that was sealed meanwhile, as that of a process that stood still for longer than its registration: the next life has another. */
const isSealed = (error: LifeError): boolean => error._tag === "ContractError" && error.code === "NotOwner"
/** What an outage of the broker explains, too. */
const isPassing = (error: LifeError): boolean =>
  error._tag !== "ContractError" || error.code === "Unavailable" || isSealed(error)

const newStartup = Effect.gen(function*() {
  const random = yield* Random.Random
  const part = (): string => Math.floor(random.nextDoubleUnsafe() * 36 ** 8).toString(36).padStart(8, "0")
  return StartupId.make(part() + part())
})
