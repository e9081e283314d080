/**
 * The gateway: wiring only. It follows the journal, the pool events and the system event bus, answers HTTP from what it has seen and by requests over NATS, and stands in the registry
 * while it is ready. docs/design/gateway.md.
 *
 * Kept true: nothing of it is stored; whatever breaks it later fails `Nats.failure`.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { hostname } from "node:os"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Durability from "../../shared/jetstream/Durability.ts"
import { type Connection, Nats } from "../../shared/jetstream/Nats.ts"
import * as Outage from "../../shared/jetstream/Outage.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { HistoryMessage } from "../../shared/protocol/History.ts"
import type { Member } from "../../shared/protocol/Member.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { InstanceId, type MemberId, Shard, StartupId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import * as Meters from "../../shared/telemetry/Meters.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import * as Answer from "./Answer.ts"
import * as Console from "./Console.ts"
import * as Cursor from "./Cursor.ts"
import * as EventStream from "./EventStream.ts"
import { HttpMeters } from "./HttpMeters.ts"
import * as LiveEvent from "./LiveEvent.ts"
import * as Logs from "./Logs.ts"
import * as Relay from "./Relay.ts"
import * as RunChange from "./RunChange.ts"
import * as RunLists from "./RunLists.ts"
import * as Runs from "./Runs.ts"
import * as Server from "./Server.ts"
import * as Tail from "./Tail.ts"

/** What the environment says: docs/design/gateway.md "Security", "Read model". */
export interface Settings {
  readonly token: Redacted.Redacted | undefined
  readonly origins: ReadonlySet<string>
  readonly runsMax: number
  readonly journalBytes: number
  readonly consoleDir: string | undefined
}

export interface GatewayConfig extends Settings {
  readonly member: MemberId
  /** Of heddle, for the registry. */
  readonly version: string
  /** Of its own registry entry, default 10 s. */
  readonly ttlMs?: number
  readonly host: string
  /** 0: a free one. */
  readonly port: number
  readonly durability: Durability.DurabilityOptions
  /** Called once, when it listens; it is ready later. */
  readonly listening?: (url: string) => void
  /** Between two signs of life on an event stream that has nothing to tell; 15 s when not given. */
  readonly heartbeatMs?: number
}

export const journalBytesDefault = 128 * 1024 * 1024
const heartbeatMsDefault = 15_000
/** How long a broker that is there may keep it out of the registry. */
const registerForMs = 60_000
/** Definitions of old runs that begin again, looked up at once. */
const lookupsMax = 1_000

const optional = <A>(config: Config.Config<A>) => Config.option(config).pipe(Config.map(Option.getOrUndefined))

/** `HEDDLE_HTTP_TOKEN`, `HEDDLE_HTTP_ORIGINS`, `HEDDLE_GATEWAY_RUNS_MAX`, `HEDDLE_GATEWAY_JOURNAL_BYTES`, `HEDDLE_CONSOLE_DIR`. */
export const settings: Config.Config<Settings> = Config.all({
  token: optional(Config.Redacted("HEDDLE_HTTP_TOKEN")),
  origins: Config.String("HEDDLE_HTTP_ORIGINS").pipe(
    Config.withDefault(""),
    Config.map((text) => new Set(text.split(",").map((origin) => origin.trim()).filter((origin) => origin !== "")))
  ),
  runsMax: Config.Int("HEDDLE_GATEWAY_RUNS_MAX").pipe(Config.withDefault(Runs.runsMaxDefault)),
  journalBytes: Config.Int("HEDDLE_GATEWAY_JOURNAL_BYTES").pipe(Config.withDefault(journalBytesDefault)),
  consoleDir: optional(Config.String("HEDDLE_CONSOLE_DIR"))
})

/** Ready when it answers from everything that the journal held at its start. The streams must exist (Streams.ensure). */
export const layer = (config: GatewayConfig): Layer.Layer<never, ContractError, Nats> =>
  Layer.effectDiscard(make(config))

const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: `the gateway cannot start: ${error.message}` })

