import { assert, describe, it } from "@effect/vitest"
import { countVitest, repetition } from "./counts.ts"

const report = (value: object) => JSON.stringify(value)

describe("counts", () => {
  it("counts tests", () => {
    assert.deepStrictEqual(
      countVitest(
        report({ numPassedTests: 7, numFailedTests: 2, numPendingTests: 1, numTodoTests: 1, testResults: [] }),
        false
      ),
      { passed: 7, failed: 2, skipped: 2 }
    )
  })

  it("a file that does not load is a failure beside the failed tests", () => {
    const testResults = [
      { status: "failed", assertionResults: [] },
      { status: "failed", assertionResults: [{ status: "failed" }, { status: "passed" }] },
      { status: "passed", assertionResults: [{ status: "passed" }] }
    ]
    assert.deepStrictEqual(countVitest(report({ numPassedTests: 2, numFailedTests: 1, testResults }), false), {
      passed: 2,
      failed: 2,
      skipped: 0
    })
  })

  it("an error outside any test is a failure", () => {
    assert.strictEqual(countVitest(report({ numPassedTests: 3, numFailedTests: 0, testResults: [] }), false).failed, 1)
    assert.strictEqual(countVitest("", true).failed, 1)
    assert.strictEqual(countVitest(report({ numPassedTests: 3, numFailedTests: 0, testResults: [] }), true).failed, 0)
  })

  const failing = (name: string, ...tests: ReadonlyArray<string>) => ({
    name,
    status: "failed",
    assertionResults: [
      { status: "passed", fullName: "other" },
      ...tests.map((fullName) => ({ status: "failed", fullName }))
    ]
  })
  const passing = { name: "/w/test/e2e/b.test.ts", status: "passed", assertionResults: [{ status: "passed" }] }

  it("what failed where the machine takes part is run once more, in its files, by name", () => {
    const testResults = [
      failing("/w/test/e2e/a.test.ts", "on node"),
      failing("/w/test/e2e/a.test.ts", "on deno"),
      passing,
      failing("/w/plugins/local/local.test.ts", "x", "y")
    ]
    assert.deepStrictEqual(repetition(report({ testResults })), {
      files: ["/w/test/e2e/a.test.ts", "/w/plugins/local/local.test.ts"],
      tests: ["on node", "on deno", "x", "y"]
    })
  })

  it("nothing is run again: where all passed, what only computes, a file that does not load, more than two files", () => {
    const e2e = (name: string) => failing(`/w/test/e2e/${name}.test.ts`, "t")
    for (
      const testResults of [
        [passing],
        [failing("/w/services/coordinator/engine/Decide.test.ts", "t")],
        [failing("/w/test/properties/Run.test.ts", "t")],
        [failing("/w/test/simulation/claims.test.ts", "t"), e2e("a")],
        [failing("/w/test/e2e/a.test.ts")],
        [e2e("a"), failing("/w/test/e2e/b.test.ts")],
        [e2e("a"), e2e("b"), e2e("c")]
      ]
    ) assert.isUndefined(repetition(report({ testResults })))
    assert.isUndefined(repetition(""))
  })
})
