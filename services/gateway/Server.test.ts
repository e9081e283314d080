/**
 * The server over real sockets, with nobody behind it: what it refuses when too much is in progress, what it does to a reader that stops reading, and what it counts.
 */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Schedule from "effect/Schedule"
import * as Http from "node:http"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { Meters } from "../../shared/telemetry/Meters.ts"
import * as Api from "./Api.ts"
import * as EventStream from "./EventStream.ts"
import { HttpMeters } from "./HttpMeters.ts"
import { LiveEvent } from "./LiveEvent.ts"
import type { Outbox } from "./Outbox.ts"
import * as Server from "./Server.ts"
import type * as Tail from "./Tail.ts"

const streamRoutes = ["events", "followLogsOfWorkflow"]

/** Answers nothing until `release`. */
const held = () => {
  const release = Deferred.makeUnsafe<void>()
  let asked = 0
  const hold = Effect.suspend(() => {
    asked++
    return Effect.as(Deferred.await(release), {})
  })
  return { hold, asked: () => asked, release: Effect.sync(() => Deferred.doneUnsafe(release, Effect.void)) }
}

const started = (options: Partial<Server.ServerOptions> & { readonly events?: Server.Own["events"][string] }) =>
  Effect.gen(function*() {
    const meters = new Meters()
    let seconds = 0
    const { events = () => Effect.die("no events here"), ...rest } = options
    const own: Server.Own = {
      answers: Object.fromEntries(
        Api.routes.filter(({ ask, id }) => ask === undefined && !streamRoutes.includes(id))
          .map(({ id }) => [id, () => Effect.succeed({})])
      ),
      events: Object.fromEntries(streamRoutes.map((id) => [id, events]))
    }
    const server = yield* Server.serve({
      host: "127.0.0.1",
      port: 0,
      guard: { host: "127.0.0.1", token: undefined, origins: new Set() },
      relay: { ask: () => Effect.succeed({}) },
      own,
      fallback: Effect.succeed(HttpServerResponse.text("page")),
      plain: { "/livez": () => HttpServerResponse.text("live") },
      meters: new HttpMeters(meters, () => seconds += 0.25),
      ...rest
    })
    const counted = (route: string, status: typeof Catalog.httpStatuses[number]): number =>
      meters.counter(Catalog.httpRequests, { route, status }).total
    const timed = (route: string): number => meters.histogram(Catalog.httpSeconds, { route }).count
    return { server, meters, counted, timed }
  })

/** Looks until it is so: nobody tells. */
const until = (what: string, isSo: () => boolean) =>
  Effect.suspend(() => isSo() ? Effect.void : Effect.fail("not yet")).pipe(
    Effect.retry({ schedule: Schedule.spaced(5), times: 12_000 }),
    Effect.catch(() => Effect.die(new Error(`not seen: ${what}`)))
  )

interface Answer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly body: string
}

const ask = (url: string, path: string, method = "GET") =>
  Effect.callback<Answer, Error>((resume) => {
    const request = Http.request(`${url}${path}`, { method, agent: false }, (response) => {
      let body = ""
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text
      }).on("end", () =>
        resume(
          Effect.succeed({ status: response.statusCode ?? 0, retryAfter: response.headers["retry-after"], body })
        ))
    })
    request.on("error", (error) => resume(Effect.fail(error))).end()
    return Effect.sync(() => void request.destroy())
  })

const overloaded = ({ body, retryAfter, status }: Answer, most: number): void => {
  assert.strictEqual(status, 429, body)
  assert.match(retryAfter ?? "", /^[1-9]\d*$/)
  assert.include(JSON.parse(body).error, { code: "Overloaded" })
  assert.deepStrictEqual(JSON.parse(body).error.details, { most })
}

it.live("more requests, or more waits, than may be in progress are answered 429 with Retry-After, and each kind by its own number", () =>
  Effect.gen(function*() {
    const { asked, hold, release } = held()
    const { counted, server, timed } = yield* started({
      relay: { ask: () => hold },
      most: { requests: 2, waits: 1 }
    })
    const requests = yield* Effect.forkChild(
      Effect.all([ask(server.url, "/api/v1/members"), ask(server.url, "/api/v1/members")], { concurrency: 2 })
    )
    yield* until("two requests", () => asked() === 2)
    overloaded(yield* ask(server.url, "/api/v1/pools"), 2)
    // Who waits for long takes no place of a request's, nor the other way round.
    const waiting = yield* Effect.forkChild(ask(server.url, "/api/v1/workflows/a/result?wait=30s"))
    yield* until("a wait", () => asked() === 3)
    overloaded(yield* ask(server.url, "/api/v1/workflows/b/result?wait=30s"), 1)
    assert.deepStrictEqual([server.requests(), server.waits()], [2, 1])
    // What has a place of its own is answered all the while.
    assert.strictEqual((yield* ask(server.url, "/livez")).status, 200)

    yield* release
    assert.deepStrictEqual((yield* Fiber.join(requests)).map(({ status }) => status), [200, 200])
    assert.strictEqual((yield* Fiber.join(waiting)).status, 200)
    yield* until("the places are free again", () => server.requests() === 0 && server.waits() === 0)
    assert.strictEqual((yield* ask(server.url, "/api/v1/pools")).status, 200)
    assert.deepStrictEqual(
      [
        counted("listMembers", "2xx"),
        counted("listPools", "4xx"),
        counted("listPools", "2xx"),
        counted("probe", "2xx")
      ],
      [2, 1, 1, 1]
    )
    assert.strictEqual(timed("listMembers"), 2)
  }).pipe(Effect.scoped))

