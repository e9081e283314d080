/**
 * `heddle serve`: one service as its own process against a NATS server.
 *
 * Kept true: it says that it is ready only when it is; SIGTERM and SIGINT end it in order with exit code 0; when a part of it dies, or the connection is lost for
 * good, the process ends with another code and the reason. design/02 "CLI".
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { randomUUID } from "node:crypto"
import * as AgentLinkOf from "../../shared/jetstream/AgentLink.ts"
import * as AgentToken from "../../shared/jetstream/AgentToken.ts"
import * as Durability from "../../shared/jetstream/Durability.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { AgentLink, AgentTokens } from "../../shared/plugin/AgentLink.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import * as NatsMeters from "../../shared/telemetry/NatsMeters.ts"
import * as Spans from "../../shared/telemetry/Spans.ts"
import * as Connection from "../Connection.ts"
import { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import * as Interruption from "../Interruption.ts"
import { Output } from "../Output.ts"
import * as Plugins from "../Plugins.ts"
import { version } from "../Version.ts"
import * as Http from "./Http.ts"
import * as ServiceLog from "./ServiceLog.ts"
import * as Services from "./Services.ts"
import * as Status from "./Status.ts"

export interface Input extends Status.Input {
  readonly service: Services.ServiceName
  readonly member: Option.Option<string>
  readonly slots: Option.Option<number>
  readonly pool: ReadonlyArray<string>
  readonly httpHost: Option.Option<string>
  readonly httpPort: Option.Option<string>
  readonly ttl: Option.Option<string>
  readonly grace: Option.Option<string>
  readonly untilStdinEnds: boolean
}

/** Of a gateway that is its own process. */
const httpPortDefault = 8080

const optionalMs = (flag: string, text: Option.Option<string>, leastMs: number) =>
  Option.isSome(text) ? Globals.durationMs(flag, text.value, leastMs) : Effect.undefined

/** The broker counts the lives of entries in seconds. */
const ttlLeastMs = 1_000

/** A name that no other process has. */
export const memberName = (service: Services.ServiceName): MemberId =>
  MemberId.make(`${service}-${randomUUID().slice(0, 8)}`)

/** What a plugin that cannot be loaded is to the shell. */
export const plugins = Effect.catchTag(
  Layer.build(Plugins.layer),
  "PluginError",
  (error) => Effect.fail(Plugins.notLoaded(error))
)

/** For people: what broke, not where in the code. */
export const withoutStack = (text: string): string =>
  text.split("\n").filter((line) => !/^\s+at /.test(line)).join("\n")

const stdinEnded = Effect.callback<void>((resume) => {
  const end = () => resume(Effect.void)
  process.stdin.once("end", end)
  process.stdin.once("error", end)
  process.stdin.resume()
})

export const run = (input: Input) =>
  Effect.scoped(Effect.gen(function*() {
    const output = yield* Output
    const url = yield* Connection.url
    const member = Option.isSome(input.member)
      ? MemberId.make(yield* Globals.checkToken("--member", input.member.value))
      : memberName(input.service)
    const listen = yield* Http.config(input, httpPortDefault)
    const config: Services.ServiceConfig = {
      member,
      ttlMs: yield* optionalMs("--ttl", input.ttl, ttlLeastMs),
      graceMs: yield* optionalMs("--grace", input.grace, 0),
      slots: Option.getOrUndefined(input.slots),
      pools: input.pool.length === 0 ? "all" : yield* Effect.forEach(input.pool, Globals.poolOf),
      durability: yield* Durability.optionsConfig,
      streams: yield* Streams.optionsConfig,
      finishMs: undefined,
      http: listen.http
    }
    yield* Interruption.isOrderlyEnd
    const status = yield* Status.open(input, input.service)
    const spans = yield* Spans.fromEnvironment({
      serviceName: `heddle-${input.service}`,
      serviceVersion: version,
      instance: member
    })
    const connected = yield* Layer.build(
      Nats.layer({ url, name: `heddle-${input.service}`, ...(yield* Connection.identityOf(yield* Globals.natsCreds)) })
    )
    const nats = yield* Effect.provide(Nats, connected)
    yield* NatsMeters.show(nats)
    const host = yield* plugins
    const agentTokens = yield* AgentToken.config(nats)
    const broken = nats.failure.pipe(
      Effect.mapError((failed) =>
        new CliFailure({ exit: 1, message: `${input.service} ${member} has ended: ${withoutStack(failed.reason)}` })
      )
    )
    const serving = Effect.gen(function*() {
      // no JetStream, or a server that is too old: nothing can be served there, and nothing is made on it
      yield* Durability.read(nats).pipe(
        Effect.mapError((error) => new CliFailure({ exit: 6, message: error.message }))
      )
      yield* Streams.ensure(nats, config.streams)
      yield* Layer.build(Services.layer(input.service, config)).pipe(
        Effect.provide(host),
        Effect.provide(connected),
        // for sandboxes in agent mode: an executor's way to them, and what a pool scheduler signs their tokens with
        Effect.provideService(AgentLink, AgentLinkOf.make(nats)),
        Effect.provideService(AgentTokens, agentTokens),
        Effect.provideService(Spans.ProcessSpans, spans)
      )
      yield* status.ready
      yield* output.format === "table"
        ? output.note(
          `heddle: ${input.service} ${member} is ready at ${nats.url}${
            listen.url() === undefined ? "" : `, ${listen.url()}`
          }`
        )
        : output.event({
          ready: true,
          service: input.service,
          member,
          natsUrl: nats.url,
          ...(listen.url() === undefined ? {} : { httpUrl: listen.url() }),
          pid: process.pid,
          ...(status.port === undefined ? {} : { statusPort: status.port })
        }, () => "")
      return yield* Effect.never
    })
    const served = Effect.raceFirst(serving, broken)
    return yield* input.untilStdinEnds ? Effect.raceFirst(served, stdinEnded) : served
  })).pipe(
    Effect.catchTag("ConfigError", (error) =>
      Effect.fail(Globals.usage(`The environment is not valid: ${error.message}`))),
    Effect.provide(ServiceLog.layer())
  )
