import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { ScaleDecider } from "../../shared/plugin/ScalePolicy.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { Autoscaler, type AutoscalerOptions, type ScaleCounts } from "./Autoscaler.ts"

const setup = (options: Partial<AutoscalerOptions> = {}) =>
  new Autoscaler({
    pool: { namespace: Namespace.make("default"), name: PoolName.make("p") },
    min: 0,
    max: 20,
    minIdle: 2,
    upCooldownMs: 0,
    downCooldownMs: 60_000,
    deciders: [],
    initial: 0,
    ...options
  })
const counts = (more: Partial<ScaleCounts> = {}): ScaleCounts => ({
  idle: 0,
  waiting: 0,
  claimed: 0,
  creating: 0,
  total: 0,
  ...more
})

describe("Autoscaler", () => {
  it("target = idle buffer + waiting + claimed, within min and max, at once when somebody waits", () => {
    const autoscaler = setup()
    assert.strictEqual(autoscaler.decide(counts(), 0), 2)
    assert.strictEqual(autoscaler.decide(counts({ waiting: 5, claimed: 2 }), 1), 9)
    assert.strictEqual(autoscaler.decide(counts({ waiting: 50 }), 2), 20)
  })

  it("goes down only after the cooldown, and to the most that was wanted meanwhile", () => {
    const autoscaler = setup({ minIdle: 0 })
    assert.strictEqual(autoscaler.decide(counts({ claimed: 10 }), 0), 10)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 3, idle: 7 }), 1_000), 10)
    assert.strictEqual(autoscaler.nextAt, 61_000)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 5, idle: 5 }), 30_000), 10)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 1, idle: 9 }), 60_999), 10)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 1, idle: 9 }), 61_000), 5)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 0, idle: 5 }), 121_000), 1)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 0, idle: 1 }), 181_000), 0, "to zero")
  })

  it("an increase that nobody waits for keeps the up cooldown; one that somebody waits for does not", () => {
    const autoscaler = setup({ upCooldownMs: 10_000, minIdle: 1 })
    assert.strictEqual(autoscaler.decide(counts({ claimed: 1, idle: 1 }), 0), 2)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 3, idle: 1 }), 1_000), 2)
    assert.strictEqual(autoscaler.nextAt, 10_000)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 3, waiting: 1 }), 2_000), 5)
    assert.strictEqual(autoscaler.decide(counts({ claimed: 5, idle: 1 }), 12_000), 6)
  })

  it("the largest target of its policies counts; their bounds take the place of the spec's for all of them", () => {
    const fixed = (target: number): ScaleDecider => ({ decide: () => ({ target }) })
    const night: ScaleDecider = { decide: ({ now }) => now < 100 ? { max: 3, until: 100 } : { minIdle: 4 } }
    const autoscaler = setup({ deciders: [fixed(5), night, fixed(2)] })
    assert.strictEqual(autoscaler.decide(counts(), 0), 3)
    assert.strictEqual(autoscaler.nextAt, 100)
    assert.strictEqual(autoscaler.decide(counts(), 100), 5)
    const demand = setup({ deciders: [night] })
    assert.strictEqual(demand.decide(counts({ claimed: 3 }), 100), 7, "no policy names a target: the demand does")
  })

  it("a policy's fetched answer stays in force until the next", () => {
    const asked: ScaleDecider = { decide: (_, fetched) => fetched ?? {} }
    const autoscaler = setup({ deciders: [asked] })
    assert.strictEqual(autoscaler.decide(counts(), 0), 2)
    autoscaler.setFetched(0, { target: 8 })
    assert.strictEqual(autoscaler.decide(counts(), 1), 8)
    assert.strictEqual(autoscaler.decide(counts({ waiting: 3 }), 2), 8, "the policy decides, not the demand")
  })

  const upTo = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
  const Step = Schema.Struct({ waiting: upTo(30), claimed: upTo(30), idle: upTo(5), afterMs: upTo(40_000) })

  it.prop(
    "within the bounds, never below unmet demand that fits, and at rest the demand itself",
    { min: upTo(10), span: upTo(20), minIdle: upTo(4), steps: Schema.Array(Step).check(Schema.isMaxLength(40)) },
    ({ min, minIdle, span, steps }) => {
      const max = min + span
      const autoscaler = setup({ min, max, minIdle, downCooldownMs: 10_000 })
      let now = 0
      for (const { afterMs, ...demand } of steps) {
        now += afterMs
        const target = autoscaler.decide(counts(demand), now)
        assert.isAtLeast(target, min)
        assert.isAtMost(target, max)
        if (demand.waiting > 0) assert.isAtLeast(target, Math.min(max, demand.waiting + demand.claimed + minIdle))
      }
      // At rest it asks to be looked at again until it has arrived.
      let target = autoscaler.decide(counts({ idle: 1 }), now)
      for (let i = 0; i < 4 && autoscaler.nextAt !== Infinity; i++) {
        target = autoscaler.decide(counts({ idle: 1 }), autoscaler.nextAt)
      }
      assert.strictEqual(target, Math.max(min, Math.min(max, minIdle)))
    }
  )
})
