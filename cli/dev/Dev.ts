/**
 * `heddle dev`: a NATS server, every service and local pools in one process, ended by one signal.
 *
 * Kept true: the ready line comes when a claim would succeed, not before; parallel copies never share a port or a data folder; whatever ends this process (a signal, a
 * failure, SIGKILL), neither the server nor a sandbox outlives it; the durability level is shown as it is. design/02 "CLI".
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { rmSync, writeFileSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import * as Durability from "../../shared/jetstream/Durability.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { Snapshot } from "../../shared/protocol/Claim.ts"
import { namespaceDefault, type PoolSpec, PoolView } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import * as NatsMeters from "../../shared/telemetry/NatsMeters.ts"
import * as Spans from "../../shared/telemetry/Spans.ts"
import { envName } from "../ConfigFile.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Interruption from "../Interruption.ts"
import { Output } from "../Output.ts"
import * as Http from "../serve/Http.ts"
import * as Serve from "../serve/Serve.ts"
import * as ServiceLog from "../serve/ServiceLog.ts"
import * as Services from "../serve/Services.ts"
import * as Status from "../serve/Status.ts"
import { version } from "../Version.ts"
import * as NatsServer from "./NatsServer.ts"
import * as PoolFlag from "./PoolFlag.ts"

export interface Input extends Status.Input {
  readonly dataDir: Option.Option<string>
  readonly natsPort: Option.Option<string>
  readonly httpPort: Option.Option<string>
  readonly httpHost: Option.Option<string>
  readonly pool: ReadonlyArray<string>
  readonly headless: boolean
  readonly sync: Option.Option<string>
}

/** How long pools have to be taken and to fill after the services are up: most of it is for a machine that is busy. */
const poolsReadyMs = 120_000
const copiesMax = 64
/** nats-server's own default between two fsyncs. */
const syncInterval = "2m"
/** At the end a running task is not waited for: the next `heddle dev` on this folder goes on with the workflow. */
const finishMs = 500

/** A folder of one's own: the asked one, or `.heddle/dev`, `.heddle/dev-2`, ... of the current folder. */
const claimFolder = Effect.fnUntraced(function*(asked: string | undefined) {
  if (asked === "") return yield* Globals.usage("--data-dir is empty.", "name a folder.")
  if (asked !== undefined) {
    const folder = resolve(asked)
    if (yield* NatsServer.lock(folder)) return folder
    return yield* new CliFailure({
      exit: 4,
      message: `Another heddle dev uses ${folder}.`,
      fix: "end it, or give another --data-dir."
    })
  }
  for (let copy = 1; copy <= copiesMax; copy++) {
    const folder = resolve(".heddle", copy === 1 ? "dev" : `dev-${copy}`)
    if (yield* NatsServer.lock(folder)) return folder
  }
  return yield* new CliFailure({
    exit: 4,
    message: `${copiesMax} copies of heddle dev run here already.`,
    fix: "give a --data-dir."
  })
})

const portOf = (text: string) => {
  const port = Number(text)
  return Number.isInteger(port) && port >= 0 && port <= 65_535
    ? Effect.succeed(port)
    : Effect.fail(
      Globals.usage(`--nats-port ${JSON.stringify(text)} is no port.`, "write 0 to 65535; 0 is a free one.")
    )
}

const syncOf = (text: string) =>
  text === "always"
    ? Effect.succeed("always")
    : text === "interval"
    ? Effect.succeed(syncInterval)
    : Durability.parseSync(text) === undefined
    ? Effect.fail(
      Globals.usage(
        `--sync ${JSON.stringify(text)} is neither always nor interval.`,
        "write always, interval, or a duration such as 10s."
      )
    )
    : Effect.succeed(text)

const apply = (nats: Nats["Service"], pool: PoolSpec) =>
  Rpc.callPatiently(nats, Subject.rpc.pools("apply"), Schema.toEncoded(PoolView), pool, {
    timeoutMs: poolsReadyMs,
    attemptMs: 10_000,
    isRepeatable: true
  })

/** A claim would succeed: the pool has an owner and something idle. */
const waitForPool = Effect.fnUntraced(function*(nats: Nats["Service"], pool: PoolSpec) {
  if (pool.size === 0) return
  const subject = Subject.rpc.pool({ namespace: pool.namespace ?? namespaceDefault, name: pool.name }, "snapshot")
  while (true) {
    const snapshot = yield* Rpc.call(nats, subject, Snapshot, {}, { timeoutMs: 1_000 }).pipe(Effect.option)
    if (Option.isSome(snapshot) && snapshot.value.idleReady > 0) return
    yield* Effect.sleep(20)
  }
})

const wholePool = (pool: PoolSpec) => ({
  namespace: pool.namespace ?? namespaceDefault,
  name: pool.name,
  provider: pool.provider,
  size: pool.size
})

