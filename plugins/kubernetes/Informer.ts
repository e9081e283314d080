/**
 * A collection of objects, or a part of one, kept up to date: a list, then a watch from its version, for as long as the scope lives.
 *
 * Keeps true: the state is that of a complete list and of everything that the watch (`WatchFeed`, its own or one that it shares) has told since; after a hole in the watch it lists before
 * the hole is told. What is learned goes through `Cache`. The client library's informer does none of: bookmarks, silence, back-off, paged lists, parts.
 * Follows docs/design/kubernetes.md, "Watching".
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { ProviderError } from "../../shared/plugin/PoolProvider.ts"
import * as Answer from "./Answer.ts"
import type { Api } from "./ApiClient.ts"
import { Cache, type Versioned } from "./Cache.ts"
import { failed } from "./Cluster.ts"
import { at, listAt, textAt } from "./Json.ts"
import * as ResourceVersion from "./ResourceVersion.ts"
import * as WatchFeed from "./WatchFeed.ts"

export interface InformerOptions<A extends Versioned> {
  readonly client: Api
  /** Of the collection: `/api/v1/namespaces/default/pods`. */
  readonly path: string
  readonly labelSelector?: string
  /** Whose watch it shares, and under which key its part stands there; joined for as long as the scope of `make` lives. Undefined: a watch of its own. */
  readonly shared?: { readonly feed: WatchFeed.WatchFeed; readonly key: string } | undefined
  /** `undefined`: an object that cannot be used; it is left out and told by `damaged`. */
  readonly read: (object: unknown) => A | undefined
  readonly changed: (item: A) => void
  readonly removed: (item: A) => void
  /** Events may have been missed; the list that followed has been told by `changed` and `removed`. */
  readonly gap: (reason: string) => void
  readonly damaged: (object: unknown) => void
}

/** Units in the names. */
export const defaults = {
  ...WatchFeed.defaults,
  pageSize: 500,
  /** Even if nothing asks for it, all is listed again after this time. */
  resyncMs: 600_000
} as const

/** Events that are kept during a list. */
const keptMax = 10_000

interface Pages {
  readonly objects: ReadonlyArray<unknown>
  readonly version: number
  /** Of the latest state when it was asked for. */
  readonly isLatest: boolean
}

export class Informer<A extends Versioned> {
  readonly cache = new Cache<A>()
  private readonly options: InformerOptions<A> & { readonly [K in keyof typeof defaults]: number }
  private readonly feed: WatchFeed.WatchFeed
  private readonly listing = Semaphore.makeUnsafe(1)
  private readonly part: WatchFeed.Part = {
    event: (object, isDeleted, version) => {
      if (this.isSynced) this.event(object, isDeleted, version)
      else this.keep(() => this.event(object, isDeleted, version))
    },
    left: (uid, version) => {
      if (this.isSynced) this.gone(uid, version)
      else this.keep(() => this.gone(uid, version))
    },
    lost: (reason) => {
      // Told by the feed until then; where it begins again is another matter.
      if (this.listedEpoch === this.feed.epoch - 1) this.cache.progressed(this.feed.seen)
      this.hole ??= reason
      this.stale.openUnsafe()
    }
  }
  /** Something may be missing: `run` lists. */
  private readonly stale = Latch.makeUnsafe(true)
  /** Why, if it was complete before. */
  private hole: string | undefined = undefined
  /** The feed's epoch in which its latest complete list of the latest state began. */
  private listedEpoch = -1
  private listedAt = 0
  private wantedVersion = 0
  /** Told by the watch while the list that makes this complete is under way: nothing is known of what was before them until it is there. */
  private kept: Array<() => void> | undefined = undefined
  /** Lists made so far, for tests and the log. */
  lists = 0

  constructor(options: InformerOptions<A> & Partial<{ readonly [K in keyof typeof defaults]: number }>) {
    this.options = { ...defaults, ...options }
    const { shared } = options
    this.feed = shared?.feed ?? new WatchFeed.WatchFeed({ ...this.options, partOf: () => "" })
    if (shared === undefined) this.feed.join("", this.part)
  }

