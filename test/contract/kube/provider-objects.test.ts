/**
 * SandboxPool and SandboxEnv objects on an API server that has our custom resource definitions: what it refuses, what the mesh is told, what is written back.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import * as Yaml from "yaml"
import * as Cluster from "../../../plugins/kubernetes/Cluster.ts"
import * as PoolObjects from "../../../plugins/kubernetes/PoolObjects.ts"
import type { PoolSink } from "../../../shared/plugin/PoolSource.ts"
import type { EnvSpec } from "../../../shared/protocol/Env.ts"
import { ContractError } from "../../../shared/protocol/ErrorCode.ts"
import type { PoolSpec } from "../../../shared/protocol/Pool.ts"
import { SessionId } from "../../../shared/protocol/Token.ts"
import { ApiServer, type ApiServerOptions } from "../../../shared/testing/kube/ApiServer.ts"
import { make, template } from "./ProviderWorld.ts"

const read = (file: string): unknown =>
  Yaml.parse(readFileSync(new URL(`../../../infra/crds/${file}`, import.meta.url), "utf8"))
const crds = [read("heddle.dev_sandboxpools.yaml"), read("heddle.dev_sandboxenvs.yaml")]

const server = (options: ApiServerOptions = {}) =>
  Effect.acquireRelease(
    Effect.promise(() => ApiServer.start({ ...options, crds })),
    (running) => Effect.promise(() => running.stop())
  )

const request = (running: ApiServer, method: string, path: string, body?: unknown, contentType = "application/json") =>
  Effect.promise(async () => {
    const answer = await fetch(`${running.url}/apis/heddle.dev/v1alpha1/namespaces/default/${path}`, {
      method,
      headers: { "content-type": contentType },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
    // The API's own JSON, looked into by the assertions.
    return { status: answer.status, body: await answer.json() as { [key: string]: any } } // oxlint-disable-line typescript/no-explicit-any
  })
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
      })
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
      Effect.timeout(10_000),
      Effect.catch(() => Effect.die(new Error(`${what} was not told within 10 s: ${told.join(", ")}`)))
    )
  return { pools, envs, told, sink, until }
}

const source = (running: ApiServer, namespaces: ReadonlyArray<string>, token?: string) =>
  PoolObjects.make({
    cluster: Cluster.make(Effect.succeed({
      server: running.url,
      credentials: Effect.succeed({
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        tls: {},
        agent: undefined
      })
    })),
    namespaces
  })

/** Reads an object until it is as wanted: the status is written without anybody waiting for it. */
const objectWhere = (
  running: ApiServer,
  path: string,
  is: (object: { readonly [key: string]: any }) => boolean // oxlint-disable-line typescript/no-explicit-any
) =>
  Effect.gen(function*() {
    for (let turn = 0; turn < 500; turn++) {
      const { body } = yield* request(running, "GET", path)
      if (is(body)) return body
      yield* Effect.sleep(10)
    }
    const { body } = yield* request(running, "GET", path)
    return yield* Effect.die(new Error(`${path} did not become as wanted: ${JSON.stringify(body["status"])}`))
  })
const accepted = (object: { readonly [key: string]: any }) =>
  // oxlint-disable-line typescript/no-explicit-any
  object["status"]?.conditions?.find((one: { readonly type: string }) => one.type === "Accepted")

describe("the definitions", () => {
  it.live("the API server takes what the mesh takes, fills in defaults, and refuses the rest with our words", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const made = yield* request(running, "POST", "sandboxpools", pool("web", { ttl: "30s", team: "a" }))
      assert.strictEqual(made.status, 201, JSON.stringify(made.body))
      assert.strictEqual(made.body["spec"].provider, "kubernetes")
      const refused: ReadonlyArray<readonly [unknown, RegExp]> = [
        [{ ...pool("x"), spec: { size: 1 } }, /needs a template/],
        [pool("x", { size: undefined }), /names its size/],
        [pool("x", { min: 1 }), /follow their demand/],
        [pool("x", { size: -1 }), /spec\.size/],
        [pool("x", { ttl: "soon" }), /spec\.ttl/],
        [pool("x", { reset: { method: "exec" } }), /needs a command/],
        [pool("x", { template: { ...template, metadata: { labels: { "heddle.dev/pool": "y" } } } }), /heddle's own/],
        [pool("a.b"), /at most 63/]
      ]
      for (const [object, message] of refused) {
        const answer = yield* request(running, "POST", "sandboxpools", object)
        assert.strictEqual(answer.status, 422, JSON.stringify(object))
        assert.match(answer.body["message"], message)
      }
      const changed = yield* request(
        running,
        "PATCH",
        "sandboxpools/web",
        { spec: { provider: "local" } },
        "application/merge-patch+json"
      )
      assert.strictEqual(changed.status, 422)
      assert.strictEqual((yield* request(running, "POST", "sandboxenvs", env("e", {}))).status, 422)
      assert.strictEqual(
        (yield* request(running, "POST", "sandboxenvs", env("e", { selector: { a: "b" } }))).status,
        201
      )
    }))

  it.live("kubectl scale and an autoscaler find the size, the count and the selector", () =>
    Effect.gen(function*() {
      const running = yield* server()
      yield* request(running, "POST", "sandboxpools", pool("web"))
      const scaled = yield* request(
        running,
        "PATCH",
        "sandboxpools/web/scale",
        { spec: { replicas: 5 } },
        "application/merge-patch+json"
      )
      assert.strictEqual(scaled.status, 200)
      assert.strictEqual((yield* request(running, "GET", "sandboxpools/web")).body["spec"].size, 5)
    }))
})

