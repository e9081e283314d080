/**
 * Figures out of measured values. A percentile is a value that was measured, never one in between, so that a short run does not look finer than it is.
 */

/** The value at `share` (0 to 1) of the sorted values: 0.5 the median, 0.99 the p99; NaN of none. */
export const percentile = (values: ReadonlyArray<number> | Float64Array, share: number): number => {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** The middle of the runs of one figure; of an even number the upper one. */
export const median = (values: ReadonlyArray<number>): number => percentile(values, 0.5)

/** Three digits that mean something, and no more: `0.123`, `12.3`, `1,230`, `12,300`. */
export const format = (value: number): string => {
  if (!Number.isFinite(value)) return "-"
  const magnitude = Math.abs(value)
  if (magnitude >= 1_000) return Number(value.toPrecision(3)).toLocaleString("en-US")
  return value.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : magnitude >= 1 ? 2 : 3)
}
