import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { PutSchedule, type ScheduleSpec } from "../../shared/protocol/Schedule.ts"
import * as ScheduleState from "./ScheduleState.ts"

const at = (text: string): number => Date.parse(`2026-11-21T${text}Z`)
const texts = (times: ReadonlyArray<number>) => times.map((time) => new Date(time).toISOString().slice(11, 19))
const request = (spec: Partial<typeof ScheduleSpec.Encoded> = {}): PutSchedule =>
  Schema.decodeSync(PutSchedule)({
    metadata: { name: "nightly" },
    spec: { cron: "0 * * * *", workflow: { definition: "report" }, ...spec }
  })
const made = (spec?: Partial<typeof ScheduleSpec.Encoded>, now = at("00:30:00")) =>
  Result.getOrThrow(ScheduleState.put(undefined, request(spec), now))
const fire = (content: ScheduleState.ScheduleContent, now: number) =>
  ScheduleState.fire(content, Result.getOrThrow(ScheduleState.cadenceOf(content)), now)
const settleAll = (content: ScheduleState.ScheduleContent) =>
  content.pending.reduce(
    (state, time) => ScheduleState.settle(state, time, { instanceId: ScheduleState.instanceOf("nightly", time) }),
    content
  )

describe("a schedule", () => {
  it("fires what is due, once", () => {
    const schedule = made()
    assert.strictEqual(fire(schedule, at("00:59:59")), schedule)
    const fired = fire(schedule, at("01:00:00"))
    assert.deepStrictEqual(texts(fired.pending), ["01:00:00"])
    assert.strictEqual(fire(fired, at("02:00:00")), fired, "one decision at a time")
    const settled = settleAll(fired)
    assert.deepStrictEqual([settled.started, settled.pending.length], [1, 0])
    assert.strictEqual(fire(settled, at("01:00:01")), settled)
    assert.strictEqual(settled.last?.instanceId, "nightly-20261121T010000")
    assert.strictEqual(ScheduleState.view(settled).nextAt, "2026-11-21T02:00:00.000Z")
  })

  it("B26 missed firings: all start in order, in pages", () => {
    let schedule = made({ catchUp: "all", cron: "* * * * *" })
    const started: Array<number> = []
    for (let page = 0; page < 10; page++) {
      const fired = fire(schedule, at("03:00:10"))
      if (fired === schedule) break
      assert.isAtMost(fired.pending.length, ScheduleState.pendingMax)
      started.push(...fired.pending)
      schedule = settleAll(fired)
    }
    assert.strictEqual(started.length, 150)
    assert.deepStrictEqual([texts(started)[0], texts(started).at(-1)], ["00:31:00", "03:00:00"])
    assert.deepStrictEqual(started, [...new Set(started)].toSorted((a, b) => a - b))
    assert.strictEqual(schedule.skipped, 0)
  })

  it("B26 missed firings: with last the newest starts, unless one that is on time does", () => {
    const missed = fire(made({ catchUp: "last" }), at("04:30:00"))
    assert.deepStrictEqual([texts(missed.pending), missed.skipped], [["04:00:00"], 3])
    const onTime = fire(made({ catchUp: "last" }), at("04:00:30"))
    assert.deepStrictEqual([texts(onTime.pending), onTime.skipped], [["04:00:00"], 3])
    assert.strictEqual(fire(settleAll(missed), at("04:59:00")).pending.length, 0)
  })

  it("B26 missed firings: with none only what is within the misfire window starts", () => {
    const missed = fire(made({ catchUp: "none" }), at("04:30:00"))
    assert.deepStrictEqual([missed.pending, missed.skipped], [[], 4])
    const onTime = fire(made({ catchUp: "none" }), at("04:01:00"))
    assert.deepStrictEqual([texts(onTime.pending), onTime.skipped], [["04:00:00"], 3])
    const wide = fire(made({ catchUp: "none", misfireWindow: "2h" }), at("04:30:00"))
    assert.deepStrictEqual([texts(wide.pending), wide.skipped], [["03:00:00", "04:00:00"], 2])
  })

  it("take-over in the middle: what was decided is what is started, however late, and nothing else", () => {
    const decided = fire(made({ catchUp: "none", cron: "*/10 * * * * *" }), at("00:30:30"))
    assert.deepStrictEqual(texts(decided.pending), ["00:30:10", "00:30:20", "00:30:30"])
    const one = decided.pending[0]
    assert.isDefined(one)
    if (one === undefined) return
    const halfway = ScheduleState.settle(decided, one, { instanceId: ScheduleState.instanceOf("nightly", one) })
    // the next owner comes an hour later: the two others are pending still, the hour in between was missed
    const resumed = fire(halfway, at("01:30:30"))
    assert.deepStrictEqual(texts(resumed.pending), ["00:30:20", "00:30:30"])
    const again = ScheduleState.settle(resumed, one, { instanceId: ScheduleState.instanceOf("nightly", one) })
    assert.strictEqual(again, resumed, "a confirmation that comes twice changes nothing")
    const after = fire(settleAll(resumed), at("01:30:30"))
    assert.deepStrictEqual([texts(after.pending)[0], texts(after.pending).at(-1)], ["01:29:30", "01:30:30"])
    assert.isAbove(after.skipped, 300)
  })

  it("paused: nothing fires, nothing is missed, what was decided is dropped", () => {
    const paused = ScheduleState.pause(fire(made({ catchUp: "all" }), at("01:00:00")), "maintenance", at("01:00:01"))
    assert.deepStrictEqual([paused.pending, paused.reason], [[], "maintenance"])
    assert.strictEqual(fire(paused, at("05:00:00")), paused)
    const view = ScheduleState.view(paused)
    assert.deepStrictEqual([view.state, view.nextAt, view.reason], ["Paused", undefined, "maintenance"])
    const resumed = ScheduleState.resume(paused, at("05:30:00"))
    assert.strictEqual(fire(resumed, at("05:59:59")), resumed)
    assert.deepStrictEqual(texts(fire(resumed, at("06:00:00")).pending), ["06:00:00"])
    assert.isUndefined(resumed.reason)
  })

  it("put: the same again changes nothing; another fires from now on", () => {
    const schedule = made({ workflow: { definition: "report", params: { a: 1 } } })
    const same = ScheduleState.put(
      schedule,
      request({ workflow: { definition: "report", params: { a: 1 } } }),
      at("04:00:00")
    )
    assert.strictEqual(Result.getOrThrow(same), schedule)
    const changed = Result.getOrThrow(
      ScheduleState.put(schedule, request({ cron: "*/30 * * * *", catchUp: "all" }), at("04:10:00"))
    )
    assert.deepStrictEqual(texts(fire(changed, at("04:30:00")).pending), ["04:30:00"])
  })

  it("past its end it has ended", () => {
    const schedule = settleAll(fire(made({ endAt: "2026-11-21T01:30:00Z" }), at("01:00:00")))
    assert.strictEqual(ScheduleState.view(schedule).state, "Ended")
    assert.strictEqual(fire(schedule, at("09:00:00")), schedule)
  })

  it("a clock that goes back fires nothing twice", () => {
    const settled = settleAll(fire(made(), at("01:00:05")))
    assert.strictEqual(fire(settled, at("00:59:59")), settled)
    assert.strictEqual(fire(settled, at("01:00:01")), settled)
  })

  it("time params: the time itself, its date in the time zone, the one before; the schedule's own override them", () => {
    const content = made({ timezone: "Asia/Tokyo", cron: "0 8 * * *" })
    const cadence = Result.getOrThrow(ScheduleState.cadenceOf(content))
    const time = Date.parse("2026-11-20T23:00:00Z")
    const params = ScheduleState.timeParams(cadence, time)
    assert.deepStrictEqual(params, {
      scheduledAt: "2026-11-20T23:00:00.000Z",
      date: "2026-11-21",
      previous: "2026-11-19T23:00:00.000Z"
    })
    const start = ScheduleState.startRequest(
      { ...content.spec.workflow, params: { date: "mine" } },
      content.namespace,
      ScheduleState.instanceOf("nightly", time),
      params
    )
    assert.strictEqual(start.params?.["date"], "mine")
    assert.strictEqual(start.params?.["scheduledAt"], "2026-11-20T23:00:00.000Z")
  })
})
