/**
 * Key-value buckets: read, compare-and-set, list, watch.
 *
 * Keeps true: a compare-and-set has three outcomes, and only `Lost` (10071) says that the other one won; `Unknown` has to be read again. Reads come from the leader.
 * A watch shows the newest value of every key, in order per key, through reconnects and lost consumers: what vanished in between is reported as removed. Buckets are
 * ordinary NATS key-value buckets (`nats kv ls`). A TTL is per write: an update without one makes the key stay for ever. Guides nats.md sections 2.3 and 8 (12, 13).
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Append from "./Append.ts"
import { errCode, type JetStreamFailed } from "./JetStreamApi.ts"
import type { Headers, Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"
import * as Outage from "./Outage.ts"
import * as PullConsumer from "./PullConsumer.ts"
import * as Read from "./Read.ts"
import type { DeliveryInfo } from "./StoredMessage.ts"

export interface Entry {
  readonly key: string
  readonly value: string
  /** Stream sequence of the bucket: grows with every write to any key. */
  readonly revision: number
}
export type CasOutcome =
  | { readonly _tag: "Won"; readonly revision: number }
  /** The key has another revision than expected (or exists, on create). */
  | { readonly _tag: "Lost" }
  /** Written or not: read the key and compare. */
  | { readonly _tag: "Unknown"; readonly reason: string }

export type WatchEvent =
  | { readonly _tag: "Put"; readonly key: string; readonly value: string; readonly revision: number }
  /** `Expired`: its TTL ran out. `Deleted`: somebody removed it. `Gone`: it vanished while the watch was interrupted, nobody knows why. */
  | {
    readonly _tag: "Removed"
    readonly key: string
    readonly revision: number
    readonly reason: "Deleted" | "Expired" | "Gone"
  }
  /** Everything that stood in the bucket when the watch began was shown. Once, also on an empty bucket. */
  | { readonly _tag: "UpToDate" }

/** `ttlMs`: at least 1,000, rounded up to whole seconds (the server knows no finer). */
export interface WriteOptions {
  readonly ttlMs?: number
  readonly timeoutMs?: number
}

export interface Bucket {
  readonly name: string
  readonly get: (key: string) => Effect.Effect<Option.Option<Entry>, JetStreamFailed>
  /** Writes if the key does not exist (never did, or was removed). */
  readonly create: (key: string, value: string, options?: WriteOptions) => Effect.Effect<CasOutcome>
  /** Writes if the key's revision is this one. */
  readonly update: (key: string, value: string, revision: number, options?: WriteOptions) => Effect.Effect<CasOutcome>
  /** Writes whatever stands there. */
  readonly put: (key: string, value: string, options?: WriteOptions) => Effect.Effect<number, Append.PublishFailed>
  /** Removes; with a revision only if it is still that one. `markerTtlMs`: how long the mark of the removal stays (buckets with TTL). */
  readonly delete: (
    key: string,
    revision?: number,
    options?: { readonly markerTtlMs?: number }
  ) => Effect.Effect<CasOutcome>
  /** The entries whose keys begin with `prefix` (`""`: all), in order of their writing. For small buckets and starts, not for hot paths. */
  readonly list: (prefix: string) => Stream.Stream<Entry, JetStreamFailed>
  /** The entries whose keys begin with `prefix` and from then on every change. Ends only with an error. `prefix` ends at a dot or is empty. */
  readonly watch: (prefix: string) => Stream.Stream<WatchEvent, JetStreamFailed>
}

const operation = "KV-Operation"
const markerReason = "Nats-Marker-Reason"

const casOf = (outcome: Append.AppendOutcome): CasOutcome =>
  outcome._tag === "Acked"
    ? { _tag: "Won", revision: outcome.sequence }
    : outcome._tag === "Fenced"
    ? { _tag: "Lost" }
    : outcome

