/**
 * What a mesh shows of itself: every service in one process on a real broker, work done, then `/metrics`, `/readyz` and `/livez` asked over HTTP.
 */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import inlinePlugin from "../../plugins/inline/plugin.ts"
import noopPlugin from "../../plugins/noop/plugin.ts"
import * as Coordinator from "../../services/coordinator/main.ts"
import * as Failover from "../../services/failover/main.ts"
import * as Gateway from "../../services/gateway/main.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import * as TaskExecutor from "../../services/task-executor/main.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { definePlugin, PluginHost } from "../../shared/plugin/Plugin.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId, StartupId } from "../../shared/protocol/Token.ts"
import { StartAnswer, WorkflowResult } from "../../shared/protocol/Workflow.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { Meters, Telemetry } from "../../shared/telemetry/Meters.ts"
import * as NatsMeters from "../../shared/telemetry/NatsMeters.ts"
import { ProcessReadiness, Readiness } from "../../shared/telemetry/Readiness.ts"
import * as StatusServer from "../../shared/telemetry/StatusServer.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { about, apply, claim, pool, until } from "./PoolSchedulers.ts"

/** Fails at its first attempt, inline as `noop` is. */
const flaky = TaskType.inline({
  type: "flaky",
  description: "Fails once.",
  with: Schema.Struct({}),
  run: ({ spec }) =>
    spec.attempt === 1 ? { _tag: "Failed", reason: "the first time" } : { _tag: "Succeeded", outputs: {} }
})
const flakyPlugin = definePlugin({
  name: "flaky",
  version: "1.0.0",
  api: "^1",
  contributes: { taskTypes: { flaky: () => flaky } }
})

let gatewayUrl = ""

class Status extends Context.Service<Status, { readonly port: number }>()("test/Status") {}

/** A process that runs all of heddle, with numbers of its own. */
const mesh = Layer.unwrap(Effect.gen(function*() {
  const { url } = yield* Broker
  const common = { version: "0.0.0", ttlMs: 60_000 }
  const services = Layer.mergeAll(
    Failover.layer({ member: MemberId.make("failover"), ...common }),
    Coordinator.layer({ member: MemberId.make("coordinator"), shardCount: 8, durability: { sync: "2m" }, ...common }),
    PoolScheduler.layer({ member: MemberId.make("scheduler"), ...common }),
    TaskExecutor.layer({ member: MemberId.make("executor"), pools: "all", slots: 16, finishMs: 0, ...common }),
    Gateway.layer({
      member: MemberId.make("gateway"),
      host: "127.0.0.1",
      port: 0,
      token: undefined,
      origins: new Set(),
      runsMax: 1_000,
      journalBytes: Gateway.journalBytesDefault,
      consoleDir: "/nowhere",
      durability: {},
      listening: (url) => {
        gatewayUrl = url
      },
      ...common
    })
  )
  const status = Layer.effect(
    Status,
    Effect.gen(function*() {
      const server = yield* StatusServer.serve({ host: "127.0.0.1", port: 0, service: "dev", version: "0.0.0" })
      const nats = yield* Nats
      yield* NatsMeters.show(nats)
      yield* Streams.ensure(nats)
      return server
    })
  )
  return services.pipe(
    Layer.provideMerge(status),
    Layer.provide(PluginHost.layer([inlinePlugin, noopPlugin, fifoPlugin, flakyPlugin])),
    Layer.provideMerge(Nats.layer({ url, name: "mesh" })),
    Layer.provide(Layer.succeed(Telemetry, new Meters())),
    Layer.provide(Layer.succeed(ProcessReadiness, new Readiness()))
  )
}))

