import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { TaskName } from "../../../shared/protocol/Token.ts"
import * as Replay from "./Replay.ts"
import { compile, ScriptedRun, type Spec } from "./ScriptedRun.ts"

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})
/** `a`, judged by `gate`, which leads to `good` or to `bad`. */
const gated = (gate: Partial<Task> = {}, a: Partial<Task> = {}) =>
  new ScriptedRun({
    tasks: [
      task("a", [], a),
      task("gate", ["a"], { type: "condition", with: { success: ["good"], failed: ["bad"] }, ...gate }),
      task("good", ["gate"]),
      task("bad", ["gate"])
    ]
  }).start()
const verified = (self: ScriptedRun) => assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])

describe("condition", () => {
  it("A28 predecessor succeeded: the success branch only", () => {
    const self = gated()
    self.succeed("a")
    self.succeed("good")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 gate:SUCCEEDED/1 good:SUCCEEDED/1 bad:-/0")
    assert.strictEqual(self.task("bad").why, "the condition gate took success")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("A29 predecessor failed: the failed branch, the workflow SUCCEEDED", () => {
    const self = gated()
    self.fail("a")
    self.succeed("bad")
    assert.strictEqual(self.summary, "a:FAILED/1 gate:SUCCEEDED/1 good:-/0 bad:SUCCEEDED/1")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("A30 FATAL counts as failed, and failure strategy end does not strike", () => {
    const self = new ScriptedRun({
      failureStrategy: "end",
      tasks: [
        task("a", [], { retry: { times: 3 } }),
        task("gate", ["a"], { type: "condition", with: { failed: "bad" } }),
        task("bad", ["gate"])
      ]
    }).start()
    self.register("a")
    self.turn({ _tag: "TASK_FATAL", id: self.newest("a"), by: self.by(), reason: "no such type" })
    self.succeed("bad")
    assert.strictEqual(self.summary, "a:FAILED/1 gate:SUCCEEDED/1 bad:SUCCEEDED/1")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("A31 forbidden: passes through, both branches run", () => {
    const self = gated({ forbidden: true })
    self.succeed("a")
    self.succeed("good")
    self.succeed("bad")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 gate:-/0 good:SUCCEEDED/1 bad:SUCCEEDED/1")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("A32 forbidden, with a failed predecessor: FAILED, one attempt in all", () => {
    const self = gated({ forbidden: true })
    self.fail("a")
    assert.strictEqual(self.summary, "a:FAILED/1 gate:-/0 good:-/0 bad:-/0")
    assert.strictEqual(self.state.status, "FAILED")
    verified(self)
  })
  it("A33 what it names must be its predecessors, and its branches its successors", () => {
    const result = compile({
      tasks: [
        task("a"),
        task("gate", ["a"], {
          type: "condition",
          with: { when: { and: [{ task: "nowhere" }, { task: "good" }, { task: "a", is: "late" }] }, success: ["a"] }
        }),
        task("good", ["gate"]),
        task("lonely", [], { type: "condition" })
      ]
    })
    assert.deepStrictEqual(
      Result.isFailure(result) ? result.failure.map((problem) => `${problem.path}: ${problem.message}`) : [],
      [
        "spec.tasks[1].with.when.and[0].task: the condition gate asks about \"nowhere\", which is no task of this workflow",
        "spec.tasks[1].with.when.and[1].task: the condition gate asks about good, which it does not depend on",
        "spec.tasks[1].with.when.and[2].is: a task is asked for success or failed",
        "spec.tasks[1].with.success[0]: a does not depend on the condition gate",
        "spec.tasks[1].with: the condition gate leads nowhere",
        "spec.tasks[3].dependsOn: the condition lonely has no predecessor to ask about",
        "spec.tasks[3].with: the condition lonely leads nowhere"
      ]
    )
  })
  it("A34 and / or over mixed predecessors", () => {
    const when = {
      or: [{ and: [{ task: "a" }, { task: "b" }] }, { and: [{ task: "a", is: "failed" }, { task: "c" }] }]
    }
    const branch = (...ok: ReadonlyArray<string>) => {
      const self = new ScriptedRun({
        tasks: [
          ...["a", "b", "c"].map((name) => task(name)),
          task("gate", ["a", "b", "c"], { type: "condition", with: { when, success: ["good"], failed: ["bad"] } }),
          task("good", ["gate"]),
          task("bad", ["gate"])
        ]
      }).start()
      for (const name of ["a", "b", "c"]) {
        if (ok.includes(name)) self.succeed(name)
        else self.fail(name)
      }
      const taken = self.task("good").attempts.length === 1 ? "good" : "bad"
      self.succeed(taken)
      assert.strictEqual(self.state.status, "SUCCEEDED")
      verified(self)
      return taken
    }
    assert.strictEqual(branch("a", "b", "c"), "good")
    assert.strictEqual(branch("a", "b"), "good")
    assert.strictEqual(branch("c"), "good")
    assert.strictEqual(branch("a", "c"), "bad")
    assert.strictEqual(branch("b"), "bad")
    assert.strictEqual(branch(), "bad")
  })
  it("a failure with a successor that is no condition is not absorbed, nor is one whose condition is not in the run", () => {
    const two = new ScriptedRun({
      tasks: [
        task("a"),
        task("gate", ["a"], { type: "condition", with: { failed: ["bad"] } }),
        task("bad", ["gate"]),
        task("other", ["a"])
      ]
    }).start()
    two.fail("a")
    assert.strictEqual(two.summary, "a:FAILED/1 gate:-/0 bad:-/0 other:-/0")
    assert.strictEqual(two.state.status, "FAILED")
    const alone = new ScriptedRun({
      tasks: [task("a"), task("gate", ["a"], { type: "condition", with: { failed: ["bad"] } }), task("bad", ["gate"])]
    }).start({ startNodes: [TaskName.make("a")], dependType: "TASK_ONLY" })
    alone.fail("a")
    assert.strictEqual(alone.state.status, "FAILED")
    verified(alone)
  })
  it("A39 forbidden successors have no attempt", () => {
    const self = new ScriptedRun({ tasks: [task("a"), task("b", ["a"], { forbidden: true })] }).start()
    self.succeed("a")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:-/0")
    assert.strictEqual(self.state.status, "SUCCEEDED")
  })
  it("a recovered run keeps the branch that its condition did not take", () => {
    const self = gated()
    self.succeed("a")
    self.fail("good")
    assert.strictEqual(self.state.status, "FAILED")
    const recover: LifecycleEvent = { _tag: "WORKFLOW_RECOVER", mode: "recover" }
    self.turn(recover)
    self.succeed("good")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 gate:SUCCEEDED/1 good:SUCCEEDED/2 bad:-/0")
    verified(self)
  })
})

describe("what counts as failed", () => {
  /** `gate` asks `first` and `second` with `when`, whatever became of them. */
  const judged = (before: ReadonlyArray<Task>, when: unknown) =>
    new ScriptedRun({
      tasks: [
        ...before,
        task("gate", ["first", "second"], {
          type: "condition",
          join: "all_done",
          with: { when, success: ["good"], failed: ["bad"] }
        }),
        task("good", ["gate"]),
        task("bad", ["gate"])
      ]
    }).start()
  const took = (self: ScriptedRun) => self.task("gate").outputs?.["branch"]

  it("a predecessor that a switch did not take neither succeeded nor failed", () => {
    const before = [
      task("pick", [], { type: "switch", with: { cases: [{ when: "true", next: "first" }], default: "second" } }),
      task("first", ["pick"]),
      task("second", ["pick"])
    ]
    for (const is of ["success", "failed"]) {
      const self = judged(before, { task: "second", is })
      self.succeed("first")
      assert.strictEqual(took(self), "failed", is)
      verified(self)
    }
  })
  it("a predecessor that did not run because of a failure before it failed", () => {
    const before = [task("first"), task("broken"), task("second", ["broken"])]
    for (const [is, expected] of [["failed", "success"], ["success", "failed"]] as const) {
      const self = judged(before, { task: "second", is })
      self.succeed("first")
      self.fail("broken")
      assert.strictEqual(took(self), expected, is)
      verified(self)
    }
  })
  it("a predecessor that was killed failed, for a condition that is run again by hand", () => {
    const self = judged([task("first"), task("second")], { task: "second", is: "failed" })
    self.succeed("first")
    self.register("second")
    self.turn({ _tag: "WORKFLOW_STOP" })
    self.ended("second", "TASK_KILLED")
    assert.strictEqual(self.state.status, "STOPPED")
    self.turn({ _tag: "WORKFLOW_RUN_TASK", task: TaskName.make("gate") })
    assert.strictEqual(took(self), "success")
    verified(self)
  })
})

it("a condition that is none is refused, with the place and what to write", () => {
  const problems = (when: unknown): ReadonlyArray<string> => {
    const result = compile({
      tasks: [
        task("a"),
        task("gate", ["a"], { type: "condition", with: { when, success: ["b"] } }),
        task("b", ["gate"])
      ]
    })
    if (Result.isSuccess(result)) return []
    for (const problem of result.failure) {
      assert.strictEqual(problem.fix, "Give {task: <name>, is: success | failed}, {and: [...]} or {or: [...]}.")
    }
    return result.failure.map(({ message, path }) => `${path.replace("spec.tasks[1].with.", "")}: ${message}`)
  }
  const one = { task: "a" }
  const isNone = "a condition names a task, or joins conditions with and / or"
  const isNoList = "`and` and `or` take a list of conditions, one of the two"
  assert.deepStrictEqual(problems("a"), [`when: ${isNone}`])
  assert.deepStrictEqual(problems([one]), [`when: ${isNone}`])
  assert.deepStrictEqual(problems({ and: [one, 7] }), [`when.and[1]: ${isNone}`])
  assert.deepStrictEqual(problems({ or: [{ and: [one] }, { or: [one, null] }] }), [`when.or[1].or[1]: ${isNone}`])
  assert.deepStrictEqual(problems({ and: [] }), [`when: ${isNoList}`])
  assert.deepStrictEqual(problems({ or: one }), [`when: ${isNoList}`])
  assert.deepStrictEqual(problems({ and: [one], or: [one] }), [`when: ${isNoList}`])
  const nested = (depth: number): unknown => depth === 0 ? one : { and: [nested(depth - 1)] }
  assert.deepStrictEqual(problems(nested(16)), [])
  assert.deepStrictEqual(problems(nested(17)), [`when${".and[0]".repeat(17)}: ${isNone}`])
})

describe("expressions in spec.params", () => {
  const spec: Spec = {
    params: {
      day: "1",
      base: "${{ 'in/' + params.day }}",
      file: "${{ params.base }}/${{ instance.id }}.csv",
      broken: "${{ params.nothing.at }}"
    },
    tasks: [task("a")]
  }
  it("A23 resolved at START, each may read those before it; A24 start params override and are read", () => {
    const self = new ScriptedRun(spec).start({ params: { day: "2", broken: "fine" } })
    assert.deepStrictEqual(self.state.params, { day: "2", broken: "fine", base: "in/2", file: "in/2/wf-1.csv" })
    self.succeed("a")
    verified(self)
  })
  it("an error fails the run with the expression in the reason", () => {
    const self = new ScriptedRun(spec).start()
    assert.strictEqual(self.state.status, "FAILED")
    assert.match(self.state.reason ?? "", /^spec\.params: expression "params\.nothing\.at"/u)
    verified(self)
  })
  it("they can't read tasks", () => {
    const result = compile({ params: { x: "${{ tasks.a.outputs.n }}" }, tasks: [task("a")] })
    assert.deepStrictEqual(Result.isFailure(result) ? result.failure.map((problem) => problem.path) : [], [
      "spec.params.x"
    ])
  })
})
