/**
 * Registers buses with their shard's worker and turns what waits on them into the ledger's next append.
 *
 * A turn: the events that wait for an instance, K at most, go through `decide`; that gives one journal entry. The entries of all instances that had a turn make one
 * append. Effects and answers follow only when the journal has it. A defect in `decide` never loses the event silently: the turn is tried again, then
 * the instance that it belongs to is poisoned with the reason, while all others go on. Follows design/03 sections 1 and 2.
 */
import { hash as cryptoHash } from "node:crypto"
import type { Entry, LifecycleEvent, Transition } from "../../shared/protocol/Journal.ts"
import {
  EpochMs,
  type InstanceId,
  type MemberId,
  type SessionId,
  type Shard,
  StreamSequence
} from "../../shared/protocol/Token.ts"
import * as Chain from "./engine/Chain.ts"
import * as Decide from "./engine/Decide.ts"
import type { EngineEffect } from "./engine/EngineEffect.ts"
import type { Turn, TurnSource } from "./Ledger.ts"
import type { PendingEvent, WorkflowEventBus } from "./WorkflowEventBus.ts"
import { WorkflowEventBusFireWorker } from "./WorkflowEventBusFireWorker.ts"

/** Events that one bus may have handled before the others get their turn. */
export const turnEventsMax = 64
/** How often an event is put through `decide` before it poisons its instance. */
export const decideAttemptsMax = 3

const sha256: Chain.Sha256 = (text) => cryptoHash("sha256", text, "hex")

/** What one turn left to do once the journal has its entry. */
interface Outcome {
  readonly bus: WorkflowEventBus
  readonly handled: ReadonlyArray<PendingEvent>
  readonly state: WorkflowEventBus["state"]
  readonly entry: { readonly n: number; readonly text: string } | undefined
  /** Of the entry. */
  readonly transitions: ReadonlyArray<Transition>
  readonly effects: ReadonlyArray<EngineEffect>
}

/** The answers that may go ahead of the append: those of one executor, since the acknowledgement goes to one. The others wait for the coordinator to see it. */
const earlyOf = (outcomes: ReadonlyArray<Outcome>): Turn["early"] => {
  let reader: MemberId | undefined
  const answers: Array<NonNullable<PendingEvent["early"]>> = []
  for (const { handled } of outcomes) {
    for (const { early } of handled) {
      if (early === undefined) continue
      reader ??= early.reader
      if (early.reader === reader) answers.push(early)
    }
  }
  return reader === undefined
    ? undefined
    : { reader, send: (subject) => answers.forEach((answer) => answer.send(subject)) }
}

export interface TurnListener {
  /** The append with the turn of `bus` is under way: nothing is recorded yet. */
  readonly sent: (bus: WorkflowEventBus, effects: ReadonlyArray<EngineEffect>) => void
  /** The journal has the turn of `bus`; `transitions`: of its entry, none when the turn changed nothing. */
  readonly recorded: (
    bus: WorkflowEventBus,
    effects: ReadonlyArray<EngineEffect>,
    transitions: ReadonlyArray<Transition>
  ) => void
  /** All turns of one append were told, by `sent` or by `recorded`: what was gathered over them can go. */
  readonly told: () => void
  readonly defect: (bus: WorkflowEventBus, cause: unknown) => void
}

export class WorkflowEventBusCoordinator implements TurnSource {
  readonly #workers = new Map<Shard, WorkflowEventBusFireWorker>()
  readonly #listener: TurnListener
  readonly #now: () => number
  #line: Array<WorkflowEventBusFireWorker> = []
  #wake: () => void = () => {}

  constructor(options: { readonly listener: TurnListener; readonly now: () => number }) {
    this.#listener = options.listener
    this.#now = options.now
  }

  /** The ledger to wake when there is work. */
  set wakeLedger(wake: () => void) {
    this.#wake = wake
  }

  get workers(): Iterable<WorkflowEventBusFireWorker> {
    return this.#workers.values()
  }

  get shardsOwned(): number {
    return this.#workers.size
  }

  /** In memory. */
  get instances(): number {
    let count = 0
    for (const { buses } of this.#workers.values()) count += buses.size
    return count
  }

  worker(shard: Shard): WorkflowEventBusFireWorker | undefined {
    return this.#workers.get(shard)
  }

  bus(shard: Shard, instance: InstanceId): WorkflowEventBus | undefined {
    return this.#workers.get(shard)?.buses.get(instance)
  }

  /** The shard is served from now on, under `session`. */
  open(shard: Shard, session: SessionId): WorkflowEventBusFireWorker {
    const worker = new WorkflowEventBusFireWorker(shard, session)
    this.#workers.set(shard, worker)
    return worker
  }

  /** The shard is no longer served: what waits on its buses is lost to its senders, who ask the next owner. */
  close(shard: Shard): void {
    const worker = this.#workers.get(shard)
    if (worker === undefined) return
    this.#workers.delete(shard)
    for (const bus of worker.buses.values()) {
      for (const pending of bus.take(Infinity)) pending.settled?.("Lost")
      for (const waiter of bus.resultWaiters) waiter(undefined)
      bus.resultWaiters.clear()
    }
    worker.buses.clear()
  }

  registerWorkflowEventBus(bus: WorkflowEventBus): void {
    this.#workers.get(bus.shard)?.buses.set(bus.instance, bus)
  }

  unRegisterWorkflowEventBus(bus: WorkflowEventBus): void {
    this.#workers.get(bus.shard)?.buses.delete(bus.instance)
  }

  /** Puts an event on the bus and wakes its worker. `false`: the bus is full. */
  publish(bus: WorkflowEventBus, pending: PendingEvent): boolean {
    if (this.#workers.get(bus.shard)?.buses.get(bus.instance) !== bus) {
      pending.settled?.("Lost")
      return true
    }
    if (!bus.offer(pending)) return false
    this.#enqueue(bus)
    this.#wake()
    return true
  }

  #enqueue(bus: WorkflowEventBus): void {
    const worker = this.#workers.get(bus.shard)
    if (worker === undefined) return
    worker.enqueue(bus)
    if (worker.isWaiting) return
    worker.isWaiting = true
    this.#line.push(worker)
  }

