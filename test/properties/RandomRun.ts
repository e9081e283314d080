/**
 * Random definitions with random histories, and what has to hold for each: for Properties.test.ts and for `npm run properties`. design/conformance-workflow.md, D.
 *
 * A history has what a run meets: reports in any order, twice, late and from executors that lost their task; commands at any moment; timers; lost executors and
 * coordinators. What is checked after each turn stands in ScriptedRun. A run's cost must stay near linear in its length, so that tens of thousands fit in a test.
 *
 * Drawn and shrunk by effect's Arbitrary. In every draw smaller is simpler: 0 is the plain task, the plain start and the report of a success.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Decide from "../../services/coordinator/engine/Decide.ts"
import * as Fork from "../../services/coordinator/engine/Fork.ts"
import * as Replay from "../../services/coordinator/engine/Replay.ts"
import * as Requests from "../../services/coordinator/engine/Requests.ts"
import { id, ScriptedRun, sha256, type Spec, textOf } from "../../services/coordinator/engine/ScriptedRun.ts"
import * as Snapshot from "../../services/coordinator/engine/Snapshot.ts"
import { activeUnits, type Unit } from "../../services/coordinator/engine/Unit.ts"
import type { Entry, LifecycleEvent, StartData } from "../../shared/protocol/Journal.ts"
import { InstanceId, RequestId, StreamSequence, TaskName } from "../../shared/protocol/Token.ts"

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const upTo = <S extends Schema.Top>(item: S, length: number) => Schema.Array(item).check(Schema.isMaxLength(length))
const joins = ["all_success", "all_done", "one_success", "one_failed", "none_failed", "always"] as const

const TaskShape = Schema.Struct({
  /** Where its predecessors stand among the tasks before it: so every draw is a DAG, and shrinking keeps it one. */
  before: upTo(small(199), 3),
  join: small(joins.length * 2),
  retries: small(2),
  kind: small(19),
  timeout: small(6)
})
const shape = (tasks: number) =>
  Schema.Struct({
    tasks: upTo(TaskShape, tasks),
    end: Schema.Boolean,
    hooks: small(3),
    timeout: small(3),
    serial: small(11),
    start: small(13),
    /** The system's maximum of a run: none, a long one, one that strikes. */
    limit: small(4),
    /** How often commands come: 0 never, 1 now and then, 2 often. */
    weather: small(2)
  })
type Shape = ReturnType<typeof shape>["Type"]

/** What happens next, and to which of those that it may happen to. */
const Step = Schema.Struct({ what: small(99), which: small(199) })
type Step = typeof Step.Type

/** A definition and a history. */
export interface Draw {
  readonly shape: Shape
  readonly script: ReadonlyArray<Step>
}
const draw = (tasks: number, steps: number): Arbitrary.Arbitrary<Draw> =>
  Arbitrary.all({ shape: Arbitrary.schema(shape(tasks)), script: Arbitrary.schema(upTo(Step, steps)) })

const predecessorOf = (n: number, i: number): string => `t${n < 100 ? Math.max(0, i - 1 - n % 4) : n % i}`

