/**
 * One reader of a stream for the whole process: takes every message from a place on, tells whoever listens, and says how far it is.
 *
 * Kept true: a message is told once, in order, to each listener; `position` is the newest message that was told, so whoever begins to listen gets exactly what comes after it. Nothing
 * is kept. A stream that cannot be followed any more fails `failure`. docs/design/gateway.md "Live events".
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Consume from "../../shared/jetstream/Consume.ts"
import { retryTransient } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"

/** What a stream holds now, as its leader says. */
export interface Bounds {
  readonly first: number
  readonly last: number
  readonly messages: number
  readonly bytes: number
}

export interface Message {
  readonly sequence: number
  readonly subject: string
  readonly text: string
}

/** Synchronous, must not throw. */
export type Listener = (message: Message) => void

export interface Tail {
  readonly stream: string
  readonly filter: string
  /** Sequence of the newest message that was told. */
  readonly position: () => number
  readonly listen: (listener: Listener) => () => void
  /** Everything that the stream held when this began has been told. */
  readonly caughtUp: Effect.Effect<void>
  /** Never succeeds. */
  readonly failure: Effect.Effect<never, Consume.ConsumeFailed>
}

const unavailable = (message: string) => new ContractError({ code: "Unavailable", message })

export const bounds = (nats: Connection, stream: string): Effect.Effect<Bounds, ContractError> =>
  Streams.info(nats, stream).pipe(
    retryTransient(5_000),
    Effect.mapError((error) => unavailable(error.message)),
    Effect.flatMap((info) =>
      Option.isNone(info)
        ? Effect.fail(unavailable(`there is no stream ${stream}: a service of the mesh makes it`))
        : Effect.succeed({
          first: info.value.state.first_seq,
          last: info.value.state.last_seq,
          messages: info.value.state.messages,
          bytes: info.value.state.bytes
        })
    )
  )

/** Follows the stream until the scope closes. `from`: of the stream's bounds, the sequence to begin with. `first`: hears everything, before all others. */
export const follow = (
  nats: Connection,
  options: {
    readonly stream: string
    readonly filter: string
    readonly from: (bounds: Bounds) => number
    readonly first?: Listener
  }
): Effect.Effect<Tail, ContractError, Scope.Scope> =>
  Effect.gen(function*() {
    const { filter, first, stream } = options
    const found = yield* bounds(nats, stream)
    const from = Math.max(1, options.from(found))
    const caughtUp = yield* Deferred.make<void>()
    const listeners = new Set<Listener>()
    let position = from - 1
    if (position >= found.last) Deferred.doneUnsafe(caughtUp, Effect.void)
    const consumer = yield* Consume.consume(
      nats,
      stream,
      { filter, from, acknowledge: "none", description: "heddle gateway" },
      (delivery) => {
        const { sequence } = delivery
        if (sequence <= position) return
        const message = { sequence, subject: delivery.subject, text: delivery.text }
        position = sequence
        first?.(message)
        for (const listener of listeners) listener(message)
        if (sequence >= found.last || delivery.pending === 0) Deferred.doneUnsafe(caughtUp, Effect.void)
      }
    ).pipe(Effect.mapError((error) => unavailable(error.message)))
    return {
      stream,
      filter,
      position: () => position,
      listen: (listener) => {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
      caughtUp: Deferred.await(caughtUp),
      failure: consumer.failure
    }
  })
