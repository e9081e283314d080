/**
 * SandboxPool and SandboxEnv objects on the cluster under test (the double, or with KUBEBUILDER_ASSETS a real API server), which has our custom resource definitions: what it refuses, what the mesh is told, what is written back.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { afterAll, beforeAll } from "vitest"
import * as Yaml from "yaml"
import type { Api } from "../../../plugins/kubernetes/ApiClient.ts"
import * as PoolObjects from "../../../plugins/kubernetes/PoolObjects.ts"
import type { PoolSink, PoolStanding } from "../../../shared/plugin/PoolSource.ts"
import type { EnvSpec } from "../../../shared/protocol/Env.ts"
import { ContractError } from "../../../shared/protocol/ErrorCode.ts"
import type { PoolSpec } from "../../../shared/protocol/Pool.ts"
import { MemberId, PoolName, SessionId } from "../../../shared/protocol/Token.ts"
import * as ClusterUnderTest from "../../../shared/testing/kube/ClusterUnderTest.ts"
import { type Stage, stage } from "./ProviderStage.ts"
import { reach, template } from "./ProviderWorld.ts"

const read = (file: string): unknown =>
  Yaml.parse(readFileSync(new URL(`../../../infra/crds/${file}`, import.meta.url), "utf8"))
const crds = [read("heddle.dev_sandboxpools.yaml"), read("heddle.dev_sandboxenvs.yaml")]

/** As a server of old takes them. */
const withoutRules = (crd: unknown): unknown =>
  JSON.parse(JSON.stringify(crd), (key, value: unknown) => key === "x-kubernetes-validations" ? undefined : value)

let cluster: ClusterUnderTest.ClusterUnderTest
beforeAll(async () => {
  cluster = await ClusterUnderTest.start({ crds })
}, 180_000)
afterAll(() => cluster?.stop())

/** A namespace of its own. */
const staged = Effect.suspend(() => stage(cluster))
const testMs = 180_000
/** Rules of definitions (CEL), and lists of custom resources that merge by key: servers of our floor have both, a 1.20 has neither. */
const isModern = () => !cluster.isReal || cluster.version[1] >= 29

const request = (at: Stage, method: string, path: string, body?: unknown, contentType = "application/json") =>
  Effect.map(
    Effect.promise(() =>
      at.cluster.call(method, `/apis/heddle.dev/v1alpha1/namespaces/${at.namespace}/${path}`, body, { contentType })
    ),
    (answer) => ({ status: answer.code, body: answer.body })
  )
const pool = (name: string, spec: Record<string, unknown> = {}) => ({
  apiVersion: "heddle.dev/v1alpha1",
  kind: "SandboxPool",
  metadata: { name },
  spec: { template, size: 2, ...spec }
})
const env = (name: string, spec: Record<string, unknown>) => ({
  apiVersion: "heddle.dev/v1alpha1",
  kind: "SandboxEnv",
  metadata: { name },
  spec
})

