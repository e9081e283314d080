import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { assert, describe, it } from "vitest"
import { make, type ScaleDecider, type ScalePolicy, ScalePolicyFailed } from "../ScalePolicy.ts"
import * as ScalePolicySuite from "./ScalePolicySuite.ts"
import * as Suite from "./Suite.ts"

const Config = Schema.Struct({ spare: Schema.optionalKey(Schema.Int) })
const asked: NonNullable<ScaleDecider["fetch"]> = { everyMs: 1_000, run: () => Effect.succeed({ target: 77 }) }
const sound: ScaleDecider = {
  decide: (view, fetched) => fetched ?? { target: view.waiting + view.claimed },
  fetch: asked
}
const policyOf = (open: (config: typeof Config.Type) => ScaleDecider): ScalePolicy =>
  make({ name: "double", config: Config, open })
const failing = Effect.fail(new ScalePolicyFailed({ policy: "double", message: "no" }))

/** As its config says: answered, refused, silent. */
const fetching = (run: Readonly<Record<number, NonNullable<ScaleDecider["fetch"]>["run"]>>) =>
  policyOf(({ spare = 0 }) => ({ ...sound, fetch: { everyMs: 1_000, run: run[spare] ?? asked.run } }))
const soundFetch = { 1: () => failing, 2: () => Effect.never }

const noticed = async (policy: ScalePolicy, more: Partial<ScalePolicySuite.Subject> = {}) =>
  (await Suite.brokenOf(ScalePolicySuite.promises({
    policy,
    configs: [undefined, { spare: 2 }],
    wrongConfigs: [{ spare: "x" }],
    coversDemand: true,
    fetch: {
      answered: Effect.succeed({ spare: 0 }),
      refused: Effect.succeed({ spare: 1 }),
      silent: Effect.succeed({ spare: 2 })
    },
    ...more
  }))).map(({ promise, seen }) => `${promise}: ${String(seen)}`)

describe("a scale policy that does not keep its promises is noticed", () => {
  it("one that keeps them is not", async () => {
    assert.deepStrictEqual(await noticed(fetching(soundFetch)), [])
  })

  let asks = 0
  const doubles: Readonly<Record<string, readonly [policy: ScalePolicy, seen: RegExp]>> = {
    "it accepts what is wrong": [{ ...fetching(soundFetch), validate: () => [] }, /is accepted/],
    "it refuses what is good": [
      { ...fetching(soundFetch), validate: () => [{ path: "config", message: "no", value: 0 }] },
      /undefined has/
    ],
    "its problems have no place": [
      {
        ...fetching(soundFetch),
        validate: (config) =>
          config !== undefined && Object.values(config as object).includes("x")
            ? [{ path: "", message: "no", value: 0 }]
            : []
      },
      /it begins with config/
    ],
    "it wants half a sandbox": [
      policyOf(() => ({ ...sound, decide: (view) => ({ target: view.waiting + view.claimed + 0.5 }) })),
      /no count of sandboxes/
    ],
    "it wants less than nothing": [
      policyOf(() => ({ ...sound, decide: (view) => ({ target: view.waiting + view.claimed, min: -1 }) })),
      /min is -1/
    ],
    "it speaks of what is past": [
      policyOf(() => ({ ...sound, decide: (view) => ({ target: view.waiting + view.claimed, until: view.now }) })),
      /until has passed/
    ],
    "it does not cover the demand": [
      policyOf(() => ({ ...sound, decide: ({ waiting }) => ({ target: waiting }) })),
      /does not cover/
    ],
    "it remembers": [
      policyOf(() => {
        let most = 0
        return { ...sound, decide: (view) => ({ target: most = Math.max(most, view.waiting + view.claimed) }) }
      }),
      /of the same pool at the same time .* after others/s
    ],
    "it draws": [
      policyOf(() => ({ ...sound, decide: (view) => ({ target: view.waiting + view.claimed + (asks++ % 7) }) })),
      /of the same pool at the same time/
    ],
    "it changes what it is shown": [
      policyOf(() => ({
        ...sound,
        decide: (view) => ({ target: Object.assign(view, { waiting: view.waiting + 1 }).waiting + view.claimed })
      })),
      /read only property/
    ],
    "it asks all the time": [
      policyOf(() => ({ ...sound, fetch: { everyMs: 1, run: () => failing } })),
      /every 1 ms/
    ],
    "it does not heed the answer": [
      policyOf(() => ({ ...sound, decide: (view) => ({ target: view.waiting + view.claimed }) })),
      /with the answer as without/
    ],
    "it dies of an answer that is none": [
      fetching({ ...soundFetch, 1: () => Effect.die(new Error("undefined is not a function")) }),
      /undefined is not a function/
    ],
    "it takes an answer that is none": [fetching({ ...soundFetch, 1: asked.run }), /it fetched/]
  }
  for (const [what, [policy, seen]] of Object.entries(doubles)) {
    it(what, async () => {
      const fetch = /answer|asks/.test(what) ? {} : { fetch: undefined }
      const found = (await noticed(policy, fetch as Partial<ScalePolicySuite.Subject>)).join("\n") // undefined: none
      assert.match(found, seen, found)
    })
  }
})
