/**
 * The system event bus: `heddle.system.<kind>` in HEDDLE_SYSTEM. design/05.
 *
 * Keeps true: an event carries its deterministic id as `Nats-Msg-Id`, so two replicas that decide the same publish one event (within the stream's duplicate window; beyond it the
 * publisher knows the id from the bus itself). A reader sees events in the order of the stream, from `replayMax` messages before the end on, with bounded memory. What is no
 * system event is logged and left out: it must not keep anybody from reading the rest.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Consume from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import { type JetStreamFailed, retryTransient } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { SystemEvent } from "../../shared/protocol/SystemEvent.ts"

/** How much of the bus is read at the start, in messages. */
export const replayMax = 20_000
const bufferedMax = 1_024

const decode = Decode.decoder(SystemEvent)

/** Fails when it is not acknowledged; publish the same event again then. `duplicate`: another replica was faster. */
export const publish = (
  nats: Connection,
  event: SystemEvent
): Effect.Effect<Append.Published, Append.PublishFailed> =>
  Append.publish(nats, Subject.system(event._tag), JSON.stringify(event), { msgId: event.id })

/** `CaughtUp`: everything that stood there at the start was shown. Once. */
export type BusItem =
  | { readonly _tag: "Event"; readonly sequence: number; readonly event: SystemEvent }
  | { readonly _tag: "CaughtUp" }

/** What stands on the bus, and from then on what is published. Ends only with an error. */
export const follow = (nats: Connection): Stream.Stream<BusItem, JetStreamFailed | Consume.ConsumeFailed> =>
  Stream.unwrap(Effect.gen(function*() {
    const output = yield* Queue.unbounded<BusItem, JetStreamFailed | Consume.ConsumeFailed>() // bounded by pausing the consumer at `bufferedMax`
    const warn = Effect.runForkWith(yield* Effect.context<never>())
    const stored = yield* Streams.info(nats, Streams.name.system).pipe(retryTransient(20_000))
    const last = Option.match(stored, {
      onNone: () => 0,
      onSome: ({ state }) => state.messages === 0 ? 0 : state.last_seq
    })
    let isCaughtUp = last === 0
    let isPaused = false
    let consumer: Consume.Consumer | undefined
    if (isCaughtUp) Queue.offerUnsafe(output, { _tag: "CaughtUp" })
    consumer = yield* Consume.consume(
      nats,
      Streams.name.system,
      { filter: Subject.system("*"), from: Math.max(1, last - replayMax + 1), acknowledge: "none" },
      (delivery) => {
        const event = decode(delivery.text)
        if (Result.isSuccess(event)) {
          Queue.offerUnsafe(output, { _tag: "Event", sequence: delivery.sequence, event: event.success })
        } else {
          warn(
            Effect.logWarning(
              `message ${delivery.sequence} on ${delivery.subject} is no system event: ${event.failure.message}`
            )
          )
        }
        if (!isCaughtUp && delivery.sequence >= last) {
          isCaughtUp = true
          Queue.offerUnsafe(output, { _tag: "CaughtUp" })
        }
        if (!isPaused && Queue.sizeUnsafe(output) >= bufferedMax) {
          isPaused = true
          consumer?.pause()
        }
      }
    )
    yield* consumer.failure.pipe(Effect.catchCause((cause) => Queue.failCause(output, cause)), Effect.forkScoped)
    return Stream.fromPull(Effect.succeed(Effect.map(Queue.takeAll(output), (items) => {
      if (isPaused) {
        isPaused = false
        consumer?.resume()
      }
      return items
    })))
  }))