/** A mesh that keeps what it is told and refuses pools of a provider that it does not know. */
const mesh = () => {
  const pools = new Map<string, PoolSpec>()
  const envs = new Map<string, EnvSpec>()
  const told: Array<string> = []
  const waiters = new Set<() => void>()
  const standings = new Map<string, PoolStanding>()
  const members = new Map<string, ReadonlyArray<PoolName>>()
  const listeners = new Set<() => void>()
  const changed = (what: string): void => {
    told.push(what)
    for (const look of waiters) look()
  }
  const sink: PoolSink = {
    pools: Effect.sync(() => [...pools.values()]),
    envs: Effect.sync(() => [...envs.values()]),
    applyPool: (spec) =>
      Effect.suspend(() => {
        if (spec.provider === "moon") {
          changed(`refused ${spec.name}`)
          return Effect.fail(new ContractError({ code: "InvalidMessage", message: "there is no pool provider moon" }))
        }
        pools.set(spec.name, spec)
        changed(`pool ${spec.name}`)
        return Effect.void
      }),
    removePool: ({ name }) =>
      Effect.sync(() => {
        pools.delete(name)
        changed(`no pool ${name}`)
      }),
    applyEnv: (spec) =>
      Effect.sync(() => {
        envs.set(spec.name, spec)
        changed(`env ${spec.name}`)
      }),
    removeEnv: ({ name }) =>
      Effect.sync(() => {
        envs.delete(name)
        changed(`no env ${name}`)
      }),
    standing: ({ name }) => standings.get(name) ?? { _tag: "Absent" },
    members: ({ name }) => members.get(name),
    changes: (listener) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => listeners.add(listener)),
          () => Effect.sync(() => listeners.delete(listener))
        )
      )
  }
  /** What the mesh makes of it becomes another: `undefined` takes it away. */
  const shows = (pool: string, standing: PoolStanding | undefined): void => {
    if (standing === undefined) standings.delete(pool)
    else standings.set(pool, standing)
    for (const listener of listeners) listener()
  }
  const belongs = (name: string, ...names: ReadonlyArray<string>): void => {
    members.set(name, names.map((one) => PoolName.make(one)))
    for (const listener of listeners) listener()
  }
  const until = (what: string) =>
    Effect.callback<void>((resume) => {
      const look = (): void => {
        if (!told.includes(what)) return
        waiters.delete(look)
        resume(Effect.void)
      }
      waiters.add(look)
      look()
      return Effect.sync(() => waiters.delete(look))
    }).pipe(
      Effect.timeout(90_000),
      Effect.catch(() => Effect.die(new Error(`${what} was not told within 90 s: ${told.join(", ")}`)))
    )
  return { pools, envs, told, sink, until, shows, belongs }
}

const source = (at: Stage, namespaces: ReadonlyArray<string>, more: Partial<PoolObjects.PoolObjectsOptions> = {}) =>
  PoolObjects.make({ cluster: reach(at.options()), namespaces, ...more })
const served = (owner: string, isDraining = false): PoolStanding => ({
  _tag: "Served",
  owner: MemberId.make(owner),
  isDraining
})

/** Reads an object until it is as wanted: the status is written without anybody waiting for it. */
const objectWhere = (
  at: Stage,
  path: string,
  is: (object: { readonly [key: string]: any }) => boolean // oxlint-disable-line typescript/no-explicit-any
) =>
  Effect.gen(function*() {
    for (let turn = 0; turn < 9_000; turn++) {
      const { body } = yield* request(at, "GET", path)
      if (is(body)) return body
      yield* Effect.sleep(10)
    }
    const { body } = yield* request(at, "GET", path)
    return yield* Effect.die(new Error(`${path} did not become as wanted: ${JSON.stringify(body["status"])}`))
  })
// oxlint-disable-next-line typescript/no-explicit-any -- as it comes from the API
const condition = (object: { readonly [key: string]: any }, type: string) =>
  object["status"]?.conditions?.find((one: { readonly type: string }) => one.type === type)
const accepted = (object: Parameters<typeof condition>[0]) => condition(object, "Accepted")
const ready = (object: Parameters<typeof condition>[0]) => condition(object, "Ready")

