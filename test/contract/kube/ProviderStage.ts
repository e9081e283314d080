/**
 * The cluster under test for the provider's tests: a namespace for each test, pools opened in it, and a kubelet that is played through the API, as a real API server has none.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ProviderError, SandboxState } from "../../../shared/plugin/PoolProvider.ts"
import type { ClusterUnderTest } from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import { merge, podPath } from "./Pods.ts"
import { make, type World, type WorldOptions } from "./ProviderWorld.ts"

export class Stage {
  readonly cluster: ClusterUnderTest
  readonly namespace: string

  constructor(cluster: ClusterUnderTest, namespace: string) {
    this.cluster = cluster
    this.namespace = namespace
  }

  /** How a pool reaches this cluster, for `opened`. */
  options(more: Partial<WorldOptions> = {}): WorldOptions {
    const { ca, token, url } = this.cluster
    return { url, token, ca, ...more, config: { namespace: this.namespace, grace: 0, ...more.config } }
  }

  pool(more: Partial<WorldOptions> = {}): Effect.Effect<World, ProviderError, Scope.Scope> {
    return make(this.options(more))
  }

  /** Created, started by the kubelet, and told as Idle, in this order. */
  idle(world: World, ...names: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<SandboxState>> {
    return Effect.gen({ self: this }, function*() {
      for (const name of names) {
        const created = yield* world.create(name, world.session)
        if (created._tag !== "Done") return yield* Effect.die(new Error(`${name}: ${JSON.stringify(created)}`))
        yield* this.run(name)
      }
      return yield* world.until(`idle: ${names.join()}`, () => {
        const states = names.flatMap((name) =>
          [...world.states.values()].filter((one) => one.sandbox.name === name && one.phase === "Idle")
        )
        return states.length === names.length && states
      })
    })
  }

  readonly run = (name: string) => Effect.promise(() => this.cluster.kubelet.run(this.namespace, name))
  readonly restart = (name: string) => Effect.promise(() => this.cluster.kubelet.restart(this.namespace, name))
  readonly evict = (name: string) => Effect.promise(() => this.cluster.kubelet.evict(this.namespace, name))

  /** `undefined`: there is none of this name. */
  readonly pod = (name: string): Effect.Effect<Json | undefined> =>
    Effect.map(
      Effect.promise(() => this.cluster.call("GET", podPath(this.namespace, name))),
      (answer) => answer.code === 404 ? undefined : answer.body
    )

  readonly pods: Effect.Effect<ReadonlyArray<Json>> = Effect.suspend(() =>
    Effect.map(
      Effect.promise(() => this.cluster.call("GET", podPath(this.namespace))),
      (answer): ReadonlyArray<Json> => answer.body.items
    )
  )

  /** Made by somebody else. */
  readonly add = (pod: Json) => Effect.promise(() => this.cluster.call("POST", podPath(this.namespace), pod))

  /** Somebody else changes a pod, by an annotation. */
  readonly touch = (name: string, annotations: Record<string, string>) =>
    Effect.promise(() =>
      this.cluster.call("PATCH", podPath(this.namespace, name), { metadata: { annotations } }, merge)
    )

  /** Somebody else deletes a pod. */
  readonly drop = (name: string, graceSeconds = 0) =>
    Effect.promise(() =>
      this.cluster.call("DELETE", podPath(this.namespace, name), { gracePeriodSeconds: graceSeconds })
    )

  /** Looked at until there is no such pod: nobody tells. */
  readonly absent = (name: string): Effect.Effect<void> =>
    Effect.gen({ self: this }, function*() {
      for (let turn = 0; turn < 4_500; turn++) {
        if ((yield* this.pod(name)) === undefined) return
        yield* Effect.sleep(20)
      }
      return yield* Effect.die(new Error(`the pod ${name} is still there`))
    })
}

export const stage = (cluster: ClusterUnderTest): Effect.Effect<Stage> =>
  Effect.map(Effect.promise(() => cluster.namespace()), (namespace) => new Stage(cluster, namespace))
