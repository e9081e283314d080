/**
 * An executor and a pool in one, which does what a case's script says: takes entries from the lanes (or leaves them there), registers, reports, kills, or does not.
 *
 * Nothing runs here: a task is its script. It keeps its side of the contract unless told otherwise: what it holds it says so when asked, a kill or pause it obeys becomes a fact,
 * and a fact that no owner takes goes to the durable inbox. It never offers its sandbox (hand-off has tests of its own). `held` and `lane` are what a leak check looks at.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Acknowledgements from "../../services/task-executor/Acknowledgements.ts"
import * as Wire from "../../services/task-executor/Wire.ts"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection, Subscription } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type InboundEntry, LaneBatch, Withdraw } from "../../shared/protocol/Lane.ts"
import {
  type ControlAnswer,
  ControlRequest,
  FactAnswer,
  type FactReport,
  RegisterAnswer,
  type Registration,
  type TaskFact,
  type TaskSpec
} from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import {
  ClaimId,
  type InstanceId,
  MemberId,
  Namespace,
  PoolName,
  SessionId,
  type Shard,
  StartupId
} from "../../shared/protocol/Token.ts"

const decodeLane = Decode.decoder(LaneBatch)
const register = Wire.questionOfOwner(RegisterAnswer)
const facts = Wire.questionOfOwner(FactAnswer)
const decodeControl = Decode.decoder(ControlRequest)
const decodeWithdraw = Decode.decoder(Withdraw)
/** Longer than this process may stand still. An owner that was cut off never answers: `isGone` says so, then nobody waits for that long. */
const answerTimeoutMs = 60_000
const realTime = {
  nowMs: () => performance.now(),
  after: (delayMs: number, run: () => void) => void setTimeout(run, delayMs)
}

/** What becomes of one attempt. */
export type Act =
  | { readonly _tag: "End"; readonly fact: TaskFact }
  /** Runs until the case ends it, or a kill (or a pause, if it `pauses`) does. `deaf`: runs on whatever it is told. */
  | { readonly _tag: "Hold"; readonly pauses: boolean; readonly deaf: boolean; readonly isQuiet: boolean }
  /** Stays on the lane. */
  | { readonly _tag: "Leave" }

export const succeed = (outputs: Record<string, unknown> = {}): Act => ({
  _tag: "End",
  fact: { _tag: "SUCCEEDED", outputs }
})
export const fail = (reason = "exit 1"): Act => ({ _tag: "End", fact: { _tag: "FAILED", reason } })
export const fatal = (reason = "no such type"): Act => ({ _tag: "End", fact: { _tag: "FATAL", reason } })
/** Reports RUNNING, then nothing. */
export const hold = { _tag: "Hold", pauses: false, deaf: false, isQuiet: false } as const satisfies Act
/** Registered, but RUNNING is not reported: stays DISPATCHED. */
export const holdQuietly: Act = { ...hold, isQuiet: true }
export const holdQuietlyPausable: Act = { ...hold, isQuiet: true, pauses: true }
export const holdPausable: Act = { ...hold, pauses: true }
export const holdDeaf: Act = { ...hold, deaf: true }
export const leave: Act = { _tag: "Leave" }

/** Acts of a task, one an attempt; the last goes on for ever. A task that is not named succeeds. `sub/x`: task `x` of every child that is task `sub`. */
export type Plan = Readonly<Record<string, Act | ReadonlyArray<Act> | ((spec: TaskSpec) => Act)>>

export interface Held {
  readonly spec: TaskSpec
  owner: MemberId
  readonly act: Act
}
/** An entry that nobody has taken. */
export interface Waiting {
  readonly shard: Shard
  readonly session: SessionId
  readonly owner: MemberId
  readonly pool: { readonly namespace: Namespace; readonly name: PoolName }
  readonly lane: string
  readonly entry: InboundEntry
}

type Attempt = Pick<TaskSpec, "instance" | "taskInstanceId">
const keyOf = ({ instance, taskInstanceId }: Attempt): string => `${instance}/${taskInstanceId}`
const taskOf = (taskInstanceId: string): string => taskInstanceId.split(":")[0] ?? ""

