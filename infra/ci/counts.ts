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
  readonly testResults?: ReadonlyArray<{
    readonly name?: string
    readonly status?: string
    readonly assertionResults?: ReadonlyArray<{ readonly status?: string; readonly fullName?: string }>
  }>
}

const read = (report: string): Report | undefined => {
  try {
    return JSON.parse(report)
  } catch {
    return undefined
  }
}

export const countVitest = (report: string, hasPassed: boolean): Counts => {
  const parsed = read(report)
  if (parsed === undefined) return { passed: 0, failed: 1, skipped: 0 }
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

/** More than so many files with a failure are no accident of the machine. */
const repeatedFilesMax = 2

/** Where processes, brokers, browsers and clocks of the machine take part. What computes alone gives the same answer twice, or fails by a seed that must not get away. */
const meetsMachine = (file: string): boolean =>
  /\/test\/(integration|conformance|contract|faults|e2e|bench|helm)\/|\/plugins\/local\//.test(file)

export interface Repetition {
  /** Paths, absolute. */
  readonly files: ReadonlyArray<string>
  /** Full names of the tests that failed. */
  readonly tests: ReadonlyArray<string>
}

/**
 * What is run once more, alone, before the run counts as failed: single tests of files in which the machine has a part. `undefined`: nothing failed, or what failed is no matter of
 * chance. A test that passes only then is named as flaky at the end of the run: it is a defect of the test or of the product, whose time has not come yet.
 */
export const repetition = (report: string): Repetition | undefined => {
  const failed = (read(report)?.testResults ?? []).filter(({ status }) => status === "failed")
  const files = [...new Set(failed.map(({ name = "" }) => name))]
  const testsOf = (one: typeof failed[number]) =>
    (one.assertionResults ?? []).filter(({ status }) => status === "failed").map(({ fullName = "" }) => fullName)
  const isChance = files.length > 0 && files.length <= repeatedFilesMax && files.every(meetsMachine) &&
    failed.every((one) => testsOf(one).length > 0)
  return isChance ? { files, tests: failed.flatMap(testsOf) } : undefined
}
