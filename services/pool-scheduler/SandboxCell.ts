/**
 * One sandbox as a pool's scheduler has it: what the watch cache shows, and what this scheduler is doing with it. A mutable record, changed only by `PoolScheduler` and its parts.
 */
import type { SandboxState, Version } from "../../shared/plugin/PoolProvider.ts"
import type { ClaimId, EpochMs, SandboxUid } from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import type { DeskAlarm } from "./ProviderDesk.ts"

/** It is being given back: sent again until the provider has confirmed it. */
export interface Release {
  readonly claimId: ClaimId
  mode: "recycle" | "delete"
  attempts: number
  readonly alarm: DeskAlarm
}

export interface SandboxCell {
  readonly uid: SandboxUid
  state: SandboxState
  /** Number of the delta that showed it last; a list that began before does not remove it. */
  seen: number
  /** The live claim that holds it. */
  claim: Claim | undefined
  /** Version of the write that gave it to `claim`: what is older says nothing about the claim. */
  grantedAt: Version
  /** Being given back: until the provider has confirmed it. */
  releasing: Release | undefined
  /** The claim whose release the provider has confirmed last: a watch that still shows it held is behind. */
  released: ClaimId | undefined
  /** Will not come back: not counted in `total`. */
  isLeaving: boolean
  /** When this scheduler saw it first, and the claims it has served since; a provider may know better (`state.createdAt`, `state.uses`). */
  readonly firstSeenAt: EpochMs
  uses: number
}

export const make = (state: SandboxState, seen: number, now: EpochMs): SandboxCell => ({
  uid: state.sandbox.uid,
  state,
  seen,
  claim: undefined,
  grantedAt: -1,
  releasing: undefined,
  released: undefined,
  isLeaving: false,
  firstSeenAt: now,
  uses: 0
})

/** When a pool replaces a sandbox instead of using it again. Undefined: no limit. */
export interface WearLimits {
  readonly maxUses?: number | undefined
  readonly maxAgeMs?: number | undefined
}

/** Too old, as a pool's `recycle.maxAge` has it. */
export const isAged = (cell: SandboxCell, limits: WearLimits, now: EpochMs): boolean =>
  limits.maxAgeMs !== undefined && now - (cell.state.createdAt ?? cell.firstSeenAt) >= limits.maxAgeMs

/** Has served enough, or is too old: replaced when it is given back. */
export const isWorn = (cell: SandboxCell, limits: WearLimits, now: EpochMs): boolean =>
  (limits.maxUses !== undefined && Math.max(cell.uses, cell.state.uses ?? 0) >= limits.maxUses) ||
  isAged(cell, limits, now)
