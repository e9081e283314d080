import { assert, it } from "@effect/vitest"
import type { TaskLifecycleEvent } from "../../../shared/protocol/Journal.ts"
import type { TaskStatus } from "../../../shared/protocol/Workflow.ts"
import { id, ScriptedRun } from "./ScriptedRun.ts"

// design/03 section 4.2, cell by cell: a task in the state of the column gets the event of the row. `=`: nothing happens, not even an entry.
// Else: the task's state afterwards, and the effects in short.

type Column =
  | "SUBMITTED"
  | "DELAY_EXECUTION"
  | "DISPATCHED"
  | "RUNNING"
  | "FAILED (retry)"
  | "PAUSED"
  | "KILLED"
  | "FAILED"
  | "SUCCEEDED"
const columns: ReadonlyArray<Column> = [
  "SUBMITTED",
  "DELAY_EXECUTION",
  "DISPATCHED",
  "RUNNING",
  "FAILED (retry)",
  "PAUSED",
  "KILLED",
  "FAILED",
  "SUCCEEDED"
]

/** A run with the task `a` in the state of the column, and `z` beside it that keeps the run going. */
const inColumn = (column: Column): ScriptedRun => {
  const self = new ScriptedRun({
    tasks: [
      {
        name: "a",
        type: "shell",
        retry: { times: column === "FAILED" ? 0 : 2, interval: "30s" },
        timeout: { after: "10s" },
        ...(column === "DELAY_EXECUTION" ? { delay: "1m" } : {})
      },
      { name: "z", type: "shell" }
    ]
  }).start()
  switch (column) {
    case "DISPATCHED":
      self.register("a")
      break
    case "RUNNING":
      self.register("a")
      self.running("a")
      break
    case "FAILED (retry)":
    case "FAILED":
      self.fail("a")
      break
    case "SUCCEEDED":
      self.succeed("a")
      break
    case "PAUSED":
    case "KILLED":
      self.register("a")
      self.ended("a", `TASK_${column}`)
      break
    default:
      break
  }
  assert.strictEqual(self.task("a").state, column === "FAILED (retry)" ? "FAILED" : column)
  return self
}

const events = (self: ScriptedRun): Readonly<Record<string, TaskLifecycleEvent>> => {
  const a = self.newest("a")
  const by = self.by(5)
  return {
    START: { _tag: "TASK_START", id: a },
    DISPATCH: { _tag: "TASK_DISPATCH", id: a },
    DISPATCHED: { _tag: "TASK_DISPATCHED", id: a, placement: self.placement() },
    RUNNING: { _tag: "TASK_RUNNING", id: a, by },
    CONTEXT: { _tag: "TASK_RUNTIME_CONTEXT_CHANGED", id: a, by, context: { pid: 1 } },
    PAUSE: { _tag: "TASK_PAUSE", id: a },
    KILL: { _tag: "TASK_KILL", id: a },
    PAUSED: { _tag: "TASK_PAUSED", id: a, by },
    KILLED: { _tag: "TASK_KILLED", id: a, by },
    SUCCEEDED: { _tag: "TASK_SUCCEEDED", id: a, by, outputs: {} },
    FAILED: { _tag: "TASK_FAILED", id: a, by, reason: "exit 1" },
    FATAL: { _tag: "TASK_FATAL", id: a, by, reason: "no such type" },
    RETRY: { _tag: "TASK_RETRY", id: a },
    TIMEOUT: { _tag: "TASK_TIMEOUT", id: a, kind: "run" },
    FAILOVER: { _tag: "TASK_FAILOVER", id: a, lost: true, reason: "gone" }
  }
}

/** Cells of a row, in the order of `columns` up to "FAILED (retry)"; all finished states ignore everything. */
const table: Readonly<
  Record<string, readonly [submitted: string, delay: string, dispatched: string, running: string, retry: string]>
