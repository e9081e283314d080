import { assert, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import * as Spans from "./Spans.ts"

const Attributes = Schema.Array(Schema.Struct({ key: Schema.String, value: Schema.Unknown }))
const Span = Schema.Struct({
  traceId: Schema.String,
  spanId: Schema.String,
  parentSpanId: Schema.optional(Schema.String),
  name: Schema.String,
  startTimeUnixNano: Schema.String,
  endTimeUnixNano: Schema.String,
  attributes: Attributes,
  events: Schema.Array(Schema.Struct({ name: Schema.String, timeUnixNano: Schema.String })),
  status: Schema.Struct({ code: Schema.Int, message: Schema.optional(Schema.String) })
})
const Body = Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({
    resource: Schema.Struct({ attributes: Attributes }),
    scopeSpans: Schema.Array(Schema.Struct({ spans: Schema.Array(Span) }))
  }))
})
const decode = Schema.decodeUnknownSync(Schema.fromJsonString(Body))

/** What a collector does. */
const collector = Effect.acquireRelease(
  Effect.promise(async () => {
    const got: Array<{ readonly path: string; readonly key: string | undefined; readonly body: string }> = []
    const server = createServer((request, response) => {
      let body = ""
      request.setEncoding("utf8").on("data", (text: string) => {
        body += text
      }).on("end", () => {
        const key = request.headers["api-key"]
        got.push({ path: request.url ?? "", key: typeof key === "string" ? key : undefined, body })
        response.writeHead(200, { "content-type": "application/json" }).end("{}")
      })
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return { server, got, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  }),
  ({ server }) =>
    Effect.promise(() =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
    )
)

const resource = { serviceName: "heddle-coordinator", serviceVersion: "1.2.3", instance: "co-1" }
const within = <A, E, R>(env: Readonly<Record<string, string>>, effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnvRecord(env)),
    Effect.scoped
  )

const given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
const task: Spans.Ended = {
  name: "task default/a/one",
  kind: "internal",
  parent: given,
  startedAt: 1_000,
  endedAt: 3_500,
  attributes: { "heddle.instance": "a-1", "heddle.exit_code": undefined },
  events: [["dispatched", 1_200], ["started", undefined]]
}

it.effect("without an endpoint there are none", () =>
  Effect.gen(function*() {
    assert.isUndefined(yield* within({}, Spans.fromEnvironment(resource)))
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_SDK_DISABLED: "true" }
    assert.isUndefined(yield* within(env, Spans.fromEnvironment(resource)))
  }))

it.live("what has ended is sent by OTLP, all of it before the end", () =>
  Effect.gen(function*() {
    const { got, url } = yield* collector
    const root = Spans.rootOf("own-1")
    yield* within(
      { OTEL_EXPORTER_OTLP_ENDPOINT: `${url}/`, OTEL_EXPORTER_OTLP_HEADERS: "api-key=a%20b" },
      Effect.gen(function*() {
        const spans = yield* Spans.fromEnvironment(resource)
        assert.isDefined(spans)
        spans?.ended(task)
        spans?.ended({ ...task, name: "failed", error: "exit 3" })
        spans?.ended({ ...task, name: "of a trace that nobody samples", parent: given.replace(/01$/, "00") })
        spans?.ended({ ...task, name: "child", parent: root })
        spans?.ended({ ...task, name: "run", parent: root, isParent: true })
        spans?.ended({ ...task, name: "alone", parent: undefined })
      })
    )
    assert.deepStrictEqual([...new Set(got.map(({ key, path }) => `${path} ${key}`))], ["/v1/traces a b"])
    const bodies = got.map(({ body }) => decode(body))
    const sent = bodies.flatMap(({ resourceSpans }) => resourceSpans.flatMap(({ scopeSpans }) => scopeSpans))
      .flatMap(({ spans }) => spans)
    assert.deepStrictEqual(sent.map(({ name }) => name), ["task default/a/one", "failed", "child", "run", "alone"])
    const [first, failed, child, run, alone] = sent
    assert.include(first, {
      traceId: "0af7651916cd43dd8448eb211c80319c",
      parentSpanId: "b7ad6b7169203331",
      startTimeUnixNano: "1000000000",
      endTimeUnixNano: "3500000000"
    })
    assert.deepStrictEqual(first?.attributes, [{ key: "heddle.instance", value: { stringValue: "a-1" } }])
    assert.deepStrictEqual(first?.events.map(({ name, timeUnixNano }) => [name, timeUnixNano]), [
      ["dispatched", "1200000000"]
    ])
    assert.deepStrictEqual([first?.status.code, failed?.status.code, failed?.status.message], [1, 2, "exit 3"])
    const [, traceId, spanId] = root.split("-")
    assert.deepStrictEqual([child?.traceId, child?.parentSpanId], [traceId, spanId])
    assert.deepStrictEqual([run?.traceId, run?.spanId], [traceId, spanId])
    assert.isUndefined(run?.parentSpanId)
    assert.notStrictEqual(alone?.traceId, traceId)
    assert.strictEqual(new Set(sent.map(({ spanId }) => spanId)).size, sent.length)
    const attributes = bodies[0]?.resourceSpans[0]?.resource.attributes
    assert.deepInclude(attributes ?? [], { key: "service.name", value: { stringValue: "heddle-coordinator" } })
    assert.deepInclude(attributes ?? [], { key: "service.instance.id", value: { stringValue: "co-1" } })
  }).pipe(Effect.scoped))

it("the context made for an instance is always the same, and W3C's", () => {
  assert.match(Spans.rootOf("a-1"), /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  assert.strictEqual(Spans.rootOf("a-1"), Spans.rootOf("a-1"))
  assert.notStrictEqual(Spans.rootOf("a-1"), Spans.rootOf("a-2"))
})

it("what is no trace context is ignored, and a span below one has the same ids whoever makes them", () => {
  assert.strictEqual(Spans.contextOf(given), given)
  for (const none of [undefined, "", "00-abc-def-01", given.replace("00-", "ff-"), `${given}0`]) {
    assert.isUndefined(Spans.contextOf(none))
  }
  const child = Spans.childOf(given, "claim a")
  assert.match(child, /^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/)
  assert.strictEqual(Spans.childOf(given, "claim a"), child)
  assert.notStrictEqual(Spans.childOf(given, "claim b"), child)
})

it.live("a span whose context others name is sent with it", () =>
  Effect.gen(function*() {
    const { got, url } = yield* collector
    const self = Spans.childOf(given, "claim a")
    yield* within(
      { OTEL_EXPORTER_OTLP_ENDPOINT: url },
      Effect.map(Spans.fromEnvironment(resource), (spans) => {
        spans?.ended({ ...task, name: "claim", self })
        spans?.ended({ ...task, name: "wait", parent: self, startedAt: 1_000.25, endedAt: 1_000.75 })
      })
    )
    const sent = got.flatMap(({ body }) =>
      decode(body).resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
    )
    const [, traceId, spanId] = self.split("-")
    assert.deepStrictEqual(
      sent.map(({ name, parentSpanId, traceId }) => ({ name, parentSpanId, traceId })),
      [
        { name: "claim", parentSpanId: "b7ad6b7169203331", traceId },
        { name: "wait", parentSpanId: spanId, traceId }
      ]
    )
    assert.strictEqual(sent[0]?.spanId, spanId)
    assert.deepStrictEqual(
      [sent[1]?.startTimeUnixNano, sent[1]?.endTimeUnixNano],
      ["1000250000", "1000750000"],
      "shorter than a millisecond"
    )
  }).pipe(Effect.scoped))
