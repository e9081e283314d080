/**
 * A collection of objects kept up to date: a list, then a watch from its version, for as long as the scope lives.
 *
 * Keeps true: a watch that ends goes on at the version of its last event or bookmark, so nothing is missed; one whose version has expired (410) begins with a list; one that
 * says nothing for longer than bookmarks come apart is cut and begun again; failures back off with jitter and `Retry-After` is obeyed. What is learned goes through `Cache`.
 * The client library's informer does none of: bookmarks, silence, back-off, paged lists. Follows docs/design/kubernetes.md, "Watching".
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
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

export interface InformerOptions<A extends Versioned> {
  readonly client: Api
  /** Of the collection: `/api/v1/namespaces/default/pods`. */
  readonly path: string
  readonly labelSelector?: string
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
  pageSize: 500,
  /** A bookmark comes about every minute; twice that without a word and the watch is dead. */
  silenceMs: 130_000,
  /** The server ends a watch after a time between this and twice this. */
  watchMs: 240_000,
  backOffMinMs: 200,
  backOffMaxMs: 30_000,
  /** Even if nothing asks for it, all is listed again after this time. */
  resyncMs: 600_000
} as const

interface WatchEnd {
  /** The version to go on from; `undefined`: list first. */
  readonly from: string | undefined
  readonly reason: string
  /** Ended as watches do, having worked. */
  readonly isOrderly: boolean
  readonly retryAfterMs: number
}

interface Pages {
  readonly objects: ReadonlyArray<unknown>
  readonly version: number
  /** Of the latest state when it was asked for. */
  readonly isLatest: boolean
}

export class Informer<A extends Versioned> {
  readonly cache = new Cache<A>()
  private readonly options: InformerOptions<A> & { readonly [K in keyof typeof defaults]: number }
  private readonly listing = Semaphore.makeUnsafe(1)
  private isSynced = false
  private isWatching = false
  private listedAt = 0
  private wantedVersion = 0
  /** Lists and watches made so far, for tests and the log. */
  lists = 0
  watches = 0

