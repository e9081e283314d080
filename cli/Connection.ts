/**
 * The command's connection to the mesh, opened when a command first needs it and closed with it; no server within two seconds is exit code 6.
 *
 * Which server: `--nats`, `HEDDLE_NATS_URL`, `nats` of a configuration file, the `heddle dev` that runs in this folder (it leaves `endpoint.json`), port 4222.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { type Identity, identityConfig, Nats } from "../shared/jetstream/Nats.ts"
import * as Rpc from "../shared/jetstream/Rpc.ts"
import { ContractError } from "../shared/protocol/ErrorCode.ts"
import * as Subject from "../shared/protocol/Subject.ts"
import type { CliFailure } from "./ExitCode.ts"
import * as FilePath from "./FilePath.ts"
import * as Globals from "./Globals.ts"
import { Output } from "./Output.ts"
import * as Repetition from "./Repetition.ts"

/** What a running `heddle dev` leaves in its data folder. */
export const Endpoint = Schema.Struct({ natsUrl: Schema.String, pid: Schema.Int })
const decodeEndpoint = Schema.decodeUnknownOption(Schema.fromJsonString(Endpoint))

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return cause instanceof Error && "code" in cause && cause.code === "EPERM"
  }
}

/** `endpoint.json` of a living `heddle dev` in this folder or one above it. */
export const runningDev = (cwd: string): string | undefined => {
  for (let folder = cwd;; folder = dirname(folder)) {
    const home = join(folder, ".heddle")
    let names: ReadonlyArray<string>
    try {
      names = readdirSync(home).filter((name) => /^dev(-\d+)?$/.test(name)).toSorted()
    } catch {
      names = [] // no .heddle here
    }
    for (const name of names) {
      try {
        const found = Option.getOrUndefined(decodeEndpoint(readFileSync(join(home, name, "endpoint.json"), "utf8")))
        if (found !== undefined && isAlive(found.pid)) return found.natsUrl
      } catch {
        continue // not running, or just ended
      }
    }
    if (dirname(folder) === folder) return undefined
  }
}

/** Each part `nats://host:port`, `tls://host:port`, or `host:port`. */
const isNatsUrl = (text: string): boolean =>
  text.split(",").map((part) => part.trim()).filter((part) => part !== "").every((part) => {
    const one = /^[a-z]+:\/\//.test(part) ? part : `nats://${part}`
    return /^(nats|tls):/.test(one) && URL.canParse(one) && new URL(one).hostname !== ""
  })

export const url = Effect.gen(function*() {
  const asked = yield* Globals.nats
  const chosen = Option.isSome(asked) ? asked.value : runningDev(process.cwd()) ?? Globals.natsUrlDefault
  return isNatsUrl(chosen)
    ? /^[a-z]+:\/\//.test(chosen) ? chosen : `nats://${chosen}`
    : yield* Globals.usage(
      `${JSON.stringify(chosen)} is no URL of a NATS server.`,
      "write nats://host:port (or tls://), several with commas."
    )
})

/** Who connects: `--nats-creds`; else what the environment says, else a configuration file. */
export const identityOf = Effect.fnUntraced(function*(flag: Option.Option<string>) {
  if (Option.isNone(flag)) return yield* identityConfig
  yield* FilePath.read(flag.value, {
    of: "--nats-creds",
    isStdin: false,
    exit: 2,
    fix: "correct --nats-creds: it takes a file that `nsc generate creds` makes."
  })
  return { credentials: flag.value } satisfies Identity as Identity
})

export const requestTimeoutMs = Effect.gen(function*() {
  return yield* Globals.durationMs("--timeout", yield* Globals.timeout, 1)
})

/** The command's connection, opened at its first use. */
export class Link extends Context.Service<Link, {
  readonly nats: Effect.Effect<Nats["Service"], ContractError | CliFailure>
}>()("heddle/cli/Link") {}

