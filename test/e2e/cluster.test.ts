/**
 * The mesh on a cluster of three nats-servers with three replicas of every stream: the server that leads the lanes (they are in memory, so it takes its copy with it) is killed with SIGKILL
 * in the middle of the work, and comes back. What was accepted ends, once; what is held stays held.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import { awaitHealthy, startCluster } from "../../shared/testing/BrokerCluster.ts"
import { Mesh } from "./Mesh.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("default") }
const waiters = 6
const task = (name: string, ...dependsOn: ReadonlyArray<string>) => ({ name, type: "noop", pool: "slots", dependsOn })
const diamond = {
  metadata: { name: "diamond" },
  spec: { tasks: [task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c")] }
}

const StreamInfo = Schema.Struct({
  config: Schema.Struct({ num_replicas: Schema.Number }),
  cluster: Schema.Struct({ leader: Schema.optionalKey(Schema.String) })
})
const decodeInfo = Schema.decodeUnknownSync(Schema.fromJsonString(StreamInfo))
const decodeResult = Schema.decodeUnknownSync(WorkflowResult)
const decodeView = Schema.decodeUnknownSync(WorkflowView)

const infoOf = async (mesh: Mesh, stream: string) => {
  const connection = await mesh.connection()
  const answer = await Effect.runPromise(
    connection.request(`$JS.API.STREAM.INFO.${stream}`, "", { timeoutMs: 20_000 })
  )
  return decodeInfo(answer.text)
}

/** Starts workflows one after the other and waits for each; the number of those that have ended. */
class Load {
  ended = 0
  isOver = false
  readonly #mesh: Mesh
  /** Rejects with the first that did not end as it should. */
  readonly #running: Promise<ReadonlyArray<void>>

  constructor(mesh: Mesh) {
    this.#mesh = mesh
    this.#running = Promise.all(Array.from({ length: waiters }, (_, at) => this.#work(at)))
  }

  async #work(at: number): Promise<void> {
    for (let count = 0; !this.isOver; count++) {
      const instanceId = `run-${at}-${count}`
      await this.#mesh.askPatiently(Subject.rpc.workflow("start"), { instanceId, inline: diamond })
      let state = ""
      await this.#mesh.until(`${instanceId} ends (it is ${state})`, async () => {
        const asked = { instanceId, wait: "4s" }
        state = decodeResult(await this.#mesh.ask(Subject.rpc.workflow("result"), asked, 20_000)).state
        return state === "SUCCEEDED" || state === "FAILED"
      })
      assert.strictEqual(state, "SUCCEEDED", instanceId)
      const { tasks } = decodeView(await this.#mesh.askPatiently(Subject.rpc.workflow("get"), { instanceId }))
      assert.deepStrictEqual(tasks.map(({ attempts }) => attempts.length), [1, 1, 1, 1], instanceId)
      this.ended++
    }
  }

  /** Waits until so many more have ended. */
  async more(count: number): Promise<void> {
    const wanted = this.ended + count
    const reached = this.#mesh.until(
      () => `${wanted} workflows end (${this.ended} have)`,
      async () => this.ended >= wanted
    )
    await Promise.race([reached, this.#running])
    await reached
  }

  async finish(): Promise<void> {
    this.isOver = true
    await this.#running
  }
}

describe("a cluster of three brokers", () => {
  it("loses the leader of the lanes in the middle of the work: what was accepted ends, each task ran once, a claim stays held; the server comes back", async () => {
    const cluster = await startCluster()
    try {
      await using mesh = await Mesh.start({
        natsUrl: cluster.url,
        env: { HEDDLE_REPLICAS: "3" },
        pools: [{ name: "default", provider: "local", size: 1 }, { name: "slots", provider: "inline", size: 32 }]
      })
      for (const stream of Object.values(Streams.name)) {
        assert.strictEqual((await infoOf(mesh, stream)).config.num_replicas, 3, stream)
      }
      const held = { claimId: "held", ttl: "10m" }
      const claim = Subject.rpc.pool(pool, "claim")
      assert.nestedPropertyVal(await mesh.askPatiently(claim, held), "outcome", "Claimed")

      const load = new Load(mesh)
      await load.more(waiters)
      let leader = ""
      await mesh.until("the lanes have a leader", async () => {
        leader = (await infoOf(mesh, Streams.name.ready)).cluster.leader ?? ""
        return cluster.nodes.has(leader)
      })
      const node = cluster.nodes.get(leader)
      assert.isDefined(node)
      await node.kill()
      await load.more(3 * waiters)
      await node.start()
      await awaitHealthy(node)
      await load.more(waiters)
      await mesh.alive("the rest of the workflows", load.finish())

      assert.nestedPropertyVal(
        await mesh.askPatiently(claim, held),
        "outcome",
        "Claimed",
        "the same claim, asked again"
      )
      const release = Subject.rpc.pool(pool, "release")
      assert.nestedPropertyVal(await mesh.askPatiently(release, { claimId: "held" }), "outcome", "Released")
      for (const ended of await mesh.stop()) assert.deepStrictEqual([ended.name, ended.code], [ended.name, 0])
    } finally {
      await cluster.stop()
    }
  })
})
