import { assert, describe, it } from "@effect/vitest"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { RequestId, TaskName } from "../../../shared/protocol/Token.ts"
import * as Replay from "./Replay.ts"
import * as Requests from "./Requests.ts"
import { ScriptedRun } from "./ScriptedRun.ts"
import * as Snapshot from "./Snapshot.ts"

const request = (id: string) => ({ request: RequestId.make(id) })
const rerun = (id?: string): LifecycleEvent => ({
  _tag: "WORKFLOW_RECOVER",
  mode: "rerun",
  ...(id === undefined ? {} : request(id))
})
const ended = (): ScriptedRun => {
  const self = new ScriptedRun({ tasks: [{ name: "a", type: "shell" }] }).start()
  self.succeed("a")
  return self
}
const verified = (self: ScriptedRun) => assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])

describe("commands with an id", () => {
  it("a rerun that is asked again is done once, also after the run that it made has ended, and in one turn", () => {
    const self = ended()
    self.turn(rerun("r1"), rerun("r1"))
    assert.strictEqual(self.state.run, 2)
    self.turn(rerun("r1"))
    self.succeed("a")
    const { length } = self.entries
    self.turn(rerun("r1"))
    assert.strictEqual(self.entries.length, length, "a repetition leaves no trace")
    assert.strictEqual(self.state.run, 2)
    self.turn(rerun("r2"))
    assert.strictEqual(self.state.run, 3)
    self.succeed("a")
    self.turn(rerun())
    assert.strictEqual(self.state.run, 4, "without an id each is another")
    verified(self)
  })
  it("one that the state does not allow is not remembered: it may be asked again later", () => {
    const self = new ScriptedRun({ tasks: [{ name: "a", type: "shell" }] }).start()
    self.turn(rerun("r1"))
    assert.deepStrictEqual(self.state.requests, [])
    self.succeed("a")
    self.turn(rerun("r1"))
    assert.strictEqual(self.state.run, 2)
    verified(self)
  })
  it("every command has its words, whatever its reason; the same id for another is told apart", () => {
    const task = TaskName.make("a")
    const events: ReadonlyArray<LifecycleEvent> = [
      { _tag: "WORKFLOW_PAUSE", reason: "now", ...request("one") },
      { _tag: "WORKFLOW_STOP", ...request("one") },
      { _tag: "WORKFLOW_RECOVER", mode: "resume", ...request("one") },
      { _tag: "WORKFLOW_RECOVER", mode: "recover", ...request("one") },
      { _tag: "WORKFLOW_FORCE_SUCCESS", task, ...request("one") },
      { _tag: "WORKFLOW_FORCE_START", task, ...request("one") },
      { _tag: "WORKFLOW_RUN_TASK", task, ...request("one") },
      { _tag: "WORKFLOW_RUN_TASK", task, dependType: "TASK_POST", ...request("one") }
    ]
    assert.strictEqual(new Set(events.map(Requests.asksOf)).size, events.length)
    for (const event of events) {
      const requests = Requests.remember([], event)
      for (const again of events) {
        assert.strictEqual(Requests.standing(requests, again), again === event ? "done" : "other")
      }
      assert.strictEqual(Requests.standing(requests, { ...event, ...request("two") } as LifecycleEvent), "new") // still of its own kind
    }
  })
  it("a pause is remembered although nothing was under way that could pause, and the run rests", () => {
    const self = new ScriptedRun({ tasks: [{ name: "a", type: "shell", delay: "1h" }] }).start()
    self.turn({ _tag: "WORKFLOW_PAUSE", ...request("p1") })
    assert.strictEqual(self.state.status, "PAUSED")
    assert.strictEqual(Requests.standing(self.state.requests, { _tag: "WORKFLOW_PAUSE", ...request("p1") }), "done")
    verified(self)
  })
  it("the newest are kept, through snapshots; a snapshot from before there were any is read", () => {
    const self = ended()
    for (let n = 0; n < Requests.requestsMax + 3; n++) {
      self.turn(rerun(`r${n}`))
      self.succeed("a")
    }
    assert.strictEqual(self.state.requests.length, Requests.requestsMax)
    assert.strictEqual(self.state.requests[0]?.id, "r3")
    const json: unknown = JSON.parse(JSON.stringify(Snapshot.snapshotOf(self.state)))
    const restored = Snapshot.fromSnapshot(json, self.graph)
    assert.deepStrictEqual(
      restored._tag === "Success" ? restored.success.requests : restored.failure,
      self.state.requests
    )
    const { requests: _, ...before } = json as { readonly requests: unknown }
    const older = Snapshot.fromSnapshot(before, self.graph)
    assert.deepStrictEqual(older._tag === "Success" ? older.success.requests : older.failure, [])
  })
})
