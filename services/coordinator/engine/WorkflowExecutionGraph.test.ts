import { assert, describe, it } from "@effect/vitest"
import { TaskName } from "../../../shared/protocol/Token.ts"
import { id, ScriptedRun, type Spec } from "./ScriptedRun.ts"
import * as Graph from "./WorkflowExecutionGraph.ts"
import type { TaskNode } from "./WorkflowGraph.ts"

// The questions of DSIP-61's IWorkflowExecutionGraph, asked of one run at the moments at which their answers change. design/03 section 5.

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})
const names = (nodes: ReadonlyArray<TaskNode>) => nodes.map(({ name }) => name as string)
const node = (self: ScriptedRun, name: string): TaskNode => {
  const found = Graph.nodeByName(self.state, name)
  if (found === undefined) throw new Error(`no task ${name}`)
  return found
}

describe("a switch that goes left; what is behind right is skipped with it", () => {
  const started = () =>
    new ScriptedRun({
      onCleanup: { type: "shell" },
      tasks: [
        task("pick", [], { type: "switch", with: { cases: [{ when: "true", next: "left" }], default: "right" } }),
        task("left", ["pick"]),
        task("right", ["pick"]),
        task("behind", ["right"]),
        task("join", ["left", "right"])
      ]
    }).start()

  it("who comes before and after, and where a chain ends", () => {
    const self = started()
    const { state } = self
    assert.deepStrictEqual(names(Graph.startNodes(state)), ["pick"])
    assert.deepStrictEqual(names(Graph.predecessors(state, node(self, "join"))), ["left", "right"])
    assert.deepStrictEqual(names(Graph.successors(state, node(self, "pick"))), ["left", "right"])
    assert.isTrue(Graph.isEndOfChain(state, node(self, "join")))
    assert.isFalse(Graph.isEndOfChain(state, node(self, "right")))
    assert.strictEqual(Graph.nodeByName(state, "nowhere"), undefined)
    assert.strictEqual(Graph.nodeById(state, id("left:1:1")), node(self, "left"))
    // The hook is no task of the run before it is needed.
    assert.deepStrictEqual(names(Graph.all(state)), ["pick", "left", "right", "behind", "join"])
  })
  it("what is active, handled, skipped", () => {
    const self = started()
    const at = (name: string) => {
      const { index } = node(self, name)
      return [
        Graph.isInside(self.state, index),
        Graph.isActive(self.state, index),
        Graph.isInactive(self.state, index),
        Graph.isSkipped(self.state, index)
      ]
    }
    assert.deepStrictEqual(names(Graph.active(self.state)), ["left"])
    assert.deepStrictEqual(at("pick"), [true, false, true, false])
    assert.deepStrictEqual(at("left"), [true, true, false, false])
    assert.deepStrictEqual(at("right"), [true, false, true, true])
    assert.deepStrictEqual(at("join"), [true, false, false, false])
    assert.deepStrictEqual(at("onCleanup"), [false, false, false, false])
    assert.isTrue(Graph.areAllPredecessorsSkipped(self.state, node(self, "behind")))
    // One of its two predecessors is under way.
    assert.isFalse(Graph.areAllPredecessorsSkipped(self.state, node(self, "join")))
    assert.isFalse(Graph.areAllPredecessorsSkipped(self.state, node(self, "pick")))
    assert.isFalse(Graph.isTriggerConditionMet(self.state, node(self, "join")))
    assert.isFalse(Graph.areAllChainsFinished(self.state))
    assert.isFalse(Graph.areAllChainsSucceeded(self.state))
    self.succeed("left")
    self.succeed("join")
    assert.isTrue(Graph.areAllChainsFinished(self.state))
    assert.isTrue(Graph.areAllChainsSucceeded(self.state))
    assert.isFalse(Graph.areAllPredecessorsSkipped(self.state, node(self, "join")))
  })
})

it("a failed, a killed and a paused chain are told apart, and none of them has succeeded", () => {
  const chains = ({ state }: ScriptedRun) => [
    Graph.existsFailedChain(state),
    Graph.existsKilledChain(state),
    Graph.existsPausedChain(state),
    Graph.areAllChainsSucceeded(state)
  ]
  const one = () => new ScriptedRun({ tasks: [task("a"), task("b")] }).start()
  const failed = one()
  failed.fail("a")
  failed.succeed("b")
  assert.deepStrictEqual(chains(failed), [true, false, false, false])
  const killed = one()
  killed.turn({ _tag: "WORKFLOW_STOP" })
  assert.deepStrictEqual(chains(killed), [false, true, false, false])
  const paused = one()
  paused.turn({ _tag: "WORKFLOW_PAUSE" })
  assert.deepStrictEqual(chains(paused), [false, false, true, false])
})

it("a run of some tasks only has no others, on either side", () => {
  const self = new ScriptedRun({ tasks: [task("a"), task("b", ["a"]), task("c", ["b"]), task("d", ["c"])] })
  self.start({ startNodes: [TaskName.make("b"), TaskName.make("c")], dependType: "TASK_ONLY" })
  assert.deepStrictEqual(names(Graph.all(self.state)), ["b", "c"])
  assert.deepStrictEqual(names(Graph.startNodes(self.state)), ["b"])
  assert.deepStrictEqual(names(Graph.predecessors(self.state, node(self, "b"))), [])
  assert.deepStrictEqual(names(Graph.successors(self.state, node(self, "c"))), [])
  assert.isTrue(Graph.isEndOfChain(self.state, node(self, "c")))
  self.succeed("b")
  self.succeed("c")
  assert.strictEqual(self.state.status, "SUCCEEDED")
})

it("start nodes that are none are named, all of them, by their place in the request; a hook is none", () => {
  const self = new ScriptedRun({ onCommit: { type: "shell" }, tasks: [task("a")] })
  const startNodes = ["a", "x", "onCommit"].map((name) => TaskName.make(name))
  assert.deepStrictEqual(
    Graph.problemsOfStart(self.graph, { startNodes }).map(({ message, path }) => `${path} ${message}`),
    [
      "startNodes[1] x is no task of test",
      "startNodes[2] onCommit is no task of test"
    ]
  )
  assert.deepStrictEqual(Graph.problemsOfStart(self.graph, {}), [])
  self.start({ startNodes })
  assert.strictEqual(self.state.status, "FAILED")
  assert.strictEqual(self.state.reason, "x is no task of test; onCommit is no task of test")
})
