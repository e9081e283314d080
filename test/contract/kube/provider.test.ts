/**
 * The Kubernetes provider against the cluster under test, one promise of `PoolProvider` a test: the double, or with KUBEBUILDER_ASSETS a real API server. The same assertions on both.
 * What needs faults, compaction or a kubelet's latency is in provider-faults.test.ts.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { afterAll, beforeAll } from "vitest"
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import { PoolScheduler } from "../../../services/pool-scheduler/PoolScheduler.ts"
import { ClaimId, SessionId } from "../../../shared/protocol/Token.ts"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import { stage } from "./ProviderStage.ts"
import { alternate, image, opened, template, type WorldOptions } from "./ProviderWorld.ts"

let cluster: ClusterUnderTest.ClusterUnderTest
beforeAll(async () => {
  cluster = await ClusterUnderTest.start()
}, 180_000)
afterAll(() => cluster?.stop())

/** A namespace of its own. */
const staged = Effect.suspend(() => stage(cluster))
const testMs = 180_000

/** Requests in the order in which they were sent, as `PATCH` or `PATCH web-1`. */
const counted = (sent: Array<string>) => (api: Api): Api => ({
  send: (lane, request, done) => {
    sent.push(`${request.method} ${request.path.split("/pods")[1]?.slice(1) ?? ""}`.trim())
    return api.send(lane, request, done)
  },
  watch: (path, query, handlers) => api.watch(path, query, handlers)
})

/** Answers to the next requests that fit are lost, after they took effect. */
const losing = (isLost: () => boolean) => (api: Api): Api => ({
  send: (lane, request, done) =>
    api.send(
      lane,
      request,
      (answer) => done(request.method !== "GET" && isLost() ? { _tag: "Lost", reason: "a test asked for it" } : answer)
    ),
  watch: (path, query, handlers) => api.watch(path, query, handlers)
})

describe("creating", () => {
  it.live(
    "a pod comes up as Starting and is Idle when it is Ready; the name is the idempotency key",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const world = yield* at.pool({ labels: { tier: "gold" } })
        assert.deepStrictEqual(yield* world.create("web-1-0"), { _tag: "Done" })
        assert.deepStrictEqual(yield* world.create("web-1-0"), { _tag: "Done" })
        yield* world.inPhase("Starting")
        yield* at.run("web-1-0")
        const [idle] = yield* world.inPhase("Idle")
        assert.strictEqual(idle?.sandbox.name, "web-1-0")
        assert.strictEqual(idle?.sandbox.labels["tier"], "gold")
        assert.strictEqual(idle?.sandbox.labels["kubernetes.io/hostname"], "node-1")
        assert.match(idle?.sandbox.address ?? "", /^kubernetes:\/\/test-[0-9a-f]+\/web-1-0\?ip=/)
        const pods = yield* at.pods
        assert.strictEqual(pods.length, 1)
        assert.strictEqual(pods[0]?.spec.automountServiceAccountToken, false)
      }),
    testMs
  )

  it.live("a name that Kubernetes does not take gets another one, the scheduler's stays", () =>
    Effect.gen(function*() {
      const at = yield* staged
      const world = yield* at.pool({ pool: "Web_Pool" })
      yield* world.create("Web_Pool-a-0")
      const [starting] = yield* world.inPhase("Starting")
      assert.strictEqual(starting?.sandbox.name, "Web_Pool-a-0")
      assert.match((yield* at.pods)[0]?.metadata.name ?? "", /^web-pool-a-0-[a-z0-9]{7}$/)
    }), testMs)

  it.live("a name of somebody else is a hard error", () =>
    Effect.gen(function*() {
      const at = yield* staged
      yield* at.add({ apiVersion: "v1", kind: "Pod", metadata: { name: "web-1-0" }, spec: template.spec })
      const world = yield* at.pool()
      assert.strictEqual((yield* world.create("web-1-0"))._tag, "HardError")
      assert.strictEqual((yield* world.create("web-1-1"))._tag, "Done")
    }), testMs)
})

