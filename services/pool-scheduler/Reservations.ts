/**
 * Reservations keep a sandbox from being picked twice while its phase change travels from the provider to the watch cache.
 *
 * Keyed by UID: a recreated sandbox of the same name is another one. `Held` from pop to write, `Inflight` during the write, `Settling` from the END of the
 * write until the watch shows the written version (or a newer one), or the TTL ends. The TTL is the safety net only. Follows design/04 section 1, point 7.
 */
import type { Version } from "../../shared/plugin/PoolProvider.ts"
import type { SandboxUid } from "../../shared/protocol/Token.ts"

/** `at`: the version that the watch must show. */
export type Reservation =
  | { readonly _tag: "Held" }
  | { readonly _tag: "Inflight" }
  | { readonly _tag: "Settling"; readonly at: Version; readonly expiresAt: number }

const held: Reservation = { _tag: "Held" }
const inflight: Reservation = { _tag: "Inflight" }

export class Reservations {
  private readonly byUid = new Map<SandboxUid, Reservation>()
  private readonly ttlMs: number
  /** Settling ones in the order in which they expire (the TTL is one constant, so the order of settling). */
  private readonly settling = new Map<SandboxUid, number>()

  constructor(ttlMs: number) {
    this.ttlMs = ttlMs
  }

  get size(): number {
    return this.byUid.size
  }

  has(uid: SandboxUid): boolean {
    return this.byUid.has(uid)
  }

  get(uid: SandboxUid): Reservation | undefined {
    return this.byUid.get(uid)
  }

  /** Reserves a free sandbox; false when it is reserved already. */
  hold(uid: SandboxUid): boolean {
    if (this.byUid.has(uid)) return false
    this.byUid.set(uid, held)
    return true
  }

  /** The write starts. */
  start(uid: SandboxUid): void {
    this.byUid.set(uid, inflight)
  }

  /** The write ended now; the watch has to show `at`. From here the TTL runs, not before. */
  settle(uid: SandboxUid, at: Version, now: number): void {
    this.settling.delete(uid)
    this.settling.set(uid, now + this.ttlMs)
    this.byUid.set(uid, { _tag: "Settling", at, expiresAt: now + this.ttlMs })
  }

  /** The watch shows `uid` at `version`: true when a settled reservation is over by that. */
  observed(uid: SandboxUid, version: Version): boolean {
    const reservation = this.byUid.get(uid)
    if (reservation === undefined || reservation._tag !== "Settling" || version < reservation.at) return false
    this.release(uid)
    return true
  }

  release(uid: SandboxUid): void {
    this.byUid.delete(uid)
    this.settling.delete(uid)
  }

  /** When the next safety net runs out; Infinity when none does. O(1). */
  get earliest(): number {
    for (const at of this.settling.values()) return at
    return Infinity
  }

  /** Ends the reservations whose safety net has run out; the caller looks at each afresh before it is idle again. */
  expire(now: number): ReadonlyArray<SandboxUid> {
    const expired: Array<SandboxUid> = []
    for (const [uid, at] of this.settling) {
      if (at > now) break
      expired.push(uid)
    }
    for (const uid of expired) this.release(uid)
    return expired
  }
}
