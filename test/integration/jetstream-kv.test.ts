import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import * as Durability from "../../shared/jetstream/Durability.ts"
import { ask } from "../../shared/jetstream/JetStreamApi.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type RunningBroker, startBroker } from "../../shared/testing/Broker.ts"

let broker: RunningBroker
beforeAll(async () => {
  broker = await startBroker({ hasMonitor: true, sync: "always" })
})
afterAll(() => broker.stop())

const open = Effect.fn("open")(function*(name: string) {
  const nats = yield* Nats.open({ url: broker.url, name })
  yield* Streams.ensure(nats)
  return nats
})
const until = (isThere: () => boolean) =>
  Effect.suspend(() => isThere() ? Effect.void : Effect.fail("not yet")).pipe(
    Effect.retry({ schedule: Schedule.spaced(5) })
  )
const wonAt = (outcome: Kv.CasOutcome): number => {
  assert.strictEqual(outcome._tag, "Won")
  return outcome._tag === "Won" ? outcome.revision : 0
}

describe("Kv", () => {
  it.live("create and update are compare-and-set; a removed key can be created again", () =>
    Effect.gen(function*() {
      const kv = Kv.bucket(yield* open("cas"), Streams.bucketName.pools)
      const first = wonAt(yield* kv.create("cas.a", "1"))
      assert.strictEqual((yield* kv.create("cas.a", "2"))._tag, "Lost")
      assert.strictEqual((yield* kv.update("cas.a", "2", first + 100))._tag, "Lost")
      const second = wonAt(yield* kv.update("cas.a", "2", first))
      assert.deepStrictEqual(yield* kv.get("cas.a"), Option.some({ key: "cas.a", value: "2", revision: second }))
      assert.strictEqual((yield* kv.delete("cas.a", first))._tag, "Lost")
      wonAt(yield* kv.delete("cas.a", second))
      assert.isTrue(Option.isNone(yield* kv.get("cas.a")))
      assert.isAbove(wonAt(yield* kv.create("cas.a", "3")), second)
    }))

  it.live("a watch is up to date when nothing more comes, also if no message said that it was the last", () =>
    Effect.gen(function*() {
      const nats = yield* open("idle")
      const kv = Kv.bucket(nats, Streams.bucketName.pools)
      yield* kv.create("idle.a", "1")
      // As if one more had been pending, and expired before it was sent.
      const counting: Nats.Connection = Object.create(nats, {
        subscribeUnsafe: {
          value: (...[subject, handler]: Parameters<Nats.Connection["subscribeUnsafe"]>) =>
            nats.subscribeUnsafe(subject, (message) =>
              handler(
                message.reply?.startsWith("$JS.ACK.") === true
                  ? message.answeredTo(message.reply.replace(/\.\d+$/, ".1"))
                  : message
              ))
        }
      })
      const listed = yield* Stream.runCollect(Kv.bucket(counting, Streams.bucketName.pools).list("idle."))
      assert.deepStrictEqual(listed.map(({ key, value }) => [key, value]), [["idle.a", "1"]])
    }))

  it.live("of many who create or update one key, one wins", () =>
    Effect.gen(function*() {
      const kv = Kv.bucket(yield* open("many"), Streams.bucketName.pools)
      const created = yield* Effect.forEach([...Array(16).keys()], (n) => kv.create("many.a", String(n)), {
        concurrency: 16
      })
      assert.strictEqual(created.filter((outcome) => outcome._tag === "Won").length, 1)
      const entry = Option.getOrThrow(yield* kv.get("many.a"))
      const updated = yield* Effect.forEach([...Array(16).keys()], (n) =>
        kv.update("many.a", String(n), entry.revision), { concurrency: 16 })
      assert.deepStrictEqual(
        updated.map((outcome) =>
          outcome._tag
        ).toSorted(),
        [...Array(15).fill("Lost"), "Won"]
      )
    }))

  it.live("list and watch: what stands there, UpToDate once, then every change; also on an empty bucket", () =>
    Effect.gen(function*() {
      const kv = Kv.bucket(yield* open("watch"), Streams.bucketName.definitions)
      assert.deepStrictEqual(
        yield* Stream.runCollect(kv.watch("none.").pipe(Stream.take(1))).pipe(
          Effect.map((all) => Array.from(all, (event) => event._tag))
        ),
        ["UpToDate"]
      )
      for (let n = 0; n < 600; n++) yield* kv.put(`watch.k${n}`, String(n))
      yield* kv.delete("watch.k7")
      const listed = yield* Stream.runCollect(kv.list("watch."))
      assert.strictEqual(Array.from(listed).length, 599)
      assert.strictEqual(Array.from(yield* Stream.runCollect(kv.list("watc.")), (entry) => entry.key).length, 0)
      const events: Array<Kv.WatchEvent> = []
      yield* kv.watch("watch.").pipe(
        Stream.runForEach((event) => Effect.sync(() => events.push(event))),
        Effect.forkScoped
      )
      yield* until(() => events.length === 600)
      assert.strictEqual(events.at(-1)?._tag, "UpToDate")
      yield* kv.put("watch.k1", "new")
      yield* kv.delete("watch.k2")
      yield* until(() => events.length === 602)
      assert.deepStrictEqual(
        events.slice(600).map((event) => event._tag === "UpToDate" ? [] : [event._tag, event.key]),
        [["Put", "watch.k1"], ["Removed", "watch.k2"]]
      )
    }))

  it.live("a watch goes on through a restart of the server: what changed meanwhile is shown once", () =>
    Effect.gen(function*() {
      const nats = yield* open("restart")
      const kv = Kv.bucket(nats, Streams.bucketName.shards)
      for (let n = 0; n < 20; n++) yield* kv.put(`restart.${n}`, "0")
      const events: Array<Kv.WatchEvent> = []
      yield* kv.watch("restart.").pipe(
        Stream.runForEach((event) => Effect.sync(() => events.push(event))),
        Effect.forkScoped
      )
      yield* until(() => events.length === 21)
      yield* Effect.promise(() => broker.restart())
      yield* kv.put("restart.3", "1", { timeoutMs: 500 }).pipe(Effect.retry({ schedule: Schedule.spaced(20) }))
      yield* until(() => events.some((event) => event._tag === "Put" && event.value === "1"))
      assert.strictEqual(events.filter((event) => event._tag === "UpToDate").length, 1)
      assert.strictEqual(events.filter((event) => event._tag === "Put" && event.value === "0").length, 20)
    }))

  it.live("an entry with a TTL expires and the watch says so; an update with a TTL keeps it alive", () =>
    Effect.gen(function*() {
      const kv = Kv.bucket(yield* open("ttl"), Streams.bucketName.registry)
      const events: Array<Kv.WatchEvent> = []
      yield* kv.watch("ttl.").pipe(
        Stream.runForEach((event) => Effect.sync(() => events.push(event))),
        Effect.forkScoped
      )
      // On a machine that stands still its second may be over before the update: then it is begun again.
      const kept = Effect.gen(function*() {
        const created = yield* kv.create("ttl.a", "a", { ttlMs: 1_000 })
        return created._tag === "Won" &&
          (yield* kv.update("ttl.a", "a2", created.revision, { ttlMs: 600_000 }))._tag === "Won"
      })
      while (!(yield* kept)) yield* Effect.sleep(50)
      wonAt(yield* kv.create("ttl.b", "b", { ttlMs: 1_000 }))
      const removed = () => events.flatMap((event) => event._tag === "Removed" ? [[event.key, event.reason]] : [])
      yield* until(() => removed().some(([key]) => key === "ttl.b"))
      const before = removed()
      assert.deepInclude(before, ["ttl.b", "Expired"])
      assert.isTrue(Option.isNone(yield* kv.get("ttl.b")))
      assert.isTrue(Option.isSome(yield* kv.get("ttl.a")))
      // Removed by hand is told apart.
      yield* kv.delete("ttl.a")
      yield* until(() => removed().length > before.length)
      assert.deepStrictEqual(removed(), [...before, ["ttl.a", "Deleted"]])
    }))
})

