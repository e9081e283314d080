/**
 * A mesh whose users have exactly the permissions of shared/jetstream/Permissions.ts: it does its work, through failovers too, and nobody is ever refused anything; what they may not do
 * the server refuses.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Permissions from "../../shared/jetstream/Permissions.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { Command } from "./Command.ts"
import { Mesh } from "./Mesh.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("default") }
const passwordOf = (role: Permissions.PermissionRole) => `${role}-password`
const envOf = (user: Permissions.PermissionRole) => ({
  HEDDLE_NATS_USER: user,
  HEDDLE_NATS_PASSWORD: passwordOf(user)
})
const isRole = (role: string): role is Permissions.PermissionRole => Permissions.roles.some((one) => one === role)
const brokerConfig = `authorization { ${Permissions.usersConfig((role) => JSON.stringify(passwordOf(role)))} }`

const shell = (name: string, run: string, dependsOn: ReadonlyArray<string> = []) => ({
  name,
  type: "shell",
  pool: pool.name,
  dependsOn,
  with: { run }
})

it("the configuration in the documents is the one that is tested", () => {
  const written = readFileSync(join(root, "docs", "design", "permissions.conf"), "utf8")
  assert.strictEqual(
    written.slice(written.indexOf("users:")),
    Permissions.usersConfig((role) => `$${role.toUpperCase().replaceAll("-", "_")}_PASSWORD`)
  )
})

it("a mesh with exactly these permissions does all of its work, and nobody is refused anything", async () => {
  await using mesh = await Mesh.start({
    ttl: "2s",
    grace: "500ms",
    coordinators: 2,
    poolSchedulers: 2,
    executors: 2,
    gateways: 1,
    pools: [{ name: pool.name, provider: "local", size: 3 }],
    brokerConfig,
    identity: { user: "client", password: Redacted.make(passwordOf("client")) },
    envOf: (role) => isRole(role) ? envOf(role) : {}
  })
  const result = (instanceId: string, state: string) =>
    mesh.until(
      `${instanceId} is ${state}`,
      async () =>
        JSON.stringify(await mesh.ask(Subject.rpc.workflow("result"), { instanceId, wait: "2s" })).includes(
          `"${state}"`
        )
    )
  const heddle = async (...args: ReadonlyArray<string>) => {
    await using command = new Command(
      process.execPath,
      () => [join(root, "cli", "heddle.ts"), "--nats", mesh.natsUrl, ...args],
      { HEDDLE_TIMEOUT: "60s", ...envOf("client") }
    )
    const { code, error, out } = await command.end(150_000)
    assert.strictEqual(code, 0, `${args.join(" ")}: ${error}`)
    assert.notInclude(error, "does not let")
    return out
  }

  // Runs of a stored definition, by hand and by a schedule; with output, sub-workflow, alert.
  await mesh.askPatiently(Subject.rpc.definition("put"), {
    metadata: { name: "stored" },
    spec: { tasks: [shell("one", "echo out; echo a=1 >> \"$HEDDLE_OUTPUTS\""), shell("two", "true", ["one"])] }
  })
  await mesh.askPatiently(Subject.rpc.workflow("start"), { instanceId: "w-1", definition: "stored" })
  await result("w-1", "SUCCEEDED")
  await mesh.askPatiently(Subject.rpc.schedule("put"), {
    metadata: { name: "often" },
    spec: { cron: "0 0 1 1 *", workflow: { definition: "stored" } }
  })
  assert.include(await heddle("claim", pool.name, "--exec", "--", "echo", "hello"), "hello")
  for (
    const args of [
      ["doctor"],
      ["members"],
      ["pools", "ls"],
      ["workflows", "ls"],
      ["workflows", "get", "w-1"],
      ["workflows", "history", "w-1"],
      ["workflows", "logs", "w-1"],
      ["workflows", "export", "w-1"],
      ["at", "0s", "workflow", "w-1"],
      ["at", "0s", "pool", pool.name],
      ["definitions", "ls"],
      ["claims", "ls", pool.name],
      ["schedules", "ls"],
      ["schedules", "trigger", "often"],
      ["backfill", "ls"],
      ["groups", "ls"],
      ["failovers"],
      ["envs", "ls"]
    ]
  ) await heddle(...args)

  // Sub-workflows, groups of slots; a run that fails raises an alert; an env ranks by what its pools tell.
  const example = (name: string) => join(root, "examples", name)
  await heddle("definitions", "put", example("sub-workflow-child.yaml"))
  await heddle("run", example("sub-workflow.yaml"), "--wait")
  await heddle("run", example("concurrency-group.yaml"), "--wait")
  await mesh.askPatiently(Subject.rpc.workflow("start"), {
    instanceId: "w-3",
    inline: { metadata: { name: "fails" }, spec: { tasks: [shell("fails", "exit 1")] } }
  })
  await result("w-3", "FAILED")
  await mesh.askPatiently(Subject.rpc.envs("apply"), { name: "some", members: [{ pool: pool.name }] })
  assert.include(await heddle("claim", "--from-env", "some", "--exec", "--", "echo", "from an env"), "from an env")

  // The gateway: what it reads, asks and follows.
  const http = `${mesh.httpUrl("gateway-1")}/api/v1`
  /** As a client asks: again, while a shard or pool changes hands; all of these are done once however often they are asked. */
  const patiently = async (path: string, init: RequestInit = {}) => {
    let answer = { status: 0, text: "" }
    await mesh.until(() => `${path} is answered (last: ${answer.status} ${answer.text})`, async () => {
      const response = await fetch(`${http}/${path}`, init)
      answer = { status: response.status, text: await response.text() }
      return answer.status !== 503 && answer.status !== 504
    })
    return answer
  }
  for (
    const path of [
      "workflows",
      "workflows/counts",
      "workflows/w-1",
      "workflows/w-1/result",
      "workflows/w-1/history",
      "workflows/w-1/logs",
      "definitions",
      "definitions/stored",
      "pools",
      `pools/default/${pool.name}`,
      "envs",
      "schedules",
      "schedules/often/preview",
      "backfills",
      "groups",
      "members",
      "failovers",
      "durability",
      "info"
    ]
  ) {
    const answer = await patiently(path)
    assert.strictEqual(answer.status, 200, `${path}: ${answer.text}`)
  }
  const post = async (path: string, body: object) => {
    const answer = await patiently(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body)
    })
    assert.strictEqual(answer.status, 200, `${path}: ${answer.text}`)
  }
  await post(`pools/default/${pool.name}/claims`, { claimId: "by-http" })
  await post(`pools/default/${pool.name}/claims/by-http/cancel`, {})
  await post("workflows", { instanceId: "w-4", definition: "stored" })
  await result("w-4", "SUCCEEDED")
  // from the first message of every stream: it reads the past, then listens
  const events = await fetch(`${http}/events?after=j0-p0-s0`)
  assert.strictEqual(events.status, 200)
  let seen = ""
  for await (const text of events.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    seen += text
    if (seen.includes("\"instanceId\":\"w-4\"") && seen.includes("event: claim")) break
  }

  // Failovers: of an executor in the middle of a task, of a coordinator, of a pool scheduler.
  await mesh.askPatiently(Subject.rpc.workflow("start"), {
    instanceId: "w-2",
    inline: { metadata: { name: "long" }, spec: { tasks: [shell("long", "[ $HEDDLE_ATTEMPT -gt 1 ] || sleep 300")] } }
  })
  let executor = ""
  await mesh.until("the task runs", async () => {
    const seen = /"executor":"(task-executor-\d)"/.exec(
      JSON.stringify(await mesh.ask(Subject.rpc.workflow("get"), { instanceId: "w-2" }))
    )
    executor = seen?.[1] ?? ""
    return executor !== ""
  })
  await mesh.kill(executor)
  await mesh.kill("coordinator-1")
  await result("w-2", "SUCCEEDED")
  await mesh.kill("pool-scheduler-1")
  await mesh.until(
    "a claim is answered by the other one",
    async () => JSON.stringify(await mesh.ask(Subject.rpc.pool(pool, "claim"), {})).includes("\"Claimed\"")
  )
  for (
    const name of [
      "coordinator-1",
      "coordinator-2",
      "pool-scheduler-1",
      "pool-scheduler-2",
      "failover-1",
      "gateway-1",
      "task-executor-1",
      "task-executor-2"
    ]
  ) {
    assert.deepStrictEqual(mesh.log(name).split("\n").filter((line) => line.includes("does not let")), [], name)
  }
  // While there is somebody to give back to: an executor that ends waits for that.
  for (const name of mesh.processes.keys()) if (name.startsWith("task-executor")) await mesh.kill(name, "SIGTERM")
}, 600_000)

