/**
 * What an acknowledged write survives on this broker, said exactly and never better than it is known. design/00 "Promises".
 *
 * nats-server tells a client its version and API level, and a stream's replicas. It tells `sync_interval` only on the monitoring port (`/varz`, `/jsz`) or to the system
 * account, so it comes from there when an address is given, from the configuration when the launcher says it (`heddle dev` starts the server itself), and is otherwise
 * reported as unknown, with the server's default assumed: nothing here claims an fsync without proof.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ContractError } from "../protocol/ErrorCode.ts"
import { parseDurationMs } from "../protocol/Time.ts"
import { ask, retryTransient } from "./JetStreamApi.ts"
import type { Connection } from "./Nats.ts"
import * as ServerVersion from "./ServerVersion.ts"
import * as Streams from "./Streams.ts"

/** When an acknowledged write is on the disk of the server that acknowledged it. */
export type Fsync =
  | { readonly _tag: "Always" }
  | { readonly _tag: "Every"; readonly intervalMs: number }
  /** The server does not say; its default is two minutes. */
  | { readonly _tag: "Unknown"; readonly assumedMs: number }

export interface DurabilityLevel {
  /** For people and for the registry: `R1, fsync always`, `R3, fsync every 2m`, `R1, fsync unknown (assumed every 2m)`. */
  readonly text: string
  readonly fsync: Fsync
  /** Where `fsync` comes from. */
  readonly source: "monitor" | "configuration" | "assumed"
  readonly replicas: number
  readonly serverVersion: string
  readonly apiLevel: number
}

export interface DurabilityOptions {
  /** What the launcher gave to the server: `always` or a duration as nats-server writes it (`2m`, `1m30s`). */
  readonly sync?: string
  /** The server's monitoring address, `http://host:8222`. */
  readonly monitorUrl?: string
}

export const apiLevelMin = 2
/** A server without JetStream says so at once; one that is busy may take so long. */
const slowMs = 20_000
export const syncIntervalDefaultMs = 120_000

/** `always`, `2m`, `1m30s`, `500ms`, with or without quotes. `undefined`: not understood. Pure. */
export const parseSync = (text: string): Fsync | undefined => {
  const plain = text.trim().replaceAll("\"", "")
  if (plain === "always") return { _tag: "Always" }
  const parts = plain.match(/\d+(?:\.\d+)?(?:ms|s|m|h)/g)
  if (parts === null || parts.join("") !== plain) return undefined
  return { _tag: "Every", intervalMs: parts.reduce((sum, part) => sum + (parseDurationMs(part) ?? 0), 0) }
}

const intervalText = (ms: number): string =>
  ms % 60_000 === 0 ? `${ms / 60_000}m` : ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`

/** The line that people see. Pure. */
export const describe = (fsync: Fsync, replicas: number): string => {
  switch (fsync._tag) {
    case "Always":
      return `R${replicas}, fsync always`
    case "Every":
      return `R${replicas}, fsync every ${intervalText(fsync.intervalMs)}`
    case "Unknown":
      return `R${replicas}, fsync unknown (assumed every ${intervalText(fsync.assumedMs)})`
  }
}

/** Broker facts for `doctor`, the registry and logs. Errors: `Unsupported` for a server older than 2.12 or without JetStream's API level 2; `Unavailable`. */
export const read: (nats: Connection, options?: DurabilityOptions) => Effect.Effect<DurabilityLevel, ContractError> =
  Effect.fn("Durability.read")(
    function*(nats, options) {
      if (ServerVersion.isOlder(nats.serverVersion, ServerVersion.least)) {
        return yield* new ContractError({
          code: "Unsupported",
          message:
            `nats-server ${nats.serverVersion} at ${nats.url} is too old: ${ServerVersion.least} at least. Set HEDDLE_NATS_SERVER to a newer binary, or run \`npm run bootstrap\` to get one.`
        })
      }
      const account = yield* ask<{ readonly api?: { readonly level?: number } }>(nats, "INFO", undefined, slowMs).pipe(
        Effect.mapError((error) =>
          new ContractError({
            code: "Unavailable",
            message:
              `JetStream does not answer at ${nats.url}: ${error.message}. Put \`jetstream {}\` into the server's configuration.`
          })
        )
      )
      const apiLevel = account.api?.level ?? 0
      if (apiLevel < apiLevelMin) {
        return yield* new ContractError({
          code: "Unsupported",
          message:
            `the JetStream API of ${nats.url} has level ${apiLevel}, heddle needs ${apiLevelMin}: upgrade nats-server to ${ServerVersion.least} or newer.`
        })
      }
      const journal = yield* Streams.info(nats, Streams.name.journal).pipe(
        retryTransient(slowMs),
        Effect.mapError((error) => new ContractError({ code: "Unavailable", message: error.message }))
      )
      const replicas = Option.isSome(journal) ? journal.value.config.num_replicas : 1
      const { fsync, source } = yield* readFsync(options ?? {})
      return { text: describe(fsync, replicas), fsync, source, replicas, serverVersion: nats.serverVersion, apiLevel }
    }
  )

