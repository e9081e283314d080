/**
 * Instances whose runs go on, but that wait long: out of memory but for a record each, and back when their timer is due or anything concerns them.
 *
 * Kept true here: an instance has a bus or a record, never both, never neither: each change from one to the other is one synchronous step. It leaves only when the derived
 * history has all of it and its messages to others are safe. What arrives while it is being loaded waits and is given to the bus in order of arrival; one load of
 * an instance is under way at a time, and of all of them `loadsMax`. A record survives in checkpoints, so a take-over arms an alarm and loads nothing.
 * Whether one may leave is decided in `Passivation`. Follows design/01 section 3 ("idle instances are passivated and loaded when needed").
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import type { WorkflowResult, WorkflowSummary } from "../../shared/protocol/Workflow.ts"
import type { Definitions } from "./Definitions.ts"
import type { EngineEffect } from "./engine/EngineEffect.ts"
import * as Semaphore from "./engine/Semaphore.ts"
import * as View from "./engine/View.ts"
import type { HistoryProjector } from "./HistoryProjector.ts"
import * as InstanceLoader from "./InstanceLoader.ts"
import * as Passivation from "./Passivation.ts"
import type { Signals } from "./Signals.ts"
import type { Timers } from "./Timers.ts"
import { busLengthMax, type WorkflowEventBus } from "./WorkflowEventBus.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** Instances loaded at the same time; those that somebody asks for go first. */
export const loadsMax = 32
/** An instance is loaded this much before its timer is due, so that it is in memory in time. */
export const leadMs = 500
/** After a load that failed because a part of the mesh did not answer. */
const retryMs = 500
/** Tasks and items looked at to see whether an instance may leave when one of its timers was just armed; larger ones wait for the sweep. */
const looksMax = 256
/** Buses looked at between two yields of the sweep. */
const pageSize = 512

/** What stays of an instance that left memory while its run goes on. */
export interface Passive {
  readonly instance: InstanceId
  readonly shard: Shard
  /** Entries that its history has: all. */
  readonly n: number
  /** The earliest of its timers, epoch milliseconds; `undefined`: only a message can wake it. */
  readonly dueAt: number | undefined
  readonly summary: typeof WorkflowSummary.Type
  /** Fingerprint of its start request. */
  readonly content: string | undefined
}

type Waiter = (result: WorkflowResult | undefined) => void
type Then = (loaded: Result.Result<WorkflowEventBus, ContractError>) => void

/** `waiters`: clients that wait for the result; they do not keep the instance in memory. */
interface Held {
  readonly passive: Passive
  waiters: Set<Waiter> | undefined
}

export interface PassiveInstancesOptions {
  readonly nats: Connection
  readonly definitions: Definitions
  readonly buses: () => WorkflowEventBusCoordinator
  readonly timers: Timers
  readonly history: HistoryProjector
  readonly signals: Signals
  /** What waits longer than this leaves. */
  readonly afterMs: number
  readonly now: () => number
  /** Arms the timers of a bus that has come back. */
  readonly arm: (bus: WorkflowEventBus) => void
  /** Takes back the timers of a bus that leaves. */
  readonly disarm: (bus: WorkflowEventBus) => void
  /** Which of the shard's instances are in memory has changed: its next checkpoint is another one. */
  readonly changed: (shard: Shard) => void
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly warn: (message: string) => void
}

const gone = (instance: InstanceId, shard: Shard) =>
  new ContractError({ code: "NotOwner", message: `shard ${shard} of ${instance} is changing hands: try again` })
const alarmOf = (instance: InstanceId): string => `passive/${instance}`

export class PassiveInstances {
  readonly #options: PassiveInstancesOptions
  readonly #byShard = new Map<Shard, Map<InstanceId, Held>>()
  readonly #byId = new Map<InstanceId, Held>()
  /** Who waits until an instance is there, in order of arrival. */
  readonly #callers = new Map<Held, Array<Then>>()
  /** To be loaded: for somebody, and because a timer is due. Oldest first. */
  readonly #asked = new Set<Held>()
  readonly #due = new Set<Held>()
  readonly #loading = new Set<Held>()

  constructor(options: PassiveInstancesOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#byId.size
  }

