/**
 * A whole mesh on Kubernetes: the pool-scheduler claims pods on the API-server double, the executor runs shell tasks in them (real processes, which the double's kubelet keeps in a
 * folder for each pod), given-back pods are started anew. And what happens when an executor is killed or a pod is evicted in the middle of a task.
 */
import { assert, describe, it } from "@effect/vitest"
import { createAccount } from "@nats-io/nkeys"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import type { ClaimResult, Snapshot } from "../../shared/protocol/Claim.ts"
import { agentBase, agentSubject } from "../../shared/protocol/SandboxAgent.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import type { WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { ApiServer } from "../../shared/testing/kube/ApiServer.ts"
import type { Json } from "../../shared/testing/kube/Json.ts"
import type { KubeletOptions } from "../../shared/testing/kube/Kubelet.ts"
import { AgentPods, envOf } from "../contract/sandbox/AgentPods.ts"
import { Command } from "./Command.ts"
import { Mesh, type MeshOptions } from "./Mesh.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }

/** A cluster with its kubelet, and the kubeconfig that leads to it. */
const startCluster = async (onContainer: NonNullable<KubeletOptions["onContainer"]> = () => undefined) => {
  const server = await ApiServer.start({
    exec: { onDisconnect: "leave" },
    kubelet: { onContainer },
    users: { mesh: { name: "mesh", grants: [{ rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] }] } }
  })
  const folder = mkdtempSync(join(tmpdir(), "heddle-kubeconfig-"))
  const kubeconfig = join(folder, "config")
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: [{ name: "test", cluster: { server: server.url, "insecure-skip-tls-verify": true } }],
      users: [{ name: "test", user: { token: "mesh" } }],
      contexts: [{ name: "test", context: { cluster: "test", user: "test" } }]
    })
  )
  const pods = async (): Promise<ReadonlyArray<Json>> => {
    const answer = await fetch(`${server.url}/api/v1/namespaces/default/pods`, {
      headers: { authorization: "Bearer mesh" }
    })
    const { items }: Json = await answer.json()
    return items
  }
  return {
    server,
    kubeconfig,
    pods,
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

const options = (kubeconfig: string, size: number): MeshOptions => ({
  // longer than this machine may stand still: nobody may expire here
  ttl: "60s",
  grace: "500ms",
  env: { KUBECONFIG: kubeconfig },
  pools: [{
    name: pool.name,
    provider: "kubernetes",
    size,
    config: {
      template: {
        spec: { containers: [{ name: "main", image: "local/box:1", env: [{ name: "BOX", value: "yes" }] }] }
      },
      reset: { method: "restart", alternates: { main: "local/box:1-b" } }
    }
  }]
})

const shell = (name: string, run: string, dependsOn: ReadonlyArray<string> = []) => ({
  name,
  type: "shell",
  pool: pool.name,
  dependsOn,
  with: { run, grace: "500ms" }
})
const workflow = (tasks: ReadonlyArray<ReturnType<typeof shell>>) => ({
  metadata: { name: "in-pods" },
  spec: { tasks }
})

// The mesh's own client returns what the contract's schemas describe; a wrong shape fails the assertions that read it.
const view = async (mesh: Mesh, instanceId: string) =>
  await mesh.askPatiently(Subject.rpc.workflow("get"), { instanceId }) as WorkflowView
const start = (mesh: Mesh, instanceId: string, tasks: ReadonlyArray<ReturnType<typeof shell>>) =>
  mesh.askPatiently(Subject.rpc.workflow("start"), { instanceId, inline: workflow(tasks) })

const until = async <A>(what: string, look: () => Promise<A | undefined>, withinMs = 150_000): Promise<A> => {
  const end = performance.now() + withinMs
  let last: unknown
  while (performance.now() < end) {
    try {
      const found = await look()
      if (found !== undefined) return found
    } catch (error) {
      last = error // nobody answers while an owner is being replaced
    }
    await sleep(50)
  }
  throw new Error(`not seen within ${withinMs} ms: ${what}`, { cause: last })
}
const succeeded = (mesh: Mesh, instanceId: string) =>
  until(`the end of ${instanceId}`, async () => {
    const { state } = await mesh.ask(
      Subject.rpc.workflow("result"),
      { instanceId, wait: "5s" },
      6_000
    ) as WorkflowResult
    assert.strictEqual(state, "SUCCEEDED")
    return view(mesh, instanceId)
  })
const allIdle = (mesh: Mesh, size: number) =>
  until(`${size} idle pods`, async () => {
    const { claimed, idleReady, queueLen } = await mesh.ask(Subject.rpc.pool(pool, "snapshot"), {}) as Snapshot
    return claimed === 0 && queueLen === 0 && idleReady === size ? true : undefined
  })

/** Processes of this machine with this text in their command. */
const processesWith = (text: string): ReadonlyArray<number> =>
  readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").join(" ").includes(text)
    } catch {
      return false // it has ended
    }
  })
