import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Append from "../../shared/jetstream/Append.ts"
import { type Connection, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowResult } from "../../shared/protocol/Workflow.ts"
import { Broker, scoped } from "../../shared/testing/Broker.ts"
import { coordinator, until } from "../conformance/World.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

// What is recorded, looked at afterwards: export, import, replay of a file, at, diff.

const root = join(import.meta.dirname, "..", "..")
const nowhere = "nats://127.0.0.1:1"
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
/** Its standard output as JSON; `code` as it should be. */
const json = Effect.fnUntraced(function*(code: number, url: string, ...args: ReadonlyArray<string>) {
  const ended = yield* heddle(url, ...args, "-o", "json")
  assert.strictEqual(ended.code, code, `${args.join(" ")}: ${ended.error}`)
  return JSON.parse(ended.out) as unknown
})
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-recorded-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)
const mesh = Effect.fnUntraced(function*(url: string, name: string) {
  const nats = yield* open({ url, name: "test" })
  const running = yield* coordinator(name)
  yield* until("it serves all shards", Effect.sync(() => running.stats().shards === 4))
  yield* ScriptedExecutor.make(nats, `ex-${name}`, (spec) =>
    spec.params["fail"] === true && spec.task === "b"
      ? { _tag: "FAILED", reason: "exit code 3", exitCode: 3 }
      : { _tag: "SUCCEEDED", outputs: { [spec.task]: Number(spec.params["n"] ?? 0) } })
  return { nats, running }
})
const start = Effect.fnUntraced(function*(
  nats: Connection,
  instanceId: string,
  params: object = {},
  name = "nightly"
) {
  yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { definition: name, instanceId, params })
  return yield* Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, {
    timeoutMs: 70_000
  })
})
const definition = {
  metadata: { name: "nightly" },
  spec: {
    params: { n: 1, fail: false },
    tasks: [{ name: "a", type: "noop" }, { name: "b", type: "noop", dependsOn: ["a"] }]
  }
}

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("recorded runs", (it) => {
  it.effect("a run is exported, replayed without any server, refused when it was changed, and imported into another mesh", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const { nats, running } = yield* mesh(url, "co-1")
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, definition)
      yield* start(nats, "r-1", { n: 7 })
      yield* until("it has left memory", Effect.sync(() => running.stats().live === 0))
      const at = yield* folder
      const file = join(at, "r-1.jsonl")
      const written = yield* json(0, url, "workflows", "export", "r-1", "--file", file)
      assert.deepNestedInclude(written, { instanceId: "r-1", file })
      const whole = readFileSync(file, "utf8")
      const printed = yield* heddle(url, "workflows", "export", "r-1")
      const bare = (text: string) => text.replace(/"exportedAt":"[^"]*"/u, "")
      assert.strictEqual(bare(printed.out), bare(whole))
      const replayed = yield* heddle(nowhere, "replay", file, "--verify")
      assert.strictEqual(replayed.code, 0, replayed.error)
      assert.match(replayed.out, /hash chain {2}ok/u)
      assert.match(replayed.out, /decisions {3}ok/u)
      assert.match(replayed.out, /r-1 {2}nightly@1 {2}SUCCEEDED/u)

      const other = join(at, "other.jsonl")
      writeFileSync(other, whole.replace(`"name":"a","type":"noop"`, `"name":"a","type":"shell"`))
      const changed = yield* heddle(nowhere, "replay", other)
      assert.strictEqual(changed.code, 2)
      assert.match(changed.error, /its definition was changed/u)
      assert.strictEqual((yield* heddle(url, "workflows", "import", other)).code, 2)
      assert.strictEqual((yield* heddle(url, "replay", join(at, "none.jsonl"))).code, 3)

      const elsewhere = yield* scoped()
      const there = yield* mesh(elsewhere.url, "co-2").pipe(Effect.provideService(Broker, elsewhere))
      const imported = yield* json(0, elsewhere.url, "workflows", "import", file)
      assert.deepNestedInclude(imported, { instanceId: "r-1", state: "SUCCEEDED", differences: 0 })
      assert.nestedPropertyVal(yield* json(0, elsewhere.url, "workflows", "import", file), "added", 0)
      const view = yield* json(0, elsewhere.url, "workflows", "get", "r-1")
      assert.deepNestedInclude(view, { state: "SUCCEEDED", "params.n": 7, "outputs.b": 7 })
      assert.nestedPropertyVal(yield* json(0, elsewhere.url, "diff", file, "r-1"), "isSame", true)
      const again = yield* json(0, elsewhere.url, "workflows", "rerun", "r-1", "--wait")
      assert.nestedPropertyVal(again, "state", "SUCCEEDED")
      assert.nestedPropertyVal(yield* json(0, elsewhere.url, "workflows", "get", "r-1"), "runNumber", 2)
      assert.strictEqual((yield* heddle(elsewhere.url, "replay", "r-1", "--verify")).code, 0)
      const taken = yield* heddle(elsewhere.url, "workflows", "import", file)
      assert.strictEqual(taken.code, 4, taken.error)

      // another definition under the name and version that the run pins is not replaced
      yield* Rpc.call(there.nats, Subject.rpc.definition("put"), DefinitionPut, {
        metadata: { name: "weekly" },
        spec: { tasks: [{ name: "other", type: "noop" }] }
      })
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, {
        ...definition,
        metadata: { name: "weekly" }
      })
      yield* start(nats, "r-2", {}, "weekly")
      const second = join(at, "r-2.jsonl")
      yield* json(0, url, "workflows", "export", "r-2", "--file", second)
      const refused = yield* heddle(elsewhere.url, "workflows", "import", second)
      assert.strictEqual(refused.code, 4)
      assert.match(refused.error, /weekly@1 of namespace default is another definition here/u)
      assert.strictEqual((yield* heddle(elsewhere.url, "workflows", "get", "r-2")).code, 3)
    }))

  it.effect("at: a run as it was, and a pool; diff: what differs, with exit code 1", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const { nats } = yield* mesh(url, "co-4")
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, definition)
      yield* start(nats, "d-1")
      yield* start(nats, "d-2", { fail: true })
      const diff = yield* json(1, url, "diff", "d-1", "d-2")
      assert.deepNestedInclude(diff, {
        isSame: false,
        params: [{ path: "fail", a: false, b: true }],
        state: { a: "SUCCEEDED", b: "FAILED" },
        "firstDecision.task": "b"
      })
      const text = yield* heddle(url, "diff", "d-1", "d-2")
      assert.match(text.out, /First decided otherwise: task b\n {2}A {2}SUCCEEDED .*\n {2}B {2}FAILED .*exit code 3/u)
      assert.strictEqual((yield* heddle(url, "diff", "d-1", "nobody")).code, 3)

      const replay = yield* json(0, url, "replay", "d-2")
      const { steps } = replay as { readonly steps: ReadonlyArray<{ readonly at: number }> }
      const ended = new Date(steps.at(-1)?.at ?? 0).toISOString()
      const then = yield* json(0, url, "at", ended, "workflow", "d-2")
      assert.deepNestedInclude(then, { at: ended, instanceId: "d-2", state: "FAILED" })
      const before = yield* heddle(url, "at", "1h", "workflow", "d-2")
      assert.strictEqual(before.code, 3)
      assert.match(before.error, /d-2 had not begun/u)
      assert.strictEqual((yield* heddle(url, "at", "noon", "workflow", "d-2")).code, 2)

      const pool = { namespace: Namespace.make("default"), name: PoolName.make("gpu") }
      const tell = (body: object, expected: number) =>
        Append.append(nats, Subject.poolEvent(pool), JSON.stringify(body), expected).pipe(
          Effect.map((outcome) => outcome._tag === "Acked" ? outcome.sequence : -1)
        )
      const first = Date.parse("2026-11-20T10:00:00Z")
      const adopted = yield* tell({ _tag: "ADOPTED", pool, owner: "ps-1", startup: "ps-1-a", at: first }, 0)
      yield* tell({
        _tag: "CLAIMS",
        session: adopted,
        batch: 1,
        events: [
          { kind: "Claimed", at: first + 1_000, claimId: "c-1", holder: "me", sandbox: "u-1", name: "gpu-0" },
          { kind: "Released", at: first + 9_000, claimId: "c-1", holder: "me", sandbox: "u-1", name: "gpu-0" }
        ]
      }, adopted)
      const held = yield* json(0, url, "at", "2026-11-20T10:00:05Z", "pool", "gpu")
      assert.deepNestedInclude(held, {
        pool: "default/gpu",
        owner: "ps-1",
        isComplete: true,
        queue: null,
        "claims[0].claimId": "c-1"
      })
      const none = yield* heddle(url, "at", "2026-11-20T10:00:10Z", "pool", "gpu")
      assert.match(none.out, /owner ps-1 .*\nNo claim was held\./u)
      assert.match(none.error, /not recorded: who waited in the queue/u)
      const early = yield* heddle(url, "at", "2026-11-20T09:00:00Z", "pool", "gpu")
      assert.strictEqual(early.code, 3)
      assert.match(early.error, /does not reach back to 2026-11-20T09:00:00\.000Z: it begins at 2026-11-20T10:00:00/u)
    }))

  it.effect("fork: what ended well is taken over, the rest runs, with other params, at a point of the past, once for one id", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const { nats } = yield* mesh(url, "co-5")
      yield* coordinator("co-6")
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, definition)
      yield* start(nats, "f-1", { fail: true, n: 5 })
      const args = ["fork", "f-1", "--param", "fail=false", "--id", "f-2", "--wait"]
      assert.nestedPropertyVal(yield* json(0, url, ...args), "state", "SUCCEEDED")
      assert.nestedPropertyVal(yield* json(0, url, ...args), "instanceId", "f-2")
      const forked = yield* json(0, url, "workflows", "get", "f-2")
      assert.deepNestedInclude(forked, {
        "forkOf.instanceId": "f-1",
        params: { n: 5, fail: false },
        outputs: { a: 5, b: 5 },
        "tasks[0].state": "SUCCEEDED",
        "tasks[0].attempts": [],
        "tasks[1].attempts.length": 1
      })
      const shown = yield* heddle(url, "workflows", "get", "f-2")
      assert.match(shown.out, /^f-2 {2}nightly@\d+ {2}SUCCEEDED .* fork of f-1 at \d+/u)
      assert.match(shown.out, /a +noop +SUCCEEDED +- +taken over from f-1/u)
      const again = yield* heddle(url, "fork", "f-1", "--id", "f-2")
      assert.strictEqual(again.code, 4, "the same id with other params")

      const { steps } = (yield* json(0, url, "replay", "f-1")) as {
        readonly steps: ReadonlyArray<{ readonly seq: number }>
      }
      const first = String(steps[0]?.seq)
      assert.nestedPropertyVal(
        yield* json(0, url, "fork", "f-1", "--at", first, "-p", "fail=false", "-p", "n=6", "--id", "f-3", "--wait"),
        "outputs.a",
        6
      )
      assert.strictEqual((yield* heddle(url, "replay", "f-3", "--verify")).code, 0)
      assert.nestedPropertyVal(
        yield* json(0, url, "fork", "f-2", "--at", "now", "--id", "f-4", "--wait"),
        "state",
        "SUCCEEDED"
      )
      const early = yield* heddle(url, "fork", "f-1", "--at", "1h")
      assert.strictEqual(early.code, 3)
      assert.match(early.error, /had not begun/u)
      assert.strictEqual((yield* heddle(url, "fork", "nobody")).code, 3)
      assert.strictEqual((yield* heddle(url, "fork", "./f-1.jsonl")).code, 2)
      const both = yield* Effect.flip(
        Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
          definition: "nightly",
          fork: { instanceId: "f-1" }
        })
      )
      assert.strictEqual(both.code, "InvalidMessage")
      const nodes = yield* Effect.flip(
        Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { fork: { instanceId: "f-1" }, startNodes: ["a"] })
      )
      assert.strictEqual(nodes.path, "startNodes")
    }))
})