  /** Clients that wait for a result. */
  get waiters(): number {
    let count = 0
    for (const { waiters } of this.#byId.values()) count += waiters?.size ?? 0
    return count
  }

  get(instance: InstanceId): Passive | undefined {
    return this.#byId.get(instance)?.passive
  }

  *values(): IterableIterator<Passive> {
    for (const { passive } of this.#byId.values()) yield passive
  }

  /** What the shard's checkpoint holds of them. */
  ofShard(shard: Shard): ReadonlyArray<Passive> {
    return [...this.#byShard.get(shard)?.values() ?? []].map(({ passive }) => passive)
  }

  // ---- leaving

  /** After each recorded turn: an instance that has just begun to wait for something far leaves at once. */
  recorded(bus: WorkflowEventBus, effects: ReadonlyArray<EngineEffect>): void {
    let isFar = false
    for (const effect of effects) {
      if (effect._tag === "Dispatch") return
      if (effect._tag !== "ArmTimer") continue
      const { _tag } = effect.event
      if (_tag !== "TASK_DISPATCH" && _tag !== "TASK_RETRY") continue
      if (effect.dueAt - this.#options.now() <= this.#options.afterMs) return
      isFar = true
    }
    if (isFar) this.considerTimed(bus)
  }

  /** Leaves when it waits for a timer that is far, and that is soon found. */
  considerTimed(bus: WorkflowEventBus): void {
    const decision = this.#decide(bus, looksMax)
    if (decision._tag === "Leaves" && decision.dueAt !== undefined) this.#leave(bus, decision.dueAt)
  }

  #decide(bus: WorkflowEventBus, looks?: number): Passivation.Decision {
    return Passivation.decide(bus.committed, this.#options.now(), this.#options.afterMs, looks)
  }

  /** Looks for what has become idle, for ever: run it as a supervised fiber. */
  readonly run: Effect.Effect<never> = Effect.gen({ self: this }, function*() {
    for (;;) {
      yield* Effect.sleep(this.#options.afterMs)
      let looked = 0
      for (const worker of this.#options.buses().workers) {
        for (const bus of worker.buses.values()) {
          if (++looked % pageSize === 0) yield* Effect.yieldNow
          this.#sweep(bus)
        }
      }
    }
  })

  /** Leaves when nothing was recorded of it since the last look. An answer "stays" holds until something is. */
  #sweep(bus: WorkflowEventBus): void {
    const { n } = bus
    if (bus.sweptAt !== n) {
      bus.sweptAt = n
      return
    }
    if (bus.staysAt === n || bus.leavesAt === n) return
    if (bus.committed.semaphore !== undefined) return this.#forgetSemaphore(bus)
    const decision = this.#decide(bus)
    if (decision._tag === "Leaves") this.#leave(bus, decision.dueAt)
    else bus.staysAt = n
  }

  /** Nothing of it is decided, being appended or not yet in the history. */
  #isStill(bus: WorkflowEventBus, n: number): boolean {
    return this.#options.buses().bus(bus.shard, bus.instance) === bus && bus.n === n && bus.length === 0 &&
      !bus.isWaiting && !bus.isAppending && bus.committed === bus.state && bus.unprojected.length === 0
  }

  #leave(bus: WorkflowEventBus, dueAt: number | undefined): void {
    const { history, signals } = this.#options
    const { n } = bus
    if (bus.leavesAt === n) return
    bus.leavesAt = n
    history.project(bus, () => {
      if (!this.#isStill(bus, n)) return
      signals.whenSent(bus, () => {
        if (!this.#isStill(bus, n)) return
        this.#options.disarm(bus)
        this.#options.buses().unRegisterWorkflowEventBus(bus)
        const { committed: state, instance, resultWaiters, shard } = bus
        this.#add({
          passive: { instance, shard, n, dueAt, summary: View.summary(state), content: state.start?.content },
          waiters: resultWaiters.size === 0 ? undefined : resultWaiters
        })
        this.#options.changed(shard)
      })
    })
  }

  /** Nobody holds or wants a slot, and it has no more of them than one that is made anew: the next request begins it anew. */
  #forgetSemaphore(bus: WorkflowEventBus): void {
    const { n } = bus
    if (!Semaphore.isUnused(bus.committed.semaphore)) return
    this.#options.signals.whenSent(bus, () => {
      if (!this.#isStill(bus, n)) return
      this.#options.buses().unRegisterWorkflowEventBus(bus)
      this.#options.changed(bus.shard)
    })
  }

  // ---- the records

  /** Of a shard that was taken over: alarms are armed, nothing is loaded. */
  restored(records: ReadonlyArray<Passive>): void {
    for (const passive of records) this.#add({ passive, waiters: undefined })
  }

  /** The shard is no longer ours: whoever waits asks its next owner. */
  close(shard: Shard): void {
    const held = this.#byShard.get(shard)
    if (held === undefined) return
    for (const one of held.values()) {
      this.#remove(one)
      this.#tell(one, Result.fail(gone(one.passive.instance, shard)))
      for (const waiter of one.waiters ?? []) waiter(undefined)
      one.waiters?.clear()
    }
    this.#byShard.delete(shard)
  }

