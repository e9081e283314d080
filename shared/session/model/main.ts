/**
 * `node shared/session/model/main.ts [--deep] [--defects]`: checks the session protocol and prints what was visited; with `--defects` also the
 * shortest counterexample for each step left out. Exit code 1 when the protocol is broken.
 */
import * as Explorer from "./Explorer.ts"
import * as Scenarios from "./Scenarios.ts"
import * as SessionModel from "./SessionModel.ts"

const isDeep = process.argv.includes("--deep") || process.env["HEDDLE_MODEL_DEEP"] === "1"
const limits: Explorer.Limits = isDeep
  ? { statesMax: 12_000_000, fingerprints: "hashed" }
  : { statesMax: 1_000_000, fingerprints: "exact" }

const print = (name: string, outcome: Explorer.Outcome<SessionModel.State>) => {
  const { depth, states, transitions } = outcome
  const odds = outcome._tag === "Holds" && outcome.missedOdds > 0
    ? `, odds of a missed state ${outcome.missedOdds.toExponential(1)}`
    : ""
  console.log(
    `${outcome._tag.padEnd(10)} ${name}: ${states} states, ${transitions} transitions, ${depth} steps deep${odds}`
  )
  if (outcome._tag !== "Violated") return
  console.log(`  ${outcome.property}`)
  for (const step of outcome.trace) console.log(`  - ${step.label}`)
}

for (const { deep, name, small } of Scenarios.sound) {
  const outcome = Explorer.explore(SessionModel.make(isDeep ? deep : small), limits)
  print(name, outcome)
  if (outcome._tag === "Violated") process.exitCode = 1
}
if (process.argv.includes("--defects")) {
  for (const { breaks, defect, scenario } of Scenarios.defects) {
    const outcome = Explorer.explore(SessionModel.make(scenario, [defect], new Set([breaks])), limits)
    print(defect, outcome)
    if (outcome._tag !== "Violated") process.exitCode = 1
  }
}