/** So that a test finds its own processes only. */
let count = 0
const nap = (seconds: number): string => `sleep ${seconds}.${process.pid}${++count}`

describe("tasks in pods", () => {
  it("run in claimed pods, hand their outputs on, and leave pods that are as new", async () => {
    await using cluster = await startCluster()
    await using mesh = await Mesh.start(options(cluster.kubeconfig, 3))
    const before = (await cluster.pods()).map((pod) => pod.metadata.uid)
    assert.lengthOf(before, 3)
    await start(mesh, "diamond", [
      shell(
        "first",
        "echo left > stale; echo box=$BOX >> \"$HEDDLE_OUTPUTS\"; echo where=$HOSTNAME >> \"$HEDDLE_OUTPUTS\""
      ),
      shell("a", "echo n=1 >> \"$HEDDLE_OUTPUTS\"", ["first"]),
      shell("b", `${nap(300)} & echo n=2 >> "$HEDDLE_OUTPUTS"`, ["first"]),
      // more than one piece, of more bytes than the launcher's words have
      shell("last", "head -c 200000 /dev/zero | tr '\\0' x; echo end >&2", ["a", "b"])
    ])
    const done = await succeeded(mesh, "diamond")
    const outputs = Object.fromEntries(done.tasks.map((task) => [task.name, task.outputs]))
    assert.strictEqual(outputs["first"]?.["box"], "yes")
    assert.deepStrictEqual([outputs["a"], outputs["b"]], [{ n: 1 }, { n: 2 }])
    await allIdle(mesh, 3)
    const after = await cluster.pods()
    assert.deepStrictEqual(after.map((pod) => pod.metadata.uid).sort(), [...before].sort(), "the same pods")
    const restarts = after.reduce((sum, pod) => sum + pod.status.containerStatuses[0].restartCount, 0)
    assert.isAtLeast(restarts, 3, "each that was used was started anew")
    const mark = `.${process.pid}${count}`
    await until("the end of what a task left behind", async () => processesWith(mark).length === 0 || undefined)
  })

  it("an executor that is killed and comes back under its name: nothing of its task goes on in the pod, the task runs again", async () => {
    await using cluster = await startCluster()
    await using mesh = await Mesh.start({ ...options(cluster.kubeconfig, 2), executors: 2 })
    const mark = nap(300)
    // what runs before the gate is open would take five minutes, what runs after it ends at once
    const gate = join(mesh.folder, "open")
    await start(mesh, "killed", [shell("long", `[ -e ${gate} ] || ${mark}`)])
    const attempt = await until("the running attempt", async () => {
      const [task] = (await view(mesh, "killed")).tasks
      return processesWith(mark).length > 0 ? task?.attempts.at(-1) : undefined
    })
    writeFileSync(gate, "")
    const executor = String(attempt.executor)
    await mesh.kill(executor)
    // which tells at once that its life before is gone: its registration is one that outlives this machine's standing still
    await mesh.start(executor)
    const done = await succeeded(mesh, "killed")
    assert.deepStrictEqual(done.tasks[0]?.attempts.map((one) => one.state), ["FAILOVER", "SUCCEEDED"])
    await until("the end of the first attempt's processes", async () => processesWith(mark).length === 0 || undefined)
    await allIdle(mesh, 2)
  })

  it("a pod that is evicted in the middle of a task: the task goes on in another one, the pool is filled up", async () => {
    await using cluster = await startCluster()
    await using mesh = await Mesh.start(options(cluster.kubeconfig, 2))
    const mark = nap(300)
    await start(mesh, "evicted", [
      shell("long", `echo where=$HOSTNAME >> "$HEDDLE_OUTPUTS"; if [ "$HEDDLE_ATTEMPT" = 1 ]; then ${mark}; fi`)
    ])
    await until("the running process", async () => processesWith(mark).length > 0 || undefined)
    const victim = (await cluster.pods()).find((pod) => pod.metadata.labels["heddle.dev/phase"] === "Running")
    assert.isTrue(cluster.server.cluster.kubelet?.evict("default", victim.metadata.name))
    const done = await succeeded(mesh, "evicted")
    const attempts = done.tasks[0]?.attempts ?? []
    assert.deepStrictEqual(attempts.map((one) => one.state), ["FAILOVER", "SUCCEEDED"])
    assert.notStrictEqual(done.tasks[0]?.outputs?.["where"], victim.metadata.name)
    await until("the end of the first attempt's processes", async () => processesWith(mark).length === 0 || undefined)
    await allIdle(mesh, 2)
    assert.isFalse((await cluster.pods()).some((pod) => pod.metadata.uid === victim.metadata.uid))
  })

  it("a pool in agent mode: tasks run through the agents in the pods, an agent that dies is a lost sandbox", async () => {
    const agents = new AgentPods()
    const onContainer: NonNullable<KubeletOptions["onContainer"]> = (pod, _container, change) => {
      if (change === "Stopped") agents.kill(pod.metadata.name)
      else agents.start(pod.metadata.name, envOf(pod))
    }
    try {
      await using cluster = await startCluster(onContainer)
      const seed = new TextDecoder().decode(createAccount().getSeed())
      await using mesh = await Mesh.start({
        ttl: "60s",
        hasMonitor: true,
        // this broker has no authentication; what a token allows is shown in test/integration/agent-token.test.ts
        env: { KUBECONFIG: cluster.kubeconfig, HEDDLE_AGENT_SEED: seed }
      })
      await mesh.applyPool({
        name: pool.name,
        provider: "kubernetes",
        size: 2,
        config: {
          template: { spec: { containers: [{ name: "main", image: "registry.example/box:1" }] } },
          exec: "agent",
          // renewed within the test, with time enough for a machine that stands still meanwhile
          agent: { natsUrl: mesh.natsUrl, tokenTtl: "30s" }
        }
      })
      // a pod without a probe is idle before its agent is there
      const answered = async (base: string) =>
        await mesh.ask(agentSubject.hello(base), {}).then(() => true, () => false)
      const allAnswer = () =>
        until("every agent", async () => {
          const bases = (await cluster.pods()).map((pod) => envOf(pod)["HEDDLE_AGENT_BASE"] ?? "")
          return bases.length === 2 && (await Promise.all(bases.map(answered))).every(Boolean) ? true : undefined
        })
      await allAnswer()
      // By the command line, until the agent has changed to a connection with its next token; and what a claim asked for comes with the sandbox.
      const [where, gate] = [join(mesh.folder, "where"), join(mesh.folder, "renewed")]
      await using claimed = new Command(
        process.execPath,
        () => [
          join(root, "cli", "heddle.ts"),
          "--nats",
          mesh.natsUrl,
          "claim",
          pool.name,
          "--exec",
          "--",
          "sh",
          "-c",
          `echo $HOSTNAME > ${where}.new; mv ${where}.new ${where}; until [ -e ${gate} ]; do sleep 0.1; done; echo still here`
        ],
        { KUBECONFIG: cluster.kubeconfig, HEDDLE_TIMEOUT: "100s" }
      )
      const own = await mesh.askPatiently(
        Subject.rpc.pool(pool, "claim"),
        { claimId: "with-env", env: { CLAIMED: "yes" } },
        100_000
      ) as ClaimResult
      assert.deepStrictEqual(own.sandbox?.env, { CLAIMED: "yes" })
      await mesh.askPatiently(Subject.rpc.pool(pool, "release"), { claimId: "with-env" })
      const host = await until("the running command", async () => readFileSync(where, "utf8").trim())
      const newest = async () => {
        const answer = await fetch(`${mesh.monitorUrl}/connz?limit=1024`)
        const { connections }: Json = await answer.json()
        const own = connections.filter((one: Json) => one.name === agentBase(pool, host))
        return Math.max(0, ...own.map((one: Json) => one.cid))
      }
      const first = await newest()
      await until("a connection with the next token", async () => await newest() > first || undefined)
      writeFileSync(gate, "")
      const { code, error, out } = await claimed.end(150_000)
      assert.deepStrictEqual([code, out], [0, "still here\n"], error)
      await allIdle(mesh, 2)
      await allAnswer()
      const mark = nap(300)
      await start(mesh, "by-agent", [
        shell("first", `echo where=$HOSTNAME >> "$HEDDLE_OUTPUTS"`),
        shell("long", `if [ "$HEDDLE_ATTEMPT" = 1 ]; then ${mark}; fi`, ["first"])
      ])
      await until("the running process", async () => processesWith(mark).length > 0 || undefined)
      const [pid = 0] = processesWith(mark)
      const victim = /HOSTNAME=([^\0]*)/.exec(readFileSync(`/proc/${pid}/environ`, "latin1"))?.[1] ?? ""
      await allAnswer()
      agents.kill(victim)
      const done = await succeeded(mesh, "by-agent")
      assert.deepStrictEqual(done.tasks.find((task) => task.name === "long")?.attempts.map((one) => one.state), [
        "FAILOVER",
        "SUCCEEDED"
      ])
      assert.isString(done.tasks.find((task) => task.name === "first")?.outputs?.["where"])
      await until("the end of its processes", async () => processesWith(mark).length === 0 || undefined)
    } finally {
      await agents.stop()
    }
  })
})
