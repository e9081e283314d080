import { assert, it } from "@effect/vitest"
import { namespaceDefault } from "../../../shared/protocol/Pool.ts"
import * as Outstanding from "./Outstanding.ts"
import * as Replay from "./Replay.ts"
import { ScriptedRun } from "./ScriptedRun.ts"

const dependent = (more: object = {}) =>
  new ScriptedRun({
    tasks: [
      { name: "wait", type: "dependent", with: { all: [{ workflow: "nightly", within: "1s" }] }, ...more },
      { name: "after", type: "shell", dependsOn: ["wait"] }
    ]
  }).start()

it("A65 asks for the last run in the window; the answer is the task's end; asked again by a new owner", () => {
  const self = dependent()
  assert.strictEqual(self.task("wait").state, "RUNNING")
  assert.deepStrictEqual(self.queries.map(({ question }) => question), [
    {
      instance: self.state.instance,
      mode: "all",
      of: [{ workflow: "nightly", namespace: namespaceDefault, name: "nightly", from: 0, to: 1_000, is: "success" }]
    }
  ])
  assert.deepStrictEqual(Outstanding.outstanding(self.state).map(({ id }) => id), ["query:wait:1:1"])
  self.turn({ _tag: "TASK_SUCCEEDED", id: self.newest("wait"), outputs: { nightly: "n-1" } })
  self.succeed("after")
  assert.strictEqual(self.state.status, "SUCCEEDED")
  assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
})

it("A65 paused, stopped and timed out at once; an unusable question is FATAL", () => {
  const paused = dependent()
  paused.turn({ _tag: "WORKFLOW_PAUSE" })
  assert.strictEqual(paused.state.status, "PAUSED")
  paused.turn({ _tag: "WORKFLOW_RECOVER", mode: "resume" })
  paused.turn({ _tag: "WORKFLOW_STOP" })
  assert.strictEqual(paused.state.status, "STOPPED")
  const late = dependent({ timeout: { after: "10s" } })
  late.pass(10_000)
  assert.match(late.state.reason ?? "", /timed out after 10s/u)
  assert.match(
    dependent({ with: { any: [{ workflow: "a b" }] } }).state.reason ?? "",
    /with\.any\[0\]: name a workflow/u
  )
  assert.match(dependent({ with: { all: "x" } }).state.reason ?? "", /give all/u)
  for (const run of [paused, late]) assert.deepStrictEqual(Replay.verify(run.entries, run.graph), [])
})

it("A65 of its own namespace unless another is named", () => {
  const self = dependent({ with: { any: [{ workflow: "nightly", namespace: "sales" }, { workflow: "nightly" }] } })
  assert.deepStrictEqual(
    self.queries[0]?.question.of.map(({ name, namespace }) => [String(namespace), name]),
    [["sales", "sales/nightly"], ["default", "nightly"]]
  )
  assert.match(
    dependent({ with: { all: [{ workflow: "nightly", namespace: "a.b" }] } }).state.reason ?? "",
    /with\.all\[0\]\.namespace: "a\.b" is no name/u
  )
})

it("A65 the window: counted back from when the task was submitted, or from and to; newest of all times when neither is given", () => {
  const asked = (one: object) => {
    const self = new ScriptedRun({ tasks: [{ name: "wait", type: "dependent", with: { all: [one] } }] })
    self.now = 90_000_000
    self.start()
    const [of] = self.queries[0]?.question.of ?? []
    return of === undefined ? self.state.reason : [of.from, of.to, of.is]
  }
  const now = 90_000_000
  const day = "1970-01-02T00:00:00Z"
  assert.deepStrictEqual(asked({ workflow: "n", within: "24h" }), [now - 86_400_000, now, "success"])
  assert.deepStrictEqual(asked({ workflow: "n" }), [0, now, "success"])
  assert.deepStrictEqual(asked({ workflow: "n", from: day, is: "failed" }), [86_400_000, now, "failed"])
  assert.deepStrictEqual(asked({ workflow: "n", to: day }), [0, 86_400_000, "success"])
  const wrong = "task wait failed: with.all[0]"
  assert.strictEqual(asked({ workflow: "n", is: "done" }), `${wrong}.is: success or failed`)
  for (const within of ["a day", 5]) {
    assert.strictEqual(asked({ workflow: "n", within }), `${wrong}.within: a duration such as "24h"`)
  }
  for (const window of [{ from: "yesterday" }, { to: "now" }, { from: 5 }]) {
    assert.strictEqual(
      asked({ workflow: "n", ...window }),
      `${wrong}: from and to are times such as "2026-01-31T00:00:00Z"`
    )
  }
  for (const nothing of [null, "n", ["n"], {}]) {
    assert.strictEqual(asked(nothing as object), `${wrong}: name a workflow`)
  }
})

it("A65 one list, of one to a hundred workflows; an expression in it that fails is the task's end", () => {
  const many = (n: number) => Array.from({ length: n }, (_, i) => ({ workflow: `w${i}` }))
  assert.strictEqual(dependent({ with: { any: many(100) } }).queries[0]?.question.of.length, 100)
  // What a definition says outright is refused before (Compile.test.ts).
  for (const list of ["${{ params.many }}", "${{ params.none }}", "${{ params.name }}"]) {
    const self = new ScriptedRun({
      params: { many: many(101), none: [], name: "nightly" },
      tasks: [{ name: "wait", type: "dependent", with: { all: list } }]
    }).start()
    assert.deepStrictEqual(self.queries, [])
    assert.strictEqual(
      self.state.reason,
      "task wait failed: with: give all: [...] or any: [...], 1 to 100 workflows"
    )
  }
  const self = dependent({ with: { all: "${{ params.missing.deep }}" } })
  assert.strictEqual(self.task("wait").state, "FAILED")
  assert.match(self.state.reason ?? "", /params\.missing/u)
})
