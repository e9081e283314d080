/**
 * The moment that a run's page shows: now, or any moment since it began. One cursor for the graph, the timeline, the history and the logs. Arrow keys move it, "Step" goes to the next change.
 */
import { clock, length } from "../Time.ts"

/** `at` undefined: now, whatever comes. */
export const TimeCursor = ({ at, from, moments, onChange, to }: {
  readonly at: number | undefined
  readonly from: number
  readonly to: number
  readonly moments: ReadonlyArray<number>
  readonly onChange: (at: number | undefined) => void
}) => {
  const shown = at ?? to
  const before = moments.findLast((moment) => moment < shown)
  const after = moments.find((moment) => moment > shown)
  return (
    <div class="cursor">
      <button type="button" disabled={before === undefined} onClick={() => onChange(before)}>◂ Step</button>
      <input
        type="range"
        aria-label="Moment of the run"
        aria-valuetext={`${length(shown - from)} after the start`}
        min={from}
        max={to}
        step={Math.max(1, Math.round((to - from) / 2_000))}
        value={shown}
        onInput={(event) => {
          const value = event.currentTarget.valueAsNumber
          onChange(value >= to ? undefined : value)
        }}
      />
      <button type="button" disabled={at === undefined || after === undefined} onClick={() => onChange(after)}>
        Step ▸
      </button>
      <output>{at === undefined ? "now" : `${clock(shown)} (+${length(shown - from)})`}</output>
      <button type="button" disabled={at === undefined} onClick={() => onChange(undefined)}>Now</button>
    </div>
  )
}
