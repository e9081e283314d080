/**
 * kill -9 of every service, of the broker, and of all at once, in the middle of runs: nothing accepted is lost, no task succeeds twice, everything drains.
 * design/05, design/04 section 4 (I9). The services are processes of their own.
 */
import { assert, describe, it } from "@effect/vitest"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Snapshot } from "../../shared/protocol/Claim.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import type { WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { Mesh, type MeshOptions } from "./Mesh.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("default") }
const quick = { ttl: "2s", grace: "500ms", executorTtl: "60s" } as const
const local = { ...quick, pools: [{ name: pool.name, provider: "local", size: 3 }] } satisfies MeshOptions

/** A gate in a mesh's folder: tasks wait at it until it is opened, so that a kill finds them running, however slow the machine is. */
const gateOf = (mesh: Mesh) => {
  const file = join(mesh.folder, "open")
  return { wait: `until [ -e ${file} ]; do sleep 0.05; done`, open: () => writeFileSync(file, "") }
}

/** `count` shell tasks of `seconds` one after another in each of `width` chains, then a join. The task at `gated` of each chain runs `wait` first. */
const chains = (width: number, count: number, seconds: number, wait = "true", gated = 0) => {
  const names = Array.from({ length: width }, (_, chain) => Array.from({ length: count }, (_, at) => `t${chain}-${at}`))
  return {
    metadata: { name: "chains" },
    spec: {
      tasks: [
        ...names.flatMap((chain) =>
          chain.map((name, at) => ({
            name,
            type: "shell",
            with: { run: `${at === gated ? wait : "true"}; sleep ${seconds}; echo done=${name} >> "$HEDDLE_OUTPUTS"` },
            dependsOn: at === 0 ? [] : [chain[at - 1]]
          }))
        ),
        { name: "join", type: "shell", with: { run: "true" }, dependsOn: names.map((chain) => chain.at(-1)) }
      ]
    }
  }
}

// The mesh's own client returns what the contract's schemas describe; a wrong shape fails the assertions that read it.
const view = async (mesh: Mesh, instanceId: string) =>
  await mesh.askPatiently(Subject.rpc.workflow("get"), { instanceId }) as WorkflowView
const start = async (mesh: Mesh, instanceId: string, inline: unknown) => {
  await mesh.askPatiently(Subject.rpc.workflow("start"), { instanceId, inline })
}

