import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type Member, MemberList, type MemberRole } from "../../shared/protocol/Member.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { FailoverList, type SystemEvent } from "../../shared/protocol/SystemEvent.ts"
import { Ledger, MemberId, StartupId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"
import * as FailoverService from "./FailoverService.ts"
import * as Main from "./main.ts"
import * as SystemEventBus from "./SystemEventBus.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

/** Between two looks at something that another process changes. */
const everyTick = Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "90 seconds" }))
const connect = (name: string) => Nats.open({ url: broker.url, name })

const member = (role: MemberRole, name: string, startup: string): Member => ({
  role,
  member: MemberId.make(name),
  startup: StartupId.make(startup),
  host: "here",
  pid: 1,
  version: "1.0.0",
  startedAt: "2026-11-21T10:00:00.000Z",
  ...(role === "coordinator" ? { ledger: Ledger.make(`${name}-${startup}`) } : {})
})

/** A registration that nobody renews: a process that was killed right after it. */
const registerAndDie = (nats: Nats.Connection, one: Member, ttlMs = 1_000) =>
  Kv.bucket(nats, Streams.bucketName.registry).put(Registry.keyOf(one), JSON.stringify(one), { ttlMs })

/** Waits for the event with this id, whoever published it. */
const seen = (nats: Nats.Connection, id: string) =>
  SystemEventBus.follow(nats).pipe(
    Stream.filter((item) => item._tag === "Event" && item.event.id === id),
    Stream.take(1),
    Stream.runDrain,
    Effect.timeout("90 seconds")
  )
const idsOnBus = (nats: Nats.Connection) =>
  Read.readRange(nats, Streams.name.system, { filter: "heddle.system.*", from: 1 }).pipe(
    Stream.map((message) => (JSON.parse(message.text) as SystemEvent).id),
    Stream.runCollect
  )

/** The lease outlasts a standstill of this machine; who closes in order gives it back at once. */
const replica = (nats: Nats.Connection, startup: string, graceMs = 1_000) =>
  FailoverService.make(nats, { startup: StartupId.make(startup), graceMs, leaseMs: 6_000 })

it.live("two replicas: one event for a member that is gone, none for one that came back", () =>
  Effect.gen(function*() {
    const nats = yield* connect("test")
    yield* Streams.ensure(nats)
    const one = yield* connect("one")
    const two = yield* connect("two")
    // long enough for this process to be back in time, even if it stands still for a while
    const graceMs = 4_000
    const first = yield* replica(one, "r1", graceMs)
    const second = yield* replica(two, "r2", graceMs)
    const back = member("task-executor", "back", "b1")
    yield* registerAndDie(nats, back)
    const gone = member("task-executor", "gone", "g1")
    yield* registerAndDie(nats, gone)
    // It is there again, under the same startup id, as soon as its entry has expired: within the grace period.
    yield* Kv.bucket(nats, Streams.bucketName.registry).watch("task-executor.").pipe(
      Stream.filter((event) => event._tag === "Removed" && event.key === Registry.keyOf(back)),
      Stream.take(1),
      Stream.runDrain
    )
    yield* registerAndDie(nats, back, 60_000)
    yield* seen(nats, "WORKER_FAILOVER.gone.g1")
    // Another one that goes later shows that the time of the first was over.
    yield* registerAndDie(nats, member("task-executor", "later", "l1"))
    yield* seen(nats, "WORKER_FAILOVER.later.l1")
    assert.deepStrictEqual(yield* idsOnBus(nats), ["WORKER_FAILOVER.gone.g1", "WORKER_FAILOVER.later.l1"])
    assert.strictEqual([first, second].filter((service) => service.isActive()).length, 1)
    for (const service of [first, second]) {
      assert.isTrue(service.members().some((known) => known.member === back.member))
    }
  }), 180_000)

it.live(
  "an owner that died while no failover service ran is found, and the executors that went with it",
  () =>
    Effect.gen(function*() {
      const nats = yield* connect("test")
      yield* Streams.ensure(nats)
      const dead = member("coordinator", "dead", "d1")
      yield* Kv.bucket(nats, Streams.bucketName.shards).put(
        "shard.7",
        JSON.stringify({ owner: dead.member, startup: dead.startup, ledger: dead.ledger, ledgers: [dead.ledger] })
      )
      yield* Kv.bucket(nats, Streams.bucketName.pools).put(
        "owner.default.gpu",
        JSON.stringify({ owner: "p1", startup: "y1" })
      )
      yield* registerAndDie(nats, member("task-executor", "unseen", "u1"))
      // This service sees the executor and ends before the executor does.
      yield* Effect.scoped(Effect.gen(function*() {
        const before = yield* replica(yield* connect("before"), "r3")
        yield* Kv.bucket(nats, Streams.bucketName.registry).watch("roster.").pipe(
          Stream.filter((event) => event._tag === "Put" && event.value.includes("unseen")),
          Stream.take(1),
          Stream.runDrain
        )
        assert.isTrue(before.isActive())
      }))
      yield* Kv.bucket(nats, Streams.bucketName.registry).watch("task-executor.").pipe(
        Stream.scan(() => new Set<string>(), (left, event) =>
          event._tag === "Put"
            ? left.add(event.key)
            : event._tag === "Removed"
            ? (left.delete(event.key), left)
            : left),
        Stream.filter((left) => !left.has("task-executor.unseen")),
        Stream.take(1),
        Stream.runDrain
      )
      yield* replica(yield* connect("after"), "r4")
      yield* seen(nats, "MASTER_FAILOVER.dead.d1")
      yield* seen(nats, "SCHEDULER_FAILOVER.p1.y1")
      yield* seen(nats, "WORKER_FAILOVER.unseen.u1")
    }),
  180_000
)

