import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { Definition } from "../../shared/protocol/Definition.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker.stop())

const Echo = Schema.Struct({ text: Schema.String, n: Schema.optionalKey(Schema.Int) })
const EchoAnswer = Schema.Struct({ text: Schema.String, pool: Schema.optionalKey(Schema.String) })
const info = { service: "test", version: "1.2.3", description: "Test service", id: "startup-1" }

const setUp = Effect.fn("setUp")(function*(gate?: Deferred.Deferred<void>) {
  const server = yield* Nats.open({ url: broker.url, name: "server" })
  const client = yield* Nats.open({ url: broker.url, name: "client" })
  const scope = yield* Scope.make()
  const service = yield* RpcService.serve(server, info, [
    RpcService.endpoint({
      name: "echo",
      subject: "test.echo",
      request: Echo,
      handler: ({ text }) => Effect.succeed({ text })
    }),
    RpcService.endpoint({
      name: "claim",
      subject: "test.pool.*.*.claim",
      request: Schema.Struct({}),
      handler: (_, { tokens }) => Effect.succeed({ text: "claimed", pool: tokens.join("/") })
    }),
    RpcService.endpoint({
      name: "fails",
      subject: "test.fails",
      request: Schema.Struct({}),
      handler: () => Effect.fail(new ContractError({ code: "NoSuchPool", message: "no pool" }))
    }),
    RpcService.endpoint({
      name: "dies",
      subject: "test.dies",
      request: Schema.Struct({}),
      handler: () => Effect.die(new Error("a bug"))
    }),
    RpcService.endpoint({
      name: "huge",
      subject: "test.huge",
      request: Schema.Struct({}),
      handler: () => Effect.succeed({ text: "x".repeat(9_000_000) })
    }),
    RpcService.endpoint({
      name: "slow",
      subject: "test.slow",
      request: Schema.Struct({}),
      inFlightMax: 2,
      handler: () =>
        gate === undefined ? Effect.succeed({ text: "fast" }) : Effect.as(Deferred.await(gate), { text: "slow" })
    }),
    RpcService.endpoint({
      name: "definition",
      subject: "test.definition",
      request: Definition,
      handler: () => Effect.succeed({ text: "ok" })
    }),
    RpcService.endpointUnsafe({
      name: "sync",
      subject: "test.sync",
      request: Echo,
      handler: ({ text }, respond) =>
        text === "throw" ? boom() : text === "never" ? undefined : respond.answer({ text })
    })
  ]).pipe(Scope.provide(scope))
  return { server, client, service, close: Scope.close(scope, Exit.void) }
})
const boom = (): never => {
  throw new Error("a bug in a sync handler")
}
const send = (nats: Nats.Connection, subject: string, body: string | Uint8Array) =>
  Effect.map(
    nats.request(subject, body),
    (message) => ({ body: JSON.parse(message.text), code: message.header("Nats-Service-Error-Code") })
  )

/** Asks a replica that passes the request on to `to`. */
const passedOn = Effect.fn("passedOn")(
  function*(client: Nats.Connection, to: string, body: string, takenWaitMs = 2_000) {
    const replica = yield* Nats.open({ url: broker.url, name: "replica" })
    const subject = client.inbox()
    yield* replica.subscribe(subject, (message) => Forwarding.passOn(replica, to, message, { takenWaitMs }))
    return yield* send(client, subject, body)
  }
)

