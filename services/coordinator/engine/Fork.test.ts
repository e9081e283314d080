import { assert, describe, it } from "@effect/vitest"
import type { LifecycleEvent, StartData } from "../../../shared/protocol/Journal.ts"
import { StreamSequence, TaskName } from "../../../shared/protocol/Token.ts"
import * as Evolve from "./Evolve.ts"
import * as Fork from "./Fork.ts"
import { initial } from "./Initial.ts"
import * as Replay from "./Replay.ts"
import { ScriptedRun, type Spec } from "./ScriptedRun.ts"

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})
const recover = (mode: "resume" | "recover" | "rerun"): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode })
const verified = (self: ScriptedRun) => assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])

/** What the original was after so many of its entries. */
const stateAfter = (self: ScriptedRun, count: number) =>
  self.entries.slice(0, count).reduce(Evolve.foldEntry, initial(self.graph, self.state.instance, self.state.shard))

/** A new instance with what the original had come to. */
const fork = (original: ScriptedRun, count: number = original.entries.length, more: Partial<StartData> = {}) =>
  new ScriptedRun(original.graph, { instance: "fork-1" }).start({
    ...Fork.startOf(stateAfter(original, count), StreamSequence.make(count)),
    ...more
  })
/** A branching run: a, then b and c, then d. */
const diamond = (more: Partial<Spec> = {}) =>
  new ScriptedRun({
    params: { n: 1 },
    tasks: [task("a"), task("b", ["a"]), task("c", ["a"]), task("d", ["b", "c"])],
    ...more
  }).start({ params: { n: 2 } })