  constructor(options: InformerOptions<A> & Partial<{ readonly [K in keyof typeof defaults]: number }>) {
    this.options = { ...defaults, ...options }
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

  /** Lists, then watches for ever. A failure to list is told by `current` and tried again here. */
  get run(): Effect.Effect<never, never, Scope.Scope> {
    return Effect.gen({ self: this }, function*() {
      let from: string | undefined
      let isListWanted = !this.isSynced
      let gap: string | undefined
      let failures = 0
      for (;;) {
        if (isListWanted) {
          const listed = yield* Effect.result(this.list(() => gap !== undefined || !this.isSynced, undefined))
          if (Result.isFailure(listed)) {
            yield* Effect.logWarning(listed.failure.message)
            yield* this.backOff(failures++, 0)
            continue
          }
          // Told after the list: whoever now asks for everything gets what was missed.
          if (gap !== undefined) this.options.gap(gap)
          gap = undefined
        }
        const end: WatchEnd = yield* this.watch(from ?? String(this.cache.seen))
        this.isWatching = false
        from = end.from
        isListWanted = from === undefined
        if (isListWanted) gap = end.reason
        if (end.isOrderly) failures = 0
        else yield* this.backOff(failures++, end.retryAfterMs)
      }
    })
  }

  private isDue(now: number): boolean {
    return !this.isSynced || now - this.listedAt >= this.options.resyncMs
  }

  private isFresh(now: number): boolean {
    return !this.isDue(now) && this.isWatching && this.cache.seen >= this.wantedVersion
  }

  private backOff(failures: number, atLeastMs: number): Effect.Effect<void> {
    const { backOffMaxMs, backOffMinMs } = this.options
    return Effect.flatMap(
      Random.next,
      (random) =>
        Effect.sleep(
          Math.max(atLeastMs, Math.min(backOffMinMs * 2 ** Math.min(failures, 20), backOffMaxMs)) * (1 + random / 2)
        )
    )
  }

  /** One list at a time; whoever has waited for another one looks again whether there is need. `atLeast`: any state of this version or later will do. */
  private list(isNeeded: () => boolean, atLeast: number | undefined): Effect.Effect<void, ProviderError> {
    return this.listing.withPermits(1)(Effect.suspend(() => isNeeded() ? this.listNow(atLeast) : Effect.void))
  }

  private listNow(atLeast: number | undefined): Effect.Effect<void, ProviderError> {
    return Effect.gen({ self: this }, function*() {
      const { changed, path, read, removed } = this.options
      this.lists++
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
      const changes = this.cache.listed(items, pages.version, pages.isLatest ? seenBefore : undefined)
      this.isSynced = true
      this.listedAt = yield* Clock.currentTimeMillis
      if (pages.isLatest && pages.version < this.wantedVersion) this.wantedVersion = pages.version
      for (const item of changes.removed) removed(item)
      for (const item of changes.changed) changed(item)
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

  private watch(from: string): Effect.Effect<WatchEnd> {
    return Effect.gen({ self: this }, function*() {
      const { client, labelSelector, path, read, silenceMs, watchMs } = this.options
      const clock = yield* Clock.Clock
      const timeoutSeconds = Math.round((watchMs / 1_000) * (1 + (yield* Random.next)))
      let version = from
      let heardAt = clock.currentTimeMillisUnsafe()
      const startedAt = heardAt
      let isHeard = false
      this.watches++
      const watching = Effect.callback<WatchEnd>((resume) => {
        let isEnded = false
        const end = (ended: WatchEnd): void => {
          if (isEnded) return
          isEnded = true
          watch.close()
          resume(Effect.succeed(ended))
        }
        const watch = client.watch(path, {
          watch: 1,
          allowWatchBookmarks: true,
          resourceVersion: from,
          labelSelector,
          timeoutSeconds
        }, {
          // A watch of a quiet collection says nothing for a minute.
          opened: () => {
            this.isWatching = true
          },
          event: (event) => {
            if (isEnded) return
            heardAt = clock.currentTimeMillisUnsafe()
            isHeard = true
            const object = at(event, "object")
            const type = at(event, "type")
            if (type === "ERROR") {
              const code = at(object, "code")
              const reason = `the watch was ended by the server: ${textAt(object, "message") ?? String(code)}`
              const isExpired = code === 410 || at(object, "reason") === "Expired" || at(object, "reason") === "Gone"
              return end({ from: isExpired ? undefined : version, reason, isOrderly: false, retryAfterMs: 0 })
            }
            const text = textAt(object, "metadata", "resourceVersion")
            const now = ResourceVersion.parse(text)
            if (text === undefined || now === undefined) {
              return end({ from: undefined, reason: "an event without a version", isOrderly: false, retryAfterMs: 0 })
            }
            version = text
            if (type === "BOOKMARK") return this.cache.progressed(now)
            // The echo of a write of our own, whose answer has told the same already: most of what a busy pool's watch tells.
            const known = this.cache.get(textAt(object, "metadata", "uid") ?? "")
            if (type !== "DELETED" && known !== undefined && now <= known.version) return this.cache.progressed(now)
            const item = read(object)
            if (item === undefined) {
              this.cache.progressed(now)
              return this.options.damaged(object)
            }
            if (type === "DELETED") {
              const known = this.cache.gone(item.uid, now)
              if (known !== undefined) this.options.removed(known)
            } else if (this.cache.watched(item)) this.options.changed(item)
          },
          ended: (answer) => {
            const verdict = Answer.verdict(answer)
            if (verdict._tag === "Expired") {
              return end({ from: undefined, reason: verdict.message, isOrderly: false, retryAfterMs: 0 })
            }
            end({
              from: version,
              reason: verdict._tag === "Done" ? "ended" : verdict.message,
              isOrderly: answer._tag === "Lost" && (isHeard || clock.currentTimeMillisUnsafe() - startedAt > 1_000),
              retryAfterMs: verdict._tag === "Later" ? verdict.afterMs : 0
            })
          }
        })
        return Effect.sync(() => watch.close())
      })
      const silent = Effect.gen(function*() {
        for (;;) {
          const leftMs = heardAt + silenceMs - clock.currentTimeMillisUnsafe()
          if (leftMs <= 0) break
          yield* Effect.sleep(leftMs)
        }
        // What it had to tell may be lost for good: what is true is listed.
        return { from: undefined, reason: "the watch was silent", isOrderly: false, retryAfterMs: 0 } as const
      })
      return yield* Effect.raceFirst(watching, silent)
    })
  }
}