> = {
  START: ["SUBMITTED Dispatch", "DELAY_EXECUTION ArmTimer", "DISPATCHED Ask", "RUNNING Ask", "FAILED ArmTimer"],
  DISPATCH: ["SUBMITTED Dispatch", "DELAY_EXECUTION ArmTimer", "=", "=", "="],
  DISPATCHED: ["DISPATCHED ArmTimer", "DISPATCHED CancelTimer ArmTimer", "=", "=", "="],
  RUNNING: ["RUNNING Withdraw ArmTimer", "RUNNING CancelTimer ArmTimer", "RUNNING", "=", "="],
  CONTEXT: ["=", "=", "DISPATCHED", "RUNNING", "="],
  PAUSE: [
    "PAUSED Withdraw",
    "PAUSED CancelTimer",
    "DISPATCHED/pause Pause",
    "RUNNING/pause Pause",
    "PAUSED CancelTimer"
  ],
  KILL: ["KILLED Withdraw", "KILLED CancelTimer", "DISPATCHED/kill Kill", "RUNNING/kill Kill", "KILLED CancelTimer"],
  PAUSED: ["PAUSED Withdraw", "PAUSED CancelTimer", "PAUSED CancelTimer", "PAUSED CancelTimer", "PAUSED CancelTimer"],
  KILLED: ["KILLED Withdraw", "KILLED CancelTimer", "KILLED CancelTimer", "KILLED CancelTimer", "KILLED CancelTimer"],
  SUCCEEDED: ["SUCCEEDED Withdraw", "SUCCEEDED CancelTimer", "SUCCEEDED CancelTimer", "SUCCEEDED CancelTimer", "="],
  FAILED: [
    "FAILED Withdraw ArmTimer",
    "FAILED CancelTimer ArmTimer",
    "FAILED CancelTimer ArmTimer",
    "FAILED CancelTimer ArmTimer",
    "="
  ],
  FATAL: ["FAILED Withdraw", "FAILED CancelTimer", "FAILED CancelTimer", "FAILED CancelTimer", "FAILED CancelTimer"],
  RETRY: ["=", "=", "=", "=", "SUBMITTED Dispatch"],
  TIMEOUT: [
    "FAILED Withdraw ArmTimer",
    "FAILED CancelTimer ArmTimer",
    "DISPATCHED/kill Kill",
    "RUNNING/kill Kill",
    "="
  ],
  FAILOVER: ["=", "=", "SUBMITTED CancelTimer Dispatch", "SUBMITTED CancelTimer Dispatch", "="]
}

for (const [row, cells] of Object.entries(table)) {
  columns.forEach((column, i) => {
    const expected = cells[i] ?? "="
    it(`${row} in ${column}: ${expected === "=" ? "ignored" : expected}`, () => {
      const self = inColumn(column)
      const event = events(self)[row]
      if (event === undefined) throw new Error(row)
      const { cause, effects, transitions } = self.turn(event)
      const { intent, state } = self.task("a")
      const found = transitions.length + effects.length === 0
        ? "="
        : [intent === undefined ? state : `${state}/${intent}`, ...effects.map((effect) => effect._tag)].join(" ")
      assert.strictEqual(found, expected)
      assert.strictEqual(cause.length, expected === "=" ? 0 : 1)
    })
  })
}

it("an event of an earlier attempt is ignored in every state", () => {
  const self = inColumn("FAILED (retry)")
  const old = events(self)
  self.pass(30_000)
  assert.strictEqual(self.newest("a"), id("a:1:2"))
  for (const event of Object.values(old)) assert.deepStrictEqual(self.turn(event).transitions, [], event._tag)
})

it("the same fact twice has the same result", () => {
  for (const row of ["DISPATCHED", "RUNNING", "CONTEXT", "PAUSED", "KILLED", "SUCCEEDED", "FAILED", "FATAL"]) {
    const self = inColumn("DISPATCHED")
    const event = events(self)[row]
    if (event === undefined) throw new Error(row)
    self.turn(event)
    assert.deepStrictEqual(self.turn(event).transitions, [], row)
  }
})

it("C24 every order of a short history has the same end", () => {
  const orders = (list: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> =>
    list.length < 2
      ? [list]
      : list.flatMap((one, i) => orders(list.filter((_, k) => k !== i)).map((rest) => [one].concat(rest)))
  const ends = orders(["DISPATCHED", "RUNNING", "CONTEXT", "SUCCEEDED", "SUCCEEDED"]).map((order) => {
    const self = inColumn("SUBMITTED")
    const all = events(self)
    for (const row of order) {
      const event = all[row]
      if (event !== undefined) self.turn(event)
    }
    const { attempts, state } = self.task("a")
    return `${state satisfies TaskStatus | undefined} ${attempts.map((attempt) => attempt.state).join()}`
  })
  assert.deepStrictEqual([...new Set(ends)], ["SUCCEEDED SUCCEEDED"])
})
