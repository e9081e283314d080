import { assert, describe, it } from "@effect/vitest"
import * as Samples from "./Samples.ts"

describe("Samples", () => {
  it("a percentile is a value that was measured", () => {
    const values = Array.from({ length: 100 }, (_, at) => 100 - at)
    assert.strictEqual(Samples.percentile(values, 0), 1)
    assert.strictEqual(Samples.percentile(values, 0.5), 51)
    assert.strictEqual(Samples.percentile(values, 0.99), 100)
    assert.strictEqual(Samples.percentile(values, 1), 100)
    assert.strictEqual(Samples.percentile(Float64Array.of(7), 0.99), 7)
    assert.isTrue(Number.isNaN(Samples.percentile([], 0.5)))
  })

  it("sorts numbers as numbers, and leaves the argument as it was", () => {
    const values = [10, 9, 100]
    assert.strictEqual(Samples.median(values), 10)
    assert.deepStrictEqual(values, [10, 9, 100])
  })

  it("shows three digits", () => {
    assert.deepStrictEqual(
      [0.01234, 1.234, 12.34, 123.4, 1_234, 12_345, 1_234_567, Number.NaN].map(Samples.format),
      ["0.012", "1.23", "12.3", "123", "1,230", "12,300", "1,230,000", "-"]
    )
  })
})
