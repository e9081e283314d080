/**
 * Which member pool a claim to an env goes to: members ranked by their latest counters through filters and scores. Pure, synchronous, no I/O (design/04, EnvScheduler).
 *
 * A filter never leaves nobody: a member with too little idle now, or that is saturated, draining, too small or not heard of, is ranked behind those that can serve at once,
 * never left out. Within a standing the
 * score decides: priority, idle, headroom, less the queue. A member that answered `QueueFull` is saturated for a cool-down. Ranking ten members costs some microseconds and
 * allocates one array.
 */
import type { Snapshot } from "../../shared/protocol/Claim.ts"
import type { EnvMemberView, EnvWeights } from "../../shared/protocol/Env.ts"
import type { PoolName } from "../../shared/protocol/Token.ts"
import type { EpochMs } from "../../shared/protocol/Token.ts"

/** What is known of a pool's counters; its owner tells them as they change. */
export type Counters = Pick<Snapshot, "idleReady" | "queueLen" | "claimed" | "total"> & {
  /** The most it may ever have. */
  readonly max: number
  readonly isDraining: boolean
}

export interface Member {
  readonly pool: PoolName
  /** Of the env's list; 0 for one that the selector found. */
  readonly priority: number
  /** Undefined: its owner has not told yet. */
  counters: Counters | undefined
  /** Until when it is ranked behind the others because it was full. */
  saturatedUntil: EpochMs
}

export const member = (pool: PoolName, priority: number): Member => ({
  pool,
  priority,
  counters: undefined,
  saturatedUntil: 0
})

export const weightsDefault = { priority: 100, idle: 10, headroom: 5, queue: 10, saturation: 50 } as const
export type Weights = { readonly [Name in keyof typeof weightsDefault]: number }
export const weightsOf = (weights: EnvWeights | undefined): Weights => ({ ...weightsDefault, ...weights })

export type Standing = EnvMemberView["standing"]
const classOf: Readonly<Record<Standing, number>> = {
  Open: 0,
  Busy: 1,
  Unknown: 2,
  Saturated: 3,
  TooSmall: 4,
  Draining: 5
}

export interface Ranked {
  readonly member: Member
  readonly standing: Standing
  readonly score: number
}

export const standingOf = (one: Member, count: number, now: EpochMs): Standing => {
  const { counters } = one
  if (counters === undefined) return "Unknown"
  if (counters.isDraining) return "Draining"
  if (count > counters.max) return "TooSmall"
  if (now < one.saturatedUntil) return "Saturated"
  return counters.idleReady - counters.queueLen >= count ? "Open" : "Busy"
}

/** Higher is better. Each part but the priority is between 0 and 1 before it is weighed. */
export const scoreOf = (one: Member, weights: Weights, now: EpochMs): number => {
  const { counters, priority, saturatedUntil } = one
  const saturated = now < saturatedUntil ? weights.saturation : 0
  if (counters === undefined) return priority * weights.priority - saturated
  const { claimed, idleReady, max, queueLen, total } = counters
  // What is idle beyond what waits already: many are little better than some.
  const free = Math.max(0, idleReady - queueLen)
  const idle = free / (free + 1)
  const headroom = max > 0 ? Math.max(0, max - Math.max(total, claimed)) / max : 0
  const queue = queueLen / (queueLen + Math.max(1, total))
  return priority * weights.priority + idle * weights.idle + headroom * weights.headroom - queue * weights.queue -
    saturated
}

/** All members, the best first; equal ones in the order of `members`. `count`: sandboxes that the claim asks for. */
export const rank = (
  members: ReadonlyArray<Member>,
  weights: Weights,
  count: number,
  now: EpochMs
): ReadonlyArray<Ranked> => {
  const ranked: Array<Ranked> = []
  for (const one of members) {
    const next: Ranked = { member: one, standing: standingOf(one, count, now), score: scoreOf(one, weights, now) }
    // Insertion: there are few members.
    let at = ranked.length
    while (at > 0 && isBefore(next, ranked[at - 1] as Ranked)) { // within the array
      ranked[at] = ranked[at - 1] as Ranked // within the array
      at--
    }
    ranked[at] = next
  }
  return ranked
}

const isBefore = (a: Ranked, b: Ranked): boolean => {
  const standing = classOf[a.standing] - classOf[b.standing]
  return standing === 0 ? a.score > b.score : standing < 0
}
