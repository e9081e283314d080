/**
 * The Kubernetes provider where only the double can stand in: faults (lost answers, 429, 500), compaction, a watch that lags or is cut, a kubelet with its latency. Everything else
 * of its contract is in provider.test.ts, which runs on a real API server too.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import { ApiServer, type ApiServerOptions } from "../../../shared/testing/kube/ApiServer.ts"
import * as Pod from "../../../shared/testing/kube/Pod.ts"
import * as Refusal from "../../../shared/testing/kube/Refusal.ts"
import { make, template } from "./ProviderWorld.ts"

const server = (options: ApiServerOptions = {}) =>
  Effect.acquireRelease(
    Effect.promise(() => ApiServer.start(options)),
    (running) => Effect.promise(() => running.stop())
  )
const podsOf = (running: ApiServer) => running.cluster.store.list(Pod.resource, { namespace: "default" }).items
/** Somebody else changes a pod, by an annotation. */
const touch = (running: ApiServer, name: string, annotations: Record<string, string>) =>
  running.cluster.store.patch(Pod.resource, "default", name, "merge", { metadata: { annotations } })

/** Requests in the order in which they were sent, as `PATCH` or `PATCH web-1`. */
const counted = (sent: Array<string>) => (api: Api): Api => ({
  send: (lane, request, done) => {
    sent.push(`${request.method} ${request.path.split("/pods")[1]?.slice(1) ?? ""}`.trim())
    return api.send(lane, request, done)
  },
  watch: (path, query, handlers) => api.watch(path, query, handlers)
})

describe("on the double only: writes", () => {
  it.live("a list never forgets a creation that was answered, however far the watch is behind", () =>
    Effect.gen(function*() {
      const running = yield* server({ faults: { watchLagMsMax: 60_000 } })
      const world = yield* make({ url: running.url })
      for (let index = 1; index <= 3; index++) {
        assert.strictEqual((yield* world.create(`web-1-${index}`))._tag, "Done")
        // The watch lags by up to a minute; what was answered is there all the same.
        assert.strictEqual((yield* world.pool.list).length, index)
      }
    }))

  it.live("429 with Retry-After is obeyed within the write; 500 is unknown; no server is nobody's fault", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url })
      yield* world.create("a")
      const [idle] = yield* world.inPhase("Idle")
      running.cluster.faults.once({ refusal: Refusal.tooManyRequests(1) })
      const asked = performance.now()
      assert.strictEqual((yield* world.claim(idle!, "c1"))._tag, "Success")
      assert.isAtLeast(performance.now() - asked, 990, "not before the second that Retry-After names")
      running.cluster.faults.options = { internalErrorRate: 1 }
      assert.strictEqual((yield* world.release(idle!.sandbox.uid, "c1"))._tag, "Unknown")
      running.cluster.faults.options = {}
      assert.strictEqual((yield* world.release(idle!.sandbox.uid, "c1"))._tag, "Done")
      yield* world.create("b")
      const [b] = yield* world.inPhase("Idle")
      yield* Effect.promise(() => running.stop())
      // Over a connection that stood it may have arrived; with none left it surely has not.
      let refused = yield* world.claim(b!, "c2")
      for (let turn = 0; refused._tag === "Unknown" && turn < 10; turn++) {
        yield* world.readBack(b!.sandbox.uid, "c2")
        refused = yield* world.claim(b!, "c2")
      }
      assert.deepInclude(refused, { _tag: "HardError", everySandbox: true })
    }))

  it.live("a write that was given up while it waits to be sent again is never sent again", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const sent: Array<string> = []
      const refused = yield* Deferred.make<void>()
      const world = yield* make({
        url: running.url,
        between: (api) => {
          const counting = counted(sent)(api)
          return {
            ...counting,
            send: (lane, request, done) =>
              counting.send(lane, request, (answer) => {
                done(answer)
                if (answer._tag === "Answered" && answer.status === 429) Deferred.doneUnsafe(refused, Effect.void)
              })
          }
        }
      })
      yield* world.create("a")
      const [idle] = yield* world.inPhase("Idle")
      sent.length = 0
      running.cluster.faults.once({ refusal: Refusal.tooManyRequests(1) })
      const claiming = yield* Effect.forkChild(world.claim(idle!, "c1"), { startImmediately: true })
      yield* Deferred.await(refused)
      assert.strictEqual((yield* world.readBack(idle!.sandbox.uid, "c1"))._tag, "NotOurs")
      // Its second is over: it is told as not done, and the only other write was the read-back's.
      assert.strictEqual((yield* Fiber.join(claiming))._tag, "HardError")
      assert.deepStrictEqual(sent.filter((one) => one.startsWith("PATCH")), ["PATCH a", "PATCH a"])
      assert.strictEqual(podsOf(running)[0]?.metadata.labels?.["heddle.dev/phase"], "Idle")
    }))

  it.live("an answer 5xx is neither yes nor no: the write may have taken effect, and the read-back finds it", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url, config: { reset: { method: "none" } } })
      yield* world.create("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      const { uid } = idle!.sandbox
      const timeOut = Refusal.internalError("etcdserver: request timed out")
      running.cluster.faults.once({ refusalAfter: timeOut })
      assert.strictEqual((yield* world.claim(idle!, "c1"))._tag, "Unknown")
      assert.strictEqual((yield* world.readBack(uid, "c1"))._tag, "Ours")
      // The release too: asked again, it finds its own work.
      running.cluster.faults.once({ refusalAfter: timeOut })
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Unknown")
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "NotOurs")
      running.cluster.faults.once({ refusalAfter: timeOut })
      assert.strictEqual((yield* world.create("web-1-1"))._tag, "Unknown")
      assert.strictEqual((yield* world.create("web-1-1"))._tag, "Done")
      assert.strictEqual(podsOf(running).length, 2)
      // Refused before anything was done, the same answer leads to the other end.
      const again = yield* world.until("idle again", () => {
        const state = world.states.get(uid)
        return state?.phase === "Idle" && state.version > idle!.version && state
      })
      running.cluster.faults.once({ refusal: timeOut })
      assert.strictEqual((yield* world.claim(again, "c2"))._tag, "Unknown")
      assert.strictEqual((yield* world.readBack(uid, "c2"))._tag, "NotOurs")
    }))
})

