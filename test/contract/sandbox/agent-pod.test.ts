/**
 * A pool in agent mode (`exec: agent`): the provider makes pods with a ticket each, the agents in them (started as the double's kubelet starts containers) ask its owner for tokens, and
 * the holder of a claim runs processes through them. The nats-server checks every token.
 */
import { assert, it } from "@effect/vitest"
import { decode } from "@nats-io/jwt"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as AgentExec from "../../../plugins/kubernetes/AgentExec.ts"
import * as Cluster from "../../../plugins/kubernetes/Cluster.ts"
import { Config } from "../../../plugins/kubernetes/Config.ts"
import * as KubernetesPool from "../../../plugins/kubernetes/KubernetesPool.ts"
import * as PodFeeds from "../../../plugins/kubernetes/PodFeeds.ts"
import * as PoolObject from "../../../plugins/kubernetes/PoolObject.ts"
import * as Provider from "../../../plugins/kubernetes/Provider.ts"
import * as AgentLinkOf from "../../../shared/jetstream/AgentLink.ts"
import * as AgentToken from "../../../shared/jetstream/AgentToken.ts"
import * as Nats from "../../../shared/jetstream/Nats.ts"
import { AgentLink, AgentTokens } from "../../../shared/plugin/AgentLink.ts"
import type { SandboxState } from "../../../shared/plugin/PoolProvider.ts"
import type { Sandbox } from "../../../shared/protocol/Sandbox.ts"
import { agentBase, agentInbox, agentSubject, AgentTokenAnswer } from "../../../shared/protocol/SandboxAgent.ts"
import { ClaimId, Namespace, PoolName, SessionId } from "../../../shared/protocol/Token.ts"
import { ApiServer } from "../../../shared/testing/kube/ApiServer.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import * as SignedBroker from "../../integration/SignedBroker.ts"
import { AgentPods, envOf } from "./AgentPods.ts"
import { exited, run } from "./Contract.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }

const template = {
  spec: { containers: [{ name: "main", image: "registry.example/box:1", env: [{ name: "OWN", value: "yes" }] }] }
}
const decodeConfig = Schema.decodeUnknownSync(Config)

