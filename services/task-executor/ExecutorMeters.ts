/**
 * What an executor counts of the attempts that it runs (shared/telemetry/Catalog): how they end, and how long each took.
 *
 * Counted when an attempt ends here, whatever becomes of its report. An attempt that never began (stopped before, or of an unknown type) has no duration.
 */
import type { TaskFact } from "../../shared/protocol/Report.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import type { Counter, Histogram, Meters } from "../../shared/telemetry/Meters.ts"
import type { Attempt } from "./Attempt.ts"

type Outcome = Exclude<TaskFact["_tag"], "RUNNING" | "RUNTIME_CONTEXT_CHANGED"> | "superseded"

export class ExecutorMeters {
  /** A clock that only goes forward, in seconds: tasks may take microseconds. */
  readonly seconds: () => number
  readonly #meters: Meters
  readonly #outcomes: Readonly<Record<Outcome, Counter>>
  readonly #types = new Map<string, Histogram>()

  constructor(meters: Meters, seconds: () => number) {
    this.seconds = seconds
    this.#meters = meters
    const of = (outcome: Outcome): Counter => meters.counter(Catalog.attemptsEnded, { outcome })
    this.#outcomes = {
      SUCCEEDED: of("SUCCEEDED"),
      FAILED: of("FAILED"),
      FATAL: of("FATAL"),
      KILLED: of("KILLED"),
      PAUSED: of("PAUSED"),
      SANDBOX_LOST: of("SANDBOX_LOST"),
      superseded: of("superseded")
    }
  }

  ended({ spec, startedAt, startedSeconds }: Attempt, outcome: TaskFact["_tag"] | "superseded"): void {
    if (outcome === "RUNNING" || outcome === "RUNTIME_CONTEXT_CHANGED") return // no end
    this.#outcomes[outcome].total++
    if (startedAt !== undefined && spec !== undefined) {
      this.#ofType(spec.type).observe(this.seconds() - startedSeconds)
    }
  }

  #ofType(type: string): Histogram {
    let histogram = this.#types.get(type)
    if (histogram === undefined) {
      histogram = this.#meters.histogram(Catalog.taskSeconds, { type })
      this.#types.set(type, histogram)
    }
    return histogram
  }
}