/** Whether a stored message is the mark of a removal, and which. */
export const removalOf = (header: (name: string) => string | undefined): "Deleted" | "Expired" | undefined => {
  const marker = header(markerReason)
  if (marker !== undefined) return marker === "MaxAge" ? "Expired" : "Deleted"
  const kind = header(operation)
  return kind === "DEL" || kind === "PURGE" ? "Deleted" : undefined
}

const ttlHeader = (ttlMs: number | undefined): Headers =>
  ttlMs === undefined ? {} : { "Nats-TTL": `${Math.max(1, Math.ceil(ttlMs / 1_000))}s` }

/** The bucket of this name; it must exist (Streams.ensure makes heddle's). */
export const bucket = (nats: Connection, name: string): Bucket => {
  const stream = `KV_${name}`
  const prefixSubject = `$KV.${name}.`
  const subjectOf = (key: string): string => prefixSubject + key
  const keyOf = (subject: string): string => subject.slice(prefixSubject.length)
  const filterOf = (prefix: string): string => `${prefixSubject}${prefix}>`

  const getStored = (key: string) => Read.lastMessage(nats, stream, subjectOf(key))
  const isRemoval = (stored: Read.StoredMessage) => removalOf((header) => stored.headers[header]) !== undefined
  const write = (key: string, value: string, revision: number, options: WriteOptions | undefined, headers?: Headers) =>
    Append.append(nats, subjectOf(key), value, revision, {
      headers: { ...headers, ...ttlHeader(options?.ttlMs) },
      ...(options?.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs })
    })

  const get: Bucket["get"] = (key) =>
    Effect.map(
      getStored(key),
      (stored) =>
        Option.flatMap(stored, (message) =>
          isRemoval(message) ? Option.none() : Option.some({ key, value: message.text, revision: message.sequence }))
    )

  return {
    name,
    get,
    create: (key, value, options) =>
      Effect.gen(function*() {
        const first = yield* write(key, value, 0, options)
        if (first._tag !== "Fenced") return casOf(first)
        // A removed key leaves a mark: create on top of it.
        const stored = yield* Effect.result(getStored(key))
        if (stored._tag === "Failure") return { _tag: "Unknown", reason: stored.failure.message } as const
        if (Option.isNone(stored.success)) return casOf(yield* write(key, value, 0, options))
        return isRemoval(stored.success.value)
          ? casOf(yield* write(key, value, stored.success.value.sequence, options))
          : { _tag: "Lost" } as const
      }),
    update: (key, value, revision, options) => Effect.map(write(key, value, revision, options), casOf),
    put: (key, value, options) =>
      Effect.map(
        Append.publish(nats, subjectOf(key), value, {
          headers: ttlHeader(options?.ttlMs),
          ...(options?.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs })
        }),
        (published) => published.sequence
      ),
    delete: (key, revision, options) => {
      const headers = { [operation]: "DEL", ...ttlHeader(options?.markerTtlMs) }
      return revision === undefined
        ? Append.publish(nats, subjectOf(key), "", { headers }).pipe(
          Effect.map((published): CasOutcome => ({ _tag: "Won", revision: published.sequence })),
          Effect.catch((error) => Effect.succeed<CasOutcome>({ _tag: "Unknown", reason: error.message }))
        )
        : Effect.map(write(key, "", revision, undefined, headers), casOf)
    },
    list: (prefix) =>
      watch(nats, stream, filterOf(prefix), keyOf).pipe(
        Stream.takeUntil((event) => event._tag === "UpToDate"),
        Stream.filterMap((event) =>
          event._tag === "Put"
            ? Result.succeed({ key: event.key, value: event.value, revision: event.revision })
            : Result.failVoid
        )
      ),
    watch: (prefix) => watch(nats, stream, filterOf(prefix), keyOf)
  }
}

const bufferedMax = 1_024