describe("the source", () => {
  it.live("objects become pools and envs, changes follow, deletions too; the status says that they were taken", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const { envs, pools, sink, told, until } = mesh()
      yield* request(running, "POST", "sandboxpools", pool("web", { team: "a", labels: { tier: "gold" }, ttl: "30s" }))
      yield* Effect.forkScoped(source(running, ["default"]).run(sink))
      yield* until("pool web")
      const spec = pools.get("web")
      assert.deepInclude<object>(spec ?? {}, { provider: "kubernetes", namespace: "default", size: 2, ttl: 30_000 })
      assert.deepStrictEqual(spec?.labels, { team: "a", tier: "gold" })
      assert.match(spec?.source ?? "", /^kubernetes:default\/web:/)
      const stored = yield* objectWhere(running, "sandboxpools/web", (object) => accepted(object)?.status === "True")
      assert.strictEqual(stored["status"].observedGeneration, stored["metadata"].generation)

      yield* request(running, "POST", "sandboxenvs", env("all", { members: [{ pool: "web", priority: 2 }] }))
      yield* until("env all")
      assert.deepEqual<unknown>(envs.get("all")?.members, [{ pool: "web", priority: 2 }])

      const before = told.length
      yield* request(running, "PATCH", "sandboxpools/web", { spec: { size: 3 } }, "application/merge-patch+json")
      yield* objectWhere(running, "sandboxpools/web", (object) => object["status"].observedGeneration === 2)
      assert.strictEqual(pools.get("web")?.size, 3)
      // The writing of the status is no change of the spec.
      assert.deepStrictEqual(told.slice(before), ["pool web"])

      yield* request(running, "DELETE", "sandboxpools/web")
      yield* until("no pool web")
      yield* request(running, "DELETE", "sandboxenvs/all")
      yield* until("no env all")
      assert.strictEqual(pools.size + envs.size, 0)
    }))

  it.live("what the mesh refuses is told on the object and not tried again until it changes", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const { pools, sink, told, until } = mesh()
      yield* Effect.forkScoped(source(running, ["default"]).run(sink))
      yield* request(running, "POST", "sandboxpools", {
        ...pool("dark"),
        spec: { provider: "moon", size: 1, config: { far: "side" } }
      })
      yield* until("refused dark")
      const stored = yield* objectWhere(running, "sandboxpools/dark", (object) => accepted(object)?.status === "False")
      assert.match(accepted(stored).message, /no pool provider moon/)
      yield* request(running, "POST", "sandboxpools", pool("web"))
      yield* until("pool web")
      assert.deepStrictEqual(told, ["refused dark", "pool web"])
      assert.strictEqual(pools.size, 1)
    }))

  it.live("an object that went while nobody watched takes its pool with it; other pools stay", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const { pools, sink, until } = mesh()
      yield* request(running, "POST", "sandboxpools", pool("web"))
      yield* Effect.scoped(
        Effect.andThen(Effect.forkScoped(source(running, ["default"]).run(sink)), until("pool web"))
      )
      const byHand = { ...pools.get("web")!, name: "mine" as never, source: undefined }
      pools.set("mine", JSON.parse(JSON.stringify(byHand)) as PoolSpec)
      yield* request(running, "DELETE", "sandboxpools/web")
      yield* Effect.forkScoped(source(running, []).run(sink))
      yield* until("no pool web")
      assert.deepStrictEqual([...pools.keys()], ["mine"])
    }))
})

describe("the status", () => {
  it.live("the owner's counters stand beside the source's conditions; pods belong to the object and go with it", () =>
    Effect.gen(function*() {
      const running = yield* server()
      const { pools, sink, until } = mesh()
      yield* request(running, "POST", "sandboxpools", pool("web"))
      yield* Effect.forkScoped(source(running, ["default"]).run(sink))
      yield* until("pool web")
      const config = pools.get("web")?.config ?? {}
      const world = yield* make({ url: running.url, config })
      for (const name of ["a", "b"]) yield* world.create(name)
      const [a] = yield* world.inPhase("Idle", 2)
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
        running,
        "sandboxpools/web",
        (object) => object["status"]?.ready !== undefined && accepted(object) !== undefined
      )
      assert.deepInclude(stored["status"], { ready: "2/2", pendingRequests: 7, replicas: 2, target: 2, session: 1 })
      assert.deepStrictEqual(stored["status"].phases, { starting: 0, idle: 1, running: 1, stopping: 0 })
      assert.sameMembers(stored["status"].conditions.map((one: { readonly type: string }) => one.type), [
        "Accepted",
        "Ready"
      ])
      const scale = yield* request(running, "GET", "sandboxpools/web/scale")
      assert.strictEqual(scale.body["status"].replicas, 2)
      assert.match(scale.body["status"].selector, /heddle\.dev\/pool=web/)
      yield* request(running, "DELETE", "sandboxpools/web")
      yield* world.until("no pods", () => world.states.size === 0)
    }))
})