const make = Effect.fnUntraced(function*(config: GatewayConfig) {
  const nats = yield* Nats
  const { heartbeatMs = heartbeatMsDefault, member, version } = config
  const startedAt = timestamp(nats.clock.currentTimeMillisUnsafe())
  let isReady = false

  // what it follows
  const { journal, pools, runs, system } = yield* follow(nats, config)
  const source: RunLists.Source = { runs, seq: journal.tail.position }
  const sources = { journal, pools, system }
  const tails = [journal.tail, pools.tail, system.tail]

  // what it answers
  const durability = Durability.read(nats, config.durability)
  const whenReady = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.suspend((): Effect.Effect<A, E | ContractError> => isReady ? effect : Effect.fail(RunLists.notReady()))
  const own: Server.Own = {
    answers: {
      listWorkflows: ({ query }) => whenReady(RunLists.list(nats, source, query)),
      countWorkflows: ({ query }) => whenReady(Effect.sync(() => RunLists.counts(source, query))),
      logsOfWorkflow: ({ params, query }) =>
        Effect.flatMap(logsAsked(params["id"], query, textOf(query["next"])), (asked) => {
          const { limit } = query
          return Logs.page(nats, asked, typeof limit === "number" ? limit : undefined)
        }),
      durability: () => durability,
      info: () =>
        Effect.map(Effect.option(durability), (level) => ({
          version,
          member,
          startedAt,
          natsServer: nats.serverVersion,
          durability: Option.isSome(level) ? level.value.text : undefined,
          readModel: {
            runs: runs.size,
            runsMax: runs.runsMax,
            seq: source.seq(),
            since: runs.since === undefined ? undefined : timestamp(runs.since)
          },
          eventStreams: server.streams()
        }))
    },
    events: {
      events: ({ lastEventId, query }) =>
        Effect.flatMap(
          eventsAsked(sources, query, lastEventId ?? textOf(query["after"])),
          (asked) => EventStream.open({ nats, version, heartbeatMs, ...asked })
        ),
      followLogsOfWorkflow: ({ lastEventId, params, query }) =>
        Effect.flatMap(
          logsAsked(params["id"], query, lastEventId ?? textOf(query["after"])),
          (asked) => Logs.live(nats, asked, heartbeatMs)
        )
    }
  }

  const notReadyWhy = (): string | undefined =>
    server.isEnding()
      ? "it is ending"
      : !nats.isConnected
      ? "the connection to NATS is down"
      : isReady
      ? undefined
      : "the read model has not caught up with the journal"
  const meters = yield* Meters.Telemetry
  const relay = yield* Relay.make(nats)
  const server: Server.Server = yield* Server.serve({
    host: config.host,
    port: config.port,
    guard: { host: config.host, token: config.token, origins: config.origins },
    relay,
    own,
    meters: new HttpMeters(meters, Meters.stopwatch(nats.clock)),
    fallback: yield* fallback(config, () => isReady ? RunLists.counts(source, {}).byState : {}),
    plain: {
      "/livez": () => Answer.json({ live: true, service: "gateway", version }),
      "/metrics": () =>
        HttpServerResponse.text(PrometheusMetrics.formatUnsafe(meters.context), {
          contentType: "text/plain; version=0.0.4; charset=utf-8"
        }),
      "/readyz": () => {
        const reason = notReadyWhy()
        return reason === undefined
          ? Answer.json({ ready: true, service: "gateway" })
          : Answer.json({ ready: false, service: "gateway", reasons: [{ check: "gateway", reason }] }, 503)
      }
    }
  })
  yield* meters.gaugeScoped(Catalog.httpOpen, { kind: "request" }, server.requests)
  yield* meters.gaugeScoped(Catalog.httpOpen, { kind: "wait" }, server.waits)
  yield* meters.gaugeScoped(Catalog.httpOpen, { kind: "stream" }, server.streams)
  yield* (yield* ProcessReadiness).addScoped("gateway", notReadyWhy)
  config.listening?.(server.url)

  yield* Effect.forEach(tails, ({ caughtUp }) => caughtUp).pipe(
    Effect.raceFirst(Effect.mapError(nats.failure, unavailable)),
    Effect.raceFirst(Effect.raceAllFirst(tails.map(({ failure }) => Effect.mapError(failure, unavailable))))
  )
  isReady = true
  yield* stand(nats, config, startedAt, tails)
})

