/**
 * What one seed does: a pool, its faults, and a list of things that clients, operators and the world do to it. Plain data, so that a failing one can be cut down.
 *
 * All of it is drawn from the seed before the run; the run adds no chance but that of the provider, which has its own seed. Follows design/04 section 4.
 */
import { generator } from "../../plugins/simulated/SimulatedSandboxes.ts"

export interface ClaimPlan {
  readonly team: "red" | "blue" | "green"
  readonly priority: number
  /** 1: a single claim. */
  readonly count: number
  /** Undefined: waits as long as it takes. */
  readonly deadlineMs: number | undefined
  /** 0: a task's. */
  readonly ttlMs: number
  readonly holdMs: number
  readonly zone: string | undefined
  readonly preferredZone: string | undefined
  readonly mode: "recycle" | "delete"
  /** Asks again, at the next owner, when it was not answered or sent away. */
  readonly isStubborn: boolean
}

export interface Adjustment {
  readonly size?: number
  readonly autoscale?: { readonly min: number; readonly max: number; readonly minIdle: number; readonly downMs: number }
  readonly isDraining?: boolean
  readonly quota?: number | "none"
  readonly whenQuotaReached?: "wait" | "refuse"
  readonly weight?: number
}

/** `which` of what there is at that moment, modulo. */
export type Action =
  | { readonly _tag: "Wait"; readonly ms: number }
  | { readonly _tag: "Claim"; readonly claim: ClaimPlan }
  | { readonly _tag: "Again" | "Cancel" | "Renew"; readonly which: number }
  | { readonly _tag: "NotifyIdle" | "Repair" }
  /** A sandbox dies, or somebody deletes it; is protected or not; loses its holder. */
  | { readonly _tag: "Kill" | "Protect" | "Unprotect" | "Seize"; readonly which: number }
  | { readonly _tag: "Interrupt"; readonly ms: number }
  | { readonly _tag: "Forbid"; readonly ms: number }
  | { readonly _tag: "Adjust"; readonly change: Adjustment }
  /** `overlapMs` 0: the owner dies. Else it goes on for so long beside the new one. */
  | { readonly _tag: "NewOwner"; readonly overlapMs: number; readonly downMs: number }

export interface Plan {
  readonly seed: number
  readonly size: number
  readonly sizeMax: number
  readonly inflightCasMax: number
  readonly queueLengthMax: number
  readonly creatingMax: number
  readonly createPerSecond: number | undefined
  readonly maxUses: number | undefined
  readonly maxAgeMs: number | undefined
  readonly release: "recycle" | "delete"
  readonly zones: number
  readonly latencyMs: readonly [number, number]
  readonly watchLagMs: readonly [number, number]
  readonly startMs: readonly [number, number]
  readonly conflictRate: number
  readonly lostAnswerRate: number
  readonly slowWriteRate: number
  readonly hardErrorRate: number
  readonly lostDeltaRate: number
  readonly killEveryMs: number
  readonly actions: ReadonlyArray<Action>
}

const actionsMax = 120

