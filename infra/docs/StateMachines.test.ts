import { assert, it } from "@effect/vitest"
import * as Journal from "../../shared/protocol/Journal.ts"
import { TaskStatus, WorkflowStatus } from "../../shared/protocol/Workflow.ts"
import * as StateMachines from "./StateMachines.ts"

const tags = (
  union: {
    readonly members: ReadonlyArray<
      { readonly fields: { readonly _tag: { readonly schema: { readonly literal: string } } } }
    >
  }
) => union.members.map((member) => member.fields._tag.schema.literal)

it("every state is a column and every event a row", () => {
  const task = StateMachines.taskTable()
  const workflow = StateMachines.workflowTable()
  const states = (columns: ReadonlyArray<string>) =>
    [...new Set(columns.map((column) => column.split(",")[0]))].toSorted()
  assert.deepStrictEqual(states(task.columns), TaskStatus.literals.toSorted())
  assert.deepStrictEqual(states(workflow.columns), WorkflowStatus.literals.toSorted())
  assert.deepStrictEqual([...new Set(task.rows.map((row) => row.tag))], tags(Journal.TaskLifecycleEvent))
  for (const { cells } of [...task.rows, ...workflow.rows]) {
    for (const { path } of cells) assert.isAbove(path.length, 0)
  }
})

it("no row is without effect everywhere, but for a result that is not legal", () => {
  for (const table of [StateMachines.taskTable(), StateMachines.workflowTable()]) {
    for (const { cells, tag, when } of table.rows) {
      const isQuiet = cells.every(({ notes, path }) => path.length === 1 && notes.length === 0)
      assert.strictEqual(isQuiet, when === "a task is active", `${tag} ${when ?? ""}`)
    }
  }
})

it("the page says what the engine does", () => {
  const page = StateMachines.page()
  for (
    const arrow of [
      "[*] --> WAIT_TO_RUN",
      "WAIT_TO_RUN --> SERIAL_WAIT : WF START",
      "READY_PAUSE --> PAUSED : WF PAUSED",
      "FAILED --> SUBMITTED : RETRY",
      "RUNNING --> FAILOVER : FAILOVER",
      "RUNNING --> SUCCEEDED : SUCCEEDED"
    ]
  ) assert.include(page, arrow)
  assert.notMatch(page, /SUCCEEDED --> (SUBMITTED|DISPATCHED)/)
  assert.match(page, /\| \*\*PAUSE\*\* \|.*`INTENT pause`<br>_Pause_/)
})
