import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Buffer } from "node:buffer"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import { type Connection, open } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import { fnv1a } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, MemberId, Shard } from "../../shared/protocol/Token.ts"
import { Accepted, StartAnswer, WorkflowList, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import type { Passing } from "../conformance/Severable.ts"
import { coordinator, type CoordinatorOptions, type Running, until } from "../conformance/World.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

// What a coordinator leaves to the next one: checkpoints, the journal after them, the derived history; and what the next one makes of it when parts are late or broken.

const shardCount = 4
const shards = (running: Running) => running.stats().shards === shardCount
const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))
const inline = (name: string, tasks: number, more: object = {}) => ({
  metadata: { name },
  spec: {
    tasks: Array.from({ length: tasks }, (_, index) => ({
      name: `t${index}`,
      type: "noop",
      ...(index === 0 ? {} : { dependsOn: [`t${index - 1}`] })
    })),
    ...more
  }
})

let names = 0
const begin = (onMessage?: (passing: Passing) => boolean, config: CoordinatorOptions["config"] = {}) =>
  Effect.gen(function*() {
    const running = yield* coordinator(`co-${++names}`, {
      shardCount,
      config,
      ...(onMessage === undefined ? {} : { onMessage })
    })
    yield* until(`${running.name} serves all shards`, Effect.sync(() => shards(running)))
    return running
  })
/** `dead` as after kill -9, and the registry has noticed. */
const kill = (nats: Connection, dead: Running) =>
  Effect.gen(function*() {
    dead.cut()
    yield* Kv.bucket(nats, Streams.bucketName.registry).delete(`coordinator.${dead.name}`)
    yield* until(
      "the registry has noticed",
      Effect.map(Registry.members(nats), (members) => !members.some(({ member }) => member === dead.name))
    )
  })
const start = (nats: Connection, instanceId: string, definition: object, more: object = {}) =>
  Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: definition, instanceId, ...more })
const result = (nats: Connection, instanceId: string, wait = "60s") =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait }, { timeoutMs: 70_000 })
const view = (nats: Connection, instanceId: string) =>
  Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
const command = (nats: Connection, verb: Subject.WorkflowVerb, instanceId: string) =>
  Rpc.call(nats, Subject.rpc.workflow(verb), Accepted, { instanceId })
const list = (nats: Connection) => Rpc.call(nats, Subject.rpc.workflow("list"), WorkflowList, { limit: 1_000 })
const History = Schema.Struct({ items: Schema.Array(Schema.Struct({ entry: Schema.Struct({ n: Schema.Int }) })) })
const historyOf = (nats: Connection, instanceId: string) =>
  Effect.map(
    Rpc.call(nats, Subject.rpc.workflow("history"), History, { instanceId, limit: 1_000 }),
    ({ items }) => items.map(({ entry }) => entry.n)
  )
const upTo = (n: number) => Array.from({ length: n }, (_, index) => index + 1)
const snapshots = (nats: Connection) => Kv.bucket(nats, Streams.bucketName.snapshots)
const Head = Schema.fromJsonString(
  Schema.Struct({ sequence: Schema.Int, writer: Schema.String, generation: Schema.Int, pages: Schema.Int })
)
const shardOf = (instance: string) => fnv1a(instance) % shardCount
const headOf = (nats: Connection, instance: string) =>
  Effect.map(
    snapshots(nats).get(`shard.${shardOf(instance)}`),
    Option.map(({ value }) => Schema.decodeSync(Head)(value))
  )
/** A checkpoint is due: until the head of this instance's shard is another one. */
const checkpoint = (nats: Connection, running: Running, instance: string) =>
  Effect.gen(function*() {
    const before = yield* headOf(nats, instance)
    running.clock.skip(31_000)
    return yield* until(
      "a checkpoint is written",
      Effect.map(headOf(nats, instance), (head) => {
        const now = Option.getOrUndefined(head)
        const old = Option.getOrUndefined(before)
        return now !== undefined && (old === undefined || now.sequence > old.sequence) ? now : undefined
      })
    )
  })
