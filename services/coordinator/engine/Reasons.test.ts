import { assert, it } from "@effect/vitest"
import { TaskName } from "../../../shared/protocol/Token.ts"
import { id, ScriptedRun, type Spec } from "./ScriptedRun.ts"

// What a user reads when a run did not do what was expected: the reason of a task that did not run, and of a run that ended otherwise. None may be empty or of another case.

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})

it("a task that is blocked names up to three of those that failed or did not run before it", () => {
  const names = ["a", "b", "c", "d"]
  const self = new ScriptedRun({
    tasks: [...names.map((name) => task(name)), task("all", names), task("next", ["all"])]
  })
    .start()
  for (const name of names) self.fail(name)
  assert.strictEqual(self.task("all").why, "a failed, b failed, c failed")
  assert.strictEqual(self.task("next").why, "all did not run")
  assert.strictEqual(self.state.reason, "task a failed: exit 1")
})

it("a task that is skipped says why: nothing failed, or all before it were skipped", () => {
  const self = new ScriptedRun({
    tasks: [
      task("a"),
      task("repair", ["a"], { join: "one_failed" }),
      task("after", ["repair"]),
      task("either", ["repair"], { join: "one_success" })
    ]
  }).start()
  self.succeed("a")
  assert.strictEqual(self.task("repair").why, "no predecessor failed")
  assert.strictEqual(self.task("after").why, "all predecessors were skipped")
  assert.strictEqual(self.task("either").why, "all predecessors were skipped")
  assert.strictEqual(self.state.status, "SUCCEEDED")
})

it("a run that is refused its turn says who has it", () => {
  const refused = (executionType: "serial-discard" | "serial-priority") => {
    const self = new ScriptedRun({ executionType, tasks: [task("a")] }).start()
    self.turn({ _tag: "WORKFLOW_SLOT_REFUSED", ticket: self.state.serial ?? "" })
    assert.strictEqual(self.state.status, "STOPPED")
    return self.state.reason
  }
  assert.strictEqual(refused("serial-discard"), "another run of the definition is under way (serial-discard)")
  assert.strictEqual(refused("serial-priority"), "a newer run of the definition takes its place (serial-priority)")
})

it("a turn that comes when nobody waits for it any more is given back", () => {
  const self = new ScriptedRun({ executionType: "serial-wait", tasks: [task("a")] }).start()
  const ticket = self.state.serial ?? ""
  self.turn({ _tag: "WORKFLOW_STOP" })
  assert.strictEqual(self.state.status, "STOPPED")
  const sent = self.sends.length
  self.turn({ _tag: "WORKFLOW_SLOT_GRANTED", ticket })
  assert.deepStrictEqual(self.sends.slice(sent).map(({ event }) => event._tag), ["SLOT_RELEASE"])
  assert.strictEqual(self.state.status, "STOPPED")
})

it("what waits for a slot can be started without one: it gives its place back and goes to the lane", () => {
  const self = new ScriptedRun({
    tasks: [task("a", [], { group: { name: "g" } }), task("b", [], { group: { name: "g" } })]
  })
    .start()
  assert.deepStrictEqual([...self.lane.keys()], [])
  self.turn({ _tag: "WORKFLOW_FORCE_START", task: TaskName.make("a") })
  assert.deepStrictEqual([...self.lane.keys()], [id("a:1:1")])
  assert.deepStrictEqual(self.sends.slice(2).map(({ event, id: effect }) => [effect, event._tag]), [
    ["release:a:1:1", "SLOT_RELEASE"]
  ])
})

it("a fan-out whose turn comes while the run pauses or stops begins no item", () => {
  const spec: Spec = { tasks: [task("a"), task("f", ["a"], { forEach: { items: "[1, 2]" } })] }
  for (const [command, fact, expected] of [["PAUSE", "PAUSED", "PAUSED"], ["STOP", "KILLED", "STOPPED"]] as const) {
    const self = new ScriptedRun(spec).start()
    self.register("a")
    self.turn({ _tag: `WORKFLOW_${command}` })
    // The command came too late for this one: it succeeds.
    self.turn({ _tag: "TASK_SUCCEEDED", id: id("a:1:1"), by: self.by(2), outputs: {} })
    assert.strictEqual(self.task("f").state, fact)
    assert.strictEqual(self.task("f").attempts.length, 0)
    assert.strictEqual(self.state.status, expected)
  }
})

it("a list that is too long, and a case that is neither true nor false, fail their task with the reason", () => {
  const long = new ScriptedRun({
    params: { list: Array.from({ length: 10_001 }, () => 0) },
    tasks: [task("f", [], { forEach: { items: "params.list" } })]
  }).start()
  assert.strictEqual(
    long.state.reason,
    "task f failed: forEach.items: the list has 10001 items, more than 10000"
  )
  const odd = new ScriptedRun({
    params: { n: 1 },
    tasks: [task("s", [], { type: "switch", with: { cases: [{ when: "params.n", next: "x" }] } }), task("x", ["s"])]
  }).start()
  assert.strictEqual(odd.state.reason, "task s failed: when: expression \"params.n\" gives neither true nor false")
})

it("a lost task that was to be killed or paused ends so: no new attempt is made for it", () => {
  for (const [command, expected] of [["STOP", "a:KILLED/1"], ["PAUSE", "a:PAUSED/1"]] as const) {
    const self = new ScriptedRun({ tasks: [task("a")] }).start()
    self.register("a")
    self.turn({ _tag: `WORKFLOW_${command}` })
    self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:1"), lost: true, reason: "gone" })
    assert.strictEqual(self.summary, expected)
  }
})

it("a lost task gives the slot of its attempt back and asks for one for the next", () => {
  const self = new ScriptedRun({ tasks: [task("a", [], { group: { name: "g" } })] }).start()
  self.grant("a")
  self.register("a")
  self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:1"), lost: true, reason: "gone" })
  assert.deepStrictEqual(self.sends.map((send) => send.id), ["acquire:a:1:1", "release:a:1:1", "acquire:a:1:2"])
})