export class Script {
  readonly member: MemberId
  startup: StartupId
  /** The executor's clock, which facts are dated by. */
  now: () => number = () => 0
  /** Attempts that ran, in order. */
  readonly ran: Array<TaskSpec> = []
  /** `begin task` and `end task`, by instance. */
  readonly log: Array<{ readonly instance: InstanceId; readonly what: string }> = []
  readonly registered: Array<{ readonly instance: InstanceId; readonly id: string; readonly outcome: string }> = []
  readonly reported: Array<
    { readonly instance: InstanceId; readonly id: string; readonly fact: string; readonly outcome: string }
  > = []
  readonly controls: Array<{ readonly instance: InstanceId; readonly id: string; readonly kind: string }> = []
  readonly held = new Map<string, Held>()
  readonly lane = new Map<string, Waiting>()
  /** Ended, their final fact not acknowledged yet, by owner or inbox. */
  readonly reporting = new Set<string>()
  /** Lane messages that carried an entry, by entry: emitted more than once after a take-over. */
  readonly emitted = new Map<string, number>()
  readonly #plans = new Map<string, Plan>()
  /** By what the ids of the children begin with. */
  readonly #childPlans = new Map<string, Record<string, Plan[string]>>()
  readonly #counts = new Map<string, number>()
  readonly #nats: Connection
  /** Asks as a real executor does: answers may come ahead of the append. */
  #wire: Wire.Wire
  #control: Subscription | undefined
  /** Who waits for an answer, by owner. */
  readonly #asked = new Map<string, Set<() => void>>()
  readonly #gone = new Set<string>()
  #lives = 1
  #sequence = 0

  constructor(nats: Connection, name: string) {
    this.#nats = nats
    this.#wire = Wire.make(nats, new Acknowledgements.Acknowledgements(realTime, answerTimeoutMs))
    this.member = MemberId.make(name)
    this.startup = StartupId.make(`${name}-1`)
  }

  plan(instance: string, plan: Plan): void {
    this.#plans.set(instance, plan)
    for (const [key, act] of Object.entries(plan)) {
      const [parent, name] = key.split("/")
      if (parent === undefined || name === undefined) continue
      const begin = `${instance.slice(0, 24)}-${parent.slice(0, 20)}`
      this.#childPlans.set(begin, { ...this.#childPlans.get(begin), [name]: act })
    }
  }

