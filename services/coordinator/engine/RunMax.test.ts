import { assert, it } from "@effect/vitest"
import * as Outstanding from "./Outstanding.ts"
import * as Replay from "./Replay.ts"
import { ScriptedRun, type Spec } from "./ScriptedRun.ts"

// Conformance A49: the system's maximum run time, which stands in START.
const tasks: Spec["tasks"] = [{ name: "a", type: "shell" }, { name: "b", type: "shell", dependsOn: ["a"] }]
const limited = (runMaxMs: number, more: Partial<Spec> = {}) => new ScriptedRun({ tasks, ...more }).start({ runMaxMs })

it("A49 over its maximum a run is ended as by a time-out; the entry says when, replay asks nobody", () => {
  const self = limited(60_000)
  self.register("a")
  assert.deepStrictEqual([...self.timers.keys()], ["limit:1"])
  assert.include(Outstanding.outstanding(self.state).map(({ id }) => id), "arm:limit:1@61000")
  self.pass(59_999)
  assert.strictEqual(self.state.status, "RUNNING")
  self.pass(1)
  assert.strictEqual(self.state.status, "READY_STOP")
  self.ended("a", "TASK_KILLED")
  assert.strictEqual(self.state.status, "FAILED")
  assert.strictEqual(self.state.reason, "the run takes longer than the system's maximum of 1m")
  assert.deepStrictEqual(self.alerts.map(({ kind }) => kind), ["WorkflowTimeout", "WorkflowFailed"])
  assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
})

it("A49 one that ends in time leaves no timer; without a maximum there is none", () => {
  const self = limited(60_000)
  for (const name of ["a", "b"]) self.succeed(name)
  assert.strictEqual(self.timers.size, 0)
  const other = new ScriptedRun({ tasks }).start()
  assert.strictEqual(other.timers.size, 0)
})

it("A49 beside the definition's time-out: a warning does not put it off, the shorter one decides", () => {
  const warned = limited(120_000, { timeout: { after: "1m", strategy: "warn" } })
  warned.register("a")
  warned.pass(60_000)
  assert.strictEqual(warned.state.status, "RUNNING")
  warned.pass(60_000)
  assert.strictEqual(warned.state.status, "READY_STOP")
  const own = limited(120_000, { timeout: { after: "1m" } })
  own.register("a")
  own.pass(60_000)
  // the executor does not answer until the maximum is over too
  own.pass(60_000)
  own.ended("a", "TASK_KILLED")
  assert.deepStrictEqual([own.state.status, own.state.reason], ["FAILED", "the workflow timed out"])
  const longer = limited(60_000, { timeout: { after: "2m" } })
  longer.register("a")
  longer.pass(120_000)
  longer.ended("a", "TASK_KILLED")
  assert.deepStrictEqual(
    [longer.state.status, longer.state.reason],
    ["FAILED", "the run takes longer than the system's maximum of 1m"]
  )
  for (const each of [warned, own, longer]) assert.deepStrictEqual(Replay.verify(each.entries, each.graph), [])
})

it("A49 a pause does not escape it, cleanup runs, and a recovered run has it again in full", () => {
  const self = limited(60_000, { onCleanup: { type: "shell" } })
  self.register("a")
  self.turn({ _tag: "WORKFLOW_PAUSE" })
  self.pass(60_000)
  assert.strictEqual(self.state.status, "READY_STOP")
  self.ended("a", "TASK_KILLED")
  self.succeed("onCleanup")
  assert.strictEqual(self.state.status, "FAILED")
  self.turn({ _tag: "WORKFLOW_RECOVER", mode: "recover" })
  assert.strictEqual(self.state.limitAt, self.now + 60_000)
  self.succeed("a")
  self.succeed("b")
  assert.strictEqual(self.state.status, "SUCCEEDED")
  assert.strictEqual(self.timers.size, 0)
  assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
})

it("A49 waiting for the slot of a serial definition does not count", () => {
  const self = limited(60_000, { executionType: "serial-wait" })
  self.pass(600_000)
  assert.deepStrictEqual([self.state.status, self.state.limitAt], ["SERIAL_WAIT", undefined])
  self.turn({ _tag: "WORKFLOW_SLOT_GRANTED", ticket: self.state.serial ?? "" })
  assert.strictEqual(self.state.limitAt, self.now + 60_000)
  self.pass(60_000)
  assert.strictEqual(self.state.reason, "the run takes longer than the system's maximum of 1m")
})
