import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Schema from "effect/Schema"
import * as Catalog from "./Catalog.ts"
import { Histogram, Meters } from "./Meters.ts"

/** The lines of one metric as they are shown. */
const shown = (meters: Meters, name: string): ReadonlyArray<string> =>
  PrometheusMetrics.formatUnsafe(meters.context).split("\n").filter((line) => line.startsWith(name))

it("a counter of the same labels is one, and is read when somebody looks", () => {
  const meters = new Meters()
  const acked = meters.counter(Catalog.ledgerAppends, { outcome: "acked" })
  acked.total += 2
  meters.counter(Catalog.ledgerAppends, { outcome: "acked" }).total++
  meters.counter(Catalog.ledgerAppends, { outcome: "fenced" })
  assert.deepStrictEqual(shown(meters, "heddle_ledger_appends_total"), [
    "heddle_ledger_appends_total{outcome=\"acked\"} 3",
    "heddle_ledger_appends_total{outcome=\"fenced\"} 0"
  ])
})

it.effect.prop(
  "a bucket holds what is at most its bound, and the sum and the count are those of the values",
  { values: Schema.Array(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 10 }))) },
  ({ values }) =>
    Effect.sync(() => {
      const histogram = new Histogram([0.001, 0.5, 1, 5])
      for (const value of values) histogram.observe(value)
      const { buckets, count, sum } = histogram.state()
      assert.deepStrictEqual(
        buckets.map(([bound, below]) => [bound, below]),
        [0.001, 0.5, 1, 5].map((bound) => [bound, values.filter((value) => value <= bound).length])
      )
      assert.strictEqual(count, values.length)
      assert.strictEqual(sum, values.reduce((total, value) => total + value, 0))
    })
)

it("a histogram is shown with its bounds, +Inf, sum and count", () => {
  const meters = new Meters()
  const histogram = meters.histogram(Catalog.ledgerRecords, {})
  histogram.observe(1)
  histogram.observe(2_000)
  const lines = shown(meters, "heddle_ledger_append_records")
  assert.include(lines, "heddle_ledger_append_records_bucket{le=\"1\"} 1")
  assert.include(lines, "heddle_ledger_append_records_bucket{le=\"1024\"} 1")
  assert.include(lines, "heddle_ledger_append_records_bucket{le=\"+Inf\"} 2")
  assert.include(lines, "heddle_ledger_append_records_sum 2001")
  assert.include(lines, "heddle_ledger_append_records_count 2")
  assert.strictEqual(meters.histogram(Catalog.ledgerRecords, {}), histogram)
})

it("what registered for the same gauge is added up; when the last is gone, so is the gauge", () => {
  const meters = new Meters()
  const first = meters.gauge(Catalog.slotsUsed, {}, () => 3)
  const second = meters.gauge(Catalog.slotsUsed, {}, () => 4)
  assert.deepStrictEqual(shown(meters, "heddle_executor_slots_used"), ["heddle_executor_slots_used 7"])
  first()
  first()
  assert.deepStrictEqual(shown(meters, "heddle_executor_slots_used"), ["heddle_executor_slots_used 4"])
  second()
  assert.deepStrictEqual(shown(meters, "heddle_executor_slots_used"), [])
  meters.gauge(Catalog.slotsUsed, {}, () => 5)
  assert.deepStrictEqual(shown(meters, "heddle_executor_slots_used"), ["heddle_executor_slots_used 5"])
})

it.effect("a scoped gauge goes with its scope", () =>
  Effect.gen(function*() {
    const meters = new Meters()
    yield* Effect.scoped(Effect.gen(function*() {
      yield* meters.gaugeScoped(Catalog.shardsOwned, {}, () => 64)
      assert.deepStrictEqual(shown(meters, "heddle_shards_owned"), ["heddle_shards_owned 64"])
    }))
    assert.deepStrictEqual(shown(meters, "heddle_shards_owned"), [])
  }))

it("a label shows no more values than its bound: the rest counts together as other", () => {
  const meters = new Meters()
  const { max } = Catalog.runsStarted.labels.definition
  for (let i = 0; i < max + 50; i++) {
    meters.counter(Catalog.runsStarted, { definition: `default/d${i}` }).total++
  }
  // one that is shown stays
  meters.counter(Catalog.runsStarted, { definition: "default/d0" }).total++
  const lines = shown(meters, "heddle_runs_started_total")
  assert.strictEqual(lines.length, max + 1)
  assert.include(lines, "heddle_runs_started_total{definition=\"other\"} 50")
  assert.include(lines, "heddle_runs_started_total{definition=\"default/d0\"} 2")
})

it("gauges beyond the bound of a label are added up as other", () => {
  const meters = new Meters()
  const { max } = Catalog.queueLength.labels.pool
  for (let i = 0; i < max + 3; i++) meters.gauge(Catalog.queueLength, { pool: `default/p${i}` }, () => 10)
  const lines = shown(meters, "heddle_claim_queue_length")
  assert.strictEqual(lines.length, max + 1)
  assert.include(lines, "heddle_claim_queue_length{pool=\"other\"} 30")
})
