/**
 * What is away for a while, and what everybody else meets meanwhile.
 *
 * The broker is away for longer than every registration, retry and read of the services waits: they stop acting as owners, but none of them ends.
 *
 * When it is back they take over again what was theirs, in the same processes; what ran goes on, and new work is done. (A short outage, and one of the services being
 * away, stand in failover.test.ts.)
 */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { MemberList } from "../../shared/protocol/Member.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { Mesh, type Refused } from "./Mesh.ts"

/** Longer than the longest wait in a service (60 s: a consumer that is made again). */
const awayMs = 66_000
const pool = { namespace: Namespace.make("default"), name: PoolName.make("default") }
const workflow = (name: string, run: string) => ({
  metadata: { name },
  spec: {
    tasks: [
      { name: "one", type: "shell", with: { run }, retry: { times: 3, interval: "1s" } },
      { name: "two", type: "shell", with: { run: "true" }, dependsOn: ["one"] }
    ]
  }
})

const stateOf = async (mesh: Mesh, instanceId: string): Promise<unknown> => {
  const view = await mesh.ask(Subject.rpc.workflow("get"), { instanceId })
  return typeof view === "object" && view !== null && "state" in view ? view.state : undefined
}

describe("an outage of the broker", () => {
  it("of more than a minute: every service is the same process afterwards, and does its work", async () => {
    await using mesh = await Mesh.start({
      coordinators: 2,
      ttl: "2s",
      grace: "1s",
      pools: [{ name: "default", provider: "local", size: 2 }]
    })
    const pids = [...mesh.processes.values()].filter(({ role }) => role !== "nats-server").map(({ pid }) => pid)
    for (const id of ["before-1", "before-2", "before-3"]) {
      await mesh.askPatiently(Subject.rpc.workflow("start"), { instanceId: id, inline: workflow("before", "sleep 3") })
    }
    await mesh.kill("nats-server", "SIGTERM")
    await mesh.alive("the services, while the broker is away", sleep(awayMs))
    await mesh.start("nats-server")

    await mesh.until("all members are back", async () => {
      const { items } = Schema.decodeUnknownSync(MemberList)(await mesh.ask(Subject.rpc.memberList, {}))
      return items.length === pids.length
    })
    for (const id of ["before-1", "before-2", "before-3"]) {
      await mesh.until(`${id} is done`, async () => (await stateOf(mesh, id)) === "SUCCEEDED")
    }
    await mesh.until("a new workflow is taken", async () => {
      await mesh.ask(Subject.rpc.workflow("start"), { instanceId: "after", inline: workflow("after", "true") })
      return true
    })
    await mesh.until("the new workflow is done", async () => (await stateOf(mesh, "after")) === "SUCCEEDED")
    await mesh.until("a claim is served", async () => {
      const claim = await mesh.ask(Subject.rpc.pool(pool, "claim"), { claimId: "after", deadline: "60s" }, 70_000)
      return typeof claim === "object" && claim !== null && "outcome" in claim && claim.outcome === "Claimed"
    })
    const now = [...mesh.processes.values()].filter(({ role }) => role !== "nats-server").map(({ pid }) => pid)
    assert.deepStrictEqual(now.sort(), pids.sort())
  })
})

/** `heddle …` as a person would type it. */
const heddle = (mesh: Mesh, ...args: ReadonlyArray<string>) =>
  promisify(execFile)(process.execPath, [join(root, "cli", "heddle.ts"), ...args, "--nats", mesh.natsUrl, "-o", "json"])

const atOnceMs = 3_000

describe("an owner that is killed", () => {
  it("before its registration expires, every request is answered at once: done, or to be asked again; a command waits for the next owner", async () => {
    const pools = ["a", "b", "c", "d"].map((name) => ({ name, provider: "simulated", size: 4 }))
    await using mesh = await Mesh.start({ coordinators: 2, poolSchedulers: 2, ttl: "8s", grace: "1s", pools })
    // until this machine has asked, however slow it is, nobody is told to take over the coordinator's shards
    mesh.signal("failover-1", "SIGSTOP")
    await Promise.all([mesh.kill("coordinator-1"), mesh.kill("pool-scheduler-1")])
    /** The code of a refusal, and how long it took. Asked again if that was long (a request is the same by its id): this machine may have stood still, a wait of the product's is there each time. */
    const told = async (
      subject: string,
      body: unknown,
      tries = 5
    ): Promise<{ readonly code: string; readonly ms: number }> => {
      const begun = performance.now()
      const code = await mesh.ask(subject, body).then(() => "done", (error: Refused) => error.code)
      const ms = performance.now() - begun
      return ms < atOnceMs || tries === 1 ? { code, ms } : told(subject, body, tries - 1)
    }
    const ids = Array.from({ length: 30 }, (_, at) => `killed-${at}`)
    const inline = { metadata: { name: "quick" }, spec: { tasks: [{ name: "one", type: "noop" }] } }
    const starts = ids.map((instanceId) => told(Subject.rpc.workflow("start"), { instanceId, inline }))
    const claims = pools.map(({ name }) =>
      told(Subject.rpc.pool({ ...pool, name: PoolName.make(name) }, "claim"), { claimId: `k-${name}`, deadline: "2s" })
    )
    const answers = await Promise.all([...starts, ...claims])
    for (const { code, ms } of answers) {
      assert.include(["done", "Unavailable"], code)
      assert.isBelow(ms, atOnceMs)
    }
    assert.isTrue(answers.some(({ code }) => code === "Unavailable"), "none was the dead ones'")
    mesh.signal("failover-1", "SIGCONT")

    const commands = ids.slice(0, 6).map((id) =>
      heddle(mesh, "run", join(root, "examples", "hello.yaml"), "--id", `${id}-again`, "--timeout", "150s")
    )
    const claiming = pools.map(({ name }) => heddle(mesh, "claim", name, "--id", `again-${name}`, "--timeout", "150s"))
    for (const { stdout } of await Promise.all(commands)) assert.include(stdout, "-again")
    for (const { stdout } of await Promise.all(claiming)) assert.strictEqual(JSON.parse(stdout).outcome, "Claimed")
  })
})