/** Asks until it is answered: while an owner is being replaced there is nobody to answer. */
const persistently = async <A>(attempt: () => Promise<A>, withinMs: number): Promise<A> => {
  const until = performance.now() + withinMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
const result = (mesh: Mesh, instanceId: string, withinMs = 150_000) =>
  persistently(
    async () => await mesh.ask(Subject.rpc.workflow("result"), { instanceId, wait: "5s" }, 6_000) as WorkflowResult,
    withinMs
  )
const running = (mesh: Mesh, instanceId: string, atLeast = 1) =>
  persistently(async () => {
    const tasks = (await view(mesh, instanceId)).tasks.filter((task) =>
      task.state === "RUNNING" || task.state === "DISPATCHED"
    )
    if (tasks.length < atLeast) throw new Error(`${tasks.length} tasks run`)
    return tasks
  }, 100_000)
const drained = (mesh: Mesh) =>
  persistently(async () => {
    const snapshot = await mesh.ask(Subject.rpc.pool(pool, "snapshot"), {}) as Snapshot
    const { claimed, dispatchQueued, inflightCas, laneQueued, queueLen } = snapshot
    if (claimed + dispatchQueued + inflightCas + laneQueued + queueLen > 0) {
      throw new Error(`not drained: ${JSON.stringify(snapshot)}`)
    }
    return snapshot
  }, 100_000)

const attempts = (workflow: WorkflowView): ReadonlyArray<string> =>
  workflow.tasks.map((task) => `${task.name}:${task.attempts.length}`)
const successes = (workflow: WorkflowView): ReadonlyArray<number> =>
  workflow.tasks.map((task) => task.attempts.filter((attempt) => attempt.state === "SUCCEEDED").length)

describe("kill -9", () => {
  it("of a coordinator: another takes its shards, the running task is taken over with one attempt", async () => {
    await using mesh = await Mesh.start({ ...local, coordinators: 2 })
    const gate = gateOf(mesh)
    await start(mesh, "taken-over", chains(2, 6, 0.3, gate.wait, 2))
    await running(mesh, "taken-over", 2)
    // whichever serves the instance: both are killed in turn, each with the other there
    await mesh.kill("coordinator-1")
    await running(mesh, "taken-over")
    await mesh.start("coordinator-1")
    await mesh.kill("coordinator-2")
    gate.open()
    const { state } = await result(mesh, "taken-over")
    assert.strictEqual(state, "SUCCEEDED")
    const after = await view(mesh, "taken-over")
    assert.deepStrictEqual(attempts(after), after.tasks.map((task) => `${task.name}:1`))
    await drained(mesh)
  })

  it("of the only coordinator: its next life finishes what it began, and 40 starts more", async () => {
    await using mesh = await Mesh.start(local)
    const gate = gateOf(mesh)
    await start(mesh, "alone", chains(2, 2, 0.2, gate.wait))
    await Promise.all(Array.from({ length: 40 }, (_, i) => start(mesh, `burst-${i}`, chains(1, 1, 0))))
    await running(mesh, "alone", 1)
    await mesh.kill("coordinator-1")
    await mesh.start("coordinator-1")
    gate.open()
    assert.strictEqual((await result(mesh, "alone")).state, "SUCCEEDED")
    for (let i = 0; i < 40; i++) assert.strictEqual((await result(mesh, `burst-${i}`)).state, "SUCCEEDED")
    await drained(mesh)
  })

  it("of an executor: its tasks fail over to another one as new attempts, no retry is used up", async () => {
    await using mesh = await Mesh.start({ ...local, executorTtl: "6s", executors: 2 })
    const gate = gateOf(mesh)
    await start(mesh, "worker-lost", chains(2, 2, 0.2, gate.wait))
    const held = await running(mesh, "worker-lost", 2)
    const victim = held[0]?.attempts[0]?.executor
    assert.isDefined(victim)
    await mesh.kill(String(victim))
    gate.open()
    assert.strictEqual((await result(mesh, "worker-lost")).state, "SUCCEEDED")
    const after = await view(mesh, "worker-lost")
    assert.isTrue(after.tasks.some((task) => task.attempts.length >= 2), "a task had a second attempt")
    assert.deepStrictEqual(successes(after), after.tasks.map(() => 1))
    await drained(mesh)
  })

  it("of the pool-scheduler: another owns the pool, waiting and running tasks go on", async () => {
    await using mesh = await Mesh.start({ ...local, poolSchedulers: 2 })
    const gate = gateOf(mesh)
    await start(mesh, "pool-lost", chains(4, 2, 0.2, gate.wait))
    await running(mesh, "pool-lost", 1)
    let owner = ""
    await mesh.until("the pool has an owner", async () => {
      const { items } = await mesh.ask("heddle.rpc.pool.list", {}) as {
        readonly items: ReadonlyArray<{ readonly owner?: string }>
      }
      owner = items[0]?.owner ?? ""
      return mesh.processes.has(owner)
    })
    await mesh.kill(owner)
    gate.open()
    assert.strictEqual((await result(mesh, "pool-lost")).state, "SUCCEEDED")
    assert.deepStrictEqual(successes(await view(mesh, "pool-lost")), Array.from({ length: 9 }, () => 1))
    await drained(mesh)
  })

  it("of the broker: acknowledged starts are there when it is back", async () => {
    await using mesh = await Mesh.start(local)
    const gate = gateOf(mesh)
    await start(mesh, "broker-lost", chains(2, 2, 0.2, gate.wait))
    await running(mesh, "broker-lost", 1)
    await mesh.kill("nats-server")
    await mesh.start("nats-server")
    gate.open()
    assert.strictEqual((await result(mesh, "broker-lost")).state, "SUCCEEDED")
    await drained(mesh)
  })

  it("of everything at once: all that was accepted ends", async () => {
    await using mesh = await Mesh.start(local)
    const gate = gateOf(mesh)
    await start(mesh, "all-lost", chains(3, 2, 0.2, gate.wait))
    await Promise.all(Array.from({ length: 10 }, (_, i) => start(mesh, `all-lost-${i}`, chains(1, 1, 0))))
    await running(mesh, "all-lost", 1)
    const names = [...mesh.processes.keys()]
    await Promise.all(names.map((name) => mesh.kill(name)))
    await mesh.start("nats-server")
    await Promise.all(names.filter((name) => name !== "nats-server").map((name) => mesh.start(name)))
    gate.open()
    assert.strictEqual((await result(mesh, "all-lost")).state, "SUCCEEDED")
    for (let i = 0; i < 10; i++) assert.strictEqual((await result(mesh, `all-lost-${i}`)).state, "SUCCEEDED")
    assert.deepStrictEqual(successes(await view(mesh, "all-lost")), Array.from({ length: 7 }, () => 1))
    await drained(mesh)
  })
})
