import { it } from "@effect/vitest"
import { check, properties } from "./RandomRun.ts"

// D01, D02, D04: the invariants at the end of design/03 section 4, replay = live at every prefix, the same facts again, every run ends.
// D03: verify finds no difference in its own journal, and finds a tampered one.
// 10,000 sequences; more: `npm run properties -- --runs 200000`. A failure names the command that repeats it.
const runs = Number(process.env["HEDDLE_PROPERTY_RUNS"] ?? 10_000)
const seed = process.env["HEDDLE_PROPERTY_SEED"]
/** Cases of the conformance list, by which test/conformance/Cases.ts finds them. */
const cases: Readonly<Record<string, string>> = { small: "D01, D02, D04: ", verify: "D03: " }

for (const property of properties) {
  it(`${cases[property.name] ?? ""}random runs: ${property.name}`, { timeout: 600_000 }, () => {
    const failure = check(property, {
      runs: Math.max(1, Math.ceil(runs * property.share / 100)),
      ...(seed === undefined ? {} : { seed: Number(seed) })
    })
    if (failure !== undefined) throw new Error(failure)
  })
}