const specOf = (drawn: Shape): Spec => {
  const dependsOn = drawn.tasks.map(({ before }, i) =>
    i === 0 ? [] : [...new Set(before.map((n) => predecessorOf(n, i)))]
  )
  const successors = new Map<string, Array<string>>()
  for (const [i, names] of dependsOn.entries()) {
    for (const name of names) successors.set(name, [...successors.get(name) ?? [], `t${i}`])
  }
  return {
    params: { list: [1, 2, 3, 4] },
    failureStrategy: drawn.end ? "end" : "continue",
    ...((drawn.hooks & 1) === 0 ? {} : { onCommit: { type: "shell", retry: { times: 1 } } }),
    ...((drawn.hooks & 2) === 0 ? {} : { onCleanup: { type: "shell" } }),
    executionType: (["serial-wait", "serial-discard", "serial-priority"] as const)[drawn.serial - 9] ?? "parallel",
    ...(drawn.timeout < 2 ? {} : { timeout: { after: "1m", strategy: drawn.timeout === 2 ? "fail" : "warn" } }),
    tasks: drawn.tasks.map((task, i) => {
      const own = dependsOn[i] ?? []
      const next = successors.get(`t${i}`) ?? []
      const isSwitch = (task.kind === 19 || task.kind === 18) && next.length > 0
      const isCondition = (task.kind === 17 || task.kind === 16) && next.length > 0 && own.length > 0
      const isFanOut = task.kind === 14 || task.kind === 15
      const isChild = task.kind === 10 || (task.kind === 9 && i % 2 === 0)
      const isDependent = task.kind === 9 && i % 2 === 1
      return {
        name: `t${i}`,
        type: isSwitch
          ? "switch"
          : isCondition
          ? "condition"
          : isChild
          ? "sub-workflow"
          : isDependent
          ? "dependent"
          : "shell",
        dependsOn: own,
        retry: { times: task.retries, interval: "5s" },
        ...(own.length > 0 ? { join: joins[task.join] ?? "all_success" } : {}),
        ...(isSwitch
          ? {
            with: {
              cases: [{ when: task.kind === 18 ? "true" : "size(params.list) > 9", next: next[0] }],
              ...(i % 3 === 0 ? {} : { default: next.at(-1) })
            }
          }
          : {}),
        ...(isCondition
          ? {
            with: {
              when: {
                [i % 2 === 0 ? "and" : "or"]: own.map((name, k) => ({
                  task: name,
                  is: k === 1 || task.kind === 16 ? "failed" : "success"
                }))
              },
              success: [next[0]],
              failed: [next.at(-1)]
            }
          }
          : {}),
        ...(isChild ? { with: { definition: "child", params: { n: i } } } : {}),
        ...(isDependent ? { with: { any: [{ workflow: "other", within: "1h" }] } } : {}),
        ...(isFanOut ? { forEach: { items: task.kind === 14 ? "params.list" : "[]", parallelism: 2 } } : {}),
        ...(task.kind === 13 || (isFanOut && i % 2 === 0) ? { group: { name: "g", slots: 2 } } : {}),
        ...(task.kind === 12 ? { forbidden: true } : {}),
        ...(task.kind === 11 ? { delay: "3s" } : {}),
        ...(task.timeout === 4
          ? { timeout: { after: "10s" } }
          : task.timeout === 5
          ? { timeout: { after: "10s", strategy: "warn" as const } }
          : task.timeout === 6
          ? { dispatchTimeout: "20s" }
          : {})
      }
    })
  }
}

const startOf = (drawn: Shape): Partial<StartData> => ({
  ...chosenOf(drawn),
  ...(drawn.limit < 3 ? {} : { runMaxMs: drawn.limit === 3 ? 600_000 : 30_000 })
})
const chosenOf = ({ start, tasks }: Shape): Partial<StartData> => {
  const startNodes = [TaskName.make(`t${tasks.length >> 1}`)]
  if (start === 11) return { dryRun: true }
  if (start > 11) return { parent: { instance: InstanceId.make("above"), task: id("sub:1:1"), depth: 1 } }
  if (start < 8 || tasks.length === 0) return {}
  return { startNodes, dependType: start === 8 ? "TASK_POST" : start === 9 ? "TASK_PRE" : "TASK_ONLY" }
}

// ---- one history

const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`broken: ${what}`)
}

interface Play {
  readonly self: ScriptedRun
  readonly drawn: Shape
  /** What was reported, so that it can come again, late. */
  readonly past: Array<LifecycleEvent>
}

const report = ({ past, self }: Play, event: LifecycleEvent): void => {
  past.push(event)
  self.now += past.length % 3
  self.turn(event)
  // At least once, so perhaps twice: the second has nothing left to change. (What stands for a command is sent again.)
  if (past.length % 4 !== 0 || !("by" in event) || event._tag === "TASK_RUNNING") return
  const again = Decide.decide(self.state, [event], self.now)
  must(again.transitions.length === 0, `${event._tag} twice gives ${JSON.stringify(again.transitions)}`)
}

