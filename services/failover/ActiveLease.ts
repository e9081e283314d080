/**
 * Which of several failover services publishes: the one that holds the key `lease.failover` of `heddle_registry`, which lives for `ttlMs` unless it is renewed.
 *
 * For peace and quiet only: two that both think they are active publish the same events under the same ids, and a standby publishes by itself what stays unpublished
 * (FailoverService). Active ends, in this process, before the broker lets the key expire. design/05 rule 2.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { StartupId } from "../../shared/protocol/Token.ts"

export const ttlMsDefault = 5_000
const key = "lease.failover"
/** The share of the TTL after which one that could not renew is no longer active. */
const holdShare = 0.8

/** Never succeeds. `onChange` is called with `true` and `false` in turn, first with `true`; it must not block. */
export const hold: (
  nats: Connection,
  startup: StartupId,
  ttlMs: number,
  onChange: (isActive: boolean) => Effect.Effect<void>
) => Effect.Effect<never, JetStreamFailed, Scope.Scope> = Effect.fn("ActiveLease.hold")(
  function*(nats, startup, ttlMs, onChange) {
    const bucket = Kv.bucket(nats, Streams.bucketName.registry)
    const renewMs = Math.floor(ttlMs / 3)
    const write = { ttlMs, timeoutMs: renewMs }
    const vacancies = yield* Queue.sliding<void>(1)
    const watching = yield* bucket.watch("lease.").pipe(
      Stream.runForEach((event) => event._tag === "Removed" ? Queue.offer(vacancies, undefined) : Effect.void),
      Effect.andThen(Effect.never),
      Effect.forkScoped
    )

    /** The key's revision when it is ours, 0 when there is none. */
    const look: Effect.Effect<number | "Another's" | "Unclear", JetStreamFailed> = bucket.get(key).pipe(
      Effect.map(Option.match({
        onNone: () => 0,
        onSome: ({ revision, value }) => value === startup ? revision : "Another's" as const
      })),
      Effect.catchIf((error) => error.isTransient, () => Effect.succeed("Unclear" as const))
    )
    const take = Effect.gen(function*() {
      const outcome = yield* bucket.create(key, startup, write)
      return outcome._tag === "Won" ? outcome.revision : yield* look
    })
    const serve = Effect.fnUntraced(function*(first: number, since: number) {
      let revision = first
      let renewedAt = since
      while (true) {
        yield* Effect.sleep(renewMs)
        const now = yield* Clock.currentTimeMillis
        const outcome = yield* bucket.update(key, startup, revision, write)
        if (outcome._tag === "Won") {
          revision = outcome.revision
          renewedAt = now
          continue
        }
        const found = yield* look
        if (found === 0 || found === "Another's") return
        if (found !== "Unclear") revision = found
        if ((yield* Clock.currentTimeMillis) - renewedAt >= ttlMs * holdShare) return
      }
    })

    const run = Effect.gen(function*() {
      while (true) {
        const askedAt = yield* Clock.currentTimeMillis
        const revision = yield* take
        if (typeof revision === "number" && revision > 0) {
          yield* onChange(true)
          yield* serve(revision, askedAt)
          yield* onChange(false)
        }
        // The watch tells when the key is free; the time-out is for a watch that was interrupted just then.
        yield* Queue.take(vacancies).pipe(Effect.timeoutOption(2 * ttlMs))
      }
    })
    yield* Effect.addFinalizer(() =>
      look.pipe(
        Effect.flatMap((revision) =>
          typeof revision === "number" && revision > 0
            ? bucket.delete(key, revision, { markerTtlMs: Streams.markerMs })
            : Effect.void
        ),
        Effect.interruptible,
        Effect.timeoutOption(2_000),
        Effect.ignore
      )
    )
    return yield* Effect.raceFirst(run, Fiber.join(watching))
  }
)
