/**
 * The numbers of a process: one for each series of the catalogue that the process has touched.
 *
 * Kept true here: counting costs an addition, and observing a value a short search, without an Effect, a lookup or an allocation, so both may stand on a hot path; nothing is shown
 * that is not in the catalogue; a label shows no more different values than its bound, whatever it is given (the rest is shown together as `other`). A gauge is read when
 * somebody looks, from whoever registered for it; what several registered for the same labels is their sum.
 *
 * Whoever counts asks for its counters once (`counter`, `histogram`) and keeps them. They are series of Effect's `Metric` (`registerUnsafe`), in a registry of their own, so what
 * Effect exports with (Prometheus, OTLP) works on them.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type * as Definition from "./Definition.ts"
import { other } from "./Definition.ts"

/** Its owner adds to `total`; never less than before. */
export class Counter {
  total = 0
}

/** How often a value fell into which bucket. */
export class Histogram {
  readonly bounds: ReadonlyArray<number>
  /** One more than `bounds`: what is above the last. */
  readonly counts: Float64Array
  count = 0
  sum = 0
  #min = Infinity
  #max = -Infinity

  constructor(bounds: ReadonlyArray<number>) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    const { bounds, counts } = this
    let at = 0
    while (at < bounds.length && value > (bounds[at] as number)) at++ // at is in range
    counts[at] = (counts[at] as number) + 1 // at is in range
    this.count++
    this.sum += value
    if (value < this.#min) this.#min = value
    if (value > this.#max) this.#max = value
  }

  /** As Effect's exporters read it: counts are cumulative. */
  state(): Metric.HistogramState {
    let below = 0
    const buckets = this.bounds.map((bound, at): [number, number] => {
      below += this.counts[at] ?? 0
      return [bound, below]
    })
    return { buckets, count: this.count, sum: this.sum, min: this.#min, max: this.#max }
  }
}

interface Shown<A> {
  readonly instrument: A
  readonly remove: () => void
}

const nothing = (): void => {}

export class Meters {
  /** What exporters read. */
  readonly context: Context.Context<never>
  readonly #counters = new Map<string, Counter>()
  readonly #histograms = new Map<string, Histogram>()
  readonly #gauges = new Map<string, Shown<Set<() => number>>>()
  /** By metric and label: the values shown so far, where a bound is kept. */
  readonly #values = new Map<string, Set<string>>()

  constructor() {
    this.context = Context.make(Metric.MetricRegistry, new Map())
  }

  /** The counter of these labels, the same each time. */
  counter<L extends Definition.Labels>(definition: Definition.Counter<L>, labels: Definition.ValuesOf<L>): Counter {
    const [key, attributes] = this.#series(definition, labels)
    let counter = this.#counters.get(key)
    if (counter === undefined) {
      const made = new Counter()
      counter = made
      this.#counters.set(key, made)
      this.#showCounter(definition, attributes, () => made.total)
    }
    return counter
  }

  /** A counter that is kept elsewhere (by the runtime, by a library): read when somebody looks. */
  counted<L extends Definition.Labels>(
    definition: Definition.Counter<L>,
    labels: Definition.ValuesOf<L>,
    read: () => number
  ): void {
    this.#showCounter(definition, this.#series(definition, labels)[1], read)
  }

  histogram<L extends Definition.Labels>(
    definition: Definition.Histogram<L>,
    labels: Definition.ValuesOf<L>
  ): Histogram {
    const [key, attributes] = this.#series(definition, labels)
    let histogram = this.#histograms.get(key)
    if (histogram === undefined) {
      const made = new Histogram(definition.buckets)
      histogram = made
      this.#histograms.set(key, made)
      const metric = Metric.histogram(definition.name, {
        description: definition.help,
        attributes,
        boundaries: definition.buckets
      })
      Metric.registerUnsafe(metric, this.context, { get: () => made.state(), update: nothing, modify: nothing })
    }
    return histogram
  }

  /** Adds `read` to what the gauge of these labels shows, until the returned function is called. */
  gauge<L extends Definition.Labels>(
    definition: Definition.Gauge<L>,
    labels: Definition.ValuesOf<L>,
    read: () => number
  ): () => void {
    const [key, attributes] = this.#series(definition, labels)
    let shown = this.#gauges.get(key)
    if (shown === undefined) {
      const sources = new Set<() => number>()
      const metric = Metric.gauge(definition.name, { description: definition.help, attributes })
      const registration = Metric.registerUnsafe(metric, this.context, {
        get: () => {
          let value = 0
          for (const source of sources) value += source()
          return { value }
        },
        update: nothing,
        modify: nothing
      })
      shown = { instrument: sources, remove: registration.remove }
      this.#gauges.set(key, shown)
    }
    const { instrument, remove } = shown
    // two that register the same function are two
    const source = () => read()
    instrument.add(source)
    return () => {
      instrument.delete(source)
      if (instrument.size > 0 || this.#gauges.get(key) !== shown) return
      this.#gauges.delete(key)
      remove()
    }
  }

  /** `gauge` while the scope is open. */
  gaugeScoped<L extends Definition.Labels>(
    definition: Definition.Gauge<L>,
    labels: Definition.ValuesOf<L>,
    read: () => number
  ): Effect.Effect<void, never, Scope.Scope> {
    return Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => this.gauge(definition, labels, read)),
        (remove) => Effect.sync(remove)
      )
    )
  }

  #showCounter(definition: Definition.Counter, attributes: Readonly<Record<string, string>>, read: () => number): void {
    const metric = Metric.counter(definition.name, { description: definition.help, attributes, incremental: true })
    Metric.registerUnsafe(metric, this.context, {
      get: () => ({ count: read(), incremental: true }),
      update: nothing,
      modify: nothing
    })
  }

  /** The name of a series among all, and its labels within their bounds. */
  #series<L extends Definition.Labels>(
    definition: Definition.Definition & { readonly labels: L },
    labels: Definition.ValuesOf<L>
  ): readonly [key: string, attributes: Readonly<Record<string, string>>] {
    const attributes: Record<string, string> = {}
    const given = labels as Readonly<Record<string, string>> // what ValuesOf makes of any Labels
    for (const [label, allowed] of Object.entries(definition.labels)) {
      attributes[label] = this.#bounded(definition.name, label, allowed, given[label] ?? other)
    }
    return [`${definition.name}${JSON.stringify(attributes)}`, attributes]
  }

  #bounded(name: string, label: string, allowed: Definition.LabelValues, value: string): string {
    if (!("max" in allowed)) return value // the type says that it is one of them
    const key = `${name} ${label}`
    let values = this.#values.get(key)
    if (values === undefined) {
      values = new Set()
      this.#values.set(key, values)
    }
    if (values.has(value)) return value
    if (values.size >= allowed.max) return other
    values.add(value)
    return value
  }
}

/** Of the process: what counts asks for it, and gets the same unless somebody provides another. */
export const Telemetry = Context.Reference<Meters>("heddle/telemetry/Telemetry", { defaultValue: () => new Meters() })

/** A clock that only goes forward, in seconds, as fine as the machine has it: for durations. */
export const stopwatch = (clock: { readonly monotonicTimeNanosUnsafe: () => bigint }): () => number => () =>
  Number(clock.monotonicTimeNanosUnsafe()) / 1e9
