/**
 * Pull consumers of the server: created, asked for messages, deleted. The part that Read, Consume and Kv share.
 *
 * Keeps true: never more than `maxMessages` asked for and not yet delivered; every status message of the server is accounted for; silence (two missed
 * heartbeats while something is asked for) is an end with a reason, so that the owner recreates. Our own instead of the library's, whose consumers need up to
 * 30 s to notice a deletion and give callbacks no back-pressure (guides nats.md section 8, 6 and 15).
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { ask, errCode, type JetStreamFailed } from "./JetStreamApi.ts"
import type { Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"
import { type DeliveryInfo, parseAckReply } from "./StoredMessage.ts"

/** The fields of the server's consumer configuration that heddle uses; durations in nanoseconds. */
export interface ConsumerConfig {
  readonly name: string
  readonly durable_name?: string
  readonly description?: string
  readonly deliver_policy: "all" | "new" | "by_start_sequence" | "last_per_subject"
  readonly opt_start_seq?: number
  readonly ack_policy: "none" | "explicit"
  readonly ack_wait?: number
  readonly max_ack_pending?: number
  readonly max_deliver?: number
  readonly filter_subject?: string
  readonly filter_subjects?: ReadonlyArray<string>
  readonly headers_only?: boolean
  readonly inactive_threshold?: number
  readonly mem_storage?: boolean
  readonly num_replicas?: number
  readonly max_waiting?: number
  readonly backoff?: ReadonlyArray<number>
}
export interface ConsumerInfo {
  readonly name: string
  readonly num_pending: number
  readonly num_ack_pending: number
  readonly delivered: { readonly stream_seq: number }
  readonly config: ConsumerConfig
}

export const nanos = (ms: number): number => ms * 1_000_000

/** Creates the consumer, or updates it when its configuration allows; the same configuration again is fine. */
export const create = (
  nats: Connection,
  stream: string,
  config: ConsumerConfig
): Effect.Effect<ConsumerInfo, JetStreamFailed> =>
  ask(nats, `CONSUMER.CREATE.${stream}.${config.name}`, { stream_name: stream, config, action: "" })

export const remove = (nats: Connection, stream: string, name: string): Effect.Effect<unknown, JetStreamFailed> =>
  ask(nats, `CONSUMER.DELETE.${stream}.${name}`, undefined)

/** The same, also when somebody else was faster. */
export const removeIfThere = (nats: Connection, stream: string, name: string): Effect.Effect<void, JetStreamFailed> =>
  remove(nats, stream, name).pipe(
    Effect.catchIf((error) => error.errCode === errCode.consumerNotFound, () => Effect.void),
    Effect.asVoid
  )

export const filterOf = (
  filter: string | ReadonlyArray<string>
): { readonly filter_subject?: string; readonly filter_subjects?: ReadonlyArray<string> } => {
  if (typeof filter === "string") return { filter_subject: filter }
  const [first, ...others] = filter
  return first === undefined ? {} : others.length === 0 ? { filter_subject: first } : { filter_subjects: filter }
}

/** Why no further message will come until the owner does something. */
export type PullEnd = "ConsumerGone" | "Silent"

export interface PullOptions {
  readonly stream: string
  readonly consumer: string
  readonly maxMessages: number
  /** How long the server keeps one request, at least; default 10 s. Renewed as long as the pull runs. */
  readonly expiresMs?: number
  readonly onMessage: (message: Message, info: DeliveryInfo) => void
  /** A message that was on its way when the pull stopped; to be given back. Not given: dropped (a consumer without acknowledgement). */
  readonly onLate?: (message: Message) => void
  /** The server has nothing more for this consumer: it says so after each `heartbeatMs` in which nothing came. */
  readonly onIdle?: () => void
  /** At most once; the pull has stopped. */
  readonly onEnd: (end: PullEnd, reason: string) => void
}

export const heartbeatMs = 1_000
/** A process with hundreds of idle consumers would do nothing but read heartbeats: beyond this many a second over all of a connection each consumer's come less often. */
const heartbeatsPerSecondMax = 200
const heartbeatMaxMs = 10_000

/** Between two heartbeats of each of so many consumers. */
export const heartbeatOf = (consumers: number): number =>
  Math.min(Math.max(heartbeatMs, Math.ceil(consumers / heartbeatsPerSecondMax) * 1_000), heartbeatMaxMs)

/** Pulls that run on a connection, and what each does about every `heartbeatMs`: one fiber for all. */
class Pulls {
  count = 0
  readonly ticks = new Set<() => void>()
  ticker: Fiber.Fiber<void> | undefined = undefined
}
const pulls = new WeakMap<Connection, Pulls>()
const pullsOf = (nats: Connection): Pulls => {
  let found = pulls.get(nats)
  if (found === undefined) pulls.set(nats, found = new Pulls())
  return found
}

