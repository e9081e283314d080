import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { Answer } from "./Answer.ts"
import type { Api, WatchHandlers } from "./ApiClient.ts"
import { Informer } from "./Informer.ts"
import { at } from "./Json.ts"
import { WatchFeed } from "./WatchFeed.ts"

interface Thing {
  readonly uid: string
  readonly version: number
}

/** An API server whose every answer is the test's to give. */
class Script implements Api {
  readonly lists: Array<{ readonly selector: unknown; readonly done: (answer: Answer) => void }> = []
  readonly watches: Array<{ readonly from: unknown; readonly handlers: WatchHandlers; isOpen: boolean }> = []

  send(_lane: unknown, request: Parameters<Api["send"]>[1], done: (answer: Answer) => void): () => void {
    this.lists.push({ selector: request.query?.["labelSelector"], done })
    return () => {}
  }
  watch(_path: string, query: Parameters<Api["watch"]>[1], handlers: WatchHandlers) {
    const watch = { from: query?.["resourceVersion"], handlers, isOpen: true }
    this.watches.push(watch)
    return {
      close: () => {
        watch.isOpen = false
      }
    }
  }
  /** Answers the oldest list that waits. */
  list(version: number, ...things: ReadonlyArray<Thing>): void {
    this.lists.shift()?.done({
      _tag: "Answered",
      status: 200,
      body: { metadata: { resourceVersion: String(version) }, items: things.map((one) => object(one, "")) },
      retryAfterMs: undefined
    })
  }
  get last(): WatchHandlers {
    const last = this.watches[this.watches.length - 1]
    if (last === undefined) throw new Error("nobody watches")
    return last.handlers
  }
  tell(type: string, version: number, uid = "", part = ""): void {
    this.last.event({ type, object: object({ uid, version }, part) })
  }
}

const object = ({ uid, version }: Thing, part: string) => ({
  metadata: { uid, resourceVersion: String(version), labels: { part } }
})
const read = (value: unknown): Thing => ({
  uid: String(at(value, "metadata", "uid")),
  version: Number(at(value, "metadata", "resourceVersion"))
})

/** An informer of one part, and what it tells. */
const member = (api: Api, feed: WatchFeed, key: string) =>
  Effect.gen(function*() {
    const told: Array<string> = []
    const informer = new Informer<Thing>({
      client: api,
      path: "/things",
      labelSelector: key,
      shared: { feed, key },
      read,
      changed: (one) => told.push(`${one.uid}@${one.version}`),
      removed: (one) => told.push(`-${one.uid}`),
      gap: () => told.push("gap"),
      damaged: () => {}
    })
    yield* informer.joined
    yield* Effect.forkScoped(informer.run)
    yield* settled
    return { informer, told }
  })
const shared = (api: Api) =>
  Effect.gen(function*() {
    const feed = new WatchFeed({
      client: api,
      path: "/things",
      partOf: (value) => String(at(value, "metadata", "labels", "part"))
    })
    yield* Effect.forkScoped(feed.run)
    return feed
  })
const settled = TestClock.adjust(0)

it.effect("the watch begins at the first list; the next part lists while it stands, and what is told meanwhile comes after its list", () =>
  Effect.gen(function*() {
    const api = new Script()
    const feed = yield* shared(api)
    const a = yield* member(api, feed, "a")
    const b = yield* member(api, feed, "b")
    assert.deepStrictEqual(
      api.lists.map((one) => one.selector),
      ["a"],
      "the other one waits for where the watch begins"
    )
    api.list(10, { uid: "a1", version: 4 })
    yield* settled
    assert.deepStrictEqual(api.watches.map((one) => one.from), ["10"])
    assert.deepStrictEqual(api.lists.map((one) => one.selector), ["b"])
    api.last.opened()
    // Of b, whose list (as of 12) is still on its way: one it will show as it is here, one newer, one that is gone when it comes.
    api.tell("ADDED", 11, "b1", "b")
    api.tell("ADDED", 13, "b2", "b")
    api.tell("DELETED", 14, "b0", "b")
    api.tell("MODIFIED", 15, "a1", "a")
    assert.deepStrictEqual([a.told, b.told], [["a1@4", "a1@15"], []])
    api.list(12, { uid: "b0", version: 9 }, { uid: "b1", version: 11 }, { uid: "b3", version: 2 })
    yield* settled
    assert.deepStrictEqual(b.told, ["b0@9", "b1@11", "b3@2", "b2@13", "-b0"])
  }))

