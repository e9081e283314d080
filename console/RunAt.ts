/**
 * A run as it was at a moment: the state of each of its tasks, and the bars of its timeline, out of the attempts that the run's view holds. What the time cursor moves over. Pure.
 *
 * Kept true: at the run's end (or now) it says what the view says; before an attempt was submitted there is nothing of it; a state never comes from after the moment.
 */
import type { AttemptOfView, TaskOfView, View } from "./Api.ts"
import { ms } from "./Time.ts"

/** Where an attempt was at `at`; `undefined`: not there yet. */
export const attemptState = (attempt: AttemptOfView, at: number): string | undefined => {
  if (at < ms(attempt.submittedAt)) return undefined
  if (attempt.endedAt !== undefined && at >= ms(attempt.endedAt)) return attempt.state
  if (attempt.startedAt !== undefined && at >= ms(attempt.startedAt)) return "RUNNING"
  // It has not begun by then; what it is now, unless it went on since.
  return attempt.startedAt === undefined && attempt.endedAt === undefined ? attempt.state : "SUBMITTED"
}

export interface TaskAt {
  readonly name: string
  /** `undefined`: it has not been reached. */
  readonly state: string | undefined
  /** Of a task over items: how many of them are in each state. */
  readonly items: ReadonlyMap<string, number> | undefined
  readonly attempts: number
}

const worstFirst = ["FAILED", "KILLED", "RUNNING", "DISPATCHED", "DELAY_EXECUTION", "SUBMITTED", "FAILOVER", "PAUSED"]

export const taskAt = (task: TaskOfView, at: number, isNow: boolean): TaskAt => {
  const seen = task.attempts.flatMap((attempt) => {
    const state = attemptState(attempt, at)
    return state === undefined ? [] : [{ item: attempt.item, state }]
  })
  const newest = new Map<number | undefined, string>()
  for (const { item, state } of seen) newest.set(item, state)
  const items = new Map<string, number>()
  for (const [item, state] of newest) if (item !== undefined) items.set(state, (items.get(state) ?? 0) + 1)
  const hasItems = items.size > 0
  const state = isNow
    ? task.state ?? (task.why === undefined || task.attempts.length > 0 ? undefined : "SKIPPED")
    : hasItems
    ? worstFirst.find((each) => items.has(each)) ?? [...items.keys()].at(-1)
    : newest.get(undefined)
  return { name: task.name, state, items: hasItems ? items : undefined, attempts: seen.length }
}

/** First and last moment of a run; one that still runs ends at `now`. */
export const spanOf = (view: View, now: number): { readonly from: number; readonly to: number } => {
  let from = ms(view.startedAt)
  let to = view.endedAt === undefined ? now : ms(view.endedAt)
  for (const task of view.tasks) {
    for (const attempt of task.attempts) {
      from = Math.min(from, ms(attempt.submittedAt))
      to = Math.max(to, ms(attempt.endedAt ?? attempt.startedAt ?? attempt.submittedAt))
    }
  }
  return { from, to: Math.max(to, from + 1) }
}

/** The moments at which something of the run changed, ascending, each once: where the cursor steps to. */
export const momentsOf = (view: View): ReadonlyArray<number> => {
  const moments = new Set<number>([ms(view.startedAt), ...(view.endedAt === undefined ? [] : [ms(view.endedAt)])])
  for (const { attempts } of view.tasks) {
    for (const { endedAt, startedAt, submittedAt } of attempts) {
      for (const at of [submittedAt, startedAt, endedAt]) if (at !== undefined) moments.add(ms(at))
    }
  }
  return [...moments].sort((a, b) => a - b)
}

export interface Bar {
  readonly task: string
  readonly label: string
  readonly state: string
  readonly submitted: number
  /** When it began to run, if it has by then. */
  readonly started: number | undefined
  readonly end: number
}

/** One bar an attempt that had been submitted by `at`, cut there; in the order of the tasks, then of time. */
export const barsOf = (view: View, at: number): ReadonlyArray<Bar> =>
  view.tasks.flatMap((task) =>
    task.attempts.flatMap((attempt) => {
      const state = attemptState(attempt, at)
      if (state === undefined) return []
      const suffix = [
        ...(attempt.item === undefined ? [] : [`[${attempt.item}]`]),
        ...(attempt.attempt > 1 ? [`#${attempt.attempt}`] : [])
      ]
      return [{
        task: task.name,
        label: [task.name, ...suffix].join(" "),
        state,
        submitted: ms(attempt.submittedAt),
        started: attempt.startedAt === undefined || ms(attempt.startedAt) > at ? undefined : ms(attempt.startedAt),
        end: attempt.endedAt === undefined ? at : Math.min(at, ms(attempt.endedAt))
      }]
    })
  )
