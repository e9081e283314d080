/**
 * The watch cache of a pool: every sandbox as the provider's deltas and lists show it, and which of them are idle and free.
 *
 * What it keeps true: a sandbox is in `ready` exactly while it is idle, unprotected, held by nobody, on its way nowhere and not reserved; an older version never
 * replaces a newer one; a list removes nothing that a delta has shown since the list began; what a write of ours has changed stays reserved until the watch shows
 * it, or the reservation's time is over (design/04 section 1, points 6 and 7). It decides nothing about claims: it tells who lost a sandbox, and which one runs for
 * a claim that it is not held for.
 */
import type { SandboxDelta, SandboxState, Version } from "../../shared/plugin/PoolProvider.ts"
import type { Labels } from "../../shared/protocol/Sandbox.ts"
import type { EpochMs, SandboxUid } from "../../shared/protocol/Token.ts"
import type { Claim } from "./Claim.ts"
import { ReadyQueue } from "./ReadyQueue.ts"
import { Reservations } from "./Reservations.ts"
import * as SandboxCell from "./SandboxCell.ts"
import type * as Selector from "./Selector.ts"

type Cell = SandboxCell.SandboxCell

export interface CachePorts {
  readonly now: () => EpochMs
  /** A reservation's time ends then: look by this time at the latest. */
  readonly arm: (at: EpochMs) => void
  /** Deltas may be missing. */
  readonly gap: (reason: string) => void
  /** A sandbox that was not here before. */
  readonly appeared: (name: string) => void
  /** One with these labels is idle now. */
  readonly idle: (labels: Labels) => void
  /** What it was doing is over with it. */
  readonly gone: (cell: Cell) => void
  /** The sandbox of a live claim has vanished or was taken away. */
  readonly lost: (claim: Claim, reason: string) => void
  /** It runs for a claim that it is not held for, and no write of ours explains it. */
  readonly stray: (cell: Cell, state: SandboxState) => void
}

export class SandboxCache {
  readonly ready = new ReadyQueue()
  readonly reservations: Reservations
  private readonly ports: CachePorts
  private readonly cells = new Map<SandboxUid, Cell>()
  private deltaCount = 0
  private totalCount = 0

  constructor(reservationTtlMs: number, ports: CachePorts) {
    this.reservations = new Reservations(reservationTtlMs)
    this.ports = ports
  }

  get(uid: SandboxUid): Cell | undefined {
    return this.cells.get(uid)
  }

  /** A copy: what is done with each may change the cache. */
  get all(): ReadonlyArray<Cell> {
    return Array.from(this.cells.values())
  }

  /** Those that are not about to leave. */
  get total(): number {
    return this.totalCount
  }

  /** Number of the latest delta. */
  get deltas(): number {
    return this.deltaCount
  }

  // ---------------------------------------------------------------- what the provider shows

  observe(delta: SandboxDelta): void {
    this.deltaCount++
    if (delta._tag === "Upsert") this.upsert(delta.state)
    else if (delta._tag === "Removed") this.remove(delta.uid, "it was removed")
    else this.ports.gap(delta.reason)
  }

  /** A list begins: the number to hand to `listed`. */
  listing(): number {
    return ++this.deltaCount
  }

  /** Everything that exists. What a delta has shown since the list began is left alone. */
  listed(token: number, states: ReadonlyArray<SandboxState>): void {
    // Each is seen now, at a number that is at least the token's.
    for (const state of states) this.upsert(state)
    for (const cell of this.cells.values()) {
      if (cell.seen < token) this.remove(cell.uid, "it is not listed any more")
    }
  }

