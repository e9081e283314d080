import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { PoolName } from "../../shared/protocol/Token.ts"
import * as EnvScheduler from "./EnvScheduler.ts"

const member = (
  name: string,
  counters: Partial<EnvScheduler.Counters> | undefined,
  more: { readonly priority?: number; readonly saturatedUntil?: number } = {}
): EnvScheduler.Member => ({
  ...EnvScheduler.member(PoolName.make(name), more.priority ?? 0),
  counters: counters === undefined
    ? undefined
    : { idleReady: 0, queueLen: 0, claimed: 0, total: 10, max: 10, isDraining: false, ...counters },
  saturatedUntil: more.saturatedUntil ?? 0
})
const weights = EnvScheduler.weightsOf(undefined)
const names = (members: ReadonlyArray<EnvScheduler.Member>, count = 1, now = 0) =>
  EnvScheduler.rank(members, weights, count, now).map((_) => _.member.pool as string)

describe("EnvScheduler", () => {
  it("what can serve at once before what cannot; then priority, room to grow, the shorter queue", () => {
    const busy = member("busy", { claimed: 10 })
    const idle = member("idle", { idleReady: 3, claimed: 7 })
    const growing = member("growing", { claimed: 10, max: 50 })
    const queued = member("queued", { claimed: 10, queueLen: 30 })
    const first = member("first", { claimed: 10, queueLen: 5 }, { priority: 1 })
    assert.deepStrictEqual(names([busy, queued, growing, first, idle]), ["idle", "first", "growing", "busy", "queued"])
  })

  it("behind the others, but never left out: saturated until its cool-down ends, unknown, too small, draining", () => {
    const open = member("open", { idleReady: 3, claimed: 7 })
    const busy = member("busy", { claimed: 10, queueLen: 90 }, { priority: 1 })
    const saturated = member("saturated", { idleReady: 5 }, { saturatedUntil: 100, priority: 5 })
    const unknown = member("unknown", undefined)
    const small = member("small", { idleReady: 2, max: 2, total: 2 })
    const draining = member("draining", { idleReady: 9, isDraining: true })
    const all = [draining, small, saturated, unknown, busy, open]
    assert.deepStrictEqual(names(all, 3, 0), ["open", "busy", "unknown", "saturated", "small", "draining"])
    assert.deepStrictEqual(names(all, 3, 100), ["saturated", "open", "busy", "unknown", "small", "draining"])
    assert.deepStrictEqual(names([draining]), ["draining"])
  })

  const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 50 }))
  const Drawn = Schema.Struct({
    counters: Schema.Union([
      Schema.Undefined,
      Schema.Struct({
        idleReady: Count,
        queueLen: Count,
        claimed: Count,
        total: Count,
        max: Count,
        isDraining: Schema.Boolean
      })
    ]),
    priority: Schema.Int.check(Schema.isBetween({ minimum: -2, maximum: 2 })),
    saturatedUntil: Count
  })
  it.prop(
    "every member is ranked once, by standing and then by score, whatever the order they come in",
    { drawn: Schema.Array(Drawn).check(Schema.isMaxLength(12)), now: Count },
    ({ drawn, now }) => {
      const members = drawn.map((one, i): EnvScheduler.Member => ({ pool: PoolName.make(`p${i}`), ...one }))
      const ranked = EnvScheduler.rank(members, weights, 2, now)
      assert.strictEqual(new Set(ranked.map((_) => _.member)).size, members.length)
      const open = ranked.findLastIndex((_) => _.standing === "Open")
      assert.isTrue(ranked.slice(0, open + 1).every((_) => _.standing === "Open"))
      for (let i = 1; i <= open; i++) {
        const [before, after] = [ranked[i - 1]?.score ?? 0, ranked[i]?.score ?? 0]
        assert.isAtLeast(before, after)
      }
      const scores = (of: ReadonlyArray<EnvScheduler.Ranked>) => of.map((_) => `${_.standing} ${_.score}`)
      assert.deepStrictEqual(scores(EnvScheduler.rank(members.toReversed(), weights, 2, now)), scores(ranked))
    }
  )

  it("ranks ten members in less than 10 microseconds", () => {
    const members = Array.from({ length: 10 }, (_, i) => member(`p${i}`, { idleReady: i % 4, queueLen: i, claimed: i }))
    let sum = 0
    const best = Math.min(...Array.from({ length: 10 }, () => {
      const from = process.hrtime.bigint()
      for (let i = 0; i < 2_000; i++) sum += EnvScheduler.rank(members, weights, 1, i).length
      return Number(process.hrtime.bigint() - from) / 2_000
    }))
    assert.strictEqual(sum, 10 * 2_000 * 10)
    assert.isBelow(best, 10_000, "nanoseconds a ranking, the best of ten rounds")
  })
})
