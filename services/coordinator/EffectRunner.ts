/**
 * Carries out what decisions ask for, after the journal has them: lanes, executors, timers, alerts, results.
 *
 * One effect goes earlier, while the broker still writes the entry: `Dispatch`. A lane message is a hint (design/01 section 4): nothing runs without a registration, and that is
 * an entry of its own, which the ledger appends after the one that the hint came from. A hint whose entry was refused names an older session, or an instance that nobody has.
 *
 * Every effect is idempotent at its target, so doing one twice (a take-over does what the state says is outstanding again) changes nothing. Follows design/03 section 2.
 */
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import { StreamSequence } from "../../shared/protocol/Token.ts"
import type { Dependencies } from "./Dependencies.ts"
import type { Alert, ArmTimer, Control, EngineEffect, Finalize, Withdraw } from "./engine/EngineEffect.ts"
import * as Outstanding from "./engine/Outstanding.ts"
import * as View from "./engine/View.ts"
import type { ExecutorControl } from "./ExecutorControl.ts"
import type { FinishedInstances } from "./FinishedInstances.ts"
import type { HistoryProjector } from "./HistoryProjector.ts"
import type { LanePublisher } from "./LanePublisher.ts"
import type { Signals } from "./Signals.ts"
import type { Timers } from "./Timers.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

export interface EffectRunnerOptions {
  readonly nats: Connection
  readonly buses: () => WorkflowEventBusCoordinator
  readonly lanes: LanePublisher
  readonly control: ExecutorControl
  readonly signals: Signals
  readonly dependencies: Dependencies
  readonly timers: Timers
  readonly history: HistoryProjector
  readonly finished: FinishedInstances
  readonly alert: (
    bus: WorkflowEventBus,
    alert: Omit<Alert, "kind"> & { readonly kind: Alert["kind"] | "WorkflowSucceeded" }
  ) => void
}

const timerKey = (bus: WorkflowEventBus, timer: string): string => `${bus.instance}/${timer}`

/** A semaphore: as long as it is used checkpoints hold it, and nobody asks for its history. */
const isKeptForEver = (bus: WorkflowEventBus): boolean => bus.committed.semaphore !== undefined

const isAtRest = (bus: WorkflowEventBus): boolean =>
  bus.length === 0 && !bus.isWaiting && !bus.isAppending && bus.committed === bus.state &&
  bus.unprojected.length === 0 &&
  bus.committed.endedAt !== undefined

export class EffectRunner {
  readonly #options: EffectRunnerOptions
  #withdrawn: Array<Withdraw> = []

  constructor(options: EffectRunnerOptions) {
    this.#options = options
  }

  /** Puts the turn's tasks on their lanes while its append is under way. */
  dispatch(bus: WorkflowEventBus, effects: ReadonlyArray<EngineEffect>): void {
    for (const effect of effects) if (effect._tag === "Dispatch") this.#carryOut(bus, effect)
  }

  /** The journal has the turn: the other effects. */
  run(bus: WorkflowEventBus, effects: ReadonlyArray<EngineEffect>): void {
    this.project(bus)
    for (const effect of effects) if (effect._tag !== "Dispatch") this.#carryOut(bus, effect)
    // something was recorded after the run had come to rest: it may have kept the instance from leaving
    if (bus.committed.endedAt !== undefined && !effects.some((effect) => effect._tag === "Finalize")) this.#leave(bus)
  }

  /** What is recorded of the instance goes to its derived history. */
  project(bus: WorkflowEventBus): void {
    if (isKeptForEver(bus)) bus.unprojected.length = 0
    else if (bus.unprojected.length > 0) this.#options.history.touch(bus)
  }