/** A cluster whose pods start our agent (unless `hasAgents` is false), and a server that checks every token. */
const opened = Effect.fnUntraced(function*(hasAgents = true) {
  const server = yield* SignedBroker.scoped
  const mesh = yield* Nats.open({ url: server.url, name: "mesh", credentialsText: server.credentials })
  const agents = yield* Effect.acquireRelease(
    Effect.sync(() => new AgentPods()),
    (made) => Effect.promise(() => made.stop())
  )
  const cluster = yield* Effect.acquireRelease(
    Effect.promise(() =>
      ApiServer.start({
        kubelet: {
          onContainer: (pod, _name, change) => {
            if (!hasAgents) return
            if (change === "Started") agents.start(pod.metadata.name, envOf(pod))
            else agents.kill(pod.metadata.name)
          }
        },
        users: { all: { name: "all", grants: [{ rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] }] } }
      })
    ),
    (running) => Effect.promise(() => running.stop())
  )
  const reachable = Cluster.make(Effect.succeed({
    server: cluster.url,
    credentials: Effect.succeed({ headers: { authorization: "Bearer all" }, tls: {}, agent: undefined })
  }))
  const tokens = AgentToken.make({ seed: server.seed, account: server.account }, mesh)
  const call = (method: string, path = "") =>
    Effect.promise(async () => {
      const answer = await fetch(`${cluster.url}/api/v1/namespaces/default/pods${path}`, {
        method,
        headers: { authorization: "Bearer all" }
      })
      return await answer.json() as Json // the double's own answer
    })
  const ready = (name: string) =>
    Effect.gen(function*() {
      while (
        (yield* Effect.result(mesh.request(agentSubject.hello(agentBase(pool, name)), "", { timeoutMs: 300 })))._tag
          === "Failure"
      ) yield* Effect.sleep(20)
    }).pipe(Effect.timeout(90_000))
  /** An owner of the pool: what it knows, and how to end it. */
  const own = Effect.fnUntraced(
    function*(sessionId: number, times: { readonly ttlMs: number; readonly lateMs: number }) {
      const scope = yield* Scope.fork(yield* Effect.scope)
      const states = new Map<string, SandboxState>()
      const client = yield* reachable.client
      const owner = yield* KubernetesPool.make({
        client,
        feed: yield* PodFeeds.make().of(client, "default"),
        context: { pool, sessionId: SessionId.make(sessionId), size: 2, labels: {}, startedAt: 0 },
        config: decodeConfig({ template, exec: "agent", agent: { natsUrl: server.url } }),
        namespace: "default",
        resetHook: () => Effect.succeed(false),
        agents: { tokens, natsUrl: server.url, ...times }
      }).pipe(Scope.provide(scope))
      yield* owner.watch((delta) => {
        if (delta._tag === "Upsert") states.set(delta.state.sandbox.name, delta.state)
        else if (delta._tag === "Removed") {
          for (const [name, state] of states) if (state.sandbox.uid === delta.uid) states.delete(name)
        }
      }).pipe(Scope.provide(scope))
      yield* owner.list
      const idle = (name: string) =>
        Effect.gen(function*() {
          for (;;) {
            const state = states.get(name)
            if (state?.phase === "Idle") return state
            yield* Effect.sleep(10)
          }
        }).pipe(Effect.timeout(90_000))
      const create = (name: string) =>
        Effect.andThen(
          Effect.callback<void>((resume) =>
            owner.create({ name, sessionId: SessionId.make(sessionId) }, (outcome) => {
              assert.strictEqual(outcome._tag, "Done")
              resume(Effect.void)
            })
          ),
          idle(name)
        )
      const claim = (name: string, env?: Readonly<Record<string, string>>) =>
        Effect.callback<string>((resume) => {
          const state = states.get(name)
          assert.isDefined(state)
          owner.claim({
            uid: state.sandbox.uid,
            version: state.version,
            mark: { claimId: ClaimId.make("c"), holder: "test", sessionId: SessionId.make(sessionId), ttlMs: 60_000 },
            env
          }, (outcome) => resume(Effect.succeed(outcome._tag)))
        })
      return { owner, states, create, claim, idle, end: Scope.close(scope, Exit.void) }
    }
  )
  const client = (sandbox: Sandbox) =>
    AgentExec.connect(sandbox).pipe(Effect.provideService(AgentLink, AgentLinkOf.make(mesh)))
  /** Asks as the agent of a pod does, with whatever words. */
  const asking = (name: string) =>
    Effect.map(
      Nats.open({
        url: server.url,
        name,
        credentialsText: server.credentials,
        inboxPrefix: agentInbox(agentBase(pool, name))
      }),
      (nats) => (request: unknown, timeoutMs = 60_000) =>
        nats.request(agentSubject.token(agentBase(pool, name)), JSON.stringify(request), { timeoutMs }).pipe(
          Effect.map((message) => decodeAnswer(message.text))
        )
    )
  return { server, mesh, agents, cluster, reachable, tokens, call, ready, own, client, asking }
})
const decodeAnswer = Schema.decodeUnknownSync(Schema.fromJsonString(AgentTokenAnswer))