  upsert(state: SandboxState): void {
    const { uid } = state.sandbox
    let cell = this.cells.get(uid)
    if (cell === undefined) {
      if (state.phase === "Gone") return
      cell = SandboxCell.make(state, this.deltaCount, this.ports.now())
      this.cells.set(uid, cell)
      this.totalCount++
      this.ports.appeared(state.sandbox.name)
    } else {
      cell.seen = this.deltaCount
      if (state.version < cell.state.version) return
      cell.state = state
    }
    if (state.phase === "Gone") return this.remove(uid, "it ended")
    this.reservations.observed(uid, state.version)
    const holder = cell.claim
    if (holder !== undefined && state.version > cell.grantedAt && state.claim?.claimId !== holder.spec.claimId) {
      cell.claim = undefined
      this.ports.lost(holder, "its holder was changed from outside")
    }
    if (
      state.phase === "Running" && cell.claim === undefined && cell.releasing === undefined && state.claim !== undefined
      // A write of our own that is under way or to be read back answers for itself; one that the watch has overtaken, too; and one whose release is confirmed is on its way.
      && !this.reservations.has(uid) && state.version > cell.grantedAt && state.claim.claimId !== cell.released
    ) {
      this.ports.stray(cell, state)
    }
    if (
      cell.isLeaving && cell.releasing === undefined && cell.released !== undefined && state.phase === "Idle"
      && state.version > cell.grantedAt && !this.reservations.has(uid)
    ) {
      // It was to be deleted with its release, but an earlier owner's, which resets it, was faster: it stays.
      this.setLeaving(cell, false)
    }
    this.admit(cell)
  }

  remove(uid: SandboxUid, reason: string): void {
    const cell = this.cells.get(uid)
    if (cell === undefined) return
    this.cells.delete(uid)
    this.ready.delete(uid)
    if (!cell.isLeaving) this.totalCount--
    this.ports.gone(cell)
    // A write under way keeps its reservation until it has answered.
    if (this.reservations.get(uid)?._tag === "Settling") this.reservations.release(uid)
    const holder = cell.claim
    cell.claim = undefined
    if (holder !== undefined) this.ports.lost(holder, reason)
  }

  /** Will not come back (counted no more), or does after all. */
  setLeaving(cell: Cell, isLeaving: boolean): void {
    if (cell.isLeaving === isLeaving) return
    cell.isLeaving = isLeaving
    this.totalCount += isLeaving ? -1 : 1
  }

  // ---------------------------------------------------------------- what is free

  isFree(cell: Cell): boolean {
    return cell.state.phase === "Idle" && cell.state.isProtected !== true && !cell.isLeaving && cell.claim === undefined
      && cell.releasing === undefined && cell.state.version >= cell.grantedAt && !this.reservations.has(cell.uid)
  }

  /** Into the ready queue, or out of it, by what is known now. */
  admit(cell: Cell): void {
    if (!this.isFree(cell)) {
      this.ready.delete(cell.uid)
      return
    }
    const { labels } = cell.state.sandbox
    if (this.ready.push(cell.uid, labels)) this.ports.idle(labels)
  }

  /** The longest idle sandbox that the claim prefers, or may have, and that is still what the queue believes. Out of the queue with it. */
  pop(claim: Claim): Cell | undefined {
    for (const preferred of claim.preferred) {
      const cell = this.popMatching(preferred)
      if (cell !== undefined) return cell
    }
    return this.popMatching(claim.selector)
  }

  private popMatching(selector: Selector.Selector | undefined): Cell | undefined {
    for (;;) {
      const uid = this.ready.shift(selector)
      if (uid === undefined) return undefined
      const cell = this.cells.get(uid)
      if (cell !== undefined && this.isFree(cell)) return cell
    }
  }

  // ---------------------------------------------------------------- reservations

  /** The write is over and changed nothing: free for the next at once. */
  release(uid: SandboxUid): void {
    this.reservations.release(uid)
    const cell = this.cells.get(uid)
    if (cell !== undefined) this.admit(cell)
  }

  /** The write is over: reserved until the watch shows `at`, or newer. */
  settle(uid: SandboxUid, at: Version, now: EpochMs): void {
    const cell = this.cells.get(uid)
    if (cell === undefined || cell.state.version >= at) return this.release(uid)
    this.reservations.settle(uid, at, now)
    this.ports.arm(this.reservations.earliest)
  }

  /** Looks afresh at those whose reservation's time is over. False: none was. */
  expire(now: EpochMs): boolean {
    if (this.reservations.earliest > now) return false
    for (const uid of this.reservations.expire(now)) {
      const cell = this.cells.get(uid)
      if (cell !== undefined) this.admit(cell)
    }
    return true
  }
}