describe("the definitions", () => {
  it.live(
    "the API server takes what the mesh takes, fills in defaults, and refuses the rest with our words",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const made = yield* request(at, "POST", "sandboxpools", pool("web", { ttl: "30s", team: "a" }))
        assert.strictEqual(made.status, 201, JSON.stringify(made.body))
        assert.strictEqual(made.body["spec"].provider, "kubernetes")
        const byRule: ReadonlyArray<readonly [unknown, RegExp]> = [
          [{ ...pool("x"), spec: { size: 1 } }, /needs a template/],
          [pool("x", { size: undefined }), /names its size/],
          [pool("x", { min: 1 }), /follow their demand/],
          [pool("x", { reset: { method: "exec" } }), /needs a command/],
          [pool("x", { exec: "agent" }), /needs agent\.natsUrl/],
          [pool("x", { agent: { natsUrl: "nats://nats:4222" } }), /agent is for exec: agent only/],
          [pool("x", { exec: "pod", agent: { natsUrl: "nats://nats:4222" } }), /agent is for exec: agent only/],
          [{ ...pool("x"), spec: { provider: "local", size: 1, exec: "agent" } }, /for the provider kubernetes/],
          [pool("x", { template: { ...template, metadata: { labels: { "heddle.dev/pool": "y" } } } }), /heddle's own/],
          [pool("a.b"), /at most 63/]
        ]
        const bySchema: ReadonlyArray<readonly [unknown, RegExp]> = [
          [pool("x", { size: -1 }), /spec\.size/],
          [pool("x", { ttl: "soon" }), /spec\.ttl/],
          [pool("x", { exec: "ssh" }), /spec\.exec/],
          [pool("x", { exec: "agent", agent: {} }), /spec\.agent\.natsUrl/],
          [pool("x", { exec: "agent", agent: { natsUrl: "nats://u:p@nats:4222" } }), /spec\.agent\.natsUrl/]
        ]
        for (const [object, message] of isModern() ? [...bySchema, ...byRule] : bySchema) {
          const answer = yield* request(at, "POST", "sandboxpools", object)
          assert.strictEqual(answer.status, 422, JSON.stringify(object))
          assert.match(answer.body["message"], message)
        }
        assert.strictEqual(
          (yield* request(at, "POST", "sandboxenvs", env("e", { selector: { a: "b" } }))).status,
          201
        )
        if (!isModern()) return
        const changed = yield* request(
          at,
          "PATCH",
          "sandboxpools/web",
          { spec: { provider: "local" } },
          "application/merge-patch+json"
        )
        assert.strictEqual(changed.status, 422)
        assert.strictEqual((yield* request(at, "POST", "sandboxenvs", env("f", {}))).status, 422)
      }),
    testMs
  )

  it.live("kubectl scale and an autoscaler find the size, the count and the selector", () =>
    Effect.gen(function*() {
      const at = yield* staged
      yield* request(at, "POST", "sandboxpools", pool("web"))
      const scaled = yield* request(
        at,
        "PATCH",
        "sandboxpools/web/scale",
        { spec: { replicas: 5 } },
        "application/merge-patch+json"
      )
      assert.strictEqual(scaled.status, 200)
      assert.strictEqual((yield* request(at, "GET", "sandboxpools/web")).body["spec"].size, 5)
    }), testMs)
})

