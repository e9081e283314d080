import { assert, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Purge from "../../shared/jetstream/Purge.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { JournalMessage } from "../../shared/protocol/Journal.ts"
import { fnv1a } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowList, WorkflowResult } from "../../shared/protocol/Workflow.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as Script from "../conformance/Script.ts"
import { SkippingClock } from "../conformance/SkippingClock.ts"
import { type Case, coordinator, leaksNothing, Mesh, type Running, task, until } from "../conformance/World.ts"

// Instances that wait long: out of memory, and back when something concerns them.

const shards = 4
const hour = 3_600_000
let names = 0

class Site extends Context.Service<Site, { readonly mesh: Mesh }>()("heddle/test/passivation/Site") {
  static readonly layer = Layer.effect(Site, Effect.map(Mesh.make("ex-1"), (mesh) => ({ mesh }))).pipe(
    Layer.provideMerge(Broker.layer()),
    Layer.orDie
  )
}

const begin = (clock: SkippingClock) =>
  Effect.gen(function*() {
    const running = yield* coordinator(`co-${++names}`, { clock, shardCount: shards })
    yield* until(`${running.name} serves all shards`, Effect.sync(() => running.stats().shards === shards))
    return running
  })
/** `dead` as after kill -9, and the registry has noticed; another has everything. */
const replace = (mesh: Mesh, dead: Running) =>
  Effect.gen(function*() {
    dead.cut()
    mesh.executor.isGone(dead.name)
    yield* Kv.bucket(mesh.nats, Streams.bucketName.registry).delete(`coordinator.${dead.name}`)
    yield* until(
      "the registry has noticed",
      Effect.map(Registry.members(mesh.nats), (members) => !members.some(({ member }) => member === dead.name))
    )
    return yield* begin(dead.clock)
  })