describe("Fork", () => {
  it("begins with the results of the original, and runs the rest with their outputs", () => {
    const original = diamond()
    original.succeed("a", { x: 1 })
    original.succeed("b", { y: 2 })
    original.fail("c")
    const self = fork(original)
    assert.strictEqual(self.summary, "a:SUCCEEDED/0 b:SUCCEEDED/0 c:SUBMITTED/1 d:-/0")
    assert.deepStrictEqual(self.task("a").outputs, { x: 1 })
    assert.match(self.task("a").why ?? "", /taken over from wf-1/u)
    assert.deepStrictEqual(self.state.params, { n: 2 })
    assert.deepStrictEqual(self.view.forkOf, { instanceId: "wf-1", seq: original.entries.length })
    self.succeed("c", { z: 3 })
    self.succeed("d")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(self.view.outputs, { x: 1, y: 2, z: 3 })
    verified(self)
  })
  it("at an earlier point: only what had ended by then; what was under way begins anew", () => {
    const original = diamond()
    original.succeed("a", { x: 1 })
    const count = original.entries.length
    original.register("b")
    original.succeed("b")
    original.succeed("c")
    original.succeed("d")
    const self = fork(original, count)
    assert.strictEqual(self.summary, "a:SUCCEEDED/0 b:SUBMITTED/1 c:SUBMITTED/1 d:-/0")
    verified(self)
    assert.strictEqual(fork(original, 1).summary, "a:SUBMITTED/1 b:-/0 c:-/0 d:-/0", "from the start")
  })
  it("one of which everything had ended ends at once; its hooks run again", () => {
    const original = diamond({ onCommit: { type: "shell" } })
    for (const name of ["a", "b", "c", "d", "onCommit"]) original.succeed(name)
    assert.strictEqual(original.state.status, "SUCCEEDED")
    const self = fork(original)
    assert.strictEqual(self.state.status, "RUNNING")
    self.succeed("onCommit")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("skipped, not taken, forbidden and forced tasks stay what they were; blocked and absorbed failures are decided again", () => {
    const original = new ScriptedRun({
      tasks: [
        task("a"),
        task("gate", ["a"], { type: "switch", with: { cases: [{ when: "true", next: "yes" }], default: "no" } }),
        task("yes", ["gate"]),
        task("no", ["gate"]),
        task("afterNo", ["no"]),
        task("off", ["yes"], { forbidden: true }),
        task("bad", ["off"]),
        task("behind", ["bad"]),
        task("hand"),
        task("flaky"),
        task("judge", ["flaky"], {
          type: "condition",
          with: { when: { and: [{ task: "flaky", is: "success" }] }, success: ["well"], failed: ["ill"] }
        }),
        task("well", ["judge"]),
        task("ill", ["judge"])
      ]
    }).start()
    original.succeed("a")
    original.succeed("yes")
    original.fail("bad")
    original.fail("flaky")
    original.succeed("ill")
    original.fail("hand")
    assert.strictEqual(original.state.status, "FAILED")
    original.turn({ _tag: "WORKFLOW_FORCE_SUCCESS", task: TaskName.make("hand") })
    const self = fork(original)
    assert.strictEqual(self.task("hand").state, "FORCED_SUCCESS")
    assert.match(self.task("no").why ?? "", /took yes \(taken over from wf-1\)$/u)
    assert.strictEqual(self.task("afterNo").state, undefined)
    assert.deepStrictEqual(
      ["a", "gate", "yes", "off", "bad", "behind", "flaky", "judge", "ill"].map((name) =>
        `${name}:${self.task(name).attempts.length}`
      ),
      ["a:0", "gate:0", "yes:0", "off:0", "bad:1", "behind:0", "flaky:1", "judge:0", "ill:0"]
    )
    self.succeed("bad")
    self.succeed("behind")
    self.succeed("flaky")
    self.succeed("well")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("a fan-out is taken over whole or begins anew; its list of outputs is passed on", () => {
    const original = new ScriptedRun({
      params: { list: [1, 2] },
      tasks: [task("f", [], { forEach: { items: "params.list" } }), task("g", ["f"]), task("h", ["g"])]
    }).start()
    original.succeed("f[0]", { n: 1 })
    const count = original.entries.length
    original.succeed("f[1]", { n: 2 })
    const self = fork(original)
    assert.deepStrictEqual(self.task("f").outputs, { items: [{ n: 1 }, { n: 2 }] })
    assert.strictEqual(self.task("g").attempts.length, 1)
    const half = fork(original, count)
    assert.strictEqual(half.task("f").attempts.length, 2)
    assert.deepStrictEqual(half.task("f").outputs, undefined)
    verified(self)
    verified(half)
  })
  it("recover, rerun and run-task of a fork: taken results stay, until a task itself is run", () => {
    const original = diamond()
    original.succeed("a", { x: 1 })
    original.succeed("b", { y: 2 })
    const self = fork(original)
    self.fail("c")
    assert.strictEqual(self.state.status, "FAILED")
    self.turn(recover("recover"))
    self.succeed("c")
    self.succeed("d")
    assert.deepStrictEqual(self.view.outputs, { x: 1, y: 2 })
    self.turn(recover("rerun"))
    assert.strictEqual(self.task("a").attempts.length, 0)
    assert.deepStrictEqual(self.task("b").outputs, { y: 2 })
    self.succeed("c")
    self.succeed("d")
    self.turn({ _tag: "WORKFLOW_RUN_TASK", task: TaskName.make("b") })
    self.succeed("b", { y: 5 })
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(self.view.outputs, { x: 1, y: 5 })
    verified(self)
  })
  it("a fork of a fork, of chosen tasks, and of a dry run", () => {
    const original = diamond()
    original.succeed("a", { x: 1 })
    const first = fork(original)
    first.succeed("b")
    const second = fork(first)
    assert.strictEqual(second.summary, "a:SUCCEEDED/0 b:SUCCEEDED/0 c:SUBMITTED/1 d:-/0")
    assert.deepStrictEqual(second.task("a").outputs, { x: 1 })
    const some = new ScriptedRun(original.graph, { instance: "some" }).start({
      startNodes: [TaskName.make("b")],
      dependType: "TASK_POST"
    })
    some.succeed("b")
    assert.strictEqual(fork(some).summary, "b:SUCCEEDED/0 d:SUBMITTED/1")
    const dry = new ScriptedRun(original.graph, { instance: "dry" }).start({ dryRun: true })
    assert.strictEqual(dry.state.status, "SUCCEEDED")
    assert.strictEqual(fork(dry).summary, "a:SUBMITTED/1 b:-/0 c:-/0 d:-/0", "what did not run has no results")
  })
})
