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
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { Nats } from "../shared/jetstream/Nats.ts"
import * as Rpc from "../shared/jetstream/Rpc.ts"
import { ContractError } from "../shared/protocol/ErrorCode.ts"
import type { CliFailure } from "./ExitCode.ts"
import * as Globals from "./Globals.ts"
import { Output } from "./Output.ts"

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

export const url = Effect.gen(function*() {
  const asked = yield* Globals.nats
  const chosen = Option.isSome(asked) ? asked.value : runningDev(process.cwd()) ?? Globals.natsUrlDefault
  return /^[a-z]+:\/\//.test(chosen) ? chosen : `nats://${chosen}`
})

export const requestTimeoutMs = Effect.gen(function*() {
  return yield* Globals.durationMs("--timeout", yield* Globals.timeout)
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
    const open = Layer.build(
      Nats.layer({ url: natsUrl, name: "heddle-cli", connectWaitMs: Math.min(timeoutMs, 2_000) })
    ).pipe(
      Effect.map((context) => Context.get(context, Nats)),
      Scope.provide(scope)
    )
    return yield* Effect.provideService(use, Link, Link.of({ nats: yield* Effect.cached(open) }))
  }))

export const nats = Effect.flatMap(Link, (link) => link.nats)

/**
 * Requests that may be asked again although nobody knows whether they were done: they only read, set what they name, or carry an id that makes a repetition join
 * the first. The others (`rerun`, `recover`, a trigger without an id, ...) are asked again only when they were surely not done.
 */
const repeatableVerbs: Readonly<Record<string, ReadonlySet<string>>> = {
  definition: new Set(["put", "get", "list", "validate"]),
  workflow: new Set(["start", "get", "list", "result", "history", "pause", "stop"]),
  pool: new Set(["list", "apply", "claim", "release", "renew", "cancel", "get", "snapshot", "scale"]),
  env: new Set(["list", "apply", "claim"]),
  schedule: new Set(["put", "get", "list", "pause", "resume", "preview"]),
  backfill: new Set(["get", "list", "stop"]),
  member: new Set(["list"]),
  failover: new Set(["list"])
}

/** `start` and `claim` join by the id in their body. */
export const isRepeatable = (subject: string, body: unknown): boolean => {
  const tokens = subject.split(".")
  const kind = tokens[2] ?? ""
  const verb = tokens.at(-1) ?? ""
  if (repeatableVerbs[kind]?.has(verb) !== true) return false
  const id = kind === "workflow" && verb === "start" ? "instanceId" : verb === "claim" ? "claimId" : undefined
  return id === undefined || typeof body === "object" && body !== null && id in body
}

/** A wait that a service holds is asked again after so long, in case that the one who held it is gone. */
const heldWaitMaxMs = 10_000

/**
 * One request of the contract, asked again within `--timeout` while the reason passes (a shard or pool that changes hands, a replica that ends, none there yet).
 * `extraMs` is how long the service itself may wait before it answers.
 */
export const call = Effect.fnUntraced(function*<A, I>(
  subject: string,
  answer: Schema.Codec<A, I>,
  body: unknown,
  extraMs: number = 0
) {
  const timeoutMs = yield* requestTimeoutMs
  const output = yield* Output
  const error = (failure: ContractError) =>
    failure.code === "DeadlineExceeded" && !isRepeatable(subject, body)
      ? new ContractError({
        code: "DeadlineExceeded",
        message: `${failure.message}; whether it was done is not known: look before you ask again`
      })
      : failure
  return yield* Rpc.callPatiently(yield* nats, subject, answer, body, {
    timeoutMs: timeoutMs + extraMs,
    isRepeatable: isRepeatable(subject, body),
    ...(extraMs > 0 ? { attemptMs: Math.min(timeoutMs + extraMs, Math.max(heldWaitMaxMs, timeoutMs)) } : {}),
    waiting: (failure) =>
      output.format === "table"
        ? output.note(`heddle: ${failure.message.split(". ", 1)[0]}; trying for ${Math.ceil(timeoutMs / 1_000)} s`)
        : Effect.void
  }).pipe(Effect.mapError(error))
})

/** One request, asked once: for `heddle doctor`, which tells what it finds. */
export const callOnce = Effect.fnUntraced(function*<A, I>(subject: string, answer: Schema.Codec<A, I>, body: unknown) {
  return yield* Rpc.call(yield* nats, subject, answer, body, { timeoutMs: yield* requestTimeoutMs })
})