/** The streams it reads, and the read model that the journal feeds. */
const follow = Effect.fnUntraced(function*(nats: Connection, config: GatewayConfig) {
  const runs = new Runs.Runs(config.runsMax)
  const unknown = yield* Queue.dropping<Runs.Unknown>(lookupsMax)
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const unreadable = (sequence: number): void => {
    fork(Effect.logWarning(`gateway: message ${sequence} of the journal is not one that this version can read`))
  }
  let isFirst = true
  let isWhole = true
  const journalTail = yield* Tail.follow(nats, {
    stream: Streams.name.journal,
    filter: "heddle.journal.*",
    from: (bounds) => {
      const messages = bounds.bytes <= config.journalBytes
        ? bounds.messages
        : Math.max(1, Math.floor(bounds.messages * config.journalBytes / bounds.bytes))
      const from = Math.max(bounds.first, bounds.last - messages + 1)
      isWhole = from <= 1
      return from
    },
    first: ({ sequence, text }) => {
      if (isFirst && !isWhole) runs.startAt(LiveEvent.writtenAt(text) ?? nats.clock.currentTimeMillisUnsafe())
      isFirst = false
      const entries = LiveEvent.entriesOf(text)
      if (entries === undefined) return unreadable(sequence)
      for (const entry of entries) {
        const lacking = runs.apply(entry, sequence)
        if (lacking !== undefined) Queue.offerUnsafe(unknown, lacking)
      }
    }
  })
  yield* Queue.take(unknown).pipe(
    Effect.flatMap((one) => Effect.map(beginningOf(nats, one), (begun) => runs.define(one.instance, begun, 2))),
    Effect.forever,
    Effect.tapCause((cause) =>
      Effect.sync(() => {
        if (Cause.hasInterruptsOnly(cause)) return
        nats.fail(`gateway ${config.member}: looking up runs: ${Cause.pretty(cause)}`, Cause.squash(cause))
      })
    ),
    Effect.forkScoped
  )
  const fromNow = ({ last }: Tail.Bounds) => last + 1
  const poolTail = yield* Tail.follow(nats, {
    stream: Streams.name.poolEvents,
    filter: "heddle.pool.*.*.event",
    from: fromNow
  })
  const systemTail = yield* Tail.follow(nats, {
    stream: Streams.name.system,
    filter: "heddle.system.*",
    from: fromNow
  })
  return {
    runs,
    journal: new EventStream.Source(
      "journal",
      journalTail,
      ({ sequence, text }) => LiveEvent.ofJournal(text, sequence)
    ),
    pools: new EventStream.Source(
      "pools",
      poolTail,
      ({ sequence, subject, text }) => LiveEvent.ofPoolEvent(text, sequence, subject)
    ),
    system: new EventStream.Source(
      "system",
      systemTail,
      ({ sequence, text }) => LiveEvent.ofSystemEvent(text, sequence)
    )
  }
})

const decodeHistory = Decode.decoder(HistoryMessage)

/** What the first entry of a run says that it is one of; nothing where nobody has it. */
const beginningOf = (
  nats: Connection,
  { instance, shard }: Runs.Unknown
): Effect.Effect<RunChange.RunChange["begun"]> => {
  const id = InstanceId.make(instance)
  const of = Shard.make(shard)
  const first = (stream: string, subject: string) =>
    Effect.map(Read.nextMessage(nats, stream, subject, 1), (found) => {
      const message = Option.isNone(found) ? undefined : decodeHistory(found.value.text)
      const entry = message === undefined || Result.isFailure(message) ? undefined : message.success.entries[0]?.entry
      return entry === undefined ? undefined : RunChange.of(entry)?.begun
    })
  return Effect.gen(function*() {
    const inHistory = yield* first(Streams.name.history, Subject.history(of, id))
    return inHistory ?? (yield* first(Streams.name.archive, Subject.archive(of, id)))
  }).pipe(
    Effect.catch((error) =>
      Effect.as(
        Effect.logWarning(
          `gateway: what ${instance} is a run of is not known, so lists leave it out: ${error.message}`
        ),
        undefined
      )
    )
  )
}

/** Keeps it in the registry, again when the entry is lost; ends the connection's service when it cannot be, or when a stream cannot be followed any more. */
const stand = Effect.fnUntraced(function*(
  nats: Connection,
  config: GatewayConfig,
  startedAt: string,
  tails: ReadonlyArray<Tail.Tail>
) {
  const first = yield* register(nats, config, startedAt)
  const again = Effect.scoped(Effect.flatMap(register(nats, config, startedAt), ({ lost }) => lost)).pipe(
    Effect.catchTag("RegistrationLost", replaced(config.member)),
    Outage.outlast(nats, { forMs: registerForMs, isPassing: (error) => error.code === "Unavailable" }),
    Effect.forever
  )
  yield* first.lost.pipe(
    Effect.catch(replaced(config.member)),
    Effect.andThen(again),
    Effect.raceFirst(Effect.raceAllFirst(tails.map(({ failure }) => failure))),
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.sync(() => nats.fail(`gateway ${config.member}: ${Cause.pretty(cause)}`, Cause.squash(cause)))
    ),
    Effect.forkScoped
  )
})

const replaced = (member: MemberId) => (lost: Registry.RegistrationLost): Effect.Effect<void, ContractError> =>
  lost.reason === "Replaced"
    ? Effect.fail(
      new ContractError({
        code: "Conflict",
        message: `another process runs as gateway ${member}: give each a member name of its own`
      })
    )
    : Effect.logWarning(`${lost.message}: registering again`)

