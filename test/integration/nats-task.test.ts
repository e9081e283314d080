// The task type nats against a real broker, with the executor's own way to it.
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type Config, matches, nats as natsTask, withOf } from "../../plugins/nats/NatsTask.ts"
import * as Messaging from "../../services/task-executor/Messaging.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import { TaskSpec } from "../../shared/protocol/Report.ts"
import { Broker } from "../../shared/testing/Broker.ts"

const connected = Effect.gen(function*() {
  const { url } = yield* Broker
  return yield* Nats.open({ url, name: "nats-task-test" })
})

const run = Effect.fnUntraced(
  function*(nats: Nats.Connection, options: Record<string, unknown>, attempt = 1, config: typeof Config.Type = {}) {
    const type = natsTask(config)
    if (type._tag !== "Effectful") return assert.fail("nats runs in the executor")
    const logged: Array<string> = []
    const outcome = yield* type.run({
      spec: yield* Schema.decodeEffect(TaskSpec)({
        instance: "i1",
        task: "tell",
        taskInstanceId: `tell:1:${attempt}:3`,
        attempt,
        type: "nats",
        with: options,
        params: {},
        env: {},
        shard: 3,
        session: 9
      }),
      messaging: Messaging.make(nats),
      log: (_, bytes) => logged.push(new TextDecoder().decode(bytes)),
      pauseRequested: Effect.never
    })
    const reason = outcome._tag === "Failed" || outcome._tag === "Fatal" ? outcome.reason : ""
    return { outcome, reason, logged: logged.join("") }
  },
  Effect.scoped
)

/** A listener that holds what it got, and answers with what `answers` gives. */
const listening = Effect.fnUntraced(function*(
  nats: Nats.Connection,
  subject: string,
  answers: (text: string) => ReadonlyArray<readonly [body: string, headers?: Record<string, string>]> = () => []
) {
  const got = yield* Queue.unbounded<{ readonly text: string; readonly headers: Nats.Headers }>()
  yield* nats.subscribe(subject, (message) => {
    Queue.offerUnsafe(got, { text: message.text, headers: message.headers })
    for (const [body, headers] of answers(message.text)) message.respond(body, headers)
  })
  return { take: Queue.take(got).pipe(Effect.timeout("60 seconds")) }
})

const users = `authorization { users: [
  { user: executor, password: x, permissions: { publish: ["orders.>", "_INBOX.>", "$JS.API.>"], subscribe: ">" } }
] }`

