/**
 * What is known of a collection of objects, put together from lists, a watch and the answers to writes, which arrive in any order.
 *
 * Pure. Keeps true: an object is never replaced by an older version of itself; one that is gone does not come back by a message that was late. The second needs no memory of the
 * dead: everything up to `seen` is known, so what is not here and not newer than `seen` has been deleted. Rests on comparable resource versions.
 */

export interface Versioned {
  readonly uid: string
  readonly version: number
}

export interface Changes<A> {
  readonly changed: ReadonlyArray<A>
  readonly removed: ReadonlyArray<A>
}

export class Cache<A extends Versioned> {
  private readonly items = new Map<string, A>()
  private seenVersion = 0

  /** Everything that happened up to this version is in here. */
  get seen(): number {
    return this.seenVersion
  }

  get size(): number {
    return this.items.size
  }

  get(uid: string): A | undefined {
    return this.items.get(uid)
  }

  values(): Iterable<A> {
    return this.items.values()
  }

  /** From the answer to a write or a read of one object. True: it is news. */
  told(item: A): boolean {
    const known = this.items.get(item.uid)
    if (known === undefined ? item.version <= this.seenVersion : item.version <= known.version) return false
    this.items.set(item.uid, item)
    return true
  }

  /** From the watch, whose events come in the order of versions. True: it is news. */
  watched(item: A): boolean {
    const isNews = this.told(item)
    this.progressed(item.version)
    return isNews
  }

  /**
   * The watch says that this object was gone from here at this version: deleted, or selected no more. `undefined`: that was known, or it is here again since then (a watch that is behind a
   * list tells of both later).
   */
  gone(uid: string, version: number): A | undefined {
    const known = this.items.get(uid)
    this.progressed(version)
    if (known === undefined || known.version > version) return undefined
    this.items.delete(uid)
    return known
  }

  /** A bookmark. */
  progressed(version: number): void {
    if (version > this.seenVersion) this.seenVersion = version
  }

  /** An answer says that it is not there. What the watch still tells of it is older, and ends with its deletion. */
  forget(uid: string): A | undefined {
    const known = this.items.get(uid)
    this.items.delete(uid)
    return known
  }

  /**
   * A complete list, as of `version`. `atLeast`: for a list of the latest state, what had been seen when it was asked for; a list that is older than that says that
   * the cluster was put back to an earlier state, and nothing known before counts any more.
   */
  listed(all: ReadonlyArray<A>, version: number, atLeast?: number): Changes<A> {
    if (atLeast !== undefined && version < atLeast) {
      const before = [...this.items.values()]
      this.items.clear()
      this.seenVersion = 0
      const { changed } = this.listed(all, version)
      return { changed, removed: before }
    }
    const listed = new Set<string>()
    const changed: Array<A> = []
    for (const item of all) {
      listed.add(item.uid)
      if (this.told(item)) changed.push(item)
    }
    const removed: Array<A> = []
    for (const item of this.items.values()) {
      // Newer than the list: it came to be after it.
      if (!listed.has(item.uid) && item.version <= version) removed.push(item)
    }
    for (const item of removed) this.items.delete(item.uid)
    this.progressed(version)
    return { changed, removed }
  }
}
