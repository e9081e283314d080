import { assert, describe, it } from "@effect/vitest"
import * as Explorer from "./Explorer.ts"
import * as Scenarios from "./Scenarios.ts"
import * as SessionModel from "./SessionModel.ts"

const limits: Explorer.Limits = { statesMax: 500_000, fingerprints: "exact" }

const told = (outcome: Explorer.Outcome<SessionModel.State>): string =>
  outcome._tag === "Violated"
    ? [outcome.property, ...outcome.trace.map((step) => step.label)].join("\n  ")
    : outcome._tag

describe("the session protocol holds in every reachable state", () => {
  for (const { name, small } of Scenarios.sound) {
    it(name, () => {
      const outcome = Explorer.explore(SessionModel.make(small), limits)
      assert.strictEqual(outcome._tag, "Holds", told(outcome))
      assert.isAbove(outcome.states, 500, "a model that goes nowhere checks nothing")
    })
  }
})

describe("no state is a dead end: a coordinator left alone comes to serve", () => {
  for (const { name, scenario } of Scenarios.unstuck) {
    it(name, () => {
      const outcome = Explorer.explore(SessionModel.make(scenario, [], new Set(["never stuck"])), limits)
      assert.strictEqual(outcome._tag, "Holds", told(outcome))
    })
  }
})

describe("each step is needed", () => {
  for (const { breaks, defect, scenario } of Scenarios.defects) {
    it(`${defect}: breaks "${breaks}"`, () => {
      const outcome = Explorer.explore(SessionModel.make(scenario, [defect], new Set([breaks])), limits)
      assert.strictEqual(outcome._tag, "Violated", told(outcome))
      if (outcome._tag !== "Violated") return
      assert.isTrue(outcome.property.startsWith(breaks), outcome.property)
      assert.isAbove(outcome.trace.length, 0)
    })
  }
})

describe("deviations that cost no safety", () => {
  for (const { defect, except, scenario } of Scenarios.harmless) {
    it(defect, () => {
      const checked = new Set([...SessionModel.properties].filter((property) => !except.includes(property)))
      const outcome = Explorer.explore(SessionModel.make(scenario, [defect], checked), limits)
      assert.strictEqual(outcome._tag, "Holds", told(outcome))
    })
  }
})