/** Both in one turn, and each in its own: the same state. */
const inOneTurn = ({ self }: Play, first: LifecycleEvent, second: LifecycleEvent): void => {
  const { now, state } = self
  const apart = Decide.decide(Decide.decide(state, [first], now).state, [second], now)
  const together = self.turn(first, second)
  must(
    textOf(apart.state) === textOf(together.state),
    `${first._tag} and ${second._tag}: ${textOf(together.state)} in one turn, ${textOf(apart.state)} in two`
  )
}

/** The owner dies: the next one goes on from what is stored. */
const handOver = ({ self }: Play): void => {
  const restored = Snapshot.fromSnapshot(JSON.parse(JSON.stringify(Snapshot.snapshotOf(self.state))), self.graph)
  if (Result.isFailure(restored)) throw new Error(restored.failure)
  self.state = restored.success
}

const command = (play: Play, what: number, which: number): void => {
  const { self } = play
  const task = self.graph.nodes[which % Math.max(1, self.graph.nodes.length)]?.name
  // With an id now and then, of few: most are repetitions sooner or later, or the id of another command.
  const asked = which % 3 === 2 ? { request: RequestId.make(`r${which % 7}`) } : {}
  const tell = (event: LifecycleEvent): void => {
    self.turn(event)
    const { length } = self.entries
    if ("request" in event && Requests.standing(self.state.requests, event) === "done") self.turn(event)
    must(self.entries.length === length, "a command that was repeated with its id left a trace")
  }
  if (what < 89) tell({ _tag: "WORKFLOW_PAUSE", ...asked })
  else if (what < 91) tell({ _tag: "WORKFLOW_STOP", reason: "because", ...asked })
  else if (what < 93) self.turn({ _tag: "WORKFLOW_START", start: { definition: self.graph.definition } })
  else if (what < 97) {
    // Of a child the parent asks too, for the attempt it has now or for an older one.
    const parent = play.drawn.start > 11 && which % 2 === 0 ? { parent: id(`sub:1:${1 + which % 5}`) } : {}
    const mode = (["resume", "recover", "rerun"] as const)[which % 3] ?? "resume"
    tell({ _tag: "WORKFLOW_RECOVER", mode, ...parent, ...("parent" in parent ? {} : asked) })
  } else if (task === undefined) return
  else if (what < 98) tell({ _tag: "WORKFLOW_FORCE_SUCCESS", task, ...asked })
  else if (what < 99) tell({ _tag: "WORKFLOW_RUN_TASK", task, ...asked })
  else tell({ _tag: "WORKFLOW_FORCE_START", task, ...asked })
}