describe("the source", () => {
  it.live(
    "objects become pools and envs, changes follow, deletions too; the status says that they were taken",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { envs, pools, sink, told, until } = mesh()
        yield* request(at, "POST", "sandboxpools", pool("web", { team: "a", labels: { tier: "gold" }, ttl: "30s" }))
        yield* Effect.forkScoped(source(at, [at.namespace]).run(sink))
        yield* until("pool web")
        const spec = pools.get("web")
        assert.deepInclude<object>(spec ?? {}, {
          provider: "kubernetes",
          namespace: at.namespace,
          size: 2,
          ttl: 30_000
        })
        assert.deepStrictEqual(spec?.labels, { team: "a", tier: "gold" })
        assert.match(spec?.source ?? "", /^kubernetes:test-[0-9a-f]+\/web:/)
        const stored = yield* objectWhere(at, "sandboxpools/web", (object) => accepted(object)?.status === "True")
        assert.strictEqual(stored["status"].observedGeneration, stored["metadata"].generation)

        yield* request(at, "POST", "sandboxenvs", env("all", { members: [{ pool: "web", priority: 2 }] }))
        yield* until("env all")
        assert.deepEqual<unknown>(envs.get("all")?.members, [{ pool: "web", priority: 2 }])

        const before = told.length
        yield* request(at, "PATCH", "sandboxpools/web", { spec: { size: 3 } }, "application/merge-patch+json")
        yield* objectWhere(at, "sandboxpools/web", (object) => object["status"].observedGeneration === 2)
        assert.strictEqual(pools.get("web")?.size, 3)
        // The writing of the status is no change of the spec.
        assert.deepStrictEqual(told.slice(before), ["pool web"])

        yield* request(at, "DELETE", "sandboxpools/web")
        yield* until("no pool web")
        yield* request(at, "DELETE", "sandboxenvs/all")
        yield* until("no env all")
        assert.strictEqual(pools.size + envs.size, 0)
      }),
    testMs
  )

  it.live(
    "what the mesh refuses is told on the object and not tried again until it changes",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { pools, sink, told, until } = mesh()
        yield* Effect.forkScoped(source(at, [at.namespace]).run(sink))
        yield* request(at, "POST", "sandboxpools", {
          ...pool("dark"),
          spec: { provider: "moon", size: 1, config: { far: "side" } }
        })
        yield* until("refused dark")
        const stored = yield* objectWhere(at, "sandboxpools/dark", (object) => accepted(object)?.status === "False")
        assert.match(accepted(stored).message, /no pool provider moon/)
        yield* request(at, "POST", "sandboxpools", pool("web"))
        yield* until("pool web")
        assert.deepStrictEqual(told, ["refused dark", "pool web"])
        assert.strictEqual(pools.size, 1)
      }),
    testMs
  )

  it.live(
    "a name that the mesh could not have, from a server that knows no rules, is refused and goes again without harm",
    () =>
      Effect.gen(function*() {
        const lax = yield* Effect.acquireRelease(
          Effect.promise(() => ClusterUnderTest.start({ crds: crds.map(withoutRules) })),
          (one) => Effect.promise(() => one.stop())
        )
        const at = yield* stage(lax)
        const { sink, told, until } = mesh()
        yield* Effect.forkScoped(source(at, [at.namespace]).run(sink))
        for (
          const [path, object] of [["sandboxpools", pool("a.b")], ["sandboxenvs", env("a.b", { members: [] })]] as const
        ) {
          assert.strictEqual((yield* request(at, "POST", path, object)).status, 201)
          const stored = yield* objectWhere(at, `${path}/a.b`, (one) => accepted(one) !== undefined)
          assert.deepInclude(accepted(stored), { status: "False", reason: "Refused" })
          assert.strictEqual((yield* request(at, "DELETE", `${path}/a.b`)).status, 200)
        }
        yield* request(at, "POST", "sandboxpools", pool("web"))
        yield* until("pool web")
        assert.deepStrictEqual(told, ["pool web"])
      }),
    testMs
  )

  it.live(
    "an object that went while nobody watched takes its pool with it; other pools stay",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { pools, sink, until } = mesh()
        yield* request(at, "POST", "sandboxpools", pool("gone"))
        yield* Effect.scoped(
          Effect.andThen(Effect.forkScoped(source(at, [at.namespace]).run(sink)), until("pool gone"))
        )
        const byHand = { ...pools.get("gone")!, name: "mine" as never, source: undefined }
        pools.set("mine", JSON.parse(JSON.stringify(byHand)) as PoolSpec)
        yield* request(at, "DELETE", "sandboxpools/gone")
        yield* Effect.forkScoped(source(at, []).run(sink))
        yield* until("no pool gone")
        assert.deepStrictEqual([pools.has("gone"), pools.has("mine")], [false, true])
      }),
    testMs
  )
})

