/**
 * The core of the provider's contract on the cluster under test: the double, or with KUBEBUILDER_ASSETS a real API server, which has no kubelet: its part is played through the API.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import { make } from "./ProviderWorld.ts"

const underTest = Effect.acquireRelease(
  Effect.promise(() => ClusterUnderTest.start({})),
  (cluster) => Effect.promise(() => cluster.stop())
)

it.live(
  "created, ready, claimed once, refused twice, released, scaled down; a watch that tells all of it",
  () =>
    Effect.gen(function*() {
      const cluster = yield* underTest
      const namespace = yield* Effect.promise(() => cluster.namespace())
      const world = yield* make({
        url: cluster.url,
        token: cluster.token,
        ca: cluster.ca,
        config: { namespace, reset: { method: "none" }, grace: 0 }
      })
      assert.strictEqual((yield* world.create("web-1-0"))._tag, "Done")
      assert.strictEqual((yield* world.create("web-1-0"))._tag, "Done")
      yield* world.until("shown", () => world.states.size === 1)
      yield* Effect.promise(() => cluster.kubelet.run(namespace, "web-1-0"))
      const [idle] = yield* world.inPhase("Idle")
      const uid = idle!.sandbox.uid

      const claimed = yield* world.claim(idle!, "c1", { labels: { job: "1" } })
      assert.isTrue(claimed._tag === "Success" && claimed.version > idle!.version)
      assert.strictEqual((yield* world.claim(idle!, "c2"))._tag, "Conflict")
      assert.strictEqual((yield* world.readBack(uid, "c1"))._tag, "Ours")
      assert.strictEqual((yield* world.readBack(uid, "c2"))._tag, "NotOurs")
      assert.strictEqual((yield* world.delete(idle!))._tag, "Conflict")

      // A second owner finds the claim on the pod, and its list shows nothing older.
      const next = yield* make({
        url: cluster.url,
        token: cluster.token,
        ca: cluster.ca,
        session: 2,
        config: { namespace, reset: { method: "none" }, grace: 0 }
      })
      assert.strictEqual(next.states.get(uid)?.claim?.claimId, "c1")
      assert.strictEqual((yield* next.release(uid, "c1", "recycle", 2))._tag, "Done")
      const fenced = yield* world.until("idle again", () => {
        const state = world.states.get(uid)
        return state?.phase === "Idle" && state.version > idle!.version && state
      })
      assert.isUndefined(fenced.sandbox.labels["job"])
      assert.deepInclude<object>(yield* world.claim(fenced, "c3"), { _tag: "Fenced", current: 2 })
      assert.strictEqual((yield* next.delete(next.states.get(uid)!, 2))._tag, "Done")
      yield* world.until("gone", () => world.states.size === 0)
    }),
  180_000
)