const world = Effect.gen(function*() {
  const nats = yield* connect
  const first = yield* begin()
  const name = `ex-${names}`
  const held = new Set<string>()
  const executor = yield* ScriptedExecutor.make(
    nats,
    name,
    (spec) => held.has(spec.instance) ? undefined : { _tag: "SUCCEEDED", outputs: {} }
  )
  /** Reports what is held of this instance, to whoever serves now. */
  const finish = (instance: string, owner: Running) =>
    Effect.gen(function*() {
      held.delete(instance)
      const mine = yield* until(
        `a task of ${instance} is held`,
        Effect.sync(() => [...executor.running.values()].find(({ spec }) => spec.instance === instance))
      )
      executor.report(mine.spec, MemberId.make(owner.name), { _tag: "SUCCEEDED", outputs: {} })
    })
  return { nats, first, executor, held, finish }
})
layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("history", (it) => {
  it.effect("entries that a dead owner had not projected reach the history, before a checkpoint lets them be forgotten", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      held.add("late-history")
      yield* start(nats, "late-history", inline("two", 2))
      yield* until("it runs", Effect.sync(() => executor.ran.length === 1))
      // at once: less than the projector's lag after the start
      yield* kill(nats, first)
      const second = yield* begin()
      yield* checkpoint(nats, second, "late-history")
      yield* kill(nats, second)
      const third = yield* begin()
      yield* finish("late-history", third)
      assert.strictEqual((yield* result(nats, "late-history")).state, "SUCCEEDED")
      yield* until("it has left memory", Effect.sync(() => third.stats().live === 0))
      const ns = yield* historyOf(nats, "late-history")
      assert.deepStrictEqual(ns, upTo(ns.length))
      assert.strictEqual((yield* view(nats, "late-history")).state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, 2, "each task ran once")
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("damaged history", (it) => {
  it.effect("a message of the history that is none stops neither the take-over nor the run", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      held.add("scribbled")
      yield* start(nats, "scribbled", inline("two", 2))
      yield* until("it runs", Effect.sync(() => executor.ran.length === 1))
      yield* kill(nats, first)
      yield* Append.publish(
        nats,
        Subject.history(Shard.make(shardOf("scribbled")), InstanceId.make("scribbled")),
        "not a message of ours"
      )
      const second = yield* begin()
      yield* finish("scribbled", second)
      assert.strictEqual((yield* result(nats, "scribbled")).state, "SUCCEEDED")
      assert.strictEqual((yield* start(nats, "another", inline("one", 1))).instanceId, "another")
      yield* second.stop
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("checkpoints", (it) => {
  it.effect("in several pages are read back by another; a page that a zombie writes late is none of theirs", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      const text = "x".repeat(200 * 1024)
      const large = Array.from({ length: 40 }, (_, index) => `large-${index}`).filter((id) => shardOf(id) === 0)
      for (const id of large) {
        held.add(id)
        yield* start(nats, id, inline("one", 1), { params: { text } })
      }
      yield* until("they run", Effect.sync(() => executor.ran.length === large.length))
      const head = yield* checkpoint(nats, first, large[0] ?? "")
      assert.isAtLeast(head.pages, 3)
      yield* kill(nats, first)
      // an owner of before writes its page of the same generation, late
      const zombie = `page.0.zombie-startup.${head.generation}.0`
      yield* snapshots(nats).put(zombie, JSON.stringify({ instances: [] }))
      const second = yield* begin()
      assert.strictEqual(second.stats().live, large.length)
      for (const id of large) {
        yield* finish(id, second)
        assert.strictEqual((yield* result(nats, id)).state, "SUCCEEDED")
      }
      assert.strictEqual(executor.ran.length, large.length, "each task ran once")
      yield* second.stop
    }))

  it.effect("a kill between pages and head: the checkpoint before counts", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      let isArmed = false
      const first = yield* begin(
        ({ direction, subject }) => isArmed && direction === "out" && subject.startsWith("$KV.heddle_snapshots.shard.")
      )
      const executor = yield* ScriptedExecutor.make(nats, "ex-between", () => undefined)
      yield* start(nats, "before-head", inline("one", 1))
      yield* until("it runs", Effect.sync(() => executor.ran.length === 1))
      const head = yield* checkpoint(nats, first, "before-head")
      yield* start(nats, "before-head-too", inline("one", 1))
      yield* until("it runs", Effect.sync(() => executor.ran.length === 2))
      isArmed = true
      first.clock.skip(31_000)
      yield* until("the head is about to be written", Effect.sync(() => first.isCut()))
      yield* kill(nats, first)
      assert.deepStrictEqual(yield* headOf(nats, "before-head"), Option.some(head))
      const second = yield* begin()
      for (const spec of executor.ran) {
        executor.report(spec, MemberId.make(second.name), { _tag: "SUCCEEDED", outputs: {} })
        assert.strictEqual((yield* result(nats, spec.instance)).state, "SUCCEEDED")
      }
      assert.strictEqual(executor.ran.length, 2)
      yield* checkpoint(nats, second, "before-head-too")
      yield* second.stop
    }))

  it.effect("finished, paused and running instances, and one that had finished before the checkpoint and ran again", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      yield* start(nats, "again", inline("one", 1))
      assert.strictEqual((yield* result(nats, "again")).state, "SUCCEEDED")
      for (const id of ["rests", "runs"]) {
        held.add(id)
        yield* start(nats, id, inline("two", 2))
      }
      yield* until("they run", Effect.sync(() => executor.running.size === 2))
      yield* command(nats, "pause", "rests")
      yield* finish("rests", first)
      assert.strictEqual((yield* result(nats, "rests")).state, "PAUSED")
      yield* until(
        "the paused one has left memory",
        Effect.sync(() => first.stats().live + first.stats().resting === 1)
      )
      yield* checkpoint(nats, first, "again")
      // after the checkpoint: run again, and killed while it runs
      held.add("again")
      yield* command(nats, "rerun", "again")
      yield* until("it runs again", Effect.sync(() => executor.running.size === 2))
      yield* kill(nats, first)
      const second = yield* begin()
      const ours = new Set(["again", "rests", "runs"])
      const listed = Effect.map(list(nats), ({ items }) => items.filter(({ instanceId }) => ours.has(instanceId)))
      const states = Object.fromEntries((yield* listed).map(({ instanceId, state }) => [instanceId, state]))
      assert.deepStrictEqual(states, { again: "RUNNING", rests: "PAUSED", runs: "RUNNING" })
      assert.strictEqual((yield* view(nats, "again")).runNumber, 2)
      yield* finish("again", second)
      assert.strictEqual((yield* result(nats, "again")).state, "SUCCEEDED")
      yield* finish("runs", second)
      assert.strictEqual((yield* result(nats, "runs")).state, "SUCCEEDED")
      yield* command(nats, "resume", "rests")
      assert.strictEqual((yield* result(nats, "rests")).state, "SUCCEEDED")
      assert.deepStrictEqual(
        executor.ran.map((spec) => `${spec.instance}/${spec.task}`).sort(),
        ["again/t0", "again/t0", "rests/t0", "rests/t1", "runs/t0", "runs/t1"]
      )
      // the same ids, after all that
      assert.strictEqual((yield* start(nats, "runs", inline("two", 2))).instanceId, "runs")
      assert.strictEqual((yield* Effect.flip(start(nats, "runs", inline("one", 1)))).code, "Conflict")
      yield* second.stop
      const third = yield* begin()
      assert.strictEqual((yield* start(nats, "runs", inline("two", 2))).instanceId, "runs")
      assert.strictEqual((yield* Effect.flip(start(nats, "runs", inline("one", 1)))).code, "Conflict")
      assert.deepStrictEqual((yield* listed).map(({ state }) => state), ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED"])
      assert.strictEqual(third.stats().live, 0)
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("instances that cannot be restored", (it) => {
  it.effect("are reported and left out while the rest go on; the next owner tries again", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      const good = "good-one"
      const same = (wanted: string) =>
        Array.from({ length: 100 }, (_, i) => `${wanted}-${i}`).find((id) => shardOf(id) === shardOf(good)) ?? ""
      const broken = same("broken")
      const orphan = same("orphan")
      for (const id of [good, broken, orphan]) {
        held.add(id)
        yield* start(nats, id, inline(id === orphan ? "orphaned" : "two", 2))
      }
      yield* until("they run", Effect.sync(() => executor.running.size === 3))
      const ledger = (yield* Registry.members(nats)).find(({ member }) => member === first.name)?.ledger
      assert.isDefined(ledger)
      if (ledger === undefined) return
      yield* kill(nats, first)
      // a flipped bit: the newest entry of one instance again, with another content, as the last message of the dead ledger
      const subject = Subject.journal(ledger)
      const stored = yield* Stream.runCollect(
        Read.readRange(nats, Streams.name.journal, { filter: subject, from: 1 })
      )
      const entry = stored.flatMap(({ text }) =>
        (JSON.parse(text) as { readonly records: ReadonlyArray<Record<string, unknown>> }).records
      ).findLast((record) => record["_tag"] === "Entry" && record["instance"] === broken)
      const last = stored.at(-1)
      yield* Append.append(
        nats,
        subject,
        JSON.stringify({ v: 1, records: [{ ...entry, n: Number(entry?.["n"]) + 1 }] }),
        last?.sequence ?? 0
      )
      // and a definition that is gone
      const definitions = Kv.bucket(nats, Streams.bucketName.definitions)
      const kept = (yield* Stream.runCollect(definitions.list("inline."))).find(({ key }) => key.includes("orphaned"))
      assert.isDefined(kept)
      if (kept === undefined) return
      yield* definitions.delete(kept.key)

      const second = yield* begin()
      const reported = (of: Running, id: string) =>
        of.logs.some((line) => line.includes(id) && line.includes("could not be restored"))
      yield* until("both are reported", Effect.sync(() => reported(second, broken) && reported(second, orphan)))
      assert.strictEqual(second.stats().live, 1)
      yield* finish(good, second)
      assert.strictEqual((yield* result(nats, good)).state, "SUCCEEDED")
      // who waits for one of them is told at once
      const answer = yield* Effect.flip(result(nats, orphan))
      assert.notStrictEqual(answer.code, "DeadlineExceeded")
      // a start of the same id makes no second instance
      assert.strictEqual((yield* Effect.flip(start(nats, broken, inline("one", 1)))).code, "Conflict")

      // a checkpoint does not make anybody forget them
      yield* checkpoint(nats, second, good)
      yield* definitions.put(kept.key, kept.value)
      yield* kill(nats, second)
      const third = yield* begin()
      yield* until("the broken one is reported again", Effect.sync(() => reported(third, broken)))
      assert.isFalse(reported(third, orphan), "what was wrong has been put right")
      yield* finish(orphan, third)
      assert.strictEqual((yield* result(nats, orphan)).state, "SUCCEEDED")
      assert.strictEqual(executor.ran.filter((spec) => spec.instance === orphan).length, 2)
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("many", (it) => {
  it.effect("10,000 unfinished instances are recovered from pages and journal; afterwards nothing but their states is held", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      // they stay in memory
      const passivateAfterMs = 24 * 3_600_000
      const first = yield* begin(undefined, { passivateAfterMs })
      const total = 10_000
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, {
        metadata: { name: "waits" },
        spec: { tasks: [{ name: "a", type: "noop", delay: "10h" }, { name: "b", type: "noop", dependsOn: ["a"] }] }
      })
      const startAll = (from: number, to: number) =>
        Effect.forEach(
          Array.from({ length: to - from }, () => ({})),
          () => Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { definition: "waits" }),
          { concurrency: 256, discard: true }
        )
      yield* startAll(0, total / 2)
      assert.strictEqual(first.stats().live, total / 2)
      first.clock.skip(31_000)
      yield* until(
        "checkpoints of all shards are written",
        Effect.map(
          Effect.forEach([0, 1, 2, 3], (shard) => snapshots(nats).get(`shard.${shard}`)),
          (heads) => heads.every(Option.isSome)
        )
      )
      yield* startAll(total / 2, total)
      yield* kill(nats, first)
      const begun = performance.now()
      const second = yield* begin(undefined, { passivateAfterMs })
      const tookMs = performance.now() - begun
      assert.strictEqual(second.stats().live, total)
      assert.isBelow(tookMs, 20_000)
      assert.isFalse(second.logs.some((line) => line.includes("could not be restored")))
      // what was read from the journal is handed to the history and let go of
      yield* until("nothing but the states is held", Effect.sync(() => second.stats().unprojected === 0))
      assert.strictEqual(
        second.stats().timers.filter((key) => key.includes("/")).length,
        total,
        "each waits for its delay"
      )
      const page = yield* Rpc.call(nats, Subject.rpc.workflow("list"), WorkflowList, { limit: 1_000 })
      assert.strictEqual(page.items.length, 1_000)
      assert.isDefined(page.next)
      yield* second.stop
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("a journal that others write to", (it) => {
  /** Ids whose shards all differ. */
  const apart = (prefix: string) =>
    Array.from(
      { length: shardCount },
      (_, shard) => Array.from({ length: 100 }, (_, i) => `${prefix}-${i}`).find((id) => shardOf(id) === shard) ?? ""
    )
  const problemsOf = (nats: Connection, name: string) =>
    Effect.map(Registry.members(nats), (members) => members.find(({ member }) => member === name)?.problems ?? [])
  const ledgerOf = (nats: Connection, name: string) =>
    until(
      `${name} has a ledger`,
      Effect.map(Registry.members(nats), (members) => members.find(({ member }) => member === name)?.ledger)
    )
  const lastOf = (nats: Connection, subject: string) =>
    Effect.map(Read.lastMessage(nats, Streams.name.journal, subject), (last) => Option.getOrThrow(last).sequence)
  const patient = (nats: Connection, instanceId: string, definition: object) =>
    Rpc.callPatiently(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: definition, instanceId }, {
      timeoutMs: 90_000,
      isRepeatable: true,
      attemptMs: 2_000
    })

  it.effect("noise on a living and on a dead ledger: put aside and told; every shard is served, every instance goes on", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      const ids = apart("noisy")
      for (const id of ids) {
        held.add(id)
        yield* start(nats, id, inline("two", 2))
      }
      yield* until("they run", Effect.sync(() => executor.running.size === ids.length))
      const noise = [Buffer.from([0xff, 0x00, 0x80]), "{", "", "null", `{"v":1,"records":7}`, `{"v":9,"records":[]}`]
      const scribble = (ledger: string) =>
        Effect.forEach(noise, (body) => nats.request(`heddle.journal.${ledger}`, body), { discard: true })
      // the owner is fenced by what it did not write, and begins anew
      const ledger = yield* ledgerOf(nats, first.name)
      yield* scribble(ledger)
      yield* patient(nats, "wakes-it", inline("one", 1))
      yield* until("another life serves all shards", Effect.sync(() => shards(first)))
      yield* until(
        "the registry tells",
        Effect.map(problemsOf(nats, first.name), (problems) => problems.some((one) => one.includes("JournalForeign")))
      )
      const [one = "", ...others] = ids
      yield* finish(one, first)
      assert.strictEqual((yield* result(nats, one)).state, "SUCCEEDED")

      const second = yield* ledgerOf(nats, first.name)
      assert.notStrictEqual(second, ledger)
      yield* kill(nats, first)
      yield* scribble(second)
      const next = yield* begin()
      assert.strictEqual(next.stats().shards, shardCount)
      assert.isTrue(next.logs.some((line) => line.includes("JournalForeign") && line.includes(second)))
      for (const id of others) {
        yield* finish(id, next)
        assert.strictEqual((yield* result(nats, id)).state, "SUCCEEDED")
      }
      assert.strictEqual(executor.ran.length, ids.length * 2 + 1, "each task ran once")
    }))

  it.effect("an append that cannot be read here keeps the shards that it may concern from being served, and no other", () =>
    Effect.gen(function*() {
      const { executor, finish, first, held, nats } = yield* world
      const ids = apart("newer")
      for (const id of ids) {
        held.add(id)
        yield* start(nats, id, inline("two", 2))
      }
      yield* until("they run", Effect.sync(() => executor.running.size === ids.length))
      const subject = Subject.journal(yield* ledgerOf(nats, first.name))
      yield* kill(nats, first)
      // as a newer version would write it: fenced, of shard 1, and of a kind that this one does not know
      const newer = JSON.stringify({ v: 1, records: [{ _tag: "OfANewerVersion", shard: 1, instance: ids[1] }] })
      assert.strictEqual((yield* Append.append(nats, subject, newer, yield* lastOf(nats, subject)))._tag, "Acked")
      const second = yield* coordinator("co-newer", { shardCount })
      yield* until("the others are served", Effect.sync(() => second.stats().shards === shardCount - 1))
      yield* until(
        "it is told",
        Effect.map(
          problemsOf(nats, second.name),
          (problems) => problems.some((one) => /^JournalUnreadable.*shards 1 are not served/u.test(one))
        )
      )
      for (const id of ids.filter((id) => shardOf(id) !== 1)) {
        yield* finish(id, second)
        assert.strictEqual((yield* result(nats, id)).state, "SUCCEEDED")
      }
      assert.strictEqual((yield* Effect.flip(view(nats, ids[1] ?? ""))).code, "Unavailable")

      // one that tells nothing may concern every shard of its ledger
      const last = Subject.journal(yield* ledgerOf(nats, second.name))
      yield* kill(nats, second)
      assert.strictEqual((yield* Append.append(nats, last, "\u0000", yield* lastOf(nats, last)))._tag, "Acked")
      const third = yield* coordinator("co-damaged", { shardCount })
      yield* until(
        "it is told",
        Effect.map(
          problemsOf(nats, third.name),
          (problems) => problems.some((one) => one.includes("shards 0, 1, 2, 3 are not served"))
        )
      )
      assert.strictEqual(third.stats().shards, 0)
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, inline("answers", 1))
    }))
})