it.live(
  "a standby takes over; what the active one decided and did not publish is published",
  () =>
    Effect.gen(function*() {
      const nats = yield* connect("test")
      yield* Streams.ensure(nats)
      const activeScope = yield* Scope.make()
      const first = yield* replica(yield* connect("one"), "r5").pipe(Scope.provide(activeScope))
      const second = yield* replica(yield* connect("two"), "r6")
      yield* Effect.sync(() => first.isActive()).pipe(
        Effect.repeat({ until: (isActive) => isActive, schedule: everyTick })
      )
      assert.isFalse(second.isActive())
      yield* registerAndDie(nats, member("task-executor", "orphan", "o1"))
      yield* Kv.bucket(nats, Streams.bucketName.registry).watch("task-executor.").pipe(
        Stream.filter((event) => event._tag === "Removed" && event.key === "task-executor.orphan"),
        Stream.take(1),
        Stream.runDrain
      )
      // Within the grace period of the suspicion: the decision will be the standby's.
      yield* Scope.close(activeScope, Exit.void)
      yield* seen(nats, "WORKER_FAILOVER.orphan.o1")
      assert.strictEqual((yield* idsOnBus(nats)).filter((id) => id === "WORKER_FAILOVER.orphan.o1").length, 1)
      yield* Effect.sync(() => second.isActive()).pipe(
        Effect.repeat({ until: (isActive) => isActive, schedule: everyTick })
      )
    }),
  180_000
)

it.live(
  "the service answers member.list and failover.list, and reads progress from the bus",
  () =>
    Effect.gen(function*() {
      const nats = yield* connect("test")
      yield* Streams.ensure(nats)
      const service = Main.layer({
        member: MemberId.make("failover-a"),
        version: "1.0.0",
        graceMs: 1_000,
        leaseMs: 1_500
      }).pipe(
        Layer.provide(Nats.Nats.layer({ url: broker.url, name: "failover-a" }))
      )
      yield* Layer.build(service)
      yield* registerAndDie(nats, member("coordinator", "c9", "n1"))
      yield* seen(nats, "MASTER_FAILOVER.c9.n1")
      yield* SystemEventBus.publish(nats, {
        _tag: "FAILOVER_PROGRESS",
        id: "progress-1",
        at: 4_102_444_800_000,
        by: MemberId.make("c8"),
        of: "MASTER_FAILOVER.c9.n1",
        shards: 3,
        instances: 20,
        tasks: 5,
        done: true
      })
      const record = yield* Rpc.call(nats, Subject.rpc.failoverList, FailoverList, {}).pipe(
        Effect.map(({ items }) => items.find((item) => item.id === "MASTER_FAILOVER.c9.n1")),
        Effect.repeat({ until: (record) => record?.state === "Done", schedule: everyTick })
      )
      assert.deepInclude(record, { kind: "MASTER_FAILOVER", subject: "c9/n1", shards: 3, instances: 20, tasks: 5 })
      const members = yield* Rpc.call(nats, Subject.rpc.memberList, MemberList, {})
      assert.isTrue(members.items.some((one) => one.role === "failover" && one.member === "failover-a"))
      const refused = yield* Effect.flip(Rpc.call(nats, Subject.rpc.failoverList, FailoverList, { limit: "many" }))
      assert.deepInclude(refused, { code: "InvalidMessage", path: "limit" })
    }),
  180_000
)

it.live(
  "kill -9 of the broker: nobody is reported gone who is there again in time, who is not is",
  () =>
    Effect.gen(function*() {
      const nats = yield* connect("test")
      yield* Streams.ensure(nats)
      yield* replica(yield* connect("one"), "r7")
      const alive = member("task-executor", "alive", "a1")
      const registration = yield* Registry.register(yield* connect("alive"), alive, { ttlMs: 30_000 })
      yield* registerAndDie(nats, member("task-executor", "lost", "z1"), 2_000)
      const before = (yield* idsOnBus(nats)).length
      yield* Effect.promise(() => broker.restart())
      yield* seen(nats, "WORKER_FAILOVER.lost.z1")
      assert.deepStrictEqual((yield* idsOnBus(nats)).slice(before), ["WORKER_FAILOVER.lost.z1"])
      yield* registration.update((one) => ({ ...one, slots: 3 }))
    }),
  180_000
)
