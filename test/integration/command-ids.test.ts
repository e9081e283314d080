import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { join } from "node:path"
import * as Kv from "../../shared/jetstream/Kv.ts"
import { type Connection, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Accepted, StartAnswer, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { coordinator, type Running, until } from "../conformance/World.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

// Commands with an id (header Nats-Msg-Id): done once, whoever is asked and however often.

const root = join(import.meta.dirname, "..", "..")
const heddle = (url: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<{ readonly code: number; readonly out: string; readonly error: string }>((resume) => {
    const child = execFile(
      process.execPath,
      [join(root, "bin", "heddle.mjs"), "--nats", url, ...args],
      { cwd: root, timeout: 150_000, env: { ...process.env, NO_COLOR: "1", HEDDLE_TIMEOUT: "60s" } },
      (failure, out, error) =>
        resume(Effect.succeed({ code: failure === null ? 0 : Number(failure.code ?? -1), out, error }))
    )
    return Effect.sync(() => void child.kill("SIGKILL"))
  })
const connect = Effect.flatMap(Broker, ({ url }) => open({ url, name: "test" }))
const serving = Effect.fnUntraced(function*(name: string) {
  const running = yield* coordinator(name)
  yield* until(`${name} serves all shards`, Effect.sync(() => running.stats().shards === 4))
  return running
})
/** `dead` as after kill -9, and the registry has noticed. */
const kill = (nats: Connection, dead: Running) =>
  Effect.andThen(
    Effect.sync(() => dead.cut()),
    Kv.bucket(nats, Streams.bucketName.registry).delete(`coordinator.${dead.name}`)
  )
const ask = (nats: Connection, verb: Subject.WorkflowVerb, id: string | undefined, body: object) =>
  Rpc.call(
    nats,
    Subject.rpc.workflow(verb),
    Accepted,
    { instanceId: "i-1", ...body },
    id === undefined ? {} : { headers: { [Subject.header.msgId]: id } }
  )
const view = (nats: Connection, instanceId = "i-1") =>
  Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
const rested = (nats: Connection, instanceId = "i-1") =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, { timeoutMs: 70_000 })
const inline = { metadata: { name: "w" }, spec: { tasks: [{ name: "a", type: "noop" }] } }

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("ids of commands", (it) => {
  it.effect("a rerun that is repeated, also of the next owner, is one rerun; the same id for another command is a conflict", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* serving("co-1")
      yield* ScriptedExecutor.make(nats, "ex-1", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { instanceId: "i-1", inline })
      yield* rested(nats)
      // both at once: the second finds the first undecided, or in flight
      const both = yield* Effect.all([ask(nats, "rerun", "r-1", {}), ask(nats, "rerun", "r-1", { reason: "again" })], {
        concurrency: 2
      })
      assert.deepStrictEqual(both, [{ accepted: true }, { accepted: true }])
      yield* rested(nats)
      // it has left memory by now, and is read from its history
      yield* until("it has left memory", Effect.sync(() => first.stats().live === 0))
      assert.deepStrictEqual(yield* ask(nats, "rerun", "r-1", {}), { accepted: true })
      assert.strictEqual((yield* view(nats)).runNumber, 2)
      const other = yield* Effect.flip(ask(nats, "run-task", "r-1", { task: "a" }))
      assert.strictEqual(other.code, "Conflict")
      assert.match(other.message, /r-1/)
      yield* kill(nats, first)
      yield* serving("co-2")
      assert.deepStrictEqual(yield* ask(nats, "rerun", "r-1", {}), { accepted: true })
      assert.strictEqual((yield* view(nats)).runNumber, 2)
      assert.deepStrictEqual(yield* ask(nats, "run-task", "t-1", { task: "a" }), { accepted: true })
      yield* rested(nats)
      assert.deepStrictEqual(yield* ask(nats, "run-task", "t-1", { task: "a" }), { accepted: true })
      const { tasks } = yield* view(nats)
      assert.strictEqual(tasks[0]?.attempts.length, 2, "run again once")
      const bad = yield* Effect.flip(ask(nats, "rerun", "no name", {}))
      assert.strictEqual(bad.code, "InvalidName")
      assert.match(bad.message, /Nats-Msg-Id/)
    }))

  it.effect("a start with a message id instead of an instance id is one instance, whichever coordinator takes it", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* serving("co-5")
      yield* coordinator("co-6")
      yield* ScriptedExecutor.make(nats, "ex-5", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const start = (id: string, params: object = {}) =>
        Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline, params }, {
          headers: { [Subject.header.msgId]: id }
        })
      const { instanceId } = yield* start("order 7/a")
      assert.match(instanceId, /^w-[0-9a-f]{12}$/u)
      for (let again = 0; again < 6; again++) {
        assert.strictEqual((yield* start("order 7/a")).instanceId, instanceId)
      }
      assert.strictEqual((yield* rested(nats, instanceId)).state, "SUCCEEDED")
      assert.strictEqual((yield* view(nats, instanceId)).runNumber, 1)
      assert.notStrictEqual((yield* start("order 7/b")).instanceId, instanceId)
      assert.strictEqual((yield* Effect.flip(start("order 7/a", { other: true }))).code, "Conflict")
    }))

  it.effect("heddle asks a silent coordinator again with the same id, and says how when it gives up", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* connect
      const ids: Array<string | undefined> = []
      yield* nats.subscribe(Subject.rpc.workflow("rerun"), (message) => {
        ids.push(message.header(Subject.header.msgId))
        if (ids.length === 2) message.respond(JSON.stringify({ accepted: true }))
      })
      const done = yield* heddle(url, "workflows", "rerun", "i-2", "--timeout", "6s", "-o", "json")
      assert.deepStrictEqual({ code: done.code, out: done.out }, {
        code: 0,
        out: `{"instanceId":"i-2","accepted":true}\n`
      }, done.error)
      assert.strictEqual(new Set(ids).size, 1)
      assert.match(ids[0] ?? "", /^[A-Za-z0-9_-]{8,63}$/)
      const given = yield* heddle(url, "workflows", "rerun", "i-2", "--timeout", "300ms", "--id", "mine")
      assert.strictEqual(given.code, 5)
      assert.match(given.error, /not known: ask again with --id mine/)
      // it has given up and ended; what it sent may still be on its way to here
      yield* until("its request arrives", Effect.sync(() => ids.length > 2))
      assert.deepStrictEqual([...new Set(ids.slice(2))], ["mine"])
    }))

  it.effect("what is gone after a silence was removed by it; what never was is not found", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* connect
      let asked = 0
      yield* nats.subscribe(Subject.rpc.definition("delete"), (message) => {
        asked += 1
        if (asked === 1) return
        message.respond(
          JSON.stringify({ error: { code: "NoSuchDefinition", message: "no workflow definition nightly" } }),
          { "Nats-Service-Error-Code": "404", "Nats-Service-Error": "NoSuchDefinition" }
        )
      })
      const gone = yield* heddle(url, "definitions", "delete", "nightly", "--timeout", "6s")
      assert.strictEqual(gone.code, 0, gone.error)
      assert.match(gone.out, /deleted nightly/)
      assert.strictEqual((yield* heddle(url, "definitions", "delete", "nightly")).code, 3)
    }))
})
