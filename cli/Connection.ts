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
import type { ContractError } from "../shared/protocol/ErrorCode.ts"
import type { CliFailure } from "./ExitCode.ts"
import * as Globals from "./Globals.ts"

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

/** One request of the contract; `extraMs` is how long the service itself may wait before it answers. */
export const call = Effect.fnUntraced(function*<A, I>(
  subject: string,
  answer: Schema.Codec<A, I>,
  body: unknown,
  extraMs: number = 0
) {
  const timeoutMs = (yield* requestTimeoutMs) + extraMs
  return yield* Rpc.call(yield* nats, subject, answer, body, { timeoutMs })
})
