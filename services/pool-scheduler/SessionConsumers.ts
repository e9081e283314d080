/**
 * Work-queue consumers that belong to one ownership of a pool: named with its session, so that a new owner gets everything unacknowledged again at once.
 *
 * A work queue admits one consumer per subject, so those of older sessions are deleted first; acknowledgements of an owner that does not know yet go nowhere, and its
 * consumer cannot come back while ours stands. Names begin with the namespace's length: no two pools share a prefix.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Consume from "../../shared/jetstream/Consume.ts"
import { ask, type JetStreamFailed, retryTransient } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as PullConsumer from "../../shared/jetstream/PullConsumer.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"

export interface SessionConsumerOptions {
  readonly stream: string
  readonly pool: PoolRef
  /** What it is for; distinguishes several consumers of one pool. */
  readonly purpose: string
  readonly session: SessionId
  readonly filter: string
  readonly ackWaitMs: number
  readonly maxAckPending: number
  readonly maxMessages?: number
}

interface Names {
  readonly consumers: ReadonlyArray<string> | null
  readonly total: number
}

const prefixOf = ({ pool, purpose }: SessionConsumerOptions): string =>
  `pool-${pool.namespace.length}-${pool.namespace}-${pool.name.length}-${pool.name}-${purpose}-`

/** Pages of names that are looked through; the server gives 1,024 a page. */
const pagesMax = 64

type ByPrefix = ReadonlyMap<string, ReadonlyArray<string>>

/** Names of a stream's consumers by what stands before their session. */
const listNames = (nats: Connection, stream: string): Effect.Effect<ByPrefix, JetStreamFailed> =>
  Effect.gen(function*() {
    const found = new Map<string, Array<string>>()
    let offset = 0
    for (let page = 0; page < pagesMax; page++) {
      const answer = yield* ask<Names>(nats, `CONSUMER.NAMES.${stream}`, { offset })
      const consumers = answer.consumers ?? []
      for (const name of consumers) {
        const prefix = name.slice(0, name.lastIndexOf("-") + 1)
        const others = found.get(prefix)
        if (others === undefined) found.set(prefix, [name])
        else others.push(name)
      }
      offset += consumers.length
      if (consumers.length === 0 || offset >= answer.total) break
    }
    return found
  })

/** One list at a time. Whoever waits for it meanwhile shares the next: a take-over of many pools asks for as many lists as it has consumers. */
class SharedNames {
  private readonly lock = Semaphore.makeUnsafe(1)
  private begun = 0
  private last: { readonly number: number; readonly names: ByPrefix } = { number: 0, names: new Map() }

  /** From a list that began after this was asked for. */
  read(nats: Connection, stream: string): Effect.Effect<ByPrefix, JetStreamFailed> {
    return Effect.suspend(() => {
      const atLeast = this.begun + 1
      return this.lock.withPermits(1)(Effect.suspend(() => {
        if (this.last.number >= atLeast) return Effect.succeed(this.last.names)
        const number = ++this.begun
        return Effect.tap(listNames(nats, stream), (names) =>
          Effect.sync(() => {
            this.last = { number, names }
          }))
      }))
    })
  }
}

const shared = new WeakMap<Connection, Map<string, SharedNames>>()

const names = (nats: Connection, stream: string): Effect.Effect<ByPrefix, JetStreamFailed> => {
  let streams = shared.get(nats)
  if (streams === undefined) shared.set(nats, streams = new Map())
  let known = streams.get(stream)
  if (known === undefined) streams.set(stream, known = new SharedNames())
  return known.read(nats, stream)
}

/** Makes the consumer of this session, and ends those of older ones. Deleted with the scope. */
export const consume = (
  nats: Connection,
  options: SessionConsumerOptions,
  handler: (delivery: Consume.Delivery) => void
): Effect.Effect<Consume.Consumer, Consume.ConsumeFailed | JetStreamFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const prefix = prefixOf(options)
    const name = `${prefix}${options.session.toString(36)}`
    const clear = Effect.gen(function*() {
      const found = (yield* names(nats, options.stream)).get(prefix) ?? []
      yield* Effect.forEach(found.filter((other) => other !== name), (other) =>
        PullConsumer.removeIfThere(nats, options.stream, other), { discard: true })
    }).pipe(retryTransient(20_000))
    // Only spares the next owner the deletion, which it does by itself.
    yield* Effect.addFinalizer(() =>
      nats.isConnected ? Effect.ignore(PullConsumer.removeIfThere(nats, options.stream, name)) : Effect.void
    )
    const make = Effect.andThen(
      clear,
      Consume.consume(nats, options.stream, {
        durable: name,
        description: `${options.purpose} of pool ${options.pool.namespace}/${options.pool.name}`,
        filter: options.filter,
        ackWaitMs: options.ackWaitMs,
        maxAckPending: options.maxAckPending,
        maxMessages: options.maxMessages ?? 256
      }, handler)
    )
    // The older owner may have made its own again in between: once more.
    return yield* make.pipe(Effect.retry({
      times: 5,
      while: (error) =>
        error._tag === "ConsumeFailed"
    }))
  })
