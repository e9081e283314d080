import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Coordinator from "../../services/coordinator/main.ts"
import { Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { Accepted, StartAnswer, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as LedgerSeal from "../../shared/session/LedgerSeal.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

const diamond = {
  metadata: { name: "diamond" },
  spec: {
    tasks: [
      { name: "a", type: "noop" },
      { name: "b", type: "noop", dependsOn: ["a"] },
      { name: "c", type: "noop", dependsOn: ["a"] },
      { name: "d", type: "noop", dependsOn: ["b", "c"] }
    ]
  }
}
const one = { metadata: { name: "one" }, spec: { tasks: [{ name: "a", type: "noop" }] } }

const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))

/** A coordinator with a connection and a scope of its own; `stop` is a clean end, `kill` cuts its connection with nothing handed over. */
const coordinator = (name: string) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 8, ttlMs: 60_000 }).pipe(
        Layer.provide(Nats.layer({ url: broker.url, name }))
      ),
      scope
    )
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { stop: Scope.close(scope, Exit.void) }
  })

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("coordinator", (it) => {
  it.effect("runs a workflow to its end, answers its result, view and history, also after it has left memory", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-1")
      const executor = yield* ScriptedExecutor.make(nats, "ex-1", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
        inline: diamond,
        instanceId: "first"
      })
      const result = yield* Rpc.call(
        nats,
        Subject.rpc.workflow("result"),
        WorkflowResult,
        { instanceId, wait: "60s" },
        { timeoutMs: 70_000 }
      )
      assert.strictEqual(result.state, "SUCCEEDED")
      assert.deepStrictEqual(executor.ran.map((spec) => spec.task).sort(), ["a", "b", "c", "d"])
      assert.strictEqual(executor.ran[3]?.task, "d")
      const view = yield* Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
      assert.deepStrictEqual(view.tasks.map((task) => task.state), ["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"])
      // the same id again: the same instance; other content: a conflict
      assert.strictEqual(
        (yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: diamond, instanceId: "first" }))
          .instanceId,
        "first"
      )
      const conflict = yield* Effect.flip(
        Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: one, instanceId: "first" })
      )
      assert.strictEqual(conflict.code, "Conflict")
    }))

  it.effect("an executor that reads acknowledgements is answered ahead of the append, another one is not", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const own = yield* coordinator("co-early")
      for (const readsAcknowledgements of [true, false]) {
        const scope = yield* Scope.make()
        const name = `ex-early-${readsAcknowledgements}`
        const executor = yield* ScriptedExecutor.make(
          nats,
          name,
          () => ({ _tag: "SUCCEEDED", outputs: {} }),
          { readsAcknowledgements }
        ).pipe(Scope.provide(scope))
        const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: diamond })
        const result = yield* Rpc.call(
          nats,
          Subject.rpc.workflow("result"),
          WorkflowResult,
          { instanceId, wait: "60s" },
          { timeoutMs: 70_000 }
        )
        assert.strictEqual(result.state, "SUCCEEDED")
        assert.strictEqual(executor.ran.length, 4)
        assert.deepStrictEqual(executor.refused, [])
        if (readsAcknowledgements) assert.match(executor.early[0] ?? "", /^heddle\.ack\.ex-early-true\.[a-z0-9]+\.\d+$/)
        else assert.deepStrictEqual(executor.early, [])
        yield* Scope.close(scope, Exit.void)
      }
      yield* own.stop
    }))

  it.effect("a second coordinator takes over what the first one released, and what it left without a word", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("co-a")
      const executor = yield* ScriptedExecutor.make(nats, "ex-2", () => undefined)
      const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
        inline: one,
        instanceId: "handed-over"
      })
      yield* waitFor(() => executor.ran.length === 1)
      yield* coordinator("co-b")
      yield* first.stop
      const running = executor.ran[0]
      assert.isDefined(running)
      const view = yield* Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId }).pipe(
        Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis") })
      )
      assert.strictEqual(view.tasks[0]?.state, "DISPATCHED")
      if (running !== undefined) {
        executor.report(running, MemberId.make("co-b"), { _tag: "SUCCEEDED", outputs: { rows: "3" } })
      }
      const result = yield* Rpc.call(
        nats,
        Subject.rpc.workflow("result"),
        WorkflowResult,
        { instanceId, wait: "60s" },
        { timeoutMs: 70_000 }
      )
      assert.strictEqual(result.state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, 1, "the task ran once")
    }))

  it.effect("a coordinator whose ledger is sealed under it serves nothing any more, and begins a new life that has everything", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-z")
      const executor = yield* ScriptedExecutor.make(nats, "ex-4", () => undefined)
      const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
        inline: one,
        instanceId: "sealed"
      })
      yield* waitFor(() => executor.ran.length === 1)
      const before = yield* Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
      const members = yield* Registry.members(nats)
      for (const { ledger } of members) {
        if (ledger !== undefined) yield* LedgerSeal.sealLedger(nats, ledger, MemberId.make("stranger"))
      }
      const running = executor.ran[0]
      // refused at the broker, so it is not acknowledged by the old life; the durable inbox brings it to the new one
      if (running !== undefined) {
        executor.report(running, MemberId.make("co-z"), { _tag: "SUCCEEDED", outputs: {} })
      }
      const result = yield* Rpc.call(
        nats,
        Subject.rpc.workflow("result"),
        WorkflowResult,
        { instanceId, wait: "60s" },
        { timeoutMs: 70_000 }
      )
        .pipe(Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis") }))
      assert.strictEqual(result.state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, 1, "the task ran once")
      const after = yield* Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
      assert.isAbove(after.sessionId, before.sessionId)
    }))

  it.effect("a broker that is killed takes the lanes with it: what waited on them is emitted again under a new session", () =>
    Effect.gen(function*() {
      const broker = yield* Broker
      const nats = yield* connect
      yield* coordinator("co-l")
      const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
        inline: one,
        instanceId: "lanes-lost"
      })
      yield* Effect.promise(() => broker.restart())
      yield* Effect.suspend(() => nats.isConnected ? Effect.void : Effect.fail("not yet")).pipe(
        Effect.retry({ schedule: Schedule.spaced("20 millis") })
      )
      yield* Streams.ensure(nats)
      const executor = yield* ScriptedExecutor.make(nats, "ex-5", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const result = yield* Rpc.call(
        nats,
        Subject.rpc.workflow("result"),
        WorkflowResult,
        { instanceId, wait: "60s" },
        { timeoutMs: 70_000 }
      ).pipe(
        // the coordinator's own connection may come back later than ours
        Effect.retry({
          times: 600,
          while: (error) => error.code === "Unavailable",
          schedule: Schedule.spaced("100 millis")
        })
      )
      assert.strictEqual(result.state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, 1)
    }))

  it.effect("stop kills what runs", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-s")
      const executor = yield* ScriptedExecutor.make(nats, "ex-3", () => undefined)
      const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: diamond })
      yield* waitFor(() => executor.ran.length === 1)
      yield* Rpc.call(nats, Subject.rpc.workflow("stop"), Accepted, { instanceId, reason: "enough" })
      const result = yield* Rpc.call(
        nats,
        Subject.rpc.workflow("result"),
        WorkflowResult,
        { instanceId, wait: "60s" },
        { timeoutMs: 70_000 }
      )
      assert.strictEqual(result.state, "STOPPED")
    }))
})

/** Until `holds`, looked at whenever the event loop has gone round; the test's time-out bounds it. */
const waitFor = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), waitFor(holds)))
