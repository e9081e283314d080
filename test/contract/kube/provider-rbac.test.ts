/**
 * infra/crds/rbac.yaml is enough and no more, before the RBAC authorizer of the cluster under test (the double's, or with KUBEBUILDER_ASSETS the real one): a sandbox's whole life and the objects' run with exactly these rights; with any one of them taken away something fails.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll } from "vitest"
import * as Yaml from "yaml"
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import * as PoolObjects from "../../../plugins/kubernetes/PoolObjects.ts"
import type { PoolSink } from "../../../shared/plugin/PoolSource.ts"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import type { PolicyRule } from "../../../shared/testing/kube/Rbac.ts"
import { type Stage, stage } from "./ProviderStage.ts"
import { reach, template } from "./ProviderWorld.ts"

const text = (path: string): string => readFileSync(new URL(`../../../infra/crds/${path}`, import.meta.url), "utf8")
const roles = new Map(
  Yaml.parseAllDocuments(text("rbac.yaml")).map((document) => {
    const role = document.toJS() as {
      readonly metadata: { readonly name: string }
      readonly rules: ReadonlyArray<PolicyRule>
    } // our own file
    return [role.metadata.name, role.rules]
  })
)
const crds = ["heddle.dev_sandboxpools.yaml", "heddle.dev_sandboxenvs.yaml"].map((file): unknown =>
  Yaml.parse(text(file))
)

let cluster: ClusterUnderTest.ClusterUnderTest
beforeAll(async () => {
  cluster = await ClusterUnderTest.start({ crds })
}, 180_000)
afterAll(() => cluster?.stop())

/** How long it may take with a right missing: several times what it takes with all of them. */
const withoutMs = 5_000

/** One rule for each verb of each resource. */
const single = (rules: ReadonlyArray<PolicyRule>): ReadonlyArray<PolicyRule> =>
  rules.flatMap((rule) =>
    rule.resources.flatMap((resource) =>
      rule.verbs.map((verb) => ({ apiGroups: rule.apiGroups, resources: [resource], verbs: [verb] }))
    )
  )
const nameOf = (rule: PolicyRule): string => `${rule.verbs.join()} ${rule.resources.join()}`

/** Answers to writes are lost, after they took effect. */
const losing = (isLost: () => boolean) => (api: Api): Api => ({
  send: (lane, request, done) =>
    api.send(
      lane,
      request,
      (answer) => done(request.method !== "GET" && isLost() ? { _tag: "Lost", reason: "a test asked for it" } : answer)
    ),
  watch: (path, query, handlers) => api.watch(path, query, handlers)
})

/** Created, claimed, lost and read back, reset, claimed again, released by deletion, scaled down. Fails, or is still waiting, where a right is missing. */
const life = (at: Stage, token: string) =>
  Effect.gen(function*() {
    let isLost = false
    const world = yield* at.pool({ token, between: losing(() => isLost), config: { reset: { method: "none" } } })
    const [a, b] = yield* at.idle(world, "a", "b")
    const uid = a!.sandbox.uid
    isLost = true
    assert.strictEqual((yield* world.claim(a!, "c1"))._tag, "Unknown")
    isLost = false
    assert.strictEqual((yield* world.readBack(uid, "c1"))._tag, "Ours")
    assert.strictEqual((yield* world.release(uid, "c1"))._tag, "Done")
    const again = yield* world.until("idle again", () => {
      const state = world.states.get(uid)
      return state?.phase === "Idle" && state.version > a!.version && state
    })
    assert.strictEqual((yield* world.claim(again, "c2"))._tag, "Success")
    assert.strictEqual((yield* world.release(uid, "c2", "delete"))._tag, "Done")
    assert.strictEqual((yield* world.delete(b!))._tag, "Done")
    yield* world.until("gone", () => world.states.size === 0)
  })

const objects = (at: Stage, token: string) =>
  Effect.gen(function*() {
    const request = (path: string, body?: unknown) =>
      Effect.map(
        Effect.promise(() =>
          cluster.call(
            body === undefined ? "GET" : "POST",
            `/apis/heddle.dev/v1alpha1/namespaces/${at.namespace}/${path}`,
            body
          )
        ),
        (answer): { readonly status?: { readonly observedGeneration?: number } } => answer.body
      )
    const sink: PoolSink = {
      pools: Effect.succeed([]),
      envs: Effect.succeed([]),
      applyPool: () => Effect.void,
      removePool: () => Effect.void,
      applyEnv: () => Effect.void,
      removeEnv: () => Effect.void,
      standing: () => ({ _tag: "Absent" }),
      members: () => [],
      changes: () => Effect.void
    }
    const made = (name: string) =>
      [
        ["sandboxpools", { kind: "SandboxPool", metadata: { name }, spec: { template, size: 1 } }],
        ["sandboxenvs", { kind: "SandboxEnv", metadata: { name }, spec: { selector: { a: "b" } } }]
      ] as const
    const taken = (name: string) =>
      Effect.gen(function*() {
        for (const [path, object] of made(name)) {
          yield* request(path, { apiVersion: "heddle.dev/v1alpha1", ...object })
          for (;;) {
            const { status } = yield* request(`${path}/${name}`)
            if (status?.observedGeneration === 1) break
            yield* Effect.sleep(5)
          }
        }
      })
    yield* Effect.forkScoped(
      PoolObjects.make({ cluster: reach(at.options({ token })), namespaces: [at.namespace] }).run(sink)
    )
    // The first are found by the list, the second by the watch.
    yield* taken("first")
    yield* taken("second")
  })

/** Undefined: it did all it has to do. */
const failureOf = <E>(effect: Effect.Effect<void, E>, timeoutMs: number): Effect.Effect<string | undefined> =>
  effect.pipe(
    Effect.timeout(timeoutMs),
    Effect.as(undefined),
    Effect.catchCause((cause) => Effect.succeed(String(cause)))
  )
const run = (what: "pods" | "objects", rules: ReadonlyArray<PolicyRule>, timeoutMs = 2_000) =>
  Effect.gen(function*() {
    const at = yield* stage(cluster)
    const { token } = yield* Effect.promise(() => cluster.user(rules, at.namespace))
    return yield* failureOf(Effect.scoped(what === "pods" ? life(at, token) : objects(at, token)), timeoutMs)
  })

it.live.each([["heddle-pool-scheduler", "pods"], ["heddle-pool-objects", "objects"]] as const)(
  "%s: enough, and nothing of it too much",
  ([role, what]) =>
    Effect.gen(function*() {
      const rules = single(roles.get(role) ?? [])
      assert.isAbove(rules.length, 0)
      assert.isUndefined(yield* run(what, rules, 90_000))
      const failures = yield* Effect.forEach(
        rules,
        (without) => run(what, rules.filter((rule) => rule !== without), withoutMs),
        { concurrency: 4 }
      )
      assert.deepStrictEqual(rules.filter((_, index) => failures[index] === undefined).map(nameOf), [])
    }),
  180_000
)
