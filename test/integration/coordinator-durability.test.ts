import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import { createServer, type Server, type Socket } from "node:net"
import * as Coordinator from "../../services/coordinator/main.ts"
import { Nats, open } from "../../shared/jetstream/Nats.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import * as Registry from "../../shared/registry/Registry.ts"
import { Broker } from "../../shared/testing/Broker.ts"

// A coordinator says what an acknowledged write survives, and refuses a broker on which its promises would not hold.

interface Fake {
  readonly version: string
  /** The answer to a request of the JetStream API, by what follows `$JS.API.`; `undefined`: none. */
  readonly api: (subject: string, body: string) => object | undefined
}

/** As much of a nats-server as a client needs to connect and to ask. */
const fakeServer = ({ api, version }: Fake) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Server; readonly sockets: Set<Socket>; readonly asked: Array<string> }>(
      (resume) => {
        const sockets = new Set<Socket>()
        const asked: Array<string> = []
        const server = createServer((socket) => {
          sockets.add(socket)
          socket.on("error", () => socket.destroy())
          const subscriptions = new Map<string, string>()
          let buffer = Buffer.alloc(0)
          socket.write(
            `INFO ${
              JSON.stringify({
                server_id: "F",
                server_name: "f",
                version,
                proto: 1,
                headers: true,
                max_payload: 1_048_576,
                jetstream: true,
                host: "127.0.0.1",
                port: 4222
              })
            }\r\n`
          )
          const answer = (reply: string, body: object): void => {
            const sid = [...subscriptions].find(([subject]) =>
              subject === reply || (subject.endsWith("*") && reply.startsWith(subject.slice(0, -1)))
            )?.[1]
            const text = JSON.stringify(body)
            if (sid !== undefined) socket.write(`MSG ${reply} ${sid} ${Buffer.byteLength(text)}\r\n${text}\r\n`)
          }
          socket.on("data", (chunk) => {
            buffer = Buffer.concat([buffer, chunk])
            for (;;) {
              const end = buffer.indexOf("\r\n")
              if (end < 0) return
              const [verb = "", ...words] = buffer.subarray(0, end).toString().split(" ")
              const isPublish = verb === "PUB" || verb === "HPUB"
              const size = isPublish ? Number(words.at(-1)) : 0
              const next = end + 2 + (isPublish ? size + 2 : 0)
              if (buffer.length < next) return
              const headers = verb === "HPUB" ? Number(words.at(-2)) : 0
              const body = buffer.subarray(end + 2 + headers, end + 2 + size).toString()
              buffer = buffer.subarray(next)
              if (verb === "PING") socket.write("PONG\r\n")
              if (verb === "SUB") subscriptions.set(words[0] ?? "", words.at(-1) ?? "")
              const [subject = "", reply] = words
              if (!isPublish || reply === undefined || !subject.startsWith("$JS.API.")) continue
              asked.push(subject)
              const found = api(subject.slice("$JS.API.".length), body)
              if (found !== undefined) answer(reply, found)
            }
          })
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed({ server, sockets, asked })))
      }
    ),
    ({ server, sockets }) =>
      Effect.callback<void>((resume) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resume(Effect.void))
      })
  ).pipe(Effect.map(({ asked, server }) => {
    const address = server.address()
    return { asked, url: `nats://127.0.0.1:${typeof address === "object" ? address?.port : 0}` }
  }))

const coordinator = (url: string, durability: { readonly sync?: string; readonly monitorUrl?: string } = {}) =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make("co-d"), version: "test", shardCount: 2, ttlMs: 30_000, durability })
        .pipe(
          Layer.provide(Nats.layer({ url, name: "co-d" })),
          Layer.provideMerge(Logger.layer([Logger.make((entry) => void logs.push(String(entry.message)))]))
        ),
      scope
    )
    return { logs, stop: Scope.close(scope, Exit.void) }
  })

const noStream = { error: { code: 404, err_code: 10059, description: "stream not found" } }

layer(Broker.layer({ hasMonitor: true, sync: "always" }), { timeout: 180_000, excludeTestServices: true })(
  "durability",
  (it) => {
    it.effect("is printed at the start and shown by the registry: from the monitor, from the launcher, or as unknown", () =>
      Effect.gen(function*() {
        const broker = yield* Broker
        const nats = yield* open({ url: broker.url, name: "test" })
        const shown = (durability: { readonly sync?: string; readonly monitorUrl?: string }) =>
          Effect.gen(function*() {
            const { logs, stop } = yield* coordinator(broker.url, durability)
            const member = (yield* Registry.members(nats)).find((one) => one.member === "co-d")
            yield* stop
            assert.include(logs, `durability: ${member?.durability}`)
            return member?.durability
          })
        const { monitorUrl } = broker
        assert.isDefined(monitorUrl)
        assert.strictEqual(yield* shown(monitorUrl === undefined ? {} : { monitorUrl }), "R1, fsync always")
        assert.strictEqual(yield* shown({ sync: "30s" }), "R1, fsync every 30s")
        assert.strictEqual(yield* shown({}), "R1, fsync unknown (assumed every 2m)")
      }))

    it.effect("a server that is too old is refused at once, and nothing is made on it", () =>
      Effect.gen(function*() {
        const { asked, url } = yield* fakeServer({ version: "2.9.10", api: () => undefined })
        const begun = performance.now()
        const error = yield* Effect.flip(coordinator(url))
        assert.isBelow(performance.now() - begun, 5_000)
        assert.include(error.message, "nats-server 2.9.10")
        assert.include(error.message, "2.12.0 at least")
        assert.deepStrictEqual(asked, [])
      }))

    it.effect("a server that takes a stream and silently drops a flag of it is refused, by name of stream and flag", () =>
      Effect.gen(function*() {
        const { url } = yield* fakeServer({
          version: "2.14.0",
          api: (subject, body) => {
            if (subject === "INFO") return { api: { level: 2 } }
            if (subject.startsWith("STREAM.INFO.")) return noStream
            if (!subject.startsWith("STREAM.CREATE.")) return undefined
            const { allow_msg_ttl: _, ...config } = JSON.parse(body) as Record<string, unknown>
            return { created: "2026-11-22T00:00:00Z", config, state: { messages: 0, last_seq: 0, consumer_count: 0 } }
          }
        })
        const error = yield* Effect.flip(coordinator(url))
        assert.include(error.message, "KV_heddle_registry")
        assert.include(error.message, "allow_msg_ttl")
      }))
  }
)
