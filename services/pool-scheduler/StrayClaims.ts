/**
 * Durable claims to pools that are not there: each is answered as a request would be, `NoSuchPool`, and taken out of the stream.
 *
 * Keeps true: a claim that no pool's consumer will read is not left without an answer. Who publishes one is overheard by one replica; what was published while no replica lived, or
 * waited in a pool that was deleted, is looked for at the start and at the deletion. Nothing is answered before the pools' bucket itself, not this replica's memory of it, says that
 * there is no such pool. A claim that was answered before keeps its answer. Follows design/02 "Claims".
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import { ask } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import { purge } from "../../shared/jetstream/Purge.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ClaimRequest, type ClaimResult } from "../../shared/protocol/Claim.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { ClaimId, Namespace, PoolName, SessionId, Token } from "../../shared/protocol/Token.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import * as ClaimResults from "./ClaimResults.ts"
import * as DurableClaims from "./DurableClaims.ts"
import * as PoolOwnership from "./PoolOwnership.ts"
import * as PoolRouting from "./PoolRouting.ts"

/** Every replica hears of a claim before the stream has it: the first look comes after this, the others after twice the last wait. */
const firstLookMs = 100
const looksMax = 6
/** Subjects that may wait to be looked into; those beyond are found when these are done. */
const openMax = 10_000
/** Subjects whose claims are answered at once. */
const subjectsAtOnce = 8
const queue = "stray-claims"
const all = "heddle.pool.*.*.claim"
const noSession = SessionId.make(0)

const isToken = Schema.is(Token)
const decodeClaim = Decode.decoder(ClaimRequest)
const decodeUnknown = Decode.decoder(Schema.Unknown)

export interface StrayClaimsOptions {
  readonly nats: Connection
  /** As far as this replica knows: then its owner reads its claims. */
  readonly exists: (pool: PoolRef) => boolean
  readonly fork: (effect: Effect.Effect<void>) => void
}

export interface StrayClaims {
  /** Looks into what waits for a pool that was deleted. */
  readonly deleted: (pool: PoolRef) => void
  /** Looks into all that waits, once this replica knows the pools. */
  readonly sweep: () => void
}

/** The pool of `heddle.pool.<ns>.<pool>.claim`, or the part that is no name. */
const poolOf = (subject: string): Result.Result<PoolRef, string> => {
  const [, , namespace = "", name = ""] = subject.split(".")
  if (!isToken(namespace)) return Result.fail(namespace)
  if (!isToken(name)) return Result.fail(name)
  return Result.succeed({ namespace: Namespace.make(namespace), name: PoolName.make(name) })
}

const problemOf = (
  subject: string,
  text: string
): { readonly outcome: "Invalid" | "NoSuchPool"; readonly error: ContractError } => {
  const pool = poolOf(subject)
  if (Result.isFailure(pool)) {
    return {
      outcome: "Invalid",
      error: new ContractError({
        code: "InvalidName",
        message: `"${pool.failure.slice(0, 80)}" in ${subject.slice(0, 200)}: ${errorCodes.InvalidName.fix}`,
        details: { name: pool.failure.slice(0, 200) }
      })
    }
  }
  const decoded = decodeClaim(text)
  return Result.isFailure(decoded)
    ? { outcome: "Invalid", error: decoded.failure }
    : { outcome: "NoSuchPool", error: PoolRouting.noSuchPool(pool.success) }
}

const idOf = (message: Read.StoredMessage): ClaimId => {
  const body = decodeUnknown(message.text)
  return (Result.isSuccess(body) ? ClaimMessages.claimIdOf(body.success) : undefined) ??
    ClaimMessages.idOfMessage(message.headers[Subject.header.msgId]) ?? ClaimId.make(`d${message.sequence}`)
}

export const serve = (
  { exists, fork, nats }: StrayClaimsOptions
): Effect.Effect<StrayClaims, never, Scope.Scope> =>
  Effect.gen(function*() {
    const bucket = Kv.bucket(nats, Streams.bucketName.pools)
    /** Subjects that are looked into; `true`: one more came meanwhile. */
    const open = new Map<string, boolean>()
    let isMissed = false
    const permits = yield* Semaphore.make(subjectsAtOnce)

    const answer = Effect.fnUntraced(function*(message: Read.StoredMessage) {
      const claimId = idOf(message)
      const subject = `${message.subject.slice(0, -"claim".length)}result.${claimId}`
      const pool = poolOf(message.subject)
      const before = Result.isSuccess(pool)
        ? yield* ClaimResults.find(nats, pool.success, claimId)
        : Option.none<ClaimResult>()
      const { error, outcome } = problemOf(message.subject, message.text)
      const result = Option.getOrElse(
        before,
        () => ClaimMessages.refusal(claimId, outcome, noSession, error.answer.error)
      )
      if (Option.isNone(before)) {
        yield* Append.publish(nats, subject, JSON.stringify(result), { headers: ClaimResults.sessionHeader(result) })
      }
      DurableClaims.tell(nats, message.headers[Subject.header.replyTo], result)
    })

    /** How many there were. */
    const answerAll = Effect.fnUntraced(function*(subject: string) {
      for (let found = 0;; found++) {
        const next = yield* Read.nextMessage(nats, Streams.name.claims, subject, 1)
        if (Option.isNone(next)) return found
        yield* answer(next.value)
        yield* purge(nats, Streams.name.claims, subject, next.value.sequence)
      }
    })

    const look = Effect.fnUntraced(function*(subject: string) {
      const pool = poolOf(subject)
      let found = 0
      for (let n = 0, waitMs = firstLookMs; n < looksMax && found === 0; n++, waitMs *= 2) {
        yield* Effect.sleep(waitMs)
        if (Result.isSuccess(pool)) {
          if (exists(pool.success)) return
          if (Option.isSome(yield* bucket.get(PoolOwnership.specKey(pool.success)))) return
        }
        found = yield* permits.withPermit(answerAll(subject))
      }
    })

    const lookSoon = (subject: string): void => {
      if (open.has(subject)) {
        open.set(subject, true)
        return
      }
      if (open.size >= openMax) {
        isMissed = true
        return
      }
      open.set(subject, false)
      fork(
        look(subject).pipe(
          Effect.catch((error) => Effect.logWarning(`claims to ${subject} cannot be answered: ${error.message}`)),
          Effect.ensuring(Effect.sync(() => {
            const isAgain = open.get(subject) === true
            open.delete(subject)
            if (isAgain) lookSoon(subject)
            if (open.size === 0 && isMissed) {
              isMissed = false
              sweep()
            }
          }))
        )
      )
    }
    const overheard = (subject: string): void => {
      const pool = poolOf(subject)
      if (Result.isFailure(pool) || !exists(pool.success)) lookSoon(subject)
    }

    const sweep = (): void =>
      fork(
        ask<{ readonly state?: { readonly subjects?: Readonly<Record<string, number>> } }>(
          nats,
          `STREAM.INFO.${Streams.name.claims}`,
          { subjects_filter: all }
        ).pipe(
          Effect.map(({ state }) => Object.keys(state?.subjects ?? {}).forEach(overheard)),
          Effect.catch((error) => Effect.logWarning(`waiting claims cannot be looked for: ${error.message}`))
        )
      )

    yield* nats.subscribe(all, ({ subject }) => overheard(subject), { queue })
    return { deleted: (pool) => lookSoon(Subject.claim(pool)), sweep }
  })
