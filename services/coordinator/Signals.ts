/**
 * Messages between instances: what one instance's decision tells another (slots, parents and children), wherever the other lives.
 *
 * Kept true here: at least once, and in order per pair of instances, since the next message to a target is sent only when the one before it is safe (recorded by
 * the target, when its shard is ours; else stored in its shard's inbox). What a crash loses is said again by whoever takes the sender over (`Outstanding`); so an
 * instance leaves memory only when nothing of it waits here. Follows design/03 section 2, engine/Semaphore.ts.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { ChildStart, Signal } from "../../shared/protocol/Signal.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import type { InboxOutcome } from "./CommandInbox.ts"
import type { Send } from "./engine/EngineEffect.ts"
import { initial } from "./engine/Initial.ts"
import * as Semaphore from "./engine/Semaphore.ts"
import type { Timers } from "./Timers.ts"
import { WorkflowEventBus } from "./WorkflowEventBus.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

const retryMs = 200

/** Failures that go away by themselves: the message comes again. */
export const isPassing = (error: ContractError): boolean =>
  error.code === "NotOwner" || error.code === "Overloaded" || error.code === "Unavailable"

export interface SignalsOptions {
  readonly nats: Connection
  readonly timers: Timers
  readonly buses: () => WorkflowEventBusCoordinator
  readonly shardOf: (instance: InstanceId) => Shard
  /** Starts the child, or lets it go on. */
  readonly startChild: (child: InstanceId, request: ChildStart) => Effect.Effect<void, ContractError>
  /** Loads an instance that waits outside of memory; `false`: it is none of these (`PassiveInstances`). */
  readonly wake: (
    instance: InstanceId,
    then: (loaded: Result.Result<WorkflowEventBus, ContractError>) => void
  ) => boolean
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly warn: (message: string) => void
}

/** Messages of one instance to one other, oldest first; the first is under way. */
interface Line {
  readonly key: string
  readonly bus: WorkflowEventBus
  readonly waiting: Array<Send>
}

export class Signals {
  readonly #options: SignalsOptions
  readonly #lines = new Map<string, Line>()
  readonly #pending = new Map<WorkflowEventBus, number>()
  readonly #starting = new Set<InstanceId>()
  readonly #whenSent = new Map<WorkflowEventBus, () => void>()

  constructor(options: SignalsOptions) {
    this.#options = options
  }