export const run = (input: Input) =>
  Effect.scoped(Effect.gen(function*() {
    const poolsText = yield* Config.option(Config.String(envName("pool")))
    const pools = yield* PoolFlag.parseAll(input.pool, Option.getOrUndefined(poolsText))
    const port = Option.isSome(input.natsPort) ? yield* portOf(input.natsPort.value) : 0
    const sync = yield* syncOf(Option.getOrElse(input.sync, () => "interval"))
    const listen = yield* Http.config(input, 0)
    const dataDir = yield* claimFolder(Option.getOrUndefined(input.dataDir))
    yield* Interruption.isOrderlyEnd
    const status = yield* Status.open(input, "dev")
    const spans = yield* Spans.fromEnvironment({
      serviceName: "heddle-dev",
      serviceVersion: version,
      instance: basename(dataDir)
    })

    const server = yield* NatsServer.start({ dataDir, port, sync, name: `heddle-${basename(dataDir)}` })
    const connected = yield* Layer.build(Nats.layer({ url: server.url, name: "heddle-dev" }))
    const nats = yield* Effect.provide(Nats, connected)
    yield* NatsMeters.show(nats)
    const host = yield* Serve.plugins
    const running = Effect.gen(function*() {
      yield* Streams.ensure(nats)
      for (const name of Services.order) {
        if (name === "gateway" && input.headless) continue
        const config: Services.ServiceConfig = {
          member: MemberId.make(name),
          ttlMs: undefined,
          graceMs: undefined,
          slots: undefined,
          pools: "all",
          durability: { sync },
          streams: {},
          finishMs,
          http: listen.http
        }
        yield* Layer.build(Services.layer(name, config)).pipe(
          Effect.provide(host),
          Effect.provide(connected),
          Effect.provideService(Spans.ProcessSpans, spans)
        )
      }
      yield* Effect.forEach(pools, (pool) => apply(nats, pool), { concurrency: 8 })
      yield* Effect.forEach(pools, (pool) => waitForPool(nats, pool), { concurrency: 8 }).pipe(Effect.timeoutOrElse({
        duration: poolsReadyMs,
        orElse: () =>
          Effect.fail(
            new CliFailure({
              exit: 1,
              message: `The pools are not filled after ${poolsReadyMs / 1_000} s.`,
              fix: "look at the log above, and at `heddle pools ls`."
            })
          )
      }))
      const level = yield* Durability.read(nats, { sync })
      const endpoint = join(dataDir, "endpoint.json")
      yield* Effect.acquireRelease(
        Effect.sync(() => writeFileSync(endpoint, JSON.stringify({ natsUrl: server.url, pid: process.pid }))),
        () => Effect.sync(() => rmSync(endpoint, { force: true }))
      )
      yield* status.ready
      yield* ready({
        natsUrl: server.url,
        httpUrl: listen.url(),
        pools: pools.map(wholePool),
        durability: level.text,
        dataDir,
        version: server.version
      })
      return yield* Effect.never
    })
    return yield* Effect.raceFirst(
      running,
      Effect.raceFirst(
        nats.failure.pipe(
          Effect.mapError((failed) =>
            new CliFailure({ exit: 1, message: `A service has ended: ${Serve.withoutStack(failed.reason)}` })
          )
        ),
        Effect.flatMap(server.ended, (text) => Effect.fail(new CliFailure({ exit: 1, message: text })))
      )
    )
  })).pipe(
    Effect.catchTag("ConfigError", (error) =>
      Effect.fail(Globals.usage(`The environment is not valid: ${error.message}`))),
    Effect.provide(ServiceLog.layer("Warn"))
  )

/** What works on these pools: the examples ask for `default`. */
export const tries = (pools: ReadonlyArray<string>): ReadonlyArray<string> => {
  const claimed = pools.includes("default") ? "default" : pools[0] ?? "default"
  return [
    `  npx heddle claim ${claimed} --exec -- sh -c 'echo hello from $PWD'`,
    ...(pools.includes("default") ? ["  npx heddle run examples/hello.yaml --watch"] : []),
    "  npx heddle pools top"
  ]
}

interface Ready {
  readonly natsUrl: string
  /** None with `--headless`. */
  readonly httpUrl: string | undefined
  readonly pools: ReadonlyArray<ReturnType<typeof wholePool>>
  readonly durability: string
  readonly dataDir: string
  readonly version: string
}

const ready = Effect.fnUntraced(function*({ dataDir, durability, httpUrl, natsUrl, pools, version }: Ready) {
  const output = yield* Output
  if (output.format !== "table") {
    return yield* output.event(
      { ready: true, natsUrl, httpUrl: httpUrl ?? null, pools, durability, dataDir, pid: process.pid },
      () => ""
    )
  }
  const { bold, dim } = output.style
  const names = pools.map((pool) => `${pool.name} (${pool.size} ${pool.provider})`).join(", ")
  yield* output.line([
    "",
    `${bold("heddle is ready")}`,
    `  ${dim("nats      ")} ${natsUrl}  nats-server ${version}`,
    ...(httpUrl === undefined ? [] : [`  ${dim("http      ")} ${httpUrl}`]),
    `  ${dim("pools     ")} ${names}`,
    `  ${dim("durability")} ${durability}`,
    `  ${dim("data      ")} ${dataDir}`,
    "",
    "Try, in another terminal of this folder:",
    ...tries(pools.map((pool) => pool.name)),
    "",
    dim("Ctrl-C ends everything; workflows go on at the next start."),
    ""
  ].join("\n"))
})
