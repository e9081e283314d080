/**
 * One watch of a collection for all who keep a part of it: each event goes to the part that its object belongs to.
 *
 * Keeps true: nobody misses anything between list and watch: the watch begins at the version of a list of the latest state, and who joins later makes such a list of its part while the watch
 * stands; a watch that ends goes on at the version of its last event or bookmark; when that has expired (410), or the watch says nothing for longer than bookmarks come apart, it
 * is over, and every part lists anew; failures back off with jitter and `Retry-After` is obeyed; a defect, of ours or of a part, ends it for good and is told by `failure`, so that nobody goes on
 * blind. Follows docs/design/kubernetes.md, "Watching".
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import * as Semaphore from "effect/Semaphore"
import * as Answer from "./Answer.ts"
import type { Api } from "./ApiClient.ts"
import { at, textAt } from "./Json.ts"
import * as ResourceVersion from "./ResourceVersion.ts"

/** Units in the names. */
export const defaults = {
  /** A bookmark comes about every minute; twice that without a word and the watch is dead. */
  silenceMs: 130_000,
  /** The server ends a watch after a time between this and twice this. */
  watchMs: 240_000,
  backOffMinMs: 200,
  backOffMaxMs: 30_000
} as const

export type Timing = { readonly [Name in keyof typeof defaults]: number }

/** Before the next try after so many failures, at least `atLeastMs`. */
export const backOff = (
  { backOffMaxMs, backOffMinMs }: Timing,
  failures: number,
  atLeastMs: number
): Effect.Effect<void> =>
  Effect.flatMap(
    Random.next,
    (random) =>
      Effect.sleep(
        Math.max(atLeastMs, Math.min(backOffMinMs * 2 ** Math.min(failures, 20), backOffMaxMs)) * (1 + random / 2)
      )
  )

/** Whoever keeps a part of the collection. Nothing here waits or throws. */
export interface Part {
  /** An object of it is as told, or gone. */
  readonly event: (object: unknown, isDeleted: boolean, version: number) => void
  /** This object, if it has it, belongs to another part since this version. */
  readonly left: (uid: string, version: number) => void
  /** What happens from now on is not told before somebody has listed. */
  readonly lost: (reason: string) => void
}

export interface WatchFeedOptions {
  readonly client: Api
  /** Of the collection: `/api/v1/namespaces/default/pods`. */
  readonly path: string
  readonly labelSelector?: string | undefined
  /** Which part an object belongs to. */
  readonly partOf: (object: unknown) => string
}

interface WatchEnd {
  /** The version to go on from; `undefined`: list first. */
  readonly from: string | undefined
  readonly reason: string
  /** Ended as watches do, having worked. */
  readonly isOrderly: boolean
  readonly retryAfterMs: number
}

export class WatchFeed {
  /** Held by the one that lists while the watch has not begun: its list says where. */
  readonly beginning = Semaphore.makeUnsafe(1)
  private readonly options: WatchFeedOptions & Timing
  private readonly parts = new Map<string, Set<Part>>()
  /** The part that an object belonged to by its latest event, by uid. */
  private readonly homes = new Map<string, string>()
  private readonly begun = Latch.makeUnsafe(false)
  private readonly died = Deferred.makeUnsafe<never>()
  private from: string | undefined
  private losses = 0
  private seenVersion = 0
  private isOpen = false
  private watchCount = 0

  constructor(options: WatchFeedOptions & Partial<Timing>) {
    this.options = { ...defaults, ...options }
  }

  /** Grows whenever something may have been missed: a list that began in an earlier one is not enough. */
  get epoch(): number {
    return this.losses
  }
  /** Everything since the version that it began at is told. */
  get hasBegun(): boolean {
    return this.from !== undefined
  }
  /** The server has taken the watch, and it stands. */
  get isWatching(): boolean {
    return this.isOpen
  }
  /** Everything up to this version is told. */
  get seen(): number {
    return this.seenVersion
  }
  /** Made so far, for tests and the log. */
  get watches(): number {
    return this.watchCount
  }

