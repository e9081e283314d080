/**
 * Handlers that are loaded when their command runs: `heddle --help` starts without the NATS client, the services and the plugins.
 */
import * as Effect from "effect/Effect"
import type { ContractError } from "../shared/protocol/ErrorCode.ts"
import type { CliFailure, Ended } from "./ExitCode.ts"
import * as Globals from "./Globals.ts"
import * as Output from "./Output.ts"

/** The failures a command may end with; `ExitCode` knows what each means to the shell. */
export type Failure = CliFailure | ContractError | Ended

const screen = (): Output.Screen => ({
  write: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
  isTty: process.stdout.isTTY,
  isErrorTty: process.stderr.isTTY,
  columns: process.stdout.columns ?? 80
})

/** A command's handler out of the module that holds it. */
export const handler =
  <Input, R>(load: () => Promise<(input: Input) => Effect.Effect<void, Failure, R>>) => (input: Input) =>
    Effect.gen(function*() {
      // Also of commands that have no use for it: one that is no name is a mistake in any case.
      yield* Globals.checkToken("--namespace", yield* Globals.namespace)
      const output = Output.make(screen(), yield* Globals.output, yield* Globals.color, process.env)
      const run = yield* Effect.promise(load)
      yield* Effect.provideService(run(input), Output.Output, output)
    })
