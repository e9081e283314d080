/**
 * A run of one instance with nothing around it, for tests: a journal in memory, the lane, the timers and the executors as a script moves them, virtual time.
 *
 * Kept true here, after every turn, or it throws: the counters agree with the table; the fold of the journal (through JSON) and a snapshot both give the live
 * state; what `Outstanding` would do again is exactly what was asked for and not taken back; a run that rests holds nothing.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Definition, type DefinitionEncoded, type DefinitionRef } from "../../../shared/protocol/Definition.ts"
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import { Entry, type FactSource, type LifecycleEvent, type StartData } from "../../../shared/protocol/Journal.ts"
import type { Outputs } from "../../../shared/protocol/Report.ts"
import { fnv1a } from "../../../shared/protocol/Shard.ts"
import { InstanceId, SessionId, Shard, StreamSequence, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { TaskView, WorkflowView } from "../../../shared/protocol/Workflow.ts"
import * as Chain from "./Chain.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Compile from "./Compile.ts"
import * as Decide from "./Decide.ts"
import type { Alert, ArmTimer, Control, EngineEffect, Finalize, Query, Send } from "./EngineEffect.ts"
import * as Evolve from "./Evolve.ts"
import { initial } from "./Initial.ts"
import * as Outstanding from "./Outstanding.ts"
import * as Registration from "./Registration.ts"
import * as Rendering from "./Rendering.ts"
import * as Snapshot from "./Snapshot.ts"
import { Mark } from "./TaskState.ts"
import { activeUnits } from "./Unit.ts"
import * as View from "./View.ts"
import * as WorkflowGraph from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** A definition's `spec`, as written on the wire. */
export type Spec = DefinitionEncoded["spec"]

const decodeDefinition = Schema.decodeUnknownSync(Definition)
const decodeEntry = Schema.decodeUnknownSync(Entry)
const ref = (name: string): DefinitionRef => {
  const { metadata } = decodeDefinition({ metadata: { name, namespace: "default" }, spec: { tasks: [] } })
  return {
    ...metadata,
    namespace: WorkflowGraph.parsePool("x", metadata.namespace!).namespace,
    version: 1,
    hash: "test"
  }
}
const refOfTests = ref("test")

export const compile = (spec: Spec) =>
  Compile.compile(decodeDefinition({ metadata: { name: "test" }, spec }), refOfTests)
export const graphOf = (spec: Spec): WorkflowGraph.WorkflowGraph => {
  const compiled = compile(spec)
  if (Result.isFailure(compiled)) throw new Error(JSON.stringify(compiled.failure, undefined, 1))
  return compiled.success
}

/** Not the real thing: the engine is pure, the shell passes node:crypto's. */
export const sha256: Chain.Sha256 = (text) => fnv1a(text).toString(16)

export const session = SessionId.make(7)
export const id = (text: string): TaskInstanceId => TaskInstanceId.make(text)

const check = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`broken: ${what}`)
}

/** Everything the state holds, as text that does not depend on key order. */
export const textOf = (state: WorkflowState): string =>
  JSON.stringify(
    Snapshot.snapshotOf(state),
    (_key, value: unknown) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
        : value
  )

export class ScriptedRun {
  readonly graph: WorkflowGraph.WorkflowGraph
  state: WorkflowState
  now = 1_000
  readonly entries: Array<Entry> = []
  /** Armed and neither fired nor cancelled. */
  readonly timers = new Map<string, ArmTimer>()
  /** On a lane and neither registered nor withdrawn. */
  readonly lane = new Map<TaskInstanceId, string>()
  readonly controls: Array<Control> = []
  readonly alerts: Array<Alert> = []
  readonly queries: Array<Query> = []
  /** Messages to other instances, in order. */
  readonly sends: Array<Send> = []
  /** Tickets that were asked for and not given back. */
  readonly tickets = new Set<string>()
  readonly finalized: Array<Finalize> = []
  /** Every attempt that was ever on a lane, in order. */
  readonly dispatched: Array<TaskInstanceId> = []
  readonly #replayed: { state: WorkflowState }
  /** Every attempt that ever began. */
  readonly #begun = new Set<TaskInstanceId>()
  /** The last message to each other instance. */
  readonly #said = new Map<InstanceId, Send>()
  /** Attempts from before the last recovery: what is behind a failed task runs again, after a success too. */
  readonly #recovered = new Set<TaskInstanceId>()
  #claims = 0
  /** Compare the fold and the snapshot after every turn (dear in large runs). */
  readonly isChecked: boolean
  /** Only what a turn changed is compared, and a snapshot is taken after turns 1, 2, 4, 8, ... and at rest: the cost of a run does not grow with its square. */
  readonly isQuick: boolean

