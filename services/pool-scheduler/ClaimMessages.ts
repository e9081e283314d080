/**
 * Between the contract's claim messages and the scheduler's own: requests become specs with every default filled in, outcomes become results.
 *
 * A malformed request still gets a result (`Invalid`, with the problem), under its claim id if that is legible. Follows design/02 "Claims".
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { hash as cryptoHash } from "node:crypto"
import type { ClaimRequest, ClaimResult, Place } from "../../shared/protocol/Claim.ts"
import { claimDeadlineDefaultMs } from "../../shared/protocol/Claim.ts"
import { ContractError, type ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import { type Labels, nodeLabel, zoneLabel } from "../../shared/protocol/Sandbox.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { ClaimId, type EpochMs, priorityDefault, type SessionId, Token } from "../../shared/protocol/Token.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { Settled } from "./Settled.ts"
import { teamDefault } from "./TaskEntry.ts"

const decodeTeam = Schema.decodeUnknownOption(Token)
const decodeClaimId = Schema.decodeUnknownOption(ClaimId)

/** The claim id that a malformed body names, if it can be read. */
export const claimIdOf = (body: unknown): ClaimId | undefined =>
  typeof body === "object" && body !== null && "claimId" in body
    ? Option.getOrUndefined(decodeClaimId(body.claimId))
    : undefined

/**
 * The id of a claim that names none but comes with `Nats-Msg-Id`: that id itself where it is a name, else one made of it. So the same message again, also long after the
 * stream has forgotten it, is the same claim.
 */
export const idOfMessage = (msgId: string | undefined): ClaimId | undefined =>
  msgId === undefined || msgId === ""
    ? undefined
    : Option.getOrElse(decodeClaimId(msgId), () => ClaimId.make(`m-${cryptoHash("sha256", msgId, "hex").slice(0, 32)}`))

export interface SpecOptions {
  readonly claimId: ClaimId
  /** When the request was made: the deadline counts from here. */
  readonly at: EpochMs
  readonly ttlDefaultMs: number
  /** The header `Heddle-Team`, for a request that names none. */
  readonly team: string | undefined
  /** The header `traceparent`, if spans are wanted. */
  readonly traceparent?: string | undefined
}

/** What a request asks for: `count` sandboxes under one spec. */
export interface Asked {
  readonly spec: ClaimSpec
  readonly count: number
}

const placeLabels = (place: Place | undefined): Labels => ({
  ...(place?.node === undefined ? {} : { [nodeLabel]: place.node }),
  ...(place?.zone === undefined ? {} : { [zoneLabel]: place.zone })
})

/** Selectors for a preferred place, the best first: node and zone, then the zone. */
const preferredOf = (place: Place, selector: Labels): ReadonlyArray<Labels> => {
  const all = placeLabels(place)
  const zone = placeLabels(place.zone === undefined ? undefined : { zone: place.zone })
  const steps = place.node !== undefined && place.zone !== undefined ? [all, zone] : [all]
  return steps.map((step) => ({ ...selector, ...step }))
}

/** Fails when a batch's ids (`<claimId>-0`, `-1`, ...) grow too long, or the header `Heddle-Team` holds no name. */
export const askedOf = (request: ClaimRequest, options: SpecOptions): Result.Result<Asked, ContractError> => {
  const count = request.count ?? 1
  const headerTeam = options.team === undefined ? undefined : Option.getOrUndefined(decodeTeam(options.team))
  if (options.team !== undefined && headerTeam === undefined) {
    return Result.fail(
      new ContractError({
        code: "InvalidName",
        message: `header Heddle-Team: "${options.team.slice(0, 80)}" is no name of 1 to 63 letters, digits, '_' or '-'`,
        details: { name: options.team.slice(0, 200) }
      })
    )
  }
  const { affinity } = request
  const selector = { ...request.selector, ...placeLabels(affinity?.required) }
  const spec: ClaimSpec = {
    claimId: options.claimId,
    holder: request.holder ?? request.user ?? "",
    team: request.team ?? headerTeam ?? teamDefault,
    user: request.user,
    traceparent: options.traceparent,
    priority: request.priority ?? priorityDefault,
    deadlineAt: options.at + (request.deadline ?? claimDeadlineDefaultMs),
    // A lease of 0 is a task's; the shortest one of a direct claim is a millisecond.
    ttlMs: Math.max(1, request.ttl ?? options.ttlDefaultMs),
    selector: Object.keys(selector).length > 0 ? selector : undefined,
    preferred: affinity?.preferred === undefined ? undefined : preferredOf(affinity.preferred, selector),
    labels: request.labels,
    annotations: request.annotations,
    images: request.images,
    env: request.env,
    targetPhase: request.targetPhase
  }
  const longest = `${options.claimId}-${count - 1}`
  if (count > 1 && Option.isNone(decodeClaimId(longest))) {
    return Result.fail(
      new ContractError({
        code: "InvalidName",
        message:
          `claimId "${options.claimId}" is too long for a batch of ${count}: "${longest}" has more than 63 characters. Use a shorter one.`,
        path: "claimId"
      })
    )
  }
  return Result.succeed({ spec, count })
}

export const resultOf = (settled: Settled, session: SessionId): ClaimResult => ({
  claimId: settled.claimId,
  outcome: settled.outcome,
  ...(settled.sandbox === undefined ? {} : { sandbox: settled.sandbox }),
  ...(settled.sandboxes === undefined ? {} : { sandboxes: settled.sandboxes }),
  ...(settled.isPaused === undefined ? {} : { isPaused: settled.isPaused }),
  sessionId: session,
  ...(settled.leaseExpiresAt === undefined ? {} : { leaseExpiresAt: timestamp(settled.leaseExpiresAt) }),
  queuedMs: settled.queuedMs,
  casMs: settled.casMs,
  attempts: settled.attempts,
  ...(settled.error === undefined ? {} : { error: settled.error })
})

/** A result for a claim that never came to be. */
export const refusal = (
  claimId: ClaimId,
  outcome: "Invalid" | "NoSuchPool" | "ShuttingDown",
  session: SessionId,
  error: ErrorBody
): ClaimResult => ({
  claimId,
  outcome,
  sessionId: session,
  queuedMs: 0,
  casMs: 0,
  attempts: 0,
  error
})
