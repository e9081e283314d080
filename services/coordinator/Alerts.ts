/**
 * Alerts on their way to their sinks: by way of a stream, so that a delivery survives the coordinator that began it, and the engine waits for nobody.
 *
 * Kept true: an alert that the stream has taken is delivered at least once, or given up after `triesMax` with an error in the log; each sink has its own message, so
 * one that fails holds up no other. What is raised and not stored yet is bounded and tried again; if the process dies before, the next owner raises it again from the
 * journal under the same id (`Outstanding.alerts`), and no checkpoint leaves an entry behind whose alerts are still on their way (`drain`). Without sinks (`config` absent) alerts are logged at once. Follows design/03 section 6.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type AlertContext, AlertFailed, type AlertSink } from "../../shared/plugin/AlertSink.ts"
import { AlertMessage, type AlertTarget, kindsDefault } from "../../shared/protocol/Alert.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import type { Alert } from "./engine/EngineEffect.ts"
import type { Timers } from "./Timers.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"

export interface AlertConfig {
  readonly sinks: ReadonlyMap<string, AlertSink>
  /** Of runs whose definition names none, of schedules and backfills. */
  readonly targets: ReadonlyArray<AlertTarget>
}

/** Raised and not stored yet; more are dropped, with a line in the log. */
export const unstoredMax = 10_000
/** Deliveries of one alert to one sink, over about half an hour. */
export const triesMax = 12
const storeTriesMax = 20
const storeRetryMs = 1_000
const deliverMs = 30_000
const durable = "alerts"
const decode = Decode.decoder(AlertMessage)

/** 1 s, 2 s, 4 s, ... 5 min. */
export const retryDelayMs = (deliveries: number): number => Math.min(300_000, 1_000 * 2 ** (deliveries - 1))

/** The sinks that are told of `kind`. */
export const sinksOf = (targets: ReadonlyArray<AlertTarget>, kind: AlertMessage["kind"]): ReadonlyArray<string> => [
  ...new Set(targets.filter(({ on }) => (on ?? kindsDefault).includes(kind)).map(({ sink }) => sink))
]

export interface AlertsOptions {
  readonly nats: Connection
  readonly timers: Timers
  readonly config: AlertConfig | undefined
  readonly now: () => number
  readonly warn: (message: string) => void
  /** Supervised. */
  readonly fork: (effect: Effect.Effect<void>) => void
}

export class Alerts {
  readonly #options: AlertsOptions
  readonly #context: AlertContext
  readonly #isSuccessTold: boolean
  /** Numbers of what is raised and not stored yet, oldest first. */
  readonly #unstored = new Set<number>()
  readonly #draining: Array<{ readonly upTo: number; readonly done: () => void }> = []
  #raised = 0
  #stored = 0

