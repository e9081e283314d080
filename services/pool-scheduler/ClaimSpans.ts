/**
 * Spans of claims, made when a claim has its result (shared/telemetry/Spans): the claim, its wait for a sandbox, and what the provider took, retries included.
 *
 * A claim's is a child of the `traceparent` that its request came with, or the first of a trace of its own, made of pool and claim id. Its own context follows from both too, so
 * the two below it name it before it is made. Claims of tasks have none: their run's spans tell when an attempt was dispatched. Nothing of it is done unless somebody wants spans.
 */
import * as Spans from "../../shared/telemetry/Spans.ts"
import type { Claim } from "./Claim.ts"
import type { Settled } from "./Settled.ts"

/** `claim`: of a batch, its first member. `pool`: `<namespace>/<pool>`. `tookMs`: from its arrival to the result, finer than the clock of its times. */
export const answered = (spans: Spans.Spans, pool: string, claim: Claim, settled: Settled, tookMs: number): void => {
  const { spec } = claim
  const id = `${pool} ${settled.claimId}`
  const parent = Spans.contextOf(spec.traceparent)
  const root = parent ?? Spans.rootOf(`claim ${id}`)
  const self = parent === undefined ? root : Spans.childOf(parent, `claim ${id}`)
  const startedAt = claim.arrivedAt
  const endedAt = startedAt + tookMs
  const isWritten = claim.attempts > 0
  const writtenAt = isWritten ? startedAt + (claim.firstWriteSeconds - claim.arrivedSeconds) * 1_000 : endedAt
  const { outcome } = settled
  const error = outcome === "Claimed" ? undefined : settled.error?.message ?? outcome
  const common = { "heddle.claim": settled.claimId, "heddle.pool": pool }
  spans.ended({
    name: `claim ${pool}`,
    kind: "server",
    parent: root,
    ...(parent === undefined ? { isParent: true } : { self }),
    startedAt,
    endedAt,
    attributes: {
      ...common,
      "heddle.outcome": outcome,
      "heddle.attempts": claim.attempts,
      "heddle.priority": spec.priority,
      "heddle.team": spec.team,
      "heddle.sandboxes": settled.sandboxes?.length,
      "heddle.sandbox": settled.sandbox?.uid
    },
    error
  })
  spans.ended({
    name: `claim wait ${pool}`,
    kind: "internal",
    parent: self,
    startedAt,
    endedAt: writtenAt,
    attributes: common,
    error: isWritten ? undefined : error
  })
  if (!isWritten) return
  spans.ended({
    name: `claim write ${pool}`,
    kind: "client",
    parent: self,
    startedAt: writtenAt,
    endedAt,
    attributes: { ...common, "heddle.attempts": claim.attempts },
    error
  })
}
