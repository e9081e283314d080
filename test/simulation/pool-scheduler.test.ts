/**
 * The claim scheduler against a pool that does everything real ones do to it, over many seeds; after every step the invariants of design/04 section 4 hold (ClaimWorld.ts).
 *
 * `HEDDLE_SEEDS=20000` runs more, `HEDDLE_SEED=17` prints the whole history of one; `npm run simulate` does both, for campaigns of as many as one likes.
 */
import { assert, describe, it } from "vitest"
import * as Campaign from "./Campaign.ts"
import * as ClaimWorld from "./ClaimWorld.ts"
import * as Plan from "./Plan.ts"

const one = process.env["HEDDLE_SEED"]
const seeds = Number(process.env["HEDDLE_SEEDS"] ?? 4_000)

describe("the claim scheduler in simulation", () => {
  if (one === undefined) {
    it(`holds I1, I2, I3, I7, I8, I9, quotas and protection over ${seeds} seeds`, () => {
      const result = Campaign.run(1, seeds)
      if (typeof result === "string") return assert.fail(result)
      // What is looked at does happen.
      assert.isAbove(result.granted, seeds * 10)
      assert.isAbove(result.owners, seeds * 1.2)
      assert.isAbove(result.batches, seeds)
      assert.isAbove(result.quotaChecks, seeds / 10)
      for (const outcome of ["Claimed", "DeadlineExceeded", "Cancelled", "QueueFull", "ShuttingDown", "Failed"]) {
        assert.isAbove(result.outcomes[outcome] ?? 0, seeds / 10, outcome)
      }
    }, 600_000)
  }

  it("a seed is the same again, word for word", () => {
    const plan = Plan.make(Number(one ?? 17))
    const first = ClaimWorld.run(plan, true)
    if (one !== undefined) process.stdout.write(`${first.history.join("\n")}\n`)
    assert.deepStrictEqual(ClaimWorld.run(plan, true), first)
    assert.strictEqual(ClaimWorld.run(plan, false).broken, first.broken)
    assert.isUndefined(first.broken, Campaign.commandOf(plan.seed))
  })

  it("what breaks a rule is cut down to what breaks it", () => {
    const isBroken = (plan: Plan.Plan): boolean => plan.actions.filter(({ _tag }) => _tag === "Kill").length >= 2
    const plan = Array.from({ length: 200 }, (_, seed) => Plan.make(seed)).find(isBroken)
    if (plan === undefined) return assert.fail("no seed kills twice")
    const small = Plan.shrink(plan, isBroken)
    assert.deepStrictEqual(small.actions.map(({ _tag }) => _tag), ["Kill", "Kill"])
    assert.deepInclude(small, { conflictRate: 0, lostAnswerRate: 0, killEveryMs: 0 })
  })
})
