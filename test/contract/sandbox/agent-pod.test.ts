/**
 * A pool in agent mode (`config.exec: agent`): the provider makes pods with a token each, the agents in them (started as the double's kubelet starts containers) connect with it, and
 * the holder of a claim runs processes through them. The nats-server checks every token.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as AgentExec from "../../../plugins/kubernetes/AgentExec.ts"
import * as Cluster from "../../../plugins/kubernetes/Cluster.ts"
import * as Provider from "../../../plugins/kubernetes/Provider.ts"
import * as AgentLinkOf from "../../../shared/jetstream/AgentLink.ts"
import * as AgentToken from "../../../shared/jetstream/AgentToken.ts"
import * as Nats from "../../../shared/jetstream/Nats.ts"
import { AgentLink, AgentTokens } from "../../../shared/plugin/AgentLink.ts"
import type { SandboxState } from "../../../shared/plugin/PoolProvider.ts"
import { agentBase, agentSubject } from "../../../shared/protocol/SandboxAgent.ts"
import { Namespace, PoolName, SessionId } from "../../../shared/protocol/Token.ts"
import { ApiServer } from "../../../shared/testing/kube/ApiServer.ts"
import type { Json } from "../../../shared/testing/kube/Json.ts"
import * as SignedBroker from "../../integration/SignedBroker.ts"
import { AgentPods, envOf } from "./AgentPods.ts"
import { exited, run } from "./Contract.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }
const session = SessionId.make(1)

it.live("pods are made with a token each, and processes run through their agents", () =>
  Effect.gen(function*() {
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
            onContainer: (pod, _name, change) => change === "Started" && agents.start(pod.metadata.name, envOf(pod))
          },
          users: { all: { name: "all", grants: [{ rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] }] } }
        })
      ),
      (running) => Effect.promise(() => running.stop())
    )
    const provider = Provider.make({
      cluster: Cluster.make(Effect.succeed({
        server: cluster.url,
        credentials: Effect.succeed({ headers: { authorization: "Bearer all" }, tls: {}, agent: undefined })
      }))
    })
    const context = { pool, sessionId: session, size: 2, labels: {}, startedAt: 0 }
    const config = {
      template: {
        spec: { containers: [{ name: "main", image: "registry.example/box:1", env: [{ name: "OWN", value: "yes" }] }] }
      },
      exec: "agent",
      agent: { natsUrl: server.url }
    }
    assert.deepStrictEqual(provider.validate(config), [])
    assert.match(provider.validate({ ...config, agent: undefined })[0]?.message ?? "", /natsUrl|agent/)
    assert.match((yield* Effect.flip(provider.open(context, config))).message, /HEDDLE_AGENT_SEED/)

    const opened = yield* provider.open(context, config).pipe(
      Effect.provideService(AgentTokens, AgentToken.make({ seed: server.seed, account: server.account }, mesh))
    )
    const states = new Map<string, SandboxState>()
    yield* opened.watch((delta) => {
      if (delta._tag === "Upsert") states.set(delta.state.sandbox.name, delta.state)
    })
    yield* opened.list
    for (const name of ["a", "b"]) {
      opened.create({ name, sessionId: session }, (outcome) => assert.strictEqual(outcome._tag, "Done"))
    }
    const ready = (name: string) =>
      Effect.gen(function*() {
        for (;;) {
          const state = states.get(name)
          const hello = yield* Effect.result(
            mesh.request(agentSubject.hello(agentBase(pool, name)), "", { timeoutMs: 300 })
          )
          if (state?.phase === "Idle" && hello._tag === "Success") return state.sandbox
          yield* Effect.sleep(20)
        }
      }).pipe(Effect.timeout(20_000))
    const sandboxes = [yield* ready("a"), yield* ready("b")]
    assert.deepStrictEqual(
      sandboxes.map((one) => one.address),
      ["a", "b"].map((name) => AgentExec.addressOf(agentBase(pool, name)))
    )
    for (const sandbox of sandboxes) {
      const client = yield* AgentExec.connect(sandbox).pipe(
        Effect.provideService(AgentLink, AgentLinkOf.make(mesh))
      )
      assert.deepStrictEqual(yield* run(client, { command: { script: "echo $HOSTNAME $OWN" } }), {
        status: exited(0),
        stdout: `${sandbox.name} yes\n`,
        stderr: ""
      })
    }
    const list = yield* Effect.promise(async () => {
      const answer = await fetch(`${cluster.url}/api/v1/namespaces/default/pods`, {
        headers: { authorization: "Bearer all" }
      })
      return (await answer.json() as Json).items as ReadonlyArray<Json> // the double's own answer
    })
    const given = list.map((pod) =>
      pod.spec.containers[0].env.find((one: Json) => one.name === "HEDDLE_AGENT_CREDENTIALS").value
    )
    assert.strictEqual(new Set(given).size, 2, "each has its own")
  }), 60_000)
