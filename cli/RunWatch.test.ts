import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { WorkflowView } from "../shared/protocol/Workflow.ts"
import * as Output from "./Output.ts"
import * as RunWatch from "./RunWatch.ts"

const plain = Output.style(false)
const at = (seconds: number) => `2026-11-21T10:00:${String(seconds).padStart(2, "0")}.000Z`

const viewOf = (state: string, tasks: ReadonlyArray<unknown>, more: Record<string, unknown> = {}) =>
  Schema.decodeUnknownSync(WorkflowView)({
    instanceId: "i-1",
    state,
    definition: { name: "d", version: 1 },
    params: {},
    outputs: {},
    runNumber: 1,
    shard: 0,
    sessionId: 1,
    seq: 1,
    startedAt: at(0),
    tasks,
    ...more
  })
const attempt = (n: number, state: string, more: Record<string, unknown> = {}) => ({
  attempt: n,
  state,
  submittedAt: at(0),
  ...more
})

it("each start and end is told once, in order of time, also when both were missed", () => {
  const seen = new Map<string, string>()
  const first = viewOf("RUNNING", [
    {
      name: "a",
      type: "shell",
      state: "SUCCEEDED",
      attempts: [attempt(1, "SUCCEEDED", { startedAt: at(1), endedAt: at(3), sandbox: "p-0" })]
    },
    { name: "b", type: "shell", state: "RUNNING", attempts: [attempt(1, "RUNNING", { startedAt: at(2) })] },
    { name: "c", type: "shell", attempts: [], why: "waits for a" }
  ])
  assert.deepStrictEqual(
    RunWatch.changes(seen, first, Date.parse(at(4))).map((change) => `${change.task ?? ""} ${change.state}`),
    [
      " RUNNING",
      "a RUNNING",
      "b RUNNING",
      "a SUCCEEDED"
    ]
  )
  assert.deepStrictEqual(RunWatch.changes(seen, first, Date.parse(at(4))), [])
  const last = viewOf("FAILED", [
    {
      name: "b",
      type: "shell",
      state: "FAILED",
      attempts: [
        attempt(1, "FAILED", { startedAt: at(2), endedAt: at(4), exitCode: 3, reason: "exit code 3: no" }),
        attempt(2, "FAILED", { startedAt: at(5), endedAt: at(6), exitCode: 3, reason: "exit code 3: no" })
      ]
    }
  ], { endedAt: at(7), reason: "b failed" })
  assert.deepStrictEqual(
    RunWatch.changes(seen, last, Date.parse(at(8))).map((change) => RunWatch.line(change, plain)),
    [
      "10:00:04.000  b  FAILED  2.0 s, exit code 3: no",
      "10:00:05.000  b  RUNNING  attempt 2",
      "10:00:06.000  b  FAILED  attempt 2, 1.0 s, exit code 3: no",
      "10:00:07.000  i-1  FAILED  b failed"
    ]
  )
})

it("an attempt that finds no sandbox is told after a second, once", () => {
  const seen = new Map<string, string>()
  const view = viewOf("RUNNING", [{
    name: "a",
    type: "shell",
    state: "SUBMITTED",
    attempts: [attempt(1, "SUBMITTED")]
  }])
  assert.deepStrictEqual(RunWatch.changes(seen, view, Date.parse(at(0))).map((change) => change.state), ["RUNNING"])
  assert.deepStrictEqual(RunWatch.changes(seen, view, Date.parse(at(2))).map((change) => change.reason), [
    "waits for a sandbox"
  ])
  assert.deepStrictEqual(RunWatch.changes(seen, view, Date.parse(at(4))), [])
})

it("a task that never ran shows why, a fan-out how far it is", () => {
  const text = RunWatch.picture(
    viewOf("RUNNING", [
      {
        name: "count",
        type: "shell",
        state: "RUNNING",
        attempts: [
          attempt(1, "SUCCEEDED", { item: 0, startedAt: at(1), endedAt: at(2) }),
          attempt(1, "RUNNING", { item: 1, startedAt: at(1) })
        ]
      },
      { name: "report", type: "shell", attempts: [], why: "waits for count" }
    ]),
    plain,
    Date.parse(at(4))
  )
  assert.match(text, /^i-1 {2}d@1 {2}RUNNING {2}4\.0 s$/m)
  assert.match(text, /^count +shell +RUNNING +1\/2 items +3\.0 s/m)
  assert.match(text, /^report +shell +- .*waits for count$/m)
  const inline = RunWatch.picture(viewOf("RUNNING", [], { definition: { name: "d", version: 0 } }), plain, 0)
  assert.match(inline, /^i-1 {2}d \(inline\) {2}RUNNING/)
})

it("a large graph fits the screen: what failed and what runs first, then a count", () => {
  const tasks = Array.from({ length: 50 }, (_, n) => ({
    name: `t${n}`,
    type: "shell",
    state: n === 40 ? "FAILED" : n === 41 ? "RUNNING" : "SUCCEEDED",
    attempts: [
      attempt(1, n === 40 ? "FAILED" : n === 41 ? "RUNNING" : "SUCCEEDED", {
        startedAt: at(1),
        ...(n === 41 ? {} : { endedAt: at(2) })
      })
    ]
  }))
  const lines = RunWatch.picture(viewOf("RUNNING", tasks), plain, Date.parse(at(4)), 10).split("\n")
  assert.isAtMost(lines.length, 12)
  assert.match(lines[2] ?? "", /^t40 /)
  assert.match(lines[3] ?? "", /^t41 /)
  assert.include(lines.at(-1) ?? "", "50 tasks: 48 SUCCEEDED")
})

it("what a task wrote: its name before each line, and what was left out", () => {
  const line = (text: string, more: Record<string, unknown> = {}) => {
    const found = RunWatch.logLine("heddle.logs.i-1.a:1:1", JSON.stringify({ at: 0, stream: "stdout", text, ...more }))
    return found === undefined ? undefined : RunWatch.logText(found, plain)
  }
  assert.strictEqual(line("one\n"), "a:1:1 | one")
  assert.strictEqual(line("one\n\n  two\n"), "a:1:1 | one\na:1:1 | \na:1:1 |   two")
  assert.strictEqual(line("", { dropped: 7 }), "a:1:1 | ... 7 bytes left out")
  assert.isUndefined(RunWatch.logLine("heddle.logs.i-1.a:1:1", "nonsense"))
})