  /** Watches made so far, by all who share it. */
  get watches(): number {
    return this.feed.watches
  }

  /** Of one that shares its watch: before anything else, and for as long as it is used. */
  get joined(): Effect.Effect<void, never, Scope.Scope> {
    return Effect.suspend(() => {
      const { shared } = this.options
      if (shared === undefined) return Effect.void
      const leave = shared.feed.join(shared.key, this.part)
      return Effect.addFinalizer(() => Effect.sync(leave))
    })
  }

  /** Our own write has made this version: a view that does not reach it yet is stale. */
  wrote(version: number): void {
    if (version > this.wantedVersion) this.wantedVersion = version
  }

  /** From the answer to a write or a read of one object. */
  told(item: A): void {
    if (this.cache.told(item)) this.options.changed(item)
  }

  forget(uid: string): void {
    const known = this.cache.forget(uid)
    if (known !== undefined) this.options.removed(known)
  }

  /** Everything, at least as new as our own last write; from the cache where that is so. */
  get current(): Effect.Effect<Iterable<A>, ProviderError> {
    return Effect.gen({ self: this }, function*() {
      const now = yield* Clock.currentTimeMillis
      // Our own writes must be in it: of another's, the watch tells. From time to time it is the latest state all the same.
      if (!this.isFresh(now)) {
        yield* this.list(() => !this.isFresh(now), this.isDue(now) ? undefined : this.wantedVersion)
      }
      return this.cache.values()
    })
  }

  /** Lists whenever something may be missing, and watches, for ever. A failure to list is told by `current` and tried again here. */
  get run(): Effect.Effect<never, never, Scope.Scope> {
    const keep = Effect.gen({ self: this }, function*() {
      let failures = 0
      for (;;) {
        yield* this.stale.await
        if (!this.isSynced) {
          const listed = yield* Effect.result(this.list(() => !this.isSynced, undefined))
          if (Result.isFailure(listed)) {
            yield* Effect.logWarning(listed.failure.message)
            yield* WatchFeed.backOff(this.options, failures++, 0)
          }
          continue
        }
        failures = 0
        this.stale.closeUnsafe()
        // Told after the list: whoever now asks for everything gets what was missed.
        const { hole } = this
        this.hole = undefined
        if (hole !== undefined) this.options.gap(hole)
      }
    })
    return this.options.shared === undefined ? Effect.raceFirst(this.feed.run, keep) : keep
  }

  // ---------------------------------------------------------------- what the watch tells

  /** For after the list; before one has begun, it will show what this tells. */
  private keep(tell: () => void): void {
    this.kept?.push(tell)
    if (this.kept !== undefined && this.kept.length > keptMax) this.kept = undefined
  }

  private event(object: unknown, isDeleted: boolean, version: number): void {
    const { changed, damaged, read } = this.options
    // The echo of a write of our own, whose answer has told the same already: most of what a busy pool's watch tells.
    const known = this.cache.get(textAt(object, "metadata", "uid") ?? "")
    if (!isDeleted && known !== undefined && version <= known.version) return this.cache.progressed(version)
    const item = read(object)
    if (item === undefined) {
      this.cache.progressed(version)
      return damaged(object)
    }
    if (isDeleted) this.gone(item.uid, version)
    else if (this.cache.watched(item)) changed(item)
  }

  private gone(uid: string, version: number): void {
    const known = this.cache.gone(uid, version)
    if (known !== undefined) this.options.removed(known)
  }

  // ---------------------------------------------------------------- lists

  /** Complete: a list of the latest state began after the watch, or the watch at it. */
  private get isSynced(): boolean {
    return this.listedEpoch === this.feed.epoch
  }

  private isDue(now: number): boolean {
    return !this.isSynced || now - this.listedAt >= this.options.resyncMs
  }

  private isFresh(now: number): boolean {
    return !this.isDue(now) && this.feed.isWatching &&
      Math.max(this.cache.seen, this.feed.seen) >= this.wantedVersion
  }

