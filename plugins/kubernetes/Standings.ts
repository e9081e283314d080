/**
 * Whether somebody serves a pool, for a status that people read: between two owners, while one takes over from the other, it still shows the first.
 *
 * Plain and synchronous; a pool that nobody asks about any more is forgotten by `keep`.
 */
import type { PoolStanding } from "../../shared/plugin/PoolSource.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"

/** A take-over is over within 5 s, unless nobody takes over. */
export const takeOverDefaultMs = 10_000

interface Known {
  /** The last owner that was seen; undefined: none yet. */
  readonly served: PoolStanding | undefined
  /** Since when it has had no owner; undefined: it has one. */
  readonly since: number | undefined
}

export class Standings {
  private readonly ask: (pool: PoolRef) => PoolStanding
  private readonly takeOverMs: number
  private readonly known = new Map<string, Known>()

  constructor(ask: (pool: PoolRef) => PoolStanding, takeOverMs = takeOverDefaultMs) {
    this.ask = ask
    this.takeOverMs = takeOverMs
  }

  /** Undefined: nothing can be said yet; at the time `again` it can. */
  of(pool: PoolRef, now: number): { readonly standing: PoolStanding | undefined; readonly again?: number } {
    const key = poolKey(pool)
    const standing = this.ask(pool)
    const before = this.known.get(key)
    if (standing._tag === "Served") this.known.set(key, { served: standing, since: undefined })
    else if (standing._tag === "Absent") this.known.delete(key)
    else {
      const since = before?.since ?? now
      if (before?.since === undefined) this.known.set(key, { served: before?.served, since })
      const until = since + this.takeOverMs
      if (now < until) return { standing: before?.served, again: until }
    }
    return { standing }
  }

  /** Forgets all pools but these. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.known.keys()) if (!keys.has(key)) this.known.delete(key)
  }
}
