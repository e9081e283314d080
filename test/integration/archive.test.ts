import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Archive from "../../services/coordinator/Archive.ts"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as InstanceLoader from "../../services/coordinator/InstanceLoader.ts"
import * as Coordinator from "../../services/coordinator/main.ts"
import * as Append from "../../shared/jetstream/Append.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Purge from "../../shared/jetstream/Purge.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { shardOf } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, MemberId } from "../../shared/protocol/Token.ts"
import { Accepted, StartAnswer, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

const shardCount = 4
const never = { afterMs: undefined, namespaces: new Map() }
const atOnce = { afterMs: 0, namespaces: new Map() }

const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))

const coordinator = (name: string, archive: typeof never | typeof atOnce) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    const connection = yield* Scope.provide(open({ url: broker.url, name }), scope)
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount, ttlMs: 30_000, archive }).pipe(
        Layer.provide(Layer.succeed(Nats, connection))
      ),
      scope
    )
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { stop: Scope.close(scope, Exit.void) }
  })

const id = (text: string) => InstanceId.make(text)
const shard = (instance: InstanceId) => shardOf(instance, shardCount)
const inline = { metadata: { name: "w" }, spec: { tasks: [{ name: "a", type: "noop" }] } }
const start = (nats: Connection, instanceId: InstanceId, body: object = { inline }) =>
  Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { ...body, instanceId })
const result = (nats: Connection, instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, { timeoutMs: 70_000 })
const view = (nats: Connection, instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
const command = (nats: Connection, verb: "rerun" | "pause", instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow(verb), Accepted, { instanceId })

const subjectOf = (stream: "history" | "archive", instance: InstanceId) =>
  (stream === "history" ? Subject.history : Subject.archive)(shard(instance), instance)
/** Entries of the stream's messages for the instance, as they stand there. */
const stored = (nats: Connection, stream: "history" | "archive", instance: InstanceId) =>
  Read.readRange(nats, Streams.name[stream], { filter: subjectOf(stream, instance), from: 1 }).pipe(
    Stream.runCollect,
    Effect.flatMap(Effect.forEach((message) => Effect.fromResult(InstanceLoader.entriesOf(message.text)))),
    Effect.map((found) => found.flat())
  )
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

const untilArchived = (nats: Connection, instance: InstanceId): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    for (;;) {
      const last = yield* Read.lastMessage(nats, Streams.name.history, Subject.history(shard(instance), instance))
      if (Option.isNone(last) && (yield* stored(nats, "archive", instance)).length > 0) return
      yield* Effect.sleep("20 millis")
    }
  }).pipe(Effect.timeout("100 seconds"))