describe("on the double only: watching", () => {
  it.live("a version that has expired (410) leads to a list, the difference and a gap", () =>
    Effect.gen(function*() {
      const running = yield* server({ historyLengthMax: 4 })
      const world = yield* make({ url: running.url, informer: { backOffMinMs: 300, backOffMaxMs: 300 } })
      for (const name of ["a", "b"]) yield* world.create(name)
      yield* world.inPhase("Idle", 2)
      running.cutConnections()
      running.cluster.store.delete(Pod.resource, "default", "a", { gracePeriodSeconds: 0 })
      for (let index = 0; index < 10; index++) touch(running, "b", { turn: String(index) })
      yield* world.until("the gap", () => world.deltas.some((delta) => delta._tag === "Gap"))
      assert.deepStrictEqual([...world.states.values()].map((state) => state.sandbox.name), ["b"])
      yield* world.create("c")
      yield* world.inPhase("Idle", 2)
    }))

  it.live("lists come in pages; when a continue token expires between two of them, all comes at once", () =>
    Effect.gen(function*() {
      const running = yield* server({ historyLengthMax: 20 })
      const sent: Array<string> = []
      const first = yield* make({ url: running.url })
      for (let index = 0; index < 7; index++) yield* first.create(`p${index}`)
      yield* first.inPhase("Idle", 7)
      const second = yield* make({ url: running.url, informer: { pageSize: 3 }, between: counted(sent) })
      assert.strictEqual(second.states.size, 7)
      assert.strictEqual(sent.filter((one) => one === "GET").length, 3)

      const queries: Array<string> = []
      const third = yield* make({
        url: running.url,
        informer: { pageSize: 3 },
        between: (api) => ({
          watch: (path, query, handlers) => api.watch(path, query, handlers),
          send: (lane, request, done) => {
            if (request.method === "GET") {
              queries.push(
                Object.entries(request.query ?? {}).filter(([, value]) => value !== undefined).map((_) => _[0]).join()
              )
            }
            if (request.query?.["continue"] !== undefined) {
              for (let turn = 0; turn < 40; turn++) touch(running, "p0", { turn: String(turn) })
            }
            return api.send(lane, request, done)
          }
        })
      })
      assert.strictEqual(third.states.size, 7)
      assert.deepStrictEqual(queries, ["labelSelector,limit", "labelSelector,limit,continue", "labelSelector"])
    }))

  it.live("a cut watch goes on where it was: nothing is missed and nothing is listed", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url, informer: { backOffMinMs: 5 } })
      yield* world.create("a")
      yield* world.inPhase("Idle")
      const { lists } = world.internals.informer
      for (const name of ["b", "c", "d"]) {
        running.cutConnections()
        running.cluster.store.create(Pod.resource, "default", {
          metadata: {
            name,
            labels: { "heddle.dev/pool": "web", "heddle.dev/namespace": "default", "heddle.dev/phase": "Idle" }
          },
          spec: template.spec
        })
      }
      yield* world.inPhase("Idle", 4)
      assert.strictEqual(world.internals.informer.lists, lists)
      assert.isAbove(world.internals.informer.watches, 1)
      assert.isFalse(world.deltas.some((delta) => delta._tag === "Gap"))
    }))
})
