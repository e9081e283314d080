/**
 * The Kubernetes provider against an API server: what `PoolProvider` promises, one promise a test.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import { SessionId } from "../../../shared/protocol/Token.ts"
import { ApiServer, type ApiServerOptions } from "../../../shared/testing/kube/ApiServer.ts"
import * as Pod from "../../../shared/testing/kube/Pod.ts"
import { alternate, image, make, opened, template } from "./ProviderWorld.ts"

const server = (options: ApiServerOptions = {}) =>
  Effect.acquireRelease(
    Effect.promise(() => ApiServer.start(options)),
    (running) => Effect.promise(() => running.stop())
  )
const podsOf = (running: ApiServer) => running.cluster.store.list(Pod.resource, { namespace: "default" }).items
const podOf = (running: ApiServer, name: string) => running.cluster.object(Pod.resource, "default", name)
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

describe("creating", () => {
  it.live("a pod comes up as Starting and is Idle when it is Ready; the name is the idempotency key", () =>
    Effect.gen(function*() {
      const running = yield* server({ kubelet: { readyMs: [50, 50] } })
      const world = yield* make({ url: running.url, labels: { tier: "gold" } })
      assert.deepStrictEqual(yield* world.create("web-1-0"), { _tag: "Done" })
      assert.deepStrictEqual(yield* world.create("web-1-0"), { _tag: "Done" })
      const [idle] = yield* world.inPhase("Idle")
      assert.strictEqual(idle?.sandbox.name, "web-1-0")
      assert.strictEqual(idle?.sandbox.labels["tier"], "gold")
      assert.strictEqual(idle?.sandbox.labels["kubernetes.io/hostname"], "node-1")
      assert.match(idle?.sandbox.address ?? "", /^kubernetes:\/\/default\/web-1-0\?ip=/)
      assert.strictEqual(podsOf(running).length, 1)
      assert.include(world.deltas.map((delta) => delta._tag === "Upsert" ? delta.state.phase : ""), "Starting")
      const pod = podOf(running, "web-1-0")
      assert.strictEqual(pod?.spec.automountServiceAccountToken, false)
    }))

  it.live("a name that Kubernetes does not take gets another one, the scheduler's stays", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url, pool: "Web_Pool" })
      yield* world.create("Web_Pool-a-0")
      const [idle] = yield* world.inPhase("Idle")
      assert.strictEqual(idle?.sandbox.name, "Web_Pool-a-0")
      assert.match(podsOf(running)[0]?.metadata.name ?? "", /^web-pool-a-0-[a-z0-9]{7}$/)
    }))

  it.live("a name of somebody else is a hard error; a list never forgets a creation that was answered", () =>
    Effect.gen(function*() {
      const running = yield* server({ faults: { watchLagMsMax: 60_000 } })
      running.cluster.store.create(Pod.resource, "default", {
        metadata: { name: "web-1-0" },
        spec: template.spec
      })
      const world = yield* make({ url: running.url })
      assert.strictEqual((yield* world.create("web-1-0"))._tag, "HardError")
      for (let index = 1; index <= 3; index++) {
        assert.strictEqual((yield* world.create(`web-1-${index}`))._tag, "Done")
        // The watch lags by up to a minute; what was answered is there all the same.
        assert.strictEqual((yield* world.pool.list).length, index)
      }
    }))
})

describe("claiming", () => {
  it.live("one PATCH sets phase, mark, labels, annotations and image; the release takes all of it back", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const sent: Array<string> = []
      const world = yield* make({
        url: running.url,
        between: counted(sent),
        config: { reset: { method: "restart", alternates: { main: alternate } } }
      })
      yield* world.create("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      const before = podOf(running, "web-1-0")
      sent.length = 0
      const claimed = yield* world.claim(idle!, "c1", {
        labels: { job: "7" },
        annotations: { "example.com/why": "test" },
        images: { main: "registry.example/box:2" },
        env: { A: "b" }
      })
      assert.deepStrictEqual(sent, ["PATCH web-1-0"])
      const [held] = yield* world.inPhase("Running")
      assert.isTrue(claimed._tag === "Success" && claimed.version > idle!.version)
      assert.deepEqual<unknown>(held?.claim, { claimId: "c1", holder: "somebody", sessionId: 1, ttlMs: 60_000 })
      assert.strictEqual(held?.sandbox.labels["job"], "7")
      const pod = podOf(running, "web-1-0")
      assert.strictEqual(pod?.spec.containers[0].image, "registry.example/box:2")
      assert.strictEqual(pod?.metadata.annotations?.["heddle.dev/env"], "{\"A\":\"b\"}")
      assert.strictEqual(pod?.metadata.annotations?.["cluster-autoscaler.kubernetes.io/safe-to-evict"], "false")

      assert.deepStrictEqual(yield* world.release(idle!.sandbox.uid, "c1"), { _tag: "Done" })
      yield* world.until("Idle again", () => {
        const state = world.states.get(idle!.sandbox.uid)
        return state?.phase === "Idle" && state.version > held!.version && state
      })
      const after = podOf(running, "web-1-0")
      assert.deepStrictEqual(after?.metadata.labels, before?.metadata.labels)
      const { "heddle.dev/uses": uses, ...annotations } = after?.metadata.annotations ?? {}
      assert.deepStrictEqual(annotations, { ...before?.metadata.annotations })
      assert.strictEqual(uses, "1")
      assert.isAbove(after?.status.containerStatuses[0].restartCount, 0)
    }))

  it.live("of two claims on one version only one wins, however stale the loser's view", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const one = yield* make({ url: running.url })
      yield* one.create("web-1-0")
      const [idle] = yield* one.inPhase("Idle")
      const two = yield* make({ url: running.url })
      const outcomes = yield* Effect.all([one.claim(idle!, "a"), two.claim(idle!, "b")], { concurrency: 2 })
      assert.deepStrictEqual(outcomes.map((_) => _._tag).sort(), ["Conflict", "Success"])
      assert.strictEqual((yield* one.claim(idle!, "c"))._tag, "Conflict")
    }))

  it.live("an unknown outcome is settled by reading: ours when the answer was lost after the write", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url })
      yield* world.create("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      running.cluster.faults.options = { lostAnswerRate: 1 }
      assert.strictEqual((yield* world.claim(idle!, "c1"))._tag, "Unknown")
      running.cluster.faults.options = {}
      const back = yield* world.readBack(idle!.sandbox.uid, "c1")
      assert.isTrue(back._tag === "Ours" && back.version > idle!.version)
      assert.strictEqual((yield* world.readBack(idle!.sandbox.uid, "other"))._tag, "NotOurs")
    }))

  it.live("NotOurs is final: a write that is still on its way when it is read back never takes effect", () =>
    Effect.gen(function*() {
      const running = yield* server()
      let held: (() => void) | undefined
      const answers: Array<number> = []
      const world = yield* make({
        url: running.url,
        between: (api) => ({
          watch: (path, query, handlers) => api.watch(path, query, handlers),
          send: (lane, request, done) => {
            const text = JSON.stringify(request.body ?? {})
            if (request.method !== "PATCH" || !text.includes("heddle.dev/claim\":\"late")) {
              return api.send(lane, request, done)
            }
            // The client gives up; the request is somewhere in the network and arrives later.
            held = () =>
              void api.send(lane, request, (answer) => answers.push(answer._tag === "Answered" ? answer.status : 0))
            return () => done({ _tag: "Lost", reason: "given up" })
          }
        })
      })
      yield* world.create("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      const claiming = yield* Effect.forkChild(world.claim(idle!, "late"), { startImmediately: true })
      assert.strictEqual((yield* world.readBack(idle!.sandbox.uid, "late"))._tag, "NotOurs")
      held?.()
      yield* Effect.callback<void>((resume) => {
        const look = setInterval(() => {
          if (answers.length === 0) return
          clearInterval(look)
          resume(Effect.void)
        }, 5)
      })
      assert.deepStrictEqual(answers, [409])
      assert.strictEqual(podOf(running, "web-1-0")?.metadata.labels?.["heddle.dev/phase"], "Idle")
      claiming.interruptUnsafe()
    }))

  it.live("a pod that is gone, protected, starting or missing a container is not claimed", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url })
      yield* world.create("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      assert.strictEqual((yield* world.claim(idle!, "c", { images: { side: "x" } }))._tag, "HardError")
      assert.strictEqual((yield* world.claim(idle!, "c", { labels: { "heddle.dev/pool": "x" } }))._tag, "HardError")
      assert.strictEqual((yield* world.claim(idle!, "c", { labels: { "a": "not a value!" } }))._tag, "HardError")
      touch(running, "web-1-0", { "heddle.dev/protected": "true" })
      const kept = yield* world.until("protected", () => {
        const state = world.states.get(idle!.sandbox.uid)
        return state?.isProtected === true && state
      })
      assert.strictEqual((yield* world.claim(kept, "c"))._tag, "WrongPhase")
      assert.strictEqual((yield* world.delete(kept))._tag, "Conflict")
      touch(running, "web-1-0", { "heddle.dev/protected": "false" })
      running.cluster.store.delete(Pod.resource, "default", "web-1-0", { gracePeriodSeconds: 0 })
      yield* world.until("gone", () => world.states.size === 0)
      assert.strictEqual((yield* world.claim(kept, "c"))._tag, "Gone")
    }))
})

describe("releasing", () => {
  const held = (config: Record<string, unknown>, more: Parameters<typeof make>[0] | object = {}) =>
    Effect.gen(function*() {
      const running = yield* server({ kubelet: { restartMs: [20, 20] } })
      const world = yield* make({ url: running.url, config, ...more })
      yield* world.create("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      assert.strictEqual((yield* world.claim(idle!, "c1"))._tag, "Success")
      const [state] = yield* world.inPhase("Running")
      return { running, world, uid: idle!.sandbox.uid, version: state!.version }
    })

  it.live("only the holder's; a repetition is done; without a reset the pod is deleted and told as removed", () =>
    Effect.gen(function*() {
      const { running, uid, world } = yield* held({})
      assert.strictEqual((yield* world.release(uid, "other"))._tag, "NotOurs")
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Done")
      yield* world.until("removed", () => world.states.size === 0)
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Gone")
      yield* world.until("deleted", () => podOf(running, "web-1-0") === undefined)
    }))

  it.live("reset none: Idle in one write", () =>
    Effect.gen(function*() {
      const { uid, version, world } = yield* held({ reset: { method: "none" } })
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Done")
      yield* world.until("idle", () => {
        const state = world.states.get(uid)
        return state?.phase === "Idle" && state.version > version && state.claim === undefined
      })
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "NotOurs")
    }))

  it.live("reset exec: Idle after the command, deleted when it fails", () =>
    Effect.gen(function*() {
      const ran: Array<string> = []
      for (const exitsWell of [true, false]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { uid, version, world } = yield* held({ reset: { method: "exec", command: ["/reset", "--all"] } }, {
            resetHook: (pod: { readonly name: string; readonly container: string }, command: ReadonlyArray<string>) =>
              Effect.sync(() => {
                ran.push(`${pod.name}/${pod.container} ${command.join(" ")}`)
                return exitsWell
              })
          })
          assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Done")
          yield* world.until("the end of the reset", () => {
            const state = world.states.get(uid)
            return exitsWell ? state?.phase === "Idle" && state.version > version : state === undefined
          })
        }))
      }
      assert.deepStrictEqual(ran, ["web-1-0/main /reset --all", "web-1-0/main /reset --all"])
    }))

  it.live("reset restart: Idle only after the container was started again; the next reset changes back", () =>
    Effect.gen(function*() {
      const { running, uid, version, world } = yield* held({
        reset: { method: "restart", alternates: { main: alternate } }
      })
      yield* world.release(uid, "c1")
      yield* world.inPhase("Stopping")
      const idle = yield* world.until("idle", () => {
        const state = world.states.get(uid)
        return state?.phase === "Idle" && state.version > version && state
      })
      const pod = podOf(running, "web-1-0")
      assert.strictEqual(pod?.spec.containers[0].image, alternate)
      assert.strictEqual(pod?.status.containerStatuses[0].restartCount, 1)
      assert.strictEqual((yield* world.claim(idle, "c2"))._tag, "Success")
      yield* world.release(uid, "c2")
      yield* world.until("idle again", () => {
        const state = world.states.get(uid)
        return state?.phase === "Idle" && state.version > idle.version
      })
      assert.strictEqual(podOf(running, "web-1-0")?.spec.containers[0].image, image)
    }))

  it.live("a reset that does not end in time, or was begun by an owner before, ends with another pod", () =>
    Effect.gen(function*() {
      const running = yield* server({ kubelet: { restartMs: [60_000, 60_000] } })
      const config = { reset: { method: "restart", alternates: { main: alternate }, timeout: 300 } }
      const first = yield* make({ url: running.url, config })
      yield* first.create("web-1-0")
      const [idle] = yield* first.inPhase("Idle")
      yield* first.claim(idle!, "c1")
      yield* first.release(idle!.sandbox.uid, "c1")
      const second = yield* make({ url: running.url, config, session: 2 })
      yield* second.until("replaced", () => second.states.size === 0 && podOf(running, "web-1-0") === undefined)
    }))
})

describe("what happens to pods", () => {
  it.live("evicted, failed and deleted ones are told as removed, and their remains taken away", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url })
      for (const name of ["a", "b", "c"]) yield* world.create(name)
      yield* world.inPhase("Idle", 3)
      running.cluster.kubelet?.evict("default", "a")
      running.cluster.store.delete(Pod.resource, "default", "b", {})
      yield* world.until("two removed", () => world.states.size === 1)
      yield* world.until("no remains", () => podsOf(running).length === 1)
      assert.deepStrictEqual([...world.states.values()].map((state) => state.sandbox.name), ["c"])
    }))

  it.live("an idle pod that is not ready is Starting; one that never becomes ready is replaced", () =>
    Effect.gen(function*() {
      const running = yield* server({ kubelet: { onStart: () => ({ waiting: { reason: "ErrImagePull" } }) } })
      const world = yield* make({ url: running.url, config: { startTimeout: 50 } })
      yield* world.create("a")
      yield* world.inPhase("Starting")
      yield* Effect.sleep(60)
      yield* world.pool.list // each list looks
      yield* world.until("replaced", () => world.states.size === 0)
    }))

  it.live("scale-down takes neither a claimed nor a kept one, nor one that has changed since", () =>
    Effect.gen(function*() {
      const running = yield* server({ faults: { watchLagMsMax: 0 } })
      const world = yield* make({ url: running.url })
      for (const name of ["a", "b", "c"]) yield* world.create(name)
      const [a, b, c] = yield* world.inPhase("Idle", 3)
      yield* world.claim(a!, "c1")
      assert.strictEqual((yield* world.delete(a!))._tag, "Conflict")
      assert.strictEqual((yield* world.delete(world.states.get(a!.sandbox.uid)!))._tag, "Conflict")
      touch(running, b!.sandbox.name, { "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" })
      assert.strictEqual((yield* world.delete(b!))._tag, "Conflict")
      const kept = yield* world.until("kept", () => {
        const state = world.states.get(b!.sandbox.uid)
        return state?.isKept === true && state
      })
      assert.strictEqual((yield* world.delete(kept))._tag, "Conflict")
      assert.strictEqual((yield* world.claim(kept, "c2"))._tag, "Success")
      assert.strictEqual((yield* world.delete(c!))._tag, "Done")
      yield* world.until("deleted", () => !world.states.has(c!.sandbox.uid))
      assert.strictEqual((yield* world.delete(c!))._tag, "Done")
    }))
})

describe("fencing", () => {
  it.live("a pod that shows a greater session ends all writes of the older one", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const old = yield* make({ url: running.url, session: 4 })
      for (const name of ["a", "b"]) yield* old.create(name, 4)
      const [a, b] = yield* old.inPhase("Idle", 2)
      const next = yield* make({ url: running.url, session: 9 })
      yield* next.inPhase("Idle", 2)
      yield* next.claim(a!, "n", {}, 9)
      yield* old.until("the greater session", () => old.states.get(a!.sandbox.uid)?.claim?.sessionId === 9)
      const fenced = { _tag: "Fenced" as const, current: SessionId.make(9) }
      assert.deepStrictEqual(yield* old.claim(b!, "o", {}, 4), fenced)
      assert.deepStrictEqual(yield* old.release(a!.sandbox.uid, "n", "recycle", 4), fenced)
      assert.deepStrictEqual(yield* old.create("c", 4), fenced)
      assert.deepStrictEqual(yield* old.delete(b!, 4), fenced)
      assert.strictEqual((yield* next.claim(b!, "m", {}, 9))._tag, "Success")
    }))
})

describe("answers", () => {
  it.live("429 with Retry-After is obeyed within the write; 500 is unknown; no server is nobody's fault", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const world = yield* make({ url: running.url })
      yield* world.create("a")
      const [idle] = yield* world.inPhase("Idle")
      running.cluster.faults.options = { tooManyRequestsRate: 1, retryAfterSeconds: 1 }
      const claiming = yield* Effect.forkChild(world.claim(idle!, "c1"), { startImmediately: true })
      yield* Effect.sleep(200)
      running.cluster.faults.options = {}
      const fiber = claiming
      yield* world.inPhase("Running")
      fiber.interruptUnsafe()
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
})

describe("watching", () => {
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

  it.live("a watch that says nothing is cut, and what it kept back is listed", () =>
    Effect.gen(function*() {
      const running = yield* server()
      let isMute = true
      const world = yield* make({
        url: running.url,
        informer: { silenceMs: 300, backOffMinMs: 5 },
        between: (api) => ({
          send: (lane, request, done) => api.send(lane, request, done),
          watch: (path, query, handlers) =>
            api.watch(path, query, { ...handlers, event: (event) => isMute || handlers.event(event) })
        })
      })
      yield* world.create("a")
      yield* world.inPhase("Idle")
      isMute = false
      yield* world.create("b")
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

  it.live("what the API server refuses to list or to serve is told with its reason", () =>
    Effect.gen(function*() {
      const running = yield* server({ users: { poor: { name: "poor", grants: [] } } })
      const world = yield* opened({ url: running.url, token: "poor" })
      const error = yield* Effect.flip(world.pool.list)
      assert.match(error.message, /cannot list resource "pods"/)
    }))

  it.live("a config that cannot work is refused when it is applied, and when it is opened", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(opened({
        url: "http://127.0.0.1:1",
        pool: "_web",
        config: { reset: { method: "restart", alternates: { main: image, side: "x" } } }
      })))
      assert.deepStrictEqual(error.problems?.map((_) => _.path), [
        "config.reset.alternates.main",
        "config.reset.alternates.side",
        "name"
      ])
    }))
})
