import { assert, describe, it } from "@effect/vitest"
import * as Fork from "../services/coordinator/engine/Fork.ts"
import { ScriptedRun, type Spec } from "../services/coordinator/engine/ScriptedRun.ts"
import { StreamSequence } from "../shared/protocol/Token.ts"
import * as RunDiff from "./RunDiff.ts"
import * as RunRecord from "./RunRecord.ts"

const spec: Spec = {
  params: { day: "mon", deep: { a: 1, b: 2 } },
  tasks: [
    { name: "left", type: "shell" },
    { name: "right", type: "shell" },
    { name: "join", type: "shell", dependsOn: ["left", "right"], retry: { times: 1, interval: "1s" } },
    { name: "last", type: "shell", dependsOn: ["join"] }
  ]
}
const sideOf = (instance: string, script: (run: ScriptedRun) => void, of: Spec = spec): RunDiff.Side => {
  const run = new ScriptedRun(of, { instance })
  script(run)
  const entries = run.entries.map((entry, at) => ({ sequence: at + 1, ledger: "l", entry }))
  const view = RunRecord.viewAt(entries, run.graph)
  if (view === undefined) throw new Error("it has begun")
  return { view, entries }
}
const good = (...order: ReadonlyArray<string>) => (run: ScriptedRun) => {
  run.start()
  for (const name of order) run.succeed(name, name === "join" ? { rows: 3 } : {})
}

describe("RunDiff", () => {
  it("the same but for ids, times and the order of what runs at the same time", () => {
    const diff = RunDiff.compare(
      sideOf("one", good("left", "right", "join", "last")),
      sideOf("two", (run) => {
        run.pass(60_000)
        good("right", "left", "join", "last")(run)
      })
    )
    assert.deepStrictEqual(diff, { isSame: true, params: [], tasks: [] })
  })
  it("params, the first decision and the tasks that end otherwise", () => {
    const diff = RunDiff.compare(
      sideOf("one", good("left", "right", "join", "last")),
      sideOf("two", (run) => {
        run.start({ params: { day: "tue", deep: { a: 1, b: 3 } } })
        run.succeed("right")
        run.succeed("left")
        run.fail("join")
        run.pass(2_000)
        run.fail("join")
      })
    )
    assert.isFalse(diff.isSame)
    assert.deepStrictEqual(diff.state, { a: "SUCCEEDED", b: "FAILED" })
    assert.deepStrictEqual(diff.params, [
      { path: "day", a: "mon", b: "tue" },
      { path: "deep.b", a: 2, b: 3 }
    ])
    assert.strictEqual(diff.firstDecision?.task, "join")
    assert.match(diff.firstDecision?.a?.decided ?? "", /^SUCCEEDED \(run 1, attempt 1\)$/u)
    assert.match(diff.firstDecision?.b?.decided ?? "", /^FAILED \(run 1, attempt 1\): .*, to be tried again$/u)
    assert.deepStrictEqual(diff.tasks.map(({ path, task, what }) => [task, what, path]), [
      ["join", "state", undefined],
      ["join", "attempts", undefined],
      ["join", "outputs", "rows"],
      ["last", "state", undefined],
      ["last", "attempts", undefined]
    ])
  })
  it("one that has ended and one that still goes on differ where the other has nothing more", () => {
    const diff = RunDiff.compare(
      sideOf("one", good("left", "right", "join", "last")),
      sideOf("two", good("left", "right"))
    )
    assert.strictEqual(diff.firstDecision?.task, "join")
    assert.isUndefined(diff.firstDecision?.b)
  })
  it("other definitions: tasks that only one has", () => {
    const [first, ...rest] = spec.tasks
    if (first === undefined) throw new Error("it has tasks")
    const fewer: Spec = {
      ...spec,
      tasks: [first, ...rest.filter(({ name }) => name === "right"), { name: "new", type: "shell" }]
    }
    const diff = RunDiff.compare(
      sideOf("one", good("left", "right", "join", "last")),
      sideOf("two", good("left", "right", "new"), fewer)
    )
    assert.deepStrictEqual(diff.tasks.map(({ a, b, task, what }) => [task, what, a, b]), [
      ["join", "task", "SUCCEEDED", undefined],
      ["last", "task", "SUCCEEDED", undefined],
      ["new", "task", undefined, "SUCCEEDED"]
    ])
  })
  it("a fork beside its original: what it took over is no difference, what it ran is", () => {
    const run = new ScriptedRun(spec, { instance: "one" }).start()
    run.succeed("left", { x: 1 })
    run.succeed("right")
    run.fail("join")
    run.pass(2_000)
    run.fail("join")
    const entries = run.entries.map((entry, at) => ({ sequence: at + 1, ledger: "l", entry }))
    const view = RunRecord.viewAt(entries, run.graph)
    if (view === undefined) throw new Error("it has begun")
    const fork = sideOf("two", (self) => {
      self.start(Fork.startOf(run.state, StreamSequence.make(entries.length)))
      self.succeed("join")
      self.succeed("last")
    })
    const diff = RunDiff.compare({ view, entries }, fork)
    assert.strictEqual(diff.firstDecision?.task, "join")
    assert.deepStrictEqual([...new Set(diff.tasks.map(({ task }) => task))], ["join", "last"])
  })
  it("a run beside itself is the same, whatever it went through", () => {
    const side = sideOf("one", (run) => {
      good("left", "right")(run)
      run.turn({ _tag: "WORKFLOW_STOP", reason: "enough" })
    })
    assert.isTrue(RunDiff.compare(side, side).isSame)
  })
})