/** Runs `use`; what it opened is closed afterwards. A usage error is found before any server is asked. */
export const provide = <A, E, R>(use: Effect.Effect<A, E, R | Link>) =>
  Effect.scoped(Effect.gen(function*() {
    const scope = yield* Effect.scope
    const natsUrl = yield* url
    const timeoutMs = yield* requestTimeoutMs
    const open = Effect.flatMap(identityOf(yield* Globals.natsCreds), (who) =>
      Layer.build(
        Nats.layer({
          url: natsUrl,
          name: "heddle-cli",
          connectWaitMs: Math.min(timeoutMs, 2_000),
          slowWaitMs: timeoutMs,
          ...who
        })
      )).pipe(
        Effect.catchTag("ConfigError", (error) =>
          Effect.fail(Globals.usage(`The environment is not valid: ${error.message}`))),
        Effect.map((context) =>
          Context.get(context, Nats)
        ),
        Scope.provide(scope)
      )
    return yield* Effect.provideService(use, Link, Link.of({ nats: yield* Effect.cached(open) }))
  }))

export const nats = Effect.flatMap(Link, (link) => link.nats)

/** A wait that a service holds is asked again after so long, in case that the one who held it is gone. */
const heldWaitMaxMs = 10_000

interface CallOptions {
  /** How long the service itself may wait before it answers. */
  readonly extraMs?: number
  /** Of a command to an instance, as somebody chose it; made up when not given. */
  readonly id?: Option.Option<string>
  /** Before each attempt that repeats one. */
  readonly repeating?: (error: ContractError) => void
}

/**
 * One request of the contract, asked again within `--timeout` while the reason passes (a shard or pool that changes hands, a replica that ends, none there yet), and when no
 * answer comes to one that repeats (`Repetition`).
 */
export const call = Effect.fnUntraced(function*<A, I>(
  subject: string,
  answer: Schema.Codec<A, I>,
  body: unknown,
  options: CallOptions = {}
) {
  const { extraMs = 0, repeating } = options
  const timeoutMs = yield* requestTimeoutMs
  const output = yield* Output
  const id = Repetition.takesId(subject)
    ? Option.getOrElse(options.id ?? Option.none<string>(), () => randomUUID())
    : undefined
  const isRepeatable = Repetition.isRepeatable(subject, body, id)
  const error = (failure: ContractError) =>
    failure.code !== "DeadlineExceeded" || id === undefined && isRepeatable
      ? failure
      : new ContractError({
        code: "DeadlineExceeded",
        message: `${failure.message}; whether it was done is not known: ${
          id === undefined ? "look before you ask again" : `ask again with --id ${id}, it is done once`
        }`
      })
  return yield* Rpc.callPatiently(yield* nats, subject, answer, body, {
    timeoutMs: timeoutMs + extraMs,
    isRepeatable,
    ...(id === undefined ? {} : { headers: { [Subject.header.msgId]: id } }),
    ...(extraMs > 0 ? { attemptMs: Math.min(timeoutMs + extraMs, Math.max(heldWaitMaxMs, timeoutMs)) } : {}),
    ...(repeating === undefined ? {} : { repeating }),
    waiting: (failure) =>
      output.format === "table"
        ? output.note(`heddle: ${failure.message.split(". ", 1)[0]}; trying for ${Math.ceil(timeoutMs / 1_000)} s`)
        : Effect.void
  }).pipe(Effect.mapError(error))
})

/** `call` of something that removes what it names: when an attempt before may have done it, "there is none" is success, and `gone` the answer. */
export const remove = Effect.fnUntraced(function*<A, I>(
  subject: string,
  answer: Schema.Codec<A, I>,
  body: unknown,
  gone: A
) {
  let isPerhapsDone = false
  const repeating = (error: ContractError): void => {
    isPerhapsDone ||= Rpc.isPerhapsDone(error)
  }
  return yield* call(subject, answer, body, { repeating }).pipe(
    Effect.catchIf(
      (error) => error instanceof ContractError && isPerhapsDone && error.code.startsWith("NoSuch"),
      () => Effect.succeed(gone)
    )
  )
})

/** One request, asked once: for `heddle doctor`, which tells what it finds. */
export const callOnce = Effect.fnUntraced(function*<A, I>(subject: string, answer: Schema.Codec<A, I>, body: unknown) {
  return yield* Rpc.call(yield* nats, subject, answer, body, { timeoutMs: yield* requestTimeoutMs })
})
