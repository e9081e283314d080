/**
 * Which claims may wait at all, and what the others are told: a claim that could never be served is refused at once, with the numbers and the fix.
 *
 * A task's claim (no lease) is never refused for drain or quota: its lane holds it, so it waits. Follows design/04 section 1, points 3 and 10.
 */
import type { ErrorBody } from "../../shared/protocol/ErrorCode.ts"
import type { ClaimSpec } from "./ClaimSpec.ts"
import type { TeamQuotas } from "./TeamQuotas.ts"

export interface Refusal {
  readonly outcome: "ShuttingDown" | "Failed" | "Invalid"
  readonly error: ErrorBody | undefined
}

/** The pool as a new claim finds it. `most`: sandboxes that it may ever have. */
export interface Standing {
  readonly isStopping: boolean
  readonly isDraining: boolean
  readonly most: number
  readonly quotas: Pick<TeamQuotas, "limitOf" | "heldBy" | "hasRoom">
  readonly refusesOverQuota: boolean
}

export const draining: ErrorBody = {
  code: "PoolDraining",
  message:
    "this pool is being drained and gives nothing out: claim from another, or end it with `heddle pools drain --undo`"
}

export const queueFull = (queueLen: number): ErrorBody => ({
  code: "QueueFull",
  message: `${queueLen} claims wait already; try again later or scale the pool up`,
  details: { queueLen }
})

/** Why a claim for `count` cannot even wait. Undefined: it may. */
export const refusalOf = (spec: ClaimSpec, count: number, pool: Standing): Refusal | undefined => {
  if (pool.isStopping) return { outcome: "ShuttingDown", error: undefined }
  if (spec.ttlMs === 0) return undefined
  if (pool.isDraining) return { outcome: "Failed", error: draining }
  if (count > 1 && count > pool.most) {
    return {
      outcome: "Invalid",
      error: {
        code: "InvalidMessage",
        message:
          `a batch of ${count} never fits into this pool, which has ${pool.most} at most: ask for fewer, or scale it up`,
        path: "count",
        details: { max: pool.most }
      }
    }
  }
  const limit = pool.quotas.limitOf(spec.team)
  const isReached = pool.refusesOverQuota && !pool.quotas.hasRoom(spec.team, count)
  if (count <= limit && !isReached) return undefined
  const held = pool.quotas.heldBy(spec.team)
  return {
    outcome: "Failed",
    error: {
      code: "QuotaExceeded",
      message:
        `team ${spec.team} may hold ${limit} sandboxes of this pool and holds ${held}: release some, or raise its quota`,
      details: { team: spec.team, quota: limit, held }
    }
  }
}