it("what a role may not do, the server refuses", async () => {
  await using mesh = await Mesh.start({
    brokerConfig,
    identity: { user: "client", password: Redacted.make(passwordOf("client")) },
    envOf: (role) => isRole(role) ? envOf(role) : {}
  })
  const forbidden = {
    "task-executor": [
      "heddle.journal.x",
      "heddle.pool.default.boxes.event",
      "heddle.rpc.workflow.start",
      "$JS.API.STREAM.DELETE.HEDDLE_JOURNAL",
      "$KV.heddle_shards.shard.0",
      "$JS.API.STREAM.MSG.GET.HEDDLE_JOURNAL",
      "heddle.member.a.control"
    ],
    client: [
      "heddle.journal.x",
      "heddle.member.a.facts",
      "$KV.heddle_pools.x",
      "$JS.API.STREAM.PURGE.HEDDLE_JOURNAL",
      "heddle.system.x",
      "heddle.wf.0.i.history"
    ],
    failover: ["heddle.journal.x", "heddle.rpc.workflow.start"],
    gateway: [
      "heddle.journal.x",
      "heddle.rpc.pool.default.boxes.dequeue",
      "heddle.member.a.facts",
      "heddle.pool.default.boxes.event",
      "$KV.heddle_shards.shard.0",
      "$JS.API.STREAM.DELETE.HEDDLE_JOURNAL",
      "$JS.API.STREAM.MSG.GET.KV_heddle_snapshots"
    ],
    "pool-scheduler": ["heddle.journal.x", "$KV.heddle_shards.shard.0"],
    coordinator: [
      "$JS.API.STREAM.DELETE.HEDDLE_JOURNAL",
      "heddle.sandbox.a.b.c.to.exec",
      "heddle.pool.default.boxes.event"
    ]
  } satisfies Record<Permissions.PermissionRole, ReadonlyArray<string>>
  for (const role of Permissions.roles) {
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const nats = yield* Nats.open({
        url: mesh.natsUrl,
        name: role,
        user: role,
        password: Redacted.make(passwordOf(role))
      })
      yield* Effect.forEach(forbidden[role], (subject) =>
        Effect.gen(function*() {
          const answer = yield* Effect.flip(nats.request(subject, "{}", { timeoutMs: 1_000 }))
          // Somebody or nobody may listen there: a message that was let through is answered, or told to have no listener.
          assert.strictEqual(answer._tag, "RequestTimeout", `${role} on ${subject}`)
        }), { concurrency: "unbounded" })
    })))
  }
}, 180_000)