  /** Never succeeds; dies with the defect that has ended `run`. */
  get failure(): Effect.Effect<never> {
    return Deferred.await(this.died)
  }

  /** From now on `part` is told of what belongs to it. To be left with what is returned. */
  join(key: string, part: Part): () => void {
    let parts = this.parts.get(key)
    if (parts === undefined) this.parts.set(key, parts = new Set())
    parts.add(part)
    return () => {
      const left = this.parts.get(key)
      if (left?.delete(part) === true && left.size === 0) this.parts.delete(key)
    }
  }

  /** A list of the latest state, begun in this epoch, was of this version: where the watch begins, if it has not. */
  begin(version: number, epoch: number): void {
    if (this.hasBegun || epoch !== this.epoch) return
    this.from = String(version)
    this.seenVersion = version
    this.begun.openUnsafe()
  }

  /** Watches for ever, once somebody has listed. */
  get run(): Effect.Effect<never> {
    return Effect.gen({ self: this }, function*() {
      let failures = 0
      for (;;) {
        yield* this.begun.await
        const { from } = this
        if (from === undefined) continue
        const end: WatchEnd = yield* this.watch(from)
        this.isOpen = false
        this.from = end.from
        if (end.from === undefined) {
          this.begun.closeUnsafe()
          this.losses++
          this.homes.clear()
          for (const part of this.all()) part.lost(end.reason)
        }
        if (end.isOrderly) failures = 0
        else yield* backOff(this.options, failures++, end.retryAfterMs)
      }
    }).pipe(
      // Whatever ended it: what is asked for now is listed.
      Effect.ensuring(Effect.sync(() => {
        this.isOpen = false
      })),
      Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) ? Effect.void : Deferred.failCause(this.died, cause))
    )
  }

  /** A copy: what one of them does may make another one leave. */
  private all(): ReadonlyArray<Part> {
    return Array.from(this.parts.values()).flatMap((parts) => Array.from(parts))
  }

  private route(object: unknown, isDeleted: boolean, version: number): void {
    const key = this.options.partOf(object)
    const uid = textAt(object, "metadata", "uid") ?? ""
    const before = this.homes.get(uid)
    if (isDeleted) this.homes.delete(uid)
    else if (before !== key) {
      this.homes.set(uid, key)
      // Another part's until now, which nothing else would tell. Whose, if it is seen for the first time, only the parts know, from their lists.
      for (const [other, parts] of before === undefined ? this.parts : [[before, this.parts.get(before)] as const]) {
        if (other !== key) { for (const part of parts ?? []) part.left(uid, version) }
      }
    }
    for (const part of this.parts.get(key) ?? []) part.event(object, isDeleted, version)
    this.seenVersion = version
  }

  private watch(from: string): Effect.Effect<WatchEnd> {
    return Effect.gen({ self: this }, function*() {
      const { client, labelSelector, path, silenceMs, watchMs } = this.options
      const clock = yield* Clock.Clock
      const timeoutSeconds = Math.round((watchMs / 1_000) * (1 + (yield* Random.next)))
      let version = from
      let heardAt = clock.currentTimeMillisUnsafe()
      const startedAt = heardAt
      let isHeard = false
      this.watchCount++
      const watching = Effect.callback<WatchEnd>((resume) => {
        let isEnded = false
        const end = (ended: WatchEnd): void => {
          if (isEnded) return
          isEnded = true
          watch.close()
          resume(Effect.succeed(ended))
        }
        /** What is thrown where the client calls back is this fiber's defect, not the connection's. */
        const guarded = (handle: () => void): void => {
          if (isEnded) return
          try {
            handle()
          } catch (defect) {
            isEnded = true
            watch.close()
            resume(Effect.die(defect))
          }
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
            this.isOpen = true
          },
          event: (event) =>
            guarded(() => {
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
              if (type === "BOOKMARK") this.seenVersion = now
              else this.route(object, type === "DELETED", now)
            }),
          ended: (answer) =>
            guarded(() => {
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
            })
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