describe("Rpc", () => {
  it.live("answers, hands over the wildcards, and tells the contract's errors", () =>
    Effect.gen(function*() {
      const { client, close } = yield* setUp()
      assert.deepStrictEqual(yield* Rpc.call(client, "test.echo", EchoAnswer, { text: "hi" }), { text: "hi" })
      assert.deepStrictEqual(yield* Rpc.call(client, "test.sync", EchoAnswer, { text: "hi" }), { text: "hi" })
      assert.deepStrictEqual(yield* Rpc.call(client, "test.pool.default.gpu.claim", EchoAnswer, {}), {
        text: "claimed",
        pool: "default/gpu"
      })
      assert.deepStrictEqual((yield* Effect.flip(Rpc.call(client, "test.fails", EchoAnswer, {}))).answer, {
        error: { code: "NoSuchPool", message: "no pool" }
      })
      assert.strictEqual((yield* Effect.flip(Rpc.call(client, "test.nobody", EchoAnswer, {}))).code, "Unavailable")
      yield* close
    }))

  it.live("bad input: not JSON, every wrong field with its path, a bad name, 5 MB, a defect", () =>
    Effect.gen(function*() {
      const { client, close } = yield* setUp()
      const notJson = yield* send(client, "test.echo", "{nope")
      assert.deepStrictEqual([notJson.body.error.code, notJson.code], ["InvalidJson", "400"])
      const wrong = yield* send(client, "test.echo", JSON.stringify({ text: 7, n: "x", other: true }))
      assert.strictEqual(wrong.body.error.code, "InvalidMessage")
      assert.strictEqual(wrong.body.error.path, "text")
      assert.deepStrictEqual(
        wrong.body.error.details.map((
          problem: { readonly path: string; readonly value: unknown }
        ) => [problem.path, problem.value]),
        [["text", 7], ["n", "x"]]
      )
      const list = yield* send(client, "test.echo", "[]")
      assert.strictEqual(list.body.error.code, "InvalidMessage")
      const definition = yield* send(
        client,
        "test.definition",
        JSON.stringify({
          metadata: { name: "x" },
          spec: { tasks: [{ name: "a", type: "t" }, { name: "b" }, { name: 3, type: "t" }], priority: 12 }
        })
      )
      assert.deepStrictEqual(
        definition.body.error.details.map((problem: { readonly path: string }) => problem.path).toSorted(),
        ["spec.priority", "spec.tasks[1].type", "spec.tasks[2].name"]
      )
      const name = yield* send(
        client,
        "test.definition",
        JSON.stringify({ metadata: { name: "a b" }, spec: { tasks: [] } })
      )
      assert.deepStrictEqual([name.body.error.code, name.body.error.path], ["InvalidName", "metadata.name"])
      const subject = yield* send(client, "test.pool.default.a:b.claim", "{}")
      assert.strictEqual(subject.body.error.code, "InvalidName")
      const large = yield* send(client, "test.echo", JSON.stringify({ text: "x".repeat(5_000_000) }))
      assert.deepStrictEqual([large.body.error.code, large.code], ["PayloadTooLarge", "413"])
      const empty = yield* send(client, "test.pool.default.gpu.claim", "")
      assert.strictEqual(empty.body.text, "claimed")
      const bug = yield* send(client, "test.dies", "{}")
      assert.strictEqual(bug.body.error.code, "Internal")
      const huge = yield* send(client, "test.huge", "{}")
      assert.strictEqual(huge.body.error.code, "PayloadTooLarge")
      const syncBug = yield* send(client, "test.sync", JSON.stringify({ text: "throw" }))
      assert.strictEqual(syncBug.body.error.code, "Internal")
      assert.deepStrictEqual(yield* Rpc.call(client, "test.echo", EchoAnswer, { text: "still there" }), {
        text: "still there"
      })
      yield* close
    }))

  it.live("more than inFlightMax is answered Overloaded; at the end, what waits is answered ShuttingDown", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const { client, close } = yield* setUp(gate)
      const waiting = yield* Effect.forEach(
        [1, 2],
        () => Effect.forkChild(Effect.result(Rpc.call(client, "test.slow", EchoAnswer, {})), { startImmediately: true })
      )
      const never = yield* Effect.forkChild(
        Effect.result(Rpc.call(client, "test.sync", EchoAnswer, { text: "never" })),
        { startImmediately: true }
      )
      assert.strictEqual((yield* Effect.flip(Rpc.call(client, "test.slow", EchoAnswer, {}))).code, "Overloaded")
      const closing = yield* Effect.forkChild(close)
      const ends = yield* Effect.forEach([...waiting, never], (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual(ends.map((end) => end._tag === "Failure" ? end.failure.code : "?"), [
        "ShuttingDown",
        "ShuttingDown",
        "ShuttingDown"
      ])
      yield* Fiber.join(closing)
      assert.strictEqual(
        (yield* Effect.flip(Rpc.call(client, "test.echo", EchoAnswer, { text: "x" }))).code,
        "Unavailable"
      )
    }))

  it.live("discovery: PING, INFO and STATS as `nats micro` asks for them", () =>
    Effect.gen(function*() {
      const { client, close } = yield* setUp()
      yield* Rpc.call(client, "test.echo", EchoAnswer, { text: "x" })
      yield* send(client, "test.echo", "nope")
      for (const suffix of ["", ".test", ".test.startup-1"]) {
        assert.deepStrictEqual((yield* send(client, `$SRV.PING${suffix}`, "")).body, {
          type: "io.nats.micro.v1.ping_response",
          name: "test",
          id: "startup-1",
          version: "1.2.3",
          metadata: {}
        })
      }
      const described = (yield* send(client, "$SRV.INFO.test", "")).body
      assert.strictEqual(described.type, "io.nats.micro.v1.info_response")
      assert.deepStrictEqual(described.endpoints[1], {
        name: "claim",
        subject: "test.pool.*.*.claim",
        queue_group: "q",
        metadata: {}
      })
      const stats = (yield* send(client, "$SRV.STATS.test.startup-1", "")).body
      const echo = stats.endpoints[0]
      assert.deepStrictEqual([stats.type, echo.num_requests, echo.num_errors], [
        "io.nats.micro.v1.stats_response",
        2,
        1
      ])
      assert.include(echo.last_error, "InvalidJson")
      yield* close
    }))

  it.live("a request that another replica passes on is answered to its sender by the one who takes it", () =>
    Effect.gen(function*() {
      const { client, close, server, service } = yield* setUp()
      const prefix = "test.member.a.forwarded."
      yield* Forwarding.takeForwarded(server, prefix, service)
      const answer = yield* passedOn(client, `${prefix}test.pool.default.gpu.claim`, "{}")
      assert.deepStrictEqual([answer.body.text, answer.body.pool], ["claimed", "default/gpu"])
      const other = yield* passedOn(client, `${prefix}test.other`, "{}")
      assert.strictEqual(other.body.error.code, "UnknownSubject")
      // asked without being passed on: answered as any request
      const asked = yield* send(client, `${prefix}test.pool.default.gpu.claim`, "{}")
      assert.strictEqual(asked.body.text, "claimed")
      // an answer is never published to what is no subject
      for (const header of ["a b", "a..b", "*", ">", "a.\u0001", "x".repeat(600)]) {
        const { text } = yield* client.request(`${prefix}test.echo`, JSON.stringify({ text: "x" }), {
          headers: { "Heddle-Answer-To": header }
        })
        assert.strictEqual(JSON.parse(text).error.code, "InvalidMessage", header)
      }
      yield* close
    }))

  it.live("a request passed on to one who is gone is answered Unavailable at once, to one who is silent after its time", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* setUp()
      const started = performance.now()
      const gone = yield* passedOn(client, "test.member.gone.forwarded.test.echo", "{}", 30_000)
      assert.isBelow(performance.now() - started, 5_000)
      assert.deepStrictEqual([gone.body.error.code, gone.body.error.details], ["Unavailable", { sent: false }])
      yield* server.subscribe("test.member.silent.>", () => undefined)
      const silent = yield* passedOn(client, "test.member.silent.forwarded.test.echo", "{}", 200)
      assert.deepStrictEqual([silent.body.error.code, silent.body.error.details], ["Unavailable", { sent: true }])
      yield* close
    }))

  it.live("asked patiently: what passes is asked again within the deadline, a command whose fate is unknown is not", () =>
    Effect.gen(function*() {
      const { client, close, server } = yield* setUp()
      const refusals = ["NotOwner", "Unavailable", "ShuttingDown"] as const
      let asked = 0
      yield* server.subscribe("test.moving", (message) => {
        const code = refusals[asked++]
        if (code !== undefined) return Rpc.refuse(message, new ContractError({ code, message: "moving" }))
        if (asked > refusals.length + 1) message.respond(`{"text":"done"}`) // the fourth is taken by one who dies with it
      })
      const ask = (isRepeatable: boolean, timeoutMs: number) =>
        Rpc.callPatiently(client, "test.moving", EchoAnswer, {}, { timeoutMs, isRepeatable, attemptMs: 1_500 })
      assert.deepStrictEqual(yield* ask(true, 20_000), { text: "done" })
      assert.strictEqual(asked, 5)

      asked = 2
      assert.strictEqual((yield* Effect.flip(ask(false, 20_000))).code, "ShuttingDown") // it may have been done before the end
      asked = 0
      assert.strictEqual((yield* Effect.flip(ask(false, 20_000))).code, "ShuttingDown")
      assert.strictEqual(asked, 3) // NotOwner and Unavailable were not done
      assert.strictEqual((yield* Effect.flip(ask(false, 300))).code, "DeadlineExceeded")
      assert.strictEqual(asked, 4)

      const waits: Array<string> = []
      const nobody = yield* Effect.flip(
        Rpc.callPatiently(client, "test.nobody.yet", EchoAnswer, {}, {
          timeoutMs: 500,
          isRepeatable: false,
          waiting: (error) => Effect.sync(() => void waits.push(error.code))
        })
      )
      assert.deepStrictEqual([nobody.code, waits], ["Unavailable", ["Unavailable"]])
      yield* close
    }))
})

