/**
 * Every stream and bucket of heddle, as code: what design/01 section 2 lists.
 *
 * Keeps true: `ensure` makes what is missing, however many services start at once; it changes nothing that exists; it refuses, with the name of stream and field, when
 * something stands there that differs in what heddle relies on, or when the server did not take a flag (old servers drop unknown ones silently).
 * Subjects of two streams never overlap.
 */
import type { StreamConfig } from "@nats-io/jetstream"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { ContractError } from "../protocol/ErrorCode.ts"
import { shardCountDefault } from "../protocol/Shard.ts"
import { ask, errCode, type JetStreamFailed, retryTransient } from "./JetStreamApi.ts"
import * as Kv from "./Kv.ts"
import type { Connection } from "./Nats.ts"
import * as Outage from "./Outage.ts"
import * as ServerVersion from "./ServerVersion.ts"

export const name = {
  commands: "HEDDLE_COMMANDS",
  journal: "HEDDLE_JOURNAL",
  history: "HEDDLE_HISTORY",
  archive: "HEDDLE_ARCHIVE",
  ready: "HEDDLE_READY",
  claims: "HEDDLE_CLAIMS",
  results: "HEDDLE_RESULTS",
  poolEvents: "HEDDLE_POOL_EVENTS",
  logs: "HEDDLE_LOGS",
  system: "HEDDLE_SYSTEM",
  alerts: "HEDDLE_ALERTS"
} as const

export const bucketName = {
  definitions: "heddle_definitions",
  registry: "heddle_registry",
  shards: "heddle_shards",
  pools: "heddle_pools",
  snapshots: "heddle_snapshots",
  schedules: "heddle_schedules"
} as const

export interface StreamsOptions {
  /** 1, 3 or 5 (default 1). */
  readonly replicas?: number
  /** Default 1 GiB; the oldest task output goes first. */
  readonly logsBytesMax?: number
  /** Default 7 days. */
  readonly logsAgeMs?: number
  /** How long the journal and history are kept, default 365 days; snapshots older than that are useless. */
  readonly journalAgeMs?: number
}

const mib = 1024 * 1024
const minute = 60_000
const hour = 60 * minute
const day = 24 * hour
const nanos = (ms: number): number => ms * 1_000_000

/** 2.15 counts -1 as 1,000; watchers, tools and one durable per shard have to fit. */
const consumersMax = 8_192
/** How long the mark of an expired or removed key stays for watchers that were away. */
export const markerMs = 5 * minute

type Wanted = Partial<StreamConfig> & Pick<StreamConfig, "name" | "subjects">

const stream = (config: Wanted, replicas: number): Wanted =>
  ({
    storage: "file",
    num_replicas: replicas,
    max_consumers: consumersMax,
    discard: "old",
    allow_direct: true,
    duplicate_window: nanos(2 * minute),
    ...config
  }) as Wanted

const kv = (bucket: string, description: string, replicas: number, more: Partial<StreamConfig> = {}): Wanted =>
  stream({
    name: `KV_${bucket}`,
    subjects: [`$KV.${bucket}.>`],
    description,
    max_msgs_per_subject: 1,
    discard: "new",
    deny_delete: true,
    deny_purge: false,
    allow_rollup_hdrs: true,
    ...more
  } as Wanted, replicas)

