/**
 * The claim verbs of a pool: claim, release, renew, cancel, get, pause, resume, snapshot. Synchronous endpoints: a claim costs no fiber unless its id may have a stored result.
 *
 * A claim without an id whose asker has left the broker while it waited is given back at once: nobody could ever name it. One with an id of its own waits for its asker to ask
 * again, until its lease (`ttl`) ends; a client that must not lose a grant brings its own `claimId`. Follows design/02 "Claims", design/04 section 1, point 8.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { ClaimRef, ClaimRequest, type ClaimResult, RenewRequest, type Snapshot } from "../../shared/protocol/Claim.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import { NoFields } from "../../shared/protocol/NoFields.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { ClaimId, SessionId } from "../../shared/protocol/Token.ts"
import * as ClaimMessages from "./ClaimMessages.ts"
import * as ClaimResultStore from "./ClaimResults.ts"
import type { OwnedPool } from "./OwnedPool.ts"
import * as PoolRouting from "./PoolRouting.ts"
import type { Settled } from "./Settled.ts"

/** An asker that has waited this long may have gone meanwhile. */
const goneAfterMs = 100
/** How long the broker may need to say that nobody listens; an asker that listens never answers. */
const goneWaitMs = 1_000
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

/** Why a lease cannot begin anew. */
const notHeld = (live: OwnedPool, claimId: ClaimId): ContractError => {
  const known = live.scheduler.get(claimId)
  if (known === undefined) return noSuchClaim(claimId)
  const state = known.settled === undefined ? "still waits for a sandbox" : `is ${known.settled.outcome}`
  return new ContractError({
    code: "Conflict",
    message: `claim ${claimId} ${state}: only one that holds a sandbox can be renewed`,
    path: "claimId"
  })
}

const closing = (): ContractError =>
  new ContractError({ code: "ShuttingDown", message: `this replica is ending. ${errorCodes.ShuttingDown.fix}` })

export interface ClaimRpcsOptions extends PoolRouting.Routing {
  /** Runs an Effect for a request that has to look something up. */
  readonly fork: (effect: Effect.Effect<void>) => void
}

export const endpoints = (options: ClaimRpcsOptions): ReadonlyArray<RpcService.Endpoint> => {
  const claim = RpcService.endpointUnsafe<unknown, ClaimResult>({
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
        const chosen = request.claimId ?? ClaimMessages.idOfMessage(context.message.header(Subject.header.msgId))
        const asked = ClaimMessages.askedOf(request, {
          claimId: chosen ?? ClaimId.make(live.nextClaimId()),
          at: arrivedAt,
          team: context.message.header(Subject.header.team),
          traceparent: live.isTraced ? context.message.header(Subject.header.traceparent) : undefined,
          ttlDefaultMs: live.ttlDefaultMs
        })
        if (Result.isFailure(asked)) return refuse("Invalid", asked.failure)
        const { count, spec } = asked.success
        const settled = (one: Settled): void => respond.answer(ClaimMessages.resultOf(one, live.session))
        if (chosen === undefined) {
          return live.enqueue(spec, count, (one) => {
            if (one.outcome === "Claimed" && one.queuedMs >= goneAfterMs) {
              grantIfThere(options, live, one, context, respond)
            } else settled(one)
          })
        }
        if (!live.mayBeStored(spec.claimId)) return live.enqueueChosen(spec, count, settled)
        options.fork(
          ClaimResultStore.find(options.nats, live.pool, spec.claimId).pipe(
            Effect.map((found) => {
              if (Option.isSome(found)) respond.answer(found.value)
              else live.enqueueChosen(spec, count, settled)
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
  ): RpcService.Endpoint =>
    RpcService.endpointUnsafe<Request, ClaimResult>({
      name: verb,
      subject: subjectOf(verb),
      description,
      request,
      inFlightMax: claimsInFlightMax,
      handler: (body, respond, context) =>
        PoolRouting.route(options, context, respond, refusalsOf(respond, context), (live) => {
          const result = act(live, body)
          if (result !== undefined) return respond.answer(result)
          if (verb === "renew") return respond.refuse(notHeld(live, body.claimId))
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

  const paused = (verb: "pause" | "resume", description: string, isPaused: boolean): RpcService.Endpoint =>
    RpcService.endpointUnsafe<ClaimRef, ClaimResult>({
      name: verb,
      subject: subjectOf(verb),
      description,
      request: ClaimRef,
      handler: ({ claimId }, respond, context) =>
        PoolRouting.route(
          options,
          context,
          respond,
          refusalsOf(respond, context),
          (live) =>
            live.scheduler.setPaused(claimId, isPaused, (result) => {
              if (result === undefined) respond.refuse(noSuchClaim(claimId))
              else if ("code" in result) respond.refuse(new ContractError(result))
              else respond.answer(ClaimMessages.resultOf(result, live.session))
            })
        )
    })

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
    paused("pause", "Holds a claimed sandbox still, where the provider can", true),
    paused("resume", "Lets a paused sandbox go on", false),
    about(
      "cancel",
      "Ends a claim, waiting or granted",
      ClaimRef,
      (live, { claimId }) => wire(live, live.scheduler.cancel(claimId))
    ),
    RpcService.endpointUnsafe<ClaimRef, ClaimResult>({
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
    RpcService.endpointUnsafe<NoFields, Snapshot>({
      name: "snapshot",
      subject: subjectOf("snapshot"),
      description: "A pool's counters",
      request: NoFields,
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

/**
 * The result of an anonymous claim that had to wait: if its asker's inbox is gone from the broker by now, nobody will ever know the claim's id, and its sandboxes are
 * given back at once. The answer is sent as a request of its own, so that the broker tells.
 */
const grantIfThere = (
  { nats }: ClaimRpcsOptions,
  live: OwnedPool,
  settled: Settled,
  context: RpcService.RequestContext,
  respond: RpcService.Responder<ClaimResult>
): void => {
  const result = ClaimMessages.resultOf(settled, live.session)
  const { reply } = context.message
  if (reply === undefined) return respond.answer(result)
  respond.passedOn()
  nats.requestUnsafe(reply, JSON.stringify(result), { timeoutMs: goneWaitMs }, (told) => {
    if (Result.isFailure(told) && told.failure._tag === "NoResponders") live.scheduler.release(settled.claimId)
  })
}

export const refusalsOf = <A>(
  respond: RpcService.Responder<A>,
  context: RpcService.RequestContext
): PoolRouting.Refusals => ({
  noSuchPool: () => respond.refuse(PoolRouting.noSuchPool(PoolRouting.poolOf(context))),
  closing: () => respond.refuse(closing()),
  refuse: respond.refuse
})
