/**
 * The scale policy `schedule`: windows of time (cron, with time zone) in which other bounds hold: more kept idle on workday mornings, nothing at night.
 *
 * A window begins whenever its cron fires and lasts for `duration`; of several open ones the one that began last counts, field by field. Names no target of its own: the demand
 * and the other policies do, within these bounds. Pure: what is open depends on the given time alone.
 */
import { Cron } from "croner"
import * as Schema from "effect/Schema"
import { make, type ScaleWish } from "../../shared/plugin/ScalePolicy.ts"
import type { Problem } from "../../shared/protocol/ErrorCode.ts"
import { DurationMs } from "../../shared/protocol/Time.ts"

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))

export const Window = Schema.Struct({
  /** When it begins: `0 8 * * MON-FRI`. */
  cron: Schema.String,
  /** How long it is open: `"10h"`. */
  duration: DurationMs.check(Schema.isBetween({ minimum: 1_000, maximum: 31 * 86_400_000 })),
  min: Schema.optionalKey(Count),
  max: Schema.optionalKey(Count),
  minIdle: Schema.optionalKey(Count)
})
export const Config = Schema.Struct({
  /** IANA name, such as `Europe/Berlin`; UTC when not given. */
  timezone: Schema.optionalKey(Schema.String),
  windows: Schema.Array(Window).check(Schema.isMinLength(1))
})
export type Config = typeof Config.Type

const cronOf = (text: string, timezone: string | undefined): Cron =>
  new Cron(text, { timezone: timezone ?? "UTC", paused: true, legacyMode: false })

const problemsOf = (config: Config): ReadonlyArray<Problem> =>
  config.windows.flatMap((window, index) => {
    try {
      cronOf(window.cron, config.timezone).nextRun(new Date(0))
      return []
    } catch (cause) {
      return [{
        path: `config.windows[${index}].cron`,
        message: cause instanceof Error ? cause.message : String(cause),
        value: window.cron
      }]
    }
  })

/** The bounds at `now`, and until when they hold. */
export const wishAt = (
  windows: ReadonlyArray<{ readonly window: typeof Window.Type; readonly cron: Cron }>,
  now: number
): ScaleWish => {
  let until = Infinity
  const open: Array<{ readonly startedAt: number; readonly window: typeof Window.Type }> = []
  for (const { cron, window } of windows) {
    // The last firing that is not after now; croner asks for one that is strictly before.
    const [last] = cron.previousRuns(1, new Date(now + 1_000))
    const startedAt = last?.getTime() ?? -Infinity
    if (startedAt <= now && now < startedAt + window.duration) {
      open.push({ startedAt, window })
      until = Math.min(until, startedAt + window.duration)
    }
    const next = cron.nextRun(new Date(now))
    if (next !== null) until = Math.min(until, next.getTime())
  }
  open.sort((a, b) => a.startedAt - b.startedAt)
  const wish: { min?: number; max?: number; minIdle?: number } = {}
  for (const { window: { max, min, minIdle } } of open) {
    if (min !== undefined) wish.min = min
    if (max !== undefined) wish.max = max
    if (minIdle !== undefined) wish.minIdle = minIdle
  }
  return until === Infinity ? wish : { ...wish, until }
}

export const schedule = make({
  name: "schedule",
  config: Config,
  problems: problemsOf,
  open: (config) => {
    const windows = config.windows.map((window) => ({ window, cron: cronOf(window.cron, config.timezone) }))
    // What holds now holds until `until`: a decision costs nothing in between.
    let known: ScaleWish | undefined
    let knownFrom = Infinity
    return {
      decide: ({ now }) => {
        if (known === undefined || now < knownFrom || now >= (known.until ?? Infinity)) {
          known = wishAt(windows, now)
          knownFrom = now
        }
        return known
      }
    }
  }
})