/** All streams and buckets. Pure. */
export const definitions = (options: StreamsOptions = {}): ReadonlyArray<Wanted> => {
  const replicas = options.replicas ?? 1
  const journalAgeMs = options.journalAgeMs ?? 365 * day
  return [
    stream({
      name: name.commands,
      subjects: ["heddle.wf.*.*.cmd"],
      description: "Commands and facts of workflow instances, in order of arrival; one durable per shard",
      retention: "workqueue",
      discard: "new",
      max_bytes: 1024 * mib
    } as Wanted, replicas),
    stream({
      name: name.journal,
      subjects: ["heddle.journal.*"],
      description: "The truth: one literal subject (ledger) per coordinator process",
      retention: "limits",
      discard: "new",
      deny_delete: true,
      max_age: nanos(journalAgeMs),
      duplicate_window: nanos(10_000)
    } as Wanted, replicas),
    stream({
      name: name.history,
      subjects: ["heddle.wf.*.*.history"],
      description: "Derived from the journal, for people and tools: one subject per workflow instance",
      retention: "limits",
      max_age: nanos(journalAgeMs),
      duplicate_window: nanos(10_000),
      ...(replicas === 1 ? { persist_mode: "async" } : {})
    } as Wanted, replicas),
    stream({
      name: name.archive,
      subjects: ["heddle.archive.*.*"],
      description: "What the history had of finished instances, kept until somebody removes it",
      retention: "limits",
      compression: "s2"
    } as Wanted, replicas),
    stream({
      name: name.ready,
      subjects: ["heddle.pool.*.*.lane.*"],
      description: "Three lanes per pool; in memory, since the journal can tell them again",
      retention: "workqueue",
      storage: "memory",
      discard: "new",
      max_bytes: 256 * mib,
      duplicate_window: nanos(10_000)
      // with one replica, no task would get to a pool until the server that holds it is back
    } as Wanted, replicas),
    stream({
      name: name.claims,
      subjects: ["heddle.pool.*.*.claim"],
      description: "Durable claim requests",
      retention: "workqueue",
      discard: "new",
      max_bytes: 256 * mib
    } as Wanted, replicas),
    stream({
      name: name.results,
      subjects: ["heddle.pool.*.*.result.*"],
      description: "The last result of each claim, for an hour",
      retention: "limits",
      max_msgs_per_subject: 1,
      max_age: nanos(hour)
    } as Wanted, replicas),
    stream({
      name: name.poolEvents,
      subjects: ["heddle.pool.*.*.event"],
      description: "Who held which sandbox when, and why",
      retention: "limits",
      max_age: nanos(30 * day),
      duplicate_window: nanos(10_000)
    } as Wanted, replicas),
    stream({
      name: name.logs,
      subjects: ["heddle.logs.*.*"],
      description: "Output of tasks",
      retention: "limits",
      max_bytes: options.logsBytesMax ?? 1024 * mib,
      max_age: nanos(options.logsAgeMs ?? 7 * day),
      duplicate_window: nanos(10_000)
    } as Wanted, replicas),
    stream({
      name: name.system,
      subjects: ["heddle.system.*"],
      description: "System event bus: failovers and their progress",
      retention: "limits",
      max_age: nanos(90 * day),
      duplicate_window: nanos(hour)
    } as Wanted, replicas),
    stream({
      name: name.alerts,
      subjects: ["heddle.alert.*"],
      description: "Alerts on their way to their sinks, and what was told",
      retention: "limits",
      max_age: nanos(30 * day),
      duplicate_window: nanos(hour)
    } as Wanted, replicas),
    kv(bucketName.definitions, "Workflow definitions by version", replicas),
    kv(bucketName.registry, "Members of the mesh, with a time to live", replicas, {
      allow_msg_ttl: true,
      subject_delete_marker_ttl: nanos(markerMs)
    }),
    kv(bucketName.shards, "Who owns which shard; the number of shards", replicas),
    kv(bucketName.pools, "Pools and who owns them", replicas),
    kv(bucketName.snapshots, "State of shards, in pages", replicas),
    kv(bucketName.schedules, "Schedules and backfills; those that have ended with a time to live", replicas, {
      allow_msg_ttl: true,
      subject_delete_marker_ttl: nanos(markerMs)
    })
  ]
}

/** What an existing stream must agree in; the rest (sizes, ages, descriptions) is the operator's. */
const essential = [
  "retention",
  "storage",
  "deny_delete",
  "allow_direct",
  "allow_msg_ttl",
  "persist_mode",
  "max_msgs_per_subject",
  "allow_rollup_hdrs"
] as const satisfies ReadonlyArray<keyof StreamConfig>
/** Flags are absent when they are off. */
const normal = (value: unknown): unknown => value === false || value === -1 || value === "default" ? undefined : value

/** One difference that matters between a stream as heddle needs it and as it stands. */
export interface Difference {
  readonly stream: string
  readonly field: string
  readonly wanted: unknown
  readonly found: unknown
}

