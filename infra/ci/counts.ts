// Reads Vitest's JSON report. What it does not count as a test (a file that does not load, an error outside any test)
// still is a failure here: the closing line must never look better than the run was.

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

interface Report {
  readonly numPassedTests?: number
  readonly numFailedTests?: number
  readonly numPendingTests?: number
  readonly numTodoTests?: number
  readonly testResults?: ReadonlyArray<
    { readonly status?: string; readonly assertionResults?: ReadonlyArray<{ readonly status?: string }> }
  >
}

export const countVitest = (report: string, hasPassed: boolean): Counts => {
  let parsed: Report
  try {
    parsed = JSON.parse(report)
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }
  }
  const filesWithoutFailedTest =
    (parsed.testResults ?? []).filter((file) =>
      file.status === "failed" && !(file.assertionResults ?? []).some((test) => test.status === "failed")
    ).length
  const failed = (parsed.numFailedTests ?? 0) + filesWithoutFailedTest
  return {
    passed: parsed.numPassedTests ?? 0,
    failed: failed === 0 && !hasPassed ? 1 : failed,
    skipped: (parsed.numPendingTests ?? 0) + (parsed.numTodoTests ?? 0)
  }
}
