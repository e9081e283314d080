/**
 * infra/crds/rbac.yaml is enough and no more: a sandbox's whole life and the objects' run with exactly these rights; with any one of them taken away something fails.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import * as Yaml from "yaml"
import * as Cluster from "../../../plugins/kubernetes/Cluster.ts"
import * as PoolObjects from "../../../plugins/kubernetes/PoolObjects.ts"
import type { PoolSink } from "../../../shared/plugin/PoolSource.ts"
import { ApiServer } from "../../../shared/testing/kube/ApiServer.ts"
import type { PolicyRule } from "../../../shared/testing/kube/Rbac.ts"
import { make, template } from "./ProviderWorld.ts"

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

/** One rule for each verb of each resource. */
const single = (rules: ReadonlyArray<PolicyRule>): ReadonlyArray<PolicyRule> =>
  rules.flatMap((rule) =>
    rule.resources.flatMap((resource) =>
      rule.verbs.map((verb) => ({ apiGroups: rule.apiGroups, resources: [resource], verbs: [verb] }))
    )
  )
const nameOf = (rule: PolicyRule): string => `${rule.verbs.join()} ${rule.resources.join()}`

const server = (rules: ReadonlyArray<PolicyRule>) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      ApiServer.start({
        crds,
        users: {
          scheduler: { name: "scheduler", grants: [{ namespace: "default", rules }] },
          admin: { name: "admin", grants: [{ rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] }] }
        }
      })
    ),
    (running) => Effect.promise(() => running.stop())
  )

/** Created, claimed, lost and read back, reset, claimed again, released by deletion, scaled down. Fails, or is still waiting, where a right is missing. */
const life = (url: string, running: ApiServer) =>
  Effect.gen(function*() {
    const world = yield* make({ url, token: "scheduler", config: { reset: { method: "none" } } })
    for (const name of ["a", "b"]) assert.strictEqual((yield* world.create(name))._tag, "Done")
    const [a, b] = yield* world.inPhase("Idle", 2)
    const uid = a!.sandbox.uid
    running.cluster.faults.options = { lostAnswerRate: 1 }
    assert.strictEqual((yield* world.claim(a!, "c1"))._tag, "Unknown")
    running.cluster.faults.options = {}
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

const objects = (url: string) =>
  Effect.gen(function*() {
    const request = (path: string, body?: unknown) =>
      Effect.promise(async () => {
        const answer = await fetch(`${url}/apis/heddle.dev/v1alpha1/namespaces/default/${path}`, {
          method: body === undefined ? "GET" : "POST",
          headers: { "content-type": "application/json", authorization: "Bearer admin" },
          ...(body === undefined ? {} : { body: JSON.stringify(body) })
        })
        return answer.json() as Promise<{ readonly status?: { readonly observedGeneration?: number } }>
      })
    const sink: PoolSink = {
      pools: Effect.succeed([]),
      envs: Effect.succeed([]),
      applyPool: () => Effect.void,
      removePool: () => Effect.void,
      applyEnv: () => Effect.void,
      removeEnv: () => Effect.void
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
    const cluster = Cluster.make(Effect.succeed({
      server: url,
      credentials: Effect.succeed({ headers: { authorization: "Bearer scheduler" }, tls: {}, agent: undefined })
    }))
    yield* Effect.forkScoped(PoolObjects.make({ cluster, namespaces: ["default"] }).run(sink))
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
  failureOf(
    Effect.scoped(Effect.gen(function*() {
      const running = yield* server(rules)
      yield* what === "pods" ? life(running.url, running) : objects(running.url)
    })),
    timeoutMs
  )

it.live.each([["heddle-pool-scheduler", "pods"], ["heddle-pool-objects", "objects"]] as const)(
  "%s: enough, and nothing of it too much",
  ([role, what]) =>
    Effect.gen(function*() {
      const rules = single(roles.get(role) ?? [])
      assert.isAbove(rules.length, 0)
      assert.isUndefined(yield* run(what, rules, 20_000))
      const failures = yield* Effect.forEach(
        rules,
        (without) => run(what, rules.filter((rule) => rule !== without)),
        { concurrency: 4 }
      )
      assert.deepStrictEqual(rules.filter((_, index) => failures[index] === undefined).map(nameOf), [])
    })
)
