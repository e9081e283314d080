import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { ClaimResult } from "../../shared/protocol/Claim.ts"
import { EnvList, EnvView } from "../../shared/protocol/Env.ts"
import { PoolList, PoolView } from "../../shared/protocol/Pool.ts"
import { Deleted } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { about, apply, claim, connect, pool, quick, scheduler, snapshot, until } from "./PoolSchedulers.ts"

layer(Broker.layer(), { timeout: "180 seconds", excludeTestServices: true })("pool-scheduler: envs and sizes", (it) => {
  it.effect("a claim to an env goes to the best member, to the next when one is full; the same id again is the same claim through any replica", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-env-a")
      const small = yield* apply(nats, "env-small", { ...quick, size: 1, queueLengthMax: 1, labels: { kind: "cpu" } })
      yield* scheduler("ps-env-b")
      const large = yield* apply(nats, "env-large", { ...quick, size: 3, queueLengthMax: 2, labels: { kind: "cpu" } })
      yield* apply(nats, "env-other", { ...quick, size: 5, labels: { kind: "gpu" } })
      yield* Rpc.call(nats, Subject.rpc.envs("apply"), EnvView, {
        name: "cpus",
        members: [{ pool: "env-small", priority: 1 }],
        selector: { kind: "cpu" }
      })
      const subject = Subject.rpc.env("default", "cpus")
      const claimEnv = (request: object = {}) => Rpc.call(nats, subject, ClaimResult, request, { timeoutMs: 60_000 })
      // Known to both replicas, each with the counters that it does not own itself.
      yield* until(
        Rpc.call(nats, Subject.rpc.envs("list"), EnvList, {}),
        ({ items }) =>
          items.length === 1 && items[0]?.members.length === 2 && items[0].members.every((_) => _.standing === "Open")
      )
      const first = yield* claimEnv({ claimId: "e1" })
      assert.deepStrictEqual([first.outcome, first.pool], ["Claimed", small], "priority before everything")
      for (let i = 0; i < 6; i++) {
        assert.deepStrictEqual((yield* claimEnv({ claimId: "e1" })).sandbox?.uid, first.sandbox?.uid)
      }
      assert.strictEqual((yield* snapshot(nats, small)).claimed + (yield* snapshot(nats, large)).claimed, 1)
      // One waits there: the queue is full, and the next goes to the other member.
      const waiting = yield* Effect.forkChild(claim(nats, small, { claimId: "parked" }), { startImmediately: true })
      yield* until(snapshot(nats, small), (_) => _.queueLen === 1)
      const second = yield* claimEnv()
      assert.deepStrictEqual([second.outcome, second.pool], ["Claimed", large])
      const batch = yield* claimEnv({ count: 2 })
      assert.deepStrictEqual([batch.outcome, batch.pool, batch.sandboxes?.length], ["Claimed", large, 2])
      yield* about(nats, small, "release", { claimId: "e1" })
      assert.strictEqual((yield* Fiber.join(waiting)).outcome, "Claimed")
      assert.strictEqual((yield* claimEnv({ claimId: "e1" })).outcome, "Released", "remembered")
      // Every member full: the last refusal is the answer.
      const full = [small, large, large].map((of, i) => ({ of, claimId: `wait-${i}` }))
      const parked = yield* Effect.forEach(
        full,
        ({ claimId, of }) => Effect.forkChild(claim(nats, of, { claimId }), { startImmediately: true })
      )
      yield* until(snapshot(nats, large), (_) => _.queueLen === 2)
      yield* until(snapshot(nats, small), (_) => _.queueLen === 1)
      assert.strictEqual((yield* claimEnv()).outcome, "QueueFull")
      for (const { claimId, of } of full) yield* about(nats, of, "cancel", { claimId })
      yield* Effect.forEach(parked, (_) => Fiber.join(_))
      const missing = yield* Effect.flip(Rpc.call(nats, Subject.rpc.env("default", "none"), ClaimResult, {}))
      assert.strictEqual(missing.code, "NoSuchEnv")
      assert.isTrue((yield* Rpc.call(nats, Subject.rpc.envs("delete"), Deleted, { name: "cpus" })).deleted)
      assert.strictEqual((yield* Effect.flip(claimEnv())).code, "NoSuchEnv")
    }))

  it.effect("an autoscaled pool follows its demand from zero and back, drains, and says what is wrong with a spec", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* scheduler("ps-scale")
      const bad = yield* Effect.flip(
        Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, {
          name: "auto",
          ...quick,
          autoscale: { policies: [{ policy: "schedule", config: { windows: [{ cron: "nope", duration: "1h" }] } }] }
        })
      )
      assert.strictEqual(bad.path, "autoscale.policies[0].config.windows[0].cron")
      assert.strictEqual(
        (yield* Effect.flip(Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, { name: "auto", ...quick }))).path,
        "size"
      )
      yield* Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, {
        name: "auto",
        ...quick,
        max: 3,
        minIdle: 0,
        autoscale: { downCooldown: "100ms", policies: [{ policy: "buffer", config: { spare: 0 } }] }
      })
      const of = pool("auto")
      assert.strictEqual((yield* snapshot(nats, of)).total, 0)
      const held = yield* Effect.forEach(["s1", "s2", "s3"], (claimId) => claim(nats, of, { claimId }), {
        concurrency: 3
      })
      assert.deepStrictEqual(held.map((_) => _.outcome), ["Claimed", "Claimed", "Claimed"])
      assert.strictEqual((yield* claim(nats, of, { deadline: "200ms" })).outcome, "DeadlineExceeded", "max is 3")
      for (const { claimId } of held) yield* about(nats, of, "release", { claimId })
      yield* until(snapshot(nats, of), (_) => _.total === 0 && _.target === 0)
      const scaled = yield* Rpc.call(nats, Subject.rpc.pools("scale"), PoolView, { name: "auto", minIdle: 2 })
      assert.strictEqual(scaled.spec.max, 3, "nothing else changes")
      yield* until(snapshot(nats, of), (_) => _.idleReady === 2)
      const session = (yield* snapshot(nats, of)).sessionId
      yield* Rpc.call(nats, Subject.rpc.pools("scale"), PoolView, { name: "auto", drain: true })
      yield* until(snapshot(nats, of), (_) => _.total === 0)
      const refused = yield* claim(nats, of)
      assert.deepStrictEqual([refused.outcome, refused.error?.code], ["Failed", "PoolDraining"])
      yield* Rpc.call(nats, Subject.rpc.pools("scale"), PoolView, { name: "auto", drain: false })
      yield* until(snapshot(nats, of), (_) => _.idleReady === 2 && _.sessionId === session)
    }))

  it.effect("! 1.10 the scheduler of a deleted pool is stopped: who waits is answered, later claims find no pool, its sandboxes go", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const service = yield* scheduler("ps-delete")
      const of = yield* apply(nats, "doomed", { ...quick, size: 1 })
      yield* claim(nats, of, { claimId: "held" })
      const waiting = yield* Effect.forkChild(claim(nats, of, { claimId: "waits" }), { startImmediately: true })
      yield* until(snapshot(nats, of), (_) => _.queueLen === 1)
      assert.isTrue((yield* Rpc.call(nats, Subject.rpc.pools("delete"), Deleted, { name: "doomed" })).deleted)
      assert.strictEqual((yield* Fiber.join(waiting)).outcome, "ShuttingDown")
      const later = yield* until(claim(nats, of), (_) => _.outcome === "NoSuchPool")
      assert.strictEqual(later.error?.code, "NoSuchPool")
      const list = yield* Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {})
      assert.isUndefined(list.items.find((_) => _.name === "doomed"))
      yield* service.stop
    }))

  it.effect("! 1.8 a claim without an id whose caller has left the broker while it waited is released at once", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const broker = yield* Broker
      yield* scheduler("ps-gone")
      const of = yield* apply(nats, "gone", { ...quick, size: 1 })
      yield* claim(nats, of, { claimId: "held" })
      yield* Effect.scoped(Effect.gen(function*() {
        const leaving = yield* open({ url: broker.url, name: "leaving" })
        leaving.requestUnsafe(Subject.rpc.pool(of, "claim"), "{\"ttl\":\"1h\",\"deadline\":\"1m\"}", {}, () => {})
        yield* until(snapshot(nats, of), (_) => _.queueLen === 1)
      }))
      yield* Effect.sleep(150) // the claim has to have waited
      yield* about(nats, of, "release", { claimId: "held" })
      // Granted to nobody, given back at once: far before its lease of an hour.
      yield* until(snapshot(nats, of), (_) => _.lastDispatchAt !== null && _.queueLen === 0 && _.idleReady === 1)
    }))
})
