/**
 * Who may schedule a pool: the winner of the compare-and-set on `owner.<ns>.<pool>` in `heddle_pools`, from the moment its ADOPTED stands on the pool's event subject.
 *
 * The sequence of ADOPTED is the pool's session: it only grows, and it rides on every claim's write, assignment and result (design/01 end of section 3). ADOPTED names
 * the subject's last sequence, so of two candidates only one can follow the other, and the earlier one's next append is refused. Liveness (who tries, and when) is
 * `PoolDirectory`'s; nothing here trusts it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Append from "../../shared/jetstream/Append.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { PoolOwnership } from "../../shared/protocol/Member.ts"
import type { PoolEvent } from "../../shared/protocol/PoolEvent.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { type MemberId, SessionId, type StartupId } from "../../shared/protocol/Token.ts"
import { lastSequenceOf } from "./PoolEvents.ts"

export interface Identity {
  readonly member: MemberId
  readonly startup: StartupId
}

/** `revision` of the owner key: as long as it is that, the pool is ours. */
export interface Owned {
  readonly session: SessionId
  readonly revision: number
}

export const ownerKey = (pool: PoolRef): string => `owner.${pool.namespace}.${pool.name}`
export const specKey = (pool: PoolRef): string => `spec.${pool.namespace}.${pool.name}`

const decodeOwnership = Schema.decodeUnknownOption(Schema.fromJsonString(PoolOwnership))
export const readOwnership = (text: string): PoolOwnership | undefined => Option.getOrUndefined(decodeOwnership(text))

const isOurs = (identity: Identity, owner: PoolOwnership | undefined): boolean =>
  owner?.owner === identity.member && owner.startup === identity.startup

/** How often a lost race or an unknown outcome is looked at again before the directory is asked anew. */
const attemptsMax = 20

/** Tries to become the owner. `mayTake` judges the owner that stands there (undefined: none). `None`: somebody else has it. */
export const acquire = (
  nats: Connection,
  pool: PoolRef,
  identity: Identity,
  mayTake: (owner: PoolOwnership | undefined) => boolean
): Effect.Effect<Option.Option<Owned>, JetStreamFailed> =>
  Effect.gen(function*() {
    const bucket = Kv.bucket(nats, Streams.bucketName.pools)
    const key = ownerKey(pool)
    const value: PoolOwnership = { owner: identity.member, startup: identity.startup }
    const subject = Subject.poolEvent(pool)
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const entry = yield* bucket.get(key)
      const owner = Option.isSome(entry) ? readOwnership(entry.value.value) : undefined
      let revision: number
      if (Option.isSome(entry) && isOurs(identity, owner)) revision = entry.value.revision
      else {
        if (!mayTake(owner)) return Option.none()
        const outcome = Option.isSome(entry)
          ? yield* bucket.update(key, JSON.stringify(value), entry.value.revision)
          : yield* bucket.create(key, JSON.stringify(value))
        // Lost and Unknown alike: what stands there now says how to go on.
        if (outcome._tag !== "Won") {
          yield* Effect.sleep(50)
          continue
        }
        revision = outcome.revision
      }
      const at = yield* Clock.currentTimeMillis
      const adopted: PoolEvent = { _tag: "ADOPTED", pool, owner: identity.member, startup: identity.startup, at }
      const body = JSON.stringify(adopted)
      const last = lastSequenceOf(yield* Read.lastMessage(nats, Streams.name.poolEvents, subject))
      const appended = yield* Append.append(nats, subject, body, last)
      if (appended._tag === "Acked") return Option.some({ session: SessionId.make(appended.sequence), revision })
      const settled = yield* Append.settleUnknown(nats, Streams.name.poolEvents, subject, last, (message) =>
        message.text === body)
      if (settled._tag === "Ours") {
        return Option.some({ session: SessionId.make(settled.sequence), revision })
      }
      // Another one wrote in between: is the key still ours?
    }
    return Option.none()
  })

/** Leaves the pool to others, if it is still ours. */
export const release = (nats: Connection, pool: PoolRef, owned: Owned): Effect.Effect<void> =>
  Effect.asVoid(Kv.bucket(nats, Streams.bucketName.pools).delete(ownerKey(pool), owned.revision))
