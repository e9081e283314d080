import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { Member, ShardOwnership } from "../../shared/protocol/Member.ts"
import { Ledger, MemberId, Shard, StartupId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as ShardMap from "../../shared/registry/ShardMap.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

const open = Effect.fn("open")(function*(name: string) {
  const nats = yield* Nats.open({ url: broker.url, name })
  yield* Streams.maintain(nats)
  return nats
})
/** Why a watch of these tests has ended, which none may. */
let ended: Cause.Cause<unknown> | undefined
const until = (isThere: () => boolean) =>
  Effect.suspend(() =>
    ended !== undefined ? Effect.die(Cause.squash(ended)) : isThere() ? Effect.void : Effect.fail("not yet")
  ).pipe(
    Effect.retry({ schedule: Schedule.spaced(5) })
  )
const memberOf = (name: string, startup: string): Member => ({
  member: MemberId.make(name),
  startup: StartupId.make(startup),
  role: "task-executor",
  host: "here",
  pid: 1,
  version: "0",
  startedAt: "2026-11-22T00:00:00Z"
})
/** What happens to members whose name begins with `prefix`. */
const watching = (nats: Nats.Connection, prefix: string) =>
  Effect.gen(function*() {
    const events: Array<string> = []
    yield* Registry.watch(nats).pipe(
      Stream.runForEach((event) =>
        Effect.sync(() => {
          if (event._tag === "UpToDate") events.push("UpToDate")
          else if (event.member.member.startsWith(prefix)) {
            events.push(
              event._tag === "Left"
                ? `Left ${event.member.startup} ${event.reason}`
                : `${event._tag} ${event.member.startup}`
            )
          }
        })
      ),
      Effect.tapCause((cause) =>
        Effect.sync(() => {
          if (!Cause.hasInterruptsOnly(cause)) ended = cause
        })
      ),
      Effect.forkScoped
    )
    yield* until(() => events.length > 0)
    return events
  })
const short = { ttlMs: 2_000, heartbeatMs: 300 }

describe("Registry", () => {
  it.live("joins, changes, says good-bye; renewals are no events", () =>
    Effect.gen(function*() {
      const nats = yield* open("close")
      const events = yield* watching(nats, "close")
      yield* Effect.scoped(Effect.gen(function*() {
        const registration = yield* Registry.register(nats, memberOf("close", "s1"), short)
        yield* until(() => events.includes("Joined s1"))
        assert.isTrue((yield* Registry.members(nats)).some((member) => member.member === "close"))
        yield* registration.update((member) => ({ ...member, slots: 4 }))
        yield* until(() => events.includes("Changed s1"))
        // Eight renewals take longer than the TTL, and nothing is said about them.
        const kv = Kv.bucket(nats, Streams.bucketName.registry)
        const revision = Effect.map(
          kv.get(registration.key),
          (entry) => Option.isSome(entry) ? entry.value.revision : 0
        )
        const renewed = (yield* revision) + 8
        yield* revision.pipe(Effect.repeat({ until: (now) => now >= renewed, schedule: Schedule.spaced(50) }))
      }))
      yield* until(() => events.includes("Left s1 Closed"))
      assert.deepStrictEqual(events, ["UpToDate", "Joined s1", "Changed s1", "Left s1 Closed"])
    }))

  it.live("a process that stops renewing expires; a quick restart of the same name is another life", () =>
    Effect.gen(function*() {
      const nats = yield* open("watcher")
      const events = yield* watching(nats, "expire")
      const kv = Kv.bucket(nats, Streams.bucketName.registry)
      // A killed process: its entry, never renewed.
      yield* kv.create("task-executor.expire-a", JSON.stringify(memberOf("expire-a", "a1")), { ttlMs: 1_000 })
      yield* until(() => events.includes("Left a1 Expired"))
      yield* kv.create("task-executor.expire-b", JSON.stringify(memberOf("expire-b", "b1")), { ttlMs: 60_000 })
      yield* Registry.register(nats, memberOf("expire-b", "b2"), short)
      yield* until(() => events.includes("Joined b2"))
      assert.deepStrictEqual(events, [
        "UpToDate",
        "Joined a1",
        "Left a1 Expired",
        "Joined b1",
        "Left b1 Replaced",
        "Joined b2"
      ])
    }))

  it.live("whoever is replaced or has expired knows it", () =>
    Effect.gen(function*() {
      const nats = yield* open("replaced")
      const first = yield* Registry.register(nats, memberOf("replaced", "r1"), short)
      yield* Registry.register(nats, memberOf("replaced", "r2"), short)
      assert.strictEqual((yield* Effect.flip(first.lost)).reason, "Replaced")
      const third = yield* Registry.register(nats, memberOf("removed", "r3"), short)
      yield* Kv.bucket(nats, Streams.bucketName.registry).delete("task-executor.removed")
      assert.strictEqual((yield* Effect.flip(third.lost)).reason, "Expired")
    }))

  it.live("a restart of the broker within the TTL is no failure; one that takes longer is told to the process itself", () =>
    Effect.gen(function*() {
      const nats = yield* open("broker")
      const events = yield* watching(nats, "broker")
      const scope = yield* Scope.make()
      const registration = yield* Registry.register(nats, memberOf("broker", "s1"), { ttlMs: 60_000, heartbeatMs: 500 })
        .pipe(Scope.provide(scope))
      yield* until(() => events.includes("Joined s1"))
      yield* Effect.promise(() => broker.restart())
      yield* registration.update((member) => ({ ...member, slots: 1 })).pipe(
        Effect.repeat({ until: () => events.includes("Changed s1"), schedule: Schedule.spaced(50) })
      )
      assert.deepStrictEqual(events, ["UpToDate", "Joined s1", "Changed s1"])
      yield* Scope.close(scope, Exit.void)
      const brief = yield* Scope.make()
      const second = yield* Registry.register(nats, memberOf("broker", "s2"), { ttlMs: 4_000, heartbeatMs: 500 })
        .pipe(Scope.provide(brief))
      yield* until(() => events.includes("Joined s2"))
      yield* Effect.promise(() => broker.kill())
      const lost = yield* Effect.flip(second.lost)
      yield* Effect.promise(() => broker.start())
      assert.strictEqual(lost.reason, "Unreachable")
      yield* until(() => events.some((event) => event.startsWith("Left s2")))
      yield* Scope.close(brief, Exit.void)
    }))
})

describe("ShardMap", () => {
  it.live("shows what stands there at once and what changes afterwards", () =>
    Effect.gen(function*() {
      const nats = yield* open("shards")
      yield* Streams.meshShardCount(nats, 16)
      const kv = Kv.bucket(nats, Streams.bucketName.shards)
      const ownership = (owner: string): ShardOwnership => ({
        owner: MemberId.make(owner),
        startup: StartupId.make("s"),
        ledger: Ledger.make("l"),
        ledgers: []
      })
      const first = yield* kv.create("shard.3", JSON.stringify(ownership("a")))
      const map = yield* ShardMap.make(nats)
      assert.strictEqual(map.ownerOf(Shard.make(3))?.owner, "a")
      assert.deepStrictEqual([...map.all().keys()], [3])
      const changes: Array<string> = []
      yield* map.onChange((shard, owned) => changes.push(`${shard} ${owned?.ownership.owner}`))
      yield* kv.update("shard.3", JSON.stringify(ownership("b")), first._tag === "Won" ? first.revision : 0)
      yield* until(() => changes.length === 1)
      assert.deepStrictEqual(changes, ["3 b"])
      assert.strictEqual(map.ownerOf(Shard.make(4)), undefined)
    }))
})
