/** The attempts of a run over time, cut at the time cursor: the light part of a bar waited (for a sandbox, a slot, a delay), the full part ran. */
import type { Bar } from "../RunAt.ts"
import { length } from "../Time.ts"
import { toneOf, wordOf } from "./State.tsx"

const shownMax = 1_000
const ticks = 5

export const Timeline = ({ bars, from, hrefOf, to }: {
  readonly bars: ReadonlyArray<Bar>
  readonly from: number
  readonly to: number
  readonly hrefOf: (task: string) => string
}) => {
  const place = (at: number): number => 100 * (at - from) / (to - from)
  if (bars.length === 0) return <p class="empty">Nothing had begun by then.</p>
  return (
    <div class="timeline" role="table" aria-label="Attempts over time">
      <div class="bar-row axis" aria-hidden="true">
        <span />
        <span>
          {Array.from(
            { length: ticks + 1 },
            (_, tick) => (
              <i key={tick} style={{ left: `${100 * tick / ticks}%` }}>{length((to - from) * tick / ticks)}</i>
            )
          )}
        </span>
      </div>
      {bars.slice(0, shownMax).map((bar) => {
        const begun = bar.started ?? bar.end
        const text = `${wordOf(bar.state)}, waited ${length(begun - bar.submitted)}`
          + (bar.started === undefined ? "" : `, ran ${length(bar.end - bar.started)}`)
        return (
          <div class="bar-row" role="row" key={`${bar.label} ${bar.submitted}`}>
            <span role="cell">
              <a href={hrefOf(bar.task)} title={bar.label}>{bar.label}</a>
            </span>
            <span role="cell" title={text} aria-label={text}>
              <b
                class={`bar wait ${toneOf(bar.state)}`}
                style={{ left: `${place(bar.submitted)}%`, width: `${place(begun) - place(bar.submitted)}%` }}
              />
              {bar.started === undefined ?
                null :
                (
                  <b
                    class={`bar ${toneOf(bar.state)}`}
                    style={{
                      left: `${place(bar.started)}%`,
                      width: `max(2px, ${place(bar.end) - place(bar.started)}%)`
                    }}
                  />
                )}
            </span>
          </div>
        )
      })}
      {bars.length > shownMax ? <p class="empty">{bars.length - shownMax} more attempts are not drawn.</p> : null}
    </div>
  )
}