  constructor(
    spec: Spec | WorkflowGraph.WorkflowGraph,
    options: { readonly checked?: boolean; readonly quick?: boolean; readonly instance?: string } = {}
  ) {
    this.graph = "nodes" in spec ? spec : graphOf(spec)
    this.state = initial(this.graph, InstanceId.make(options.instance ?? "wf-1"), Shard.make(3))
    this.#replayed = { state: this.state }
    this.isChecked = options.checked ?? true
    this.isQuick = options.quick ?? false
  }

  /** One turn. */
  turn(...events: ReadonlyArray<LifecycleEvent>): Decide.Decision {
    const before = this.state
    for (const event of events) {
      // What comes from a timer has rung, what was registered has left the lane.
      for (const timer of this.timers.values()) {
        if (timer.event._tag === event._tag && JSON.stringify(timer.event) === JSON.stringify(event)) {
          this.timers.delete(timer.timer)
        }
      }
      if (event._tag === "TASK_DISPATCHED") this.lane.delete(event.id)
    }
    const decision = Decide.decide(before, events, this.now)
    this.take(decision)
    return decision
  }

  take(decision: Decide.Decision): void {
    if (decision.transitions.length === 0 && decision.effects.length === 0) {
      check(decision.state === this.state, "a turn without transitions changed the state")
      check(decision.cause.length === 0, "a turn that changed nothing has a cause")
      return
    }
    const before = this.state
    this.state = decision.state
    for (const transition of decision.transitions) {
      if (transition._tag !== "SUBMITTED") continue
      check(!this.#begun.has(transition.id), `${transition.id} begins twice`)
      this.#begun.add(transition.id)
    }
    if (decision.transitions.some((transition) => transition._tag === "RECOVERED" || transition._tag === "RUN_TASK")) {
      // Those that no executor ran (switches, hand-offs) are among them.
      for (const { execution, items } of ChunkedVector.toArray(before.tasks)) {
        for (const one of items === undefined ? [execution] : ChunkedVector.toArray(items.executions)) {
          for (const attempt of one === undefined ? [] : [...one.past, one.attempt]) this.#recovered.add(attempt.id)
        }
      }
      for (const transition of decision.transitions) {
        if (transition._tag === "SUBMITTED") this.#recovered.delete(transition.id)
      }
    }
    const last = this.entries.at(-1)
    const draft: Chain.EntryDraft = {
      _tag: "Entry",
      shard: this.state.shard,
      instance: this.state.instance,
      n: this.entries.length + 1,
      prev: StreamSequence.make(this.entries.length),
      at: this.now,
      cause: decision.cause,
      transitions: decision.transitions,
      effects: decision.effects.map((effect) => effect.id)
    }
    const parsed: unknown = JSON.parse(Chain.sealEntry(last?.hash ?? Chain.genesis, draft, sha256).text)
    // What the schema takes, the fold takes as it is: quick runs leave it out but now and then.
    const entry = this.isQuick && !isPowerOfTwo(draft.n) ? parsed as Entry : decodeEntry(parsed)
    // As it was read: the chain covers the text, not what a decoder makes of it.
    this.entries.push(parsed as Entry)
    for (const effect of decision.effects) this.#carryOut(effect)
    if (this.isChecked) this.#check(entry, before)
  }

  #carryOut(effect: EngineEffect): void {
    switch (effect._tag) {
      case "Dispatch":
        this.lane.set(effect.entry.taskInstanceId, effect.lane)
        this.dispatched.push(effect.entry.taskInstanceId)
        return
      case "Withdraw":
        check(this.lane.delete(effect.taskInstanceId), `${effect.id}: it is on no lane`)
        return
      case "Kill":
      case "Pause":
      case "Ask":
        this.controls.push(effect)
        return
      case "ArmTimer":
        this.timers.set(effect.timer, effect)
        return
      case "CancelTimer":
        this.timers.delete(effect.timer)
        return
      case "Send":
        this.#once(effect)
        this.sends.push(effect)
        if (effect.event._tag === "SLOT_ACQUIRE") this.tickets.add(effect.event.ticket)
        if (effect.event._tag === "SLOT_RELEASE") this.tickets.delete(effect.event.ticket)
        return
      case "Query":
        this.queries.push(effect)
        return
      case "Alert":
        this.alerts.push(effect)
        return
      case "Finalize":
        this.finalized.push(effect)
        return
    }
  }

