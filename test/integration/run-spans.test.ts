/**
 * Spans of runs and tasks: one trace for a run, given by its submitter or made for it, which whoever takes the run over goes on with.
 */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import inlinePlugin from "../../plugins/inline/plugin.ts"
import * as Coordinator from "../../services/coordinator/main.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import * as Append from "../../shared/jetstream/Append.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { PluginHost } from "../../shared/plugin/Plugin.ts"
import { ClaimResult } from "../../shared/protocol/Claim.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId, PoolName } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowResult } from "../../shared/protocol/Workflow.ts"
import * as Spans from "../../shared/telemetry/Spans.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { about, claim, pool, snapshot, until } from "./PoolSchedulers.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

/** A coordinator, and the spans that it made. */
const coordinator = (name: string) =>
  Effect.gen(function*() {
    const { url } = yield* Broker
    const made: Array<Spans.Ended> = []
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount: 4, ttlMs: 60_000 }).pipe(
        Layer.provide(Nats.layer({ url, name })),
        Layer.provide(Layer.succeed(Spans.ProcessSpans, { ended: (span: Spans.Ended) => void made.push(span) }))
      ),
      scope
    )
    const stop = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => stop)
    return { made, stop }
  })

/** A pool scheduler that has a pool of one, and the spans that it made. */
const poolScheduler = (name: string) =>
  Effect.gen(function*() {
    const { url } = yield* Broker
    const made: Array<Spans.Ended> = []
    yield* Layer.build(
      PoolScheduler.layer({
        member: MemberId.make(name),
        version: "test",
        pools: [{ name: PoolName.make(name), provider: "inline", size: 1 }]
      }).pipe(
        Layer.provide(Nats.layer({ url, name })),
        Layer.provide(PluginHost.layer([inlinePlugin, fifoPlugin])),
        Layer.provide(Layer.succeed(Spans.ProcessSpans, { ended: (span: Spans.Ended) => void made.push(span) }))
      )
    )
    return made
  })

const inline = (name: string) => ({
  metadata: { name },
  spec: { tasks: [{ name: "one", type: "noop" }, { name: "two", type: "noop", dependsOn: ["one"] }] }
})

const start = (nats: Connection, body: object, headers: Readonly<Record<string, string>> = {}) =>
  Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, body, { headers }).pipe(
    Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis"), while: (error) => error.code !== "Conflict" })
  )
const result = (nats: Connection, instanceId: string) =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, { timeoutMs: 70_000 })
    .pipe(Effect.retry({ times: 600, schedule: Schedule.spaced("100 millis") }))

const brief = (spans: ReadonlyArray<Spans.Ended>) => spans.map(({ error, name, parent }) => ({ name, parent, error }))

layer(Broker.layer(), { timeout: 120_000, excludeTestServices: true })("spans of a run", (it) => {
  it.effect("are of the submitter's trace, before and after another coordinator has taken the run over", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      const first = yield* coordinator("co-first")
      const executor = yield* ScriptedExecutor.make(
        nats,
        "ex-spans",
        (spec) => spec.task === "one" ? { _tag: "SUCCEEDED", outputs: {} } : undefined
      )
      const { instanceId } = yield* start(nats, { inline: inline("handed") }, { [Subject.header.traceparent]: parent })
      const running = yield* until(
        Effect.sync(() => [...executor.running.values()].find(({ spec }) => spec.task === "two")),
        (found) => found !== undefined
      )
      assert.strictEqual(running?.spec.env?.["TRACEPARENT"], parent)
      yield* first.stop
      const second = yield* coordinator("co-second")
      if (running !== undefined) {
        executor.report(running.spec, MemberId.make("co-second"), { _tag: "FAILED", reason: "exit 3", exitCode: 3 })
      }
      assert.strictEqual((yield* result(nats, instanceId)).state, "FAILED")
      assert.deepStrictEqual(brief(first.made), [{ name: "task default/handed/one", parent, error: undefined }])
      assert.deepStrictEqual(brief(second.made).map(({ name, parent }) => ({ name, parent })), [
        { name: "task default/handed/two", parent },
        { name: "run default/handed", parent }
      ])
      const [task, run] = second.made
      assert.strictEqual(task?.error, "exit 3")
      assert.include(task?.attributes, {
        "heddle.instance": instanceId,
        "heddle.task": "two",
        "heddle.task.type": "noop",
        "heddle.attempt": 1,
        "heddle.state": "FAILED",
        "heddle.executor": "ex-spans",
        "heddle.exit_code": 3
      })
      assert.include(run?.attributes, { "heddle.instance": instanceId, "heddle.run": 1, "heddle.state": "FAILED" })
      assert.isDefined(run?.error)
      assert.isNotTrue(run?.isParent)
      assert.isAtMost(run?.startedAt ?? Infinity, task?.startedAt ?? 0)
      assert.isAtLeast(run?.endedAt ?? 0, task?.endedAt ?? Infinity)
    }))

  it.effect("without a submitter's are of a trace of the run's own, whose first span is the run", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      const { made } = yield* coordinator("co-own")
      const executor = yield* ScriptedExecutor.make(nats, "ex-own", () => ({ _tag: "SUCCEEDED", outputs: {} }))
      const { instanceId } = yield* start(nats, { inline: inline("own") })
      assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
      const parent = Spans.rootOf(instanceId)
      assert.deepStrictEqual(
        made.filter(({ attributes }) => attributes["heddle.instance"] === instanceId)
          .map(({ error, isParent, name, parent }) => ({ name, parent, error, isParent: isParent === true })),
        [
          { name: "task default/own/one", parent, error: undefined, isParent: false },
          { name: "task default/own/two", parent, error: undefined, isParent: false },
          { name: "run default/own", parent, error: undefined, isParent: true }
        ]
      )
      assert.deepStrictEqual(
        executor.ran.filter(({ instance }) => instance === instanceId).map(({ env }) => env?.["TRACEPARENT"]),
        [parent, parent]
      )
    }))
})