/** See `Bucket.watch`. One ephemeral consumer without acknowledgements; made again, with a comparison, when it or the connection is lost. */
const watch = (
  nats: Connection,
  stream: string,
  filter: string,
  keyOf: (subject: string) => string
): Stream.Stream<WatchEvent, JetStreamFailed> =>
  Stream.unwrap(Effect.gen(function*() {
    const output = yield* Queue.unbounded<WatchEvent, JetStreamFailed>() // bounded by pausing the consumer at `bufferedMax`
    const losses = yield* Queue.sliding<string>(16)
    const known = new Map<string, number>()
    let listed: Set<string> | undefined
    let isFirst = true
    let isPaused = false
    let pull: PullConsumer.Pull | undefined
    let name = ""

    const emit = (event: WatchEvent): void => {
      Queue.offerUnsafe(output, event)
      if (!isPaused && Queue.sizeUnsafe(output) >= bufferedMax) {
        isPaused = true
        pull?.pause()
      }
    }
    const caughtUp = (): void => {
      if (listed === undefined) return
      for (const [key, revision] of known) {
        if (listed.has(key)) continue
        known.delete(key)
        emit({ _tag: "Removed", key, revision, reason: "Gone" })
      }
      listed = undefined
      if (isFirst) emit({ _tag: "UpToDate" })
      isFirst = false
    }
    const onMessage = (message: Message, info: DeliveryInfo): void => {
      const key = keyOf(message.subject)
      listed?.add(key)
      const before = known.get(key)
      if (before === undefined || info.sequence > before) {
        const removal = removalOf((header) => message.header(header))
        if (removal === undefined) {
          known.set(key, info.sequence)
          emit({ _tag: "Put", key, value: message.text, revision: info.sequence })
        } else if (before !== undefined) {
          known.delete(key)
          emit({ _tag: "Removed", key, revision: info.sequence, reason: removal })
        }
      }
      if (info.pending === 0) caughtUp()
    }
    const begin = Effect.gen(function*() {
      name = `watch-${nats.inbox().slice(-22)}`
      listed = new Set()
      const info = yield* PullConsumer.create(nats, stream, {
        name,
        deliver_policy: "last_per_subject",
        ack_policy: "none",
        mem_storage: true,
        num_replicas: 1,
        inactive_threshold: PullConsumer.nanos(60_000),
        filter_subject: filter
      }).pipe(
        // In a cluster a bucket may be unheard of for a moment; one that is really not there is told after that time.
        Outage.outlast(nats, {
          forMs: recreateForMs,
          isPassing: (error) => error.isTransient || (!isFirst && error.errCode === errCode.streamNotFound)
        })
      )
      if (info.num_pending === 0) caughtUp()
      pull = PullConsumer.start(nats, {
        stream,
        consumer: name,
        maxMessages: 256,
        onMessage,
        // What was counted as pending may have expired since, or was replaced: then no message says that it is the last one.
        onIdle: caughtUp,
        onEnd: (_, reason) => Queue.offerUnsafe(losses, reason)
      })
      if (isPaused) pull.pause()
    })
    const end = Effect.suspend(() => {
      pull?.stop()
      return name !== "" && nats.isConnected ? Effect.ignore(PullConsumer.remove(nats, stream, name)) : Effect.void
    })
    yield* nats.onReconnect(() => Queue.offerUnsafe(losses, "reconnected"))
    yield* Effect.addFinalizer(() => end)
    yield* begin
    yield* Effect.gen(function*() {
      while (true) {
        const loss = yield* Queue.take(losses).pipe(Effect.timeoutOption(PullConsumer.heartbeatMs))
        if (Option.isNone(loss)) {
          pull?.tick()
          continue
        }
        yield* end
        yield* begin
      }
    }).pipe(Effect.catchCause((cause) => Queue.failCause(output, cause)), Effect.forkScoped)

    return Stream.fromPull(Effect.succeed(Effect.map(Queue.takeAll(output), (events) => {
      if (isPaused) {
        isPaused = false
        pull?.resume()
      }
      return events
    })))
  }))

/** How long a broker that is there may refuse to make a lost consumer again. */
const recreateForMs = 60_000