  /** The shell does not send what it has just sent to the same target: it tells by the id. */
  #once(send: Send): void {
    const said = this.#said.get(send.to)
    this.#said.set(send.to, send)
    const isSame = said === undefined || said.id !== send.id || isEqual(said.event, send.event)
    check(isSame, `${send.id} says two things: ${JSON.stringify([said?.event, send.event])}`)
  }

  /** What a task knows of those before it is what became of them; of a run of chosen tasks only the chosen count. */
  #checkCounts({ partial, tasks, withOutputs }: WorkflowState): void {
    let passedOn = 0
    for (const node of this.graph.nodes) {
      const task = ChunkedVector.get(tasks, node.index)
      if (Object.keys(Rendering.outputsOf(task)).length > 0) passedOn += 1
      if (partial !== undefined || (task.marks & (Mark.Outside | Mark.Inactive | Mark.Held)) !== 0) continue
      const counts = { pending: 0, ok: 0, failed: 0, skipped: 0 }
      for (const index of node.predecessors) {
        const { marks } = ChunkedVector.get(tasks, index)
        if ((marks & Mark.Outside) !== 0) continue
        if ((marks & Mark.Inactive) === 0 || (marks & (Mark.PausedChain | Mark.KilledChain)) !== 0) counts.pending += 1
        else if ((marks & (Mark.FailedChain | Mark.Blocked)) !== 0) counts.failed += 1
        else if ((marks & Mark.Skipped) !== 0) counts.skipped += 1
        else counts.ok += 1
      }
      const { failed, ok, pending, skipped } = task
      check(
        isEqual({ pending, ok, failed, skipped }, counts),
        `${node.name} counts ${JSON.stringify({ pending, ok, failed, skipped })}, its predecessors are ${
          JSON.stringify(counts)
        }`
      )
    }
    check(passedOn <= withOutputs, `${passedOn} tasks have outputs, ${withOutputs} by the counter`)
  }

  #check(entry: Entry, before: WorkflowState): void {
    const { state } = this
    let active = 0
    const chains = { failed: 0, paused: 0, killed: 0 }
    for (const node of this.graph.nodes) {
      const { execution, items, marks, status } = ChunkedVector.get(state.tasks, node.index)
      check(
        (marks & (Mark.Active | Mark.Inactive)) !== (Mark.Active | Mark.Inactive),
        `${node.name} is active and inactive`
      )
      if ((marks & Mark.Active) !== 0) active += 1
      if ((marks & Mark.FailedChain) !== 0) chains.failed += 1
      if ((marks & Mark.PausedChain) !== 0) chains.paused += 1
      if ((marks & Mark.KilledChain) !== 0) chains.killed += 1
      for (const one of items === undefined ? [execution] : ChunkedVector.toArray(items.executions)) {
        if (one === undefined) continue
        const attempts = [...one.past, one.attempt]
        check(
          attempts.every((attempt, i) => i === attempts.length - 1 || attempt.endedAt !== undefined),
          `${node.name} has an earlier attempt that lives`
        )
        check(
          attempts.filter((attempt) => attempt.status === "SUCCEEDED" && !this.#recovered.has(attempt.id)).length <= 1,
          `${node.name} succeeded twice in a run`
        )
        check(
          one.intent === "none" || one.status === "DISPATCHED" || one.status === "RUNNING",
          `${node.name} has an intent in ${one.status}`
        )
      }
      if (items !== undefined && node.forEach !== undefined) {
        check(items.active <= node.forEach.parallelism, `${node.name} runs ${items.active} items at once`)
      }
      if ((marks & Mark.Inactive) !== 0 && status === undefined) {
        check(
          ChunkedVector.get(state.tasks, node.index).why !== undefined,
          `${node.name} never ran, and nothing says why`
        )
      }
    }
    check(active === state.active, `${state.active} active by the counter, ${active} by the table`)
    check(
      chains.failed === state.failedChains && chains.paused === state.pausedChains &&
        chains.killed === state.killedChains,
      "chain counters"
    )
    const rests = state.endedAt !== undefined
    check(!rests || active === 0, `${state.status} with ${active} active tasks`)
    check(
      rests || state.run === 0 || active > 0 || state.status === "SERIAL_WAIT" || this.graph.isSemaphore,
      `${state.status} with nothing active: it hangs`
    )
    check(
      !rests || (this.timers.size === 0 && this.lane.size === 0),
      `${state.status} leaves ${[...this.timers.keys(), ...this.lane.keys()].join(", ")}`
    )
    const slots = activeUnits(state).flatMap(({ execution: { attempt } }) =>
      attempt.slot === "waiting" || attempt.slot === "held" ? [attempt.id as string] : []
    )
    if (state.serial !== undefined && !rests) slots.push(state.serial)
    check(same([...this.tickets], slots), `tickets ${[...this.tickets].join(", ")}, of use ${slots.join(", ")}`)
    if (!rests && (!this.isQuick || isPowerOfTwo(entry.n))) this.#checkCounts(state)
    // Replay = live, through JSON.
    const foldedBefore = this.#replayed.state
    const folded = Evolve.foldEntry(foldedBefore, entry)
    this.#replayed.state = folded
    const isSame = this.isQuick ? hasSameChanges(before, state, foldedBefore, folded) : textOf(folded) === textOf(state)
    if (!isSame) throw new Error(`broken: the fold of entry ${entry.n} differs: ${textOf(folded)} / ${textOf(state)}`)
    if (!this.isQuick || rests || isPowerOfTwo(entry.n)) {
      const text = textOf(state)
      check(textOf(folded) === text, `the fold of entries 1 to ${entry.n} differs`)
      const restored = Snapshot.fromSnapshot(JSON.parse(JSON.stringify(Snapshot.snapshotOf(state))), this.graph)
      check(Result.isSuccess(restored) && textOf(restored.success) === text, "the snapshot differs")
    }
    // What a take-over would do again is what is under way.
    if (rests) return
    const again = Outstanding.outstanding(state)
    const lane = again.flatMap((effect) => effect._tag === "Dispatch" ? [effect.entry.taskInstanceId] : [])
    check(
      same(lane, [...this.lane.keys()]),
      `outstanding dispatches ${lane.join(", ")}, on the lane ${[...this.lane.keys()].join(", ")}`
    )
    const timers = again.flatMap((effect) => effect._tag === "ArmTimer" ? [effect.id] : [])
    const armed = [...this.timers.values()].map((timer) => timer.id)
    check(same(timers, armed), `outstanding timers ${timers.join(", ")}, armed ${armed.join(", ")}`)
    const controls =
      again.filter((effect) => effect._tag === "Kill" || effect._tag === "Pause" || effect._tag === "Ask").length
    const held = activeUnits(state).filter(({ execution }) =>
      execution.attempt.executor !== undefined &&
      (execution.status === "DISPATCHED" || execution.status === "RUNNING")
    ).length
    check(controls === held, "every held attempt is asked for, paused or killed")
    const asked =
      again.filter((effect) => effect._tag === "Query" || (effect._tag === "Send" && effect.id.startsWith("child-")))
        .length
    const elsewhere =
      activeUnits(state).filter(({ execution: { attempt, status }, node }) =>
        (attempt.child !== undefined || node.kind === "dependent") && (status === "DISPATCHED" || status === "RUNNING")
      ).length
    check(asked === elsewhere, "every child and every question is asked for, or told to end")
  }

  start(start: Partial<StartData> = {}): this {
    this.turn({ _tag: "WORKFLOW_START", start: { definition: this.graph.definition, ...start } })
    return this
  }

  placement(executor = "ex-1", pool = "default"): Placement {
    this.#claims += 1
    // Test data; the brands say nothing here.
    return {
      executor,
      startup: "s1",
      pool: { namespace: "default", name: pool },
      poolSession: 1,
      claimId: `claim-${this.#claims}`,
      sandbox: `sandbox-${this.#claims}`
    } as unknown as Placement
  }

  by(sequence = 1, executor = "ex-1"): FactSource {
    return { executor, startup: "s1", sequence, at: this.now } as FactSource
  }

  /** The executor takes it from the lane. */
  register(name: string, placement: Placement = this.placement()): Registration.RegistrationOutcome {
    const attempt = this.newest(name)
    this.turn({ _tag: "TASK_DISPATCHED", id: attempt, placement })
    return Registration.registrationOutcome(this.state, attempt, placement)
  }

  running(name: string): Decide.Decision {
    return this.turn({ _tag: "TASK_RUNNING", id: this.newest(name), by: this.by() })
  }

  /** `register` where nobody has it yet, then the final fact. */
  succeed(name: string, outputs: Outputs = {}): Decide.Decision {
    this.ensure(name)
    return this.turn({ _tag: "TASK_SUCCEEDED", id: this.newest(name), by: this.by(2), outputs })
  }

  fail(name: string, reason = "exit 1"): Decide.Decision {
    this.ensure(name)
    return this.turn({ _tag: "TASK_FAILED", id: this.newest(name), by: this.by(2), reason })
  }

  ended(name: string, tag: "TASK_KILLED" | "TASK_PAUSED"): Decide.Decision {
    return this.turn({ _tag: tag, id: this.newest(name), by: this.by(2) })
  }

  ensure(name: string): void {
    if (this.lane.has(this.newest(name))) this.register(name)
  }

  /** Id of the newest attempt of a task, or of an item as `task[3]`. */
  newest(name: string): TaskInstanceId {
    const [task = name, item] = name.split(/[[\]]/)
    const index = this.graph.indexOf.get(task) ?? -1
    const state = ChunkedVector.get(this.state.tasks, index)
    const execution = item === undefined || state.items === undefined
      ? state.execution
      : ChunkedVector.get(state.items.executions, Number(item))
    if (execution === undefined) throw new Error(`${name} has no attempt`)
    return execution.attempt.id
  }

  /** The semaphore gives the newest attempt of a task its slot; without a name: the run its turn. */
  grant(name?: string): Decide.Decision {
    return this.turn(
      name === undefined
        ? { _tag: "WORKFLOW_SLOT_GRANTED", ticket: this.state.serial ?? "" }
        : { _tag: "TASK_SLOT_GRANTED", id: this.newest(name) }
    )
  }

  /** Lets time pass; timers that are due fire, each at its time. */
  pass(ms: number): this {
    const until = this.now + ms
    for (;;) {
      const due = [...this.timers.values()].filter((timer) => timer.dueAt <= until).sort((a, b) => a.dueAt - b.dueAt)[0]
      if (due === undefined) break
      this.now = Math.max(this.now, due.dueAt)
      this.timers.delete(due.timer)
      this.turn(due.event)
    }
    this.now = until
    return this
  }

  get view(): WorkflowView {
    return View.view(this.state, session, StreamSequence.make(this.entries.length))
  }

  task(name: string): TaskView {
    const found = this.view.tasks.find((task) => task.name === name)
    if (found === undefined) throw new Error(`the view has no task ${name}`)
    return found
  }

  /** `b:SUCCEEDED/2`: state and attempts of each task, `-` for one without. */
  get summary(): string {
    return this.view.tasks.map((task) => `${task.name}:${task.state ?? "-"}/${task.attempts.length}`).join(" ")
  }
}