const passive = (running: Running, count: number, withinMs?: number) =>
  until(
    `${count} are out of memory`,
    Effect.sync(() => running.stats().passive === count && running.stats().live === 0),
    withinMs
  ).pipe(Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}: ${JSON.stringify(running.stats())}`))))
/** Skips until the sweep has found what is idle. */
const swept = (running: Running, count: number) =>
  until(
    `${count} are out of memory`,
    Effect.sync(() => {
      if (running.stats().passive === count) return true
      running.clock.skip(5_000)
      return false
    })
  ).pipe(Effect.catchDefect((defect) => Effect.die(new Error(`${String(defect)}: ${JSON.stringify(running.stats())}`))))
const codeOf = <A>(effect: Effect.Effect<A, ContractError>) =>
  Effect.map(Effect.result(effect), (result) => Result.isFailure(result) ? result.failure.code : "none")
const sha256: Chain.Sha256 = (text) => createHash("sha256").update(text).digest("hex")
/** The whole of its chain is in the history. */
const isWhole = (one: Case) =>
  Effect.map(one.history, (items) => {
    const entries = items.map(({ entry }) => entry)
    assert.isAbove(entries.length, 0)
    assert.strictEqual(Chain.verifyChain(entries, sha256), undefined)
  })

const decodeJournal = Decode.decoder(JournalMessage)
/** Entries of the instances whose ids begin so, as the journal has them. */
const readJournal = (mesh: Mesh, prefix: string) =>
  Read.readRange(mesh.nats, Streams.name.journal, { filter: "heddle.journal.*", from: 1 }).pipe(
    Stream.runCollect,
    Effect.orDie,
    Effect.map((messages) =>
      messages.flatMap(({ text }) => Result.getOrThrow(decodeJournal(text)).records).flatMap((record) =>
        record._tag === "Entry" && record.instance.startsWith(prefix) ? [record] : []
      )
    )
  )

interface Scene {
  readonly mesh: Mesh
  readonly clock: SkippingClock
  readonly first: Running
  readonly start: Mesh["start"]
  readonly executor: Script.Script
}
const scene = <E>(
  body: (scene: Scene) => Effect.fn.Return<Running | void, E, Broker | Scope.Scope>
): Effect.Effect<void, unknown, Site | Broker | Scope.Scope> =>
  Effect.gen(function*() {
    const { mesh } = yield* Site
    const clock = new SkippingClock(yield* Clock.Clock)
    const first = yield* begin(clock)
    mesh.executor.now = () => clock.currentTimeMillisUnsafe()
    mesh.executor.isReachable = true
    const last = yield* Effect.gen(() =>
      body({ mesh, clock, first, start: mesh.start.bind(mesh), executor: mesh.executor })
    )
    const serving = last ?? first
    assert.strictEqual(serving.stats().passive, 0)
    yield* leaksNothing(serving)
    yield* mesh.streamsAreEmpty
    yield* serving.stop
  })

layer(Site.layer, { timeout: 180_000, excludeTestServices: true })("passive instances", (it) => {
  it.effect(
    "2,000 that wait for a delay: out of memory, through two kills, each completes once",
    () =>
      scene(function*({ clock, executor, first, mesh }) {
        const count = 2_000
        yield* Rpc.call(mesh.nats, Subject.rpc.definition("put"), DefinitionPut, {
          metadata: { name: "late" },
          spec: { tasks: [task("a", [], { delay: "1h" }), task("b", ["a"])] }
        })
        const ids = Array.from({ length: count }, (_, i) => `late-${i}`)
        const begunAt = clock.currentTimeMillisUnsafe()
        yield* Effect.forEach(
          ids,
          (instanceId) => mesh.call("start", StartAnswer, { definition: "late", instanceId }, 60_000),
          { concurrency: 128, discard: true }
        )
        const startedBy = clock.currentTimeMillisUnsafe()
        yield* passive(first, count, 90_000)
        assert.deepStrictEqual(first.stats().timers.filter((key) => key.includes("/delay:")), [])

        // they are there for everybody, and asking does not bring them back
        const one = mesh.of(InstanceId.make("late-7"))
        assert.strictEqual((yield* one.taskView("a")).state, "DELAY_EXECUTION")
        assert.strictEqual((yield* one.view).state, "RUNNING")
        yield* mesh.call("start", StartAnswer, { definition: "late", instanceId: one.id })
        const other = mesh.call("start", StartAnswer, { definition: "late", instanceId: one.id, params: { x: 1 } })
        assert.strictEqual(yield* codeOf(other), "Conflict")
        const early = mesh.call("result", WorkflowResult, { instanceId: one.id, wait: "1ms" })
        assert.strictEqual(yield* codeOf(early), "DeadlineExceeded")
        const { items } = yield* mesh.call("list", WorkflowList, { definition: "late", state: "RUNNING", limit: 1_000 })
        assert.strictEqual(items.length, 1_000)
        assert.strictEqual(first.stats().passive, count)

        // no checkpoint knows them yet: the journal is folded, and they leave again
        const second = yield* replace(mesh, first)
        yield* passive(second, count, 90_000)
        // this one finds them in the checkpoint, and loads none
        const headsOf = Effect.forEach(
          Array.from({ length: shards }, (_, shard) => `shard.${shard}`),
          (key) => Kv.bucket(mesh.nats, Streams.bucketName.snapshots).get(key)
        )
        clock.skip(31_000)
        yield* until(
          "a checkpoint is written",
          Effect.map(headsOf, (heads) => heads.every(Option.isSome))
        )
        const third = yield* replace(mesh, second)
        assert.strictEqual(third.stats().live, 0)
        yield* passive(third, count)

        clock.skip(begunAt + hour - 60_000 - clock.currentTimeMillisUnsafe())
        yield* Effect.sleep(50)
        assert.strictEqual(third.stats().passive, count, "not before their time")
        clock.skip(startedBy - begunAt + 61_000)
        yield* until(
          "all have run",
          Effect.sync(() => third.stats().live === 0 && third.stats().passive === 0),
          180_000
        )
        assert.strictEqual(executor.ran.length, 2 * count)
        assert.strictEqual(
          new Set(executor.ran.map((spec) => `${spec.instance}/${spec.taskInstanceId}`)).size,
          2 * count
        )
        for (const id of ids.filter((_, i) => i % 100 === 0)) {
          const done = mesh.of(InstanceId.make(id))
          assert.strictEqual((yield* done.result).state, "SUCCEEDED")
          yield* isWhole(done)
        }
        return third
      }),
    180_000
  )

  it.effect("a retry and the workflow's time-out ring in time, also for whoever took over", () =>
    scene(function*({ clock, first, mesh, start }) {
      const begun = clock.currentTimeMillisUnsafe()
      const retried = yield* start("retried", { tasks: [task("a", [], { retry: { times: 1, interval: "10m" } })] }, {
        a: [Script.fail(), Script.succeed()]
      })
      const timed = yield* start("timed", { tasks: [task("a", [], { delay: "2h" })], timeout: { after: "20m" } })
      yield* passive(first, 2)
      const second = yield* replace(mesh, first)
      yield* passive(second, 2)
      // a minute before its time, however long the above has taken
      clock.skip(begun + 540_000 - clock.currentTimeMillisUnsafe())
      yield* Effect.sleep(50)
      assert.strictEqual((yield* retried.taskView("a")).state, "FAILED", "not before its time")
      clock.skip(60_000 + clock.currentTimeMillisUnsafe() - begun)
      assert.strictEqual((yield* retried.result).state, "SUCCEEDED")
      clock.skip(600_000)
      const { reason, state } = yield* timed.result
      assert.deepStrictEqual([state, reason], ["FAILED", "the workflow timed out"])
      yield* Effect.forEach([retried, timed], isWhole)
      return second
    }))

  it.effect("commands: stop, pause and resume of one that is out of memory", () =>
    scene(function*({ clock, first, start }) {
      const spec = { tasks: [task("a", [], { delay: "1h" }), task("b", ["a"])] }
      const stopped = yield* start("stopped", spec)
      const paused = yield* start("paused", spec)
      yield* passive(first, 2)
      yield* stopped.command("stop")
      assert.strictEqual((yield* stopped.result).state, "STOPPED")
      assert.strictEqual(yield* codeOf(stopped.command("stop")), "Conflict")
      yield* paused.command("pause")
      yield* paused.workflowReaches("PAUSED")
      assert.strictEqual(first.stats().passive, 0)
      clock.skip(2 * hour)
      yield* paused.command("resume")
      assert.strictEqual((yield* paused.result).state, "SUCCEEDED")
      assert.deepStrictEqual(stopped.ran(), [])
      yield* Effect.forEach([stopped, paused], isWhole)
    }))

  it.effect("whatever comes while it is being loaded waits its turn: all are answered, the chain is whole", () =>
    scene(function*({ clock, executor, first, mesh, start }) {
      const all = yield* Effect.forEach(
        Array.from({ length: 40 }),
        () => start("busy", { tasks: [task("a", [], { delay: "1h" }), task("b", ["a"])] }),
        { concurrency: 8 }
      )
      yield* passive(first, all.length)
      // at the moment in which their alarms ring
      clock.skip(hour - 400)
      const codes = yield* Effect.forEach(
        all,
        (one) =>
          Effect.forEach(["stop", "stop", "pause"] as const, (verb) => codeOf(one.command(verb)), {
            concurrency: "unbounded"
          }),
        { concurrency: "unbounded" }
      )
      for (const outcomes of codes) {
        for (const code of outcomes) assert.include(["none", "Conflict"], code)
      }
      clock.skip(1_000)
      for (const one of all) {
        yield* until(`${one.id} rests`, Effect.map(one.view, ({ endedAt }) => endedAt !== undefined))
        yield* isWhole(one)
      }
      yield* until("nothing is held", Effect.sync(() => executor.held.size === 0))
      assert.deepStrictEqual(yield* mesh.call("list", WorkflowList, { definition: "busy", state: "RUNNING" }), {
        items: []
      })
    }))

  it.effect("who waits for the result of one that is out of memory is told, by whatever bus it has then", () =>
    scene(function*({ clock, first, mesh, start }) {
      const one = yield* start("awaited", { tasks: [task("a", [], { delay: "1h" })] })
      yield* passive(first, 1)
      const result = yield* Effect.forkChild(
        mesh.call("result", WorkflowResult, { instanceId: one.id, wait: "24h" }, 60_000)
      )
      yield* until("it waits", Effect.sync(() => first.stats().waiters === 1))
      assert.strictEqual(first.stats().passive, 1, "waiting does not load it")
      clock.skip(hour)
      assert.strictEqual((yield* Fiber.join(result)).state, "SUCCEEDED")
    }))

  it.effect("a slot, and the end of a sub-workflow: who waits for them is loaded by them", () =>
    scene(function*({ executor, first, mesh, start }) {
      const group = { group: { name: "narrow", slots: 1 } }
      const holder = yield* start("holder", { tasks: [task("a", [], group)] }, { a: Script.hold })
      yield* holder.reaches("a", "RUNNING")
      const waiter = yield* start("waiter", { tasks: [task("a", [], group)] })
      yield* Rpc.call(mesh.nats, Subject.rpc.definition("put"), DefinitionPut, {
        metadata: { name: "child" },
        spec: { tasks: [task("inner")] }
      })
      const parent = yield* start("parent", {
        tasks: [task("sub", [], { type: "sub-workflow", with: { definition: "child" } })]
      }, { "sub/inner": Script.hold })
      yield* parent.reaches("sub", "RUNNING")
      yield* swept(first, 2)
      // through a take-over
      const second = yield* replace(mesh, first)
      yield* swept(second, 2)
      yield* holder.succeed("a")
      assert.strictEqual((yield* waiter.result).state, "SUCCEEDED")
      const inner = yield* until(
        "the child runs",
        Effect.sync(() => [...executor.held.values()].find(({ spec }) => spec.taskInstanceId.startsWith("inner")))
      )
      const child = mesh.of(inner.spec.instance)
      yield* child.succeed("inner")
      assert.strictEqual((yield* parent.result).state, "SUCCEEDED")
      yield* Effect.forEach([holder, waiter, parent, child], isWhole)
      return second
    }))

  it.effect("one whose history is lost is told of, keeps its name and holds nobody up", () =>
    scene(function*({ clock, first, mesh, start }) {
      const lost = yield* start("lost", { tasks: [task("a", [], { delay: "1h" })] })
      const other = yield* start("other", { tasks: [task("a", [], { delay: "1h" })] })
      yield* passive(first, 2)
      const subject = Subject.history(Shard.make(fnv1a(lost.id) % shards), lost.id)
      const last = yield* Effect.orDie(Read.lastMessage(mesh.nats, Streams.name.history, subject))
      assert.isTrue(Option.isSome(last))
      yield* Effect.orDie(
        Purge.purge(mesh.nats, Streams.name.history, subject, Option.isSome(last) ? last.value.sequence : 0)
      )
      clock.skip(hour)
      assert.strictEqual((yield* other.result).state, "SUCCEEDED")
      yield* until(
        "it is told of",
        Effect.sync(() => first.logs.some((line) => line.includes(lost.id) && line.includes("could not be loaded")))
      )
      const again = start("lost", { tasks: [task("a")] }, {}, { instanceId: lost.id })
      assert.strictEqual(yield* codeOf(again), "Conflict")
    }))

  it.effect("a semaphore that nobody uses is forgotten, and begun anew, also in the fold of the journal", () =>
    scene(function*({ clock, first, mesh, start }) {
      const spec: Parameters<Mesh["start"]>[1] = { tasks: [task("a")], executionType: "serial-wait" }
      yield* (yield* start("serial", spec)).result
      const begun = readJournal(mesh, "__slots_serial_serial").pipe(
        Effect.map((entries) => entries.filter(({ n }) => n === 1).length),
        Effect.orDie
      )
      yield* until(
        "it is begun anew",
        Effect.gen(function*() {
          assert.strictEqual((yield* (yield* start("serial", spec)).result).state, "SUCCEEDED")
          for (let sweeps = 0; sweeps < 3; sweeps++) {
            clock.skip(31_000)
            yield* Effect.sleep(20)
          }
          return (yield* begun) > 1
        })
      )
      const next = yield* start("serial", spec, { a: Script.hold })
      yield* next.reaches("a", "RUNNING")
      const behind = yield* start("serial", spec)
      yield* behind.workflowReaches("SERIAL_WAIT")
      const second = yield* replace(mesh, first)
      assert.deepStrictEqual(second.logs.filter((line) => line.includes("__slots")), [])
      yield* next.succeed("a")
      assert.strictEqual((yield* behind.result).state, "SUCCEEDED")
      return second
    }))
})
