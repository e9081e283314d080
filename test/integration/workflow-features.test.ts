import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { parse } from "yaml"
import * as Coordinator from "../../services/coordinator/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { type InstanceId, MemberId } from "../../shared/protocol/Token.ts"
import { Accepted, StartAnswer, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
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
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 8, ttlMs: 60_000 }).pipe(
        Layer.provide(Nats.layer({ url: broker.url, name }))
      ),
      scope
    )
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    return { stop: Scope.close(scope, Exit.void) }
  })

/** Shards may be changing hands between coordinators of a test: then again. */
const start = (nats: Connection, body: object) =>
  Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, body).pipe(
    Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis"), while: (error) => error.code !== "Conflict" })
  )
const result = (nats: Connection, instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, { timeoutMs: 70_000 })
const view = (nats: Connection, instanceId: InstanceId) =>
  Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
const succeeded = { _tag: "SUCCEEDED", outputs: {} } as const

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("what a workflow can hold", (it) => {
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

  it.effect("A54 A55 examples/concurrency-group.yaml: never more than its slots, over two coordinators, nothing held at the end", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-group-1")
      yield* coordinator("co-group-2")
      const executor = yield* ScriptedExecutor.make(nats, "ex-group", () => undefined)
      const ids: Array<InstanceId> = []
      for (let i = 0; i < 3; i++) {
        ids.push((yield* start(nats, { inline: example("concurrency-group"), instanceId: `group-${i}` })).instanceId)
      }
      let most = 0
      for (let done = 0; done < 15; done++) {
        yield* waitFor(() => executor.running.size >= Math.min(2, 15 - done))
        most = Math.max(most, executor.running.size)
        const [running] = executor.running.values()
        if (running !== undefined) executor.report(running.spec, running.owner, succeeded)
        yield* waitFor(() => running === undefined || ![...executor.running.values()].includes(running))
      }
      assert.strictEqual(most, 2)
      for (const instanceId of ids) assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, 15)
    }))

  it.effect("A60 A63 examples/serial.yaml: one after the other, across two versions and a change of owner", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("co-serial-1")
      const executor = yield* ScriptedExecutor.make(nats, "ex-serial", () => undefined)
      const definition = example("serial") as { readonly spec: { readonly tasks: ReadonlyArray<object> } }
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, definition)
      const a = yield* start(nats, { definition: "serial" })
      yield* waitFor(() => executor.running.size === 1)
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, {
        ...definition,
        spec: { ...definition.spec, priority: 7 }
      })
      const b = yield* start(nats, { definition: "serial@2" })
      const c = yield* start(nats, { definition: "serial@1" })
      const states = () =>
        Effect.forEach([a, b, c], ({ instanceId }) => Effect.map(view(nats, instanceId), (one) => one.state))
      assert.deepStrictEqual(yield* states(), ["RUNNING", "SERIAL_WAIT", "SERIAL_WAIT"])
      yield* coordinator("co-serial-2")
      yield* first.stop
      // the new owner serves all three before the executor reports: the double does not know how to say "Reporting"
      yield* states().pipe(Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis") }))
      for (const { instanceId } of [a, b, c]) {
        yield* waitFor(() => executor.running.size === 1)
        const [running] = executor.running.values()
        assert.strictEqual(running?.spec.instance, instanceId)
        if (running !== undefined) executor.report(running.spec, MemberId.make("co-serial-2"), succeeded)
        const ended = yield* result(nats, instanceId).pipe(
          Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis") })
        )
        assert.strictEqual(ended.state, "SUCCEEDED")
      }
      assert.strictEqual(executor.ran.length, 3)
    }))

  it.effect("A05 A08 examples/sub-workflow.yaml: children on both coordinators, linked; B10 a stop reaches them; an unknown definition is FATAL", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-sub-1")
      yield* coordinator("co-sub-2")
      let isHeld = false
      const executor = yield* ScriptedExecutor.make(
        nats,
        "ex-sub",
        (spec) => isHeld ? undefined : { _tag: "SUCCEEDED", outputs: { file: `${String(spec.params["region"])}.csv` } }
      )
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, example("sub-workflow-child") as object)
      const { instanceId } = yield* start(nats, { inline: example("sub-workflow") })
      assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
      const { tasks } = yield* view(nats, instanceId)
      assert.deepStrictEqual(tasks[0]?.outputs, { items: [{ file: "eu.csv" }, { file: "us.csv" }] })
      for (const { child } of tasks[0]?.attempts ?? []) {
        assert.isDefined(child)
        if (child === undefined) continue
        const one = yield* view(nats, child)
        assert.strictEqual(one.state, "SUCCEEDED")
        assert.strictEqual(one.parent, instanceId)
      }
      isHeld = true
      const stopped = yield* start(nats, { inline: example("sub-workflow") })
      yield* waitFor(() => executor.running.size === 2)
      yield* Rpc.call(nats, Subject.rpc.workflow("stop"), Accepted, { instanceId: stopped.instanceId })
      assert.strictEqual((yield* result(nats, stopped.instanceId)).state, "STOPPED")
      const children = (yield* view(nats, stopped.instanceId)).tasks[0]?.attempts ?? []
      assert.deepStrictEqual(children.map(({ state }) => state), ["KILLED", "KILLED"])
      const lost = yield* start(nats, {
        inline: {
          metadata: { name: "lost" },
          spec: { tasks: [{ name: "a", type: "sub-workflow", with: { definition: "nowhere" } }] }
        }
      })
      const ended = yield* result(nats, lost.instanceId)
      assert.strictEqual(ended.state, "FAILED")
      assert.match(ended.reason ?? "", /no workflow definition nowhere/u)
    }))

  it.effect("B19 force-success and recover, run-task of a finished instance, force-start of one that waits for a slot", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-commands")
      let isHeld = false
      const executor = yield* ScriptedExecutor.make(
        nats,
        "ex-commands",
        (spec) => isHeld ? undefined : spec.task === "primary" ? { _tag: "FAILED", reason: "exit 1" } : succeeded
      )
      const command = (verb: "recover" | "run-task" | "force-success" | "force-start", body: object) =>
        Rpc.call(nats, Subject.rpc.workflow(verb), Accepted, body)
      const { instanceId } = yield* start(nats, {
        inline: {
          metadata: { name: "commands" },
          spec: { tasks: [{ name: "primary", type: "noop" }, { name: "next", type: "noop", dependsOn: ["primary"] }] }
        }
      })
      assert.strictEqual((yield* result(nats, instanceId)).state, "FAILED")
      yield* command("force-success", { instanceId, task: "primary", reason: "checked by hand" })
      yield* command("recover", { instanceId })
      assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, 2)
      yield* command("run-task", { instanceId, task: "next" })
      yield* waitFor(() => executor.ran.length === 3)
      assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
      const refused = yield* Effect.flip(command("run-task", { instanceId, task: "nobody" }))
      assert.deepStrictEqual([refused.code, refused.path], ["InvalidMessage", "task"])
      isHeld = true
      const group = yield* start(nats, { inline: example("concurrency-group") })
      yield* waitFor(() => executor.running.size === 2)
      const waiting = (yield* view(nats, group.instanceId)).tasks.find((task) => task.name === "urgent")
      assert.strictEqual(waiting?.why, "waits for a slot of group warehouse")
      yield* command("force-start", { instanceId: group.instanceId, task: "urgent" })
      yield* waitFor(() => executor.running.size === 3)
      isHeld = false
      for (const running of executor.running.values()) executor.report(running.spec, running.owner, succeeded)
      assert.strictEqual((yield* result(nats, group.instanceId)).state, "SUCCEEDED")
    }))

  it.effect("A65 examples/dependent.yaml: waits for the newest run of another workflow, and fails when it failed or there is none", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("co-dependent-1")
      yield* coordinator("co-dependent-2")
      const executor = yield* ScriptedExecutor.make(
        nats,
        "ex-dependent",
        (spec) => spec.task === "up" ? undefined : succeeded
      )
      const upstream = { metadata: { name: "hello" }, spec: { tasks: [{ name: "up", type: "noop" }] } }
      const dependent = example("dependent") as { readonly spec: { readonly tasks: ReadonlyArray<object> } }
      const impatient = {
        ...dependent,
        spec: { tasks: [{ ...dependent.spec.tasks[0], retry: { times: 0 } }, dependent.spec.tasks[1]] }
      }
      const none = yield* start(nats, { inline: impatient })
      assert.match((yield* result(nats, none.instanceId)).reason ?? "", /hello has no run/u)
      for (const [fact, state] of [[succeeded, "SUCCEEDED"], [{ _tag: "FAILED", reason: "no" }, "FAILED"]] as const) {
        const up = yield* start(nats, { inline: upstream })
        yield* waitFor(() => executor.running.size === 1)
        const waiting = yield* start(nats, { inline: impatient })
        assert.strictEqual((yield* view(nats, waiting.instanceId)).tasks[0]?.state, "RUNNING")
        for (const running of executor.running.values()) executor.report(running.spec, running.owner, fact)
        const ended = yield* result(nats, waiting.instanceId)
        assert.strictEqual(ended.state, state)
        if (state === "FAILED") assert.match(ended.reason ?? "", /of hello is FAILED/u)
        else {
          assert.deepStrictEqual((yield* view(nats, waiting.instanceId)).tasks[0]?.outputs, {
            runs: { hello: up.instanceId }
          })
        }
      }
    }))
})

/** Until `holds`, looked at whenever the event loop has gone round; fails when that takes too long. */
const waitFor = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(function look(): Effect.Effect<void> {
    return holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), Effect.suspend(look))
  }).pipe(Effect.timeout("90 seconds"), Effect.orDie)