describe("Streams and Durability", () => {
  it.live("many services start at once: every stream is there once, the number of shards is the first one's", () =>
    Effect.gen(function*() {
      const connections = yield* Effect.forEach([1, 2, 3, 4], (n) => Nats.open({ url: broker.url, name: `start${n}` }))
      yield* Effect.forEach(connections, (nats) => Streams.ensure(nats), { concurrency: "unbounded" })
      const counts = yield* Effect.forEach(connections, (nats, n) => Streams.meshShardCount(nats, 16 + n), {
        concurrency: "unbounded"
      })
      assert.strictEqual(new Set(counts).size, 1)
    }))

  it.live("a stream that was made otherwise is refused with its name and field", () =>
    Effect.gen(function*() {
      const nats = yield* open("foreign")
      yield* ask(nats, `STREAM.DELETE.${Streams.name.claims}`, undefined)
      yield* ask(nats, `STREAM.CREATE.${Streams.name.claims}`, {
        name: Streams.name.claims,
        subjects: ["heddle.pool.*.*.claim"],
        retention: "limits",
        storage: "file",
        num_replicas: 1
      })
      const error = yield* Effect.flip(Streams.ensure(nats))
      assert.deepStrictEqual([error.code, error.path], ["Conflict", "HEDDLE_CLAIMS.retention"])
      assert.include(error.message, "workqueue")
      yield* ask(nats, `STREAM.DELETE.${Streams.name.claims}`, undefined)
      yield* Streams.ensure(nats)
    }))

  it.live("durability: the monitor tells the sync interval, nothing else does, and then nothing is claimed", () =>
    Effect.gen(function*() {
      const nats = yield* open("durability")
      assert.strictEqual((yield* Durability.read(nats)).text, "R1, fsync unknown (assumed every 2m)")
      assert.strictEqual((yield* Durability.read(nats, { sync: "\"1m30s\"" })).text, "R1, fsync every 90s")
      assert.strictEqual(
        (yield* Durability.read(nats, { sync: "2m", monitorUrl: broker.monitorUrl ?? "" })).text,
        "R1, fsync always"
      )
    }))

  it.live("no server: one error that names the address and the way out", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Effect.scoped(Nats.open({ url: "nats://me:secret@127.0.0.1:1", name: "none", connectWaitMs: 300 }))
      )
      assert.strictEqual(error.code, "Unavailable")
      assert.include(error.message, "nats://127.0.0.1:1")
      assert.notInclude(error.message, "secret")
      assert.include(error.message, "heddle doctor")
    }))

  it.live("a server that takes the connection and says nothing for a while is there, and waited for longer than for none", () =>
    Effect.gen(function*() {
      const sockets = new Set<Socket>()
      let count = 0
      const late = createServer((socket) => {
        sockets.add(socket.on("error", () => undefined))
        if (++count === 1) return // the first one is taken, and hears nothing
        const on = connect(broker.port, "127.0.0.1")
        sockets.add(on.on("error", () => undefined))
        socket.pipe(on).pipe(socket)
      })
      yield* Effect.promise(() => new Promise<void>((listening) => late.listen(0, "127.0.0.1", listening)))
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          for (const socket of sockets) socket.destroy()
          late.close()
        })
      )
      const { port } = late.address() as AddressInfo // it listens on TCP
      const options = { url: `nats://127.0.0.1:${port}`, name: "late", connectWaitMs: 10 }
      const nats = yield* Nats.open(options)
      assert.isAbove(count, 1)
      assert.isTrue(yield* nats.flush)

      count = 0
      const error = yield* Effect.flip(Effect.scoped(Nats.open({ ...options, slowWaitMs: 100 })))
      assert.match(error.message, /^no NATS server at nats:\/\/127\.0\.0\.1:\d+ within 0\.1 s: timeout/)
    }))
})

