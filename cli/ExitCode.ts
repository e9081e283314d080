/**
 * Exit codes of `heddle` and the failures behind them, so that a script can branch without reading text.
 *
 * Every command fails with a `ContractError` (a service's answer) or a `CliFailure` (found here); both map to one code. Follows design/02 "CLI".
 */
import * as Schema from "effect/Schema"
import { type ContractError, type ErrorCode, errorCodes } from "../shared/protocol/ErrorCode.ts"

export const exitCodes = {
  0: "done",
  1: "the awaited run or claim failed, a comparison found a difference, or the service answered with another error",
  2: "usage: a flag, argument, configuration file or definition is not valid",
  3: "not found: no pool, claim, definition or instance of this name",
  4: "conflict: the id is in use with other content, or the state does not allow this",
  5: "timed out: the deadline passed",
  6: "cannot connect: no NATS server, or no service answers",
  130: "interrupted (Ctrl-C)"
} as const
export type ExitCode = Exclude<keyof typeof exitCodes, 0>

/**
 * A failure that the command itself found. `fix` says what to do next; `problems` are further lines, one each, `details` the same for programs; `code` is that of the contract
 * where a service would have answered one.
 */
export class CliFailure extends Schema.TaggedError<CliFailure>()("CliFailure", {
  exit: Schema.Literals([1, 2, 3, 4, 5, 6, 130]),
  message: Schema.String,
  fix: Schema.optionalKey(Schema.String),
  problems: Schema.optionalKey(Schema.Array(Schema.String)),
  code: Schema.optionalKey(
    Schema.Literals(["InvalidDefinition", "NoSuchPool", "NoSuchEnv", "NoSuchClaim", "NoSuchInstance"])
  ),
  details: Schema.optionalKey(Schema.Unknown)
}) {}

/** The command ran and has said everything already; the process only has to end with this code (a failed run, a command in a sandbox). */
export class Ended extends Schema.TaggedError<Ended>()("Ended", { exit: Schema.Int }) {}

const ofCode: Partial<Record<ErrorCode, ExitCode>> = {
  InvalidJson: 2,
  InvalidMessage: 2,
  InvalidName: 2,
  InvalidDefinition: 2,
  PayloadTooLarge: 2,
  NoSuchPool: 3,
  NoSuchEnv: 3,
  NoSuchClaim: 3,
  NoSuchDefinition: 3,
  NoSuchInstance: 3,
  NoSuchSchedule: 3,
  NoSuchBackfill: 3,
  NoSuchGroup: 3,
  Conflict: 4,
  InvalidSessionId: 4,
  DeadlineExceeded: 5,
  Unavailable: 6
}

export const ofError = (error: CliFailure | ContractError | Ended): number =>
  error._tag === "ContractError" ? ofCode[error.code] ?? 1 : error.exit

/** What an error's `details` hold when a message or a definition has several problems. */
const detailLines = (details: unknown): ReadonlyArray<string> =>
  Array.isArray(details)
    ? details.map((detail: unknown) =>
      typeof detail === "object" && detail !== null && "message" in detail
        ? `${"path" in detail && detail.path !== "" ? `${String(detail.path)}: ` : ""}${String(detail.message)}`
        : JSON.stringify(detail)
    )
    : []

/** Whether the message gives the fix already, or the command that the fix names. A conflict's message says what stands in the way, which is more than its code can. */
const isSaid = (code: ErrorCode, message: string, fix: string): boolean => {
  if (code === "Conflict" && message.includes(": ")) return true
  const command = /`[^`]+`/.exec(fix)?.[0]
  return message.includes(fix) || (command !== undefined && message.includes(command))
}

/** The fix speaks of the answer's `path`, and it has none: the message is all there is. */
const isAboutNothing = ({ details, path }: ContractError, fix: string): boolean =>
  fix.includes("`path`") && (path === undefined || path === "") && details === undefined

/** Lines for a person: what is wrong, every further problem, what to do. */
export const lines = (error: CliFailure | ContractError): ReadonlyArray<string> => {
  if (error._tag === "CliFailure") {
    return [
      error.message,
      ...(error.problems ?? []).map((problem) => `  ${problem}`),
      ...(error.fix === undefined ? [] : [`What to do: ${error.fix}`])
    ]
  }
  const where = error.path === undefined || error.path === "" ? "" : ` (at ${error.path})`
  const { fix } = errorCodes[error.code]
  return [
    `${error.code}: ${error.message}${where}`,
    ...detailLines(error.details).filter((line) => !error.message.includes(line)).map((line) => `  ${line}`),
    ...(isSaid(error.code, error.message, fix) || isAboutNothing(error, fix) ? [] : [`What to do: ${fix}`])
  ]
}

/** The same for a program: the contract's error shape. */
export const json = (error: CliFailure | ContractError): string =>
  JSON.stringify(
    error._tag === "ContractError" ? error.answer : {
      error: {
        code: error.code ?? (error.exit === 2 ? "Usage" : error.exit === 6 ? "Unavailable" : "Cli"),
        message: error.message,
        ...(error.details === undefined
          ? error.problems === undefined ? {} : { details: error.problems }
          : { details: error.details })
      }
    }
  )