/** What `found` lacks. Pure. */
export const differences = (wanted: Wanted, found: Partial<StreamConfig>): ReadonlyArray<Difference> => {
  const list: Array<Difference> = []
  const add = (field: string, want: unknown, have: unknown) =>
    list.push({ stream: wanted.name, field, wanted: want, found: have })
  for (const field of essential) {
    // A flag that heddle does not need may be on, but for those that would break a promise.
    const want = normal(wanted[field])
    const have = normal(found[field])
    if (want === have) continue
    // written at once instead of a moment later: slower, and nothing is lost
    if (field === "persist_mode" && have === undefined) continue
    if (want !== undefined || field === "max_msgs_per_subject" || field === "persist_mode") {
      add(field, want ?? "off", have ?? "off")
    }
  }
  const subjects = new Set(found.subjects ?? [])
  const missing = wanted.subjects.filter((subject) => !subjects.has(subject))
  if (missing.length > 0) add("subjects", wanted.subjects, found.subjects ?? [])
  if ((found.max_consumers ?? -1) > 0 && (found.max_consumers ?? 0) < 512) {
    add("max_consumers", wanted.max_consumers, found.max_consumers)
  }
  return list
}

/** Fields that a server takes up on a stream that exists; the others stay as they were made. */
const editable: ReadonlySet<string> = new Set([
  "allow_direct",
  "allow_msg_ttl",
  "allow_rollup_hdrs",
  "deny_delete",
  "max_msgs_per_subject",
  "subjects"
])

/**
 * What to do about a difference, for people: never to throw data away. `isServerOld`: older than heddle needs, so that it drops flags without a word; then nothing
 * else helps. Otherwise the stream is another version's or somebody else's.
 */
export const fixOf = (difference: Difference, isServerOld: boolean): string => {
  const { field, stream, wanted } = difference
  if (isServerOld) return "upgrade nats-server: this one is too old and drops what it does not know."
  if (editable.has(field)) {
    return `the stream was made by another version of heddle or by something else: set ${field} to ${
      JSON.stringify(wanted)
    } (\`nats stream edit ${stream} -i\` opens its configuration), then restart the services.`
  }
  const definition = definitions().find((one) => one.name === stream)
  return definition?.storage === "memory"
    ? `${field} of a stream that exists cannot be changed: \`nats stream rm ${stream}\` and restart the services, which make it again; it is in memory and can be told again.`
    : `${field} of a stream that exists cannot be changed, and deleting it loses data: use the version of heddle that made it, or stop the services, \`nats stream backup ${stream} DIR\`, remove it, start a service, and look at what it made before anything is restored.`
}

const refuse = (difference: Difference, isServerOld: boolean): ContractError =>
  new ContractError({
    code: "Conflict",
    message: `stream ${difference.stream} has ${difference.field} ${JSON.stringify(difference.found)}, heddle needs ${
      JSON.stringify(difference.wanted)
    }: ${fixOf(difference, isServerOld)}`,
    path: `${difference.stream}.${difference.field}`,
    details: difference
  })

interface StreamInfo {
  /** When the stream was made, RFC 3339: a memory stream of a restarted broker has another. */
  readonly created: string
  readonly config: StreamConfig
  /** `name`: of the servers' cluster; absent or empty where there is a single server. */
  readonly cluster?: { readonly name?: string; readonly replicas?: ReadonlyArray<unknown> }
  readonly state: {
    readonly first_seq: number
    readonly last_seq: number
    readonly messages: number
    readonly bytes: number
    readonly consumer_count: number
  }
}

export const isClustered = ({ cluster }: Pick<StreamInfo, "cluster">): boolean => (cluster?.name ?? "") !== ""

export const info = (nats: Connection, streamName: string): Effect.Effect<Option.Option<StreamInfo>, JetStreamFailed> =>
  ask<StreamInfo>(nats, `STREAM.INFO.${streamName}`, undefined).pipe(
    Effect.asSome,
    Effect.catchIf((error) => error.errCode === errCode.streamNotFound, () => Effect.succeedNone)
  )

const broken = (error: JetStreamFailed): ContractError =>
  new ContractError({
    code: "Unavailable",
    message: error.errCode === errCode.insufficientStorage
      ? `JetStream has too little storage left: ${error.message}. Raise max_file_store and max_memory_store of the server (8 GiB and 512 MiB are enough to begin with).`
      : error.errCode === 0
      ? `JetStream does not answer: ${error.message}. Is it on (\`jetstream {}\` in the server's configuration)? \`heddle doctor\` shows more.`
      : error.message
  })