it.effect("a bookmark moves the version on that a cut watch goes on from; nobody lists for that", () =>
  Effect.gen(function*() {
    const api = new Script()
    const feed = yield* shared(api)
    const { informer, told } = yield* member(api, feed, "a")
    api.list(10)
    yield* settled
    api.last.opened()
    api.tell("BOOKMARK", 90)
    api.last.ended({ _tag: "Lost", reason: "cut" })
    yield* settled
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(api.watches.map((one) => [one.from, one.isOpen]), [["10", false], ["90", true]])
    assert.deepStrictEqual([informer.lists, told], [1, []])
  }))

it.effect("410: everyone lists anew, and hears of a gap afterwards", () =>
  Effect.gen(function*() {
    const api = new Script()
    const feed = yield* shared(api)
    const a = yield* member(api, feed, "a")
    const b = yield* member(api, feed, "b")
    api.list(10, { uid: "a1", version: 4 })
    yield* settled
    api.list(11)
    yield* settled
    api.last.opened()
    api.last.event({ type: "ERROR", object: { code: 410, reason: "Expired", message: "too old" } })
    yield* settled
    api.list(50)
    yield* settled
    assert.deepStrictEqual(a.told, ["a1@4", "-a1", "gap"])
    api.list(51, { uid: "b1", version: 40 })
    yield* settled
    assert.deepStrictEqual(b.told, ["b1@40", "gap"])
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(api.watches.map((one) => [one.from, one.isOpen]), [["10", false], ["50", true]])
  }))

it.effect(
  "a server that refuses the watch is asked ever more rarely, and not before it wants to be",
  () =>
    Effect.gen(function*() {
      const api = new Script()
      const feed = yield* shared(api)
      yield* member(api, feed, "a")
      api.list(10)
      yield* settled
      const refuse = (retryAfterMs: number | undefined) =>
        Effect.suspend(() => {
          api.last.ended({ _tag: "Answered", status: retryAfterMs === undefined ? 503 : 429, body: "", retryAfterMs })
          return settled
        })
      const pauses: Array<number> = []
      for (let turn = 0; turn < 9; turn++) {
        const { length } = api.watches
        yield* refuse(undefined)
        let waited = 0
        while (api.watches.length === length && waited < 60_000) {
          yield* TestClock.adjust(50)
          waited += 50
        }
        pauses.push(waited)
      }
      for (const [turn, waited] of pauses.entries()) {
        const least = Math.min(200 * 2 ** turn, 30_000)
        assert.isAtLeast(waited, least, `after ${turn + 1} failures`)
        assert.isAtMost(waited, least * 1.5 + 50, `after ${turn + 1} failures`)
      }
      yield* refuse(50_000)
      const { length } = api.watches
      yield* TestClock.adjust(49_000)
      assert.strictEqual(api.watches.length, length)
      yield* TestClock.adjust(27_000)
      assert.strictEqual(api.watches.length, length + 1)
    }),
  60_000
)

it.effect("a defect of a part ends the watch and reaches everybody who shares it; what the server does is none", () =>
  Effect.gen(function*() {
    const api = new Script()
    const feed = yield* shared(api)
    yield* member(api, feed, "a")
    const failure = yield* Effect.forkChild(feed.failure, { startImmediately: true })
    api.list(10)
    yield* settled
    api.last.opened()
    for (
      const happens of [
        () => api.last.ended({ _tag: "Lost", reason: "cut" }),
        () => api.last.ended({ _tag: "NotSent", reason: "unreachable" }),
        () => api.last.ended({ _tag: "Answered", status: 403, body: "", retryAfterMs: undefined }),
        () => api.last.event({ type: "ERROR", object: { code: 500, message: "away" } }),
        () => api.last.event({ type: "ERROR", object: { code: 410, reason: "Expired", message: "too old" } })
      ]
    ) {
      happens()
      yield* TestClock.adjust(60_000)
    }
    api.list(20)
    yield* settled
    yield* TestClock.adjust(60_000)
    assert.deepStrictEqual(
      api.watches.map((one) => [one.from, one.isOpen]),
      [["10", false], ["10", false], ["10", false], ["10", false], ["10", false], ["20", true]]
    )
    assert.isUndefined(failure.pollUnsafe())
    feed.join("a", {
      event: () => {
        throw new Error("a broken invariant")
      },
      left: () => {},
      lost: () => {}
    })
    api.tell("ADDED", 21, "a1", "a")
    const exit = yield* Fiber.await(failure)
    assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "no failure", "a broken invariant")
    assert.strictEqual(api.watches.at(-1)?.isOpen, false)
    yield* TestClock.adjust(60_000)
    assert.strictEqual(api.watches.length, 6, "nobody watches on in its place")
  }))
