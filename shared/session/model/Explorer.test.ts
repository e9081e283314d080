import { assert, it } from "@effect/vitest"
import * as Explorer from "./Explorer.ts"

/** Two jugs of 3 and 5 litres: fill, empty, pour. */
const jugs = (forbidden: number): Explorer.Model<readonly [number, number]> => ({
  initial: [[0, 0]],
  key: (jugs) => jugs.join(),
  violated: ([_, five]) => five === forbidden ? `${forbidden} litres` : undefined,
  *next([three, five]) {
    yield { label: "fill 3", state: [3, five] }
    yield { label: "fill 5", state: [three, 5] }
    yield { label: "empty 3", state: [0, five] }
    yield { label: "empty 5", state: [three, 0] }
    const up = Math.min(three, 5 - five)
    yield { label: "3 into 5", state: [three - up, five + up] }
    const down = Math.min(five, 3 - three)
    yield { label: "5 into 3", state: [three + down, five - down] }
  }
})

it("finds every state, and a shortest way to a bad one", () => {
  for (const fingerprints of ["exact", "hashed"] as const) {
    const all = Explorer.explore(jugs(9), { statesMax: 1_000, fingerprints })
    assert.strictEqual(all._tag, "Holds")
    assert.strictEqual(all.states, 16)
    const bad = Explorer.explore(jugs(4), { statesMax: 1_000, fingerprints })
    assert.strictEqual(bad._tag, "Violated")
    if (bad._tag !== "Violated") return
    assert.strictEqual(bad.property, "4 litres")
    assert.deepStrictEqual(bad.trace.map((step) => step.label), [
      "fill 5",
      "5 into 3",
      "empty 3",
      "5 into 3",
      "fill 5",
      "5 into 3"
    ])
    assert.deepStrictEqual(bad.trace.at(-1)?.state, [3, 4])
  }
})

it("a bad first state is a violation without a step; too many states are no verdict", () => {
  const bad = Explorer.explore(jugs(0), { statesMax: 10, fingerprints: "exact" })
  assert.strictEqual(bad._tag, "Violated")
  assert.strictEqual(Explorer.explore(jugs(9), { statesMax: 5, fingerprints: "exact" })._tag, "Unfinished")
})
