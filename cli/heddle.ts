/**
 * The `heddle` program: reads the command line, runs one command, ends with the exit code of the contract. design/02 "CLI".
 *
 * Data goes to standard output, everything else to standard error. A usage error is one message and exit code 2, never a page of help. A signal
 * interrupts the command and waits for its finalizers; a second one does not wait.
 */
import * as Cause from "effect/Cause"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { ContractError } from "../shared/protocol/ErrorCode.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Interruption from "./Interruption.ts"
import * as Output from "./Output.ts"
import * as ParserServices from "./ParserServices.ts"
import * as Tree from "./Tree.ts"
import * as Version from "./Version.ts"

const args = process.argv.slice(2)
const write = (text: string) => process.stdout.write(`${text}\n`)
const writeError = (text: string) => process.stderr.write(`${text}\n`)

/** A reader that closes the pipe (`heddle ... | head`) has seen enough. */
process.stdout.on("error", (cause: NodeJS.ErrnoException) => {
  if (cause.code === "EPIPE") process.exit(0)
  throw cause
})

/** What the command line asks for, also when it cannot be parsed: errors keep to the asked format. */
const asksForJson = () => {
  const own = args.slice(0, args.includes("--") ? args.indexOf("--") : args.length)
  const at = own.findIndex((arg) => arg === "-o" || arg === "--output")
  const named = at >= 0 ? own[at + 1] : own.find((arg) => /^(-o=?|--output=)json/.test(arg))
  return named === undefined ? (process.env["HEDDLE_OUTPUT"] ?? "").startsWith("json") : /json/.test(named)
}

const presenter: CliOutput.Presenter = {
  present: (event) =>
    Effect.sync(() => {
      const formatter = CliOutput.defaultFormatter({
        colors: Output.hasColour("auto", process.stdout.isTTY, process.env)
      })
      if (event._tag === "Version") write(`${event.name} ${event.version}`)
      else if (event._tag === "Help") {
        // A command that only groups others was called: its help is the answer, but nothing was done.
        if (event.reason === "Requested" || event.commandPath.length === 1) {
          write(formatter.formatHelpDoc(event.helpDoc))
        } else writeError(formatter.formatHelpDoc(event.helpDoc))
      } else {
        const path = event.commandPath.join(" ")
        const messages = event.errors.map((error) => error.message)
        if (asksForJson()) writeError(JSON.stringify({ error: { code: "Usage", message: messages.join("; ") } }))
        else {
          for (const message of messages) writeError(`${event.commandPath[0] ?? "heddle"}: ${message}`)
          writeError(`Usage: ${event.helpDoc.usage}\nSee: ${path} --help`)
        }
      }
    })
}

const report = (error: ExitCode.CliFailure | ContractError) => {
  if (asksForJson()) writeError(ExitCode.json(error))
  else for (const [at, line] of ExitCode.lines(error).entries()) writeError(at === 0 ? `heddle: ${line}` : line)
}

/** The process's exit code, after everything that has to be said was said. */
const codeOf = (exit: Exit.Exit<unknown, unknown>): number => {
  if (Exit.isSuccess(exit)) return 0
  if (Cause.hasInterruptsOnly(exit.cause)) return Interruption.exitCode()
  const error = Cause.squash(exit.cause)
  if (error instanceof ExitCode.Ended) return error.exit
  if (error instanceof ExitCode.CliFailure || error instanceof ContractError) {
    report(error)
    return ExitCode.ofError(error)
  }
  if (typeof error === "object" && error !== null && "_tag" in error && error._tag === "ShowHelp") {
    // The presenter has spoken. Only `heddle` alone is no mistake.
    return "errors" in error && Array.isArray(error.errors) && error.errors.length === 0 && "commandPath" in error
        && Array.isArray(error.commandPath) && error.commandPath.length === 1
      ? 0
      : 2
  }
  writeError(`heddle: a defect of heddle: ${Cause.pretty(exit.cause)}`)
  writeError("What to do: report it with this text and the command line.")
  return 1
}

const program = Effect.gen(function*() {
  const provider = yield* ConfigFile.provider(args, process.env, process.cwd())
  yield* Command.runWith(Tree.root, { version: Version.version })(args).pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, provider)
  )
}).pipe(
  Effect.provide(Layer.mergeAll(
    ParserServices.layer,
    Layer.succeed(CliOutput.Presenter)(presenter),
    Tree.parserConfig,
    Layer.succeed(References.MinimumLogLevel)("Warn")
  ))
)

const fiber = Effect.runFork(program)
fiber.addObserver((exit) => process.exit(codeOf(exit)))
let signals = 0
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    signals += 1
    if (signals === 1) Effect.runFork(Fiber.interrupt(fiber))
    else if (signals > 2 || signal === "SIGINT") process.exit(130)
  })
}