const get = (path: string) =>
  Effect.gen(function*() {
    const { port } = yield* Status
    return yield* Effect.promise(async () => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`)
      return { status: response.status, text: await response.text() }
    })
  })

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** What Prometheus reads out of it. */
const parse = (text: string): ReadonlyArray<Sample> =>
  text.split("\n").flatMap((line) => {
    if (line === "" || line.startsWith("#")) return []
    const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (found === null) throw new Error(`no sample: ${line}`)
    const labels = Object.fromEntries(
      Array.from((found[2] ?? "").matchAll(/([a-z]+)="((?:[^"\\]|\\.)*)"/g), ([, name, value]) => [name, value])
    )
    return [{ name: found[1] ?? "", labels, value: Number(found[3]) }]
  })

const metrics = Effect.map(get("/metrics"), ({ text }) => parse(text))

const valueOf = (samples: ReadonlyArray<Sample>, name: string, labels: Readonly<Record<string, string>> = {}) => {
  const found = samples.filter((sample) =>
    sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value)
  )
  return found.reduce((sum, { value }) => sum + value, 0)
}

const result = (nats: Nats["Service"], instanceId: string) =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait: "60s" }, { timeoutMs: 70_000 })

/** Until they are as wanted: what is counted beside an answer may come a moment after it. */
const untilMetrics = (isWanted: (samples: ReadonlyArray<Sample>) => boolean) => until(metrics, isWanted)

layer(mesh.pipe(Layer.provideMerge(Broker.layer())), { timeout: 120_000, excludeTestServices: true })(
  "what a mesh shows",
  (it) => {
    it.effect("runs and tasks are counted as they went", () =>
      Effect.gen(function*() {
        const nats = yield* Nats
        yield* apply(nats, "slots", { provider: "inline", size: 8 })
        yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, {
          metadata: { name: "counted" },
          spec: {
            pool: "slots",
            tasks: [
              { name: "first", type: "noop" },
              { name: "second", type: "flaky", dependsOn: ["first"], retry: { times: 1, interval: "10ms" } },
              { name: "third", type: "noop", dependsOn: ["second"] }
            ]
          }
        })
        const { instanceId } = yield* Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, {
          definition: "counted"
        })
        assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")

        const samples = yield* metrics
        const definition = "default/counted"
        assert.strictEqual(valueOf(samples, "heddle_runs_started_total", { definition }), 1)
        assert.strictEqual(valueOf(samples, "heddle_runs_ended_total", { definition, state: "SUCCEEDED" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_runs_ended_total", { definition }), 1)
        assert.strictEqual(valueOf(samples, "heddle_run_duration_seconds_count", { state: "SUCCEEDED" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_tasks_submitted_total"), 4)
        assert.strictEqual(valueOf(samples, "heddle_tasks_started_total"), 4)
        assert.strictEqual(valueOf(samples, "heddle_task_schedule_to_start_seconds_count"), 4)
        assert.strictEqual(valueOf(samples, "heddle_tasks_ended_total", { state: "SUCCEEDED" }), 3)
        assert.strictEqual(valueOf(samples, "heddle_tasks_ended_total", { state: "FAILED" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_task_retries_total"), 1)
        assert.strictEqual(valueOf(samples, "heddle_executor_attempts_total", { outcome: "SUCCEEDED" }), 3)
        assert.strictEqual(valueOf(samples, "heddle_executor_attempts_total", { outcome: "FAILED" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_task_exec_seconds_count", { type: "noop" }), 2)
        assert.strictEqual(valueOf(samples, "heddle_task_exec_seconds_count", { type: "flaky" }), 2)
        assert.isAbove(
          valueOf(samples, "heddle_claims_total", { pool: "default/slots", for: "task", outcome: "Claimed" }),
          0
        )
        const appends = valueOf(samples, "heddle_ledger_appends_total", { outcome: "acked" })
        assert.isAbove(appends, 3)
        assert.strictEqual(
          valueOf(samples, "heddle_ledger_append_seconds_count"),
          valueOf(samples, "heddle_ledger_appends_total")
        )
        assert.isAbove(valueOf(samples, "heddle_journal_bytes_total"), 1_000)
        assert.strictEqual(valueOf(samples, "heddle_shards_owned"), 8)
        assert.strictEqual(valueOf(samples, "heddle_shard_takeovers_total", { from: "nobody" }), 8)
        assert.strictEqual(valueOf(samples, "heddle_durability_info", { fsync: "every" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_durability_fsync_interval_seconds"), 120)
      }))

    it.effect("claims are counted by outcome, sandboxes by state, and every part of a claim is timed", () =>
      Effect.gen(function*() {
        const nats = yield* Nats
        const boxes = pool("boxes")
        const of = { pool: "default/boxes" }
        yield* apply(nats, "boxes", { provider: "inline", size: 2 })
        yield* until(metrics, (samples) => valueOf(samples, "heddle_pool_sandboxes", { ...of, state: "idle" }) === 2)

        const first = yield* claim(nats, boxes, { claimId: "one" })
        assert.strictEqual(first.outcome, "Claimed")
        assert.strictEqual((yield* claim(nats, boxes, { claimId: "two", ttl: 300 })).outcome, "Claimed")
        assert.strictEqual((yield* about(nats, boxes, "renew", { claimId: "one" })).outcome, "Claimed")
        yield* untilMetrics((samples) => valueOf(samples, "heddle_claims_ended_total", { ...of, how: "expired" }) === 1)
        yield* until(metrics, (samples) => valueOf(samples, "heddle_pool_sandboxes", { ...of, state: "idle" }) === 1)
        // a batch of more than are idle ends at its deadline, as each of its members
        const late = yield* claim(nats, boxes, { claimId: "both", count: 2, deadline: 50 })
        assert.strictEqual(late.outcome, "DeadlineExceeded")
        yield* about(nats, boxes, "release", { claimId: "one" })
        yield* untilMetrics((samples) => valueOf(samples, "heddle_pool_sandboxes", { ...of, state: "idle" }) === 2)
        assert.strictEqual((yield* claim(nats, boxes, { claimId: "again", count: 2 })).outcome, "Claimed")

        const samples = yield* metrics
        const outcomes = { ...of, for: "client" }
        assert.strictEqual(valueOf(samples, "heddle_claims_total", { ...outcomes, outcome: "Claimed" }), 4)
        assert.strictEqual(valueOf(samples, "heddle_claims_total", { ...outcomes, outcome: "DeadlineExceeded" }), 2)
        assert.strictEqual(valueOf(samples, "heddle_claims_total", of), 6, "no other outcome")
        // the batch is one claim that somebody waited for
        assert.strictEqual(valueOf(samples, "heddle_claim_duration_seconds_count", of), 3)
        assert.strictEqual(valueOf(samples, "heddle_claim_queue_wait_seconds_count", of), 3)
        const writes = valueOf(samples, "heddle_claim_cas_seconds_count", of)
        assert.isAtLeast(writes, 4)
        assert.strictEqual(valueOf(samples, "heddle_claim_cas_total", of), writes)
        assert.isAtMost(
          valueOf(samples, "heddle_claim_queue_wait_seconds_sum", of),
          valueOf(samples, "heddle_claim_duration_seconds_sum", of)
        )
        assert.strictEqual(valueOf(samples, "heddle_claims_ended_total", { ...of, how: "released" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_claim_leases_renewed_total", of), 1)
        assert.strictEqual(valueOf(samples, "heddle_pool_sandboxes", { ...of, state: "claimed" }), 2)
        assert.strictEqual(valueOf(samples, "heddle_pool_target", of), 2)
        assert.strictEqual(valueOf(samples, "heddle_sandbox_creations_total", { ...of, outcome: "done" }), 2)
        assert.strictEqual(valueOf(samples, "heddle_pools_owned"), 2)
      }))

    it.effect("a member that leaves is a failover, told by its kind", () =>
      Effect.gen(function*() {
        const nats = yield* Nats
        yield* untilMetrics((samples) => valueOf(samples, "heddle_members", { role: "task-executor" }) === 1)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Registry.register(nats, {
            member: MemberId.make("passing"),
            startup: StartupId.make("passing1"),
            role: "task-executor",
            host: "here",
            pid: 1,
            version: "0.0.0",
            startedAt: new Date(0).toISOString(),
            slots: 1,
            pools: []
          })
          yield* untilMetrics((samples) => valueOf(samples, "heddle_members", { role: "task-executor" }) === 2)
        }))
        const samples = yield* untilMetrics((samples) =>
          valueOf(samples, "heddle_failovers_total", { kind: "WORKER_FAILOVER" }) === 1
        )
        assert.strictEqual(valueOf(samples, "heddle_failover_detection_seconds_count"), 1)
        assert.strictEqual(valueOf(samples, "heddle_failover_active"), 1)
      }))

    it.effect("requests over HTTP are counted by route and status, and timed", () =>
      Effect.gen(function*() {
        const before = yield* metrics
        const request = (path: string) => Effect.promise(async () => (await fetch(`${gatewayUrl}${path}`)).status)
        assert.strictEqual(yield* request("/api/v1/pools"), 200)
        assert.strictEqual(yield* request("/api/v1/workflows/nobody"), 404)
        assert.strictEqual(yield* request("/livez"), 200)
        const samples = yield* metrics
        const more = (name: string, labels: Readonly<Record<string, string>>) =>
          valueOf(samples, name, labels) - valueOf(before, name, labels)
        assert.strictEqual(more("heddle_http_requests_total", { route: "listPools", status: "2xx" }), 1)
        assert.strictEqual(more("heddle_http_requests_total", { route: "getWorkflow", status: "4xx" }), 1)
        assert.strictEqual(more("heddle_http_requests_total", { route: "probe", status: "2xx" }), 1)
        assert.strictEqual(more("heddle_http_requests_total", {}), 3)
        assert.strictEqual(more("heddle_http_request_duration_seconds_count", { route: "listPools" }), 1)
        assert.strictEqual(valueOf(samples, "heddle_http_open", { kind: "request" }), 0)
      }))

    it.effect("every metric of the catalogue is shown, with its labels, and nothing else", () =>
      Effect.gen(function*() {
        const { text } = yield* get("/metrics")
        const kinds = Array.from(text.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name, kind]) => `${name} ${kind}`)
        assert.deepStrictEqual(kinds.toSorted(), Catalog.all.map(({ kind, name }) => `${name} ${kind}`).toSorted())
        const help = Array.from(text.matchAll(/^# HELP (\S+) (.*)$/gm), ([, name, line]) => `${name} ${line}`)
        assert.deepStrictEqual(help.toSorted(), Catalog.all.map(({ help, name }) => `${name} ${help}`).toSorted())
        for (const { labels, name, value } of parse(text)) {
          const definition = Catalog.all.find((one) =>
            one.name === name ||
            (one.kind === "histogram" && ["bucket", "sum", "count"].some((part) => name === `${one.name}_${part}`))
          )
          if (definition === undefined) return assert.fail(`${name} is not in the catalogue`)
          const { le: _, ...own } = labels
          assert.sameMembers(Object.keys(own), Object.keys(definition.labels), name)
          for (const [label, values] of Object.entries(definition.labels)) {
            if (!("max" in values)) assert.include(values, own[label], `${name} ${label}`)
          }
          assert.isAtLeast(value, 0, name)
        }
      }))

    it.effect(
      "without a broker it lives and is not ready, and says why; with it again it is ready",
      () =>
        Effect.gen(function*() {
          const broker = yield* Broker
          yield* until(get("/readyz"), ({ status }) => status === 200)
          yield* Effect.promise(() => broker.kill())
          const away = yield* until(get("/readyz"), ({ status }) => status === 503)
          const reasons =
            (JSON.parse(away.text) as { readonly reasons: ReadonlyArray<Readonly<Record<string, string>>> })
              .reasons
          const lost = reasons.find(({ check }) => check === "nats")
          assert.include(lost?.["reason"], broker.url)
          assert.strictEqual((yield* get("/livez")).status, 200)
          const samples = yield* metrics
          assert.deepStrictEqual(
            [valueOf(samples, "heddle_ready"), valueOf(samples, "heddle_nats_connected")],
            [0, 0]
          )
          yield* Effect.promise(() => broker.start())
          yield* until(get("/readyz"), ({ status }) => status === 200)
          yield* untilMetrics((samples) => valueOf(samples, "heddle_nats_reconnects_total") >= 1)
        }),
      { timeout: 180_000 }
    )
  }
)