/** The same for the same seed. Not quite three of ten have no faults: there stricter rules are looked at, and what breaks them is plain to see. */
export const make = (seed: number): Plan => {
  const random = generator(seed * 2_654_435_761)
  const chance = (rate: number): boolean => random() < rate
  const pick = <A>(items: ReadonlyArray<A>): A => items[Math.floor(random() * items.length)] as A // never empty here
  const upTo = (most: number): number => Math.floor(random() * (most + 1))
  // One of ten has every fault at its worst.
  const isWorst = seed % 10 === 0
  const isRough = chance(0.7) || isWorst
  const rate = (most: number): number => isWorst ? most : isRough ? random() * most : 0
  const size = 1 + upTo(7)
  const zones = chance(0.4) ? 1 + upTo(2) : 0
  const isLong = chance(0.3)
  const claim = (): ClaimPlan => {
    const isSelective = zones > 0 && chance(0.3)
    const isBatch = chance(0.1)
    return {
      team: pick(["red", "blue", "green"]),
      priority: pick([1, 5, 5, 9]),
      count: isBatch ? 2 + upTo(2) : 1,
      // Of one zone there may be none, ever; a batch may not fit.
      deadlineMs: isSelective || isBatch || chance(0.6) ? pick([50, 500, 5_000, 60_000]) : undefined,
      ttlMs: !isBatch && chance(0.15) ? 0 : pick([100, 2_000, 600_000]),
      holdMs: isLong ? upTo(4_000) : upTo(300),
      zone: isSelective ? `z${upTo(zones)}` : undefined,
      preferredZone: zones > 0 && chance(0.2) ? `z${upTo(zones)}` : undefined,
      mode: chance(0.2) ? "delete" : "recycle",
      isStubborn: chance(0.8)
    }
  }
  const adjustment = (): Adjustment => {
    switch (upTo(5)) {
      case 0:
        return { size: 1 + upTo(size + 3) }
      case 1:
        return { autoscale: { min: upTo(2), max: 2 + upTo(size + 2), minIdle: upTo(2), downMs: pick([0, 500, 5_000]) } }
      case 2:
        return { isDraining: chance(0.5) }
      case 3:
        return { quota: chance(0.7) ? 1 + upTo(3) : "none", whenQuotaReached: pick(["wait", "wait", "refuse"]) }
      case 4:
        return { isDraining: false }
      default:
        return { weight: 1 + upTo(4) }
    }
  }
  const actions: Array<Action> = []
  const length = 30 + upTo(actionsMax - 30)
  const ownersChange = chance(0.5) || isWorst
  const isAdjusted = chance(0.6)
  while (actions.length < length) {
    const what = random()
    if (what < 0.5) {
      const burst = chance(0.08) ? 2 + upTo(14) : 1
      for (let i = 0; i < burst; i++) actions.push({ _tag: "Claim", claim: claim() })
    } else if (what < 0.6) actions.push({ _tag: pick(["Cancel", "Again", "Renew"]), which: upTo(1_000) })
    else if (what < 0.63) actions.push({ _tag: pick(["NotifyIdle", "Repair"]) })
    else if (what < 0.66 && isRough) {
      actions.push({ _tag: pick(["Kill", "Protect", "Unprotect", "Seize"]), which: upTo(1_000) })
    } else if (what < 0.68 && isRough) {
      actions.push(
        chance(0.7) ? { _tag: "Interrupt", ms: upTo(3_000) } : { _tag: "Forbid", ms: pick([100, 1_000, 4_000]) }
      )
    } else if (what < 0.71 && isAdjusted) actions.push({ _tag: "Adjust", change: adjustment() })
    else if (what < 0.73 && ownersChange) {
      actions.push({
        _tag: "NewOwner",
        overlapMs: chance(0.5) ? 0 : upTo(3_000),
        downMs: chance(0.5) ? 0 : upTo(2_000)
      })
    }
    actions.push({ _tag: "Wait", ms: pick(isLong ? [0, 1, 30, 200, 2_000] : [0, 0, 1, 1, 2, 5, 30, 200]) })
  }
  return {
    seed,
    size,
    sizeMax: size + 4,
    inflightCasMax: pick([1, 2, 4, 128]),
    queueLengthMax: pick([6, 40, 400]),
    creatingMax: pick([1, 3, 64]),
    createPerSecond: chance(0.2) ? 1 + upTo(20) : undefined,
    maxUses: chance(0.2) ? 1 + upTo(4) : undefined,
    maxAgeMs: chance(0.1) ? 1_000 + upTo(10_000) : undefined,
    release: chance(0.2) ? "delete" : "recycle",
    zones,
    latencyMs: pick([[0, 0], [1, 3], [1, 40]]),
    watchLagMs: isWorst ? [0, 5_000] : pick([[0, 0], [1, 10], [5, 400], [100, 5_000]]),
    startMs: pick([[5, 20], [5, 20], [100, 3_000]]),
    conflictRate: rate(0.3),
    lostAnswerRate: rate(0.1),
    slowWriteRate: chance(0.3) || isWorst ? rate(0.1) : 0,
    hardErrorRate: chance(0.3) || isWorst ? rate(0.1) : 0,
    lostDeltaRate: chance(0.5) || isWorst ? rate(0.1) : 0,
    killEveryMs: isRough && (chance(0.3) || isWorst) ? 200 + upTo(2_000) : 0,
    actions
  }
}

const quiet = [
  "conflictRate",
  "lostAnswerRate",
  "slowWriteRate",
  "hardErrorRate",
  "lostDeltaRate",
  "killEveryMs"
] as const

/** Ever smaller plans that still break, until nothing can be left out or `runsMax` runs were made. */
export const shrink = (plan: Plan, isBroken: (plan: Plan) => boolean, runsMax = 600): Plan => {
  let best = plan
  let runs = 0
  const attempt = (next: Plan): boolean => {
    if (runs++ >= runsMax || !isBroken(next)) return false
    best = next
    return true
  }
  for (const fault of quiet) if (best[fault] > 0) attempt({ ...best, [fault]: 0 })
  attempt({ ...best, zones: 0 })
  attempt({ ...best, watchLagMs: [0, 0] })
  attempt({ ...best, latencyMs: [1, 1] })
  attempt({ ...best, maxUses: undefined, maxAgeMs: undefined, createPerSecond: undefined, creatingMax: 64 })
  for (let part = best.actions.length >> 1; part >= 1; part >>= 1) {
    for (let from = 0; from < best.actions.length;) {
      const actions = best.actions.filter((_, at) => at < from || at >= from + part)
      if (!attempt({ ...best, actions })) from += part
    }
  }
  return best
}
