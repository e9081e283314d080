import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type BackfillSpec, StartBackfill } from "../../shared/protocol/Backfill.ts"
import { InstanceId } from "../../shared/protocol/Token.ts"
import * as BackfillState from "./BackfillState.ts"

const request = (spec: Partial<typeof BackfillSpec.Encoded>): StartBackfill =>
  Schema.decodeSync(StartBackfill)({
    metadata: { name: "load" },
    spec: { workflow: { definition: "report" }, ...spec }
  })
const four = { from: "2026-11-20", to: "2026-11-23" }
const made = (spec: Partial<typeof BackfillSpec.Encoded>) =>
  Result.getOrThrow(BackfillState.start(undefined, request(spec), 0))
const planOf = (content: BackfillState.BackfillContent) => Result.getOrThrow(BackfillState.plan(content))
const ids = (content: BackfillState.BackfillContent) => {
  const plan = planOf(content)
  return plan.times.map((at) => BackfillState.instanceOf(content, plan, at))
}
const problem = (spec: Partial<typeof BackfillSpec.Encoded>): string => {
  const result = BackfillState.plan(request(spec))
  return Result.isFailure(result) ? `${result.failure.path ?? ""}: ${result.failure.message}` : ""
}
/** Runs it to its end; `fails` names positions. Gives the most that ran at once, and the order of starting. */
const run = (content: BackfillState.BackfillContent, fails: ReadonlyArray<number> = []) => {
  let state = BackfillState.advance(content, 1)
  const order: Array<number> = []
  let most = 0
  for (let turns = 0; !BackfillState.isOver(state) && turns < 10_000; turns++) {
    order.push(...state.running.filter((index) => !order.includes(index)))
    most = Math.max(most, state.running.length)
    const index = state.running[0]
    if (index === undefined) break
    state = BackfillState.settle(state, index, { state: fails.includes(index) ? "FAILED" : "SUCCEEDED" })
    state = BackfillState.advance(state, 2)
  }
  return { state, order, most }
}

describe("a backfill", () => {
  it("B22 4 dates ascending, one at a time; descending", () => {
    const content = made(four)
    assert.deepStrictEqual(ids(content), ["load-20261120", "load-20261121", "load-20261122", "load-20261123"])
    const { most, order, state } = run(content)
    assert.deepStrictEqual([state.state, state.succeeded, most, order], ["Succeeded", 4, 1, [0, 1, 2, 3]])
    assert.deepStrictEqual(ids(made({ ...four, order: "descending" })), ids(content).toReversed())
  })

  it("B23 two at a time", () => {
    const { most, state } = run(made({ ...four, parallelism: 2 }))
    assert.deepStrictEqual([state.state, most], ["Succeeded", 2])
  })

  it("B24 a failed date stops: nothing further starts, what runs goes to its end", () => {
    const serial = run(made(four), [1])
    assert.deepStrictEqual(
      [serial.state.state, serial.state.succeeded, serial.state.position, serial.order],
      ["Failed", 1, 2, [0, 1]]
    )
    let parallel = BackfillState.advance(made({ ...four, parallelism: 2 }), 1)
    parallel = BackfillState.advance(BackfillState.settle(parallel, 1, { state: "FAILED", reason: "exit 1" }), 2)
    assert.deepStrictEqual([parallel.state, parallel.running], ["Stopping", [0]])
    parallel = BackfillState.advance(BackfillState.settle(parallel, 0, { state: "SUCCEEDED" }), 3)
    assert.deepStrictEqual([parallel.state, parallel.endedAt, parallel.succeeded], ["Failed", 3, 1])
    assert.deepStrictEqual(BackfillState.view(parallel).failed, [{
      scheduledAt: "2026-11-21T00:00:00.000Z",
      instanceId: InstanceId.make("load-20261121"),
      state: "FAILED",
      reason: "exit 1"
    }])
  })

  it("B24 a failed date is skipped: all are run, and it is told at the end", () => {
    const { state } = run(made({ ...four, onFailure: "skip" }), [1, 2])
    assert.deepStrictEqual([state.state, state.succeeded, state.failed.map(({ index }) => index)], ["Failed", 2, [
      1,
      2
    ]])
  })

  it("stopped by hand", () => {
    const stopping = BackfillState.stop(BackfillState.advance(made(four), 1), 2)
    assert.deepStrictEqual([stopping.state, stopping.running], ["Stopping", [0]])
    const stopped = BackfillState.advance(BackfillState.settle(stopping, 0, { state: "STOPPED" }), 3)
    assert.deepStrictEqual([stopped.state, stopped.position], ["Stopped", 1])
    assert.strictEqual(BackfillState.stop(stopped, 4), stopped)
  })

  it("take-over: what runs is in the state, advancing again starts nothing more, an end that comes twice counts once", () => {
    const state = BackfillState.advance(made({ ...four, parallelism: 2 }), 1)
    assert.strictEqual(BackfillState.advance(state, 9), state)
    const settled = BackfillState.settle(state, 0, { state: "SUCCEEDED" })
    assert.strictEqual(BackfillState.settle(settled, 0, { state: "SUCCEEDED" }), settled)
  })

  it("dates are those of the time zone, also where midnight does not exist", () => {
    // clocks in Beirut go from 00:00 to 01:00 on 2026-03-29
    const content = made({ from: "2026-03-28", to: "2026-03-30", timezone: "Asia/Beirut" })
    assert.deepStrictEqual(planOf(content).times.map((at) => new Date(at).toISOString()), [
      "2026-03-27T22:00:00.000Z",
      "2026-03-28T22:00:00.000Z",
      "2026-03-29T21:00:00.000Z"
    ])
    assert.deepStrictEqual(ids(content), ["load-20260328", "load-20260329", "load-20260330"])
  })

  it("a list of dates, and times of a cron on them", () => {
    const content = made({ dates: ["2026-11-23", "2026-11-20"], cron: "0 6,18 * * *" })
    assert.deepStrictEqual(ids(content), [
      "load-20261120T060000",
      "load-20261120T180000",
      "load-20261123T060000",
      "load-20261123T180000"
    ])
  })

  it("the same again is the same, other content under the name a conflict", () => {
    const content = made(four)
    assert.strictEqual(Result.getOrThrow(BackfillState.start(content, request(four), 9)), content)
    const other = BackfillState.start(content, request({ ...four, parallelism: 3 }), 9)
    assert.strictEqual(Result.isFailure(other) ? other.failure.code : "", "Conflict")
  })

  it("what is wrong is said with its path", () => {
    assert.match(problem({}), /^spec\.dates: name either/)
    assert.match(problem({ from: "2026-11-20", to: "2026-11-19" }), /^spec\.to: .*before/)
    assert.match(problem({ from: "2026-02-30", to: "2026-03-01" }), /^spec\.from: 2026-02-30 is no date/)
    assert.match(problem({ from: "2026-01-01", to: "2026-12-31", cron: "* * * * *" }), /more than 5000/)
    assert.match(problem({ from: "2026-11-23", to: "2026-11-23", cron: "0 0 1 * *" }), /no time of these dates/)
    assert.match(problem({ ...four, timezone: "Nowhere" }), /^spec\.timezone/)
  })
})
