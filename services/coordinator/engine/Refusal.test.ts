import { assert, describe, it } from "@effect/vitest"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { FactReport, TaskFact } from "../../../shared/protocol/Report.ts"
import { MemberId, StartupId, TaskName } from "../../../shared/protocol/Token.ts"
import * as Decide from "./Decide.ts"
import { id, ScriptedRun, type Spec } from "./ScriptedRun.ts"

// What stands between the engine and those who talk to it: the answer to a command that can't be taken now, and an executor's report as a lifecycle event.

const tasks = (...names: ReadonlyArray<string>): Spec => ({ tasks: names.map((name) => ({ name, type: "shell" })) })
const pause: LifecycleEvent = { _tag: "WORKFLOW_PAUSE" }
const stop: LifecycleEvent = { _tag: "WORKFLOW_STOP" }
const recover = (mode: "resume" | "recover" | "rerun"): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode })
const commands = [pause, stop, recover("resume"), recover("recover"), recover("rerun")]

describe("a command that can't be taken is refused with the reason, and then changes nothing", () => {
  const moments: ReadonlyArray<readonly [name: string, run: () => ScriptedRun, ReadonlyArray<string | undefined>]> = [
    ["before START", () => new ScriptedRun(tasks("a")), [
      undefined,
      undefined,
      "the run has not started",
      "the run has not started",
      "the run has not started"
    ]],
    ["RUNNING", () => new ScriptedRun(tasks("a")).start(), [
      undefined,
      undefined,
      "the run is RUNNING: wait until it rests",
      "the run is RUNNING: wait until it rests",
      "the run is RUNNING: wait until it rests"
    ]],
    ["READY_PAUSE", () => {
      const self = new ScriptedRun(tasks("a")).start()
      self.running("a")
      self.turn(pause)
      return self
    }, [
      undefined,
      undefined,
      "the run is READY_PAUSE: wait until it rests",
      "the run is READY_PAUSE: wait until it rests",
      "the run is READY_PAUSE: wait until it rests"
    ]],
    ["READY_STOP", () => {
      const self = new ScriptedRun(tasks("a")).start()
      self.running("a")
      self.turn(stop)
      return self
    }, [
      "the run is stopping: it can't be paused",
      undefined,
      "the run is READY_STOP: wait until it rests",
      "the run is READY_STOP: wait until it rests",
      "the run is READY_STOP: wait until it rests"
    ]],
    ["PAUSED", () => {
      const self = new ScriptedRun(tasks("a")).start()
      self.turn(pause)
      return self
    }, [
      "the run is PAUSED: it can't be paused",
      "the run is PAUSED: it can't be stopped",
      undefined,
      undefined,
      undefined
    ]],
    ["STOPPED", () => {
      const self = new ScriptedRun(tasks("a")).start()
      self.turn(stop)
      return self
    }, [
      "the run is STOPPED: it can't be paused",
      "the run is STOPPED: it can't be stopped",
      "only a PAUSED run can be resumed; this one is STOPPED",
      undefined,
      undefined
    ]],
    ["FAILED", () => {
      const self = new ScriptedRun(tasks("a")).start()
      self.fail("a")
      return self
    }, [
      "the run is FAILED: it can't be paused",
      "the run is FAILED: it can't be stopped",
      "only a PAUSED run can be resumed; this one is FAILED",
      undefined,
      undefined
    ]],
    ["SUCCEEDED", () => {
      const self = new ScriptedRun(tasks("a")).start()
      self.succeed("a")
      return self
    }, [
      "the run is SUCCEEDED: it can't be paused",
      "the run is SUCCEEDED: it can't be stopped",
      "only a PAUSED run can be resumed; this one is SUCCEEDED",
      "the run has SUCCEEDED: there is nothing to recover; rerun it",
      undefined
    ]],
    ["its cleanup runs", () => {
      const self = new ScriptedRun({ ...tasks("a"), onCleanup: { type: "shell" } }).start()
      self.fail("a")
      return self
    }, [
      "the run is ending as FAILED: it can't be paused",
      "the run is ending as FAILED: it can't be stopped",
      "the run is RUNNING: wait until it rests",
      "the run is RUNNING: wait until it rests",
      "the run is RUNNING: wait until it rests"
    ]]
  ]
  for (const [name, make, expected] of moments) {
    it(name, () => {
      for (const [i, command] of commands.entries()) {
        const self = make()
        assert.strictEqual(Decide.refusal(self.state, command), expected[i])
        if (expected[i] !== undefined) assert.deepStrictEqual(self.turn(command).transitions, [])
      }
    })
  }
  it("what is no command is never refused; a forced start needs a task that waits for a slot", () => {
    const self = new ScriptedRun({
      tasks: [{ name: "a", type: "shell", group: { name: "g" } }, { name: "b", type: "shell" }]
    })
      .start()
    const force = (task: string): LifecycleEvent => ({ _tag: "WORKFLOW_FORCE_START", task: TaskName.make(task) })
    assert.strictEqual(Decide.refusal(self.state, { _tag: "TASK_KILL", id: id("a:1:1") }), undefined)
    assert.strictEqual(Decide.refusal(self.state, force("a")), undefined)
    assert.strictEqual(Decide.refusal(self.state, force("b")), "task b does not wait for a slot of a group")
    self.grant("a")
    assert.strictEqual(Decide.refusal(self.state, force("a")), "task a does not wait for a slot of a group")
  })
})

it("a report comes in with all it says, and with who said it and when", () => {
  const report = (fact: TaskFact, more: Partial<FactReport> = {}): LifecycleEvent => {
    const { instance, shard } = new ScriptedRun(tasks("a")).state
    return Decide.fromFact({
      shard,
      instance,
      taskInstanceId: id("a:1:1"),
      executor: MemberId.make("ex-1"),
      startup: StartupId.make("s1"),
      sequence: 4,
      at: 9,
      fact,
      ...more
    })
  }
  const from = { id: "a:1:1", by: { executor: "ex-1", startup: "s1", sequence: 4, at: 9 } }
  const same = (event: LifecycleEvent, expected: object) => assert.deepStrictEqual({ ...event }, expected as never)
  same(report({ _tag: "RUNNING" }), { _tag: "TASK_RUNNING", ...from })
  same(report({ _tag: "RUNTIME_CONTEXT_CHANGED", context: { pid: 1 } }), {
    _tag: "TASK_RUNTIME_CONTEXT_CHANGED",
    ...from,
    context: { pid: 1 }
  })
  same(report({ _tag: "SANDBOX_LOST", reason: "gone" }), { _tag: "TASK_FAILOVER", ...from, lost: true, reason: "gone" })
  same(report({ _tag: "SUCCEEDED", outputs: { n: 1 }, startedAt: 5, exitCode: 0 }, { offer: 2, together: true }), {
    _tag: "TASK_SUCCEEDED",
    ...from,
    startedAt: 5,
    exitCode: 0,
    offer: 2,
    together: true,
    outputs: { n: 1 }
  })
  same(report({ _tag: "FAILED", reason: "exit 3", exitCode: 3 }), {
    _tag: "TASK_FAILED",
    ...from,
    exitCode: 3,
    reason: "exit 3"
  })
  same(report({ _tag: "FATAL", reason: "no such type" }), { _tag: "TASK_FATAL", ...from, reason: "no such type" })
  same(report({ _tag: "KILLED" }), { _tag: "TASK_KILLED", ...from })
  same(report({ _tag: "PAUSED" }), { _tag: "TASK_PAUSED", ...from })
})
