import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { parse } from "yaml"
import * as Coordinator from "../../services/coordinator/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { type InstanceId, MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

// The examples of what a workflow can hold, run by a real coordinator; the executor is a double that follows a script.

const example = (name: string): unknown =>
  parse(readFileSync(new URL(`../../examples/${name}.yaml`, import.meta.url), "utf8"))

const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))

const coordinator = (name: string) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 8, ttlMs: 2_000 }).pipe(
        Layer.provide(Nats.layer({ url: broker.url, name }))
      ),
      scope
    )
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { stop: Scope.close(scope, Exit.void) }
  })

const start = (nats: Connection, body: object) => Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, body)
const result = (nats: Connection, instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "15s" }, { timeoutMs: 17_000 })
const view = (nats: Connection, instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
const succeeded = { _tag: "SUCCEEDED", outputs: {} } as const

layer(Broker.layer(), { timeout: 60_000, excludeTestServices: true })("what a workflow can hold", (it) => {
  it.effect("A29 A34 examples/condition.yaml: a failure is judged by the condition, the workflow SUCCEEDED", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-condition")
      const executor = yield* ScriptedExecutor.make(
        nats,
        "ex-condition",
        (spec) => spec.task === "primary" ? { _tag: "FAILED", reason: "exit 1" } : succeeded
      )
      const { instanceId } = yield* start(nats, { inline: example("condition"), params: { region: "us" } })
      assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
      const { tasks } = yield* view(nats, instanceId)
      assert.deepStrictEqual(tasks.map((task) => `${task.name}:${task.state ?? "-"}`), [
        "primary:FAILED",
        "mirror:SUCCEEDED",
        "gate:SUCCEEDED",
        "publish:SUCCEEDED",
        "tell:-"
      ])
      assert.strictEqual(executor.ran.find((spec) => spec.task === "publish")?.params["bucket"], "reports-us")
    }))
})
