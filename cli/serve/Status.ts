/**
 * The status server of a process that serves: `--status-port`, `--status-host` (shared/telemetry/StatusServer).
 *
 * Kept true: it is there before the connection to NATS and goes after everything else, so a process that waits or ends can be asked; it is ready only between the ready line and
 * the beginning of the end.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { isIP } from "node:net"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { ProcessReadiness } from "../../shared/telemetry/Readiness.ts"
import type { CliFailure } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import { Output } from "../Output.ts"
import { version } from "../Version.ts"

export interface Input {
  readonly statusPort: Option.Option<string>
  readonly statusHost: Option.Option<string>
}

const hostDefault = "0.0.0.0"

export const portOf = (flag: string, text: string): Effect.Effect<number, CliFailure> => {
  const port = Number(text)
  return text.trim() !== "" && Number.isInteger(port) && port >= 0 && port <= 65_535
    ? Effect.succeed(port)
    : Effect.fail(Globals.usage(`${flag} ${JSON.stringify(text)} is no port.`, "write 0 to 65535; 0 is a free one."))
}

/** An empty address would be every one of the machine. */
export const hostOf = (
  flag: string,
  given: Option.Option<string>,
  otherwise: string
): Effect.Effect<string, CliFailure> => {
  const host = Option.getOrElse(given, () => otherwise)
  return host.trim() === ""
    ? Effect.fail(
      Globals.usage(`${flag} is empty.`, "write an address, such as 127.0.0.1; 0.0.0.0 is every IPv4 address.")
    )
    : Effect.succeed(host)
}

export interface Status {
  /** The port that it listens on; `undefined`: it was not asked for. */
  readonly port: number | undefined
  /** From now on ready, until the scope begins to close. */
  readonly ready: Effect.Effect<void, never, Scope.Scope>
}

/** Not ready until `ready`. The first thing that a process opens. */
export const open = (
  input: Input,
  service: string
): Effect.Effect<Status, CliFailure | ContractError, Output | Scope.Scope> =>
  Effect.gen(function*() {
    const output = yield* Output
    let standing: string | undefined = "it is starting"
    yield* (yield* ProcessReadiness).addScoped("process", () => standing)
    let port: number | undefined
    if (Option.isSome(input.statusPort)) {
      const host = yield* hostOf("--status-host", input.statusHost, hostDefault)
      const StatusServer = yield* Effect.promise(() => import("../../shared/telemetry/StatusServer.ts"))
      const server = yield* StatusServer.serve({
        host,
        port: yield* portOf("--status-port", input.statusPort.value),
        service,
        version
      })
      port = server.port
      const name = isIP(host) === 6 ? `[${host}]` : host
      yield* output.note(`heddle: status of ${service} at http://${name}:${port}/readyz, /livez and /metrics`)
    }
    return {
      port,
      ready: Effect.gen(function*() {
        standing = undefined
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            standing = "it is ending"
          })
        )
      })
    }
  })
