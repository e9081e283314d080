/**
 * Who lives, as the registry shows it: a picture kept up to date by a watch, read without waiting.
 *
 * A hint, never a licence to write (design/01 section 3): it may lag, and two processes may see different pictures for a moment.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { JetStreamFailed } from "../jetstream/JetStreamApi.ts"
import type { Connection } from "../jetstream/Nats.ts"
import type { Member, MemberRole } from "../protocol/Member.ts"
import type { MemberId, StartupId } from "../protocol/Token.ts"
import * as Registry from "./Registry.ts"

export interface LiveMembers {
  /** Of one role, in no order. */
  readonly of: (role: MemberRole) => ReadonlyArray<Member>
  /** Whether this life of the member is registered. */
  readonly isAlive: (member: MemberId, startup: StartupId) => boolean
  /** `handler` is synchronous and must not throw. */
  readonly onChange: (handler: (event: Registry.MemberEvent) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Never succeeds; fails when the watch has ended. A service joins it. */
  readonly failure: Effect.Effect<never, JetStreamFailed>
}

/** Ready when everyone who was registered at the start is known. */
export const make: (nats: Connection) => Effect.Effect<LiveMembers, JetStreamFailed, Scope.Scope> = Effect.fn(
  "LiveMembers.make"
)(function*(nats) {
  const byKey = new Map<string, Member>()
  const handlers = new Set<(event: Registry.MemberEvent) => void>()
  const upToDate = yield* Deferred.make<void, JetStreamFailed>()
  const ended = yield* Deferred.make<never, JetStreamFailed>()
  const apply = (event: Registry.MemberEvent): void => {
    switch (event._tag) {
      case "UpToDate":
        Deferred.doneUnsafe(upToDate, Effect.void)
        return
      case "Left":
        byKey.delete(Registry.keyOf(event.member))
        break
      default:
        byKey.set(Registry.keyOf(event.member), event.member)
    }
    for (const handler of handlers) handler(event)
  }
  yield* Registry.watch(nats).pipe(
    Stream.runForEach((event) => Effect.sync(() => apply(event))),
    Effect.catchCause((cause) => Effect.andThen(Deferred.failCause(upToDate, cause), Deferred.failCause(ended, cause))),
    Effect.forkScoped
  )
  yield* Deferred.await(upToDate)
  const isOf = (member: Member, id: MemberId, startup: StartupId): boolean =>
    member.member === id && member.startup === startup
  return {
    of: (role) => [...byKey.values()].filter((member) => member.role === role),
    isAlive: (id, startup) => {
      for (const member of byKey.values()) if (isOf(member, id, startup)) return true
      return false
    },
    onChange: (handler) =>
      Effect.acquireRelease(Effect.sync(() => handlers.add(handler)), () => Effect.sync(() => handlers.delete(handler)))
        .pipe(Effect.asVoid),
    failure: Deferred.await(ended)
  }
})