  constructor(options: AlertsOptions) {
    this.#options = options
    this.#isSuccessTold = sinksOf(options.config?.targets ?? [], "WorkflowSucceeded").length > 0
    this.#context = {
      publish: (subject, body) =>
        Effect.suspend(() =>
          options.nats.publish(subject, body)
            ? Effect.void
            : Effect.fail(new AlertFailed({ message: "the connection to NATS is down", isPermanent: false }))
        )
    }
  }

  /** What the engine said of a run: to the targets of its definition. */
  ofRun(bus: WorkflowEventBus, alert: Omit<Alert, "kind"> & { readonly kind: AlertMessage["kind"] }): void {
    const { alerts, definition } = bus.state.graph
    // every run that succeeds comes here, and hardly anybody wants to hear of it
    if (alerts === undefined && alert.kind === "WorkflowSucceeded" && !this.#isSuccessTold) return
    this.raise({
      id: `${bus.instance}/${alert.id}`,
      kind: alert.kind,
      at: timestamp(this.#options.now()),
      message: alert.message,
      namespace: definition.namespace,
      definition: { name: definition.name, version: definition.version },
      instanceId: bus.instance,
      ...(alert.task === undefined ? {} : { task: alert.task })
    }, alerts)
  }

  /** Never waits. `targets`: the deployment's when not given. */
  raise(alert: AlertMessage, targets?: ReadonlyArray<AlertTarget>): void {
    const { config, warn } = this.#options
    if (config === undefined) {
      const isWanted = targets === undefined
        ? kindsDefault.includes(alert.kind)
        : sinksOf(targets, alert.kind).length > 0
      if (!isWanted) return
      const of = alert.instanceId ?? alert.schedule ?? alert.backfill ?? ""
      return warn(`alert ${alert.kind}: ${of}${alert.task === undefined ? "" : `/${alert.task}`}: ${alert.message}`)
    }
    for (const sink of sinksOf(targets ?? config.targets, alert.kind)) {
      if (this.#unstored.size >= unstoredMax) {
        warn(`alert ${alert.kind} ${alert.id} for ${sink} is dropped: ${unstoredMax} wait for the broker already`)
        continue
      }
      const number = ++this.#raised
      this.#unstored.add(number)
      this.#store(alert, sink, 1, number)
    }
  }

  /** `done` when everything that was raised before this call is stored or given up. */
  drain(done: () => void): void {
    if (this.#unstored.size === 0) done()
    else this.#draining.push({ upTo: this.#raised, done })
  }

  #settled(number: number): void {
    this.#unstored.delete(number)
    if (this.#draining.length === 0) return
    const [oldest = Infinity] = this.#unstored
    while ((this.#draining[0]?.upTo ?? Infinity) < oldest) this.#draining.shift()?.done()
  }

  #store(alert: AlertMessage, sink: string, tries: number, number: number): void {
    const { nats, timers, warn } = this.#options
    const msgId = `${alert.id}>${sink}`
    Append.publishUnsafe(nats, Subject.alert(sink), JSON.stringify(alert), { msgId }, (result) => {
      if (Result.isSuccess(result)) {
        this.#settled(number)
        return
      }
      if (tries < storeTriesMax) {
        return timers.armIn({
          key: `alert/${msgId}/${this.#stored++}`,
          delayMs: storeRetryMs,
          fire: () => this.#store(alert, sink, tries + 1, number)
        })
      }
      this.#settled(number)
      warn(`alert ${alert.kind} ${alert.id} for ${sink} could not be stored: ${result.failure.message}`)
    })
  }

  /** Delivers what the stream holds, together with the other coordinators; ends only with a failure. */
  readonly run: Effect.Effect<never, Consume.ConsumeFailed> = Effect.gen({ self: this }, function*() {
    const { config, fork, nats } = this.#options
    if (config === undefined) return yield* Effect.never
    const consumer = yield* Consume.consume(nats, Streams.name.alerts, {
      durable,
      description: "Alerts to their sinks",
      filter: Subject.alert("*"),
      ackWaitMs: 2 * deliverMs,
      // those that wait for their next try count as well
      maxAckPending: 5_000,
      maxMessages: 32
    }, (delivery) => fork(this.#deliver(config, delivery)))
    return yield* consumer.failure
  }).pipe(Effect.scoped)

  readonly #deliver = (config: AlertConfig, delivery: Consume.Delivery): Effect.Effect<void> =>
    Effect.gen({ self: this }, function*() {
      const sinkName = delivery.subject.split(".").at(-1) ?? ""
      const alert = decode(delivery.text)
      if (Result.isFailure(alert)) return this.#giveUp(delivery, `it can't be read: ${alert.failure.message}`)
      const sink = config.sinks.get(sinkName)
      const outcome = sink === undefined
        // another coordinator may have it
        ? new AlertFailed({ message: `this coordinator has no alert sink called ${sinkName}`, isPermanent: false })
        : yield* Effect.suspend(() => sink.deliver(alert.success, this.#context)).pipe(
          Effect.timeoutOrElse({
            duration: deliverMs,
            orElse: () =>
              Effect.fail(new AlertFailed({ message: `not done within ${deliverMs} ms`, isPermanent: false }))
          }),
          Effect.as(undefined),
          Effect.catchTag("AlertFailed", (failed) => Effect.succeed(failed)),
          Effect.catchCause((cause) =>
            Cause.hasInterruptsOnly(cause)
              ? Effect.interrupt
              : Effect.succeed(
                new AlertFailed({ message: `a defect in the sink: ${String(Cause.squash(cause))}`, isPermanent: true })
              )
          )
        )
      if (outcome === undefined) return void delivery.ack()
      if (outcome.isPermanent || delivery.deliveryCount >= triesMax) {
        return this.#giveUp(delivery, `${alert.success.id}: ${outcome.message}`)
      }
      delivery.nak(retryDelayMs(delivery.deliveryCount))
    })

  #giveUp(delivery: Consume.Delivery, reason: string): void {
    this.#options.warn(
      `an alert on ${delivery.subject} is given up after ${delivery.deliveryCount} deliveries: ${reason}`
    )
    delivery.term(reason)
  }
}