describe("claiming", () => {
  it.live(
    "one PATCH sets phase, mark, labels, annotations and image; the release takes all of it back",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const sent: Array<string> = []
        const world = yield* at.pool({
          between: counted(sent),
          config: { reset: { method: "restart", alternates: { main: alternate } } }
        })
        const [idle] = yield* at.idle(world, "web-1-0")
        const before = yield* at.pod("web-1-0")
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
        const pod = yield* at.pod("web-1-0")
        assert.strictEqual(pod?.spec.containers[0].image, "registry.example/box:2")
        assert.strictEqual(pod?.metadata.annotations?.["heddle.dev/env"], "{\"A\":\"b\"}")
        assert.strictEqual(pod?.metadata.annotations?.["cluster-autoscaler.kubernetes.io/safe-to-evict"], "false")
        yield* at.restart("web-1-0")

        assert.deepStrictEqual(yield* world.release(idle!.sandbox.uid, "c1"), { _tag: "Done" })
        yield* at.restart("web-1-0")
        yield* world.until("Idle again", () => {
          const state = world.states.get(idle!.sandbox.uid)
          return state?.phase === "Idle" && state.version > held!.version && state
        })
        const after = yield* at.pod("web-1-0")
        assert.deepStrictEqual(after?.metadata.labels, before?.metadata.labels)
        const { "heddle.dev/uses": uses, ...annotations } = after?.metadata.annotations ?? {}
        assert.deepStrictEqual(annotations, { ...before?.metadata.annotations })
        assert.strictEqual(uses, "1")
      }),
    testMs
  )

  it.live(
    "who claimed it stands on the pod: an owner that takes the pool over finds team, user and batch, and the release takes them away",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const first = yield* at.pool({ config: { reset: { method: "none" } } })
        const [idle] = yield* at.idle(first, "a")
        const mark = {
          claimId: ClaimId.make("c-0"),
          holder: "somebody",
          sessionId: SessionId.make(1),
          ttlMs: 60_000,
          team: "Blue & green",
          user: "ann@example.com",
          batch: ClaimId.make("c")
        }
        const { uid } = idle!.sandbox
        assert.strictEqual((yield* first.claim(idle!, "c-0", { mark }))._tag, "Success")
        const second = yield* at.pool({ session: 2, config: { reset: { method: "none" } } })
        assert.deepEqual<unknown>(second.states.get(uid)?.claim, mark)
        assert.strictEqual((yield* second.release(uid, "c-0", "recycle", 2))._tag, "Done")
        const free = yield* second.until("idle", () => {
          const state = second.states.get(uid)
          return state?.phase === "Idle" && state.version > idle!.version && state
        })
        // Nothing of it is left for a claim that names none.
        assert.strictEqual((yield* second.claim(free, "c2", {}, 2))._tag, "Success")
        const [held] = yield* second.inPhase("Running")
        assert.deepEqual<unknown>(held?.claim, { claimId: "c2", holder: "somebody", sessionId: 2, ttlMs: 60_000 })
      }),
    testMs
  )

  it.live("of two claims on one version only one wins, however stale the loser's view", () =>
    Effect.gen(function*() {
      const at = yield* staged
      const one = yield* at.pool()
      const [idle] = yield* at.idle(one, "web-1-0")
      const two = yield* at.pool()
      const outcomes = yield* Effect.all([one.claim(idle!, "a"), two.claim(idle!, "b")], { concurrency: 2 })
      assert.deepStrictEqual(outcomes.map((_) => _._tag).sort(), ["Conflict", "Success"])
      assert.strictEqual((yield* one.claim(idle!, "c"))._tag, "Conflict")
    }), testMs)

  it.live(
    "an unknown outcome is settled by reading: ours when the answer was lost after the write",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        let isLost = false
        const world = yield* at.pool({ between: losing(() => isLost) })
        const [idle] = yield* at.idle(world, "web-1-0")
        isLost = true
        assert.strictEqual((yield* world.claim(idle!, "c1"))._tag, "Unknown")
        isLost = false
        const back = yield* world.readBack(idle!.sandbox.uid, "c1")
        assert.isTrue(back._tag === "Ours" && back.version > idle!.version)
        assert.strictEqual((yield* world.readBack(idle!.sandbox.uid, "other"))._tag, "NotOurs")
      }),
    testMs
  )

  it.live(
    "NotOurs is final: a write that is still on its way when it is read back never takes effect",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        let held: (() => void) | undefined
        const answers: Array<number> = []
        const world = yield* at.pool({
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
        const [idle] = yield* at.idle(world, "web-1-0")
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
        assert.strictEqual((yield* at.pod("web-1-0"))?.metadata.labels?.["heddle.dev/phase"], "Idle")
        claiming.interruptUnsafe()
      }),
    testMs
  )

  it.live("a pod that is gone, protected or starting is not claimed", () =>
    Effect.gen(function*() {
      const at = yield* staged
      const world = yield* at.pool()
      yield* world.create("web-1-0")
      const [starting] = yield* world.inPhase("Starting")
      assert.strictEqual((yield* world.claim(starting!, "c"))._tag, "WrongPhase")
      yield* at.run("web-1-0")
      const [idle] = yield* world.inPhase("Idle")
      yield* at.touch("web-1-0", { "heddle.dev/protected": "true" })
      const kept = yield* world.until("protected", () => {
        const state = world.states.get(idle!.sandbox.uid)
        return state?.isProtected === true && state
      })
      assert.strictEqual((yield* world.claim(kept, "c"))._tag, "WrongPhase")
      assert.strictEqual((yield* world.delete(kept))._tag, "Conflict")
      yield* at.drop("web-1-0")
      yield* world.until("gone", () => world.states.size === 0)
      assert.strictEqual((yield* world.claim(kept, "c"))._tag, "Gone")
    }), testMs)

  it.live(
    "what no pod can have is refused for good, by us or in the API server's words; the pod stays as it was",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const sent: Array<string> = []
        const world = yield* at.pool({ between: counted(sent) })
        const [idle] = yield* at.idle(world, "a")
        sent.length = 0
        const asked = (more: Parameters<typeof world.claim>[2]) =>
          Effect.map(world.claim(idle!, "c", more), (one) => {
            assert.deepInclude<object>(
              one,
              { _tag: "HardError", everySandbox: false, isFinal: true },
              JSON.stringify(one)
            )
            return one._tag === "HardError" ? one.message : ""
          })
        assert.match(yield* asked({ images: { side: "x" } }), /no container "side"/)
        assert.match(yield* asked({ labels: { "heddle.dev/pool": "x" } }), /heddle's own/)
        assert.match(yield* asked({ labels: { a: "not a value!" } }), /no value of a label/)
        assert.match(yield* asked({ annotations: { "a b": "" } }), /no key of an annotation/)
        assert.deepStrictEqual(sent, [], "nothing is sent")
        assert.match(yield* asked({ images: { main: "" } }), /spec\.containers\[0\]\.image/)
        assert.match(yield* asked({ annotations: { long: "x".repeat(262_144) } }), /metadata\.annotations/)
        assert.match(yield* asked({ env: { LONG: "x".repeat(262_144) } }), /metadata\.annotations/)
        assert.strictEqual((yield* world.claim(idle!, "c"))._tag, "Success", "it is as it was")
      }),
    testMs
  )

  it.live(
    "a container that only pods of an earlier template lack is the pod's fault: another one is tried",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const old = yield* at.pool()
        const [idle] = yield* at.idle(old, "a")
        const { containers } = template.spec
        const world = yield* at.pool({
          session: 2,
          config: { template: { spec: { containers: [...containers, { name: "side", image }] } } }
        })
        const refused = yield* world.claim(idle!, "c", { images: { side: alternate } }, 2)
        assert.deepInclude<object>(refused, { _tag: "HardError", everySandbox: false })
        assert.notProperty(refused, "isFinal")
      }),
    testMs
  )
})

