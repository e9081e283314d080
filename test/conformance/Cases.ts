/**
 * Every case number of the conformance list, and what stands for it: a test in this folder, a test elsewhere, or the reason why there is none yet.
 *
 * No number is renumbered or dropped. A case with a test is found by its number at the beginning of the test's name; Cases.test.ts fails when a number has none of
 * the three, or two. `npm run conformance` prints the whole.
 */

const range = (section: string, last: number): ReadonlyArray<string> =>
  Array.from({ length: last }, (_, i) => `${section}${String(i + 1).padStart(2, "0")}`)

/** A: start. B: pause, stop, recover. C: failover. D: properties. */
export const numbers: ReadonlyArray<string> = [
  ...range("A", 75),
  ...range("B", 29),
  ...range("C", 26),
  ...range("D", 5)
]

/** Tests that stand beside the engine: file, and how the name of the test there begins. */
export const elsewhere: Readonly<Record<string, { readonly file: string; readonly name: string }>> = {
  B22: { file: "test/integration/schedules.test.ts", name: "B22 " },
  B23: { file: "test/integration/schedules.test.ts", name: "B22 4 dates ascending; B23" },
  B24: { file: "test/integration/schedules.test.ts", name: "B22 4 dates ascending; B23 parallel 2; B24" },
  B25: { file: "test/integration/schedules.test.ts", name: "B25 " },
  B26: { file: "test/integration/schedules.test.ts", name: "B26 " },
  D01: { file: "test/properties/Properties.test.ts", name: "D01, D02, D04" },
  D02: { file: "test/properties/Properties.test.ts", name: "D01, D02, D04" },
  D03: { file: "test/properties/Properties.test.ts", name: "D03" },
  D04: { file: "test/properties/Properties.test.ts", name: "D01, D02, D04" }
}

/** Why a case has no test: number and reason. None at present. */
export const notBuilt: Readonly<Record<string, string>> = {}