describe("Nats", () => {
  it.live("a request without an answer fails at its deadline; with nobody there it fails at once", () =>
    Effect.gen(function*() {
      const { client, close } = yield* setUp()
      const started = performance.now()
      const error = yield* Effect.flip(
        client.request("test.sync", JSON.stringify({ text: "never" }), { timeoutMs: 200 })
      )
      assert.strictEqual(error._tag, "RequestTimeout")
      assert.isAtLeast(performance.now() - started, 195)
      assert.strictEqual((yield* Effect.flip(client.request("test.nobody", "")))._tag, "NoResponders")
      assert.strictEqual(
        (yield* Effect.flip(client.request("test.echo", new Uint8Array(9 * 1024 * 1024))))._tag,
        "MessageTooLarge"
      )
      yield* close
    }))

  it.live("a process that stood still hears what has come meanwhile before it gives anything up", () =>
    Effect.gen(function*() {
      const { client, close } = yield* setUp()
      const asking = yield* Effect.forkChild(
        client.request("$JS.API.INFO", "", { timeoutMs: 300 }),
        { startImmediately: true }
      )
      yield* Effect.sync(() => {
        const until = performance.now() + 2_000
        while (performance.now() < until);
      })
      assert.include((yield* Fiber.join(asking)).text, "account_info_response")
      yield* close
    }))

  it.live("when the server dies, what is in flight fails as sent, what comes later as not sent, and publish says it was dropped", () =>
    Effect.gen(function*() {
      const { client } = yield* setUp()
      const runPromise = Effect.runPromiseWith(yield* Effect.context<never>())
      const waiting = yield* Effect.forkChild(
        Effect.flip(client.request("test.sync", JSON.stringify({ text: "never" }), { timeoutMs: 30_000 })),
        { startImmediately: true }
      )
      yield* client.flush
      const reconnected = yield* Deferred.make<void>()
      yield* client.onReconnect(() => Deferred.doneUnsafe(reconnected, Effect.void))
      yield* Effect.promise(() =>
        broker.restart(async () => {
          const lost = await runPromise(Fiber.join(waiting))
          assert.isTrue(lost._tag === "ConnectionLost" && lost.sent)
          assert.isFalse(client.isConnected)
          assert.isFalse(client.publish("test.echo", "x"))
          const refused = await runPromise(Effect.flip(client.request("test.echo", "x")))
          assert.isTrue(refused._tag === "ConnectionLost" && !refused.sent)
        })
      )
      yield* Deferred.await(reconnected)
      // The server's connection may still be on its way back.
      const answered = yield* Rpc.call(client, "test.echo", EchoAnswer, { text: "back" }).pipe(
        Effect.retry({ times: 2_000, schedule: Schedule.spaced(20) })
      )
      assert.deepStrictEqual(answered, { text: "back" })
    }))
})
