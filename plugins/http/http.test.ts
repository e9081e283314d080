import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import type { Messaging } from "../../shared/plugin/Messaging.ts"
import { TaskSpec } from "../../shared/protocol/Report.ts"
import { answerBytesMax, type Config, http, isAllowed, retryAfterMs } from "./Http.ts"
import plugin from "./plugin.ts"

type Handler = (request: IncomingMessage & { readonly text: string }, response: ServerResponse) => void

/** A real server; `got`: the requests so far. */
const server = (handler: Handler) =>
  Effect.acquireRelease(
    Effect.callback<{
      readonly origin: string
      readonly got: Array<IncomingMessage & { readonly text: string }>
      readonly close: () => void
    }>((resume) => {
      const got: Array<IncomingMessage & { readonly text: string }> = []
      // an idle connection stays open: one that ends while the next request is on its way would fail it
      const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
        let text = ""
        request.setEncoding("utf8").on("data", (part: string) => text += part).on("end", () => {
          const whole = Object.assign(request, { text })
          got.push(whole)
          handler(whole, response)
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo // it listens on TCP
        const close = () => {
          server.closeAllConnections()
          server.close()
        }
        resume(Effect.succeed({ origin: `http://127.0.0.1:${port}`, got, close }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

/** An origin where nobody listens: below the ports that systems give out, so that none comes to listen there. */
const nowhere = "http://127.0.0.1:2"

const messaging = {} as Messaging // not used by this type
const run = Effect.fnUntraced(
  function*(options: Record<string, unknown>, attempt = 1, config: typeof Config.Type = {}) {
    const type = http(config)
    if (type._tag !== "Effectful") return assert.fail("http runs in the executor")
    const logged: Array<string> = []
    const outcome = yield* type.run({
      spec: yield* Schema.decodeEffect(TaskSpec)({
        instance: "i1",
        task: "call",
        taskInstanceId: `call:2:${attempt}`,
        attempt,
        type: "http",
        with: options,
        params: {},
        env: {},
        shard: 3,
        session: 9
      }),
      messaging,
      log: (_, bytes) => logged.push(new TextDecoder().decode(bytes)),
      pauseRequested: Effect.never
    })
    const reason = outcome._tag === "Failed" || outcome._tag === "Fatal" ? outcome.reason : ""
    return { outcome, reason, logged: logged.join("") }
  },
  Effect.scoped
)

describe("task type http", () => {
  it.live("JSON there and back; query, headers and method; the idempotency key is that of every attempt", () =>
    Effect.gen(function*() {
      const { got, origin } = yield* server((_, response) =>
        response.writeHead(201, { "content-type": "application/problem+json; charset=utf-8", "x-id": "7", etag: "e" })
          .end(JSON.stringify({ rows: [1, 2], name: "ü" }))
      )
      const url = `${origin}/orders?v=1`
      const { outcome } = yield* run({
        url,
        query: { day: "a&b c", n: 3 },
        headers: { authorization: "Bearer t" },
        json: { a: [1] },
        answerHeaders: ["X-Id", "x-none"]
      })
      assert.deepStrictEqual(outcome, {
        _tag: "Succeeded",
        outputs: {
          status: 201,
          headers: { "content-type": "application/problem+json; charset=utf-8", etag: "e", "x-id": "7" },
          json: { rows: [1, 2], name: "ü" }
        }
      })
      yield* run({ url, method: "PUT", body: "text", headers: { "Content-Type": "text/csv" } }, 2)
      yield* run({ url, idempotencyKey: "mine" })
      yield* run({ url, headers: { "Idempotency-Key": "given" }, idempotencyKey: "mine" })
      assert.deepStrictEqual(
        got.map(({ headers, method, text, url }) => [
          method,
          url,
          headers["content-type"],
          headers["idempotency-key"],
          text
        ]),
        [
          ["POST", "/orders?v=1&day=a%26b+c&n=3", "application/json", "i1:call:2", "{\"a\":[1]}"],
          ["PUT", "/orders?v=1", "text/csv", "i1:call:2", "text"],
          ["GET", "/orders?v=1", undefined, "mine", ""],
          ["GET", "/orders?v=1", undefined, "given", ""]
        ]
      )
      assert.strictEqual(got[0]?.headers.authorization, "Bearer t")
    }))

  it.live("which failures another attempt may mend, and which are for good; what is expected is a success", () =>
    Effect.gen(function*() {
      const { origin } = yield* server((request, response) => {
        const status = Number(request.url?.slice(1))
        response.writeHead(status, status === 302 ? { location: "/200" } : {}).end(`no ${status}`)
      })
      const tags: Record<string, string> = {}
      for (const status of [200, 204, 302, 400, 401, 404, 408, 409, 425, 429, 500, 503]) {
        tags[status] = (yield* run({ url: `${origin}/${status}` })).outcome._tag
      }
      assert.deepStrictEqual(tags, {
        200: "Succeeded",
        204: "Succeeded",
        302: "Fatal",
        400: "Fatal",
        401: "Fatal",
        404: "Fatal",
        408: "Failed",
        409: "Fatal",
        425: "Failed",
        429: "Failed",
        500: "Failed",
        503: "Failed"
      })
      const { outcome } = yield* run({ url: `${origin}/404`, expect: ["2xx", 404] })
      assert.deepStrictEqual(outcome, { _tag: "Succeeded", outputs: { status: 404, headers: {}, text: "no 404" } })
      assert.strictEqual((yield* run({ url: `${origin}/204`, expect: [200] })).outcome._tag, "Fatal")
      const { outcome: refused, reason } = yield* run({ url: nowhere })
      assert.strictEqual(refused._tag, "Failed")
      assert.match(reason, /ECONNREFUSED|refused/i)
      assert.strictEqual(
        (yield* run({ url: "http://127.0.0.1:6667/" })).outcome._tag,
        "Fatal",
        "a port of another protocol"
      )
    }))

  it.live("429 with Retry-After is asked again within the attempt, but not for longer than it may wait", () =>
    Effect.gen(function*() {
      let count = 0
      const { got, origin } = yield* server((request, response) => {
        if (request.url === "/long") response.writeHead(429, { "retry-after": "3600" }).end()
        else if (++count === 1) response.writeHead(429, { "retry-after": "0" }).end()
        else response.end("there")
      })
      const { logged, outcome } = yield* run({ url: origin })
      assert.strictEqual(outcome._tag, "Succeeded")
      assert.match(logged, /429.*\n.*asked to wait 1000 ms\n.*200, 5 bytes/)
      const long = yield* run({ url: `${origin}/long` })
      assert.deepStrictEqual([long.outcome._tag, got.length], ["Failed", 3])
      assert.match(long.reason, /wait 3600000 ms, more than `with.retryAfterMax` leaves/)
      count = 0
      const never = yield* run({ url: origin, retryAfterMax: 0 })
      assert.strictEqual(never.outcome._tag, "Failed")
      assert.deepStrictEqual(
        ["7", " 7 ", "Thu, 01 Jan 1970 00:00:10 GMT", "Thu, 01 Jan 1970 00:00:01 GMT", "soon"].map((text) =>
          retryAfterMs(text, 4_000)
        ),
        [7_000, 7_000, 6_000, 0, undefined]
      )
    }))

  it.live("no answer in time fails; an interrupted task breaks its connection", () =>
    Effect.gen(function*() {
      const asked = yield* Deferred.make<void>()
      const broken = yield* Deferred.make<void>()
      const { origin } = yield* server((request, response) => {
        if (request.url === "/slow") return void response.write("half") // and never the rest
        response.on("close", () => Deferred.doneUnsafe(broken, Effect.void))
        Deferred.doneUnsafe(asked, Effect.void)
      })
      const slow = yield* run({ url: `${origin}/slow`, timeout: "100ms" })
      assert.deepStrictEqual(slow.outcome, { _tag: "Failed", reason: `GET ${origin}: no answer within 100 ms` })
      const fiber = yield* Effect.forkChild(run({ url: origin }))
      yield* Deferred.await(asked).pipe(Effect.timeout("1 minute"))
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(broken).pipe(Effect.timeout("1 minute"))
    }))

  it.live("an answer is held no further than outputs may have; what is no JSON is told", () =>
    Effect.gen(function*() {
      const chunk = "x".repeat(64 * 1024)
      const { origin } = yield* server((request, response) => {
        if (request.url === "/endless") {
          const more = () => {
            while (response.writable && response.write(chunk));
            response.once("drain", more)
          }
          return more()
        }
        response.writeHead(200, { "content-type": "application/json" }).end(
          request.url === "/full" ? `"${"y".repeat(answerBytesMax - 2)}"` : "{"
        )
      })
      const endless = yield* run({ url: `${origin}/endless` })
      assert.match(endless.reason, /answered 200, but its body has more than 262144 bytes/)
      assert.strictEqual(endless.outcome._tag, "Fatal", "the request was done: another would not be smaller")
      assert.strictEqual((yield* run({ url: `${origin}/endless`, answer: "none" })).outcome._tag, "Succeeded")
      assert.strictEqual((yield* run({ url: `${origin}/full` })).outcome._tag, "Succeeded")
      const loose = yield* run({ url: `${origin}/half` })
      assert.deepInclude(loose.outcome._tag === "Succeeded" ? loose.outcome.outputs : {}, { text: "{" })
      assert.match((yield* run({ url: `${origin}/half`, answer: "json" })).reason, /its body is no JSON/)
    }))

  it.live("redirects are followed as far as allowed; another origin does not see the headers, and must be allowed", () =>
    Effect.gen(function*() {
      const other = yield* server((_, response) => response.end("elsewhere"))
      const { got, origin } = yield* server((request, response) =>
        request.url === "/there"
          ? response.end("there")
          : response.writeHead(request.url === "/kept" ? 307 : 303, {
            location: request.url === "/away" ? other.origin : "/there"
          }).end()
      )
      const headers = { authorization: "Bearer secret-token", accept: "text/plain" }
      const none = yield* run({ url: origin, json: 1 })
      assert.match(none.reason, /answered 303 \(to .*`with.redirects`/)
      yield* run({ url: origin, json: 1, headers, redirects: 1 })
      yield* run({ url: `${origin}/kept`, json: 1, headers, redirects: 1 })
      assert.deepStrictEqual(
        got.slice(1).map(({ headers, method, text, url }) => [method, url, headers.authorization, text]),
        [
          ["POST", "/", headers.authorization, "1"],
          ["GET", "/there", headers.authorization, ""],
          ["POST", "/kept", headers.authorization, "1"],
          ["POST", "/there", headers.authorization, "1"]
        ]
      )
      yield* run({ url: `${origin}/away`, headers, redirects: 1 })
      const seen = other.got[0]?.headers
      assert.deepStrictEqual([seen?.authorization, seen?.["idempotency-key"], seen?.accept], [
        undefined,
        undefined,
        "text/plain"
      ])
      const hosts = [new URL(origin).host]
      const refused = yield* run({ url: `${origin}/away`, redirects: 1 }, 1, { hosts })
      assert.match(refused.reason, /HEDDLE_HTTP_HOSTS/)
      assert.lengthOf(other.got, 1)
    }))

  it.live("no secret of the request comes into logs or reasons, also when the answer says it back", () =>
    Effect.gen(function*() {
      const { origin } = yield* server((request, response) =>
        response.writeHead(403).end(`you sent ${JSON.stringify(request.headers)} to ${request.url}`)
      )
      const options = {
        query: { token: "query-secret" },
        headers: { authorization: "Bearer header-secret", "x-api-key": "key-secret" }
      }
      const asked = yield* run({ url: `${origin}/hooks/path-secret`, ...options })
      const down = yield* run({ url: `${nowhere}/hooks/path-secret?token=query-secret`, ...options })
      for (const text of [asked.reason, asked.logged, down.reason, down.logged]) {
        assert.notMatch(text, /(query|header|key|path)-secret/)
        assert.isNotEmpty(text)
      }
    }))

  it("arguments that cannot be right are refused before anything is sent", () => {
    const type = http({})
    const decode = Schema.decodeUnknownResult(type.with as Schema.Codec<unknown>) // needs nothing to decode
    const wrong: ReadonlyArray<Record<string, unknown>> = [
      {},
      { url: "ftp://x" },
      { url: "https://user:password@x/" },
      { url: "https://x", method: "get" },
      { url: "https://x", method: "GET", json: 1 },
      { url: "https://x", json: 1, body: "1" },
      { url: "https://x", headers: { "a b": "c" } },
      { url: "https://x", headers: { a: "b\r\nc: d" } },
      { url: "https://x", expect: ["6xx"] },
      { url: "https://x", redirects: 11 }
    ]
    for (const options of wrong) assert.isTrue(Result.isFailure(decode(options)), JSON.stringify(options))
    assert.isTrue(Result.isSuccess(decode({ url: "https://x/@a?b=@c", expect: ["2xx", 404] })))
  })

  it("hosts: names, names below, ports", () => {
    const allowed = (hosts: ReadonlyArray<string>, url: string) => isAllowed(hosts, new URL(url))
    assert.isTrue(allowed(["API.example.org"], "https://api.example.org:8443/x"))
    assert.isTrue(allowed(["*.example.org"], "https://a.b.example.org/"))
    assert.isFalse(allowed(["*.example.org"], "https://example.org/"))
    assert.isFalse(allowed(["*.example.org"], "https://badexample.org/"))
    assert.isTrue(allowed(["localhost:8080"], "http://localhost:8080/"))
    assert.isFalse(allowed(["localhost:8080"], "http://localhost:8081/"))
    assert.isFalse(allowed([], "http://localhost/"))
    assert.isTrue(Result.isFailure(plugin.load({ hosts: ["https://x"] })))
  })
})
