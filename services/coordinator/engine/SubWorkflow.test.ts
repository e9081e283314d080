import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { LifecycleEvent, StartData } from "../../../shared/protocol/Journal.ts"
import { namespaceDefault } from "../../../shared/protocol/Pool.ts"
import { InstanceId } from "../../../shared/protocol/Token.ts"
import type { Send } from "./EngineEffect.ts"
import * as Outstanding from "./Outstanding.ts"
import * as Replay from "./Replay.ts"
import { id, ScriptedRun, type Spec } from "./ScriptedRun.ts"
import * as SubWorkflow from "./SubWorkflow.ts"
import { activeUnits } from "./Unit.ts"

const stop: LifecycleEvent = { _tag: "WORKFLOW_STOP" }
const pause: LifecycleEvent = { _tag: "WORKFLOW_PAUSE" }
const recover = (mode: "resume" | "recover" | "rerun"): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode })

/** A parent, its children, and what they say to each other. */
class Family {
  readonly children = new Map<string, ScriptedRun>()
  readonly parent: ScriptedRun
  readonly #child: Spec
  readonly #read = new Map<ScriptedRun, number>()

  constructor(task: object = {}, child: Spec = { tasks: [{ name: "x", type: "shell" }] }) {
    this.#child = child
    this.parent = new ScriptedRun({
      params: { region: "eu" },
      tasks: [
        { name: "sub", type: "sub-workflow", with: { definition: "child", params: { day: "1" } }, ...task },
        { name: "after", type: "shell", dependsOn: ["sub"], join: "all_done" }
      ]
    }, { instance: "mother" }).start()
    this.settle()
  }

  get child(): ScriptedRun {
    const child = [...this.children.values()].at(-1)
    if (child === undefined) throw new Error("no child")
    return child
  }

