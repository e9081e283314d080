/**
 * What a metric is: its name, what kind of number it is, in which unit, by which labels it is told apart, and what it means.
 *
 * Kept true here: a label has either a closed list of values or a bound on how many different ones a process may show, so the number of series of a process has a bound that can
 * be read off the catalogue (`seriesMax`). Pure data: `Catalog` has the definitions, `Meters` the numbers.
 */

/** A closed list of values, or how many different ones a process shows at most: the rest is shown together as `other`. */
export type LabelValues = ReadonlyArray<string> | { readonly max: number }

export type Labels = Readonly<Record<string, LabelValues>>

/** The values that one series has, by label. */
export type ValuesOf<L extends Labels> = {
  readonly [K in keyof L]: L[K] extends ReadonlyArray<infer V> ? V : string
}

export type Unit = "1" | "seconds" | "bytes"

/** The process that shows it; `every`: each of them. */
export type Shower = "every" | "coordinator" | "pool-scheduler" | "task-executor" | "failover" | "gateway"

interface Described<L extends Labels> {
  readonly name: string
  readonly unit: Unit
  readonly labels: L
  readonly of: Shower
  /** One sentence, without a full stop at the end of a table's cell in mind: what one more of it means. */
  readonly help: string
}

/** Only grows while the process lives. */
export interface Counter<L extends Labels = Labels> extends Described<L> {
  readonly kind: "counter"
}
/** As it is at the moment of the scrape. */
export interface Gauge<L extends Labels = Labels> extends Described<L> {
  readonly kind: "gauge"
}
/** How often a value fell into which bucket; `buckets`: upper bounds, ascending, without the last (+Inf). */
export interface Histogram<L extends Labels = Labels> extends Described<L> {
  readonly kind: "histogram"
  readonly buckets: ReadonlyArray<number>
}

export type Definition = Counter | Gauge | Histogram

/** The value that stands for all beyond a label's bound. */
export const other = "other"

const valuesMax = (values: LabelValues): number => "max" in values ? values.max + 1 : values.length

/** The most series that one process can show of it: each combination of label values once, times the lines of a histogram. */
export const seriesMax = (definition: Definition): number =>
  Object.values(definition.labels).reduce((product, values) => product * valuesMax(values), 1)
  * (definition.kind === "histogram" ? definition.buckets.length + 3 : 1)