  /** Sends what was gathered over the turns of one append. */
  flush(): void {
    this.#options.lanes.flush()
    if (this.#withdrawn.length > 0) this.#options.lanes.withdraw(this.#withdrawn.splice(0))
  }

  /** What the state says is outstanding, again: after a take-over, or when the lanes were lost. */
  again(bus: WorkflowEventBus, only?: EngineEffect["_tag"]): void {
    if (isKeptForEver(bus)) bus.unprojected.length = 0
    // lanes that were lost may have held what an append that is still under way has dispatched
    for (const effect of Outstanding.outstanding(only === "Dispatch" ? bus.state : bus.committed)) {
      if (only === undefined || effect._tag === only) this.#carryOut(bus, effect)
    }
    for (const alert of bus.untold.splice(0)) this.#carryOut(bus, alert)
  }

  /** The instance is no longer ours: its alarms must not ring here. */
  forget(bus: WorkflowEventBus): void {
    for (const effect of Outstanding.outstanding(bus.committed)) {
      if (effect._tag === "ArmTimer") this.#options.timers.cancel(timerKey(bus, effect.timer))
    }
    this.#options.signals.forget(bus)
  }

  #carryOut(bus: WorkflowEventBus, effect: EngineEffect): void {
    switch (effect._tag) {
      case "Dispatch": {
        const worker = this.#options.buses().worker(bus.shard)
        return worker === undefined ? undefined : this.#options.lanes.add(effect, bus.shard, worker.session)
      }
      case "Withdraw":
        this.#withdrawn.push(effect)
        return
      case "Kill":
      case "Pause":
      case "Ask":
        return this.#options.control.send(bus, effect)
      case "ArmTimer":
        return this.#arm(bus, effect)
      case "CancelTimer":
        return this.#options.timers.cancel(timerKey(bus, effect.timer))
      case "Send":
        return this.#options.signals.send(bus, effect)
      case "Query":
        return this.#options.dependencies.ask(bus, effect)
      case "Alert":
        return this.#options.alert(bus, effect)
      case "Finalize":
        return this.#finalize(bus, effect)
    }
  }

  #arm(bus: WorkflowEventBus, effect: ArmTimer): void {
    const fire = (): void => {
      // a bus that is full now has work for longer than this waits
      if (!this.#options.buses().publish(bus, { event: effect.event })) {
        this.#options.timers.armIn({ key: timerKey(bus, effect.timer), delayMs: 100, fire })
      }
    }
    this.#options.timers.arm({ key: timerKey(bus, effect.timer), dueAt: effect.dueAt, fire })
  }

  #finalize(bus: WorkflowEventBus, effect: Finalize): void {
    for (const waiter of bus.resultWaiters) waiter(effect.result)
    bus.resultWaiters.clear()
    if (effect.replyTo !== undefined) this.#options.nats.publish(effect.replyTo, JSON.stringify(effect.result))
    if (effect.result.state === "SUCCEEDED") {
      const id = `alert:WorkflowSucceeded:${effect.id}`
      this.#options.alert(bus, { _tag: "Alert", id, kind: "WorkflowSucceeded", message: "the run succeeded" })
    }
    this.#leave(bus)
  }

  #leave(bus: WorkflowEventBus): void {
    // out of memory only when the history has it all: from then on that answers for it
    this.#options.history.project(bus, () => {
      if (!isAtRest(bus)) return
      this.#options.signals.whenSent(bus, () => {
        if (!isAtRest(bus)) return
        this.#options.buses().unRegisterWorkflowEventBus(bus)
        this.#options.finished.add(bus.instance, {
          summary: View.summary(bus.committed),
          shard: bus.shard,
          content: bus.committed.start?.content,
          sequence: StreamSequence.make(bus.sequence)
        })
      })
    })
  }
}

/** The control effects among `effects`. */
export const controls = (effects: ReadonlyArray<EngineEffect>): ReadonlyArray<Control> =>
  effects.filter((effect): effect is Control =>
    effect._tag === "Kill" || effect._tag === "Pause" || effect._tag === "Ask"
  )

/** The event that a lost attempt becomes. */
export const failoverOf = (control: Pick<Control, "taskInstanceId">, reason: string): LifecycleEvent => ({
  _tag: "TASK_FAILOVER",
  id: control.taskInstanceId,
  lost: true,
  reason
})
