import { assert, it } from "@effect/vitest"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import * as Replay from "./Replay.ts"
import { id, ScriptedRun } from "./ScriptedRun.ts"
import { activeUnits } from "./Unit.ts"

const spread = () =>
  new ScriptedRun({
    tasks: [
      { name: "a", type: "shell" },
      { name: "f", type: "shell", forEach: { items: "['x', 'y', 'z']", parallelism: 2 } },
      { name: "later", type: "shell", dependsOn: ["a"], forEach: { items: "['x']" } },
      { name: "b", type: "shell", dependsOn: ["a"] }
    ]
  }).start()

it("a fact about something that the run does not have, or not yet, changes nothing", () => {
  const self = spread()
  // no such task; not begun; a list not made yet; behind the end of the list; an attempt that is not the newest; an item of a task that is none
  for (const text of ["nobody:1:1", "b:1:1", "later:1:1:0", "f:1:1:9", "f:1:1:3", "f:1:2:0", "a:1:1:0"]) {
    const decision = self.turn({ _tag: "TASK_SUCCEEDED", id: id(text), outputs: {} })
    assert.deepStrictEqual([text, decision.transitions, decision.effects], [text, [], []])
  }
})

it("what is under way: tasks as in the definition, items as in their list, without those that have ended", () => {
  const self = spread()
  const names = () =>
    activeUnits(self.state).map(({ execution, item, node }) => [node.name, item, execution.attempt.id])
  assert.deepStrictEqual(names(), [["a", -1, "a:1:1"], ["f", 0, "f:1:1:0"], ["f", 1, "f:1:1:1"]])
  self.succeed("f[0]")
  assert.deepStrictEqual(names(), [["a", -1, "a:1:1"], ["f", 1, "f:1:1:1"], ["f", 2, "f:1:1:2"]])
  self.fail("a")
  assert.deepStrictEqual(names(), [["f", 1, "f:1:1:1"], ["f", 2, "f:1:1:2"]])
})

it("what came from outside is taken over as it was said (times, exit code, outputs), each fact its own, also many in one turn", () => {
  const self = new ScriptedRun({
    tasks: ["ok", "bad", "dead", "held"].map((name) => ({ name, type: "shell" }))
  }).start()
  for (const name of ["ok", "bad", "dead", "held"]) self.register(name)
  self.now = 9_000
  const by = (at: number) => ({ ...self.by(2), at })
  const nobody: LifecycleEvent = { _tag: "TASK_SUCCEEDED", id: id("nobody:1:1"), outputs: {} }
  const { cause, transitions } = self.turn(
    nobody,
    { _tag: "TASK_SUCCEEDED", id: id("ok:1:1"), by: by(5_000), startedAt: 4_000, exitCode: 0, outputs: { n: 1 } },
    { _tag: "TASK_FAILED", id: id("bad:1:1"), by: by(5_500), startedAt: 4_100, exitCode: 3, reason: "exit 3" },
    { _tag: "TASK_KILLED", id: id("dead:1:1"), by: by(6_000), startedAt: 4_200, exitCode: 137 },
    { _tag: "TASK_PAUSED", id: id("held:1:1"), by: by(6_500), startedAt: 4_300 }
  )
  assert.strictEqual(cause.length, 4)
  // The journal has the payload once: in the cause.
  const ends = transitions.filter((transition) => "id" in transition)
  assert.deepStrictEqual(ends, [
    { _tag: "SUCCEEDED", id: id("ok:1:1"), of: 0 },
    { _tag: "FAILED", id: id("bad:1:1"), of: 1 },
    { _tag: "KILLED", id: id("dead:1:1"), of: 2 },
    { _tag: "PAUSED", id: id("held:1:1"), of: 3 }
  ])
  const said = (name: string) => {
    const { attempts, outputs } = self.task(name)
    const [attempt] = attempts
    return [attempt?.startedAt, attempt?.endedAt, attempt?.exitCode, attempt?.reason, outputs]
  }
  const second = (s: string) => `1970-01-01T00:00:0${s}Z`
  assert.deepStrictEqual(said("ok"), [second("4.000"), second("5.000"), 0, undefined, { n: 1 }])
  assert.deepStrictEqual(said("bad"), [second("4.100"), second("5.500"), 3, "exit 3", undefined])
  assert.deepStrictEqual(said("dead"), [second("4.200"), second("6.000"), 137, undefined, undefined])
  assert.deepStrictEqual(said("held"), [second("4.300"), second("6.500"), undefined, undefined, undefined])
  assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
})