const step = (play: Play, { what, which }: Step): void => {
  const { drawn: { weather }, past, self } = play
  if (what >= 87 && (weather === 2 || (weather === 1 && which % 4 === 0))) return command(play, what, which)
  const old = past[which % Math.max(1, past.length)]
  if (what >= 68 && what < 87) {
    if (what === 86) return handOver(play)
    if (what >= 84) return void self.pass(61_000)
    if (what >= 78) return void self.pass(4_000)
    const other = past[(which * 7 + what) % Math.max(1, past.length)]
    if (old === undefined || other === undefined) return
    return what >= 76 ? inOneTurn(play, old, other) : void self.turn(old)
  }
  if (self.state.endedAt !== undefined) {
    // It rests: somebody lets it go on.
    if (weather > 0 && which % 8 === 0) command(play, 93, which >> 3)
    return
  }
  if (self.state.status === "SERIAL_WAIT") {
    const ticket = self.state.serial ?? ""
    return report(play, { _tag: what < 60 ? "WORKFLOW_SLOT_GRANTED" : "WORKFLOW_SLOT_REFUSED", ticket })
  }
  const units = activeUnits(self.state)
  const unit = units[which % Math.max(1, units.length)]
  if (unit === undefined) return
  const { attempt, intent, status } = unit.execution
  const { id } = attempt
  if (unit.node.kind === "sub-workflow" || unit.node.kind === "dependent") return elsewhere(play, unit, what, which)
  const by = self.by(past.length + 1, attempt.executor ?? "ex-1")
  if (what >= 67) return report(play, { _tag: "TASK_SUCCEEDED", id, by: self.by(9, "ex-old"), outputs: {} })
  if (what >= 63) {
    if (what === 66) {
      // A whole executor is lost.
      const lost = units.filter(({ execution }) => execution.attempt.executor === by.executor)
      self.turn(...lost.map(({ execution }): LifecycleEvent => ({
        _tag: "TASK_FAILOVER",
        id: execution.attempt.id,
        lost: true,
        reason: `${by.executor} is gone`
      })))
      return
    }
    return report(play, { _tag: "TASK_FAILOVER", id, lost: what > 63, reason: "gone" })
  }
  if (attempt.slot === "waiting" && what < 60) {
    return report(play, { _tag: what < 55 ? "TASK_SLOT_GRANTED" : "TASK_FORCE_START", id })
  }
  if (status === "SUBMITTED" && what < 55) {
    return report(play, { _tag: "TASK_DISPATCHED", id, placement: self.placement(`ex-${which % 3}`) })
  }
  if (status !== "DISPATCHED" && status !== "RUNNING" && what < 60) return void self.pass(5_000)
  if (intent !== "none" && what < 40) {
    return report(play, { _tag: intent === "kill" ? "TASK_KILLED" : "TASK_PAUSED", id, by })
  }
  const offer = which % 3 === 0 ? { offer: 1 + which % 2, ...(which % 4 === 0 ? { together: true } : {}) } : {}
  if (what < 45) return report(play, { _tag: "TASK_SUCCEEDED", id, by, ...offer, outputs: { n: which } })
  if (what < 54) return report(play, { _tag: "TASK_FAILED", id, by, ...offer, reason: "exit 1" })
  if (what < 57) return report(play, { _tag: "TASK_RUNNING", id, by })
  if (what < 59) return report(play, { _tag: "TASK_RUNTIME_CONTEXT_CHANGED", id, by, context: { n: which } })
  if (what < 61) return report(play, { _tag: "TASK_FATAL", id, by, reason: "no" })
  return report(play, { _tag: what === 61 ? "TASK_KILLED" : "TASK_PAUSED", id, by })
}

/** Of a task that no executor has: what the child says, or who looked the others up. */
const elsewhere = (play: Play, { execution: { attempt, intent, status }, node }: Unit, what: number, which: number) => {
  const { id } = attempt
  if (attempt.slot === "waiting") return report(play, { _tag: "TASK_SLOT_GRANTED", id })
  if (status !== "DISPATCHED" && status !== "RUNNING") return void play.self.pass(5_000)
  const isChild = node.kind === "sub-workflow"
  if (intent !== "none" && what < 40) {
    return report(play, { _tag: intent === "kill" ? "TASK_KILLED" : "TASK_PAUSED", id })
  }
  if (what < 40) return report(play, { _tag: "TASK_SUCCEEDED", id, outputs: { n: which } })
  if (what < 52) return report(play, { _tag: "TASK_FAILED", id, reason: "not so" })
  if (what < 56 || !isChild) return report(play, { _tag: "TASK_FATAL", id, reason: "there is none" })
  return report(play, { _tag: what < 62 ? "TASK_RUNNING" : what < 65 ? "TASK_KILLED" : "TASK_PAUSED", id })
}

const play = ({ script, shape: drawn }: Draw): ScriptedRun => {
  const self = new ScriptedRun(specOf(drawn), { quick: true }).start(startOf(drawn))
  const one: Play = { self, drawn, past: [] }
  for (const next of script) step(one, next)
  return self
}

