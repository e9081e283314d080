/**
 * Who owns which shard, as the bucket `heddle_shards` shows it: a picture kept up to date by a watch, read without waiting.
 *
 * A hint for routing, never a licence: it may lag. The owner itself checks every message (NotOwner). design/01 section 3.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Decode from "../jetstream/Decode.ts"
import type { JetStreamFailed } from "../jetstream/JetStreamApi.ts"
import * as Kv from "../jetstream/Kv.ts"
import type { Connection } from "../jetstream/Nats.ts"
import * as Streams from "../jetstream/Streams.ts"
import { ShardOwnership } from "../protocol/Member.ts"
import { Shard } from "../protocol/Token.ts"

/** An ownership with the revision of its key: what a compare-and-set names. */
export interface Owned {
  readonly ownership: ShardOwnership
  readonly revision: number
}

export interface ShardMap {
  readonly ownerOf: (shard: Shard) => ShardOwnership | undefined
  readonly entryOf: (shard: Shard) => Owned | undefined
  readonly all: () => ReadonlyMap<Shard, Owned>
  /** `undefined` ownership: the key was removed. `handler` is synchronous and must not throw. */
  readonly onChange: (
    handler: (shard: Shard, owned: Owned | undefined) => void
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Never succeeds; fails when the watch has ended. A service joins it. */
  readonly failure: Effect.Effect<never, JetStreamFailed>
}

export const keyOf = (shard: Shard): string => `shard.${shard}`

/** `undefined`: no key of a shard (`mesh` is in the same bucket). */
export const shardOfKey = (key: string): Shard | undefined => {
  const digits = /^shard\.(\d{1,4})$/.exec(key)?.[1]
  const shard = Number(digits)
  return digits === undefined || shard > 4095 ? undefined : Shard.make(shard)
}

const decode = Decode.decoder(ShardOwnership)

/** Ready when everything that stands in the bucket was read. */
export const make: (nats: Connection) => Effect.Effect<ShardMap, JetStreamFailed, Scope.Scope> = Effect.fn(
  "ShardMap.make"
)(function*(nats) {
  const owners = new Map<Shard, Owned>()
  const handlers = new Set<(shard: Shard, owned: Owned | undefined) => void>()
  const upToDate = yield* Deferred.make<void, JetStreamFailed>()
  const ended = yield* Deferred.make<never, JetStreamFailed>()

  const apply = (event: Kv.WatchEvent): void => {
    if (event._tag === "UpToDate") {
      Deferred.doneUnsafe(upToDate, Effect.void)
      return
    }
    const shard = shardOfKey(event.key)
    if (shard === undefined) return
    const decoded = event._tag === "Put" ? decode(event.value) : undefined
    const owned = decoded !== undefined && Result.isSuccess(decoded)
      ? { ownership: decoded.success, revision: event.revision }
      : undefined
    if (owned === undefined) owners.delete(shard)
    else owners.set(shard, owned)
    for (const handler of handlers) handler(shard, owned)
  }
  yield* Kv.bucket(nats, Streams.bucketName.shards).watch("").pipe(
    Stream.runForEach((event) => Effect.sync(() => apply(event))),
    Effect.catchCause((cause) => Effect.andThen(Deferred.failCause(upToDate, cause), Deferred.failCause(ended, cause))),
    Effect.forkScoped
  )
  yield* Deferred.await(upToDate)
  return {
    ownerOf: (shard) => owners.get(shard)?.ownership,
    entryOf: (shard) => owners.get(shard),
    all: () => owners,
    onChange: (handler) =>
      Effect.acquireRelease(Effect.sync(() => handlers.add(handler)), () => Effect.sync(() => handlers.delete(handler)))
        .pipe(Effect.asVoid),
    failure: Deferred.await(ended)
  }
})
