/**
 * Long-lived consumers: messages of a stream, one by one, to a synchronous handler.
 *
 * Keeps true: a message is delivered until it was acknowledged (`ack`), given back (`nak`) or put aside (`term`); at most `maxMessages` are on their way to this
 * process and at most `maxAckPending` unacknowledged. A deleted consumer, a restarted server and a broken connection are noticed by the server's own word, a
 * reconnect or two missed heartbeats (of hundreds of consumers each one's come less often, `PullConsumer.heartbeatOf`), and the consumer is recreated within 2 s
 * after the broker is back. Every such event is in `status`. Without acknowledgements a message is delivered once and none is left out, whatever was lost on its way.
 * Follows docs/design/modules.md "shared/jetstream", guides nats.md section 8 (5 to 10).
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { errCode, JetStreamFailed, retryTransient } from "./JetStreamApi.ts"
import type { Headers, Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"
import * as Outage from "./Outage.ts"
import * as PullConsumer from "./PullConsumer.ts"
import type { DeliveryInfo } from "./StoredMessage.ts"

/** The consumer cannot be made, or not for `recreateForMs` after it was lost. */
export class ConsumeFailed extends Schema.TaggedError<ConsumeFailed>()("ConsumeFailed", {
  stream: Schema.String,
  consumer: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `consumer ${this.consumer} of ${this.stream}: ${this.reason}`
  }
}

export interface ConsumeOptions {
  /** A durable survives this process; an ephemeral (no `durable`) is deleted with the scope. */
  readonly durable?: string
  readonly description?: string
  /** Subjects, wildcards allowed. In a work queue the filters of two consumers must not overlap. */
  readonly filter: string | ReadonlyArray<string>
  /** Where a new consumer begins; `all` (default), `new`, or a stream sequence. */
  readonly from?: "all" | "new" | number
  /** Default 30 s. */
  readonly ackWaitMs?: number
  /** Unacknowledged messages at once, default 1,000. */
  readonly maxAckPending?: number
  /** Asked for in advance, default 256. */
  readonly maxMessages?: number
  /** `none`: messages are done with when they are sent; `ack` and the like do nothing. */
  readonly acknowledge?: "explicit" | "none"
  /** This holder replaces another one: what that one took and did not acknowledge is delivered again at once, not after `ackWaitMs`. */
  readonly takesOver?: boolean
  /** How long a lost consumer may fail to come back before `failure` fails, default 60 s; time without a connection does not count. */
  readonly recreateForMs?: number
}

const naks = new Map<number, string>()
const nakBody = (delayMs: number): string => {
  let body = naks.get(delayMs)
  if (body === undefined) {
    body = `-NAK {"delay":${PullConsumer.nanos(delayMs)}}`
    if (naks.size < 64) naks.set(delayMs, body)
  }
  return body
}

/** A message with its place and its fate. Acknowledging while the connection is down is lost: the message comes again, so handlers are idempotent. */
export class Delivery {
  readonly message: Message
  /** Stream sequence. */
  readonly sequence: number
  /** 1 on the first delivery. */
  readonly deliveryCount: number
  /** When it was stored, milliseconds since the epoch. */
  readonly storedAtMs: number
  /** Messages that match and follow this one. */
  readonly pending: number
  private readonly nats: Connection

  constructor(nats: Connection, message: Message, info: DeliveryInfo) {
    this.nats = nats
    this.message = message
    this.sequence = info.sequence
    this.deliveryCount = info.deliveryCount
    this.storedAtMs = info.timeMs
    this.pending = info.pending
  }
  get subject(): string {
    return this.message.subject
  }
  get text(): string {
    return this.message.text
  }
  get data(): Uint8Array {
    return this.message.data
  }
  get headers(): Headers {
    return this.message.headers
  }
  header(name: string): string | undefined {
    return this.message.header(name)
  }
  private settle(body: string): boolean {
    const reply = this.message.reply
    return reply !== undefined && this.nats.publish(reply, body)
  }
  /** Done with. `false`: the connection is down and it will come again. */
  ack(): boolean {
    return this.settle("+ACK")
  }
  /** Deliver again after `delayMs` (at least 1: without delay it would come at once, in a circle). */
  nak(delayMs: number): boolean {
    return this.settle(nakBody(Math.max(1, Math.round(delayMs))))
  }
  /** Never deliver again: it cannot be handled. The reason stands in the server's advisory. */
  term(reason: string): boolean {
    return this.settle(`+TERM ${reason.replace(/[\r\n]+/g, " ").slice(0, 200)}`)
  }
  /** Still at it: the acknowledgement wait starts again. */
  working(): boolean {
    return this.settle("+WPI")
  }
}

/** What happened to the consumer, for logs and `doctor`. */
export type ConsumeStatus =
  | { readonly _tag: "Started"; readonly pending: number }
  | { readonly _tag: "Lost"; readonly reason: string }
  | { readonly _tag: "Recreated"; readonly pending: number }

export interface Consumer {
  /** Of one without acknowledgements and `durable`: another one after each loss. */
  readonly name: string
  /** Takes no more in; what was asked for (at most `maxMessages`) still arrives. */
  readonly pause: () => void
  readonly resume: () => void
  /** Newest first, the last 32. */
  readonly status: () => ReadonlyArray<ConsumeStatus>
  /** Never succeeds; fails when the consumer is lost and does not come back. A service joins it. */
  readonly failure: Effect.Effect<never, ConsumeFailed>
}

/**
 * Delivers messages to `handler` until the scope closes; returns when the consumer stands. `handler` is synchronous and must not throw (the connection's `failure` fails then).
 * On close, messages on their way are given back at once.
 */
