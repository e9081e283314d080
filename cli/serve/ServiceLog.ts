/**
 * Logs of services: one logfmt line each, on standard error, where they never mix with data. `--log-level` says how much; Info when it is not given.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Globals from "../Globals.ts"

const toStandardError = Logger.map(Logger.formatLogFmt, (line) => void process.stderr.write(`${line}\n`))

const levels = { trace: "Trace", debug: "Debug", info: "Info", warn: "Warn", error: "Error", none: "None" } as const

/** `otherwise`: what a person in front of a terminal wants to see without asking. */
export const layer = (otherwise: LogLevel.LogLevel = "Info") =>
  Layer.unwrap(Effect.gen(function*() {
    const asked = yield* Globals.logLevel
    return Layer.mergeAll(
      Logger.layer([toStandardError]),
      Layer.succeed(References.MinimumLogLevel)(Option.isSome(asked) ? levels[asked.value] : otherwise)
    )
  }))
