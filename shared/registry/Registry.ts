/**
 * The registry: which processes of the mesh live. design/05 rule 1, docs/design/modules.md "shared/registry".
 *
 * Keeps true: an entry (key `<role>.<member>`) is there only while its process renews it; identity is name and startup id, so a quick restart is another member and a
 * reconnect of the same one is no failure; a process that cannot renew knows it no later than everybody else (`lost` fails before the broker lets the entry expire).
 * Liveness only: nothing here is a licence to write (design/01 section 3).
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Decode from "../jetstream/Decode.ts"
import type { JetStreamFailed } from "../jetstream/JetStreamApi.ts"
import * as Kv from "../jetstream/Kv.ts"
import type { Connection } from "../jetstream/Nats.ts"
import * as Streams from "../jetstream/Streams.ts"
import { Member } from "../protocol/Member.ts"
import type { StartupId } from "../protocol/Token.ts"

export const ttlMsDefault = 10_000

/** `Replaced`: another life of the same name registered. `Expired`: the broker let the entry expire. `Unreachable`: it could not be renewed in time. */
export class RegistrationLost extends Schema.TaggedError<RegistrationLost>()("RegistrationLost", {
  key: Schema.String,
  reason: Schema.Literals(["Replaced", "Expired", "Unreachable"])
}) {
  override get message(): string {
    return `registration ${this.key} is lost: ${this.reason}`
  }
}
/** The entry could not be written in the first place. */
export class RegisterFailed
  extends Schema.TaggedError<RegisterFailed>()("RegisterFailed", { key: Schema.String, reason: Schema.String })
{
  override get message(): string {
    return `cannot register ${this.key}: ${this.reason}`
  }
}

export interface RegisterOptions {
  /** How long the entry stands without renewal; whole seconds, default 10 s. */
  readonly ttlMs?: number
  /** How often it is renewed, default a third of `ttlMs`. */
  readonly heartbeatMs?: number
}
export interface Registration {
  readonly key: string
  /** Never succeeds; fails when the registration is lost. The service then ends all its sessions; it may register again under a new startup id. */
  readonly lost: Effect.Effect<never, RegistrationLost>
  /** Writes changed content now (slots, pools, ledger). */
  readonly update: (change: (member: Member) => Member) => Effect.Effect<void, RegistrationLost>
}

export const keyOf = (member: Pick<Member, "role" | "member">): string => `${member.role}.${member.member}`

/** The share of the TTL after which a process that could not renew gives up: the rest is for clocks and the message's way. */
const holdShare = 0.8
const registerForMs = 20_000

const bucketOf = (nats: Connection) => Kv.bucket(nats, Streams.bucketName.registry)
const decodeMember = Decode.decoder(Member)

type Step =
  | { readonly _tag: "Renewed"; readonly revision: number }
  | { readonly _tag: "Lost"; readonly reason: "Replaced" | "Expired" }
  | { readonly _tag: "NotYet"; readonly reason: string }

/** Whose the entry is, read from the leader. */
const look = (bucket: Kv.Bucket, key: string, startup: StartupId): Effect.Effect<Step> =>
  bucket.get(key).pipe(
    Effect.map((entry): Step => {
      if (Option.isNone(entry)) return { _tag: "Lost", reason: "Expired" }
      const member = decodeMember(entry.value.value)
      return Result.isSuccess(member) && member.success.startup === startup
        ? { _tag: "Renewed", revision: entry.value.revision }
        : { _tag: "Lost", reason: "Replaced" }
    }),
    Effect.catch((error) => Effect.succeed<Step>({ _tag: "NotYet", reason: error.message }))
  )