const ensureOne = (nats: Connection, wanted: Wanted) =>
  Effect.gen(function*() {
    const existing = yield* info(nats, wanted.name)
    const found = Option.isSome(existing)
      ? existing.value
      : yield* ask<StreamInfo>(nats, `STREAM.CREATE.${wanted.name}`, wanted).pipe(
        // Somebody else made it in this moment, in another version maybe: judge what stands there.
        Effect.catchIf((error) => error.errCode === errCode.streamNameInUse, () =>
          ask<StreamInfo>(nats, `STREAM.INFO.${wanted.name}`, undefined))
      )
    return differences(wanted, found.config)
  }).pipe(retryTransient(20_000), Effect.mapError(broken))

/**
 * Makes what is missing and checks everything; repeat it after the broker was restarted (memory streams are gone then). Errors: `Conflict` names stream and field,
 * `Unavailable` says what the broker lacks.
 */
export const ensure: (nats: Connection, options?: StreamsOptions) => Effect.Effect<void, ContractError> = Effect.fn(
  "Streams.ensure"
)(function*(nats, options) {
  const found = yield* Effect.forEach(definitions(options), (wanted) => ensureOne(nats, wanted), { concurrency: 4 })
  const first = found.flat()[0]
  if (first !== undefined) return yield* refuse(first, ServerVersion.isOlder(nats.serverVersion, ServerVersion.least))
})

/**
 * `ensure`, now and again after every reconnect while the scope is open: a restarted server has lost its memory streams. What a service calls. If the streams cannot
 * be had again from a broker that is there, the connection's `failure` fails.
 */
export const maintain: (nats: Connection, options?: StreamsOptions) => Effect.Effect<void, ContractError, Scope.Scope> =
  Effect.fn("Streams.maintain")(
    function*(nats, options) {
      yield* ensure(nats, options)
      const reconnected = yield* Queue.sliding<void>(1)
      yield* nats.onReconnect(() => Queue.offerUnsafe(reconnected, undefined))
      yield* Queue.take(reconnected).pipe(
        Effect.andThen(
          ensure(nats, options).pipe(
            Outage.outlast(nats, { forMs: againForMs, isPassing: (error) => error.code === "Unavailable" })
          )
        ),
        Effect.forever,
        Effect.catchCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.void
            : Effect.sync(() => {
              const error = Cause.squash(cause)
              nats.fail(
                `the streams cannot be made again: ${error instanceof Error ? error.message : String(error)}`,
                error
              )
            })
        ),
        Effect.forkScoped
      )
    }
  )

const againForMs = 60_000

/** `HEDDLE_REPLICAS`, `HEDDLE_LOGS_BYTES_MAX`. */
export const optionsConfig: Config.Config<StreamsOptions> = Config.all({
  replicas: Config.Int("HEDDLE_REPLICAS").pipe(Config.withDefault(1)),
  logsBytesMax: Config.Int("HEDDLE_LOGS_BYTES_MAX").pipe(Config.withDefault(1024 * mib))
})

const meshKey = "mesh"

/** The mesh's number of shards: `wanted` at the very first start, from then on what was stored then. */
export const meshShardCount = (
  nats: Connection,
  wanted: number = shardCountDefault
): Effect.Effect<number, ContractError> =>
  Effect.gen(function*() {
    const shards = Kv.bucket(nats, bucketName.shards)
    while (true) {
      const stored = yield* shards.get(meshKey).pipe(retryTransient(20_000), Effect.mapError(broken))
      if (Option.isSome(stored)) {
        const value: unknown = JSON.parse(stored.value.value)
        const count = typeof value === "object" && value !== null && "shards" in value ? value.shards : undefined
        if (typeof count === "number" && Number.isInteger(count) && count > 0) return count
        return yield* new ContractError({
          code: "Conflict",
          message: `key ${meshKey} of ${bucketName.shards} holds ${
            stored.value.value.slice(0, 100)
          } instead of {"shards": n}. Restore it; with another number running workflows are not found.`
        })
      }
      yield* shards.create(meshKey, JSON.stringify({ shards: wanted }))
    }
  })
