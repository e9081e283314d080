/** The benchmark with tiny sizes against the whole mesh: every scenario gives every figure and right results. Times are not looked at. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import type { ClaimReport } from "./ClaimReport.ts"
import type { Report } from "./Report.ts"

const program = join(import.meta.dirname, "main.ts")
const run = (...args: ReadonlyArray<string>) => promisify(execFile)(process.execPath, [program, ...args])

describe("bench", () => {
  it("--quick: every scenario has its figures, printed and in JSON", async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-bench-test-"))
    try {
      const file = join(folder, "bench.json")
      const { stdout } = await run("--quick", "--json", file)
      const report: Report = JSON.parse(readFileSync(file, "utf8"))
      assert.deepStrictEqual(
        report.results.map(({ figures, scenario }) => [scenario, figures.map(({ name }) => name)]),
        [
          ["hello", ["p50", "p99"]],
          ["fan-out", ["p50"]],
          ["chain", ["p50"]],
          ["diamonds-64", ["workflows", "p50", "p99"]],
          ["diamonds-256", ["workflows", "p50", "p99"]],
          ["diamonds-burst", ["workflows", "p50", "p99"]],
          ["round-trip", ["requests", "p50", "p99", "alone p50", "alone p99"]],
          ["claims", ["claims", "p50", "p99", "releases"]]
        ]
      )
      for (const { figures, scenario } of report.results) {
        for (const { name, value } of figures) assert.isAbove(value, 0, `${scenario} ${name}`)
        assert.include(stdout, scenario)
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 300_000)

  it("claims --quick: every part has its figures, printed and in JSON", async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-bench-test-"))
    try {
      const file = join(folder, "claims.json")
      const { stdout } = await run("claims", "--quick", "--json", file)
      const report: ClaimReport = JSON.parse(readFileSync(file, "utf8"))
      assert.isAbove(report.core.length, 8)
      for (const { name, value } of report.core) {
        assert.isAbove(value, 0, name)
        assert.include(stdout, name)
      }
      assert.deepStrictEqual(report.kube.map(({ load }) => load.count), [5, 10])
      for (const { claims, patches } of report.kube) {
        for (const value of [claims.perSecond, claims.p99, patches.perSecond, patches.p99]) assert.isAbove(value, 0)
      }
      assert.deepInclude(report.large, { pools: 4, sandboxes: 40 })
      assert.deepStrictEqual(report.fleets.map(({ pools, start }) => [pools, start.keys]), [[3, 6], [3, 6]])
      for (const { largePool, onePool, spread, takeOver } of report.fleets) {
        for (const { perSecond } of [spread, onePool, largePool]) assert.isAbove(perSecond, 0)
        assert.isAbove(takeOver.mostMs, 0)
      }
      // one watch for all pools of the namespace
      assert.deepStrictEqual(report.fleets.map(({ api }) => api?.start.watching), [undefined, 1])
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 300_000)

  it("an unknown scenario or flag is a usage error that names what there is", async () => {
    const unknown = await run("dimonds").catch((error: { code: number; stderr: string }) => error)
    assert.include(unknown.stderr, "diamonds-64")
    assert.strictEqual("code" in unknown ? unknown.code : 0, 2)
    const flag = await run("--quik").catch((error: { code: number; stderr: string }) => error)
    assert.strictEqual("code" in flag ? flag.code : 0, 2)
  })
})
