import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { AlertConfig } from "../../services/coordinator/Alerts.ts"
import * as Coordinator from "../../services/coordinator/main.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import { Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { AlertFailed, type AlertSink } from "../../shared/plugin/AlertSink.ts"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowResult } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as World from "../conformance/World.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))

const coordinator = (name: string, alerts: AlertConfig) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    const connection = yield* Scope.provide(open({ url: broker.url, name }), scope) // keeps the live clock
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 4, ttlMs: 30_000, alerts }).pipe(
        Layer.provide(Layer.succeed(Nats, connection))
      ),
      scope
    )
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { stop: Scope.close(scope, Exit.void) }
  })

/** A sink that keeps what it was told; `fails`: how often each alert fails first. */
const recorder = (sink: string, fails = 0, isPermanent = false) => {
  const tried: Array<AlertMessage> = []
  const told: Array<AlertMessage> = []
  const made: AlertSink = {
    sink,
    description: "for the test",
    deliver: (alert) =>
      Effect.suspend(() => {
        tried.push(alert)
        if (tried.filter(({ id }) => id === alert.id).length <= fails) {
          return Effect.fail(new AlertFailed({ message: "not now", isPermanent }))
        }
        told.push(alert)
        return Effect.void
      })
  }
  return { made, tried, told }
}

const until = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), until(holds)))

const one = (name: string, spec: Record<string, unknown> = {}) => ({
  metadata: { name },
  spec: { tasks: [{ name: "a", type: "noop" }], ...spec }
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("alerts", (it) => {
  it.effect("A52 no target: nobody is told; else the deployment's sinks, or those of the definition, by kind", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const chat = recorder("chat")
      const audit = recorder("audit")
      yield* coordinator("co-a1", {
        sinks: new Map([["chat", chat.made], ["audit", audit.made]]),
        targets: [{ sink: "chat" }]
      })
      yield* ScriptedExecutor.make(nats, "ex-a1", (spec) =>
        spec.instance.startsWith("good")
          ? { _tag: "SUCCEEDED", outputs: {} }
          : { _tag: "FAILED", reason: "exit 1" })
      const run = (inline: ReturnType<typeof one>) =>
        Effect.gen(function*() {
          const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
            inline,
            instanceId: inline.metadata.name
          })
          return yield* Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, {
            timeoutMs: 70_000
          })
        })
      yield* run(one("bad-nobody", { alerts: [] }))
      yield* run(one("bad-default"))
      yield* run(one("bad-own", { alerts: [{ sink: "audit" }] }))
      yield* run(one("bad-other-kind", { alerts: [{ sink: "audit", on: ["WorkflowTimeout"] }] }))
      yield* run(one("good-default"))
      yield* run(one("good-told", { alerts: [{ sink: "audit", on: ["WorkflowSucceeded"] }] }))
      yield* until(() => audit.told.length >= 2 && chat.told.length >= 1)
      const what = (told: ReadonlyArray<AlertMessage>) => told.map((alert) => `${alert.kind} ${alert.instanceId ?? ""}`)
      assert.deepStrictEqual(what(chat.told), ["WorkflowFailed bad-default"])
      assert.deepStrictEqual(what(audit.told).toSorted(), ["WorkflowFailed bad-own", "WorkflowSucceeded good-told"])
      const [alert] = chat.told
      assert.deepStrictEqual(
        [alert?.definition?.name, alert?.namespace, alert?.message],
        ["bad-default", "default", "task a failed: exit 1"]
      )
    }))

  it.effect("an alert that a crash keeps from being stored is raised again by the next owner, one that was stored is told once", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const chat = recorder("chat")
      const alerts: AlertConfig = { sinks: new Map([["chat", chat.made]]), targets: [{ sink: "chat" }] }
      const first = yield* World.coordinator("co-crash-1", {
        config: { alerts },
        onMessage: ({ body, direction, subject }) =>
          direction === "out" && subject.startsWith("heddle.alert.") && body.includes("crash-2")
      })
      yield* ScriptedExecutor.make(
        nats,
        "ex-crash",
        (spec) => spec.task === "slow" ? undefined : { _tag: "FAILED", reason: "exit 1" }
      )
      const begin = (name: string, spec: Record<string, unknown> = {}) =>
        Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { inline: one(name, spec), instanceId: name })
      // told before the crash, by a run that goes on
      yield* begin("crash-1", {
        tasks: [{ name: "slow", type: "noop", timeout: { after: "50ms", strategy: "warn" } }]
      })
      yield* until(() => first.clock.skip(100) === undefined && chat.told.length === 1)
      yield* begin("crash-2")
      yield* until(first.isCut)
      yield* Kv.bucket(nats, Streams.bucketName.registry).delete("coordinator.co-crash-1")
      yield* World.coordinator("co-crash-2", { config: { alerts } })
      yield* until(() => chat.told.length >= 2)
      const { instanceId } = yield* begin("crash-3")
      yield* Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, {
        timeoutMs: 70_000
      })
      yield* until(() => chat.told.some((alert) => alert.instanceId === "crash-3"))
      assert.deepStrictEqual(
        chat.told.map((alert) => `${alert.kind} ${alert.instanceId ?? ""} ${alert.message}`).toSorted(),
        [
          "TaskTimeout crash-1 " + (chat.told[0]?.message ?? ""),
          "WorkflowFailed crash-2 task a failed: exit 1",
          "WorkflowFailed crash-3 task a failed: exit 1"
        ]
      )
    }))

  it.effect("a delivery that fails is tried again, by another coordinator too; one that fails for good is given up; runs do not wait", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const flaky = recorder("flaky", 2)
      const wrong = recorder("wrong", 99, true)
      const never: AlertSink = { sink: "never", description: "for the test", deliver: () => Effect.never }
      const config: AlertConfig = {
        sinks: new Map([["flaky", flaky.made], ["wrong", wrong.made], ["never", never]]),
        targets: [{ sink: "never" }, { sink: "wrong" }, { sink: "flaky" }]
      }
      const first = yield* coordinator("co-a2", config)
      yield* ScriptedExecutor.make(nats, "ex-a2", () => ({ _tag: "FAILED", reason: "exit 1" }))
      const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
        inline: one("flaky-1"),
        instanceId: "flaky-1"
      })
      const result = yield* Rpc.call(
        nats,
        Subject.rpc.workflow("result"),
        WorkflowResult,
        { instanceId, wait: "60s" },
        {
          timeoutMs: 70_000
        }
      )
      assert.strictEqual(result.state, "FAILED")
      yield* until(() => flaky.tried.length >= 1 && wrong.tried.length >= 1)
      yield* first.stop
      yield* coordinator("co-a3", config)
      yield* until(() => flaky.told.length === 1)
      assert.strictEqual(new Set(flaky.tried.map(({ id }) => id)).size, 1)
      assert.strictEqual(flaky.tried.length, 3)
      assert.strictEqual(wrong.tried.length, 1)
    }))
})