describe("rights", () => {
  it.live(
    "who may not write is told so as everybody's fault; a pod that has ended is gone even if it cannot be deleted",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        // Its owner is gone, so that nobody can delete it.
        const [idle] = yield* Effect.scoped(Effect.flatMap(at.pool(), (owner) => at.idle(owner, "a")))
        const user = (verbs: ReadonlyArray<string>) =>
          Effect.promise(() => cluster.user([{ apiGroups: [""], resources: ["pods"], verbs }], at.namespace))
        const reader = yield* at.pool({ token: (yield* user(["get", "list", "watch"])).token })
        assert.deepInclude<object>(yield* reader.claim(idle!, "c"), { _tag: "HardError", everySandbox: true })
        yield* at.evict("a")
        yield* reader.until("gone", () => reader.states.size === 0)
      }),
    testMs
  )
})

describe("releasing", () => {
  const held = (config: Record<string, unknown>, more: Partial<WorldOptions> = {}) =>
    Effect.gen(function*() {
      const at = yield* staged
      const world = yield* at.pool({ config, ...more })
      const [idle] = yield* at.idle(world, "web-1-0")
      assert.strictEqual((yield* world.claim(idle!, "c1"))._tag, "Success")
      const [state] = yield* world.inPhase("Running")
      return { at, world, uid: idle!.sandbox.uid, version: state!.version }
    })

  it.live(
    "only the holder's; a repetition is done; without a reset the pod is deleted and told as removed",
    () =>
      Effect.gen(function*() {
        const { at, uid, world } = yield* held({})
        assert.strictEqual((yield* world.release(uid, "other"))._tag, "NotOurs")
        assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Done")
        yield* world.until("removed", () => world.states.size === 0)
        assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Gone")
        yield* at.absent("web-1-0")
      }),
    testMs
  )

  it.live("reset none: Idle in one write", () =>
    Effect.gen(function*() {
      const { uid, version, world } = yield* held({ reset: { method: "none" } })
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Done")
      yield* world.until("idle", () => {
        const state = world.states.get(uid)
        return state?.phase === "Idle" && state.version > version && state.claim === undefined
      })
      assert.strictEqual((yield* world.release(uid, "c1"))._tag, "NotOurs")
    }), testMs)

  it.live("reset exec: Idle after the command, deleted when it fails", () =>
    Effect.gen(function*() {
      const ran: Array<string> = []
      for (const exitsWell of [true, false]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { uid, version, world } = yield* held({ reset: { method: "exec", command: ["/reset", "--all"] } }, {
            resetHook: (pod, command) =>
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
    }), testMs)

  it.live(
    "reset restart: Idle only after the container was started again; the next reset changes back",
    () =>
      Effect.gen(function*() {
        const { at, uid, version, world } = yield* held({
          reset: { method: "restart", alternates: { main: alternate } }
        })
        yield* world.release(uid, "c1")
        const [stopping] = yield* world.inPhase("Stopping")
        assert.isAbove(stopping!.version, version)
        yield* at.restart("web-1-0")
        const idle = yield* world.until("idle", () => {
          const state = world.states.get(uid)
          return state?.phase === "Idle" && state.version > version && state
        })
        const pod = yield* at.pod("web-1-0")
        assert.strictEqual(pod?.spec.containers[0].image, alternate)
        assert.strictEqual(pod?.status.containerStatuses[0].restartCount, 1)
        assert.strictEqual((yield* world.claim(idle, "c2"))._tag, "Success")
        yield* world.release(uid, "c2")
        yield* world.inPhase("Stopping")
        yield* at.restart("web-1-0")
        yield* world.until("idle again", () => {
          const state = world.states.get(uid)
          return state?.phase === "Idle" && state.version > idle.version
        })
        assert.strictEqual((yield* at.pod("web-1-0"))?.spec.containers[0].image, image)
      }),
    testMs
  )

  it.live(
    "a reset that does not end in time, or was begun by an owner before, ends with another pod",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const config = { reset: { method: "restart", alternates: { main: alternate }, timeout: 300 } }
        const first = yield* at.pool({ config })
        const [idle] = yield* at.idle(first, "web-1-0")
        yield* first.claim(idle!, "c1")
        yield* first.release(idle!.sandbox.uid, "c1")
        const second = yield* at.pool({ config, session: 2 })
        yield* second.until("replaced", () => second.states.size === 0)
        yield* at.absent("web-1-0")
      }),
    testMs
  )
})

describe("what happens to pods", () => {
  it.live(
    "evicted, failed and deleted ones are told as removed, and their remains taken away",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const world = yield* at.pool()
        yield* at.idle(world, "a", "b", "c")
        yield* at.evict("a")
        // With its grace: it is no sandbox any more long before it is gone.
        yield* at.drop("b", 30)
        yield* world.until("two removed", () => world.states.size === 1)
        yield* at.absent("a")
        assert.deepStrictEqual([...world.states.values()].map((state) => state.sandbox.name), ["c"])
        assert.notStrictEqual((yield* at.pod("b"))?.metadata.deletionTimestamp, undefined)
      }),
    testMs
  )

  it.live(
    "an idle pod that is not ready is Starting; one that never becomes ready is replaced",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const world = yield* at.pool({ config: { startTimeout: 50 } })
        yield* world.create("a")
        yield* world.inPhase("Starting")
        yield* Effect.sleep(60)
        yield* world.pool.list // each list looks
        yield* world.until("replaced", () => world.states.size === 0)
      }),
    testMs
  )

  it.live(
    "scale-down takes neither a claimed nor a kept one, nor one that has changed since",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const world = yield* at.pool()
        const [a, b, c] = yield* at.idle(world, "a", "b", "c")
        yield* world.claim(a!, "c1")
        assert.strictEqual((yield* world.delete(a!))._tag, "Conflict")
        assert.strictEqual((yield* world.delete(world.states.get(a!.sandbox.uid)!))._tag, "Conflict")
        yield* at.touch("b", { "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" })
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
      }),
    testMs
  )

  it.live(
    "the end of the whole pool takes all of them: idle, claimed, protected, being reset, starting",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const world = yield* at.pool({ config: { reset: { method: "restart", alternates: { main: alternate } } } })
        const [, claimed, kept, stopping] = yield* at.idle(world, "idle", "claimed", "kept", "stopping")
        yield* world.create("starting")
        yield* at.add({ apiVersion: "v1", kind: "Pod", metadata: { name: "somebody-elses" }, spec: template.spec })
        assert.strictEqual((yield* world.claim(claimed!, "c1"))._tag, "Success")
        assert.strictEqual((yield* world.claim(stopping!, "c2"))._tag, "Success")
        assert.strictEqual((yield* world.release(stopping!.sandbox.uid, "c2"))._tag, "Done")
        yield* at.touch("kept", { "heddle.dev/protected": "true" })
        yield* world.until("protected", () => world.states.get(kept!.sandbox.uid)?.isProtected === true)
        const scheduler = new PoolScheduler({
          provider: world.pool,
          now: () => 0,
          arm: () => {},
          repair: () => {},
          event: () => {},
          adoptedTask: () => {},
          fenced: () => {},
          warn: (message) => assert.fail(message)
        }, { sessionId: SessionId.make(1), poolName: "web", size: 5 })
        scheduler.listed(scheduler.listing(), [...world.states.values()])
        yield* Effect.callback<void>((resume) =>
          scheduler.shutdown(() => scheduler.removeAll(() => resume(Effect.void)))
        )
        yield* world.until("nothing left", () => world.states.size === 0)
        assert.deepStrictEqual((yield* at.pods).map((pod) => pod.metadata.name), ["somebody-elses"])
      }),
    testMs
  )
})

