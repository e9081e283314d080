import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { execFile } from "node:child_process"
import { join } from "node:path"
import * as Coordinator from "../../services/coordinator/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

const root = join(import.meta.dirname, "..", "..")

/** The command's exit code and what it said; with `-o json` as a value. */
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

const coordinator = (url: string, name: string) =>
  Layer.build(
    Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 8, ttlMs: 30_000 }).pipe(
      Layer.provide(Nats.layer({ url, name }))
    )
  )
const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), until(holds)))
const start = (nats: Connection, instanceId: string, spec: object) =>
  Rpc.callPatiently(nats, Subject.rpc.workflow("start"), StartAnswer, {
    instanceId: InstanceId.make(instanceId),
    inline: { metadata: { name: "w" }, spec }
  }, { timeoutMs: 60_000, isRepeatable: true })

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("heddle groups, heddle tasks", (it) => {
  it.effect("groups: who holds, who waits, slots and places changed, over two coordinators", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      yield* coordinator(url, "co-1")
      yield* coordinator(url, "co-2")
      const executor = yield* ScriptedExecutor.make(nats, "ex-1", () => undefined)
      const json = (...args: ReadonlyArray<string>) =>
        Effect.map(heddle(url, ...args, "-o", "json"), ({ code, error, out }): unknown => {
          assert.strictEqual(code, 0, error)
          return JSON.parse(out)
        })
      const spec = { tasks: [{ name: "load", type: "noop", group: { name: "warehouse", slots: 1 } }] }
      for (const id of ["g-1", "g-2", "g-3"]) {
        yield* start(nats, id, spec)
        if (id === "g-1") yield* until(() => executor.running.size === 1)
      }
      const waits = (view: unknown): ReadonlyArray<string> => {
        const { held, waiting } = view as Record<"held" | "waiting", ReadonlyArray<{ readonly instanceId: string }>>
        return [...held.map((one) => `+${one.instanceId}`), ...waiting.map((one) => one.instanceId)]
      }
      const seen = (names: ReadonlyArray<string>): Effect.Effect<unknown> =>
        Effect.flatMap(
          json("groups", "get", "warehouse"),
          (view) => waits(view).toSorted().join() === names.toSorted().join() ? Effect.succeed(view) : seen(names)
        )
      yield* seen(["+g-1", "g-2", "g-3"])
      const listed = yield* json("groups", "ls")
      assert.deepStrictEqual(listed, {
        items: [{ namespace: "default", name: "warehouse", slots: 1, held: 1, waiting: 2 }]
      })
      const moved = yield* json("groups", "prioritize", "warehouse", "g-3", "load", "9")
      assert.deepStrictEqual(waits(moved), ["+g-1", "g-3", "g-2"])
      const wider = yield* json("groups", "set", "default/warehouse", "2")
      assert.deepStrictEqual(waits(wider), ["+g-1", "+g-3", "g-2"])
      assert.nestedPropertyVal(wider, "set", true)
      yield* until(() => executor.running.size === 2)
      // without a slot
      assert.strictEqual((yield* heddle(url, "tasks", "force-start", "g-2", "load")).code, 0)
      yield* until(() => executor.running.size === 3)
      const text = yield* heddle(url, "groups", "set", "warehouse", "auto")
      assert.match(text.out, /^warehouse: 1 slots, 2 held, 0 waiting\n  holds  g-1  load:1:1  priority 5\n/u)

      const gone = yield* heddle(url, "groups", "get", "nobody")
      assert.deepStrictEqual([gone.code, /no task has asked for a slot of the group nobody/u.test(gone.error)], [
        3,
        true
      ])
      const late = yield* heddle(url, "groups", "prioritize", "warehouse", "g-1", "load", "9")
      assert.deepStrictEqual([late.code, /does not wait for a slot/u.test(late.error)], [4, true])
      assert.strictEqual((yield* heddle(url, "groups", "set", "warehouse", "many")).code, 2)
      const closed = yield* json("groups", "set", "tomorrow", "0")
      assert.deepStrictEqual(closed, {
        namespace: "default",
        name: "tomorrow",
        slots: 0,
        set: true,
        held: [],
        waiting: []
      })
    }))

  it.effect("tasks: run one again, let a failed one count as succeeded and recover", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      yield* coordinator(url, "co-3")
      const executor = yield* ScriptedExecutor.make(nats, "ex-3", (spec) =>
        spec.task === "bad" ? { _tag: "FAILED", reason: "exit 1" } : { _tag: "SUCCEEDED", outputs: {} })
      yield* start(nats, "t-1", {
        tasks: [{ name: "good", type: "noop" }, { name: "bad", type: "noop" }, {
          name: "after",
          type: "noop",
          dependsOn: ["bad"]
        }]
      })
      const rested = yield* heddle(url, "workflows", "result", "t-1")
      assert.strictEqual(rested.code, 1)
      const tasks = yield* heddle(url, "tasks", "ls", "t-1")
      assert.match(tasks.out, /bad +noop +FAILED +1/u)
      const again = yield* heddle(url, "tasks", "run", "t-1", "good", "--wait", "-o", "json")
      assert.strictEqual(again.code, 1, "the run still has a failed task")
      assert.strictEqual(
        executor.ran.filter((spec) =>
          spec.task === "good"
        ).length,
        2
      )
      const forced = yield* heddle(url, "tasks", "force-success", "t-1", "bad", "--reason", "done by hand")
      assert.deepStrictEqual([forced.code, forced.out], [0, "t-1 force-success bad accepted\n"])
      const recovered = yield* heddle(url, "workflows", "recover", "t-1", "--wait")
      assert.strictEqual(recovered.out, "t-1 SUCCEEDED\n")
      const unknown = yield* heddle(url, "tasks", "run", "t-1", "nobody")
      assert.strictEqual(unknown.code, 2)
    }))
})
