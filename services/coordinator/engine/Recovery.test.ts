import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { TaskName } from "../../../shared/protocol/Token.ts"
import * as Decide from "./Decide.ts"
import * as Registration from "./Registration.ts"
import * as Replay from "./Replay.ts"
import { id, ScriptedRun, session, type Spec } from "./ScriptedRun.ts"

// What a run that goes on keeps, and what it does again. design/03 sections 4.2 and 6.

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})
const stop: LifecycleEvent = { _tag: "WORKFLOW_STOP" }
const pause: LifecycleEvent = { _tag: "WORKFLOW_PAUSE" }
const recover = (mode: "resume" | "recover" | "rerun" = "recover"): LifecycleEvent => ({
  _tag: "WORKFLOW_RECOVER",
  mode
})
const runTask = (name: string, dependType?: "TASK_PRE" | "TASK_POST"): LifecycleEvent => ({
  _tag: "WORKFLOW_RUN_TASK",
  task: TaskName.make(name),
  ...(dependType === undefined ? {} : { dependType })
})
const verified = (self: ScriptedRun) => assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
const paramsOf = (self: ScriptedRun, name: string) =>
  Result.getOrThrow(Registration.taskSpec(self.state, self.newest(name), session)).params
const lane = (self: ScriptedRun) => [...self.lane.keys()].map(String)
const result = (self: ScriptedRun) => [self.state.status, self.state.reason]

describe("retries", () => {
  it("a recovered task has all its retries again", () => {
    const self = new ScriptedRun({ tasks: [task("a", [], { retry: { times: 1, interval: "1s" } })] }).start()
    for (const attempt of [1, 2, 3, 4]) {
      if (attempt === 3) self.turn(recover())
      self.fail("a")
      assert.strictEqual(self.state.status, attempt % 2 === 0 ? "FAILED" : "RUNNING")
      self.pass(1_000)
    }
    assert.strictEqual(self.summary, "a:FAILED/4")
    verified(self)
  })

  it("a pause, a stop or a lost sandbox gives none back and uses none up", () => {
    for (const [command, tag] of [[pause, "TASK_PAUSED"], [stop, "TASK_KILLED"]] as const) {
      const self = new ScriptedRun({ tasks: [task("a", [], { retry: { times: 1, interval: "1s" } })] }).start()
      self.fail("a")
      self.pass(1_000)
      self.register("a")
      self.turn(command)
      self.ended("a", tag)
      self.turn(recover(command === pause ? "resume" : "recover"))
      self.register("a")
      self.turn({ _tag: "TASK_FAILOVER", id: self.newest("a"), lost: true, reason: "gone" })
      self.fail("a")
      assert.strictEqual(self.state.status, "FAILED")
      assert.strictEqual(self.summary, "a:FAILED/4")
      verified(self)
    }
  })

  it("one that waited for its retry when it was paused keeps the reason of the attempt that failed", () => {
    const self = new ScriptedRun({ tasks: [task("a", [], { retry: { times: 1, interval: "1m" } })] }).start()
    self.fail("a", "exit 7")
    self.turn(pause)
    const [attempt] = self.task("a").attempts
    assert.deepStrictEqual([self.task("a").state, attempt?.state, attempt?.reason], ["PAUSED", "FAILED", "exit 7"])
  })
})