  send({ event, to }: Send): void {
    const target = to === "mother" ? this.parent : this.children.get(to)
    if (event._tag !== "CHILD_START") return void target?.turn(event)
    if (target !== undefined) {
      return void target.turn({ _tag: "WORKFLOW_RECOVER", mode: "recover", parent: event.parent.task })
    }
    const child = new ScriptedRun(this.#child, { instance: to })
    this.children.set(to, child)
    child.start({ params: event.params, parent: event.parent })
  }

  /** Delivers the oldest message of one of them. */
  one(): boolean {
    const run = [this.parent, ...this.children.values()].find((one) => (this.#read.get(one) ?? 0) < one.sends.length)
    if (run === undefined) return false
    const at = this.#read.get(run) ?? 0
    this.#read.set(run, at + 1)
    const send = run.sends[at]
    if (send !== undefined) this.send(send)
    return true
  }

  settle(): this {
    while (this.one());
    return this
  }

  /** Everybody's owner dies and what was said is said again. */
  again(): this {
    for (const run of [this.parent, ...this.children.values()]) {
      for (const effect of Outstanding.outstanding(run.state)) if (effect._tag === "Send") this.send(effect)
    }
    return this.settle()
  }

  verified(): void {
    for (const run of [this.parent, ...this.children.values()]) {
      assert.deepStrictEqual(Replay.verify(run.entries, run.graph), [])
    }
  }
}

describe("sub-workflow", () => {
  it("A05 both SUCCEEDED, linked, outputs passed on; A08 the child sees the parent's params", () => {
    const family = new Family()
    assert.strictEqual(family.parent.task("sub").state, "RUNNING")
    assert.deepStrictEqual(family.child.state.params, { region: "eu", day: "1" })
    family.child.succeed("x", { rows: 3 })
    family.settle()
    assert.strictEqual(family.child.state.status, "SUCCEEDED")
    assert.deepStrictEqual(family.parent.task("sub").outputs, { rows: 3 })
    assert.strictEqual(family.parent.task("sub").attempts[0]?.child, family.child.view.instanceId)
    assert.strictEqual(family.child.view.parent, "mother")
    family.parent.succeed("after")
    assert.strictEqual(family.parent.state.status, "SUCCEEDED")
    family.verified()
  })
  it("A06 a dry run creates no child", () => {
    const parent = new ScriptedRun({ tasks: [{ name: "sub", type: "sub-workflow", with: { definition: "c" } }] })
      .start({ dryRun: true })
    assert.strictEqual(parent.state.status, "SUCCEEDED")
    assert.deepStrictEqual(parent.sends, [])
  })
  it("A07 child FAILED: the parent's task and the parent FAILED; a retry is a new child", () => {
    const family = new Family({ retry: { times: 1, interval: "1s" } })
    family.child.fail("x")
    family.settle()
    family.parent.pass(1_000)
    family.settle()
    assert.strictEqual(family.children.size, 2)
    family.child.fail("x")
    family.settle()
    assert.strictEqual(family.parent.task("sub").state, "FAILED")
    assert.match(family.parent.task("sub").attempts[1]?.reason ?? "", /task x failed: exit 1/u)
    family.parent.succeed("after")
    assert.strictEqual(family.parent.state.status, "FAILED")
    family.verified()
  })
  it("B04 pause: both PAUSED; B15 resume: the same child goes on", () => {
    const family = new Family({}, {
      tasks: [{ name: "x", type: "shell" }, { name: "y", type: "shell", dependsOn: ["x"] }]
    })
    family.child.register("x")
    family.parent.turn(pause)
    family.settle()
    assert.strictEqual(family.child.state.status, "READY_PAUSE")
    family.child.succeed("x")
    family.settle()
    assert.strictEqual(family.child.state.status, "PAUSED")
    assert.strictEqual(family.parent.state.status, "PAUSED")
    family.parent.turn(recover("resume"))
    family.settle()
    assert.strictEqual(family.children.size, 1)
    assert.strictEqual(family.child.state.status, "RUNNING")
    family.child.succeed("y")
    family.settle()
    assert.strictEqual(family.parent.task("sub").state, "SUCCEEDED")
    assert.strictEqual(family.child.summary, "x:SUCCEEDED/1 y:SUCCEEDED/2")
    family.verified()
  })
  it("B10 stop: child STOPPED, parent STOPPED; B16 recovered: the same child goes on", () => {
    const family = new Family()
    family.parent.turn(stop)
    family.settle()
    assert.strictEqual(family.child.state.status, "STOPPED")
    assert.strictEqual(family.parent.state.status, "STOPPED")
    assert.strictEqual(family.parent.task("sub").state, "KILLED")
    family.parent.turn(recover("recover"))
    family.settle()
    assert.strictEqual(family.children.size, 1)
    family.child.succeed("x")
    family.settle()
    assert.strictEqual(family.parent.task("sub").state, "SUCCEEDED")
    family.verified()
  })
  it("C14 to C17 said again at any point: no second child, one result; a pending stop reaches the child", () => {
    const family = new Family()
    family.again()
    assert.strictEqual(family.children.size, 1)
    assert.strictEqual(family.child.state.run, 1)
    family.parent.turn(stop) // not delivered
    family.again()
    assert.strictEqual(family.child.state.status, "STOPPED")
    family.again().again()
    assert.strictEqual(family.parent.state.status, "STOPPED")
    assert.strictEqual(family.parent.task("sub").attempts.length, 1)
    family.verified()
  })
  it("a child that ended while its parent asks again for another attempt says how it ended", () => {
    const family = new Family()
    const [id] = [...family.children.keys()]
    family.child.succeed("x")
    family.parent.turn({ _tag: "TASK_KILLED", id: family.parent.newest("sub") })
    family.settle()
    family.parent.turn(stop)
    family.settle()
    if (family.parent.lane.size > 0) family.parent.succeed("after")
    family.parent.turn(recover("recover"))
    family.settle()
    assert.deepStrictEqual([...family.children.keys()], [id])
    assert.strictEqual(family.parent.task("sub").state, "SUCCEEDED")
    family.verified()
  })
  it("a time-out stops the child; an unusable request is FATAL; too deep is FATAL", () => {
    const late = new Family({ timeout: { after: "10s" } })
    late.parent.pass(10_000)
    late.settle()
    assert.strictEqual(late.child.state.status, "STOPPED")
    assert.match(late.parent.task("sub").attempts[0]?.reason ?? "", /timed out after 10s/u)
    const bad = new ScriptedRun({
      params: { which: "no name" },
      tasks: [{ name: "sub", type: "sub-workflow", with: { definition: "${{ params.which }}" } }]
    }).start()
    assert.match(bad.state.reason ?? "", /with\.definition: "no name" is no name/u)
    const deep = new ScriptedRun({ tasks: [{ name: "sub", type: "sub-workflow", with: { definition: "c" } }] })
    deep.start({ parent: { instance: deep.state.instance, task: late.parent.newest("sub"), depth: 16 } })
    assert.match(deep.state.reason ?? "", /deeper than 16/u)
  })
})

describe("what parent and child say to each other", () => {
  const asked = (
    spec: Partial<Spec> & { readonly with: NonNullable<Spec["tasks"][number]["with"]> },
    start: Partial<StartData> = {}
  ) => {
    const { with: arguments_, ...rest } = spec
    return new ScriptedRun({
      params: { region: "eu", day: "0" },
      ...rest,
      tasks: [{ name: "sub", type: "sub-workflow", with: arguments_ }]
    }, { instance: "mother" }).start(start)
  }

  it("the request: definition, namespace, params (its own over the run's), and how urgent, where and whose the run is", () => {
    const plain = asked({ with: { definition: "child@2" } })
    const child = SubWorkflow.childId(plain.state.instance, plain.newest("sub"))
    assert.deepStrictEqual(plain.sends, [{
      _tag: "Send",
      id: "child-ask:sub:1:1",
      to: child,
      from: plain.state.instance,
      event: {
        _tag: "CHILD_START",
        definition: "child@2",
        namespace: namespaceDefault,
        params: { region: "eu", day: "0" },
        parent: { instance: plain.state.instance, task: plain.newest("sub"), depth: 1 }
      }
    }])
    const rich = asked(
      { with: { definition: "child", namespace: "sales", params: { day: "1" } } },
      { priority: 9, pool: "big", team: "blue" }
    )
    assert.deepInclude({ ...rich.sends[0]?.event }, {
      namespace: "sales",
      params: { region: "eu", day: "1" },
      priority: 9,
      pool: "big",
      team: "blue"
    })
  })

  it("a request that can't be made is the task's end, with what is wrong", () => {
    const reason = (arguments_: Readonly<Record<string, unknown>>) => {
      const self = asked({ with: arguments_ })
      assert.deepStrictEqual(self.sends, [])
      return self.state.reason?.replace("task sub failed: ", "")
    }
    const definition = "child"
    assert.strictEqual(reason({ definition, namespace: "a.b" }), `with.namespace: "a.b" is no name`)
    for (const params of ["x", 1, ["x"], null]) {
      assert.strictEqual(reason({ definition, params }), "with.params is no object")
    }
    assert.match(reason({ definition: "${{ params.which.one }}" }) ?? "", /params\.which/u)
  })

  it("the sixteenth workflow in a workflow runs, a deeper one does not", () => {
    const parent = { instance: InstanceId.make("above"), task: id("sub:1:1") }
    const at = (depth: number) => asked({ with: { definition: "test" } }, { parent: { ...parent, depth } })
    const deepest = at(SubWorkflow.depthMax - 1)
    assert.strictEqual(deepest.task("sub").state, "DISPATCHED")
    assert.deepNestedInclude(deepest.sends.at(-1), { "event.parent.depth": SubWorkflow.depthMax })
    assert.strictEqual(at(SubWorkflow.depthMax).task("sub").state, "FAILED")
  })

  it("the child of an attempt has the same id for ever, whoever asks for it", () => {
    assert.deepStrictEqual(
      [
        SubWorkflow.childId(InstanceId.make("run-480"), id("load:1:2")),
        SubWorkflow.childId(InstanceId.make("x".repeat(63)), id("a-task-with-quite-a-long-name:1:1"))
      ],
      [
        InstanceId.make("run-480-load-0e540e0d032989cb"),
        InstanceId.make("xxxxxxxxxxxxxxxxxxxxxxxx-a-task-with-quite-a--4e69dea8faa3c4ce")
      ]
    )
  })

  it("commands go down with who gave them, each under an id of its own", () => {
    const self = asked({ with: { definition: "child" } })
    self.turn(pause)
    self.turn(stop)
    assert.deepStrictEqual(self.sends.slice(1).map(({ event, id: name }) => [name, event]), [
      ["child-pause:sub:1:1", { _tag: "WORKFLOW_PAUSE", reason: "the parent mother pauses it" }],
      ["child-kill:sub:1:1", { _tag: "WORKFLOW_STOP", reason: "the parent mother stops it" }]
    ])
  })

  /** A child on its own, and what it tells its parent. */
  const child = (task = "sub:1:1") => {
    const self = new ScriptedRun({ tasks: [{ name: "x", type: "shell" }, { name: "y", type: "shell" }] }).start({
      parent: { instance: InstanceId.make("mother"), task: id(task), depth: 1 }
    })
    let read = 0
    const said = () => {
      const from = read
      read = self.sends.length
      return self.sends.slice(from).map(({ event, to }) =>
        [to, event._tag, "id" in event ? event.id : undefined].join(" ")
      )
    }
    const asked = (attempt: string) => {
      const { transitions } = self.turn({ _tag: "WORKFLOW_RECOVER", mode: "recover", parent: id(attempt) })
      return [transitions.map((transition) => transition._tag), said()]
    }
    return { self, said, asked }
  }

  it("asked again while it runs, a child only says so: of the same attempt, or from now on of the newer one", () => {
    const { asked, said, self } = child()
    assert.deepStrictEqual(said(), ["mother TASK_RUNNING sub:1:1"])
    assert.deepStrictEqual(asked("sub:1:1"), [[], ["mother TASK_RUNNING sub:1:1"]])
    assert.deepStrictEqual(asked("sub:1:2"), [["PARENT"], ["mother TASK_RUNNING sub:1:2"]])
    self.succeed("x")
    self.succeed("y")
    assert.deepStrictEqual(said(), ["mother TASK_SUCCEEDED sub:1:2"])
    const { length } = self.finalized
    // Asked again when it has ended it says how, and leaves memory again.
    assert.deepStrictEqual(asked("sub:1:2"), [[], ["mother TASK_SUCCEEDED sub:1:2"]])
    assert.deepStrictEqual(asked("sub:1:3"), [["PARENT"], ["mother TASK_SUCCEEDED sub:1:3"]])
    assert.strictEqual(self.finalized.length, length + 2)
    assert.strictEqual(self.summary, "x:SUCCEEDED/1 y:SUCCEEDED/1")
    assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
  })

  it("asked for by another attempt, a child that failed, was stopped or was paused goes on; asked by the same one it does not", () => {
    for (
      const [end, fact] of [
        [(self: ScriptedRun) => self.fail("y"), "TASK_FAILED"],
        [(self: ScriptedRun) => self.turn(stop), "TASK_KILLED"],
        [(self: ScriptedRun) => self.turn(pause), "TASK_PAUSED"]
      ] as const
    ) {
      const { asked, said, self } = child()
      self.succeed("x")
      end(self)
      const { status } = self.state
      assert.deepStrictEqual(said().slice(1), [`mother ${fact} sub:1:1`])
      assert.deepStrictEqual(asked("sub:1:1"), [[], [`mother ${fact} sub:1:1`]])
      assert.strictEqual(self.state.status, status)
      assert.deepStrictEqual(asked("sub:1:2"), [["PARENT", "RECOVERED", "SUBMITTED"], ["mother TASK_RUNNING sub:1:2"]])
      assert.strictEqual(self.state.run, 1)
      self.succeed("y")
      assert.deepStrictEqual(said(), ["mother TASK_SUCCEEDED sub:1:2"])
      assert.strictEqual(self.task("x").attempts.length, 1)
      assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
    }
  })

  it("an instance that is nobody's child is not moved by it", () => {
    const self = new ScriptedRun({ tasks: [{ name: "x", type: "shell" }] }).start()
    self.fail("x")
    const { effects, transitions } = self.turn({ _tag: "WORKFLOW_RECOVER", mode: "recover", parent: id("sub:1:2") })
    assert.deepStrictEqual([transitions, effects], [[], []])
  })

  it("what one says to another has an id for each thing said, also when a child goes on and ends again", () => {
    const { asked, self } = child()
    self.fail("x")
    self.succeed("y")
    self.now += 1_000
    asked("sub:1:2")
    self.succeed("x")
    const told = new Map(self.sends.map((send) => [send.id, send.event._tag]))
    assert.deepStrictEqual([...told.values()], ["TASK_RUNNING", "TASK_FAILED", "TASK_RUNNING", "TASK_SUCCEEDED"])
  })
})

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

it.prop(
  "D01 families: whatever happens to parent and child, with owners that die in between, both come to rest and agree",
  [Schema.Array(Schema.Struct({ what: small(15), which: small(9) })).check(Schema.isMaxLength(60))],
  ([script]) => {
    const family = new Family({ retry: { times: 1, interval: "1s" } })
    const all = () => [family.parent, ...family.children.values()]
    const step = (run: ScriptedRun, fails: boolean): void => {
      for (const { execution } of activeUnits(run.state)) {
        const { id } = execution.attempt
        if (execution.intent === "kill" && execution.attempt.child === undefined) run.turn({ _tag: "TASK_KILLED", id })
        else if (run.lane.has(id)) {
          const name = id.slice(0, id.indexOf(":"))
          if (fails) run.fail(name)
          else run.succeed(name)
        }
      }
    }
    for (const { what, which } of script) {
      const run = all()[which % all().length]
      if (run === undefined) continue
      for (const one of all()) one.pass(700)
      if (what < 3) run.turn(what === 0 ? pause : stop)
      else if (what < 6) run.turn(recover(what === 3 ? "resume" : what === 4 ? "recover" : "rerun"))
      else if (what < 9) step(run, which % 3 === 0)
      else if (what < 13) family.one()
      else family.again()
    }
    for (let i = 0; i < 500 && all().some((run) => run.state.endedAt === undefined); i++) {
      family.again()
      for (const run of all()) {
        run.pass(1_000)
        step(run, false)
      }
    }
    family.settle()
    for (const run of all()) {
      assert.isDefined(run.state.endedAt, `${run.view.instanceId} ${run.state.status} ${run.summary}`)
    }
    family.verified()
  },
  { arbitrary: { runs: 200, size: 40 } }
)
