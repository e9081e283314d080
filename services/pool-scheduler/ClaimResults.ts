/**
 * Results of claims that chose their own id, or came as durable messages, kept in HEDDLE_RESULTS for an hour: answers for a repeated id after a restart.
 *
 * A record is written when the claim has its result and again when a claimed sandbox was given back, so that a repeated id never gets a sandbox that is long another's.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import type { Headers } from "../../shared/jetstream/Message.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ClaimResult } from "../../shared/protocol/Claim.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { ClaimId } from "../../shared/protocol/Token.ts"

const decode = Decode.decoder(ClaimResult)

/** Results that are published say in a header, too, whose session they are of. */
export const sessionHeader = ({ sessionId }: ClaimResult): Headers => ({ [Subject.header.session]: String(sessionId) })

/** Stores a record; `done` tells whether it is stored for certain. */
export const store = (nats: Connection, pool: PoolRef, result: ClaimResult, done: (isStored: boolean) => void): void =>
  Append.publishUnsafe(
    nats,
    Subject.claimResult(pool, result.claimId),
    JSON.stringify(result),
    { headers: sessionHeader(result) },
    (outcome) => done(Result.isSuccess(outcome))
  )

/**
 * The stored record of a claim that is not live. One that says `Claimed` is over all the same: nobody holds a sandbox for it any more, and its end was not written.
 */
export const find = (
  nats: Connection,
  pool: PoolRef,
  claimId: ClaimId
): Effect.Effect<Option.Option<ClaimResult>, JetStreamFailed> =>
  Effect.map(Read.lastMessage(nats, Streams.name.results, Subject.claimResult(pool, claimId)), (stored) => {
    if (Option.isNone(stored)) return Option.none()
    const decoded = decode(stored.value.text)
    if (Result.isFailure(decoded)) return Option.none()
    return Option.some(
      decoded.success.outcome === "Claimed" ? { ...decoded.success, outcome: "Expired" } : decoded.success
    )
  })

/** Whether any result of the pool is stored: if not, no repeated id can be answered from here. */
export const hasAny = (nats: Connection, pool: PoolRef): Effect.Effect<boolean, JetStreamFailed> =>
  Effect.map(
    Read.lastMessage(nats, Streams.name.results, `heddle.pool.${pool.namespace}.${pool.name}.result.*`),
    Option.isSome
  )
