/** `heddle bench`: hands over to the benchmark of the checkout, which is a program of its own so that it measures the product from outside. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { CliFailure, Ended } from "../ExitCode.ts"

const program = join(import.meta.dirname, "..", "..", "test", "bench", "main.ts")

export const run = (input: { readonly what: ReadonlyArray<string> }) =>
  Effect.callback<void, CliFailure | Ended>((resume) => {
    if (!existsSync(program)) {
      resume(Effect.fail(
        new CliFailure({
          exit: 3,
          message: `The benchmark ${program} is not here.`,
          fix: "run it in a checkout: npm run bench."
        })
      ))
      return
    }
    const child = spawn(process.execPath, [program, ...input.what], { stdio: "inherit" })
    child.on(
      "error",
      (cause) =>
        resume(Effect.fail(new CliFailure({ exit: 1, message: `The benchmark does not start: ${cause.message}` })))
    )
    child.on("exit", (code) => resume(code === 0 ? Effect.void : Effect.fail(new Ended({ exit: code ?? 1 }))))
    return Effect.callback<void>((ended) => {
      if (child.exitCode !== null || child.signalCode !== null) return ended(Effect.void)
      child.once("exit", () => ended(Effect.void))
      child.kill("SIGTERM")
    })
  })
