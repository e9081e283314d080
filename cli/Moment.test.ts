import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Entry } from "../shared/protocol/Journal.ts"
import type { Recorded } from "./Journal.ts"
import * as Moment from "./Moment.ts"

const now = Date.parse("2026-11-21T10:00:00Z")
const recorded = (n: number, at: number): Recorded => ({
  sequence: n * 10,
  ledger: "l",
  entry: Schema.decodeUnknownSync(Entry)({
    _tag: "Entry",
    shard: 0,
    instance: "i",
    n,
    prev: 0,
    at,
    cause: [],
    transitions: [],
    effects: [],
    hash: ""
  })
})

describe("Moment", () => {
  it("times with their zone, dates, and how long ago", () => {
    const minutes = (count: number) => now - count * 60_000
    const cases: ReadonlyArray<readonly [string, number | undefined]> = [
      ["2026-11-21T09:30:00Z", minutes(30)],
      ["2026-11-21T10:30:00.000+01:00", minutes(30)],
      ["2026-11-21t09:30z", minutes(30)],
      ["2026-11-21", Date.parse("2026-11-21T00:00:00Z")],
      ["30m", minutes(30)],
      ["now", now],
      ["2026-11-21T09:30:00", undefined],
      ["2026-13-01", undefined],
      ["yesterday", undefined],
      ["1234", undefined],
      ["", undefined]
    ]
    for (const [text, at] of cases) assert.strictEqual(Moment.parse(text, now), at, text)
  })
  it.effect("the beginning of a journal: up to a sequence, or to the last entry before a moment whatever clocks said between", () =>
    Effect.gen(function*() {
      const entries = [recorded(1, 1_000), recorded(2, 3_000), recorded(3, 2_000), recorded(4, 9_000)]
      const count = (text: string) => Effect.map(Moment.upTo("--at", text), (beginning) => beginning(entries).length)
      assert.strictEqual(yield* count("25"), 2)
      assert.strictEqual(yield* count("9"), 0)
      assert.strictEqual(yield* count("1970-01-01T00:00:02Z"), 3)
      assert.strictEqual(yield* count("1970-01-01T00:00:00.5Z"), 0)
      assert.strictEqual((yield* Effect.flip(Moment.upTo("--at", "noon"))).exit, 2)
      assert.match((yield* Effect.flip(Moment.past("The time", "2999-01-01"))).message, /in the future/u)
    }))
})