/** From wherever the script left it: every executor answers, so the run must come to rest. */
const drain = (self: ScriptedRun): void => {
  // Every turn ends an attempt or brings it on; a run has as many attempts as tasks, items and retries.
  for (let left = 200 + 100 * self.graph.nodes.length; left > 0 && self.state.endedAt === undefined; left--) {
    if (self.state.status === "SERIAL_WAIT") {
      self.grant()
      continue
    }
    const units = activeUnits(self.state)
    let moved = false
    for (const { execution: { attempt, intent, status } } of units) {
      const { id } = attempt
      if (attempt.slot === "waiting") self.turn({ _tag: "TASK_SLOT_GRANTED", id })
      else if (status === "SUBMITTED") self.turn({ _tag: "TASK_DISPATCHED", id, placement: self.placement() })
      else if (status !== "DISPATCHED" && status !== "RUNNING") continue
      else if (intent === "kill") self.turn({ _tag: "TASK_KILLED", id })
      else if (intent === "pause") self.turn({ _tag: "TASK_PAUSED", id })
      else self.turn({ _tag: "TASK_SUCCEEDED", id, outputs: {} })
      moved = true
    }
    if (!moved) self.pass(5_000)
  }
}

// ---- the properties

/** One thing that holds for every draw, with the sizes it is drawn with. */
export interface Property {
  readonly name: string
  readonly draws: Arbitrary.Arbitrary<Draw>
  /** Largest length of a draw's lists. */
  readonly size: number
  /** Share of a run of all properties, in percent. */
  readonly share: number
  /** Throws with what is broken. */
  readonly holds: (draw: Draw) => void
}

const endsWell = (draw: Draw): void => {
  const self = play(draw)
  drain(self)
  if (self.state.endedAt === undefined) throw new Error(`broken: ${self.state.status} for ever: ${self.summary}`)
  for (const task of self.view.tasks) {
    must(task.state !== undefined || task.why !== undefined, `${task.name} has neither a state nor a reason`)
  }
}

/** `decide` gives again what is in the journal; whatever is changed in it is found. */
const isVerified = (draw: Draw): void => {
  const self = play(draw)
  const { entries, graph } = self
  const differences = Replay.verify(entries, graph)
  must(differences.length === 0, `verify differs: ${JSON.stringify(differences[0])}`)
  must(Chain.verifyChain(entries, sha256) === undefined, "the chain of an untouched journal")
  const at = draw.script.length % entries.length
  const victim = entries[at]
  if (victim === undefined) return
  const tampered = (entry: Entry) => entries.map((other, i) => i === at ? entry : other)
  must(
    Chain.verifyChain(tampered({ ...victim, at: victim.at + 1 }), sha256)?.n === victim.n,
    "a changed entry is found"
  )
  must(
    at === entries.length - 1 || Chain.verifyChain(entries.filter((_, i) => i !== at), sha256) !== undefined,
    "a missing entry is found"
  )
  const [effect, ...more] = Replay.verify(
    tampered({ ...victim, effects: [...victim.effects, "dispatch:x:1:1"] }),
    graph
  )
  must(effect?.n === victim.n && effect.part === "effects" && more.length === 0, "an effect too many is found")
  must(
    victim.transitions.length === 0 ||
      Replay.verify(tampered({ ...victim, transitions: victim.transitions.slice(1) }), graph).length > 0,
    "a missing transition is found"
  )
}

