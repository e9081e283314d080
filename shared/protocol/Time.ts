/**
 * Times and durations as the contract writes them: RFC 3339 UTC, and `"30s"`, `"5m"` or a number of milliseconds (design/02, first paragraph).
 */
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const duration = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/u

/** Milliseconds of `"1.5h"`, `"30s"`, `"250ms"`; `undefined` when the text is no duration. */
export const parseDurationMs = (text: string): number | undefined => {
  const match = duration.exec(text)
  if (match === null) return undefined
  const unit = unitsMs[match[2] ?? ""]
  return unit === undefined ? undefined : Math.round(Number(match[1]) * unit)
}

/** The shortest exact text: `"90s"`, `"5m"`, `"250ms"`. */
export const formatDuration = (ms: number): string => {
  for (const [unit, size] of [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1_000]] as const) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}

const DurationText = Schema.String.check(
  Schema.isPattern(duration, { message: "a duration such as \"30s\", \"5m\", \"2h\", or a number of milliseconds" })
)

/** On the wire `"30s"` or a number of milliseconds; in the program milliseconds. */
export const DurationMs = Schema.Union([DurationText, Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))]).pipe(
  Schema.decodeTo(
    Schema.Finite,
    SchemaTransformation.transform({
      decode: (value: string | number) => typeof value === "number" ? value : parseDurationMs(value) ?? 0,
      encode: (ms: number): string | number => ms
    })
  )
)
export type DurationMs = typeof DurationMs.Type

/** RFC 3339 UTC on the wire (`2026-11-21T10:00:00.000Z`). */
export const Timestamp = Schema.String.check(
  Schema.isPattern(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/u, { message: "a time such as 2026-11-21T10:00:00Z" })
)
export type Timestamp = typeof Timestamp.Type

/** The contract's text for `epochMs`. */
export const timestamp = (epochMs: number): Timestamp => new Date(epochMs).toISOString()
