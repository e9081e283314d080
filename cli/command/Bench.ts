/**
 * `heddle bench`: hands over to the benchmark of the checkout, which is a program of its own so that it measures the product from outside. With `-o json` (or another format
 * for programs) the figures are what stands on standard output, and what it tells meanwhile goes to standard error.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { CliFailure, Ended } from "../ExitCode.ts"
import { Output } from "../Output.ts"

const program = join(import.meta.dirname, "..", "..", "test", "bench", "main.ts")

/** Runs it to its end; interrupted, it is told to end and waited for. */
const spawned = (args: ReadonlyArray<string>, isForPrograms: boolean) =>
  Effect.callback<void, CliFailure | Ended>((resume) => {
    const child = spawn(process.execPath, [program, ...args], {
      stdio: ["inherit", isForPrograms ? 2 : "inherit", "inherit"]
    })
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

export const run = (input: {
  readonly what: ReadonlyArray<string>
  readonly quick: boolean
  readonly runs: Option.Option<number>
  readonly sync: Option.Option<string>
}) =>
  Effect.scoped(Effect.gen(function*() {
    const output = yield* Output
    if (!existsSync(program)) {
      return yield* new CliFailure({
        exit: 3,
        message: `The benchmark ${program} is not here.`,
        fix: "run it in a checkout: npm run bench."
      })
    }
    const args = [
      ...input.what,
      ...(input.quick ? ["--quick"] : []),
      ...(Option.isSome(input.runs) ? ["--runs", String(input.runs.value)] : []),
      ...(Option.isSome(input.sync) ? ["--sync", input.sync.value] : [])
    ]
    if (output.format === "table") return yield* spawned(args, false)
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-bench-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    const file = join(folder, "figures.json")
    yield* spawned([...args, "--json", file], true)
    const figures: unknown = JSON.parse(readFileSync(file, "utf8"))
    return yield* output.value(figures, () => "")
  }))
