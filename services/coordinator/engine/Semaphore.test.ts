import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { InstanceId } from "../../../shared/protocol/Token.ts"
import * as Decide from "./Decide.ts"
import type { Send } from "./EngineEffect.ts"
import * as Outstanding from "./Outstanding.ts"
import * as Replay from "./Replay.ts"
import { id, ScriptedRun, type Spec } from "./ScriptedRun.ts"
import * as Semaphore from "./Semaphore.ts"
import { activeUnits } from "./Unit.ts"

type Task = Spec["tasks"][number]
const grouped = (name: string, more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  group: { name: "warehouse", slots: 1 },
  ...more
})
const pause: LifecycleEvent = { _tag: "WORKFLOW_PAUSE" }
const stop: LifecycleEvent = { _tag: "WORKFLOW_STOP" }

/** Instances and semaphores, and the messages between them: in order per pair, at least once, as late as the script likes. */
class Slots {
  readonly runs = new Map<string, ScriptedRun>()
  readonly #read = new Map<ScriptedRun, number>()
  /** Undelivered, by sender and target. */
  readonly #lines = new Map<string, Array<Send>>()
  now = 1_000

  add(instance: string, spec: Spec): ScriptedRun {
    const self = new ScriptedRun(spec, { instance })
    this.runs.set(instance, self)
    self.now = this.now
    self.start()
    this.collect()
    return self
  }

  semaphore(id: string): ScriptedRun {
    const known = this.runs.get(id)
    if (known !== undefined) return known
    const made = new ScriptedRun(Semaphore.graph, { instance: id })
    made.start()
    this.runs.set(id, made)
    return made
  }

  get held(): ReadonlyArray<string> {
    return [...this.runs.values()].flatMap((run) => run.state.semaphore?.held.map(({ ticket }) => ticket) ?? [])
  }

