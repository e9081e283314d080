import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { Entry, LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import * as Chain from "./Chain.ts"
import * as Decide from "./Decide.ts"
import * as Replay from "./Replay.ts"
import { ScriptedRun, sha256, type Spec, textOf } from "./ScriptedRun.ts"
import { activeUnits } from "./Turn.ts"

// design/conformance-workflow.md, D: random definitions, random histories (duplicates, reorderings, late facts, commands at any moment), seeded and shrunk.
// The invariants at the end of design/03 section 4, replay = live at every prefix, and what a take-over would do again are checked by ScriptedRun after every turn.

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const joins = ["all_success", "all_done", "one_success", "one_failed", "none_failed", "always"] as const

/** A task's predecessors are taken from those before it, so every draw is a DAG, and shrinking keeps it one. */
const TaskShape = Schema.Struct({
  before: Schema.Array(small(60)).check(Schema.isMaxLength(3)),
  join: small(joins.length * 2),
  retries: small(2),
  kind: small(11),
  timeout: small(3)
})
const Shape = Schema.Struct({
  tasks: Schema.Array(TaskShape).check(Schema.isMaxLength(50)),
  end: Schema.Boolean,
  commit: Schema.Boolean,
  cleanup: Schema.Boolean,
  timeout: Schema.Boolean,
  serial: small(8)
})
/** What happens next: which of the units under way it is about, and what it is. */
const Script = Schema.Array(Schema.Struct({ what: small(40), which: small(60) })).check(Schema.isMaxLength(120))

const specOf = (shape: typeof Shape.Type): Spec => {
  const names = shape.tasks.map((_, i) => `t${i}`)
  const dependsOn = shape.tasks.map(({ before }, i) => i === 0 ? [] : [...new Set(before.map((n) => `t${n % i}`))])
  return {
    params: { list: [1, 2, 3, 4] },
    failureStrategy: shape.end ? "end" : "continue",
    ...(shape.commit ? { onCommit: { type: "shell", retry: { times: 1 } } } : {}),
    ...(shape.cleanup ? { onCleanup: { type: "shell" } } : {}),
    executionType: (["serial-wait", "serial-discard", "serial-priority"] as const)[shape.serial] ?? "parallel",
    ...(shape.timeout ? { timeout: { after: "1m" } } : {}),
    tasks: shape.tasks.map((task, i) => {
      const next = names.filter((_, k) => dependsOn[k]?.includes(`t${i}`))
      const own = dependsOn[i] ?? []
      const isSwitch = task.kind === 9 && next.length > 0
      const isCondition = task.kind === 6 && next.length > 0 && own.length > 0
      return {
        name: `t${i}`,
        type: isSwitch ? "switch" : isCondition ? "condition" : "shell",
        dependsOn: own,
        retry: { times: task.retries, interval: "5s" },
        ...(own.length > 0 ? { join: joins[task.join % joins.length] ?? "all_success" } : {}),
        ...(isSwitch
          ? {
            with: {
              cases: [{ when: i % 2 === 0 ? "true" : "size(params.list) > 9", next: next[0] }],
              ...(i % 3 === 0 ? {} : { default: next.at(-1) })
            }
          }
          : {}),
        ...(isCondition
          ? {
            with: {
              when: {
                [i % 2 === 0 ? "and" : "or"]: own.map((name, k) => ({ task: name, is: k === 1 ? "failed" : "success" }))
              },
              success: [next[0]],
              failed: [next.at(-1)]
            }
          }
          : {}),
        ...(task.kind === 10 ? { forEach: { items: "params.list", parallelism: 2 } } : {}),
        ...(task.kind === 5 || (task.kind === 10 && i % 2 === 0) ? { group: { name: "g", slots: 2 } } : {}),
        ...(task.kind === 8 ? { forbidden: true } : {}),
        ...(task.kind === 7 ? { delay: "3s" } : {}),
        ...(task.timeout === 1
          ? { timeout: { after: "10s" } }
          : task.timeout === 2
          ? { timeout: { after: "10s", strategy: "warn" as const } }
          : {}),
        ...(task.timeout === 3 ? { dispatchTimeout: "20s" } : {})
      }
    })
  }
}

/** One step of the script; keeps what was reported, so that it can come again, late. */
const step = (
  self: ScriptedRun,
  past: Array<LifecycleEvent>,
  { what, which }: { readonly what: number; readonly which: number }
): void => {
  const units = activeUnits(self.state)
  const unit = units[which % Math.max(1, units.length)]
  const report = (event: LifecycleEvent) => {
    past.push(event)
    self.turn(event)
  }
  const old = past[which % Math.max(1, past.length)]
  switch (what) {
    case 0:
      return void self.turn({ _tag: "WORKFLOW_PAUSE" })
    case 1:
      return void self.turn({ _tag: "WORKFLOW_STOP", reason: "because" })
    case 2:
      return void self.turn({ _tag: "WORKFLOW_START", start: { definition: self.graph.definition } })
    case 3:
    case 4:
    case 5:
    case 6:
      return old === undefined ? undefined : void self.turn(old)
    case 7:
    case 8:
      return void self.pass(4_000)
    case 9:
      return void self.pass(61_000)
    case 10: {
      if (which % 5 > 2) {
        const name = self.graph.nodes[which % Math.max(1, self.graph.nodes.length)]?.name
        if (name === undefined) return
        return void self.turn({ _tag: which % 5 === 3 ? "WORKFLOW_FORCE_SUCCESS" : "WORKFLOW_RUN_TASK", task: name })
      }
      return void self.turn({
        _tag: "WORKFLOW_RECOVER",
        mode: which % 3 === 0 ? "resume" : which % 3 === 1 ? "recover" : "rerun"
      })
    }
    default:
      break
  }
  if (self.state.status === "SERIAL_WAIT") {
    const ticket = self.state.serial ?? ""
    return report(
      what < 35 ? { _tag: "WORKFLOW_SLOT_GRANTED", ticket } : { _tag: "WORKFLOW_SLOT_REFUSED", ticket }
    )
  }
  if (unit === undefined) return
  if (unit.execution.attempt.slot === "waiting" && what < 38) {
    return report({ _tag: what < 35 ? "TASK_SLOT_GRANTED" : "TASK_FORCE_START", id: unit.execution.attempt.id })
  }
  const { attempt, intent, status } = unit.execution
  const { id } = attempt
  const by = self.by(past.length, attempt.executor ?? "ex-1")
  const offer = which % 3 === 0 ? { offer: 1 } : {}
  if (status === "SUBMITTED" && what < 34) return report({ _tag: "TASK_DISPATCHED", id, placement: self.placement() })
  if (status !== "DISPATCHED" && status !== "RUNNING" && what < 38) return void self.pass(5_000)
  if (intent !== "none" && what < 26) return report({ _tag: intent === "kill" ? "TASK_KILLED" : "TASK_PAUSED", id, by })
  if (what < 24) return report({ _tag: "TASK_SUCCEEDED", id, by, ...offer, outputs: { n: which } })
  if (what < 29) return report({ _tag: "TASK_FAILED", id, by, ...offer, reason: "exit 1" })
  if (what < 32) return report({ _tag: "TASK_RUNNING", id, by })
  if (what < 34) return report({ _tag: "TASK_FATAL", id, by, reason: "no" })
  if (what < 35) return report({ _tag: "TASK_KILLED", id, by })
  if (what < 36) return report({ _tag: "TASK_RUNTIME_CONTEXT_CHANGED", id, by, context: { n: which } })
  if (what < 38) return report({ _tag: "TASK_FAILOVER", id, lost: what === 36, reason: "gone" })
  return report({ _tag: "TASK_SUCCEEDED", id, by: self.by(9, "ex-old"), outputs: {} })
}

/** From wherever the script left it: every executor answers, so the run must come to rest. */
const drain = (self: ScriptedRun): void => {
  for (let i = 0; i < 20_000 && self.state.endedAt === undefined; i++) {
    const unit = activeUnits(self.state).find(({ execution }) =>
      execution.status === "SUBMITTED" || execution.status === "DISPATCHED" || execution.status === "RUNNING"
    )
    if (self.state.status === "SERIAL_WAIT") self.grant()
    else if (unit === undefined) self.pass(5_000)
    else if (unit.execution.attempt.slot === "waiting") {
      self.turn({ _tag: "TASK_SLOT_GRANTED", id: unit.execution.attempt.id })
    } else {
      const { attempt, intent, status } = unit.execution
      const { id } = attempt
      if (status === "SUBMITTED") self.turn({ _tag: "TASK_DISPATCHED", id, placement: self.placement() })
      else if (intent === "kill") self.turn({ _tag: "TASK_KILLED", id })
      else if (intent === "pause") self.turn({ _tag: "TASK_PAUSED", id })
      else self.turn({ _tag: "TASK_SUCCEEDED", id, outputs: {} })
    }
  }
}

const play = (shape: typeof Shape.Type, script: typeof Script.Type): ScriptedRun => {
  const self = new ScriptedRun(specOf(shape)).start()
  const past: Array<LifecycleEvent> = []
  for (const one of script) step(self, past, one)
  return self
}

it.prop(
  "D01, D02, D04: invariants, replay = live at every prefix, every run ends",
  [Shape, Script],
  ([shape, script]) => {
    const self = play(shape, script)
    drain(self)
    assert.isDefined(self.state.endedAt, `${self.state.status}: ${self.summary}`)
    for (const task of self.view.tasks) {
      assert.isTrue(
        task.state !== undefined || task.why !== undefined,
        `${task.name} has neither a state nor a reason`
      )
    }
  },
  { timeout: 120_000, arbitrary: { runs: 150, size: 60 } }
)

it.prop(
  "D03: verify finds no difference in its own journal, and finds a tampered one",
  [Shape, Script, small(1_000)],
  ([shape, script, seed]) => {
    const self = play(shape, script)
    assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
    assert.strictEqual(Chain.verifyChain(self.entries, sha256), undefined)
    const replayed = Replay.replay(self.entries, self.graph)
    assert.strictEqual(replayed === undefined ? "" : textOf(replayed), textOf(self.state))
    const at = seed % self.entries.length
    const victim = self.entries[at]
    if (victim === undefined) return
    const tampered = (entry: Entry) => self.entries.map((other, i) => i === at ? entry : other)
    const later = tampered({ ...victim, at: victim.at + 1 })
    assert.strictEqual(Chain.verifyChain(later, sha256)?.n, victim.n)
    const missing = self.entries.filter((_, i) => i !== at)
    if (at < self.entries.length - 1) assert.isDefined(Chain.verifyChain(missing, sha256))
    const effects = tampered({ ...victim, effects: [...victim.effects, "dispatch:x:1:1"] })
    assert.deepStrictEqual(Replay.verify(effects, self.graph).map(({ n, part }) => ({ n, part })), [{
      n: victim.n,
      part: "effects"
    }])
    if (victim.transitions.length > 0) {
      assert.isAbove(
        Replay.verify(tampered({ ...victim, transitions: victim.transitions.slice(1) }), self.graph).length,
        0
      )
    }
  },
  { timeout: 120_000, arbitrary: { runs: 60, size: 40 } }
)

it.prop("a state that came in is never changed", [Shape, Script], ([shape, script]) => {
  const self = play(shape, script)
  const before = textOf(self.state)
  for (const { execution } of activeUnits(self.state)) {
    Decide.decide(self.state, [{ _tag: "TASK_SUCCEEDED", id: execution.attempt.id, outputs: { x: 1 } }, {
      _tag: "WORKFLOW_STOP"
    }], self.now + 1)
    Decide.decide(self.state, [{ _tag: "WORKFLOW_PAUSE" }, {
      _tag: "TASK_FAILED",
      id: execution.attempt.id,
      reason: "no"
    }], self.now + 1)
  }
  assert.strictEqual(textOf(self.state), before)
}, { timeout: 120_000, arbitrary: { runs: 40, size: 30 } })
