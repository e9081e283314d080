/**
 * Between the contract's claim messages and the scheduler's own: requests become specs with every default filled in, outcomes become results.
 *
 * A malformed request still gets a result (`Invalid`, with the problem), under its claim id if that is legible. Follows design/02 "Claims".
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { ClaimRequest, ClaimResult } from "../../shared/protocol/Claim.ts"
import { claimDeadlineDefaultMs } from "../../shared/protocol/Claim.ts"
import { ContractError, type ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { ClaimId, type EpochMs, priorityDefault, type SessionId, Token } from "../../shared/protocol/Token.ts"
import type { ClaimSpec, Settled } from "./Claim.ts"
import { teamDefault } from "./SchedulerCore.ts"

const decodeTeam = Schema.decodeUnknownOption(Token)
const decodeClaimId = Schema.decodeUnknownOption(ClaimId)

/** The claim id that a malformed body names, if it can be read. */
export const claimIdOf = (body: unknown): ClaimId | undefined =>
  typeof body === "object" && body !== null && "claimId" in body
    ? Option.getOrUndefined(decodeClaimId(body.claimId))
    : undefined

export interface SpecOptions {
  readonly claimId: ClaimId
  /** When the request was made: the deadline counts from here. */
  readonly at: EpochMs
  readonly ttlDefaultMs: number
  /** The header `Heddle-Team`, for a request that names none. */
  readonly team: string | undefined
}

/** One spec per sandbox wanted: `<claimId>` for one, `<claimId>-0`, `-1`, ... for a batch. Fails when a batch's ids grow too long. */
export const specsOf = (
  request: ClaimRequest,
  options: SpecOptions
): Result.Result<ReadonlyArray<ClaimSpec>, ContractError> => {
  const count = request.count ?? 1
  const headerTeam = options.team === undefined ? undefined : Option.getOrUndefined(decodeTeam(options.team))
  const spec = (claimId: ClaimId): ClaimSpec => ({
    claimId,
    holder: request.holder ?? request.user ?? "",
    team: request.team ?? headerTeam ?? teamDefault,
    priority: request.priority ?? priorityDefault,
    deadlineAt: options.at + (request.deadline ?? claimDeadlineDefaultMs),
    // A lease of 0 is a task's; the shortest one of a direct claim is a millisecond.
    ttlMs: Math.max(1, request.ttl ?? options.ttlDefaultMs),
    selector: request.selector !== undefined && Object.keys(request.selector).length > 0 ? request.selector : undefined,
    labels: request.labels,
    annotations: request.annotations,
    images: request.images,
    env: request.env
  })
  if (count === 1) return Result.succeed([spec(options.claimId)])
  const specs: Array<ClaimSpec> = []
  for (let i = 0; i < count; i++) {
    const id = decodeClaimId(`${options.claimId}-${i}`)
    if (Option.isNone(id)) {
      return Result.fail(
        new ContractError({
          code: "InvalidName",
          message:
            `claimId "${options.claimId}" is too long for a batch of ${count}: "${options.claimId}-${i}" has more than 63 characters. Use a shorter one.`,
          path: "claimId"
        })
      )
    }
    specs.push(spec(id.value))
  }
  return Result.succeed(specs)
}

export const resultOf = (settled: Settled, session: SessionId): ClaimResult => ({
  claimId: settled.claimId,
  outcome: settled.outcome,
  ...(settled.sandbox === undefined ? {} : { sandbox: settled.sandbox }),
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