  collect(): void {
    for (const run of this.runs.values()) {
      for (const send of run.sends.slice(this.#read.get(run) ?? 0)) this.#line(send).push(send)
      this.#read.set(run, run.sends.length)
    }
  }
  #line(send: Send): Array<Send> {
    const key = `${send.from}>${send.to}`
    const line = this.#lines.get(key) ?? []
    this.#lines.set(key, line)
    return line
  }

  /** One message of some pair; `again`: it will be delivered once more. */
  deliver(which: number, again = false): boolean {
    this.collect()
    const lines = [...this.#lines.values()].filter((line) => line.length > 0)
    const line = lines[which % Math.max(1, lines.length)]
    const send = again ? line?.[0] : line?.shift()
    if (send === undefined) return false
    const target = send.to.startsWith(Semaphore.idPrefix) ? this.semaphore(send.to) : this.runs.get(send.to)
    if (target === undefined) throw new Error(`nobody is ${send.to}`)
    target.now = this.now
    if (send.event._tag === "CHILD_START") throw new Error("nobody asks for children here")
    const before = target.state.semaphore?.held.length ?? 0
    target.turn(send.event)
    const { semaphore } = target.state
    if (semaphore !== undefined && semaphore.held.length > Math.max(before, Semaphore.slotsOf(semaphore))) {
      throw new Error(`${semaphore.held.length} of ${Semaphore.slotsOf(semaphore)} slots`)
    }
    this.collect()
    return true
  }
  settle(): this {
    while (this.deliver(0)) this.now += 1
    return this
  }

  /** The owner of an instance died: what it had not sent is lost; the next one does what is outstanding. */
  crash(which: number): void {
    this.collect()
    const all = [...this.runs.values()]
    const victim = all[which % all.length]
    if (victim === undefined) return
    for (const [key, line] of this.#lines) if (key.startsWith(`${victim.state.instance}>`)) line.length = 0
    for (const effect of Outstanding.outstanding(victim.state)) {
      if (effect._tag === "Send") this.#line(effect).push(effect)
    }
  }
}

describe("concurrency group", () => {
  it("A54 a group of one: serial, and nothing is held at the end", () => {
    const slots = new Slots()
    const self = slots.add("wf-1", { tasks: [grouped("a"), grouped("b"), grouped("c")] })
    for (const name of ["a", "b", "c"]) {
      slots.settle()
      assert.deepStrictEqual([...self.lane.keys()], [self.newest(name)])
      assert.deepStrictEqual(slots.held, [self.newest(name)])
      self.succeed(name)
    }
    slots.settle()
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(slots.held, [])
    assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
  })

  it("A55 higher priority first, across workflows; a task that waits says so", () => {
    const slots = new Slots()
    const first = slots.add("wf-1", { tasks: [grouped("a")] })
    slots.settle()
    const low = slots.add("wf-2", { tasks: [grouped("low", { group: { name: "warehouse", priority: 2 } })] })
    slots.settle()
    const high = slots.add("wf-3", { tasks: [grouped("high", { group: { name: "warehouse", priority: 8 } })] })
    slots.settle()
    assert.strictEqual(low.task("low").why, "waits for a slot of group warehouse")
    first.succeed("a")
    slots.settle()
    assert.strictEqual(high.lane.size, 1)
    assert.strictEqual(low.lane.size, 0)
    high.succeed("high")
    slots.settle()
    assert.strictEqual(low.lane.size, 1)
  })

  it("slots set by somebody: more let in who waits, 0 lets nobody in, none given back to the definitions; nobody loses a slot", () => {
    const slots = new Slots()
    const names = ["a", "b", "c", "d"]
    const self = slots.add("wf-1", { tasks: names.map((name) => grouped(name)) })
    slots.settle()
    const semaphore = slots.semaphore(Semaphore.idOfGroup(self.graph.namespace, "warehouse"))
    const group = { namespace: self.graph.namespace, name: "warehouse" }
    assert.deepStrictEqual(semaphore.state.semaphore?.group, group)
    const set = (count?: number) => {
      semaphore.turn({ _tag: "SLOT_LIMIT", group, ...(count === undefined ? {} : { slots: count }) })
      slots.settle()
      return self.lane.size
    }
    assert.strictEqual(self.lane.size, 1)
    assert.strictEqual(set(3), 3)
    assert.strictEqual(set(0), 3)
    for (const name of ["a", "b", "c"]) self.succeed(name)
    slots.settle()
    assert.strictEqual(self.lane.size, 0)
    assert.isFalse(Semaphore.isUnused(semaphore.state.semaphore))
    // a definition that asks does not undo it
    const other = slots.add("wf-2", { tasks: [grouped("e")] })
    slots.settle()
    assert.strictEqual(other.lane.size, 0)
    assert.strictEqual(set(), 1)
    self.succeed("d")
    slots.settle()
    assert.strictEqual(other.lane.size, 1)
    assert.deepStrictEqual(Replay.verify(semaphore.entries, Semaphore.graph), [])
  })

  it("what waits gets another priority: behind those of the same; what does not wait, nothing", () => {
    const slots = new Slots()
    const self = slots.add("wf-1", { tasks: ["a", "b", "c", "d"].map((name) => grouped(name)) })
    slots.settle()
    const semaphore = slots.semaphore(Semaphore.idOfGroup(self.graph.namespace, "warehouse"))
    const prioritize = (name: string, priority: number) => {
      semaphore.turn({ _tag: "SLOT_PRIORITY", from: self.state.instance, ticket: self.newest(name), priority })
    }
    prioritize("d", 8)
    prioritize("c", 8)
    prioritize("b", 2)
    prioritize("a", 9)
    slots.settle()
    assert.deepStrictEqual(
      semaphore.state.semaphore?.waiting.map(({ priority, ticket }) => `${ticket} ${priority}`),
      ["d:1:1 8", "c:1:1 8", "b:1:1 2"]
    )
    for (const name of ["a", "d", "c", "b"]) {
      assert.deepStrictEqual([...self.lane.keys()], [self.newest(name)])
      self.succeed(name)
      slots.settle()
    }
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(Replay.verify(semaphore.entries, Semaphore.graph), [])
  })

  it("A13 the slot is released and taken again between attempts", () => {
    const slots = new Slots()
    const self = slots.add("wf-1", { tasks: [grouped("a", { retry: { times: 1, interval: "5s" } })] })
    slots.settle()
    self.fail("a")
    slots.settle()
    assert.deepStrictEqual(slots.held, [])
    self.pass(5_000)
    slots.settle()
    assert.deepStrictEqual(slots.held, ["a:1:2"])
    self.succeed("a")
    slots.settle()
    assert.deepStrictEqual(slots.held, [])
    assert.strictEqual(self.state.status, "SUCCEEDED")
  })

  it("B06 B12 paused or stopped while it waits: no queue entry is left", () => {
    for (const [command, status, task] of [[pause, "PAUSED", "PAUSED"], [stop, "STOPPED", "KILLED"]] as const) {
      const slots = new Slots()
      const holder = slots.add("wf-1", { tasks: [grouped("a")] })
      slots.settle()
      const waiting = slots.add("wf-2", { tasks: [grouped("b")] })
      slots.settle()
      waiting.turn(command)
      slots.settle()
      assert.strictEqual(waiting.state.status, status)
      assert.strictEqual(waiting.task("b").state, task)
      const { semaphore } = slots.semaphore(Semaphore.idOfGroup(waiting.graph.namespace, "warehouse")).state
      assert.deepStrictEqual(semaphore?.waiting, [])
      holder.succeed("a")
      slots.settle()
      assert.deepStrictEqual(slots.held, [])
      assert.deepStrictEqual(waiting.dispatched, [])
    }
  })

  it("force start: goes on without a slot, and is not in the queue any more", () => {
    const slots = new Slots()
    slots.add("wf-1", { tasks: [grouped("a")] })
    slots.settle()
    const forced = slots.add("wf-2", { tasks: [grouped("b")] })
    slots.settle()
    forced.turn({ _tag: "TASK_FORCE_START", id: forced.newest("b") })
    assert.strictEqual(forced.lane.size, 1)
    slots.settle()
    assert.deepStrictEqual(slots.held, ["a:1:1"])
    forced.succeed("b")
    slots.settle()
    assert.strictEqual(forced.state.status, "SUCCEEDED")
  })
})

describe("serial strategies", () => {
  const spec = (executionType: NonNullable<Spec["executionType"]>): Spec => ({
    executionType,
    tasks: [{ name: "a", type: "shell" }]
  })
  const three = (executionType: NonNullable<Spec["executionType"]>) => {
    const slots = new Slots()
    const runs = ["wf-1", "wf-2", "wf-3"].map((instance) => {
      const self = slots.add(instance, spec(executionType))
      slots.settle()
      return self
    })
    return { slots, runs, states: () => runs.map((run) => run.state.status) }
  }

  it("A60 serial-wait: one after the other, in order", () => {
    const { runs, slots, states } = three("serial-wait")
    assert.deepStrictEqual(states(), ["RUNNING", "SERIAL_WAIT", "SERIAL_WAIT"])
    runs[0]?.succeed("a")
    slots.settle()
    assert.deepStrictEqual(states(), ["SUCCEEDED", "RUNNING", "SERIAL_WAIT"])
    runs[1]?.fail("a")
    slots.settle()
    assert.deepStrictEqual(states(), ["SUCCEEDED", "FAILED", "RUNNING"])
    runs[2]?.succeed("a")
    slots.settle()
    assert.deepStrictEqual(slots.held, [])
    for (const run of runs) assert.deepStrictEqual(Replay.verify(run.entries, run.graph), [])
  })
  it("A61 serial-discard: those that come meanwhile are STOPPED", () => {
    const { runs, slots, states } = three("serial-discard")
    assert.deepStrictEqual(states(), ["RUNNING", "STOPPED", "STOPPED"])
    assert.match(runs[1]?.state.reason ?? "", /serial-discard/u)
    runs[0]?.succeed("a")
    slots.settle()
    assert.deepStrictEqual(slots.held, [])
    assert.strictEqual(slots.add("wf-4", spec("serial-discard")).state.status, "SERIAL_WAIT")
    slots.settle()
    assert.strictEqual(slots.runs.get("wf-4")?.state.status, "RUNNING")
  })
  it("asked, refused and asked again in one millisecond: the first refusal, said again, is not the second answer", () => {
    const self = new ScriptedRun(spec("serial-discard")).start()
    const refused = (): LifecycleEvent => ({ _tag: "WORKFLOW_SLOT_REFUSED", ticket: self.state.serial ?? "" })
    const first = refused()
    for (let i = 0; i < 2; i++) {
      self.turn(refused())
      assert.strictEqual(self.state.status, "STOPPED")
      self.turn({ _tag: "WORKFLOW_RECOVER", mode: "recover" })
    }
    self.grant()
    assert.strictEqual(self.state.status, "RUNNING")
    const own = self.state.serial ?? ""
    self.turn(first)
    assert.deepStrictEqual([...self.tickets], [own])
    self.succeed("a")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])
  })
  it("an answer to an earlier question is given back and answers nothing", () => {
    const self = new ScriptedRun(spec("serial-wait")).start()
    const first = self.state.serial ?? ""
    self.turn(pause)
    self.now += 1_000
    self.turn({ _tag: "WORKFLOW_RECOVER", mode: "resume" })
    const second = self.state.serial ?? ""
    for (const tag of ["WORKFLOW_SLOT_GRANTED", "WORKFLOW_SLOT_REFUSED"] as const) {
      const { effects, transitions } = self.turn({ _tag: tag, ticket: first })
      assert.deepStrictEqual(transitions, [])
      assert.deepStrictEqual(effects.map((effect) => effect.id), [`release:${first}`])
      assert.deepStrictEqual([self.state.status, [...self.tickets]], ["SERIAL_WAIT", [second]])
    }
    self.grant()
    assert.strictEqual(self.state.status, "RUNNING")
    assert.deepStrictEqual(self.grant().transitions, [])
    assert.strictEqual(self.turn({ _tag: "WORKFLOW_SLOT_REFUSED", ticket: first }).transitions.length, 0)
  })
  it("A62 serial-priority: the newest takes the place of those before it", () => {
    const { runs, slots, states } = three("serial-priority")
    assert.deepStrictEqual(states(), ["STOPPED", "STOPPED", "RUNNING"])
    assert.match(runs[0]?.state.reason ?? "", /serial-priority/u)
    runs[2]?.succeed("a")
    slots.settle()
    assert.deepStrictEqual(slots.held, [])
  })
  it("paused in SERIAL_WAIT, resumed: asks again; a stopped one makes room; a rerun waits too", () => {
    const { runs, slots, states } = three("serial-wait")
    runs[1]?.turn(pause)
    runs[2]?.turn(stop)
    slots.settle()
    assert.deepStrictEqual(states(), ["RUNNING", "PAUSED", "STOPPED"])
    runs[1]?.turn({ _tag: "WORKFLOW_RECOVER", mode: "resume" })
    slots.settle()
    assert.deepStrictEqual(states(), ["RUNNING", "SERIAL_WAIT", "STOPPED"])
    runs[0]?.succeed("a")
    slots.settle()
    runs[0]?.turn({ _tag: "WORKFLOW_RECOVER", mode: "rerun" })
    slots.settle()
    assert.deepStrictEqual(states(), ["SERIAL_WAIT", "RUNNING", "STOPPED"])
    runs[1]?.succeed("a")
    slots.settle()
    assert.deepStrictEqual(states(), ["RUNNING", "SUCCEEDED", "STOPPED"])
  })
})

it("a slot that comes for an attempt that has been replaced is given back", () => {
  const self = new ScriptedRun({ tasks: [grouped("a", { retry: { times: 1, interval: "1s" } })] }).start()
  self.grant("a")
  self.fail("a")
  self.pass(1_000)
  assert.strictEqual(self.newest("a"), "a:1:2")
  const { effects } = self.turn({ _tag: "TASK_SLOT_GRANTED", id: id("a:1:1") })
  assert.deepStrictEqual(effects.map((effect) => effect.id), ["release:a:1:1"])
  // what else comes for it is nobody's
  assert.deepStrictEqual(self.turn({ _tag: "TASK_RETRY", id: id("a:1:1") }).effects, [])
})

it("a run that a defect ended holds no slot, and its parent knows", () => {
  const self = new ScriptedRun({ executionType: "serial-wait", tasks: [grouped("a"), grouped("b")] }).start({
    parent: { instance: InstanceId.make("mother"), task: id("sub:1:1"), depth: 1 }
  })
  self.grant()
  self.grant("a")
  self.register("a")
  self.now = 5_000
  const decision = Decide.poison(self.state, "x is not a function", self.now)
  self.take(decision)
  assert.deepStrictEqual(self.tickets.size, 0)
  assert.deepInclude({ ...self.sends.at(-1)?.event }, { _tag: "TASK_FAILED", id: id("sub:1:1") })
  assert.deepStrictEqual(self.alerts.map(({ id, kind }) => [id, kind]), [["alert:Poisoned:1@5000", "Poisoned"]])
  assert.strictEqual(self.state.reason, "the engine failed: x is not a function")
})

it("ids of semaphores are instance ids, and differ by kind, namespace and name", () => {
  const long = "x".repeat(63)
  const { namespace } = Semaphore.definition
  const ids = [
    Semaphore.idOfGroup(namespace, long),
    Semaphore.idOfGroup(namespace, `${long.slice(1)}y`),
    Semaphore.idOfDefinition(namespace, long),
    Semaphore.idOfGroup(namespace, "a")
  ]
  assert.strictEqual(new Set(ids).size, ids.length)
  for (const one of ids) assert.isTrue(Schema.is(InstanceId)(one))
})

it("their ids never change: a group's slots are held under its id by runs that are under way", () => {
  const { namespace } = Semaphore.definition
  assert.deepStrictEqual(
    [Semaphore.idOfGroup(namespace, "warehouse-185"), Semaphore.idOfDefinition(namespace, "nightly")],
    [
      InstanceId.make("__slots_group_warehouse-185_0d5d63760c83c59a"),
      InstanceId.make("__slots_serial_nightly_d22a8a246ebd5b92")
    ]
  )
})

/** A semaphore and those who talk to it, with no instance around them. */
const alone = () => {
  const self = new ScriptedRun(Semaphore.graph, { instance: "__slots_x" }).start()
  type Acquire = Extract<LifecycleEvent, { readonly _tag: "SLOT_ACQUIRE" }>
  const told = (event: LifecycleEvent): ReadonlyArray<string> => {
    const { effects, transitions } = self.turn(event)
    const sends = effects.map((effect) => effect._tag === "Send" ? `${effect.event._tag} ${effect.to}` : effect._tag)
    return transitions.length === 0 ? sends : [`${transitions.length} changes`, ...sends]
  }
  return {
    self,
    told,
    acquire: (from: string, more: Partial<Acquire> = {}) =>
      told({
        _tag: "SLOT_ACQUIRE",
        from: InstanceId.make(from),
        ticket: `${from}:1:1`,
        slots: 1,
        mode: "wait",
        priority: 5,
        ...more
      }),
    release: (from: string, ticket = `${from}:1:1`) =>
      told({ _tag: "SLOT_RELEASE", from: InstanceId.make(from), ticket }),
    check: (from: string) => told({ _tag: "SLOT_CHECK", from: InstanceId.make(from) }),
    again: () =>
      Outstanding.outstanding(self.state).map((effect) =>
        effect._tag === "Send" ? `${effect.event._tag} ${effect.to}` : effect._tag
      ),
    lists: () => {
      const { held = [], refused = [], waiting = [] } = self.state.semaphore ?? {}
      return [held, waiting, refused].map((list) => list.map(({ from }) => String(from)).join(" "))
    }
  }
}

describe("a semaphore's side", () => {
  it("everything may be said again: a holder is granted again, who waits keeps its one place, who was refused stays refused", () => {
    const { acquire, lists, release } = alone()
    assert.deepStrictEqual(acquire("a"), ["2 changes", "TASK_SLOT_GRANTED a"])
    assert.deepStrictEqual(acquire("b"), ["1 changes"])
    assert.deepStrictEqual(acquire("c"), ["1 changes"])
    assert.deepStrictEqual(acquire("d", { mode: "try" }), ["2 changes", "WORKFLOW_SLOT_REFUSED d"])
    assert.deepStrictEqual(acquire("e", { mode: "try" }), ["2 changes", "WORKFLOW_SLOT_REFUSED e"])
    assert.deepStrictEqual(acquire("a"), ["TASK_SLOT_GRANTED a"])
    assert.deepStrictEqual(acquire("b"), [])
    assert.deepStrictEqual(acquire("d", { mode: "try" }), ["WORKFLOW_SLOT_REFUSED d"])
    assert.deepStrictEqual(lists(), ["a", "b c", "d e"])
    // given back: by one that waits, by one that was refused, by the holder; by others nothing
    assert.deepStrictEqual(release("b"), ["1 changes"])
    assert.deepStrictEqual(release("d"), ["1 changes"])
    for (const [from, ticket] of [["x", "x:1:1"], ["x", "a:1:1"], ["a", "a:1:2"], ["b", "b:1:1"]] as const) {
      assert.deepStrictEqual(release(from, ticket), [])
    }
    assert.deepStrictEqual(lists(), ["a", "c", "e"])
    assert.deepStrictEqual(release("a"), ["2 changes", "TASK_SLOT_GRANTED c"])
    assert.deepStrictEqual(lists(), ["c", "", "e"])
  })

  it("an instance that was taken over asks where it stands: it is told of its own tickets, not of others'", () => {
    const { acquire, check, lists } = alone()
    acquire("a", { slots: 2 })
    acquire("b", { slots: 2 })
    acquire("c", { slots: 2, mode: "try" })
    acquire("d", { slots: 2, mode: "try" })
    acquire("e", { slots: 2 })
    assert.deepStrictEqual(lists(), ["a b", "e", "c d"])
    assert.deepStrictEqual(["a", "b", "c", "d", "e", "x"].map(check), [
      ["TASK_SLOT_GRANTED a"],
      ["TASK_SLOT_GRANTED b"],
      ["WORKFLOW_SLOT_REFUSED c"],
      ["WORKFLOW_SLOT_REFUSED d"],
      [],
      []
    ])
  })

  it("whoever takes it over grants and refuses again, and tells holders to make way only while one waits that replaces them", () => {
    const { acquire, again, release } = alone()
    acquire("a", { slots: 2 })
    acquire("b", { slots: 2 })
    acquire("c", { slots: 2 })
    acquire("d", { slots: 2, mode: "try" })
    assert.deepStrictEqual(again(), ["TASK_SLOT_GRANTED a", "TASK_SLOT_GRANTED b", "WORKFLOW_SLOT_REFUSED d"])
    release("d")
    const first = acquire("e", { slots: 2, mode: "replace" })
    // who waited is refused, who holds is stopped
    assert.deepStrictEqual(first, ["2 changes", "WORKFLOW_SLOT_REFUSED c", "WORKFLOW_STOP a", "WORKFLOW_STOP b"])
    const held = ["TASK_SLOT_GRANTED a", "TASK_SLOT_GRANTED b"]
    assert.deepStrictEqual(again(), [...held, "WORKFLOW_SLOT_REFUSED c", "WORKFLOW_STOP a", "WORKFLOW_STOP b"])
    release("a")
    assert.deepStrictEqual(again(), ["TASK_SLOT_GRANTED b", "TASK_SLOT_GRANTED e", "WORKFLOW_SLOT_REFUSED c"])
  })

  it("priorities change only of what waits", () => {
    const { acquire, lists, told } = alone()
    for (const from of ["a", "b", "c"]) acquire(from)
    const to = (from: string, ticket: string) =>
      told({ _tag: "SLOT_PRIORITY", from: InstanceId.make(from), ticket, priority: 9 })
    for (const [from, ticket] of [["a", "a:1:1"], ["x", "x:1:1"], ["x", "c:1:1"], ["c", "c:1:2"]] as const) {
      assert.deepStrictEqual(to(from, ticket), [])
    }
    assert.deepStrictEqual(lists(), ["a", "b c", ""])
    assert.deepStrictEqual(to("c", "c:1:1"), ["1 changes"])
    assert.deepStrictEqual(lists(), ["a", "c b", ""])
  })

  it("it may be forgotten when a new one would be the same: nobody holds, waits or was refused, one slot, no limit", () => {
    const { acquire, release, self, told } = alone()
    const isUnused = () => Semaphore.isUnused(self.state.semaphore)
    const group = { namespace: Semaphore.definition.namespace, name: "g" }
    assert.isFalse(Semaphore.isUnused(undefined))
    assert.isTrue(isUnused())
    const seen: Array<boolean> = []
    for (
      const step of [
        () => acquire("a"),
        () => acquire("b"),
        () => acquire("c", { mode: "try" }),
        () => release("a"),
        () => release("b"), // c was refused and has not answered
        () => release("c"),
        () => told({ _tag: "SLOT_LIMIT", group, slots: 1 }),
        () => told({ _tag: "SLOT_LIMIT", group }),
        () => acquire("d", { slots: 2 }),
        () => release("d") // as a new one it would have one slot
      ]
    ) {
      step()
      seen.push(isUnused())
    }
    assert.deepStrictEqual(seen, [false, false, false, false, false, true, false, true, false, false])
    assert.deepStrictEqual(self.state.semaphore, { slots: 2, group, held: [], waiting: [], refused: [] })
  })

  it("a journal that names the wrong cause is refused", () => {
    const wrong = [{ _tag: "SLOT_CHECK" }]
    for (const cause of [wrong, []]) {
      const fold = (_tag: "SLOT_QUEUED" | "SLOT_LIMITED" | "SLOT_MOVED") => () =>
        Semaphore.evolve(Semaphore.empty, { _tag, of: 0 }, cause)
      assert.throws(fold("SLOT_QUEUED"), /^SLOT_QUEUED: cause 0 is no SLOT_ACQUIRE$/u)
      assert.throws(fold("SLOT_LIMITED"), /^SLOT_LIMITED: cause 0 is no SLOT_LIMIT$/u)
      assert.throws(fold("SLOT_MOVED"), /^SLOT_MOVED: cause 0 is no SLOT_PRIORITY$/u)
    }
  })
})

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const Step = Schema.Struct({ what: small(20), which: small(30) })

it.prop(
  "D01 slots: never more than there are, nothing waits for ever, nothing leaks; with crashes, duplicates and delays",
  [Schema.Array(Step).check(Schema.isMaxLength(150)), small(2), small(3)],
  ([script, slotsMinusOne, kind]) => {
    const slots = new Slots()
    const group = { name: "g", slots: slotsMinusOne + 1 }
    const executionType = (["parallel", "serial-wait", "serial-discard", "serial-priority"] as const)[kind] ??
      "parallel"
    for (let i = 0; i < 4; i++) {
      slots.add(`wf-${i}`, {
        executionType,
        tasks: [
          grouped("a", { group, retry: { times: 1, interval: "2s" } }),
          grouped("b", { group: { ...group, priority: i } }),
          grouped("c", { group, dependsOn: ["a"] })
        ]
      })
    }
    const workflows = () => [...slots.runs.values()].filter((run) => run.state.semaphore === undefined)
    for (const { what, which } of script) {
      slots.now += 500
      for (const run of slots.runs.values()) run.pass(Math.max(0, slots.now - run.now))
      const run = workflows()[which % 4]
      if (run === undefined) continue
      if (what < 8) slots.deliver(which)
      else if (what < 10) slots.deliver(which, true)
      else if (what < 12) slots.crash(which)
      else if (what === 12) run.turn(pause)
      else if (what === 13) run.turn(stop)
      else if (what === 14) run.turn({ _tag: "WORKFLOW_RECOVER", mode: which % 2 === 0 ? "recover" : "resume" })
      else {
        const lane = [...run.lane.keys()][0]?.split(":")[0]
        if (lane !== undefined && what < 18) run.succeed(lane)
        else if (lane !== undefined) run.fail(lane)
      }
      slots.collect()
    }
    for (let i = 0; i < 2_000; i++) {
      slots.now += 500
      for (const run of slots.runs.values()) run.pass(Math.max(0, slots.now - run.now))
      slots.settle()
      const run = workflows().find((one) => one.state.endedAt === undefined)
      if (run === undefined) break
      for (const other of workflows()) {
        for (const { execution } of activeUnits(other.state)) {
          const { id } = execution.attempt
          if (other.lane.has(id)) other.succeed(id.split(":")[0] ?? "")
          else if (execution.intent === "kill") other.turn({ _tag: "TASK_KILLED", id })
          else if (execution.intent === "pause") other.turn({ _tag: "TASK_PAUSED", id })
        }
      }
    }
    slots.settle()
    for (const run of workflows()) assert.isDefined(run.state.endedAt, `${run.state.status} ${run.summary}`)
    for (const run of slots.runs.values()) {
      const { semaphore } = run.state
      if (semaphore === undefined) continue
      assert.deepStrictEqual([semaphore.held, semaphore.waiting, semaphore.refused], [[], [], []])
    }
  },
  { arbitrary: { runs: 200, size: 60 } }
)