it.live("a client that leaves is counted, and what nobody serves", () =>
  Effect.gen(function*() {
    const { asked, hold } = held()
    const { counted, server } = yield* started({ relay: { ask: () => hold } })
    const leaving = yield* Effect.forkChild(ask(server.url, "/api/v1/members"))
    yield* until("it is asked", () => asked() === 1)
    yield* Fiber.interrupt(leaving)
    yield* until("it has gone", () => counted("listMembers", "gone") === 1)
    assert.strictEqual(server.requests(), 0)
    assert.strictEqual((yield* ask(server.url, "/api/v1/nothing")).status, 404)
    assert.strictEqual((yield* ask(server.url, "/somewhere")).status, 200)
    assert.strictEqual((yield* ask(server.url, "/api/v1/openapi.json")).status, 200)
    assert.deepStrictEqual([counted("none", "4xx"), counted("page", "2xx"), counted("openapi", "2xx")], [1, 1, 1])
  }).pipe(Effect.scoped))

const eventBytes = 64 * 1024
const mib = 1024 * 1024

/** A stream that tells an event of `eventBytes` whenever the test says so, and the server that passes it on. */
const streaming = (options: Partial<Server.ServerOptions> = {}) =>
  Effect.gen(function*() {
    const listeners = new Set<Tail.Listener>()
    const outboxes: Array<Outbox> = []
    let position = 10
    const tail: Tail.Tail = {
      stream: "S",
      filter: "s",
      position: () => position,
      listen: (listener) => {
        listeners.add(listener)
        return () => void listeners.delete(listener)
      },
      caughtUp: Effect.void,
      failure: Effect.never
    }
    const source = new EventStream.Source("journal", tail, ({ sequence }) => [
      new LiveEvent("run", { sequence, n: 0, pad: "x".repeat(eventBytes) }, { instance: "i" })
    ])
    const nats = {} as Connection // nothing of the past is read here
    const running = yield* started({
      ...options,
      events: () =>
        Effect.map(
          EventStream.open({
            nats,
            sources: [source],
            cursor: {},
            wants: () => true,
            version: "v",
            heartbeatMs: 15_000
          }),
          (opened) => {
            outboxes.push(opened.outbox)
            return opened
          }
        )
    })
    return {
      ...running,
      outboxes,
      listeners,
      /** The bytes told until nothing more is taken for this reader. */
      fill: (outbox: Outbox) =>
        Effect.gen(function*() {
          let told = 0
          while (outbox.ended === undefined && told < 512 * mib) {
            position++
            told += eventBytes
            for (const listener of listeners) listener({ sequence: position, subject: "s", text: "" })
            // Sockets take what they can in between.
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          }
          return told
        })
    }
  })

/** A reader of the stream that stops reading after its first piece. */
const stalled = (url: string) =>
  Effect.acquireRelease(
    Effect.callback<Http.IncomingMessage, Error>((resume) => {
      const request = Http.request(`${url}/api/v1/events`, { agent: false }, (response) => {
        response.setEncoding("utf8").once("readable", () => resume(Effect.succeed(response)))
      })
      request.on("error", (error) => resume(Effect.fail(error))).end()
    }),
    (response) => Effect.sync(() => response.destroy())
  )

/** Everything that comes until the end of the answer. */
const rest = (response: Http.IncomingMessage) =>
  Effect.callback<string>((resume) => {
    let text = ""
    response.on("data", (piece: string) => {
      text += piece
    }).on("close", () => resume(Effect.succeed(text)))
  })

it.live(
  "a reader that stops reading is held back, then given up with what waits; when it reads again it is told from where to go on",
  () =>
    Effect.gen(function*() {
      const { counted, fill, listeners, meters, outboxes, server, timed } = yield* streaming({
        most: { streams: 1 },
        droppedReadMs: 600_000
      })
      const response = yield* stalled(server.url)
      yield* until("it listens", () => listeners.size === 1)
      overloaded(yield* ask(server.url, "/api/v1/events"), 1)
      const [outbox] = outboxes
      if (outbox === undefined) return assert.fail("no stream was opened")
      const told = yield* fill(outbox)
      assert.isDefined(outbox.ended, "whatever was told was taken")
      // What the system keeps for both sockets (10 MiB, more where it is tuned), and what the gateway itself does.
      assert.isBelow(told, 256 * mib)
      assert.strictEqual(meters.counter(Catalog.httpSlowReaders, {}).total, 1)
      assert.strictEqual(server.streams(), 1, "it may still read that it was given up")

      const text = yield* rest(response)
      const ids = Array.from(text.matchAll(/^id: j(\d+)$/gm), ([, id]) => Number(id))
      assert.deepStrictEqual(ids, ids.map((_, n) => 10 + n), "each once, in order, without a hole")
      assert.isAbove(ids.length, 1)
      const dropped = /event: dropped\ndata: (.*)\n\n$/.exec(text)?.[1] ?? "{}"
      assert.include(JSON.parse(dropped), { cursor: `j${ids.at(-1)}` })
      assert.match(JSON.parse(dropped).reason, /too slow/)
      yield* until("its place is free", () => server.streams() === 0 && listeners.size === 0)
      assert.deepStrictEqual([counted("events", "2xx"), counted("events", "4xx"), timed("events")], [1, 1, 1])
    }).pipe(Effect.scoped),
  120_000
)

it.live(
  "a reader that never reads again loses its connection",
  () =>
    Effect.gen(function*() {
      const { fill, listeners, outboxes, server } = yield* streaming({ droppedReadMs: 50 })
      yield* stalled(server.url)
      yield* until("it listens", () => listeners.size === 1)
      const [outbox] = outboxes
      if (outbox === undefined) return assert.fail("no stream was opened")
      assert.isBelow(yield* fill(outbox), 256 * mib)
      yield* until("its place is free", () => server.streams() === 0 && listeners.size === 0)
    }).pipe(Effect.scoped),
  120_000
)