export const consume: (
  nats: Connection,
  stream: string,
  options: ConsumeOptions,
  handler: (delivery: Delivery) => void
) => Effect.Effect<Consumer, ConsumeFailed, Scope.Scope> = Effect.fn("Consume.consume")(
  function*(nats, stream, options, handler) {
    const newName = () => options.durable ?? `heddle-${nats.inbox().slice(-22)}`
    let name = newName()
    const isExplicit = options.acknowledge !== "none"
    /** The server counts as done what it has sent: what was not heard of that only comes from another consumer, which begins behind what was. */
    const isOneWay = !isExplicit && options.durable === undefined
    const maxMessages = options.maxMessages ?? 256
    const recreateForMs = options.recreateForMs ?? 60_000
    const failed = (error: JetStreamFailed) => new ConsumeFailed({ stream, consumer: name, reason: error.message })
    const statuses: Array<ConsumeStatus> = []
    const note = (status: ConsumeStatus): void => {
      statuses.unshift(status)
      if (statuses.length > 32) statuses.pop()
    }
    let seen = 0
    /** A consumer of new messages that is made again begins where the first one began, not at what is new by then. */
    let base = 0

    const config = (): PullConsumer.ConsumerConfig => ({
      name,
      ...(options.durable === undefined
        ? { inactive_threshold: PullConsumer.nanos(60_000), mem_storage: true, num_replicas: 1 }
        : { durable_name: options.durable }),
      ...(options.description === undefined ? {} : { description: options.description }),
      ...startOf(
        isExplicit || seen === 0 || options.durable !== undefined ? options.from ?? "all" : seen + 1,
        options.durable === undefined ? base : 0
      ),
      ack_policy: isExplicit ? "explicit" : "none",
      ...(isExplicit
        ? {
          ack_wait: PullConsumer.nanos(options.ackWaitMs ?? 30_000),
          max_ack_pending: options.maxAckPending ?? 1_000,
          max_deliver: -1
        }
        : {}),
      ...PullConsumer.filterOf(options.filter)
    })
    const make = Effect.suspend(() => PullConsumer.create(nats, stream, config())).pipe(retryTransient(10_000))
    const anew = Effect.andThen(PullConsumer.removeIfThere(nats, stream, name), make)
    const info = yield* Effect.flatMap(
      make,
      (found) => options.takesOver === true && found.num_ack_pending > 0 ? anew : Effect.succeed(found)
    ).pipe(Effect.mapError(failed))
    base = info.delivered.stream_seq + 1
    note({ _tag: "Started", pending: info.num_pending })

    const events = yield* Queue.sliding<{ readonly reason: string }>(16)
    const lost = (_: PullConsumer.PullEnd, reason: string): void => {
      Queue.offerUnsafe(events, { reason })
    }
    const begin = (): PullConsumer.Pull =>
      PullConsumer.start(nats, {
        stream,
        consumer: name,
        maxMessages,
        onEnd: lost,
        onMessage: (message, delivered) => {
          if (delivered.sequence > seen) seen = delivered.sequence
          handler(new Delivery(nats, message, delivered))
        },
        ...(isExplicit ? { onLate: (message: Message) => message.respond("-NAK") } : {})
      })
    let isPaused = false
    let pull = begin()
    yield* nats.onDisconnect(() => note({ _tag: "Lost", reason: "connection" }))
    yield* nats.onReconnect(() => Queue.offerUnsafe(events, { reason: "reconnected" }))

    const recreate = Effect.fn("Consume.recreate")(function*(reason: string) {
      pull.stop()
      if (isOneWay) {
        // At best the one before is still there, with what was sent counted as heard: it is of no use, and the server lets it go after a minute if this does not reach it.
        yield* Effect.forkScoped(Effect.ignore(PullConsumer.remove(nats, stream, name)))
        name = newName()
      }
      if (reason !== "reconnected") note({ _tag: "Lost", reason })
      const again = yield* PullConsumer.create(nats, stream, config()).pipe(
        // A memory stream is gone after a restart of the server, until a service has made it again (Streams.maintain).
        Effect.mapError((error) =>
          error.errCode === errCode.streamNotFound ? new JetStreamFailed({ ...error, isTransient: true }) : error
        ),
        Outage.outlast(nats, { forMs: recreateForMs, isPassing: (error) => error.isTransient }),
        Effect.mapError(failed)
      )
      note({ _tag: "Recreated", pending: again.num_pending })
      pull = begin()
      if (isPaused) pull.pause()
    })
    yield* PullConsumer.everyHeartbeat(nats, () => pull.tick())
    const watch = Effect.forever(Effect.flatMap(Queue.take(events), ({ reason }) => recreate(reason)))
    const watcher = yield* Effect.forkScoped(watch)
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        pull.stop()
        return options.durable === undefined && nats.isConnected
          ? Effect.ignore(PullConsumer.remove(nats, stream, name))
          : Effect.void
      })
    )
    return {
      get name() {
        return name
      },
      pause: () => {
        isPaused = true
        pull.pause()
      },
      resume: () => {
        isPaused = false
        pull.resume()
      },
      status: () => statuses,
      failure: Effect.andThen(Fiber.join(watcher), Effect.never)
    }
  }
)

const startOf = (
  from: "all" | "new" | number,
  base: number
): Pick<PullConsumer.ConsumerConfig, "deliver_policy" | "opt_start_seq"> =>
  from === "all"
    ? { deliver_policy: "all" }
    : from === "new" && base === 0
    ? { deliver_policy: "new" }
    : { deliver_policy: "by_start_sequence", opt_start_seq: Math.max(1, from === "new" ? base : from) }