layer(Broker.layer({ config: users }), { timeout: 180_000, excludeTestServices: true })(
  "task type nats, of a user with few rights",
  (it) => {
    it.effect("what the broker forbids is no success and waits for no time-out, in every mode", () =>
      Effect.gen(function*() {
        const { url } = yield* Broker
        const nats = yield* Nats.open({ url, name: "nats-task-test", user: "executor", password: Redacted.make("x") })
        for (const mode of ["publish", "jetstream", "request"]) {
          for (let i = 0; i < 3; i++) {
            const { outcome } = yield* run(nats, { subject: "billing.new", mode, timeout: "1h" })
            assert.deepStrictEqual(outcome, {
              _tag: "Fatal",
              reason:
                "the executor's user at NATS may not publish on billing.new: give it that permission (docs/design/permissions.md)"
            }, mode)
          }
        }
        assert.strictEqual((yield* run(nats, { subject: "orders.new" })).outcome._tag, "Succeeded")
      }))
  }
)

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("task type nats", (it) => {
  it.effect("publish: data as text or as JSON, with headers; nobody has to listen", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      const { take } = yield* listening(nats, "orders.*")
      const { logged, outcome } = yield* run(nats, { subject: "orders.new", data: { a: [1] }, headers: { "x-k": "v" } })
      assert.deepStrictEqual([outcome, logged], [{ _tag: "Succeeded", outputs: {} }, "publish orders.new: sent\n"])
      assert.deepStrictEqual(yield* take, { text: "{\"a\":[1]}", headers: { "x-k": "v" } })
      yield* run(nats, { subject: "orders.new", data: "[plain text" })
      assert.strictEqual((yield* take).text, "[plain text")
      assert.strictEqual((yield* run(nats, { subject: "nobody.listens" })).outcome._tag, "Succeeded")
      const large = yield* run(nats, { subject: "orders.new", data: "x".repeat(9 * 1024 * 1024) })
      assert.strictEqual(large.outcome._tag, "Fatal")
    }))

  it.effect("jetstream: acknowledged, and stored once whatever the number of attempts", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      yield* nats.request("$JS.API.STREAM.CREATE.ORDERS", JSON.stringify({ name: "ORDERS", subjects: ["stored.>"] }))
      const stored = (attempt: number, more: object = {}) =>
        run(nats, { subject: "stored.new", mode: "jetstream", data: { n: attempt }, ...more }, attempt)
      const first = yield* stored(1)
      assert.deepStrictEqual(first.outcome, { _tag: "Succeeded", outputs: { sequence: 1, duplicate: false } })
      const second = yield* stored(2)
      assert.deepStrictEqual(second.outcome, { _tag: "Succeeded", outputs: { sequence: 1, duplicate: true } })
      assert.match(second.logged, /stored at sequence 1, by an earlier attempt/)
      const other = yield* stored(3, { msgId: "mine" })
      assert.deepStrictEqual(other.outcome, { _tag: "Succeeded", outputs: { sequence: 2, duplicate: false } })
      const message = yield* Read.messageAt(nats, "ORDERS", 1)
      assert.strictEqual(message._tag === "Some" ? message.value.text : "", "{\"n\":1}")
      const nowhere = yield* run(nats, { subject: "taken.by.no.stream", mode: "jetstream" })
      assert.deepStrictEqual(nowhere.outcome._tag, "Failed")
      assert.match(nowhere.reason, /no stream takes taken\.by\.no\.stream/)
    }))

  it.effect("request: one answer, several, an error of the service, nobody there, none in time", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      yield* listening(nats, "svc.*", (text) => JSON.parse(text))
      const ask = (answers: ReadonlyArray<readonly [string, Record<string, string>?]>, more: object = {}) =>
        run(nats, { subject: "svc.a", mode: "request", data: answers, timeout: "60s", ...more })
      const one = yield* ask([["{\"rows\":3}", { "x-k": "v" }], ["second"]])
      assert.deepStrictEqual(one.outcome, {
        _tag: "Succeeded",
        outputs: { headers: { "x-k": "v" }, json: { rows: 3 } }
      })
      const text = yield* ask([["plain"]])
      assert.deepStrictEqual(text.outcome, { _tag: "Succeeded", outputs: { headers: {}, text: "plain" } })
      const some = [{ headers: {}, json: 1 }, { headers: {}, json: 2 }]
      const several = yield* ask([["1"], ["2"], ["3"]], { replies: 2 })
      assert.deepStrictEqual(several.outcome, { _tag: "Succeeded", outputs: { replies: some, count: 2 } })
      const fewer = yield* ask([["1"], ["2"]], { replies: 5, timeout: "2s" })
      assert.deepStrictEqual(fewer.outcome, { _tag: "Succeeded", outputs: { replies: some, count: 2 } })
      const error = yield* ask([["", { "Nats-Service-Error": "no such row", "Nats-Service-Error-Code": "404" }]])
      assert.deepStrictEqual(error.outcome, { _tag: "Failed", reason: "svc.a answered with an error: 404 no such row" })
      for (const more of [{}, { replies: 2 }]) {
        const late = yield* ask([], { timeout: "300ms", ...more })
        assert.deepStrictEqual(late.outcome, { _tag: "Failed", reason: "no answer on svc.a within 300 ms" })
        const nobody = yield* run(nats, { subject: "nobody.there", mode: "request", timeout: "20s", ...more })
        assert.deepStrictEqual(nobody.outcome, { _tag: "Failed", reason: "nobody answers on nobody.there" })
      }
      const large = yield* ask(Array.from({ length: 3 }, () => ["x".repeat(100_000)] as const), { replies: 3 })
      assert.match(large.reason, /300000 bytes, more than outputs may have/)
    }))

  it.effect("an interrupted request of several answers leaves no subscription behind", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      let open = 0
      const counted: Nats.Connection = Object.assign(Object.create(nats), {
        subscribeUnsafe: (...args: Parameters<Nats.Connection["subscribeUnsafe"]>) => {
          const subscription = nats.subscribeUnsafe(...args)
          open++
          return {
            ...subscription,
            unsubscribe: () => {
              open--
              subscription.unsubscribe()
            }
          }
        }
      })
      const { take } = yield* listening(nats, "silent")
      const fiber = yield* Effect.forkChild(
        run(counted, { subject: "silent", mode: "request", replies: 2, timeout: "1h" })
      )
      yield* take
      assert.strictEqual(open, 1)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(open, 0)
    }))

  it.effect("subjects of the mesh and of the server are refused, with the field's name; the operator may allow some", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      for (const subject of ["heddle.rpc.pool.list", "heddle", "$JS.API.INFO", "$SYS.x", "$KV.a.b", "_INBOX.x"]) {
        const { outcome, reason } = yield* run(nats, { subject })
        assert.strictEqual(outcome._tag, "Fatal", subject)
        assert.match(reason, /with\.subject: .*belong to the mesh and the server \(HEDDLE_NATS_TASK_SUBJECTS/, subject)
      }
      for (const subject of ["heddler.x", "orders.heddle.x", "orders.$x", "ü.x"]) {
        assert.strictEqual((yield* run(nats, { subject })).outcome._tag, "Succeeded", subject)
      }
      const config = { subjects: ["heddle.rpc.workflow.start", "$KV.orders.>"] }
      assert.strictEqual((yield* run(nats, { subject: "$KV.orders.a" }, 1, config)).outcome._tag, "Succeeded")
      assert.strictEqual((yield* run(nats, { subject: "$KV.heddle_shards.a" }, 1, config)).outcome._tag, "Fatal")
    }))

  it("arguments that cannot be right are refused; wildcards match as NATS does", () => {
    const decode = Schema.decodeUnknownResult(withOf({}))
    const wrong: ReadonlyArray<Record<string, unknown>> = [
      {},
      { subject: "a.*" },
      { subject: "a..b" },
      { subject: "a b" },
      { subject: "a", mode: "ask" },
      { subject: "a", replies: 2 },
      { subject: "a", mode: "request", replies: 65 },
      { subject: "a", msgId: "x" },
      { subject: "a", headers: { "Nats-Msg-Id": "x" } },
      { subject: "a", headers: { "a:b": "x" } },
      { subject: "a", headers: { a: "x\r\ny: z" } }
    ]
    for (const options of wrong) assert.isTrue(Result.isFailure(decode(options)), JSON.stringify(options))
    const pairs = [["a.>", "a.b.c"], ["a.*.c", "a.b.c"], ["a.b", "a.b"], ["a.>", "a"], ["a.*", "a.b.c"], [
      "a.b.c",
      "a.b"
    ]]
    assert.deepStrictEqual(pairs.map(([pattern = "", subject = ""]) => matches(pattern, subject)), [
      true,
      true,
      true,
      false,
      false,
      false
    ])
  })
})