it.live("pods are made with a ticket each, and processes run through their agents", () =>
  Effect.gen(function*() {
    const { call, client, reachable, ready, server, tokens } = yield* opened()
    const provider = Provider.make({ cluster: reachable })
    const context = { pool, sessionId: SessionId.make(1), size: 2, labels: {}, startedAt: 0 }
    const config = { template, exec: "agent", agent: { natsUrl: server.url } }
    const problems = (other: object) =>
      provider.validate(JSON.parse(JSON.stringify({ ...config, ...other }))).map((one) => `${one.path}: ${one.message}`)
    assert.deepStrictEqual(provider.validate(config), [])
    assert.match(problems({ agent: undefined }).join(), /^config\.agent: exec: agent needs agent\.natsUrl/)
    assert.match(problems({ exec: "pod" }).join(), /^config\.agent: is for exec: agent only/)
    assert.match(
      problems({ agent: { natsUrl: "nats://user:secret@nats:4222" } }).join(),
      /without user[^]*natsUrl/
    )
    assert.match(problems({ agent: { ...config.agent, tokenTtl: "1s" } }).join(), /tokenTtl/)
    assert.match(problems({ exec: "ssh" }).join(), /exec/)
    assert.deepStrictEqual(problems({ exec: "websocket", agent: undefined }), [])
    assert.match((yield* Effect.flip(provider.open(context, config))).message, /HEDDLE_AGENT_SEED/)

    const owner = yield* provider.open(context, config).pipe(Effect.provideService(AgentTokens, tokens))
    const states = new Map<string, SandboxState>()
    yield* owner.watch((delta) => {
      if (delta._tag === "Upsert") states.set(delta.state.sandbox.name, delta.state)
    })
    yield* owner.list
    for (const name of ["a", "b"]) {
      owner.create({ name, sessionId: SessionId.make(1) }, (outcome) => assert.strictEqual(outcome._tag, "Done"))
    }
    for (const name of ["a", "b"]) {
      yield* ready(name)
      const sandbox = states.get(name)?.sandbox
      assert.isDefined(sandbox)
      assert.strictEqual(sandbox.address, AgentExec.addressOf(agentBase(pool, name)))
      assert.deepStrictEqual(yield* run(yield* client(sandbox), { command: { script: "echo $HOSTNAME $OWN" } }), {
        status: exited(0),
        stdout: `${name} yes\n`,
        stderr: ""
      })
    }
    const pods: ReadonlyArray<Json> = (yield* call("GET")).items
    assert.strictEqual(new Set(pods.map((pod) => envOf(pod)["HEDDLE_AGENT_CREDENTIALS"])).size, 2, "each has its own")
    assert.strictEqual(new Set(pods.map((pod) => pod.metadata.annotations["heddle.dev/agent-user"])).size, 2)
  }), 180_000)

it("a SandboxPool alone says that its pool has agents, and where they reach NATS", () => {
  const specOf = (changes: object) => {
    const object = PoolObject.read("SandboxPool")({
      metadata: { uid: "u", name: "boxes", namespace: "default", resourceVersion: "1" },
      spec: { size: 1, template, ...changes }
    })
    assert.isDefined(object)
    return PoolObject.poolSpec(object)
  }
  const provider = Provider.make({ cluster: Cluster.make(Effect.die("not asked")) })
  const agent = { natsUrl: "nats://nats.heddle.svc:4222", tokenTtl: "30m" }
  const taken = Result.getOrThrow(specOf({ exec: "agent", agent }))
  assert.deepInclude(taken.config, { exec: "agent", agent })
  assert.deepStrictEqual(provider.validate(taken.config ?? {}), [])
  const plain = Result.getOrThrow(specOf({ exec: "pod" }))
  assert.deepStrictEqual(provider.validate(plain.config ?? {}), [])
  // An API server that knows no rules lets these through: the mesh refuses them, by the name of the field.
  const refusals = [
    [{ exec: "agent" }, /^config\.agent: .*natsUrl/],
    [{ agent }, /^config\.agent: is for exec: agent only/]
  ] as const
  for (const [changes, message] of refusals) {
    const [problem] = provider.validate(Result.getOrThrow(specOf(changes)).config ?? {})
    assert.match(`${problem?.path}: ${problem?.message}`, message)
  }
  assert.match(String(Result.getOrThrow(Result.flip(specOf({ provider: "local", exec: "agent" })))), /^exec: /)
})