it.live("what `Streams.fixOf` says can be changed on a stream is what the server changes", () =>
  Effect.gen(function*() {
    const nats = yield* open("edits")
    const changes: ReadonlyArray<readonly [field: string, from: object, to: object]> = [
      ["allow_direct", { allow_direct: false }, { allow_direct: true }],
      ["allow_msg_ttl", { allow_msg_ttl: false }, { allow_msg_ttl: true }],
      ["allow_rollup_hdrs", { allow_rollup_hdrs: false }, { allow_rollup_hdrs: true }],
      ["deny_delete", { deny_delete: false }, { deny_delete: true }],
      ["max_msgs_per_subject", { max_msgs_per_subject: -1 }, { max_msgs_per_subject: 1 }],
      ["subjects", { subjects: ["edit.other"] }, {}],
      ["retention", { retention: "limits" }, { retention: "workqueue" }],
      ["storage", { storage: "file" }, { storage: "memory" }],
      ["persist_mode", { persist_mode: "async" }, { persist_mode: "default" }]
    ]
    for (const [field, from, to] of changes) {
      const name = `EDIT_${field}`
      const config = { name, subjects: [`edit.${field}`], storage: "file", retention: "limits", num_replicas: 1 }
      yield* ask(nats, `STREAM.CREATE.${name}`, { ...config, ...from })
      const edit = yield* Effect.result(ask(nats, `STREAM.UPDATE.${name}`, { ...config, ...to }))
      const says = Streams.fixOf({ stream: Streams.name.journal, field, wanted: true, found: false }, false)
      assert.strictEqual(says.includes("nats stream edit"), edit._tag === "Success", field)
      yield* ask(nats, `STREAM.DELETE.${name}`, undefined)
    }
  }))