/** Calls `tick` about every `heartbeatMs` until the scope closes; what it throws is a defect of the connection's user. */
export const everyHeartbeat = (nats: Connection, tick: () => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const all = pullsOf(nats)
    const turn = Effect.andThen(
      Effect.sleep(heartbeatMs),
      Effect.sync(() => {
        for (const one of all.ticks) one()
      })
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        all.ticks.add(tick)
        all.ticker ??= Effect.runForkWith(context)(Effect.tapCause(Effect.forever(turn), (cause) =>
          Effect.sync(() => {
            // Silence of a consumer would never be noticed again.
            if (!Cause.hasInterruptsOnly(cause)) nats.fail("the watch over the consumers has died", Cause.squash(cause))
          })))
      }),
      () =>
        Effect.suspend(() => {
          all.ticks.delete(tick)
          const { ticker } = all
          if (all.ticks.size > 0 || ticker === undefined) return Effect.void
          all.ticker = undefined
          return Fiber.interrupt(ticker)
        })
    )
  })

export interface Pull {
  readonly pause: () => void
  readonly resume: () => void
  /** To be called about every `heartbeatMs` by the owner: notices silence. */
  readonly tick: () => void
  /** After a reconnect: what was asked for is forgotten, ask again. */
  readonly restart: () => void
  readonly stop: () => void
  /** Asked for and not delivered. */
  readonly outstanding: () => number
}

/** Starts to pull. Synchronous: messages come through `onMessage` until `stop`. */
export const start = (nats: Connection, options: PullOptions): Pull => {
  const inbox = nats.inbox()
  const subject = `$JS.API.CONSUMER.MSG.NEXT.${options.stream}.${options.consumer}`
  const threshold = Math.floor(options.maxMessages / 2)
  const all = pullsOf(nats)
  all.count++
  let beatMs = heartbeatMs
  /** Of the request before, which may still be open. */
  let beatBeforeMs = heartbeatMs
  let outstanding = 0
  let lastSeenMs = nats.clock.currentTimeMillisUnsafe()
  let isPaused = false
  let hasEnded = false
  let isThrottled = false

  const pull = (): void => {
    if (hasEnded || isPaused || isThrottled || outstanding > threshold) return
    const batch = options.maxMessages - outstanding
    if (outstanding === 0) lastSeenMs = nats.clock.currentTimeMillisUnsafe()
    beatBeforeMs = beatMs
    beatMs = heartbeatOf(all.count)
    const expiresMs = Math.max(options.expiresMs ?? 10_000, 3 * beatMs)
    if (
      nats.publish(subject, `{"batch":${batch},"expires":${nanos(expiresMs)},"idle_heartbeat":${nanos(beatMs)}}`, {
        reply: inbox
      })
    ) outstanding += batch
  }
  const end = (kind: PullEnd, reason: string): void => {
    if (hasEnded) return
    stop()
    options.onEnd(kind, reason)
  }
  const onStatus = (message: Message): void => {
    const status = message.status
    if (status === 100) return options.onIdle?.()
    const text = message.statusText
    const left = Number(message.header("Nats-Pending-Messages") ?? 0)
    outstanding = Math.max(0, outstanding - left)
    if (status === 503) return end("ConsumerGone", "no responders")
    if (status === 409 && /deleted|push based/i.test(text)) return end("ConsumerGone", text)
    if (status === 409 || status === 400) {
      // Leadership change, server shutdown, exceeded limits: the request is void. Ask again at the next tick, not at once.
      outstanding = 0
      isThrottled = true
      return
    }
    pull()
  }
  const subscription = nats.subscribeUnsafe(inbox, (message) => {
    if (hasEnded) {
      if (message.reply?.startsWith("$JS.ACK.") === true) options.onLate?.(message)
      return
    }
    lastSeenMs = nats.clock.currentTimeMillisUnsafe()
    const reply = message.reply
    const info = reply === undefined ? undefined : parseAckReply(reply)
    if (info === undefined) return onStatus(message)
    if (outstanding > 0) outstanding--
    options.onMessage(message, info)
    pull()
  })
  function stop(): void {
    if (!hasEnded) all.count--
    hasEnded = true
    if (options.onLate === undefined) subscription.unsubscribe()
    else subscription.drain()
  }
  pull()
  return {
    pause: () => {
      isPaused = true
    },
    resume: () => {
      isPaused = false
      pull()
    },
    tick: () => {
      isThrottled = false
      if (outstanding > 0 && nats.clock.currentTimeMillisUnsafe() - lastSeenMs > 2.5 * Math.max(beatMs, beatBeforeMs)) {
        return end("Silent", "two heartbeats missed")
      }
      pull()
    },
    restart: () => {
      outstanding = 0
      isThrottled = false
      pull()
    },
    stop,
    outstanding: () => outstanding
  }
}