it.live(
  "an owner that takes the pool over goes on renewing: a program that runs meanwhile does not notice, nor that its claim is another owner's",
  () =>
    Effect.gen(function*() {
      const { client, own, ready } = yield* opened()
      // renewed after half of it: what remains is longer than this machine may stand still
      const times = { ttlMs: 6_000, lateMs: 60_000 }
      const first = yield* own(1, times)
      yield* first.create("a")
      yield* ready("a")
      assert.strictEqual(yield* first.claim("a", { CLAIMED: "by the first" }), "Success")
      yield* first.end
      const second = yield* own(2, times)
      const sandbox = second.states.get("a")?.sandbox
      assert.isDefined(sandbox)
      assert.deepStrictEqual(sandbox.env, { CLAIMED: "by the first" })
      const { status, stdout } = yield* run(yield* client(sandbox), {
        command: { script: "i=0; while [ $i -lt 90 ]; do i=$((i+1)); echo $i $CLAIMED; sleep 0.1; done" }
      })
      assert.deepStrictEqual(status, exited(0))
      assert.deepStrictEqual(stdout.trim().split("\n"), Array.from({ length: 90 }, (_, at) => `${at + 1} by the first`))
    }),
  180_000
)

it.live(
  "a token only for a pod that is there now, with its own uid and key, and not from an owner that has been replaced",
  () =>
    Effect.gen(function*() {
      const { asking, call, own } = yield* opened(false)
      const times = { ttlMs: 3_000, lateMs: 60_000 }
      const first = yield* own(1, times)
      const { sandbox: { uid } } = yield* first.create("a")
      const ask = yield* asking("a")
      const token = yield* ask({ uid })
      assert.deepInclude(token, { _tag: "Token", ttlMs: 3_000 })
      const pod = yield* call("GET", "/a")
      const claims = token._tag === "Token" ? decode<{ readonly pub: unknown }>(token.jwt) : undefined
      assert.strictEqual(
        claims?.sub,
        pod.metadata.annotations["heddle.dev/agent-user"],
        "of use with the pod's own key only"
      )
      assert.isBelow((claims?.exp ?? 0) * 1_000, Date.now() + 5_000)

      const isRefused = (answer: AgentTokenAnswer) => answer._tag === "Refused" && answer.isFinal
      assert.isTrue(isRefused(yield* ask({ uid: "of-the-pod-before" })))
      assert.isTrue(isRefused(yield* ask("nothing that can be read")))
      assert.isTrue(isRefused(yield* (yield* asking("b"))({ uid })))
      const second = yield* own(2, times)
      yield* second.idle("a")
      assert.strictEqual(yield* second.claim("a"), "Success")
      while ((yield* first.owner.list).every((state) => state.claim?.sessionId !== 2)) yield* Effect.sleep(10)
      yield* second.end
      assert.strictEqual(
        (yield* Effect.flip(ask({ uid }, 1_000)))._tag,
        "RequestTimeout",
        "the first one knows that it is no owner"
      )
      const third = yield* own(3, times)
      assert.strictEqual((yield* ask({ uid }))._tag, "Token")
      yield* call("DELETE", "/a")
      assert.isTrue(isRefused(yield* ask({ uid })), "a pod that ends gets no further token")
      yield* third.end
    }),
  180_000
)

it.live(
  "an idle pod whose agent asks no more is replaced, a claimed one is its holder's to judge, one that asks stays",
  () =>
    Effect.gen(function*() {
      const { asking, own } = yield* opened(false)
      const { claim, create, owner, states } = yield* own(1, { ttlMs: 2_000, lateMs: 1_000 })
      const { sandbox: { uid } } = yield* create("asks")
      yield* create("silent")
      yield* create("held")
      assert.strictEqual(yield* claim("held"), "Success")
      const ask = yield* asking("asks")
      const end = performance.now() + 90_000
      for (let asked = 0; (states.has("silent") || asked < 20) && performance.now() < end; asked++) {
        yield* Effect.sleep(100)
        assert.strictEqual((yield* ask({ uid }))._tag, "Token")
        // What a scheduler does every 10 s.
        yield* owner.list
      }
      assert.deepStrictEqual([...states.keys()].toSorted(), ["asks", "held"])
    }),
  180_000
)