const isPowerOfTwo = (n: number): boolean => (n & (n - 1)) === 0

/** JSON equality: a key without a value is no key. */
const isEqual = (a: unknown, b: unknown): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b)
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const left: Readonly<Record<string, unknown>> = { ...a }
  const right: Readonly<Record<string, unknown>> = { ...b }
  for (const key in left) if (!isEqual(left[key], right[key])) return false
  for (const key in right) if (left[key] === undefined && right[key] !== undefined) return false
  return true
}

/** Of two states and what became of each in a turn, where the states before were equal: whether the states after it are. Tasks that neither side touched are not looked at. */
const hasSameChanges = (
  before: WorkflowState,
  after: WorkflowState,
  otherBefore: WorkflowState,
  otherAfter: WorkflowState
): boolean => {
  const { graph: _, tasks, ...rest } = after
  const { graph: __, tasks: others, ...otherRest } = otherAfter
  if (!isEqual(rest, otherRest) || tasks.length !== others.length) return false
  const touched = [
    ...ChunkedVector.changedChunks(tasks, before.tasks),
    ...ChunkedVector.changedChunks(others, otherBefore.tasks)
  ]
  for (const { other: old, self, start } of touched) {
    for (const [i, task] of self.entries()) {
      if (task !== old[i] && !isEqual(ChunkedVector.get(tasks, start + i), ChunkedVector.get(others, start + i))) {
        return false
      }
    }
  }
  return true
}

const same = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.toSorted().join() === b.toSorted().join()