describe("fencing", () => {
  it.live("a pod that shows a greater session ends all writes of the older one", () =>
    Effect.gen(function*() {
      const at = yield* staged
      const old = yield* at.pool({ session: 4 })
      const [a, b] = yield* at.idle(old, "a", "b")
      const next = yield* at.pool({ session: 9 })
      yield* next.inPhase("Idle", 2)
      yield* next.claim(a!, "n", {}, 9)
      yield* old.until("the greater session", () => old.states.get(a!.sandbox.uid)?.claim?.sessionId === 9)
      const fenced = { _tag: "Fenced" as const, current: SessionId.make(9) }
      assert.deepStrictEqual(yield* old.claim(b!, "o", {}, 4), fenced)
      assert.deepStrictEqual(yield* old.release(a!.sandbox.uid, "n", "recycle", 4), fenced)
      assert.deepStrictEqual(yield* old.create("c", 4), fenced)
      assert.deepStrictEqual(yield* old.delete(b!, 4), fenced)
      assert.strictEqual((yield* next.claim(b!, "m", {}, 9))._tag, "Success")
    }), testMs)
})

describe("watching", () => {
  it.live("a watch that says nothing is cut, and what it kept back is listed", () =>
    Effect.gen(function*() {
      const at = yield* staged
      let isMute = true
      const world = yield* at.pool({
        informer: { silenceMs: 300, backOffMinMs: 5 },
        between: (api) => ({
          send: (lane, request, done) => api.send(lane, request, done),
          watch: (path, query, handlers) =>
            api.watch(path, query, { ...handlers, event: (event) => isMute || handlers.event(event) })
        })
      })
      yield* at.idle(world, "a")
      isMute = false
      yield* at.idle(world, "b")
    }), testMs)

  it.live(
    "a repair list is answered from what is known while the watch stands and shows our own last write; else the server is asked, and every so often for the latest",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const queries: Array<Readonly<Record<string, unknown>>> = []
        let isMute = false
        const held: Array<() => void> = []
        const between = (api: Api): Api => ({
          send: (lane, request, done) => {
            if (request.method === "GET" && request.path.endsWith("/pods")) queries.push(request.query ?? {})
            return api.send(lane, request, done)
          },
          watch: (path, query, handlers) =>
            api.watch(path, query, {
              ...handlers,
              event: (event) => isMute ? void held.push(() => handlers.event(event)) : handlers.event(event)
            })
        })
        const world = yield* at.pool({ between })
        const [idle] = yield* at.idle(world, "a")
        queries.length = 0
        assert.strictEqual((yield* world.pool.list).length, 1)
        assert.deepStrictEqual(queries, [])
        isMute = true
        const claimed = yield* world.claim(idle!, "c1")
        assert.strictEqual((yield* world.pool.list)[0]?.claim?.claimId, "c1")
        assert.deepInclude(queries[0], {
          resourceVersion: claimed._tag === "Success" ? claimed.version : 0,
          resourceVersionMatch: "NotOlderThan"
        })
        isMute = false
        for (const tell of held) tell()
        const often = yield* at.pool({ between, session: 2, informer: { resyncMs: 0 } })
        queries.length = 0
        yield* often.pool.list
        assert.strictEqual(queries.length, 1)
        assert.notProperty(queries[0], "resourceVersionMatch")
      }),
    testMs
  )

  it.live("lists come in pages", () =>
    Effect.gen(function*() {
      const at = yield* staged
      const sent: Array<string> = []
      const first = yield* at.pool()
      for (let index = 0; index < 7; index++) yield* first.create(`p${index}`)
      const second = yield* at.pool({ informer: { pageSize: 3 }, between: counted(sent) })
      assert.strictEqual(second.states.size, 7)
      assert.strictEqual(sent.filter((one) => one === "GET").length, 3)
    }), testMs)

  it.live("what the API server refuses to list is told with its reason", () =>
    Effect.gen(function*() {
      const at = yield* staged
      const { token } = yield* Effect.promise(() => cluster.user([], at.namespace))
      const world = yield* opened(at.options({ token }))
      const error = yield* Effect.flip(world.pool.list)
      assert.match(error.message, /cannot list resource "pods"/)
    }), testMs)

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