const unknown = { fsync: { _tag: "Unknown", assumedMs: syncIntervalDefaultMs }, source: "assumed" } as const

const readFsync = (options: DurabilityOptions): Effect.Effect<Pick<DurabilityLevel, "fsync" | "source">> =>
  Effect.gen(function*() {
    if (options.monitorUrl !== undefined) {
      const shown = yield* Effect.result(monitored(options.monitorUrl))
      if (shown._tag === "Success") return { fsync: shown.success, source: "monitor" } as const
      yield* Effect.logWarning(`the monitor of nats-server does not tell its sync interval: ${shown.failure}`)
    }
    const configured = options.sync === undefined ? undefined : parseSync(options.sync)
    return configured === undefined ? unknown : { fsync: configured, source: "configuration" } as const
  })

const monitored = (url: string): Effect.Effect<Fsync, string> =>
  Effect.tryPromise({
    try: async (signal): Promise<unknown> => (await fetch(new URL("/jsz", url), { signal })).json(),
    catch: String
  }).pipe(
    Effect.timeoutOrElse({ duration: 2_000, orElse: () => Effect.fail("no answer within 2 s") }),
    Effect.flatMap((jsz) => {
      const fsync = fsyncOfMonitor(jsz)
      return fsync === undefined ? Effect.fail("no config.sync_interval in /jsz") : Effect.succeed(fsync)
    })
  )

/** What `/jsz` says: `config.sync_always`, `config.sync_interval` (nanoseconds). Pure. */
export const fsyncOfMonitor = (jsz: unknown): Fsync | undefined => {
  if (
    typeof jsz !== "object" || jsz === null || !("config" in jsz) || typeof jsz.config !== "object" ||
    jsz.config === null
  ) return undefined
  const config = jsz.config
  if ("sync_always" in config && config.sync_always === true) return { _tag: "Always" }
  return "sync_interval" in config && typeof config.sync_interval === "number"
    ? { _tag: "Every", intervalMs: Math.round(config.sync_interval / 1_000_000) }
    : undefined
}

/** `HEDDLE_NATS_SYNC` (set by whoever starts the server), `HEDDLE_NATS_MONITOR` (`http://host:8222`). */
export const optionsConfig: Config.Config<DurabilityOptions> = Config.all({
  sync: Config.option(Config.String("HEDDLE_NATS_SYNC")),
  monitorUrl: Config.option(Config.String("HEDDLE_NATS_MONITOR"))
}).pipe(Config.map(({ monitorUrl, sync }) => {
  const options: DurabilityOptions = {}
  if (Option.isSome(sync)) Object.assign(options, { sync: sync.value })
  if (Option.isSome(monitorUrl)) Object.assign(options, { monitorUrl: monitorUrl.value })
  return options
}))