describe("the status", () => {
  it.live(
    "the owner's counters stand beside the source's conditions; pods belong to the object and go with it",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { pools, sink, until } = mesh()
        yield* request(at, "POST", "sandboxpools", pool("web"))
        yield* Effect.forkScoped(source(at, [at.namespace]).run(sink))
        yield* until("pool web")
        const config = pools.get("web")?.config ?? {}
        const world = yield* at.pool({ config })
        const [a] = yield* at.idle(world, "a", "b")
        yield* world.claim(a!, "c1")
        yield* world.inPhase("Running")
        world.pool.status?.({
          pendingRequests: 7,
          idle: 1,
          claimed: 1,
          creating: 0,
          total: 2,
          target: 2,
          sessionId: SessionId.make(1),
          isDraining: false
        })
        const stored = yield* objectWhere(
          at,
          "sandboxpools/web",
          (object) => object["status"]?.ready !== undefined && (!isModern() || accepted(object) !== undefined)
        )
        assert.deepInclude(stored["status"], { ready: "2/2", pendingRequests: 7, replicas: 2, target: 2, session: 1 })
        assert.deepStrictEqual(stored["status"].phases, { starting: 0, idle: 1, running: 1, stopping: 0 })
        const conditions = stored["status"].conditions.map((one: { readonly type: string }) => one.type)
        // A server that takes the list as one value keeps that of whoever wrote last.
        if (isModern()) assert.sameMembers(conditions, ["Accepted", "Ready"])
        else assert.lengthOf(conditions, 1)
        const scale = yield* request(at, "GET", "sandboxpools/web/scale")
        assert.strictEqual(scale.body["status"].replicas, 2)
        assert.match(scale.body["status"].selector, /heddle\.dev\/pool=web/)
        const [owner] = (yield* at.pods)[0]?.metadata.ownerReferences ?? []
        assert.deepInclude(owner, { kind: "SandboxPool", name: "web", uid: stored["metadata"].uid })
        yield* request(at, "DELETE", "sandboxpools/web")
        // The double has the garbage collector; the API server alone has none.
        if (!cluster.isReal) yield* world.until("no pods", () => world.states.size === 0)
      }),
    testMs
  )

  it.live(
    "an env names its pools and whether they serve; it follows the mesh, not only its own spec",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { belongs, shows, sink, until } = mesh()
        yield* request(
          at,
          "POST",
          "sandboxenvs",
          env("all", { members: [{ pool: "web" }, { pool: "gone" }], selector: { tier: "gold" } })
        )
        yield* Effect.forkScoped(source(at, [at.namespace], { statusEveryMs: 50, takeOverMs: 200 }).run(sink))
        yield* until("env all")
        belongs("all")
        const empty = yield* objectWhere(at, "sandboxenvs/all", (object) => ready(object) !== undefined)
        assert.deepInclude(ready(empty), { status: "False", reason: "NoneServing" })
        assert.deepInclude(empty["status"], {
          ready: "0/2",
          memberCount: 2,
          members: [{ pool: "gone", state: "Missing" }, { pool: "web", state: "Missing" }]
        })
        shows("web", served("ps-1"))
        shows("gold", served("ps-2", true))
        shows("lone", { _tag: "NoOwner" })
        belongs("all", "web", "gold", "lone")
        const full = yield* objectWhere(at, "sandboxenvs/all", (object) => object["status"].memberCount === 4)
        assert.deepInclude(full["status"], {
          observedGeneration: 1,
          ready: "1/4",
          members: [
            { pool: "gold", state: "Draining", owner: "ps-2" },
            { pool: "gone", state: "Missing" },
            { pool: "lone", state: "NoOwner" },
            { pool: "web", state: "Serving", owner: "ps-1" }
          ]
        })
        assert.deepInclude(accepted(full), { status: "True", reason: "Applied", observedGeneration: 1 })
        assert.deepInclude(ready(full), { status: "True", reason: "Serving", message: "1 of 4 pools take claims" })
        // A take-over is shown when it is over.
        shows("web", { _tag: "NoOwner" })
        shows("web", served("ps-3"))
        yield* objectWhere(at, "sandboxenvs/all", (object) => object["status"].members[3].owner === "ps-3")
        const [before] = [ready(full).lastTransitionTime]
        shows("web", { _tag: "NoOwner" })
        const none = yield* objectWhere(at, "sandboxenvs/all", (object) => ready(object).status === "False")
        assert.deepInclude(ready(none), { reason: "NoneServing", message: "none of its 4 pools takes claims" })
        assert.isAtLeast(Date.parse(ready(none).lastTransitionTime), Date.parse(before))
      }),
    testMs
  )

  it.live(
    "a pool that nobody serves any more is told as unknown by those who are left, and again as its owner has it",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { pools, shows, sink, until } = mesh()
        yield* request(at, "POST", "sandboxpools", pool("web"))
        yield* Effect.forkScoped(source(at, [at.namespace], { statusEveryMs: 50, takeOverMs: 200 }).run(sink))
        yield* until("pool web")
        shows("web", served("ps-1"))
        const serve = Effect.gen(function*() {
          const world = yield* at.pool({ config: pools.get("web")?.config ?? {} })
          world.pool.status?.({
            pendingRequests: 0,
            idle: 0,
            claimed: 0,
            creating: 0,
            total: 0,
            target: 2,
            sessionId: SessionId.make(1),
            isDraining: false
          })
          return yield* objectWhere(at, "sandboxpools/web", (object) => ready(object)?.status === "True")
        })
        const serving = yield* Effect.scoped(serve)
        assert.deepInclude(ready(serving), { reason: "Serving" })
        assert.closeTo(Date.parse(serving["status"].lastHeartbeatTime), Date.now(), 60_000)
        shows("web", { _tag: "NoOwner" })
        const alone = yield* objectWhere(at, "sandboxpools/web", (object) => ready(object)?.status === "Unknown")
        assert.deepInclude(ready(alone), { reason: "NoOwner", observedGeneration: 1 })
        assert.match(ready(alone).message, /no pool scheduler serves it/)
        // What its owner counted stands beside it.
        assert.strictEqual(alone["status"].target, 2)
        shows("web", served("ps-2"))
        assert.deepInclude(ready(yield* Effect.scoped(serve)), { reason: "Serving" })
      }),
    testMs
  )

  it.live(
    "pools of other providers, and those that the mesh refuses, say so too",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { shows, sink, until } = mesh()
        const other = (name: string, provider: string) => ({
          ...pool(name),
          spec: { provider, size: 1, config: {} }
        })
        yield* Effect.forkScoped(source(at, [at.namespace], { statusEveryMs: 50, takeOverMs: 200 }).run(sink))
        shows("near", served("ps-1"))
        yield* request(at, "POST", "sandboxpools", other("dark", "moon"))
        yield* request(at, "POST", "sandboxpools", other("near", "local"))
        yield* until("pool near")
        const near = yield* objectWhere(at, "sandboxpools/near", (object) => ready(object) !== undefined)
        assert.deepInclude(ready(near), { status: "True", reason: "Serving" })
        const dark = yield* objectWhere(at, "sandboxpools/dark", (object) => ready(object) !== undefined)
        assert.deepInclude(ready(dark), { status: "False", reason: "Refused" })
        shows("near", served("ps-1", true))
        yield* objectWhere(at, "sandboxpools/near", (object) => ready(object).reason === "Draining")
      }),
    testMs
  )

  it.live(
    "however often the mesh changes, one object's status is written only every so often, and ends as things are",
    () =>
      Effect.gen(function*() {
        const at = yield* staged
        const { belongs, shows, sink, until } = mesh()
        const writes: Array<number> = []
        const between = (api: Api): Api => ({
          send: (lane, sent, done) => {
            if (sent.path.endsWith("/status")) writes.push(performance.now())
            return api.send(lane, sent, done)
          },
          watch: (path, query, handlers) => api.watch(path, query, handlers)
        })
        yield* request(at, "POST", "sandboxenvs", env("all", { members: [{ pool: "web" }] }))
        const everyMs = 500
        const begun = performance.now()
        yield* Effect.forkScoped(
          source(at, [at.namespace], { cluster: reach(at.options({ between })), statusEveryMs: everyMs }).run(sink)
        )
        yield* until("env all")
        belongs("all", "web")
        for (let turn = 0; turn < 200; turn++) {
          shows("web", served(`ps-${turn}`))
          yield* Effect.sleep(10)
        }
        yield* objectWhere(at, "sandboxenvs/all", (object) => object["status"].members?.[0].owner === "ps-199")
        assert.isAbove(writes.length, 2)
        // one that waited for the answer to the one before it may go out late, and the next one in time: what holds is how many there are
        const tookMs = (writes.at(-1) ?? 0) - begun
        assert.isAtMost(writes.length - 1, tookMs / (everyMs - 5), `${writes.length} in ${tookMs} ms`)
      }),
    testMs
  )
})
