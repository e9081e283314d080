import { assert, it } from "@effect/vitest"
import type { View } from "./Api.ts"
import * as RunAt from "./RunAt.ts"

const at = (second: number) => new Date(Date.UTC(2026, 10, 21, 12, 0, second)).toISOString()
const moment = (second: number) => Date.parse(at(second))

/** `list`, then `count` over three items (one fails and is tried again), then a task that was skipped. */
const view: View = {
  instanceId: "r",
  state: "SUCCEEDED",
  definition: { name: "d", version: 1 },
  params: {},
  outputs: {},
  runNumber: 1,
  shard: 0,
  sessionId: 1,
  seq: 9,
  startedAt: at(0),
  endedAt: at(20),
  tasks: [
    {
      name: "list",
      type: "shell",
      state: "SUCCEEDED",
      attempts: [{ attempt: 1, state: "SUCCEEDED", submittedAt: at(0), startedAt: at(2), endedAt: at(4), exitCode: 0 }]
    },
    {
      name: "count",
      type: "shell",
      dependsOn: ["list"],
      state: "SUCCEEDED",
      attempts: [
        { attempt: 1, item: 0, state: "SUCCEEDED", submittedAt: at(4), startedAt: at(5), endedAt: at(6) },
        { attempt: 1, item: 1, state: "FAILED", submittedAt: at(4), startedAt: at(5), endedAt: at(8) },
        { attempt: 1, item: 2, state: "SUCCEEDED", submittedAt: at(4), startedAt: at(9), endedAt: at(10) },
        { attempt: 2, item: 1, state: "SUCCEEDED", submittedAt: at(12), startedAt: at(13), endedAt: at(20) }
      ]
    },
    { name: "never", type: "noop", dependsOn: ["count"], why: "its condition did not hold", attempts: [] }
  ]
}
const [list, count, never] = view.tasks

const states = (second: number, isNow = false) =>
  [list, count, never].map((task) => task === undefined ? "none" : RunAt.taskAt(task, moment(second), isNow).state)

it("shows each task as it was, and nothing of what came later", () => {
  assert.deepStrictEqual(
    [0, 1, 2, 4, 5, 7, 8, 12, 14, 20].map((second) => states(second)),
    [
      ["SUBMITTED", undefined, undefined],
      ["SUBMITTED", undefined, undefined],
      ["RUNNING", undefined, undefined],
      ["SUCCEEDED", "SUBMITTED", undefined],
      ["SUCCEEDED", "RUNNING", undefined],
      ["SUCCEEDED", "RUNNING", undefined],
      ["SUCCEEDED", "FAILED", undefined],
      ["SUCCEEDED", "SUBMITTED", undefined],
      ["SUCCEEDED", "RUNNING", undefined],
      ["SUCCEEDED", "SUCCEEDED", undefined]
    ]
  )
})

it("now, it says what the run's view says", () => {
  assert.deepStrictEqual(states(20, true), ["SUCCEEDED", "SUCCEEDED", "SKIPPED"])
})

it("counts the items of a task by their state at that moment", () => {
  assert.isDefined(count)
  if (count === undefined) return
  assert.deepStrictEqual([...RunAt.taskAt(count, moment(8), false).items ?? []], [["SUCCEEDED", 1], ["FAILED", 1], [
    "SUBMITTED",
    1
  ]])
})

it("steps to every moment at which something changed, once each", () => {
  assert.deepStrictEqual(RunAt.momentsOf(view).map((each) => (each - moment(0)) / 1_000), [
    0,
    2,
    4,
    5,
    6,
    8,
    9,
    10,
    12,
    13,
    20
  ])
})

it("bars are cut at the moment: waiting apart from running, none of what was not submitted", () => {
  assert.deepStrictEqual(
    RunAt.barsOf(view, moment(7)).map(({ end, label, started, state, submitted }) => [
      label,
      state,
      (submitted - moment(0)) / 1_000,
      started === undefined ? undefined : (started - moment(0)) / 1_000,
      (end - moment(0)) / 1_000
    ]),
    [
      ["list", "SUCCEEDED", 0, 2, 4],
      ["count [0]", "SUCCEEDED", 4, 5, 6],
      ["count [1]", "RUNNING", 4, 5, 7],
      ["count [2]", "SUBMITTED", 4, undefined, 7]
    ]
  )
  assert.strictEqual(RunAt.barsOf(view, moment(20)).at(-1)?.label, "count [1] #2")
})