  /** What waits here is bounded by what the instance's state asks for: a message that waits already is not added again. */
  send(bus: WorkflowEventBus, effect: Send): void {
    const key = `${bus.instance}>${effect.to}`
    const line = this.#lines.get(key) ?? { key, bus, waiting: [] }
    if (line.bus === bus && line.waiting.at(-1)?.id === effect.id) return
    line.waiting.push(effect)
    this.#pending.set(bus, (this.#pending.get(bus) ?? 0) + 1)
    if (this.#lines.has(key)) return
    this.#lines.set(key, line)
    this.#next(line)
  }

  /** `then`, at once when nothing of the instance waits. */
  whenSent(bus: WorkflowEventBus, then: () => void): void {
    if (this.#pending.has(bus)) this.#whenSent.set(bus, then)
    else then()
  }

  /** The instance is no longer ours: its next owner says it all again. */
  forget(bus: WorkflowEventBus): void {
    if (!this.#pending.delete(bus)) return
    this.#whenSent.delete(bus)
    for (const [key, line] of this.#lines) {
      if (line.bus !== bus) continue
      line.waiting.length = 0
      this.#lines.delete(key)
    }
  }

  /** A message for an instance of a shard that is ours. */
  handle(to: InstanceId, { event, from }: Omit<Signal, "_tag">, done: (outcome: InboxOutcome) => void): void {
    const buses = this.#options.buses()
    const shard = this.#options.shardOf(to)
    const worker = buses.worker(shard)
    // What comes while the child is being started waits for it.
    if (worker === undefined || this.#starting.has(to)) return done({ _tag: "again" })
    if (event._tag === "CHILD_START") return this.#startChild(to, event, done)
    let bus = worker.buses.get(to)
    const makes = event._tag === "SLOT_ACQUIRE" || event._tag === "SLOT_LIMIT"
    if (bus === undefined && makes && to.startsWith(Semaphore.idPrefix)) {
      bus = new WorkflowEventBus(initial(Semaphore.graph, to, shard))
      buses.registerWorkflowEventBus(bus)
      buses.publish(bus, { event: { _tag: "WORKFLOW_START", start: { definition: Semaphore.definition } } })
    }
    if (bus === undefined) {
      const isLoaded = this.#options.wake(to, (loaded) => {
        if (Result.isFailure(loaded) && isPassing(loaded.failure)) return done({ _tag: "again" })
        this.handle(to, { event, from }, done) // it is there now, or can't be restored
      })
      return isLoaded ? undefined : this.#unknown(to, { event, from }, done)
    }
    const isTaken = buses.publish(bus, {
      event,
      settled: (settlement) => done({ _tag: settlement === "Recorded" ? "done" : "again" })
    })
    if (!isTaken) done({ _tag: "again" })
  }

  #startChild(to: InstanceId, request: ChildStart, done: (outcome: InboxOutcome) => void): void {
    this.#starting.add(to)
    const { instance, task } = request.parent
    this.#options.fork(Effect.matchEffect(this.#options.startChild(to, request), {
      onSuccess: () =>
        Effect.sync(() => {
          this.#starting.delete(to)
          done({ _tag: "done" })
        }),
      onFailure: (error) =>
        Effect.sync(() => {
          this.#starting.delete(to)
          if (isPassing(error)) return done({ _tag: "again" })
          this.#deliver(instance, {
            from: to,
            event: { _tag: "TASK_FATAL", id: task, reason: `no sub-workflow ${request.definition}: ${error.message}` }
          }, done)
        })
    }))
  }

  /** Not in memory: it has rested, with nothing left to say. A slot that it is given goes back. */
  #unknown(to: InstanceId, { event, from }: Omit<Signal, "_tag">, done: (outcome: InboxOutcome) => void): void {
    const ticket = event._tag === "TASK_SLOT_GRANTED"
      ? event.id
      : event._tag === "WORKFLOW_SLOT_GRANTED" || event._tag === "WORKFLOW_SLOT_REFUSED"
      ? event.ticket
      : undefined
    if (ticket === undefined) return done({ _tag: "done" })
    this.#deliver(from, { from: to, event: { _tag: "SLOT_RELEASE", from: to, ticket } }, done)
  }

  /** To the target's bus when its shard is ours, else to its shard's inbox. */
  #deliver(to: InstanceId, message: Omit<Signal, "_tag">, done: (outcome: InboxOutcome) => void): void {
    const shard = this.#options.shardOf(to)
    if (this.#options.buses().worker(shard) !== undefined) return this.handle(to, message, done)
    const body: Signal = { _tag: "Signal", ...message }
    Append.publishUnsafe(
      this.#options.nats,
      Subject.command(shard, to),
      JSON.stringify(body),
      {},
      (result) => done({ _tag: Result.isSuccess(result) ? "done" : "again" })
    )
  }

  #next(line: Line): void {
    const effect = line.waiting[0]
    if (effect === undefined) {
      if (this.#lines.get(line.key) === line) this.#lines.delete(line.key)
      return
    }
    this.#deliver(effect.to, { from: effect.from, event: effect.event }, (outcome) => {
      if (line.waiting[0] !== effect) return // forgotten meanwhile
      if (outcome._tag === "again") {
        return this.#options.timers.armIn({
          key: `signal/${line.key}`,
          delayMs: retryMs,
          fire: () => {
            if (line.waiting[0] === effect) this.#next(line)
          }
        })
      }
      if (outcome._tag === "refused") {
        this.#options.warn(`${effect.id} to ${effect.to} was refused: ${outcome.error.message}`)
      }
      line.waiting.shift()
      this.#settled(line.bus)
      this.#next(line)
    })
  }

  #settled(bus: WorkflowEventBus): void {
    const left = (this.#pending.get(bus) ?? 0) - 1
    if (left > 0) {
      this.#pending.set(bus, left)
      return
    }
    this.#pending.delete(bus)
    const then = this.#whenSent.get(bus)
    this.#whenSent.delete(bus)
    then?.()
  }
}
