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
  A52: { file: "test/integration/alerts.test.ts", name: "A52 " },
  B22: { file: "test/integration/schedules.test.ts", name: "B22 " },
  B23: { file: "test/integration/schedules.test.ts", name: "B22 4 dates ascending; B23" },
  B24: { file: "test/integration/schedules.test.ts", name: "B22 4 dates ascending; B23 parallel 2; B24" },
  B25: { file: "test/integration/schedules.test.ts", name: "B25 " },
  B26: { file: "test/integration/schedules.test.ts", name: "B26 " },
  D01: { file: "services/coordinator/engine/Properties.test.ts", name: "D01, D02, D04" },
  D02: { file: "services/coordinator/engine/Properties.test.ts", name: "D01, D02, D04" },
  D03: { file: "services/coordinator/engine/Properties.test.ts", name: "D03" },
  D04: { file: "services/coordinator/engine/Properties.test.ts", name: "D01, D02, D04" }
}

const subWorkflow = "no case here yet: task type sub-workflow (built while this list was written)"
const groups = "no case here yet: concurrency groups (built while this list was written)"
const condition = "no case here yet: task type condition (built while this list was written)"
const serial = "no case here yet: execution types other than parallel (built while this list was written)"
const schedules = "no case here yet: schedules (built while this list was written)"

/** Why a case has no test here: the feature is not in this version, or was built after the tests. */
export const notBuilt: Readonly<Record<string, string>> = {
  A05: subWorkflow,
  A06: subWorkflow,
  A07: subWorkflow,
  A08: subWorkflow,
  A09: `${subWorkflow}, ${schedules}`,
  A13: groups,
  A28: condition,
  A29: condition,
  A30: condition,
  A31: condition,
  A32: condition,
  A33: condition,
  A34: condition,
  A49: "a maximum run time of the whole system",
  A54: groups,
  A55: groups,
  A60: serial,
  A61: serial,
  A62: serial,
  A63: serial,
  A65: "no case here yet: task type dependent (built while this list was written)",
  B04: subWorkflow,
  B06: groups,
  B10: subWorkflow,
  B12: groups,
  B15: subWorkflow,
  B19: "no case here yet: forced success (built while this list was written)",
  C14: subWorkflow,
  C15: subWorkflow,
  C16: subWorkflow,
  C17: subWorkflow
}
