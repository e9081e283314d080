/**
 * The claim verbs of a pool: claim, release, renew, cancel, get, snapshot. Synchronous endpoints: a claim costs no fiber unless its id may have a stored result.
 *
 * Core NATS does not tell whether the asker of a claim still listens when the answer goes out, so a granted sandbox whose holder is gone is freed by its lease (`ttl`), or at
 * once by `cancel` or `release` of its claim id; a client that must not lose a grant brings its own `claimId` and asks again with it. Follows design/02 "Claims".
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import {
  ClaimRef,
  ClaimRequest,
  type ClaimResult,
  type ClaimResults,
  RenewRequest,
  type Snapshot
} from "../../shared/protocol/Claim.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { ClaimId, SessionId } from "../../shared/protocol/Token.ts"
import type { ClaimSpec } from "./Claim.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import * as ClaimResultStore from "./ClaimResults.ts"
import type { OwnedPool } from "./OwnedPool.ts"
import * as PoolRouting from "./PoolRouting.ts"

/** Claims that may wait for an answer at once, over all pools of this process; each pool's own queue is bounded too. */
const claimsInFlightMax = 100_000

const decodeClaim = Decode.valueDecoder(ClaimRequest)
const noSession = SessionId.make(0)
const noId = ClaimId.make("none")

const subjectOf = (verb: Subject.PoolVerb): string => `heddle.rpc.pool.*.*.${verb}`

const noSuchClaim = (claimId: ClaimId): ContractError =>
  new ContractError({
    code: "NoSuchClaim",
    message: `claim ${claimId} is not known. ${errorCodes.NoSuchClaim.fix}`,
    path: "claimId"
  })

const closing = (): ContractError =>
  new ContractError({ code: "ShuttingDown", message: `this replica is ending. ${errorCodes.ShuttingDown.fix}` })

export interface ClaimRpcsOptions extends PoolRouting.Routing {
  /** Runs an Effect for a request that has to look something up. */
  readonly fork: (effect: Effect.Effect<void>) => void
}

