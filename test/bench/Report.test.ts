import { assert, describe, it } from "@effect/vitest"
import * as Floor from "./Floor.ts"
import * as Report from "./Report.ts"

const figures = { hello_p50_ms: 1, hello_p99_ms: 2, fan100_ms: 3, chain20_ms: 10, diamonds_per_s: 8_000 }

describe("Floor", () => {
  it("reads the line of figures, and refuses output without one", () => {
    assert.deepStrictEqual(Floor.parse(`${JSON.stringify(figures)}\ncoordinator: cpu 0.88 s\n`), figures)
    assert.throws(() => Floor.parse("coordinator: cpu 0.88 s"), "hello_p50_ms")
  })

  it("the mean of two runs", () => {
    assert.strictEqual(Floor.mean([figures, { ...figures, diamonds_per_s: 4_000 }])?.diamonds_per_s, 6_000)
    assert.isUndefined(Floor.mean([]))
  })
})

describe("Report", () => {
  it("shows the median of the runs, and what it is of the floor", () => {
    const [workflows, p50] = Report.figuresOf(
      [{ name: "workflows", unit: "/s", floor: "diamonds_per_s" }, { name: "p50", unit: "ms" }],
      [{ workflows: 3_000, p50: 9 }, { workflows: 4_000, p50: 7 }, { workflows: 9_000, p50: 8 }],
      figures
    )
    assert.deepStrictEqual(workflows, {
      name: "workflows",
      unit: "/s",
      value: 4_000,
      runs: [3_000, 4_000, 9_000],
      floor: 8_000,
      ratio: 0.5
    })
    assert.deepStrictEqual(p50, { name: "p50", unit: "ms", value: 8, runs: [9, 7, 8] })
  })

  it("the median of each process", () => {
    const run = (cpuSeconds: number, peakMb: number): Report.Usages =>
      new Map([["coordinator-1", { cpuSeconds, peakMb }]])
    assert.deepStrictEqual(Report.processesOf([run(1, 90), run(3, 70), run(2, 80)], 1_000), [
      { name: "coordinator-1", cpuSeconds: 2, cpuUsEach: 2_000, peakMb: 80 }
    ])
  })

  it("prints both sync levels side by side, and a failure as one", () => {
    const result = (sync: Report.Sync, value: number): Report.Measured => ({
      scenario: "hello",
      what: "",
      sync,
      figures: [{ name: "p50", unit: "ms", value, runs: [value], floor: 1, ratio: value }],
      processes: [],
      traffic: []
    })
    const report: Report.Report = {
      at: "2026-11-21T10:00:00.000Z",
      machine: { cores: 2 },
      versions: { node: "24" },
      options: {},
      floor: [],
      results: [
        result("interval", 1.5),
        result("always", 3.25),
        { scenario: "chain", what: "", sync: "interval", figures: [], processes: [], traffic: [], failure: "no result" }
      ],
      profiles: [],
      notes: ["a note"]
    }
    const text = Report.render(report)
    assert.match(text, /hello +p50 +ms +1\.50 +1\.00 +1\.50 +3\.25 +1\.00 +3\.25/)
    assert.include(text, "FAILED: chain, sync interval: no result")
    assert.include(text, "a note")
  })
})