  collect(limits: { readonly recordsMax: number; readonly bytesMax: number }): Turn | undefined {
    const records: Array<string> = []
    const outcomes: Array<Outcome> = []
    let bytes = 0
    const now = EpochMs.make(this.#now())
    const again: Array<WorkflowEventBus> = []
    let at = 0
    while (at < this.#line.length && records.length < limits.recordsMax && bytes < limits.bytesMax) {
      const worker = this.#line[at++]
      if (worker === undefined || this.#workers.get(worker.shard) !== worker) continue
      const bus = worker.next()
      if (bus !== undefined) {
        const outcome = this.#turn(bus, now)
        outcomes.push(outcome)
        if (outcome.entry !== undefined) {
          records.push(outcome.entry.text)
          bytes += outcome.entry.text.length
        }
        // one turn an append: the next entry names the sequence of this one
        if (bus.length > 0) again.push(bus)
      }
      if (worker.hasWork) this.#line.push(worker)
      else worker.isWaiting = false
    }
    this.#line = at === this.#line.length ? [] : this.#line.slice(at)
    for (const bus of again) this.#enqueue(bus)
    if (outcomes.length === 0) return undefined
    if (records.length === 0) {
      // nothing changed and nothing is in flight: what the events were told is in the journal already
      this.#recorded(outcomes, undefined)
      return this.collect(limits)
    }
    const early = earlyOf(outcomes)
    return {
      records,
      ...(early === undefined ? {} : { early }),
      sent: () => {
        for (const { bus, effects } of outcomes) this.#listener.sent(bus, effects)
        this.#listener.told()
      },
      acked: (sequence) => this.#recorded(outcomes, sequence),
      lost: () => {
        for (const { handled } of outcomes) for (const pending of handled) pending.settled?.("Lost")
      }
    }
  }

  #turn(bus: WorkflowEventBus, now: EpochMs): Outcome {
    const handled = bus.take(turnEventsMax)
    const decision = this.#decide(bus, handled.flatMap(({ event }) => event === undefined ? [] : [event]), now)
    if (decision === undefined) {
      for (const pending of handled) pending.settled?.("Lost")
      return { bus, handled: [], state: bus.state, entry: undefined, transitions: [], effects: [] }
    }
    bus.state = decision.state
    for (const pending of handled) pending.decided?.(bus.state)
    if (decision.transitions.length === 0 && decision.effects.length === 0) {
      return { bus, handled, state: bus.state, entry: undefined, transitions: [], effects: decision.effects }
    }
    const draft: Chain.EntryDraft = {
      _tag: "Entry",
      shard: bus.shard,
      instance: bus.instance,
      n: bus.n + 1,
      prev: bus.sequence as Entry["prev"], // a stream sequence the broker gave
      at: now,
      cause: decision.cause,
      transitions: decision.transitions,
      effects: decision.effects.map((effect) => effect.id)
    }
    const sealed = Chain.sealEntry(bus.hash, draft, sha256)
    bus.n = draft.n
    bus.hash = sealed.hash
    bus.isAppending = true
    const { effects, transitions } = decision
    return { bus, handled, state: bus.state, entry: { n: draft.n, text: sealed.text }, transitions, effects }
  }

  /** `undefined`: not even the poisoning could be decided, so the events are not taken. */
  #decide(bus: WorkflowEventBus, events: ReadonlyArray<LifecycleEvent>, now: EpochMs): Decide.Decision | undefined {
    let defect: unknown
    for (let attempt = 0; attempt < decideAttemptsMax; attempt++) {
      try {
        return Decide.decide(bus.state, events, now)
      } catch (cause) {
        defect = cause
      }
    }
    this.#listener.defect(bus, defect)
    try {
      return Decide.poison(bus.state, defect instanceof Error ? defect.message : String(defect), now)
    } catch (cause) {
      this.#listener.defect(bus, new Error("its state can't even be poisoned: it takes no events", { cause }))
      return undefined
    }
  }

  #recorded(outcomes: ReadonlyArray<Outcome>, sequence: number | undefined): void {
    for (const { bus, effects, entry, handled, state, transitions } of outcomes) {
      if (entry !== undefined && sequence !== undefined) {
        bus.sequence = StreamSequence.make(sequence)
        bus.unprojected.push({ sequence, n: entry.n, text: entry.text })
        bus.committed = state
        bus.isAppending = false
      }
      for (const pending of handled) pending.settled?.("Recorded")
      if (this.#workers.get(bus.shard)?.buses.get(bus.instance) === bus) {
        this.#listener.recorded(bus, effects, transitions)
      }
    }
    this.#listener.told()
  }
}
