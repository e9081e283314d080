import { assert, describe, it } from "@effect/vitest"
import { countVitest } from "./counts.ts"

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
})
