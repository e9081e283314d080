import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { TaskName } from "../../../shared/protocol/Token.ts"
import * as Decide from "./Decide.ts"
import * as Registration from "./Registration.ts"
import * as Replay from "./Replay.ts"
import { ScriptedRun, session, type Spec } from "./ScriptedRun.ts"

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})
const recover = (mode: "resume" | "recover" | "rerun"): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode })
const force = (name: string): LifecycleEvent => ({ _tag: "WORKFLOW_FORCE_SUCCESS", task: TaskName.make(name) })
const runTask = (name: string, dependType?: "TASK_ONLY" | "TASK_PRE" | "TASK_POST"): LifecycleEvent => ({
  _tag: "WORKFLOW_RUN_TASK",
  task: TaskName.make(name),
  ...(dependType === undefined ? {} : { dependType })
})
const chain = (): ScriptedRun =>
  new ScriptedRun({ tasks: [task("a"), task("b", ["a"]), task("c", ["b"]), task("d")] }).start()
const verified = (self: ScriptedRun) => assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])

describe("force-success", () => {
  it("B19 forced success counts as success: recover goes on behind it, and does not run it again", () => {
    const self = chain()
    self.succeed("d")
    self.succeed("a")
    self.fail("b")
    assert.strictEqual(self.state.status, "FAILED")
    self.turn(force("b"))
    assert.strictEqual(self.state.status, "FAILED")
    assert.strictEqual(self.task("b").state, "FORCED_SUCCESS")
    self.turn(recover("recover"))
    self.succeed("c")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:FORCED_SUCCESS/1 c:SUCCEEDED/1 d:SUCCEEDED/1")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("the last task, a killed one and a fan-out", () => {
    const self = new ScriptedRun({
      params: { list: [1, 2] },
      tasks: [task("f", [], { forEach: { items: "params.list" } }), task("k")]
    }).start()
    self.fail("f[0]")
    self.succeed("f[1]", { n: 1 })
    self.register("k")
    self.turn({ _tag: "WORKFLOW_STOP" })
    self.ended("k", "TASK_KILLED")
    self.turn(force("f"))
    self.turn(force("k"))
    self.turn(recover("recover"))
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(self.task("f").outputs, { items: [{}, { n: 1 }] })
    verified(self)
  })
  it("what the items of a forced fan-out gave is passed on", () => {
    const self = new ScriptedRun({
      tasks: [task("f", [], { forEach: { items: "[1, 2]" } }), task("after", ["f"])]
    }).start()
    self.fail("f[0]")
    self.succeed("f[1]", { n: 1 })
    self.turn(force("f"))
    self.turn(recover("recover"))
    const spec = Result.getOrThrow(Registration.taskSpec(self.state, self.newest("after"), session))
    assert.deepStrictEqual(spec.params, { items: [{}, { n: 1 }] })
  })
  it("is refused with the reason", () => {
    const self = chain()
    assert.strictEqual(Decide.refusal(self.state, force("a")), "the run is RUNNING: wait until it rests")
    assert.strictEqual(Decide.refusal(self.state, force("x")), "test@1 has no task x")
    self.fail("a")
    self.succeed("d")
    assert.match(Decide.refusal(self.state, force("d")) ?? "", /task d is SUCCEEDED: only/u)
    assert.match(Decide.refusal(self.state, force("b")) ?? "", /task b is not run: only/u)
    assert.deepStrictEqual(self.turn(force("d")).transitions, [])
  })
})

describe("run-task", () => {
  it("one task of a finished run, again; the others stay as they are", () => {
    const self = chain()
    for (const name of ["a", "b", "c", "d"]) self.succeed(name)
    self.turn(runTask("b"))
    assert.strictEqual(self.state.status, "RUNNING")
    assert.deepStrictEqual([...self.lane.keys()], [self.newest("b")])
    self.succeed("b")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/1 d:SUCCEEDED/1")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("of a failed run: stays FAILED while something is left to do, and recover does it", () => {
    const self = chain()
    self.succeed("d")
    self.succeed("a")
    self.fail("b")
    self.turn(runTask("b"))
    self.succeed("b")
    assert.strictEqual(self.state.status, "FAILED")
    assert.match(self.state.reason ?? "", /recover runs them/u)
    self.turn(recover("recover"))
    self.succeed("c")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/1 d:SUCCEEDED/1")
    verified(self)
  })
  it("with what comes after it, in a run that was stopped; nothing else starts", () => {
    const self = chain()
    self.turn({ _tag: "WORKFLOW_STOP" })
    assert.strictEqual(self.state.status, "STOPPED")
    self.turn(runTask("b", "TASK_POST"))
    self.succeed("b")
    self.succeed("c")
    assert.strictEqual(self.summary, "a:KILLED/1 b:SUCCEEDED/1 c:SUCCEEDED/1 d:KILLED/1")
    assert.strictEqual(self.state.status, "STOPPED")
    verified(self)
  })
  it("hooks do not run again", () => {
    const self = new ScriptedRun({ tasks: [task("a")], onCommit: { type: "shell" } }).start()
    self.succeed("a")
    self.succeed("onCommit")
    self.turn(runTask("a"))
    self.succeed("a")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("is refused with the reason", () => {
    const self = chain()
    assert.match(Decide.refusal(self.state, runTask("a")) ?? "", /only tasks of one that has ended/u)
    assert.strictEqual(Decide.refusal(self.state, runTask("x")), "test@1 has no task x")
  })
})

it("B20 B21 rerun: the same instance, run number + 1, and again only the tasks that were asked for", () => {
  const self = new ScriptedRun({ tasks: [task("a"), task("b", ["a"]), task("c", ["b"])] })
    .start({ startNodes: [TaskName.make("b")], dependType: "TASK_ONLY" })
  self.succeed("b")
  self.turn(recover("rerun"))
  assert.strictEqual(self.state.run, 2)
  assert.deepStrictEqual([...self.lane.keys()].map(String), ["b:2:1"])
  self.succeed("b")
  assert.strictEqual(self.state.status, "SUCCEEDED")
  assert.strictEqual(self.summary, "b:SUCCEEDED/1")
  verified(self)
})