/** Registers for the life of the scope and removes the entry at its end. An entry of an earlier life of the same name is taken over. */
export const register: (
  nats: Connection,
  member: Member,
  options?: RegisterOptions
) => Effect.Effect<Registration, RegisterFailed, Scope.Scope> = Effect.fn("Registry.register")(
  function*(nats, member, options) {
    const bucket = bucketOf(nats)
    const key = keyOf(member)
    const ttlMs = options?.ttlMs ?? ttlMsDefault
    const heartbeatMs = options?.heartbeatMs ?? Math.floor(ttlMs / 3)
    const content = yield* Ref.make(member)
    const text = Effect.map(Ref.get(content), (value) => JSON.stringify(value))
    const write = { ttlMs, timeoutMs: Math.min(2_000, heartbeatMs) }

    const enter = Effect.gen(function*() {
      const started = yield* Clock.currentTimeMillis
      while (true) {
        const askedAt = yield* Clock.currentTimeMillis
        const standing = yield* Effect.result(bucket.get(key))
        if (Result.isSuccess(standing)) {
          const outcome = Option.isSome(standing.success)
            ? yield* bucket.update(key, yield* text, standing.success.value.revision, write)
            : yield* bucket.create(key, yield* text, write)
          if (outcome._tag === "Won") return { revision: outcome.revision, at: askedAt }
          const step = yield* look(bucket, key, member.startup)
          if (step._tag === "Renewed") return { revision: step.revision, at: askedAt }
        }
        if ((yield* Clock.currentTimeMillis) - started > registerForMs) {
          return yield* new RegisterFailed({
            key,
            reason: Result.isFailure(standing)
              ? standing.failure.message
              : "another process of this name writes at the same time"
          })
        }
        yield* Effect.sleep(200)
      }
    })
    const first = yield* enter
    const revision = yield* Ref.make(first.revision)
    const renewedAt = yield* Ref.make(first.at)
    const lost = yield* Deferred.make<never, RegistrationLost>()
    const one = yield* Semaphore.make(1)

    /** One renewal; an unknown outcome is settled by reading whose the entry is. */
    const renew = one.withPermits(1)(Effect.gen(function*() {
      const askedAt = yield* Clock.currentTimeMillis
      const outcome = yield* bucket.update(key, yield* text, yield* Ref.get(revision), write)
      const step: Step = outcome._tag === "Won"
        ? { _tag: "Renewed", revision: outcome.revision }
        : yield* look(bucket, key, member.startup)
      if (step._tag === "Renewed") {
        yield* Ref.set(revision, step.revision)
        // A revision that was only read says nothing about the time left: renew again at once, from there.
        if (outcome._tag === "Won") yield* Ref.set(renewedAt, askedAt)
      }
      return step
    }))
    const give = (reason: "Replaced" | "Expired" | "Unreachable") =>
      Deferred.fail(lost, new RegistrationLost({ key, reason }))

    const heartbeat = Effect.gen(function*() {
      let waitMs = heartbeatMs
      while (true) {
        yield* Effect.sleep(waitMs)
        const step = yield* renew
        if (step._tag === "Lost") return yield* give(step.reason)
        const sinceMs = (yield* Clock.currentTimeMillis) - (yield* Ref.get(renewedAt))
        if (sinceMs >= ttlMs * holdShare) return yield* give("Unreachable")
        waitMs = step._tag === "Renewed" && sinceMs < heartbeatMs ? heartbeatMs : Math.min(200, heartbeatMs)
      }
    })
    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        if (Deferred.isDoneUnsafe(lost)) return
        yield* bucket.delete(key, yield* Ref.get(revision), { markerTtlMs: Streams.markerMs })
      }).pipe(Effect.interruptible, Effect.timeoutOption(2_000))
    )
    yield* heartbeat.pipe(Effect.catchCause((cause) => Deferred.failCause(lost, cause)), Effect.forkScoped)

    return {
      key,
      lost: Deferred.await(lost),
      update: (change) =>
        Effect.gen(function*() {
          yield* Ref.update(content, change)
          const step = yield* renew
          if (step._tag === "Lost") {
            yield* give(step.reason)
            return yield* new RegistrationLost({ key, reason: step.reason })
          }
        })
    }
  }
)

export type MemberEvent =
  | { readonly _tag: "Joined"; readonly member: Member }
  /** The same life with other content. */
  | { readonly _tag: "Changed"; readonly member: Member }
  /**
   * `Closed`: it said good-bye. `Expired`: it did not renew. `Replaced`: another life of the same name came before it had left (`Joined` follows).
   * `Gone`: it vanished while this watch was interrupted; treat it as `Expired`.
   */
  | { readonly _tag: "Left"; readonly member: Member; readonly reason: "Closed" | "Expired" | "Replaced" | "Gone" }
  /** All who were there when the watch began were shown. Once. */
  | { readonly _tag: "UpToDate" }

/** What a change of the bucket means for who lives. Pure but for `known`, which it keeps. Content that is no Member is left out. */
export const eventsOf = (known: Map<string, Member>, event: Kv.WatchEvent): ReadonlyArray<MemberEvent> => {
  if (event._tag === "UpToDate") return [event]
  const before = known.get(event.key)
  if (event._tag === "Removed") {
    known.delete(event.key)
    return before === undefined
      ? []
      : [{ _tag: "Left", member: before, reason: event.reason === "Deleted" ? "Closed" : event.reason }]
  }
  const decoded = decodeMember(event.value)
  if (Result.isFailure(decoded)) return []
  const member = decoded.success
  known.set(event.key, member)
  if (before === undefined) return [{ _tag: "Joined", member }]
  if (before.startup !== member.startup) {
    return [{ _tag: "Left", member: before, reason: "Replaced" }, { _tag: "Joined", member }]
  }
  // A renewal says nothing new.
  return JSON.stringify(before) === JSON.stringify(member) ? [] : [{ _tag: "Changed", member }]
}

/** Who is there, and from then on who comes and goes. Ends only with an error. */
export const watch = (nats: Connection): Stream.Stream<MemberEvent, JetStreamFailed> =>
  Stream.suspend(() => {
    const known = new Map<string, Member>()
    return bucketOf(nats).watch("").pipe(Stream.flatMap((event) => Stream.fromIterable(eventsOf(known, event))))
  })

/** Who is there now. */
export const members = (nats: Connection): Effect.Effect<ReadonlyArray<Member>, JetStreamFailed> =>
  watch(nats).pipe(
    Stream.takeUntil((event) => event._tag === "UpToDate"),
    Stream.filterMap((event) => event._tag === "Joined" ? Result.succeed(event.member) : Result.failVoid),
    Stream.runCollect
  )
