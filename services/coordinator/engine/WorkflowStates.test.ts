import { assert, it } from "@effect/vitest"
import type { WorkflowLifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { WorkflowStatus } from "../../../shared/protocol/Workflow.ts"
import { ScriptedRun } from "./ScriptedRun.ts"

// design/03 section 4.1: a workflow with one registered task `a` (two more behind and beside it) gets the event of the row in the state of the column.
// `=`: nothing happens, not even an entry. Else: the state afterwards, and the effects in short.

const columns: ReadonlyArray<WorkflowStatus> = [
  "WAIT_TO_RUN",
  "RUNNING",
  "READY_PAUSE",
  "READY_STOP",
  "PAUSED",
  "STOPPED",
  "FAILED",
  "SUCCEEDED",
  "FAILOVER"
]

const inColumn = (column: WorkflowStatus): ScriptedRun => {
  const self = new ScriptedRun({
    tasks: [{ name: "a", type: "shell" }, { name: "b", type: "shell", dependsOn: ["a"] }],
    timeout: { after: "1h" }
  })
  if (column === "WAIT_TO_RUN") return self
  self.start()
  self.register("a")
  const event = (tag: "WORKFLOW_PAUSE" | "WORKFLOW_STOP") => self.turn({ _tag: tag })
  switch (column) {
    case "READY_PAUSE":
      event("WORKFLOW_PAUSE")
      break
    case "READY_STOP":
      event("WORKFLOW_STOP")
      break
    case "PAUSED":
      event("WORKFLOW_PAUSE")
      self.ended("a", "TASK_PAUSED")
      break
    case "STOPPED":
      event("WORKFLOW_STOP")
      self.ended("a", "TASK_KILLED")
      break
    case "FAILED":
      self.fail("a")
      break
    case "SUCCEEDED":
      self.succeed("a")
      self.succeed("b")
      break
    case "FAILOVER":
      // Nothing of ours puts a run there (owners carry out again what is outstanding): as if another version's journal said so.
      self.take({
        state: { ...self.state, status: "FAILOVER" },
        cause: [],
        transitions: [{ _tag: "WORKFLOW", status: "FAILOVER" }],
        effects: []
      })
      break
    default:
      break
  }
  assert.strictEqual(self.state.status, column)
  return self
}

const events = (self: ScriptedRun): Readonly<Record<string, WorkflowLifecycleEvent>> => ({
  START: { _tag: "WORKFLOW_START", start: { definition: self.graph.definition } },
  PAUSE: { _tag: "WORKFLOW_PAUSE" },
  STOP: { _tag: "WORKFLOW_STOP" },
  TIMEOUT: { _tag: "WORKFLOW_TIMEOUT", run: 1 },
  RESUME: { _tag: "WORKFLOW_RECOVER", mode: "resume" },
  RECOVER: { _tag: "WORKFLOW_RECOVER", mode: "recover" },
  RERUN: { _tag: "WORKFLOW_RECOVER", mode: "rerun" },
  PAUSED: { _tag: "WORKFLOW_PAUSED" },
  STOPPED: { _tag: "WORKFLOW_STOPPED" },
  SUCCEED: { _tag: "WORKFLOW_SUCCEED" },
  FAILED: { _tag: "WORKFLOW_FAILED" }
})

const begins = "RUNNING ArmTimer Dispatch"
const table: Readonly<Record<string, ReadonlyArray<string>>> = {
  //        WAIT_TO_RUN         RUNNING                     READY_PAUSE            READY_STOP               PAUSED  STOPPED FAILED  SUCCEEDED FAILOVER
  START: [
    begins,
    "RUNNING ArmTimer Ask",
    "READY_PAUSE ArmTimer Ask",
    "READY_STOP ArmTimer Ask",
    "=",
    "=",
    "=",
    "=",
    "RUNNING ArmTimer Ask"
  ],
  PAUSE: ["PAUSED Finalize", "READY_PAUSE Pause", "=", "=", "=", "=", "=", "=", "READY_PAUSE Pause"],
  STOP: [
    "STOPPED Finalize",
    "READY_STOP Kill",
    "READY_STOP Kill",
    "READY_STOP Kill",
    "=",
    "=",
    "=",
    "=",
    "READY_STOP Kill"
  ],
  TIMEOUT: [
    "=",
    "READY_STOP Alert Kill",
    "READY_PAUSE Alert",
    "READY_STOP Alert",
    "=",
    "=",
    "=",
    "=",
    "READY_STOP Alert Kill"
  ],
  RESUME: ["=", "=", "=", "=", begins, "=", "=", "=", "="],
  RECOVER: ["=", "=", "=", "=", begins, begins, begins, "=", "="],
  RERUN: ["=", "=", "=", "=", begins, begins, begins, begins, "="],
  // Results are the engine's own: while a task is active none is legal.
  PAUSED: ["=", "=", "=", "=", "=", "=", "=", "=", "="],
  STOPPED: ["=", "=", "=", "=", "=", "=", "=", "=", "="],
  SUCCEED: ["=", "=", "=", "=", "=", "=", "=", "=", "="],
  FAILED: ["=", "=", "=", "=", "=", "=", "=", "=", "="]
}

for (const [row, cells] of Object.entries(table)) {
  columns.forEach((column, i) => {
    const expected = cells[i] ?? "="
    it(`${row} in ${column}: ${expected === "=" ? "ignored" : expected}`, () => {
      const self = inColumn(column)
      const event = events(self)[row]
      if (event === undefined) throw new Error(row)
      const { effects, transitions } = self.turn(event)
      assert.strictEqual(
        transitions.length + effects.length === 0
          ? "="
          : [self.state.status, ...effects.map((effect) => effect._tag)].join(" "),
        expected
      )
    })
  })
}

it("a time-out of an earlier run is ignored", () => {
  const self = inColumn("SUCCEEDED")
  self.turn({ _tag: "WORKFLOW_RECOVER", mode: "rerun" })
  assert.deepStrictEqual(self.turn({ _tag: "WORKFLOW_TIMEOUT", run: 1 }).transitions, [])
})

it("FAILOVER: a run goes on from there as from RUNNING, whether it is rebuilt or its tasks end first", () => {
  for (const [end, status] of [["succeed", "SUCCEEDED"], ["fail", "FAILED"]] as const) {
    const self = inColumn("FAILOVER")
    self.succeed("a")
    self[end]("b")
    assert.strictEqual(self.state.status, status)
  }
  for (const [tag, status] of [["TASK_KILLED", "STOPPED"], ["TASK_PAUSED", "PAUSED"]] as const) {
    const self = inColumn("FAILOVER")
    self.ended("a", tag)
    assert.strictEqual(self.state.status, status)
  }
  const rebuilt = inColumn("FAILOVER")
  rebuilt.start()
  assert.strictEqual(rebuilt.state.status, "RUNNING")
  rebuilt.succeed("a")
  rebuilt.succeed("b")
  assert.strictEqual(rebuilt.state.status, "SUCCEEDED")
})

it("a stop that comes as the last task ends leaves the run SUCCEEDED", () => {
  const self = new ScriptedRun({ tasks: [{ name: "a", type: "shell" }] }).start()
  self.register("a")
  self.turn({ _tag: "WORKFLOW_STOP" })
  self.succeed("a")
  assert.strictEqual(self.state.status, "SUCCEEDED")
})

it("the system's maximum is over while the run is stopping: an alert of its own, and the result stays that of the stop", () => {
  const self = new ScriptedRun({ tasks: [{ name: "a", type: "shell" }] }).start({ runMaxMs: 60_000 })
  self.register("a")
  self.turn({ _tag: "WORKFLOW_STOP" })
  self.pass(60_000)
  assert.deepStrictEqual(self.alerts.map(({ id }) => id), ["alert:RunMax:1@61000"])
  self.ended("a", "TASK_KILLED")
  assert.deepStrictEqual([self.state.status, self.state.reason], ["STOPPED", undefined])
})
