/**
 * The flags that every command takes, and what they come to after environment and file have had their say.
 */
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type { PoolRef } from "../shared/protocol/Sandbox.ts"
import { parseDurationMs } from "../shared/protocol/Time.ts"
import { Namespace, PoolName } from "../shared/protocol/Token.ts"
import { envName } from "./ConfigFile.ts"
import { CliFailure } from "./ExitCode.ts"
import { colours, formats } from "./Output.ts"

export const natsUrlDefault = "nats://127.0.0.1:4222"
export const timeoutDefaultMs = 5_000

export const output = GlobalFlag.Setting("output")({
  flag: Flag.Literals("output", formats).pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("<format>"),
    Flag.withDescription("How data is printed; table when not given"),
    Flag.withFallbackConfig(Config.Literals(formats, envName("output"))),
    Flag.withDefault("table")
  )
})

export const nats = GlobalFlag.Setting("nats")({
  flag: Flag.String("nats").pipe(
    Flag.withMetavar("<url>"),
    Flag.withDescription(`URL of the NATS server; a running \`heddle dev\` of this folder, else ${natsUrlDefault}`),
    Flag.withFallbackConfig(Config.String(envName("nats"))),
    Flag.optional
  )
})

/** The whole identity: what environment and file say of one is not read then (`Connection.identityOf`). Passwords and tokens are no flags: everybody on a machine sees its command lines. */
export const natsCreds = GlobalFlag.Setting("nats-creds")({
  flag: Flag.String("nats-creds").pipe(
    Flag.withMetavar("<file>"),
    Flag.withDescription("Credentials file for the NATS server, where it asks who connects"),
    Flag.optional
  )
})

export const namespace = GlobalFlag.Setting("namespace")({
  flag: Flag.String("namespace").pipe(
    Flag.withAlias("n"),
    Flag.withMetavar("<name>"),
    Flag.withDescription("Namespace of pools and definitions named without one; default when not given"),
    Flag.withFallbackConfig(Config.String(envName("namespace"))),
    Flag.withDefault("default")
  )
})

export const color = GlobalFlag.Setting("color")({
  flag: Flag.Literals("color", colours).pipe(
    Flag.withMetavar("<when>"),
    Flag.withDescription("Colours; auto: on a terminal without NO_COLOR"),
    Flag.withFallbackConfig(Config.Literals(colours, envName("color"))),
    Flag.withDefault("auto")
  )
})

export const timeout = GlobalFlag.Setting("timeout")({
  flag: Flag.String("timeout").pipe(
    Flag.withMetavar("<duration>"),
    Flag.withDescription("How long one request may take; 5s when not given"),
    Flag.withFallbackConfig(Config.String(envName("timeout"))),
    Flag.withDefault("5s")
  )
})

/** Read before anything is parsed (ConfigFile.configFlag); declared so that it is known and shown. */
export const config = GlobalFlag.Setting("config")({
  flag: Flag.String("config").pipe(
    Flag.withMetavar("<file>"),
    Flag.withDescription("Configuration file, instead of ./heddle.yaml and ~/.config/heddle/config.yaml"),
    Flag.optional
  )
})

/** Of the logs on standard error. */
export const logLevel = GlobalFlag.Setting("log-level")({
  flag: Flag.Literals("log-level", ["trace", "debug", "info", "warn", "error", "none"]).pipe(
    Flag.withMetavar("<level>"),
    Flag.withDescription("How much is logged on standard error"),
    Flag.withFallbackConfig(Config.Literals(["trace", "debug", "info", "warn", "error", "none"], envName("log-level"))),
    Flag.optional
  )
})

export const namespaceDefault: Namespace = Namespace.make("default")

export const all = [output, nats, natsCreds, namespace, timeout, color, logLevel, config] as const

/** What a command of the user's says about a value that no Schema has seen yet. */
export const usage = (message: string, fix?: string) =>
  new CliFailure({ exit: 2, message, ...(fix === undefined ? {} : { fix }) })

/** Milliseconds of a flag's `30s`, which has to be so long at least. */
export const durationMs = (flag: string, text: string, leastMs = 0): Effect.Effect<number, CliFailure> => {
  const ms = parseDurationMs(text) ?? (/^\d+$/.test(text) ? Number(text) : undefined)
  if (ms !== undefined && ms < leastMs) {
    return Effect.fail(
      usage(
        `${flag} ${JSON.stringify(text)} is too short.`,
        `write ${leastMs >= 1_000 ? `${leastMs / 1_000}s` : `${leastMs}ms`} or more.`
      )
    )
  }
  return ms === undefined
    ? Effect.fail(
      usage(`${flag} ${JSON.stringify(text)} is no duration.`, "write 250ms, 30s, 5m, 2h, or a number of milliseconds.")
    )
    : Effect.succeed(ms)
}

const token = /^[A-Za-z0-9_-]{1,63}$/
/** A name that becomes a part of a subject. */
export const checkToken = (what: string, text: string): Effect.Effect<string, CliFailure> =>
  token.test(text)
    ? Effect.succeed(text)
    : Effect.fail(usage(`${what} ${JSON.stringify(text)} is no name.`, "use 1 to 63 of A-Z a-z 0-9 _ -."))

/** `name` in the current namespace, or `namespace/name`. */
export const poolOf = Effect.fnUntraced(function*(text: string) {
  const slash = text.indexOf("/")
  const ns = slash < 0 ? yield* namespace : text.slice(0, slash)
  const name = yield* checkToken("The pool", text.slice(slash + 1))
  return {
    namespace: Namespace.make(yield* checkToken("The namespace", ns)),
    name: PoolName.make(name)
  } satisfies PoolRef
})

/** The current namespace as the contract's word. */
export const namespaceToken = Effect.fnUntraced(function*() {
  return Namespace.make(yield* checkToken("The namespace", yield* namespace))
})
