/**
 * Claims published to `heddle.pool.<ns>.<pool>.claim`: each gets one result, on its result subject and to `Heddle-Reply-To`, and is acknowledged only after that is stored.
 *
 * None is dropped silently: a malformed one gets an `Invalid` result, under its claim id or, when that cannot be read, under one made of its `Nats-Msg-Id` or, without
 * that, of its place in the stream. A claim without id gets that one too, so a redelivery joins the same claim. When the queue is full or the pool is changing hands it stays in the stream and comes again.
 */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { ConsumeFailed, Consumer, Delivery } from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { claimDeadlineMaxMs, ClaimRequest, type ClaimResult } from "../../shared/protocol/Claim.ts"
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { ClaimId } from "../../shared/protocol/Token.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import * as ClaimResults from "./ClaimResults.ts"
import type { OwnedPool } from "./OwnedPool.ts"
import * as SessionConsumers from "./SessionConsumers.ts"

const pendingMax = 1_000
/** A claim may wait as long as its deadline; it comes again only when the owner is gone, and then under another consumer. */
const ackWaitMs = claimDeadlineMaxMs + 60_000
const againMs = 1_000

const decode = Decode.decoder(ClaimRequest)
const decodeUnknown = Decode.decoder(Schema.Unknown)

/** Where a result may be sent: an ordinary subject of the sender's, not one of the broker's or the mesh's own. */
const isReplySubject = (subject: string): boolean =>
  /^[^\s*>]{1,256}$/.test(subject) && !subject.startsWith("$") && !subject.startsWith("heddle.")

/** Sends a result to where its claim asked for it, if that is a place for it. */
export const tell = (nats: Connection, replyTo: string | undefined, result: ClaimResult): void => {
  if (replyTo !== undefined && isReplySubject(replyTo)) {
    nats.publish(replyTo, JSON.stringify(result), { headers: ClaimResults.sessionHeader(result) })
  }
}

export const start = (
  nats: Connection,
  live: OwnedPool
): Effect.Effect<Consumer, ConsumeFailed | JetStreamFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const fibers = yield* FiberSet.make<void, never>()
    const fork = yield* FiberSet.runtime(fibers)<never>()

    /** Stores the result, then acknowledges; what could not be stored comes again. */
    const finish = (delivery: Delivery, result: ClaimResult): void => {
      const replyTo = delivery.header(Subject.header.replyTo)
      ClaimResults.store(nats, live.pool, result, (isStored) => {
        if (!isStored) {
          delivery.nak(againMs)
          return
        }
        tell(nats, replyTo, result)
        delivery.ack()
      })
    }

    const invalid = (delivery: Delivery, error: ErrorBody): void => {
      const body = decodeUnknown(delivery.text)
      const claimId = (Result.isSuccess(body) ? ClaimMessages.claimIdOf(body.success) : undefined) ??
        derivedId(delivery)
      finish(delivery, ClaimMessages.refusal(claimId, "Invalid", live.session, error))
    }

    const enqueue = (delivery: Delivery, { count, spec }: ClaimMessages.Asked): void =>
      live.enqueueChosen(spec, count, (settled) => {
        if (settled.outcome === "QueueFull" || settled.outcome === "ShuttingDown") delivery.nak(againMs)
        else finish(delivery, ClaimMessages.resultOf(settled, live.session))
      }, true)

    const onDelivery = (delivery: Delivery): void => {
      const decoded = decode(delivery.text)
      if (Result.isFailure(decoded)) return invalid(delivery, decoded.failure.answer.error)
      const asked = ClaimMessages.askedOf(decoded.success, {
        claimId: decoded.success.claimId ?? derivedId(delivery),
        at: delivery.storedAtMs,
        team: delivery.header(Subject.header.team),
        traceparent: live.isTraced ? delivery.header(Subject.header.traceparent) : undefined,
        ttlDefaultMs: live.ttlDefaultMs
      })
      if (Result.isFailure(asked)) return invalid(delivery, asked.failure.answer.error)
      const { claimId } = asked.success.spec
      if (!live.mayBeStored(claimId)) return enqueue(delivery, asked.success)
      // Handled before a restart, its acknowledgement lost: answered with what was stored.
      fork(
        ClaimResults.find(nats, live.pool, claimId).pipe(
          Effect.map((found) => {
            if (Option.isSome(found)) finish(delivery, found.value)
            else enqueue(delivery, asked.success)
          }),
          Effect.catch(() =>
            Effect.sync(() => {
              delivery.nak(againMs)
            })
          )
        )
      )
    }

    const consumer = yield* SessionConsumers.consume(nats, {
      stream: Streams.name.claims,
      pool: live.pool,
      purpose: "claims",
      session: live.session,
      filter: Subject.claim(live.pool),
      ackWaitMs,
      maxAckPending: pendingMax
    }, onDelivery)
    // A claim whose stored result was being looked up would stay without an answer for as long as the consumer lives.
    const died = Effect.andThen(FiberSet.join(fibers), Effect.never)
    return { ...consumer, failure: Effect.raceFirst(consumer.failure, died) }
  })

/** The same for every delivery of a message. */
const derivedId = (delivery: Delivery): ClaimId =>
  ClaimMessages.idOfMessage(delivery.header(Subject.header.msgId)) ?? ClaimId.make(`d${delivery.sequence}`)
