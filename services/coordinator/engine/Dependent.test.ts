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
