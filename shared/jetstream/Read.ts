/**
 * Reads from streams: the last message of a subject, one message by sequence, and ranges.
 *
 * Keeps true: `lastMessage` and `messageAt` ask the stream's leader, so they see every acknowledged write. `readRange` is complete: it goes on until it has seen the
 * message that the leader named as the last one of the range, so a replica that lags can't make it end early, and what was sent but not heard is read again. It is ordered, in bounded memory, and leaves no
 * consumer behind. Short ranges of one filter are read directly (no consumer), long ones and several filters by an ephemeral consumer that is deleted at the end.
 * Follows docs/design/modules.md "shared/jetstream", guides nats.md sections 0.6 and 3.2.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { ask, errCode, JetStreamFailed, retryTransient } from "./JetStreamApi.ts"
import type { Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"
import * as PullConsumer from "./PullConsumer.ts"
import {
  type LeaderAnswer,
  ofDelivery,
  ofDirect,
  ofLeader,
  parseAckReply,
  type StoredMessage
} from "./StoredMessage.ts"

export type { StoredMessage } from "./StoredMessage.ts"

const found = (
  effect: Effect.Effect<LeaderAnswer, JetStreamFailed>
): Effect.Effect<Option.Option<StoredMessage>, JetStreamFailed> =>
  effect.pipe(
    Effect.map((answer) => Option.some(ofLeader(answer))),
    Effect.catchIf((error) => error.errCode === errCode.messageNotFound, () => Effect.succeedNone)
  )

/** The newest message whose subject matches (`subject` may hold wildcards), from the leader. */
export const lastMessage = (
  nats: Connection,
  stream: string,
  subject: string
): Effect.Effect<Option.Option<StoredMessage>, JetStreamFailed> =>
  found(ask(nats, `STREAM.MSG.GET.${stream}`, { last_by_subj: subject }))

/** The message at exactly this sequence, from the leader. */
export const messageAt = (
  nats: Connection,
  stream: string,
  sequence: number
): Effect.Effect<Option.Option<StoredMessage>, JetStreamFailed> =>
  found(ask(nats, `STREAM.MSG.GET.${stream}`, { seq: sequence }))

/** The first message from `sequence` on whose subject matches, from the leader. */
export const nextMessage = (
  nats: Connection,
  stream: string,
  subject: string,
  sequence: number
): Effect.Effect<Option.Option<StoredMessage>, JetStreamFailed> =>
  found(ask(nats, `STREAM.MSG.GET.${stream}`, { seq: sequence, next_by_subj: subject }))

export interface RangeOptions {
  /** Subjects, wildcards allowed; they must not overlap. */
  readonly filter: string | ReadonlyArray<string>
  /** First stream sequence. */
  readonly from: number
  /** Last stream sequence, inclusive; not given: up to the newest message at the start. */
  readonly upTo?: number
  /** Messages held at once, default 512. */
  readonly batch?: number
}

const batchDefault = 512
const pageWaitMs = 5_000
/** How long one page may make no progress (broker away, replica behind) before the read fails. */
const stallMs = 30_000

interface Cursor {
  readonly next: number
  /** The message that ends the range: when one of at least this sequence was seen, everything was. */
  readonly target: number
  readonly consumer: string | undefined
  readonly pages: number
}

/**
 * All messages of the range in stream order. Fails when the broker stays away for 30 s. A message that retention removed before it was read is simply not there.
 */