describe("branches", () => {
  const branching = (more: Partial<Task>) =>
    new ScriptedRun({
      tasks: [
        task("a"),
        task("way", ["a"], more),
        task("x", ["way"]),
        task("y", ["way"]),
        task("end", ["x", "y"], { join: "all_done" })
      ]
    }).start()
  const ways: ReadonlyArray<Partial<Task>> = [
    { type: "switch", with: { cases: [{ when: "true", next: "x" }], default: "y" } },
    { type: "condition", with: { when: { task: "a", is: "success" }, success: ["x"], failed: ["y"] } }
  ]

  it("what was not taken stays so when what was taken runs again", () => {
    for (const way of ways) {
      const self = branching(way)
      self.succeed("a")
      self.fail("x")
      self.succeed("end")
      self.turn(recover())
      assert.deepStrictEqual(lane(self), ["x:1:2"])
      self.succeed("x")
      self.succeed("end")
      assert.strictEqual(self.state.status, "SUCCEEDED")
      assert.deepStrictEqual([self.task("y").attempts, self.task("way").attempts.length], [[], 1])
      verified(self)
    }
  })

  it("when the decision itself is taken again, it may go the other way", () => {
    const self = new ScriptedRun({
      tasks: [
        task("a"),
        task("way", ["a"], {
          join: "all_done",
          type: "switch",
          with: { cases: [{ when: "tasks.a.state == 'FAILED'", next: "x" }], default: "y" }
        }),
        task("x", ["way"]),
        task("y", ["way"])
      ]
    }).start()
    self.fail("a")
    self.succeed("x")
    assert.strictEqual(self.state.status, "FAILED")
    self.turn(recover())
    self.succeed("a")
    self.succeed("y")
    assert.deepStrictEqual(result(self), ["SUCCEEDED", undefined])
    assert.strictEqual(self.summary, "a:SUCCEEDED/2 way:SUCCEEDED/2 x:-/1 y:SUCCEEDED/1")
    assert.match(self.task("x").why ?? "", /took y/u)
    verified(self)
  })

  it("a failure that a condition took care of runs again with all behind it when the run is recovered for another", () => {
    const self = new ScriptedRun({
      tasks: [
        task("a"),
        task("gate", ["a"], {
          type: "condition",
          with: { when: { task: "a", is: "success" }, success: ["x"], failed: ["y"] }
        }),
        task("x", ["gate"]),
        task("y", ["gate"]),
        task("other")
      ]
    }).start()
    self.fail("a")
    self.succeed("y")
    self.fail("other")
    assert.match(self.state.reason ?? "", /task other failed/u)
    self.turn(recover())
    assert.deepStrictEqual(lane(self), ["a:1:2", "other:1:2"])
    self.succeed("a")
    self.succeed("x")
    self.succeed("other")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
})

describe("hooks", () => {
  it("a commit that failed is done again, a clean-up is done again after the next failure; each as an attempt of its own", () => {
    const self = new ScriptedRun({
      tasks: [task("a")],
      onCommit: { type: "shell" },
      onCleanup: { type: "shell" }
    }).start()
    self.succeed("a")
    self.fail("onCommit")
    self.succeed("onCleanup")
    assert.strictEqual(self.state.status, "FAILED")
    self.turn(recover())
    assert.deepStrictEqual(lane(self), ["onCommit:1:2"])
    self.fail("onCommit")
    assert.deepStrictEqual(lane(self), ["onCleanup:1:2"])
    self.succeed("onCleanup")
    self.turn(recover())
    self.succeed("onCommit")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
})

describe("a run of some tasks", () => {
  const tasks = [task("a"), task("b", ["a"]), task("c", ["b"], { join: "all_done" }), task("d", ["a", "c"]), task("z")]

  it("recovered: those that were not asked for stay out", () => {
    const self = new ScriptedRun({ tasks }).start({ startNodes: [TaskName.make("b")], dependType: "TASK_POST" })
    self.fail("b")
    self.succeed("c")
    self.succeed("d")
    assert.strictEqual(self.state.status, "FAILED")
    self.turn(recover())
    assert.deepStrictEqual(lane(self), ["b:1:2"])
    for (const name of ["b", "c", "d"]) self.succeed(name)
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.strictEqual(self.summary, "b:SUCCEEDED/2 c:SUCCEEDED/2 d:SUCCEEDED/2")
    verified(self)
  })

  it("what is between them and was not asked for neither runs nor makes what is behind it run again", () => {
    const self = new ScriptedRun({ tasks: [task("b"), task("c", ["b"]), task("d", ["c"])] })
      .start({ startNodes: [TaskName.make("b"), TaskName.make("d")], dependType: "TASK_ONLY" })
    self.fail("b")
    self.succeed("d")
    self.turn(recover())
    assert.deepStrictEqual(lane(self), ["b:1:2"])
    self.succeed("b")
    assert.deepStrictEqual([self.state.status, self.summary], ["SUCCEEDED", "b:SUCCEEDED/2 d:SUCCEEDED/1"])
    self.turn(runTask("b", "TASK_POST"))
    self.succeed("b")
    self.succeed("d")
    assert.deepStrictEqual([self.state.status, self.summary], ["SUCCEEDED", "b:SUCCEEDED/3 d:SUCCEEDED/2"])
    verified(self)
  })

  it("run-task with what is before or behind it: in their order, and with the outputs of those that stay", () => {
    const self = new ScriptedRun({ tasks: [task("a"), task("b", ["a"]), task("c", ["b"]), task("z")] }).start()
    self.succeed("a", { a: 1 })
    self.succeed("b", { b: 1 })
    self.succeed("c")
    self.succeed("z")
    self.turn(runTask("b", "TASK_POST"))
    assert.deepStrictEqual(lane(self), ["b:1:2"])
    assert.deepStrictEqual(paramsOf(self, "b"), { a: 1 })
    self.succeed("b", { b: 2 })
    assert.deepStrictEqual(paramsOf(self, "c"), { a: 1, b: 2 })
    self.succeed("c")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/2 z:SUCCEEDED/1")
    self.turn(runTask("b", "TASK_PRE"))
    assert.deepStrictEqual(lane(self), ["a:1:2"])
    self.succeed("a")
    self.succeed("b")
    assert.deepStrictEqual(result(self), ["SUCCEEDED", undefined])
    verified(self)
  })

  it("run-task of a run with other failures: the run stays FAILED by those; when it has no task left to do, it has SUCCEEDED", () => {
    const self = new ScriptedRun({ tasks: [task("a"), task("b")] }).start()
    self.fail("a", "exit 1")
    self.fail("b", "exit 2")
    self.turn(runTask("a"))
    self.succeed("a")
    assert.deepStrictEqual(result(self), ["FAILED", "task b failed: exit 2"])
    self.turn(runTask("b"))
    self.fail("b", "exit 3")
    assert.deepStrictEqual(result(self), ["FAILED", "task b failed: exit 3"])
    self.turn(runTask("b"))
    self.succeed("b")
    assert.deepStrictEqual(result(self), ["SUCCEEDED", undefined])
    verified(self)
  })

  it("run-task of a run that was stopped or paused in the middle leaves what was halted", () => {
    const self = new ScriptedRun({ tasks: [task("a"), task("b"), task("c", ["a"])] }).start()
    self.turn(stop)
    assert.strictEqual(self.summary, "a:KILLED/1 b:KILLED/1 c:-/0")
    self.turn(runTask("a"))
    assert.deepStrictEqual(lane(self), ["a:1:2"])
    self.succeed("a")
    assert.deepStrictEqual([self.state.status, self.summary], ["STOPPED", "a:SUCCEEDED/2 b:KILLED/1 c:-/0"])
    self.turn(recover())
    for (const name of ["b", "c"]) self.succeed(name)
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })

  it("run-task of a run that was stopped while it paused: what was paused is still to be resumed", () => {
    const self = new ScriptedRun({ tasks: [task("a"), task("b")] }).start()
    self.register("a")
    self.turn(pause)
    self.turn(stop)
    self.ended("a", "TASK_KILLED")
    assert.deepStrictEqual([self.state.status, self.summary], ["STOPPED", "a:KILLED/1 b:PAUSED/1"])
    self.turn(runTask("a"))
    self.succeed("a")
    assert.strictEqual(self.state.status, "PAUSED")
    self.turn(recover("resume"))
    self.succeed("b")
    assert.deepStrictEqual([self.state.status, self.summary], ["SUCCEEDED", "a:SUCCEEDED/2 b:SUCCEEDED/2"])
    verified(self)
  })

  it("run-task again after a run that ran out of time: with the whole time, and its own result", () => {
    const self = new ScriptedRun({ tasks: [task("a"), task("b")], timeout: { after: "1m" } }).start()
    self.succeed("b")
    self.register("a")
    self.pass(60_000)
    self.ended("a", "TASK_KILLED")
    assert.deepStrictEqual(result(self), ["FAILED", "the workflow timed out"])
    self.turn(runTask("a"))
    assert.strictEqual(self.state.timeoutAt, self.now + 60_000)
    self.register("a")
    self.turn(stop)
    self.ended("a", "TASK_KILLED")
    assert.deepStrictEqual(result(self), ["STOPPED", undefined])
    verified(self)
  })
})

describe("fan-outs", () => {
  const spread = (more: Partial<Task> = {}) =>
    new ScriptedRun({
      tasks: [
        task("a", [], { retry: { times: 0 } }),
        task("f", ["a"], { join: "all_done", forEach: { items: "[1, 2]", parallelism: 1 }, ...more }),
        task("end", ["f"])
      ]
    }).start()

  it("one whose list is made again counts its attempts on; a third time too, and as a chosen task", () => {
    const self = spread()
    self.fail("a")
    self.succeed("f[0]")
    self.succeed("f[1]")
    self.succeed("end")
    self.turn(recover())
    self.fail("a")
    assert.deepStrictEqual(lane(self), ["f:1:2:0"])
    self.fail("f[0]")
    self.succeed("f[1]")
    self.turn(recover())
    self.succeed("a")
    assert.deepStrictEqual(lane(self), ["f:1:3:0"])
    self.succeed("f[0]", { n: 1 })
    self.succeed("f[1]")
    assert.deepStrictEqual(paramsOf(self, "end"), { items: [{ n: 1 }, {}] })
    self.succeed("end")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    self.turn(runTask("f"))
    assert.deepStrictEqual(lane(self), ["f:1:4:0"])
    self.succeed("f[0]")
    self.succeed("f[1]")
    self.turn(runTask("f"))
    assert.deepStrictEqual(lane(self), ["f:1:5:0"])
    self.succeed("f[0]")
    self.succeed("f[1]")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })

  it("one that fails before a condition is taken care of by it", () => {
    const self = new ScriptedRun({
      tasks: [
        task("f", [], { forEach: { items: "[1]" } }),
        task("gate", ["f"], {
          type: "condition",
          with: { when: { task: "f", is: "success" }, success: ["x"], failed: ["y"] }
        }),
        task("x", ["gate"]),
        task("y", ["gate"])
      ]
    }).start()
    self.fail("f[0]")
    self.succeed("y")
    assert.deepStrictEqual(result(self), ["SUCCEEDED", undefined])
    verified(self)
  })

  it("one whose items were killed with no stop asked for: the run is STOPPED, nothing behind it runs", () => {
    const self = spread()
    self.succeed("a")
    self.register("f[0]")
    self.turn({ _tag: "TASK_KILLED", id: self.newest("f[0]") })
    self.succeed("f[1]")
    assert.deepStrictEqual([self.state.status, self.task("f").state], ["STOPPED", "KILLED"])
    assert.strictEqual(self.task("end").attempts.length, 0)
    verified(self)
  })
})

describe("facts that overtake the dispatch, and who had the attempt", () => {
  const other = { _tag: "TASK_SUCCEEDED", id: id("a:1:1"), outputs: {} } as const

  it("a task that nobody is known to hold belongs to whoever speaks of it first", () => {
    const self = new ScriptedRun({ tasks: [task("a")] }).start()
    self.now = 8_000
    self.turn({ _tag: "TASK_RUNNING", id: id("a:1:1"), by: { ...self.by(1, "ex-2"), at: 7_000 } })
    const [attempt] = self.task("a").attempts
    assert.deepStrictEqual([attempt?.executor, attempt?.startedAt], ["ex-2", "1970-01-01T00:00:07.000Z"])
    self.turn({ ...other, by: self.by(2, "ex-1") })
    assert.strictEqual(self.state.status, "RUNNING")
    // said again it changes nothing of what is known
    self.now = 9_000
    self.turn({ _tag: "TASK_RUNNING", id: id("a:1:1"), by: { ...self.by(3, "ex-2"), at: 9_000 } })
    assert.strictEqual(self.task("a").attempts[0]?.startedAt, "1970-01-01T00:00:07.000Z")
    self.turn({ ...other, by: self.by(4, "ex-2") })
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })

  it("its end may be the first thing that is heard", () => {
    const self = new ScriptedRun({ tasks: [task("a")] }).start()
    self.turn({ ...other, by: self.by(1, "ex-2") })
    assert.deepStrictEqual([self.state.status, self.task("a").attempts[0]?.executor], ["SUCCEEDED", "ex-2"])
    assert.deepStrictEqual(lane(self), [])
    verified(self)
  })
})

it("waiting for a slot does not use up the time in which somebody must take the task", () => {
  const self = new ScriptedRun({ tasks: [task("a", [], { group: { name: "g", slots: 1 }, dispatchTimeout: "20s" })] })
    .start()
  self.pass(60_000)
  self.grant("a")
  assert.deepStrictEqual([...self.timers.values()].map(({ dueAt }) => dueAt), [self.now + 20_000])
  self.pass(19_999)
  assert.strictEqual(self.state.status, "RUNNING")
  self.pass(1)
  assert.strictEqual(self.state.status, "FAILED")
  verified(self)
})

it("a stop after a time-out that only warned is a stop", () => {
  const self = new ScriptedRun({ tasks: [task("a")], timeout: { after: "1m", strategy: "warn" } }).start()
  self.register("a")
  self.pass(60_000)
  self.turn(stop)
  self.ended("a", "TASK_KILLED")
  assert.deepStrictEqual(result(self), ["STOPPED", undefined])
  verified(self)
})

it("failure strategy end: the first failure is the reason, and what still succeeds has no successor", () => {
  const self = new ScriptedRun({
    failureStrategy: "end",
    tasks: [task("a"), task("b"), task("c", ["b"]), task("z")]
  }).start()
  for (const name of ["a", "b", "z"]) self.register(name)
  self.fail("z", "exit 3")
  self.fail("a", "ended by SIGTERM")
  self.succeed("b")
  assert.deepStrictEqual(result(self), ["FAILED", "task z failed: exit 3"])
  assert.strictEqual(self.summary, "a:FAILED/1 b:SUCCEEDED/1 c:-/0 z:FAILED/1")
  verified(self)
})

it("a run that failed by a defect of the engine leaves nothing under way; it can be recovered, and fail by one again", () => {
  for (const again of [recover(), runTask("a")]) {
    const self = new ScriptedRun({ tasks: [task("a"), task("f", [], { forEach: { items: "[1, 2]" } })] }).start()
    const poison = (reason: string) => self.take(Decide.poison(self.state, reason, self.now))
    for (const name of ["a", "f[0]", "f[1]"]) self.register(name)
    self.succeed("f[0]")
    poison("first")
    assert.deepStrictEqual(result(self), ["FAILED", "the engine failed: first"])
    assert.strictEqual(self.summary, "a:KILLED/1 f:KILLED/2")
    // what it still reports changes nothing
    assert.deepStrictEqual(self.ended("a", "TASK_KILLED").transitions, [])
    self.turn(again)
    assert.deepStrictEqual(lane(self), again._tag === "WORKFLOW_RECOVER" ? ["a:1:2", "f:1:2:1"] : ["a:1:2"])
    for (const name of lane(self)) self.register(name.startsWith("a") ? "a" : "f[1]")
    poison("second")
    assert.deepStrictEqual(result(self), ["FAILED", "the engine failed: second"])
    self.turn(recover())
    self.succeed("a")
    self.succeed("f[1]")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  }
})

it("a journal that belongs to another definition is refused, with what does not fit", () => {
  const self = new ScriptedRun({ tasks: [task("a"), task("b")] }).start()
  self.succeed("a")
  const other = new ScriptedRun({ tasks: [task("b")] })
  assert.throws(
    () => Replay.replay(self.entries, other.graph),
    "the journal names the task a, which test@1 does not have"
  )
  const [started, ...later] = self.entries
  if (started === undefined) throw new Error("no entry")
  const without = { ...started, transitions: started.transitions.filter((one) => one._tag !== "SUBMITTED") }
  assert.throws(
    () => Replay.replay([without, ...later], self.graph),
    "the journal names the attempt a:1:1, which is not its task's newest"
  )
  assert.throws(
    () => Replay.replay([{ ...started, cause: [] }], self.graph),
    "STARTED: cause 0 is no WORKFLOW_START"
  )
})