  /** Whether kills, pauses and asks arrive. */
  set isReachable(wanted: boolean) {
    if (wanted === (this.#control !== undefined)) return
    this.#control?.unsubscribe()
    this.#control = wanted
      ? this.#nats.subscribeUnsafe(Subject.member(this.member, "control"), (message) => this.#onControl(message))
      : undefined
  }

  /** As after the time-outs of what it was asked and will be: an owner that is cut off answers nothing any more, also if the broker does not know that yet. */
  isGone(owner: string): void {
    this.#gone.add(owner)
    const waiting = this.#asked.get(owner)
    this.#asked.delete(owner)
    for (const giveUp of waiting ?? []) giveUp()
  }

  /** `done` is called once: with the answer, or when the owner is gone. */
  #ask<A>(
    question: Wire.Question<A>,
    owner: MemberId,
    kind: "register" | "facts",
    body: string,
    done: (answer: Result.Result<A, Wire.AskFailure>) => void
  ): void {
    if (this.#gone.has(owner)) return done(Result.fail({ _tag: "Unknown", reason: "the owner is gone" }))
    const waiting = this.#asked.get(owner) ?? new Set()
    this.#asked.set(owner, waiting)
    const settle = (answer: Result.Result<A, Wire.AskFailure>): void => {
      if (waiting.delete(giveUp)) done(answer)
    }
    const giveUp = (): void => settle(Result.fail({ _tag: "Unknown", reason: "the owner is gone" }))
    waiting.add(giveUp)
    this.#wire.ask(question, Subject.member(owner, kind), body, answerTimeoutMs, settle)
  }

  /** A new life of the same name: everything that was held is gone without a word. */
  restart(): void {
    this.startup = StartupId.make(`${this.member}-${++this.#lives}`)
    this.held.clear()
    this.reporting.clear()
  }

  of(instance: InstanceId, task: string): Held | undefined {
    for (const one of this.held.values()) if (one.spec.instance === instance && one.spec.task === task) return one
    return undefined
  }

  ranOf(instance: InstanceId): ReadonlyArray<string> {
    return this.ran.flatMap((spec) => spec.instance === instance ? [spec.taskInstanceId] : [])
  }

  specsOf(instance: InstanceId): ReadonlyArray<TaskSpec> {
    return this.ran.filter((spec) => spec.instance === instance)
  }

  logOf(instance: InstanceId): ReadonlyArray<string> {
    return this.log.flatMap((one) => one.instance === instance ? [one.what] : [])
  }

  /** Reports `fact` of what is held, or of any attempt that once ran. */
  end(spec: TaskSpec, fact: TaskFact): void {
    const held = this.held.get(keyOf(spec))
    this.held.delete(keyOf(spec))
    if (fact._tag !== "RUNNING") this.log.push({ instance: spec.instance, what: `end ${spec.task}` })
    this.report(this.reportOf(spec, fact), held?.owner)
  }

  reportOf(spec: Attempt & { readonly shard: Shard }, fact: TaskFact): FactReport {
    return {
      shard: spec.shard,
      instance: spec.instance,
      taskInstanceId: spec.taskInstanceId,
      executor: this.member,
      startup: this.startup,
      sequence: ++this.#sequence,
      at: this.now(),
      fact
    }
  }

  /** To the owner; to the durable inbox when that does not take it. */
  report(one: FactReport, owner: MemberId | undefined): void {
    const note = (outcome: string): void =>
      void this.reported.push({ instance: one.instance, id: one.taskInstanceId, fact: one.fact._tag, outcome })
    const key = keyOf(one)
    if (one.fact._tag !== "RUNNING") this.reporting.add(key)
    const inbox = (): void =>
      Append.publishUnsafe(
        this.#nats,
        Subject.command(one.shard, one.instance),
        JSON.stringify({ _tag: "Fact", report: one }),
        {},
        (stored) => {
          if (Result.isFailure(stored)) return inbox()
          note("Inbox")
          this.reporting.delete(key)
        }
      )
    if (owner === undefined) return inbox()
    const body = JSON.stringify({ facts: [one], ackReader: this.member })
    this.#ask(facts, owner, "facts", body, (answer) => {
      const outcome = Result.isSuccess(answer) ? answer.success.outcomes[0] : undefined
      if (outcome === undefined || outcome._tag === "NotOwner") return inbox()
      note(outcome._tag)
      this.reporting.delete(key)
    })
  }

  /** Takes what was left on the lane; `undefined`: everything. */
  take(instance?: InstanceId, task?: string): void {
    for (const [key, waiting] of this.lane) {
      if (instance !== undefined && waiting.entry.instance !== instance) continue
      if (task !== undefined && taskOf(waiting.entry.taskInstanceId) !== task) continue
      this.lane.delete(key)
      this.register(waiting)
    }
  }

  /** Takes the first `max` of what was left on the lane. */
  takeSome(max: number): void {
    let left = max
    for (const [key, waiting] of this.lane) {
      if (left-- === 0) return
      this.lane.delete(key)
      this.register(waiting)
    }
  }

  registrationOf(waiting: Waiting, claim = `c-${++this.#sequence}`): Registration {
    return {
      shard: waiting.shard,
      session: waiting.session,
      instance: waiting.entry.instance,
      taskInstanceId: waiting.entry.taskInstanceId,
      placement: {
        executor: this.member,
        startup: this.startup,
        pool: waiting.pool,
        poolSession: SessionId.make(1),
        claimId: ClaimId.make(claim),
        sandbox: "s-1"
      }
    }
  }