const register = (
  nats: Connection,
  config: GatewayConfig,
  startedAt: string
): Effect.Effect<Registry.Registration, ContractError, Scope.Scope> =>
  Effect.gen(function*() {
    const entry: Member = {
      member: config.member,
      startup: yield* newStartup,
      role: "gateway",
      host: hostname(),
      pid: process.pid,
      version: config.version,
      startedAt
    }
    return yield* Registry.register(nats, entry, config.ttlMs === undefined ? {} : { ttlMs: config.ttlMs }).pipe(
      Effect.mapError(unavailable)
    )
  })

/** The console's files, or the page that stands in for them. */
const fallback = (config: GatewayConfig, byState: () => Readonly<Record<string, number>>) =>
  Effect.gen(function*() {
    const folder = Console.folder(config.consoleDir)
    const plain: Effect.Effect<HttpServerResponse.HttpServerResponse> = Effect.sync(() =>
      Console.page({
        version: config.version,
        member: config.member,
        runs: byState(),
        hasToken: config.token !== undefined
      })
    )
    if (folder === undefined) return plain
    const services = yield* Layer.build(NodeHttpServer.layerHttpServices)
    return yield* Console.files(folder).pipe(Effect.provide(services), Effect.mapError(unavailable))
  })

// ------------------------------------------------------------------------------------------------------------ what queries ask for

const textOf = (value: unknown): string | undefined => typeof value === "string" ? value : undefined

const badQuery = (path: string, message: string) => new ContractError({ code: "InvalidMessage", message, path })

const logsAsked = (
  instance: string | undefined,
  query: Readonly<Record<string, unknown>>,
  after: string | undefined
): Effect.Effect<Logs.Asked, ContractError> => {
  const task = textOf(query["task"])
  const problem = Logs.checkTask(task)
  if (problem !== undefined) return Effect.fail(problem)
  if (after !== undefined && !/^\d{1,15}$/.test(after)) {
    return Effect.fail(badQuery("next", `next: ${JSON.stringify(after.slice(0, 80))} is of no page of logs`))
  }
  return Effect.succeed({ instance: instance ?? "", task, after: Number(after ?? "0") })
}

type Sources = { readonly [_ in Cursor.SourceName]: EventStream.Source }

const sourceOf: { readonly [_ in LiveEvent.Kind]: Cursor.SourceName } = {
  run: "journal",
  task: "journal",
  entry: "journal",
  claim: "pools",
  pool: "pools",
  failover: "system"
}

/** What a reader of events wants, and of which streams. Fails with what is no such thing. */
const eventsAsked = (sources: Sources, query: Readonly<Record<string, unknown>>, after: string | undefined) =>
  Effect.gen(function*() {
    const instance = textOf(query["instance"])
    const pool = textOf(query["pool"])
    if (instance !== undefined && !/^[A-Za-z0-9_-]{1,63}$/.test(instance)) {
      return yield* badQuery("instance", "instance: this is no id of an instance")
    }
    if (pool !== undefined && !/^[A-Za-z0-9_-]{1,63}\/[A-Za-z0-9_-]{1,63}$/.test(pool)) {
      return yield* badQuery("pool", "pool: write <namespace>/<pool>")
    }
    const named = textOf(query["kinds"])?.split(",").map((kind) => kind.trim()).filter((kind) => kind !== "")
    const kinds = LiveEvent.kinds.filter((kind) => named === undefined ? kind !== "entry" : named.includes(kind))
    const wrong = named?.find((kind) => !LiveEvent.kinds.some((one) => one === kind))
    if (wrong !== undefined) {
      return yield* badQuery(
        "kinds",
        `kinds: ${JSON.stringify(wrong.slice(0, 80))} is none of ${LiveEvent.kinds.join(", ")}`
      )
    }
    const isAbout = (kind: LiveEvent.Kind): boolean =>
      instance === undefined && pool === undefined ||
      instance !== undefined && sourceOf[kind] === "journal" || pool !== undefined && sourceOf[kind] === "pools"
    const wanted = new Set(kinds.filter(isAbout))
    const cursor = after === undefined || after === "" ? {} : yield* Effect.fromResult(Cursor.parse(after))
    return {
      cursor,
      sources: Cursor.sources.filter((name) => [...wanted].some((kind) => sourceOf[kind] === name))
        .map((name) => sources[name]),
      wants: (event: LiveEvent.LiveEvent): boolean =>
        wanted.has(event.kind) &&
        (instance === undefined || event.instance === undefined || event.instance === instance) &&
        (pool === undefined || event.pool === undefined || event.pool === pool)
    }
  })

const newStartup = Effect.gen(function*() {
  const random = yield* Random.Random
  const part = () => Math.floor(random.nextDoubleUnsafe() * 36 ** 8).toString(36).padStart(8, "0")
  return StartupId.make(part() + part())
})