layer(Broker.layer(), { timeout: 120_000, excludeTestServices: true })("spans of a claim", (it) => {
  it.effect("are its wait and its write, of the trace that it was asked in, by rpc, by a message or without", () =>
    Effect.gen(function*() {
      const { url } = yield* Broker
      const nats = yield* open({ url, name: "test" })
      const made = yield* poolScheduler("traced")
      const of = pool("traced")
      yield* until(snapshot(nats, of), (_) => _.idleReady === 1)
      const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      const headers = { [Subject.header.traceparent]: parent }
      const release = (claimId: string) => about(nats, of, "release", { claimId })
      const spansOf = (claimId: string, count: number) =>
        until(
          Effect.sync(() => made.filter(({ attributes }) => attributes["heddle.claim"] === claimId)),
          (found) => found.length === count
        )
      const shape = (spans: ReadonlyArray<Spans.Ended>) =>
        spans.map(({ isParent, name, parent, self }) => ({ name, parent, self, isParent: isParent === true }))

      const granted = yield* Rpc.call(nats, Subject.rpc.pool(of, "claim"), ClaimResult, { ttl: "10m" }, { headers })
      const id = `claim default/traced ${granted.claimId}`
      const self = Spans.childOf(parent, id)
      const first = yield* spansOf(granted.claimId, 3)
      assert.deepStrictEqual(shape(first), [
        { name: "claim default/traced", parent, self, isParent: false },
        { name: "claim wait default/traced", parent: self, self: undefined, isParent: false },
        { name: "claim write default/traced", parent: self, self: undefined, isParent: false }
      ])
      const [whole, wait, write] = first
      assert.include(whole?.attributes, { "heddle.outcome": "Claimed", "heddle.attempts": 1, "heddle.team": "default" })
      assert.isUndefined(whole?.error)
      assert.deepStrictEqual(
        [wait?.startedAt, wait?.endedAt, write?.endedAt],
        [whole?.startedAt, write?.startedAt, whole?.endedAt]
      )

      // The pool's only sandbox is held: this one waits until its deadline, and there is no write.
      const late = yield* claim(nats, of, { claimId: "late", deadline: "10ms" })
      assert.strictEqual(late.outcome, "DeadlineExceeded")
      const root = Spans.rootOf("claim default/traced late")
      const second = yield* spansOf("late", 2)
      assert.deepStrictEqual(shape(second), [
        { name: "claim default/traced", parent: root, self: undefined, isParent: true },
        { name: "claim wait default/traced", parent: root, self: undefined, isParent: false }
      ])
      assert.deepStrictEqual(second.map(({ error }) => error === undefined), [false, false])

      yield* release(granted.claimId)
      yield* Append.publish(nats, Subject.claim(of), JSON.stringify({ claimId: "stored" }), { headers })
      const third = yield* spansOf("stored", 3)
      assert.deepStrictEqual(third.map(({ parent }) => parent)[0], parent)
      yield* release("stored")
      yield* claim(nats, of, { claimId: "both", count: 2, deadline: "10ms" })
      assert.lengthOf(yield* spansOf("both", 2), 2)
    }))
})