const cli = (broker: { readonly url: string }, ...args: ReadonlyArray<string>) =>
  Effect.promise(() =>
    promisify(execFile)(
      process.execPath,
      [join(import.meta.dirname, "..", "..", "bin", "heddle.mjs"), ...args, "--nats", broker.url],
      { encoding: "utf8", env: { ...process.env, NO_COLOR: "1", HEDDLE_TIMEOUT: "60s" } }
    )
  )

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("archive", (it) => {
  it.effect("what has ended moves to the archive with its chain, what is live or PAUSED stays; queries, rerun and replay go on", () =>
    Effect.gen(function*() {
      const broker = yield* Broker
      const nats = yield* connect
      const first = yield* coordinator("co-1", atOnce)
      const executor = yield* ScriptedExecutor.make(
        nats,
        "ex-1",
        (spec) => spec.instance === "done" ? { _tag: "SUCCEEDED", outputs: { run: spec.instance } } : undefined
      )
      const [done, live, paused] = [id("done"), id("live"), id("paused")]
      yield* start(nats, live)
      yield* start(nats, paused, {
        inline: { metadata: { name: "p" }, spec: { tasks: [{ name: "a", type: "noop", delay: "1h" }] } }
      })
      yield* command(nats, "pause", paused)
      assert.strictEqual((yield* result(nats, paused)).state, "PAUSED")
      yield* start(nats, done)
      const told = yield* result(nats, done)
      assert.strictEqual(told.state, "SUCCEEDED")
      const seen = yield* view(nats, done)
      yield* untilArchived(nats, done)

      assert.deepStrictEqual(yield* result(nats, done), told)
      assert.deepStrictEqual({ ...(yield* view(nats, done)), seq: 0 }, { ...seen, seq: 0 })
      assert.strictEqual((yield* view(nats, live)).state, "RUNNING")
      assert.isAbove((yield* stored(nats, "history", paused)).length, 0)
      assert.isEmpty(yield* stored(nats, "archive", paused))
      assert.isEmpty(yield* stored(nats, "archive", live))

      // run again: the new entries are in the history, then behind the old ones in the archive
      const before = (yield* stored(nats, "archive", done)).length
      yield* command(nats, "rerun", done)
      assert.strictEqual((yield* result(nats, done)).state, "SUCCEEDED")
      yield* untilArchived(nats, done)
      const all = (yield* stored(nats, "archive", done)).map(({ entry }) => entry)
      assert.isAbove(all.length, before)
      assert.isUndefined(Chain.verifyChain(all, sha256))
      assert.strictEqual((yield* view(nats, done)).runNumber, 2)
      yield* first.stop

      // the journal's retention takes all that is older than now; replay still has it all
      const journal = yield* Read.lastMessage(nats, Streams.name.journal, "heddle.journal.*")
      yield* Purge.purge(nats, Streams.name.journal, "heddle.journal.*", Option.getOrThrow(journal).sequence - 1)
      const { stdout } = yield* cli(broker, "replay", "done", "--verify", "-o", "json")
      const replayed: unknown = JSON.parse(stdout)
      assert.nestedPropertyVal(replayed, "state.state", "SUCCEEDED")
      assert.nestedPropertyVal(replayed, "state.runNumber", 2)
      assert.nestedPropertyVal(replayed, "verify.isGood", true)
      assert.nestedPropertyVal(replayed, "steps[0].ledger", Streams.name.archive)
      assert.strictEqual(executor.ran.filter((spec) => spec.instance === "done").length, 2)
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("archive, interrupted", (it) => {
  it.effect("a crash between copy and purge loses nothing and is repeated harmlessly; an id that was archived is taken", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("co-1", never)
      yield* ScriptedExecutor.make(nats, "ex-1", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const [half, whole] = [id("half"), id("whole")]
      for (const instance of [half, whole]) {
        yield* start(nats, instance)
        yield* result(nats, instance)
      }
      yield* first.stop // hands over: the history has everything
      const entries = yield* stored(nats, "history", half)
      assert.isAtLeast(entries.length, 2)
      yield* Archive.copy(nats, shard(half), half, entries.slice(0, 1))
      yield* Archive.copy(nats, shard(whole), whole, yield* stored(nats, "history", whole))
      yield* coordinator("co-2", atOnce)
      yield* untilArchived(nats, half)
      yield* untilArchived(nats, whole)
      // one that was replaced and goes on late copies what is there already
      yield* Archive.copy(nats, shard(half), half, entries)
      for (const instance of [half, whole]) {
        const found = (yield* stored(nats, "archive", instance)).map(({ entry }) => entry)
        assert.isUndefined(Chain.verifyChain(found, sha256), instance)
        assert.strictEqual((yield* result(nats, instance)).state, "SUCCEEDED")
      }
      assert.deepStrictEqual(yield* stored(nats, "archive", half), entries)
      assert.strictEqual((yield* start(nats, half)).instanceId, half)
      const refused = yield* Effect.flip(start(nats, half, { inline, priority: 9 })) as Effect.Effect<ContractError>
      assert.strictEqual(refused.code, "Conflict")
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("archive, strangers", (it) => {
  it.effect("a stranger's message in the history, under an id that is none or with a body that cannot be read, holds up nobody", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-1", never).pipe(Effect.flatMap((first) => first.stop)) // makes the streams
      for (const shardNumber of [0, 1, 2, 3]) {
        yield* Append.publish(nats, `heddle.wf.${shardNumber}.no%id.history`, "{}")
        yield* Append.publish(nats, `heddle.wf.${shardNumber}.${"x".repeat(64)}.history`, "{}")
        yield* Append.publish(nats, `heddle.wf.${shardNumber}.nonsense.history`, "not JSON")
      }
      yield* coordinator("co-2", atOnce)
      yield* ScriptedExecutor.make(nats, "ex-1", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const done = id("done")
      yield* start(nats, done)
      yield* result(nats, done)
      yield* untilArchived(nats, done)
      assert.isTrue(
        Option.isSome(yield* Read.lastMessage(nats, Streams.name.history, "heddle.wf.0.nonsense.history")),
        "what nobody can read stays"
      )
    }))
})