/** Of a run at any point of its past: a fork takes over only what ended well, runs no task of it, and comes to rest. */
const forks = (draw: Draw): void => {
  const self = play(draw)
  const count = 1 + draw.script.length % Math.max(1, self.entries.length)
  const then = Replay.replay(self.entries.slice(0, count), self.graph)
  if (then?.start === undefined) return
  const start = Fork.startOf(then, StreamSequence.make(count))
  const fork = new ScriptedRun(self.graph, { quick: true, instance: "fork-1" }).start(start)
  drain(fork)
  must(fork.state.endedAt !== undefined, `the fork is ${fork.state.status} for ever: ${fork.summary}`)
  const tasks = new Map(fork.view.tasks.map((task) => [task.name, task]))
  for (const { as, outputs, task } of start.fork.tasks) {
    const found = tasks.get(task)
    if (found === undefined) throw new Error(`broken: ${task} was taken over, and is not there`)
    must(found.attempts.length === 0, `${task} was taken over, and runs`)
    must(JSON.stringify(found.outputs ?? {}) === JSON.stringify(outputs ?? {}), `${task} has other outputs`)
    must((as === "SUCCEEDED" || as === "FORCED_SUCCESS") === (found.state !== undefined), `${task} is ${found.state}`)
  }
  const [difference] = Replay.verify(fork.entries, fork.graph)
  must(difference === undefined, `verify of the fork differs: ${JSON.stringify(difference)}`)
}

/** `decide` is pure: a state that came in is never changed. */
const leavesAlone = (draw: Draw): void => {
  const self = play(draw)
  const before = textOf(self.state)
  for (const { execution: { attempt: { id } } } of activeUnits(self.state).slice(0, 8)) {
    const now = self.now + 1
    Decide.decide(self.state, [{ _tag: "TASK_SUCCEEDED", id, outputs: { x: 1 } }, { _tag: "WORKFLOW_STOP" }], now)
    Decide.decide(self.state, [{ _tag: "WORKFLOW_PAUSE" }, { _tag: "TASK_FAILED", id, reason: "no" }], now)
  }
  must(textOf(self.state) === before, "a state that came in was changed")
}

export const properties: ReadonlyArray<Property> = [
  { name: "small", draws: draw(8, 40), size: 40, share: 65, holds: endsWell },
  { name: "medium", draws: draw(40, 80), size: 80, share: 18, holds: endsWell },
  { name: "large", draws: draw(200, 200), size: 200, share: 3, holds: endsWell },
  { name: "verify", draws: draw(20, 40), size: 40, share: 5, holds: isVerified },
  { name: "forks", draws: draw(20, 40), size: 40, share: 5, holds: forks },
  { name: "pure", draws: draw(20, 40), size: 40, share: 4, holds: leavesAlone }
]

export interface CheckOptions {
  readonly runs: number
  readonly seed?: number | undefined
  /** What a failure printed: that draw alone, with its shrinking. */
  readonly replay?: string | undefined
}

/** Undefined when it holds; else what is broken, the smallest draw that shows it and the command that repeats it. */
export const check = (property: Property, { replay, runs, seed }: CheckOptions): string | undefined => {
  const result = Effect.runSync(Arbitrary.checkEffect(
    property.draws,
    (draw) => Effect.try({ try: () => property.holds(draw), catch: messageOf }).pipe(Effect.as(true)),
    {
      runs,
      size: property.size,
      maxShrinks: 2_000,
      ...(seed === undefined ? {} : { seed }),
      ...(replay === undefined ? {} : { replay })
    }
  ))
  // The draw of a failure that is mended: it holds.
  if (result._tag === "ReplayMismatch" && result.reason === "PropertyPassed") return undefined
  const failure = Arbitrary.formatCheckFailure(result)
  if (failure === undefined || result._tag !== "Falsified") return failure
  const { shape: drawn, script } = result.shrunkInput
  return [
    `property ${property.name} is falsified after ${result.runs} run(s), shrunk in ${result.shrinks} step(s)`,
    result.failure._tag === "PropertyError" ? result.failure.error : "",
    `definition: ${JSON.stringify(specOf(drawn))}`,
    `draw: ${JSON.stringify({ shape: drawn, script })}`,
    `again: npm run properties -- --property ${property.name} --replay '${result.replay}'`
  ].join("\n")
}

const messageOf = (error: unknown): string => error instanceof Error ? error.stack ?? error.message : String(error)