export const readRange = (
  nats: Connection,
  stream: string,
  options: RangeOptions
): Stream.Stream<StoredMessage, JetStreamFailed> => {
  const filters = typeof options.filter === "string" ? [options.filter] : [...new Set(options.filter)]
  if (filters.length === 0) return Stream.empty
  const batch = options.batch ?? batchDefault
  const upTo = options.upTo ?? Infinity
  let consumer: string | undefined

  /** The newest matching message (leader), limited to the range. 0: nothing matches. */
  const findTarget = Effect.forEach(filters, (filter) => lastMessage(nats, stream, filter), { concurrency: 16 }).pipe(
    Effect.map((lasts) =>
      lasts.reduce((max, last) => Option.isSome(last) ? Math.max(max, last.value.sequence) : max, 0)
    ),
    retryTransient(stallMs)
  )

  const dropConsumer = Effect.suspend(() => {
    const name = consumer
    consumer = undefined
    return name === undefined ? Effect.void : Effect.ignore(PullConsumer.remove(nats, stream, name)) // the server removes it after 30 s of silence at the latest
  })

  const ensureConsumer = (from: number) =>
    Effect.gen(function*() {
      if (consumer !== undefined) return consumer
      const name = `read-${(yield* Random.nextIntBetween(0, 2 ** 48)).toString(36)}`
      yield* PullConsumer.create(nats, stream, {
        name,
        deliver_policy: "by_start_sequence",
        opt_start_seq: Math.max(1, from),
        ack_policy: "none",
        mem_storage: true,
        num_replicas: 1,
        inactive_threshold: PullConsumer.nanos(30_000),
        max_deliver: 1,
        ...PullConsumer.filterOf(filters)
      })
      consumer = name
      return name
    })

  const page = (cursor: Cursor): Effect.Effect<ReadonlyArray<StoredMessage>, JetStreamFailed> =>
    filters.length === 1 && cursor.pages === 0
      ? directPage(nats, stream, filters[0] ?? "", cursor.next, batch)
      : Effect.flatMap(ensureConsumer(cursor.next), (name) => consumerPage(nats, stream, name, batch, cursor.target))

  const step = (cursor: Cursor) =>
    Effect.gen(function*() {
      const started = yield* Clock.currentTimeMillis
      let target = cursor.target
      while (true) {
        const attempt = yield* page(cursor).pipe(Effect.catchIf((error) =>
          error.isTransient || error.errCode === errCode.consumerNotFound, () =>
          Effect.succeed([])))
        const messages = attempt.filter((message) =>
          message.sequence >= cursor.next
        )
        const last = messages.at(-1)
        if (last !== undefined) {
          const kept = last.sequence > upTo ? messages.filter((message) => message.sequence <= upTo) : messages
          const isDone = last.sequence >= target
          // Less than was asked for: the server may have sent more than was heard, which this consumer would not give again.
          if (!isDone && attempt.length < batch) yield* dropConsumer
          return [
            kept,
            isDone
              ? Option.none()
              : Option.some({ ...cursor, target, next: last.sequence + 1, pages: cursor.pages + 1 })
          ] as const
        }
        // No progress: the broker is away, the consumer is gone, a replica is behind, or retention took the target.
        yield* dropConsumer
        target = Math.min(target, yield* findTarget)
        if (target < cursor.next) return [[], Option.none<Cursor>()] as const
        if ((yield* Clock.currentTimeMillis) - started > stallMs) {
          return yield* new JetStreamFailed({
            operation: `read ${stream} from ${cursor.next}`,
            reason: `no progress for ${stallMs / 1000} s`,
            errCode: 0,
            isTransient: true
          })
        }
        yield* Effect.sleep(50)
      }
    })

  return Stream.unwrap(Effect.gen(function*() {
    const target = yield* findTarget
    if (target < options.from || options.from > upTo) return Stream.empty
    return Stream.paginate(
      {
        next: Math.max(1, options.from),
        target: Math.min(target, upTo),
        consumer: undefined,
        pages: 0
      } satisfies Cursor as Cursor,
      step
    )
  })).pipe(Stream.ensuring(dropConsumer))
}

/** Up to `batch` messages by one direct read. */
const directPage = (
  nats: Connection,
  stream: string,
  filter: string,
  from: number,
  batch: number
): Effect.Effect<ReadonlyArray<StoredMessage>, JetStreamFailed> =>
  collect(
    nats,
    (inbox) =>
      nats.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify({ seq: from, batch, next_by_subj: filter }), {
        reply: inbox
      }),
    (message, messages) => {
      if (message.header("Nats-Sequence") === undefined) {
        return message.status === 204 || message.status === 404
          ? "done"
          : "failed"
      }
      messages.push(ofDirect(message))
      return "more"
    }
  )

/** Up to `batch` messages of a consumer, fewer when the target was among them or nothing comes. */
const consumerPage = (
  nats: Connection,
  stream: string,
  name: string,
  batch: number,
  target: number
): Effect.Effect<ReadonlyArray<StoredMessage>, JetStreamFailed> =>
  collect(
    nats,
    (inbox) =>
      nats.publish(
        `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`,
        `{"batch":${batch},"expires":${PullConsumer.nanos(pageWaitMs - 500)}}`,
        { reply: inbox }
      ),
    (message, messages) => {
      const info = message.reply === undefined ? undefined : parseAckReply(message.reply)
      if (info === undefined) {
        return message.status === 404 || message.status === 408
          ? "done"
          : message.status === 100
          ? "more"
          : "failed"
      }
      messages.push(ofDelivery(message, info))
      return messages.length >= batch || info.sequence >= target || info.pending === 0 ? "done" : "more"
    }
  )

/** One request with many answers, on an inbox of its own; what came before a failure or the time-out is kept. */
const collect = (
  nats: Connection,
  send: (inbox: string) => boolean,
  take: (message: Message, messages: Array<StoredMessage>) => "more" | "done" | "failed"
): Effect.Effect<ReadonlyArray<StoredMessage>, JetStreamFailed> =>
  Effect.suspend(() => {
    const messages: Array<StoredMessage> = []
    return Effect.callback<ReadonlyArray<StoredMessage>, JetStreamFailed>((resume) => {
      const inbox = nats.inbox()
      const finish = (result: Effect.Effect<ReadonlyArray<StoredMessage>, JetStreamFailed>) => {
        subscription.unsubscribe()
        resume(result)
      }
      const lost = (reason: string) =>
        messages.length > 0
          ? Effect.succeed(messages)
          : Effect.fail(new JetStreamFailed({ operation: "read", reason, errCode: 0, isTransient: true }))
      const subscription = nats.subscribeUnsafe(inbox, (message) => {
        const next = take(message, messages)
        if (next === "done") finish(Effect.succeed(messages))
        else if (next === "failed") finish(lost(`${message.status} ${message.statusText}`))
      })
      if (!send(inbox)) finish(lost("no connection to NATS"))
      return Effect.sync(subscription.unsubscribe)
    }).pipe(Effect.timeoutOrElse({ duration: pageWaitMs, orElse: () => Effect.succeed(messages) }))
  })
