import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { ownerKey } from "../../services/pool-scheduler/PoolOwnership.ts"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ClaimResult } from "../../shared/protocol/Claim.ts"
import { DequeueAnswer, SettleAnswer, type TaskAssignment } from "../../shared/protocol/Dispatch.ts"
import type { LaneBatch } from "../../shared/protocol/Lane.ts"
import { PoolList, PoolView } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { about, apply, claim, connect, pool, quick, scheduler, snapshot, until } from "./PoolSchedulers.ts"

layer(Broker.layer(), { timeout: "180 seconds", excludeTestServices: true })("pool-scheduler", (it) => {
  it.effect("claims: granted, the same id again, renewed, released, refused when full, deadline, cancel, batch", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-claims")
      const of = yield* apply(nats, "claims", { ...quick, size: 2, queueLengthMax: 2 })
      const first = yield* claim(nats, of, { claimId: "a", holder: "me" })
      assert.strictEqual(first.outcome, "Claimed")
      assert.isDefined(first.sandbox)
      assert.isDefined(first.leaseExpiresAt)
      // The same id is the same claim, not a second sandbox.
      assert.deepStrictEqual(yield* claim(nats, of, { claimId: "a" }), first)
      assert.strictEqual((yield* snapshot(nats, of)).claimed, 1)
      const renewed = yield* about(nats, of, "renew", { claimId: "a", ttl: "2h" })
      assert.isAbove(Date.parse(renewed.leaseExpiresAt ?? ""), Date.parse(first.leaseExpiresAt ?? "") + 3_600_000)

      const second = yield* claim(nats, of)
      assert.strictEqual(second.outcome, "Claimed")
      assert.notStrictEqual(second.sandbox?.uid, first.sandbox?.uid)
      // Nothing idle: a short deadline is answered at its time, two wait, the third is refused at once.
      const late = yield* claim(nats, of, { deadline: "50ms" })
      assert.strictEqual(late.outcome, "DeadlineExceeded")
      const waiting = yield* Effect.forkChild(claim(nats, of, { claimId: "w1" }), { startImmediately: true })
      const cancelled = yield* Effect.forkChild(claim(nats, of, { claimId: "w2" }), { startImmediately: true })
      yield* until(snapshot(nats, of), (_) => _.queueLen === 2)
      const full = yield* claim(nats, of)
      assert.strictEqual(full.outcome, "QueueFull")
      assert.deepStrictEqual(full.error?.details, { queueLen: 2 })
      assert.strictEqual((yield* about(nats, of, "cancel", { claimId: "w2" })).outcome, "Cancelled")
      assert.strictEqual((yield* Fiber.join(cancelled)).outcome, "Cancelled")

      assert.strictEqual((yield* about(nats, of, "release", { claimId: "a" })).outcome, "Released")
      const granted = yield* Fiber.join(waiting)
      assert.strictEqual(granted.outcome, "Claimed")
      assert.strictEqual(granted.sandbox?.uid, first.sandbox?.uid, "the sandbox that was given back")
      assert.strictEqual((yield* about(nats, of, "get", { claimId: "a" })).outcome, "Released")

      for (const claimId of ["w1", second.claimId]) yield* about(nats, of, "release", { claimId })
      yield* until(snapshot(nats, of), (_) => _.idleReady === 2)
      const batch = yield* claim(nats, of, { claimId: "b", count: 2 })
      assert.deepStrictEqual([batch.claimId, batch.outcome, new Set(batch.sandboxes?.map((_) => _.uid)).size], [
        "b",
        "Claimed",
        2
      ])
      assert.deepStrictEqual(yield* claim(nats, of, { claimId: "b", count: 2 }), batch, "the same batch")
      assert.strictEqual((yield* about(nats, of, "release", { claimId: "b" })).outcome, "Released")
      yield* until(snapshot(nats, of), (_) => _.idleReady === 2)
      // Its record is stored: told from there to whoever asks later.
      const stored = yield* Read.lastMessage(nats, Streams.name.results, "heddle.pool.default.claims.result.b")
      assert.strictEqual(Option.isSome(stored) && JSON.parse(stored.value.text).outcome, "Released")
      const tooMany = yield* claim(nats, of, { count: 3 })
      assert.deepStrictEqual([tooMany.outcome, tooMany.error?.path], ["Invalid", "count"])
    }))

  it.effect("what cannot be claimed is answered with the reason", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-refusals")
      const of = yield* apply(nats, "refusals", { ...quick, size: 1 })
      const missing = yield* claim(nats, pool("nowhere"), { claimId: "x" })
      assert.deepStrictEqual([missing.outcome, missing.claimId, missing.error?.code], ["NoSuchPool", "x", "NoSuchPool"])
      const invalid = yield* claim(nats, of, { claimId: "y", priority: 12 })
      assert.deepStrictEqual([invalid.outcome, invalid.claimId, invalid.error?.path], ["Invalid", "y", "priority"])
      const badName = yield* Effect.flip(Rpc.call(nats, "heddle.rpc.pool.default.bad%name.claim", ClaimResult, {}))
      assert.strictEqual(badName.code, "InvalidName")
      assert.strictEqual((yield* Effect.flip(about(nats, of, "release", { claimId: "unknown" }))).code, "NoSuchClaim")
      const provider = yield* Effect.flip(
        Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, { name: "p", provider: "nothing", size: 1 })
      )
      assert.strictEqual(provider.path, "provider")
      const config = yield* Effect.flip(
        Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, {
          name: "p",
          provider: "simulated",
          size: 1,
          config: { conflictRate: 7 }
        })
      )
      assert.strictEqual(config.code, "InvalidMessage")
    }))

  it.effect("durable claims: a result for each, also a malformed one; acknowledged only then", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* Streams.ensure(nats)
      // Published before anybody owns the pool: nothing is lost.
      const of = pool("durable")
      const received: Array<ClaimResult> = []
      yield* nats.subscribe("my.results", (message) => {
        const decoded = Schema.decodeUnknownSync(ClaimResult)(JSON.parse(message.text))
        received.push(decoded)
      })
      yield* Append.publish(nats, Subject.claim(of), JSON.stringify({ claimId: "d1" }), {
        headers: { "Heddle-Reply-To": "my.results" }
      })
      yield* Append.publish(nats, Subject.claim(of), JSON.stringify({ claimId: "d2", priority: "high" }), {
        headers: { "Heddle-Reply-To": "my.results" }
      })
      const anonymous = yield* Append.publish(nats, Subject.claim(of), "{}", {
        headers: { "Heddle-Reply-To": "my.results" }
      })
      const unreadable = yield* Append.publish(nats, Subject.claim(of), "not json", {
        headers: { "Heddle-Reply-To": "my.results" }
      })
      yield* scheduler("ps-durable")
      yield* apply(nats, "durable", { ...quick, size: 0 })
      yield* Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, { name: "durable", ...quick, size: 2 })
      yield* until(Effect.sync(() => received.length), (_) => _ === 4)
      const byId = new Map(received.map((_) => [_.claimId as string, _.outcome]))
      assert.strictEqual(byId.get("d1"), "Claimed")
      assert.strictEqual(byId.get("d2"), "Invalid")
      assert.strictEqual(byId.get(`d${anonymous.sequence}`), "Claimed")
      assert.strictEqual(byId.get(`d${unreadable.sequence}`), "Invalid")
      const stored = yield* Read.lastMessage(nats, Streams.name.results, "heddle.pool.default.durable.result.d1")
      assert.isTrue(Option.isSome(stored))
      // All are acknowledged: the work queue is empty.
      yield* until(Streams.info(nats, Streams.name.claims), (_) => Option.isSome(_) && _.value.state.messages === 0)
    }))

  it.effect("requests reach the owner through any replica; one that ends hands its pools over; a repeated id is answered after that", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* scheduler("ps-one")
      const of = yield* apply(nats, "handed", { ...quick, size: 2 })
      yield* scheduler("ps-two")
      const before = yield* Effect.forEach(Array.from({ length: 20 }), () => snapshot(nats, of))
      const session = before[0]?.sessionId ?? 0
      assert.isTrue(before.every((_) => _.sessionId === session), "one owner answers all")
      const done = yield* claim(nats, of, { claimId: "gone" })
      assert.strictEqual(done.outcome, "Claimed")
      yield* about(nats, of, "release", { claimId: "gone" })
      yield* first.stop
      const after = yield* until(
        snapshot(nats, of).pipe(Effect.retry({ times: 2_000, schedule: Schedule.spaced(50) })),
        (_) => _.idleReady === 2
      )
      assert.isAbove(after.sessionId, session)
      assert.strictEqual(
        (yield* claim(nats, of, { claimId: "gone" })).outcome,
        "Released",
        "answered from the stored result"
      )
      const list = yield* Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {})
      assert.strictEqual(list.items.find((_) => _.name === "handed")?.owner, "ps-two")
    }))

  it.effect("an owner whose key was taken stops: every write of the new one carries a greater session", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-zombie")
      const of = yield* apply(nats, "taken", { ...quick, size: 1 })
      const session = (yield* snapshot(nats, of)).sessionId
      const waiting = yield* Effect.forkChild(
        Effect.andThen(
          claim(nats, of, { claimId: "held", ttl: "1h" }),
          claim(nats, of, { claimId: "waits", deadline: "10m" })
        ),
        { startImmediately: true }
      )
      yield* until(snapshot(nats, of), (_) => _.queueLen === 1 && _.claimed === 1)
      // Somebody else takes the key while the owner lives and serves.
      const bucket = Kv.bucket(nats, Streams.bucketName.pools)
      yield* bucket.put(ownerKey(of), JSON.stringify({ owner: "nobody", startup: "never" }))
      const result = yield* Fiber.join(waiting)
      assert.strictEqual(result.outcome, "ShuttingDown", "what waits is answered, not lost")
      // That somebody is not in the registry: the pool is taken back, under a greater session.
      const after = yield* until(
        snapshot(nats, of).pipe(Effect.retry({ times: 2_000, schedule: Schedule.spaced(50) })),
        (_) => _.idleReady === 1
      )
      assert.isAbove(after.sessionId, session)
    }))

  it.effect("tasks: lane -> assignment -> settled; returned and lost ones come again; a newer session clears the older one's", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-tasks")
      const of = yield* apply(nats, "tasks", { provider: "inline", size: 4 })
      const executor = { executor: "ex-1", startup: "s-1" }
      const dequeue = (max: number, waitMs: number) =>
        Effect.map(
          Rpc.call(nats, Subject.rpc.pool(of, "dequeue"), DequeueAnswer, { ...executor, max, waitMs }, {
            timeoutMs: waitMs + 60_000
          }),
          (_) => _.assignments
        )
      const settle = (what: object) =>
        Rpc.call(nats, Subject.rpc.pool(of, "settle"), SettleAnswer, {
          ...executor,
          registered: [],
          dropped: [],
          returned: [],
          released: [],
          lost: [],
          ...what
        })
      const publish = (session: number, lane: "ready" | "commit" | "cleanup", ...tasks: ReadonlyArray<string>) => {
        const batch = {
          owner: "co-1",
          groups: [{
            shard: 3,
            session,
            entries: tasks.map((task) => ({
              instance: "i1",
              taskInstanceId: `${task}:0:0`,
              type: "noop",
              priority: 5,
              taskPriority: 5,
              enqueuedAt: nats.clock.currentTimeMillisUnsafe()
            }))
          }]
        } as unknown as LaneBatch // names are checked by the scheduler
        return Append.publish(nats, Subject.lane(of, lane), JSON.stringify(batch))
      }
      const names = (assignments: ReadonlyArray<TaskAssignment>) => assignments.map((_) => _.taskInstanceId).sort()
      const laneMessages = Effect.map(
        Streams.info(nats, Streams.name.ready),
        (_) => Option.isSome(_) ? _.value.state.messages : -1
      )

      assert.deepStrictEqual(yield* dequeue(4, 50), [], "nothing waits: an empty answer after the wait")
      const parked = yield* Effect.forkChild(dequeue(4, 30_000), { startImmediately: true })
      yield* publish(10, "ready", "a", "b")
      const got = yield* Fiber.join(parked)
      assert.deepStrictEqual(names(got), ["a:0:0", "b:0:0"], "one lane message is one answer")
      assert.strictEqual(got[0]?.owner, "co-1")
      assert.strictEqual(got[0]?.session, 10)
      assert.isAbove(got[1]?.handOff ?? 0, 0, "nothing else waits: the sandbox may be handed on")
      assert.strictEqual(yield* laneMessages, 1, "not acknowledged before both are settled")
      // Told twice: merged.
      yield* publish(10, "ready", "a", "b")
      yield* until(laneMessages, (_) => _ === 1)
      const [a, b] = got
      assert.isDefined(a)
      assert.isDefined(b)
      yield* settle({ registered: [a.claimId] })
      assert.strictEqual(yield* laneMessages, 1)
      yield* settle({ returned: [b.claimId] })
      const again = yield* dequeue(1, 30_000)
      assert.deepStrictEqual(names(again), [b.taskInstanceId], "what was returned comes again")
      assert.notStrictEqual(again[0]?.claimId, b.claimId)
      yield* settle({ dropped: again.map((_) => _.claimId) })
      yield* until(laneMessages, (_) => _ === 0)
      yield* settle({ released: [a.claimId] })
      yield* settle({ released: [a.claimId] })
      yield* until(snapshot(nats, of), (_) => _.idleReady === 4 && _.claimed === 0)

      // A newer session of the shard clears what waits under the older one; the older one is dropped from then on.
      yield* publish(10, "ready", "c", "d")
      yield* publish(11, "commit", "e")
      yield* publish(10, "cleanup", "f")
      yield* until(laneMessages, (_) => _ === 1)
      assert.deepStrictEqual(names(yield* dequeue(4, 30_000)), ["e:0:0"])
    }))

  it.effect("an executor that leaves: what it had not registered comes again, what it held is free", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-left")
      const of = yield* apply(nats, "left", { provider: "inline", size: 2 })
      const registry = Kv.bucket(nats, Streams.bucketName.registry)
      const member = (startup: string) =>
        JSON.stringify({
          member: "ex-left",
          startup,
          role: "task-executor",
          host: "h",
          pid: 1,
          version: "0",
          startedAt: "2026-11-21T10:00:00.000Z"
        })
      yield* registry.put("task-executor.ex-left", member("s-1"))
      const dequeue = (startup: string, max: number) =>
        Effect.map(
          Rpc.call(nats, Subject.rpc.pool(of, "dequeue"), DequeueAnswer, {
            executor: "ex-left",
            startup,
            max,
            waitMs: 30_000
          }, { timeoutMs: 90_000 }),
          (_) => _.assignments
        )
      const entry = (task: string) => ({
        instance: "i2",
        taskInstanceId: `${task}:0:0`,
        type: "noop",
        priority: 5,
        taskPriority: 5,
        enqueuedAt: nats.clock.currentTimeMillisUnsafe()
      })
      yield* Append.publish(
        nats,
        Subject.lane(of, "ready"),
        JSON.stringify({ owner: "co", groups: [{ shard: 1, session: 1, entries: [entry("a"), entry("b")] }] })
      )
      const got = yield* dequeue("s-1", 2)
      assert.strictEqual(got.length, 2)
      yield* Rpc.call(nats, Subject.rpc.pool(of, "settle"), SettleAnswer, {
        executor: "ex-left",
        startup: "s-1",
        registered: [got[0]?.claimId],
        dropped: [],
        returned: [],
        released: [],
        lost: []
      })
      assert.strictEqual((yield* snapshot(nats, of)).idleReady, 0)
      // Another life of the same name: the first one is gone.
      yield* registry.put("task-executor.ex-left", member("s-2"))
      yield* until(snapshot(nats, of), (_) => _.idleReady === 2)
      const again = yield* dequeue("s-2", 2)
      assert.deepStrictEqual(
        again.map((_) => _.taskInstanceId),
        [got[1]?.taskInstanceId],
        "only what was not registered"
      )
    }))
})
