/**
 * The times of a cron expression in a time zone, as pure functions of a time: the one place that knows the cron library (croner).
 *
 * Local times that a change of clocks leaves out fire at the first moment after the gap; those that come twice fire once when the hour is fixed. Patterns that
 * repeat within the day (every 30 minutes) follow real time through both. Follows design/03 section 6.
 */
import { Cron } from "croner"
import * as Result from "effect/Result"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"

export const timezoneDefault = "UTC"
/** Each date at its start. */
export const daily = "0 0 * * *"

export interface Cadence {
  readonly timezone: string
  /** The first time after `after`, within start and end. */
  readonly next: (after: EpochMs) => EpochMs | undefined
  /** The last time before `before`, within start and end. */
  readonly previous: (before: EpochMs) => EpochMs | undefined
  /** The calendar date of `at` in the time zone: `2026-11-21`. */
  readonly date: (at: EpochMs) => string
}

export interface CadenceSpec {
  readonly cron: string
  readonly timezone?: string
  readonly startAt?: string
  readonly endAt?: string
}

const invalid = (path: string, message: string) => new ContractError({ code: "InvalidMessage", message, path })

const dateFormatter = (timeZone: string): (at: EpochMs) => string => {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    calendar: "iso8601",
    numberingSystem: "latn",
    year: "numeric",
    month: "2-digit",
    day: "2-digit"
  })
  return (at) => {
    const parts: Partial<Record<Intl.DateTimeFormatPartTypes, string>> = {}
    for (const { type, value } of format.formatToParts(at)) parts[type] = value
    return `${(parts.year ?? "").padStart(4, "0")}-${parts.month ?? ""}-${parts.day ?? ""}`
  }
}

/** The times of `spec`, or what is wrong with it (`InvalidMessage`, with a path below `prefix`). */
export const make = (spec: CadenceSpec, prefix = ""): Result.Result<Cadence, ContractError> => {
  const at = (field: string): string => prefix === "" ? field : `${prefix}.${field}`
  const timezone = spec.timezone ?? timezoneDefault
  const date = Result.try(() => dateFormatter(timezone))
  if (Result.isFailure(date)) {
    return Result.fail(
      invalid(at("timezone"), `"${timezone}" is no time zone: write an IANA name such as Europe/Berlin, or UTC`)
    )
  }
  const pattern = spec.cron.trim()
  // the library would take a single date as well, and nicknames that mean the start of a process
  if (!/\s/u.test(pattern) && !/^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/iu.test(pattern)) {
    return Result.fail(
      invalid(
        at("cron"),
        `"${pattern}" is no cron expression: 5 fields (minute hour day month weekday), 6 with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly`
      )
    )
  }
  // paused and without a function: only asked for times, never runs anything
  const cron = Result.try({
    try: () => new Cron(pattern, { timezone, paused: true }),
    catch: (cause) => cause instanceof Error ? cause.message.replace(/^Cron\w*: /u, "") : String(cause)
  })
  if (Result.isFailure(cron)) {
    return Result.fail(invalid(at("cron"), `"${pattern}" is no cron expression: ${cron.failure}`))
  }
  const startAt = spec.startAt === undefined ? -Infinity : Date.parse(spec.startAt)
  const endAt = spec.endAt === undefined ? Infinity : Date.parse(spec.endAt)
  if (startAt > endAt) return Result.fail(invalid(at("endAt"), "`endAt` is before `startAt`"))
  const times = cron.success
  const next = (after: EpochMs): EpochMs | undefined => {
    // counted in whole seconds, after the one it is given
    const found = times.nextRun(new Date(Math.max(after, startAt - 1)))?.getTime()
    return found === undefined || found > endAt ? undefined : found
  }
  const previous = (before: EpochMs): EpochMs | undefined => {
    const found = times.previousRuns(1, new Date(Math.min(before, endAt + 1)))[0]?.getTime()
    return found === undefined || found < startAt ? undefined : found
  }
  if (times.nextRun(new Date(0)) === null) {
    return Result.fail(invalid(at("cron"), `"${pattern}" never matches: no date has this day, month and weekday`))
  }
  return Result.succeed({ timezone, next, previous, date: date.success })
}

/** `20261121T020000`: a time in UTC, as it stands in an instance id. */
export const stamp = (at: EpochMs): string => new Date(at).toISOString().slice(0, 19).replace(/[-:]/gu, "")