  /** One list at a time; whoever has waited for another one looks again whether there is need. `atLeast`: any state of this version or later will do. */
  private list(isNeeded: () => boolean, atLeast: number | undefined): Effect.Effect<void, ProviderError> {
    const { feed } = this
    return this.listing.withPermits(1)(Effect.suspend(() => {
      if (!isNeeded()) return Effect.void
      if (feed.hasBegun) return this.listIn(feed.epoch, atLeast)
      // The watch begins at the list of one of those who share it; the others list when it has.
      return feed.beginning.withPermits(1)(Effect.suspend(() => this.listIn(feed.epoch, undefined)))
    }))
  }

  /** `epoch`: as it is now, at the beginning. */
  private listIn(epoch: number, atLeast: number | undefined): Effect.Effect<void, ProviderError> {
    return Effect.gen({ self: this }, function*() {
      const { changed, path, read, removed } = this.options
      const { feed } = this
      this.lists++
      const wasSynced = this.isSynced
      if (wasSynced) this.cache.progressed(feed.seen)
      else this.kept = []
      const seenBefore = this.cache.seen
      let pages = yield* this.pages(this.options.pageSize, atLeast)
      // A continue token expired between two pages, or the server's cache is behind: all at once, and the latest.
      if (pages === undefined) pages = yield* this.pages(undefined, undefined)
      if (pages === undefined) return yield* failed(`${path} changes faster than it can be listed`)
      const items: Array<A> = []
      for (const object of pages.objects) {
        const item = read(object)
        if (item === undefined) this.options.damaged(object)
        else items.push(item)
      }
      // From here on nothing is told in between.
      this.listedAt = yield* Clock.currentTimeMillis
      const changes = this.cache.listed(items, pages.version, pages.isLatest ? seenBefore : undefined)
      const { kept } = this
      this.kept = undefined
      if (pages.isLatest) {
        feed.begin(pages.version, epoch)
        // Too much was told meanwhile to be kept: not complete, once more.
        if (wasSynced || kept !== undefined) this.listedEpoch = epoch
      }
      if (pages.isLatest && pages.version < this.wantedVersion) this.wantedVersion = pages.version
      for (const item of changes.removed) removed(item)
      for (const item of changes.changed) changed(item)
      if (this.isSynced && kept !== undefined) { for (const tell of kept) tell() }
    })
  }

  /** `undefined`: it must be listed in another way. */
  private pages(
    limit: number | undefined,
    atLeast: number | undefined
  ): Effect.Effect<Pages | undefined, ProviderError> {
    return Effect.gen({ self: this }, function*() {
      const { labelSelector, path } = this.options
      const objects: Array<unknown> = []
      let version: number | undefined
      let next: string | undefined
      for (;;) {
        const verdict: Answer.Verdict = yield* this.get(path, {
          labelSelector,
          limit,
          ...(next === undefined
            ? atLeast === undefined ? {} : { resourceVersion: atLeast, resourceVersionMatch: "NotOlderThan" }
            : { continue: next })
        })
        if (verdict._tag === "Expired") return undefined
        // "Too large resource version": the server's cache has not come so far.
        if (verdict._tag === "Unknown" && atLeast !== undefined && next === undefined) return undefined
        if (verdict._tag !== "Done") return yield* failed(`${path} cannot be listed: ${verdict.message}`)
        version ??= ResourceVersion.parse(at(verdict.body, "metadata", "resourceVersion"))
        if (version === undefined) {
          return yield* failed(
            `${path}: the list has no resource version that can be compared: heddle needs an API server whose versions are numbers (Kubernetes promises it since 1.35)`
          )
        }
        for (const object of listAt(verdict.body, "items")) objects.push(object)
        next = textAt(verdict.body, "metadata", "continue")
        if (next === undefined || next === "") return { objects, version, isLatest: atLeast === undefined }
      }
    })
  }

  private get(
    path: string,
    query: Readonly<Record<string, string | number | undefined>>
  ): Effect.Effect<Answer.Verdict> {
    return Effect.callback<Answer.Verdict>((resume) => {
      const abort = this.options.client.send(
        "read",
        { method: "GET", path, query },
        (answer) => resume(Effect.succeed(Answer.verdict(answer)))
      )
      return Effect.sync(abort)
    })
  }
}