  register(waiting: Waiting, tries = 0): void {
    const body = JSON.stringify({ registrations: [this.registrationOf(waiting)], ackReader: this.member })
    this.#ask(
      register,
      waiting.owner,
      "register",
      body,
      (answer) => {
        const outcome = Result.isSuccess(answer) ? answer.success.outcomes[0] : undefined
        this.registered.push({
          instance: waiting.entry.instance,
          id: waiting.entry.taskInstanceId,
          outcome: outcome?._tag ?? `no answer ${tries}`
        })
        // no answer: given up; the next owner emits the entry again, or asks for it
        if (outcome?._tag === "Registered") this.#begin(outcome.spec, waiting.owner)
      }
    )
  }

  #actOf(instance: string, task: string, spec: TaskSpec | undefined): Act {
    const plan = this.#plans.get(instance) ?? this.#childPlans.get(instance.slice(0, instance.lastIndexOf("-")))
    const planned = plan?.[task]
    if (planned === undefined) return succeed()
    if (typeof planned === "function") return spec === undefined ? succeed() : planned(spec)
    if (!Array.isArray(planned)) return planned as Act // the type guard of arrays does not see readonly ones
    const acts = planned as ReadonlyArray<Act>
    const key = `${instance}/${task}`
    const count = this.#counts.get(key) ?? 0
    if (spec !== undefined) this.#counts.set(key, count + 1)
    return acts[Math.min(count, acts.length - 1)] ?? succeed()
  }

  #begin(spec: TaskSpec, owner: MemberId): void {
    const act = this.#actOf(spec.instance, spec.task, spec)
    this.ran.push(spec)
    this.log.push({ instance: spec.instance, what: `begin ${spec.task}` })
    this.held.set(keyOf(spec), { spec, owner, act })
    if (act._tag === "End") this.end(spec, act.fact)
    else if (act._tag === "Hold" && !act.isQuiet) this.report(this.reportOf(spec, { _tag: "RUNNING" }), owner)
  }

  #onControl(message: Parameters<Parameters<Connection["subscribe"]>[1]>[0]): void {
    const request = decodeControl(message.text)
    if (Result.isFailure(request)) return
    const { kind, owner, tasks } = request.success
    const answer: ControlAnswer = {
      startup: this.startup,
      tasks: tasks.map((task) =>
        this.held.has(keyOf(task)) ? "Running" : this.reporting.has(keyOf(task)) ? "Reporting" : "Unknown"
      )
    }
    message.respond(JSON.stringify(answer))
    for (const task of tasks) {
      this.controls.push({ instance: task.instance, id: task.taskInstanceId, kind })
      const held = this.held.get(keyOf(task))
      if (held === undefined) continue
      held.owner = owner
      if (held.act._tag === "Hold" && held.act.deaf) continue
      if (kind === "kill") this.end(held.spec, { _tag: "KILLED" })
      else if (kind === "pause" && held.act._tag === "Hold" && held.act.pauses) this.end(held.spec, { _tag: "PAUSED" })
    }
  }

  readonly run: Effect.Effect<void, Consume.ConsumeFailed, Scope.Scope> = Effect.gen({ self: this }, function*() {
    const acknowledgements = yield* Acknowledgements.make(this.#nats, this.member, realTime, answerTimeoutMs)
    this.#wire = Wire.make(this.#nats, acknowledgements)
    yield* Consume.consume(
      this.#nats,
      Streams.name.ready,
      { durable: "lanes", filter: "heddle.pool.>" },
      (delivery) => {
        const batch = decodeLane(delivery.text)
        if (Result.isFailure(batch)) return void delivery.term(batch.failure.message)
        const [, , namespace, name, , lane] = delivery.subject.split(".")
        const pool = { namespace: Namespace.make(namespace ?? ""), name: PoolName.make(name ?? "") }
        delivery.ack()
        for (const { entries, session, shard } of batch.success.groups) {
          for (const entry of entries) {
            const waiting: Waiting = { shard, session, owner: batch.success.owner, pool, lane: lane ?? "", entry }
            const key = keyOf(entry)
            this.emitted.set(key, (this.emitted.get(key) ?? 0) + 1)
            if (this.#actOf(entry.instance, taskOf(entry.taskInstanceId), undefined)._tag === "Leave") {
              this.lane.set(key, waiting)
            } else this.register(waiting)
          }
        }
      }
    )
    yield* this.#nats.subscribe("heddle.rpc.pool.*.*.withdraw", (message) => {
      const withdrawn = decodeWithdraw(message.text)
      if (Result.isFailure(withdrawn)) return
      const { instance, taskInstanceIds } = withdrawn.success
      for (const taskInstanceId of taskInstanceIds) this.lane.delete(keyOf({ instance, taskInstanceId }))
    })
    this.isReachable = true
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        this.isReachable = false
      })
    )
    yield* this.#nats.flush
  })
}