  #add(held: Held): void {
    const { instance, shard } = held.passive
    this.#byId.set(instance, held)
    let ofShard = this.#byShard.get(shard)
    if (ofShard === undefined) this.#byShard.set(shard, ofShard = new Map())
    ofShard.set(instance, held)
    this.#arm(held, 0)
  }

  #remove(held: Held): void {
    const { instance, shard } = held.passive
    this.#byId.delete(instance)
    this.#byShard.get(shard)?.delete(instance)
    this.#asked.delete(held)
    this.#due.delete(held)
    this.#options.timers.cancel(alarmOf(instance))
  }

  #arm(held: Held, notBefore: number): void {
    const { dueAt, instance } = held.passive
    if (dueAt === undefined) return
    this.#options.timers.arm({
      key: alarmOf(instance),
      dueAt: Math.max(dueAt - leadMs, notBefore),
      fire: () => {
        if (this.#asked.has(held) || this.#loading.has(held)) return
        this.#due.add(held)
        this.#next()
      }
    })
  }

  // ---- coming back

  /** `then`, at once or when the instance is loaded, in order of arrival; `false`: it is none of these. What is done with the bus in `then` comes before all that arrives later. */
  wake(instance: InstanceId, then: Then): boolean {
    const held = this.#byId.get(instance)
    if (held === undefined) return false
    const callers = this.#callers.get(held) ?? []
    if (callers.length >= busLengthMax) {
      then(
        Result.fail(
          new ContractError({
            code: "Overloaded",
            message: `too much waits for ${instance}, which is loaded: try again`
          })
        )
      )
      return true
    }
    callers.push(then)
    this.#callers.set(held, callers)
    if (this.#loading.has(held)) return true
    this.#due.delete(held)
    this.#asked.add(held)
    this.#next()
    return true
  }

  /** Waits for the result of an instance that is not loaded for it; gives what takes the wait back. `undefined`: it is none of these. */
  awaitResult(instance: InstanceId, waiter: Waiter): (() => void) | undefined {
    const held = this.#byId.get(instance)
    if (held === undefined) return undefined
    const waiters = held.waiters ??= new Set()
    waiters.add(waiter)
    return () => waiters.delete(waiter)
  }

  #next(): void {
    while (this.#loading.size < loadsMax) {
      const from = this.#asked.size > 0 ? this.#asked : this.#due
      const first = from.values().next()
      if (first.done === true) return
      from.delete(first.value)
      this.#load(first.value)
    }
  }

  #load(held: Held): void {
    const { definitions, fork, nats } = this.#options
    const { instance, n, shard } = held.passive
    this.#loading.add(held)
    fork(Effect.map(
      Effect.result(InstanceLoader.load(nats, definitions, shard, instance, n + 1)),
      (loaded) => {
        this.#loading.delete(held)
        // after the shard has gone nobody waits any more
        if (this.#byId.get(instance) === held) this.#loaded(held, Result.map(loaded, Option.getOrUndefined))
        this.#next()
      }
    ))
  }

  #loaded(held: Held, loaded: Result.Result<WorkflowEventBus | undefined, ContractError>): void {
    const { instance, n, shard } = held.passive
    if (Result.isFailure(loaded) && loaded.failure.code === "Unavailable") {
      this.#arm(held, this.#options.now() + retryMs)
      return this.#tell(held, Result.fail(loaded.failure))
    }
    this.#remove(held)
    const bus = Result.isSuccess(loaded) ? loaded.success : undefined
    if (bus === undefined || bus.n !== n) {
      const reason = Result.isFailure(loaded)
        ? loaded.failure.message
        : `its history has ${bus?.n ?? 0} of its ${n} entries`
      this.#options.buses().worker(shard)?.unrestored.set(instance, reason)
      this.#options.warn(`instance ${instance} could not be loaded again and rests as it is: ${reason}`)
      this.#options.changed(shard)
      for (const waiter of held.waiters ?? []) waiter(undefined)
      return this.#tell(
        held,
        Result.fail(
          new ContractError({ code: "Internal", message: `instance ${instance} could not be restored: ${reason}` })
        )
      )
    }
    if (held.waiters !== undefined) bus.resultWaiters = held.waiters
    this.#options.buses().registerWorkflowEventBus(bus)
    this.#options.arm(bus)
    this.#tell(held, Result.succeed(bus))
  }

  #tell(held: Held, loaded: Result.Result<WorkflowEventBus, ContractError>): void {
    const callers = this.#callers.get(held)
    this.#callers.delete(held)
    for (const then of callers ?? []) then(loaded)
  }
}