export const endpoints = (options: ClaimRpcsOptions): ReadonlyArray<Rpc.Endpoint> => {
  const claim = Rpc.endpointUnsafe<unknown, ClaimResult | ClaimResults>({
    name: "claim",
    subject: subjectOf("claim"),
    description: "Claims one sandbox, or a batch",
    request: Schema.Unknown,
    inFlightMax: claimsInFlightMax,
    handler: (body, respond, context) => {
      const decoded = decodeClaim(body)
      const legible = ClaimMessages.claimIdOf(body)
      const refuse = (outcome: "Invalid" | "NoSuchPool" | "ShuttingDown", error: ContractError): void =>
        respond.answer(ClaimMessages.refusal(legible ?? noId, outcome, noSession, error.answer.error))
      if (Result.isFailure(decoded)) return refuse("Invalid", decoded.failure)
      const request = decoded.success
      const arrivedAt = options.nats.clock.currentTimeMillisUnsafe()
      const refusals: PoolRouting.Refusals = {
        noSuchPool: () => refuse("NoSuchPool", PoolRouting.noSuchPool(PoolRouting.poolOf(context))),
        closing: () => refuse("ShuttingDown", closing()),
        refuse: respond.refuse
      }
      PoolRouting.route(options, context, respond, refusals, (live) => {
        const specs = ClaimMessages.specsOf(request, {
          claimId: request.claimId ?? ClaimId.make(live.nextClaimId()),
          at: arrivedAt,
          team: context.message.header(Subject.header.team),
          ttlDefaultMs: live.ttlDefaultMs
        })
        if (Result.isFailure(specs)) return refuse("Invalid", specs.failure)
        const [first, ...others] = specs.success
        if (first === undefined) return
        const isBatch = others.length > 0
        const answer = (results: ReadonlyArray<ClaimResult>): void =>
          respond.answer(isBatch ? { results } : results[0] as ClaimResult) // one for each spec
        if (request.claimId === undefined) return enqueue(live, specs.success, false, answer)
        if (!live.mayBeStored(first.claimId)) return enqueue(live, specs.success, true, answer)
        options.fork(
          Effect.forEach(specs.success, (spec) => ClaimResultStore.find(options.nats, live.pool, spec.claimId), {
            concurrency: 16
          }).pipe(
            Effect.map((found) => {
              const known = found.flatMap((one) => Option.isSome(one) ? [one.value] : [])
              if (known.length === specs.success.length) answer(known)
              else enqueue(live, specs.success, true, answer)
            }),
            Effect.catch((error) =>
              Effect.sync(() => respond.refuse(new ContractError({ code: "Unavailable", message: error.message })))
            )
          )
        )
      })
    }
  })

  /** A verb about one claim of a pool. */
  const about = <Request extends { readonly claimId: ClaimId }>(
    verb: "release" | "renew" | "cancel" | "get",
    description: string,
    request: Decode.Decodable<Request>,
    act: (live: OwnedPool, request: Request) => ClaimResult | undefined
  ): Rpc.Endpoint =>
    Rpc.endpointUnsafe<Request, ClaimResult>({
      name: verb,
      subject: subjectOf(verb),
      description,
      request,
      inFlightMax: claimsInFlightMax,
      handler: (body, respond, context) =>
        PoolRouting.route(options, context, respond, refusalsOf(respond, context), (live) => {
          const result = act(live, body)
          if (result !== undefined) return respond.answer(result)
          if (verb === "renew") return respond.refuse(noSuchClaim(body.claimId))
          options.fork(
            ClaimResultStore.find(options.nats, live.pool, body.claimId).pipe(
              Effect.map((found) =>
                Option.isSome(found) ? respond.answer(found.value) : respond.refuse(noSuchClaim(body.claimId))
              ),
              Effect.catch((error) =>
                Effect.sync(() => respond.refuse(new ContractError({ code: "Unavailable", message: error.message })))
              )
            )
          )
        })
    })

  const wire = (
    live: OwnedPool,
    settled: Parameters<typeof ClaimMessages.resultOf>[0] | undefined
  ): ClaimResult | undefined => settled === undefined ? undefined : ClaimMessages.resultOf(settled, live.session)

  return [
    claim,
    about(
      "release",
      "Gives a claimed sandbox back",
      ClaimRef,
      (live, { claimId }) => wire(live, live.scheduler.release(claimId))
    ),
    about(
      "renew",
      "Lengthens a claim's lease",
      RenewRequest,
      (live, { claimId, ttl }) => wire(live, live.scheduler.renew(claimId, ttl))
    ),
    about(
      "cancel",
      "Ends a claim, waiting or granted",
      ClaimRef,
      (live, { claimId }) => wire(live, live.scheduler.cancel(claimId))
    ),
    Rpc.endpointUnsafe<ClaimRef, ClaimResult>({
      name: "get",
      subject: subjectOf("get"),
      description: "What is known of a claim",
      request: ClaimRef,
      handler: ({ claimId }, respond, context) =>
        PoolRouting.route(options, context, respond, refusalsOf(respond, context), (live) => {
          const known = live.scheduler.get(claimId)
          if (known?.settled !== undefined) return respond.answer(ClaimMessages.resultOf(known.settled, live.session))
          if (known !== undefined) {
            return respond.refuse(
              new ContractError({
                code: "Conflict",
                message: `claim ${claimId} still waits for a sandbox: ask again later, or cancel it`,
                path: "claimId"
              })
            )
          }
          options.fork(
            ClaimResultStore.find(options.nats, live.pool, claimId).pipe(
              Effect.map((found) =>
                Option.isSome(found) ? respond.answer(found.value) : respond.refuse(noSuchClaim(claimId))
              ),
              Effect.catch((error) =>
                Effect.sync(() => respond.refuse(new ContractError({ code: "Unavailable", message: error.message })))
              )
            )
          )
        })
    }),
    Rpc.endpointUnsafe<unknown, Snapshot>({
      name: "snapshot",
      subject: subjectOf("snapshot"),
      description: "A pool's counters",
      request: Schema.Unknown,
      handler: (_, respond, context) =>
        PoolRouting.route(
          options,
          context,
          respond,
          refusalsOf(respond, context),
          (live) => respond.answer(live.snapshot())
        )
    })
  ]
}

/** Answers when every one of a batch has its result. */
const enqueue = (
  live: OwnedPool,
  specs: ReadonlyArray<ClaimSpec>,
  isChosen: boolean,
  answer: (results: ReadonlyArray<ClaimResult>) => void
): void => {
  const results: Array<ClaimResult> = []
  let open = specs.length
  specs.forEach((spec, i) => {
    const onSettled = (settled: Parameters<typeof ClaimMessages.resultOf>[0]): void => {
      results[i] = ClaimMessages.resultOf(settled, live.session)
      if (--open === 0) answer(results)
    }
    if (isChosen) live.enqueueChosen(spec, onSettled)
    else live.scheduler.enqueue(spec, onSettled)
  })
}

export const refusalsOf = <A>(respond: Rpc.Responder<A>, context: Rpc.RequestContext): PoolRouting.Refusals => ({
  noSuchPool: () => respond.refuse(PoolRouting.noSuchPool(PoolRouting.poolOf(context))),
  closing: () => respond.refuse(closing()),
  refuse: respond.refuse
})
