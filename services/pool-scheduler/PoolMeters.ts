/**
 * What a pool counts of itself (shared/telemetry/Catalog): its claims, their writes, its sandboxes.
 *
 * Kept true here: each claim counts once, with its first terminal result; a batch counts as its members, with the batch's result. Everything that is called for a claim is an
 * addition to a number that is at hand.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ClaimOutcome as WriteOutcome } from "../../shared/plugin/PoolProvider.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { type Counter, type Histogram, Meters } from "../../shared/telemetry/Meters.ts"
import type { Spans } from "../../shared/telemetry/Spans.ts"
import type { Batch } from "./Batch.ts"
import type { Claim } from "./Claim.ts"
import type { ClaimEvent } from "./ClaimEvent.ts"
import * as ClaimSpans from "./ClaimSpans.ts"
import type { PoolCounters } from "./PoolCounters.ts"
import type { Settled } from "./Settled.ts"

type Outcome = typeof Catalog.claimOutcomes[number]
type Answers = Readonly<Record<Outcome, Counter>>

export class PoolMeters {
  /** A clock that only goes forward, in seconds: for durations shorter than a millisecond. */
  readonly seconds: () => number
  readonly created: Counter
  readonly notCreated: Counter
  readonly deleted: Counter
  readonly renewed: Counter
  readonly #client: Answers
  readonly #task: Answers
  readonly #claimSeconds: Histogram
  readonly #waitSeconds: Histogram
  readonly #casSeconds: Histogram
  readonly #cas: Readonly<Record<WriteOutcome["_tag"], Counter>>
  readonly #events: Readonly<Record<ClaimEvent["kind"], Counter | undefined>>
  readonly #pool: string
  readonly #spans: Spans | undefined

  /** `pool`: `<namespace>/<pool>`. `spans`: of claims, where somebody wants them. */
  constructor(meters: Meters, pool: string, seconds: () => number, spans?: Spans) {
    this.seconds = seconds
    this.#pool = pool
    this.#spans = spans
    const answers = (kind: "client" | "task"): Answers => {
      const of = (outcome: Outcome): Counter => meters.counter(Catalog.claims, { pool, for: kind, outcome })
      return {
        Claimed: of("Claimed"),
        QueueFull: of("QueueFull"),
        DeadlineExceeded: of("DeadlineExceeded"),
        Cancelled: of("Cancelled"),
        ShuttingDown: of("ShuttingDown"),
        Failed: of("Failed"),
        Invalid: of("Invalid")
      }
    }
    this.#client = answers("client")
    this.#task = answers("task")
    this.#claimSeconds = meters.histogram(Catalog.claimSeconds, { pool })
    this.#waitSeconds = meters.histogram(Catalog.claimWaitSeconds, { pool })
    this.#casSeconds = meters.histogram(Catalog.casSeconds, { pool })
    const cas = (outcome: typeof Catalog.casOutcomes[number]): Counter => meters.counter(Catalog.cas, { pool, outcome })
    const conflict = cas("conflict")
    this.#cas = {
      Success: cas("success"),
      Conflict: conflict,
      WrongPhase: conflict,
      Gone: cas("gone"),
      HardError: cas("error"),
      Unknown: cas("unknown"),
      Fenced: cas("fenced")
    }
    const ended = (how: "released" | "expired" | "lost"): Counter => meters.counter(Catalog.claimsEnded, { pool, how })
    this.#events = {
      Claimed: undefined,
      Adopted: meters.counter(Catalog.claimsAdopted, { pool }),
      Released: ended("released"),
      Expired: ended("expired"),
      Lost: ended("lost")
    }
    this.created = meters.counter(Catalog.creations, { pool, outcome: "done" })
    this.notCreated = meters.counter(Catalog.creations, { pool, outcome: "error" })
    this.deleted = meters.counter(Catalog.deletions, { pool })
    this.renewed = meters.counter(Catalog.leasesRenewed, { pool })
  }

  /** A claim that is no member of a batch has its result. */
  answered(claim: Claim, settled: Settled): void {
    const { outcome } = settled
    const isTask = claim.spec.ttlMs === 0
    this.#count(isTask ? this.#task : this.#client, outcome, 1)
    if (outcome === "Claimed" && !isTask) {
      this.#claimSeconds.observe(this.seconds() - claim.arrivedSeconds)
      this.#waitSeconds.observe(claim.firstWriteSeconds - claim.arrivedSeconds)
    }
    if (this.#spans !== undefined && !isTask) this.#traced(this.#spans, claim, settled)
  }

  /** A batch has its result. */
  batchAnswered(batch: Batch<Claim>, settled: Settled): void {
    const { outcome } = settled
    this.#count(this.#client, outcome, batch.count)
    const [first] = batch.members
    if (this.#spans !== undefined && first !== undefined) this.#traced(this.#spans, first, settled)
    if (outcome !== "Claimed" || first === undefined) return
    this.#claimSeconds.observe(this.seconds() - first.arrivedSeconds)
    this.#waitSeconds.observe(first.firstWriteSeconds - first.arrivedSeconds)
  }

  /** The write of a claim, begun at `since` (by `seconds`), was answered. */
  written(outcome: WriteOutcome, since: number): void {
    this.#cas[outcome._tag].total++
    this.#casSeconds.observe(this.seconds() - since)
  }

  event({ kind }: Pick<ClaimEvent, "kind">): void {
    const counter = this.#events[kind]
    if (counter !== undefined) counter.total++
  }

  #traced(spans: Spans, claim: Claim, settled: Settled): void {
    ClaimSpans.answered(spans, this.#pool, claim, settled, (this.seconds() - claim.arrivedSeconds) * 1_000)
  }

  #count(answers: Answers, outcome: Settled["outcome"], times: number): void {
    // the others are no first results
    if (outcome !== "NoSuchPool" && outcome !== "Released" && outcome !== "Expired") answers[outcome].total += times
  }
}

/** Counts for nobody. `now` in milliseconds. */
export const unseen = (now: () => number): PoolMeters => new PoolMeters(new Meters(), "unseen", () => now() / 1_000)

/** Shows how the pool stands while the scope is open. */
export const show = (
  meters: Meters,
  pool: string,
  scheduler: { readonly snapshot: () => PoolCounters },
  core: { readonly waiting: number; readonly dispatch: { readonly size: number } }
): Effect.Effect<void, never, Scope.Scope> => {
  const counters = () => scheduler.snapshot()
  const states = {
    idle: () => counters().idleReady,
    claimed: () => counters().claimed,
    creating: () => counters().creating,
    other: () => {
      const { claimed, idleReady, total } = counters()
      return Math.max(0, total - idleReady - claimed)
    }
  } as const
  return Effect.all([
    ...(["idle", "claimed", "creating", "other"] as const).map((state) =>
      meters.gaugeScoped(Catalog.sandboxes, { pool, state }, states[state])
    ),
    meters.gaugeScoped(Catalog.queueLength, { pool }, () => counters().queueLen),
    meters.gaugeScoped(Catalog.quotaBlocked, { pool }, () => counters().quotaBlocked),
    meters.gaugeScoped(Catalog.poolTarget, { pool }, () => counters().target),
    meters.gaugeScoped(Catalog.tasksWaiting, { pool }, () => core.waiting),
    meters.gaugeScoped(Catalog.dispatchQueue, { pool }, () => core.dispatch.size)
  ], { discard: true })
}
