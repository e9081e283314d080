/**
 * The wire contract as a foreign client meets it: each request of docs/reference/wire.md by hand, and the shape of its answer, over a real mesh.
 *
 * Nothing here is decoded by the project's own schemas: an answer is plain JSON that is compared with what the contract says, word by word, so that a change of a field's name,
 * of a time's form or of an error's shape fails here, whatever the schemas say by then. Bad input in its breadth: bad-input.test.ts.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Append from "../../shared/jetstream/Append.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import { Mesh } from "../e2e/Mesh.ts"

type Json = Readonly<Record<string, unknown>>
type Headers = Readonly<Record<string, string>>

const scope = Scope.makeUnsafe()
let mesh: Mesh
let nats: Nats.Connection

beforeAll(async () => {
  mesh = await Mesh.start({
    // longer than this machine may stand still: nobody of them is to begin a second life here
    ttl: "60s",
    pools: [{ name: "default", provider: "local", size: 2 }, { name: "quick", provider: "inline", size: 4 }]
  })
  nats = await Effect.runPromise(Nats.open({ url: mesh.natsUrl, name: "foreign" }).pipe(Scope.provide(scope)))
}, 180_000)
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await mesh.stop()
}, 180_000)

const send = async (subject: string, body: string, headers: Headers = {}): Promise<Nats.Message> => {
  const answer = await Effect.runPromise(Effect.result(nats.request(subject, body, { timeoutMs: 70_000, headers })))
  if (Result.isFailure(answer)) throw new Error(`${subject}: ${answer.failure.message}`)
  return answer.success
}
const ask = async (subject: string, body: unknown = {}, headers?: Headers): Promise<Json> =>
  JSON.parse((await send(`heddle.rpc.${subject}`, JSON.stringify(body), headers)).text)

const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
  const end = performance.now() + 90_000
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within 90 s: ${what}`)
    await sleep(20)
  }
}

// What a field may be: a text of a form, a kind of value, or exactly this. A key that ends with `?` may be missing; no other key may be there.
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
const name = /^[A-Za-z0-9_-]{1,63}$/
const text = /^/s
const number = "a number" as const
const integer = "an integer" as const
const record = "an object" as const
type Shape = RegExp | typeof number | typeof integer | typeof record | ReadonlyArray<Shape> | ExactlyValue | {
  readonly [key: string]: Shape
}
class ExactlyValue {
  readonly values: ReadonlyArray<unknown>
  constructor(values: ReadonlyArray<unknown>) {
    this.values = values
  }
}
const exactly = (...values: ReadonlyArray<unknown>) => new ExactlyValue(values)
const isRecord = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

/** What of `value` is not as `shape` says. */
const differences = (value: unknown, shape: Shape, at = ""): ReadonlyArray<string> => {
  const wrong = (wanted: string) => [`${at || "it"} is ${JSON.stringify(value)}, not ${wanted}`]
  if (shape instanceof RegExp) return typeof value === "string" && shape.test(value) ? [] : wrong(`a text ${shape}`)
  if (shape instanceof ExactlyValue) {
    return shape.values.some((one) => JSON.stringify(one) === JSON.stringify(value))
      ? []
      : wrong(shape.values.map((one) => JSON.stringify(one)).join(" or "))
  }
  if (shape === number) return typeof value === "number" ? [] : wrong(shape)
  if (shape === integer) return Number.isInteger(value) ? [] : wrong(shape)
  if (shape === record) return isRecord(value) ? [] : wrong(shape)
  if (Array.isArray(shape)) {
    // a list of that many, or of any length when one shape stands for all
    if (!Array.isArray(value)) return wrong("a list")
    return shape.length === 1
      ? value.flatMap((one, n) => differences(one, shape[0], `${at}[${n}]`))
      : shape.flatMap((one, n) => differences(value[n], one, `${at}[${n}]`))
  }
  if (!isRecord(value)) return wrong("an object")
  const fields = new Map(Object.entries(shape).map(([key, one]) => [key.replace(/\?$/, ""), { key, one }]))
  return [
    ...Object.keys(value).filter((key) => !fields.has(key)).map((key) => `${at}.${key} is not in the contract`),
    ...[...fields].flatMap(([key, { key: written, one }]) =>
      value[key] === undefined
        ? written.endsWith("?") ? [] : [`${at}.${key} is missing`]
        : differences(value[key], one, `${at}.${key}`)
    )
  ]
}
const isLike = (value: unknown, shape: Shape, about = ""): void =>
  assert.deepStrictEqual(differences(value, shape), [], `${about} ${JSON.stringify(value).slice(0, 600)}`)
const page = (item: Shape): Shape => ({ items: [item], "next?": text })
const refused = (code: string): Shape => ({
  error: { code: exactly(code), message: text, "path?": text, "details?": [record] }
})

const labels = record
const sandbox = {
  uid: name,
  name: text,
  namespace: exactly("default"),
  "address?": text,
  labels,
  provider: text,
  "env?": record
}
const timings = { sessionId: integer, queuedMs: number, casMs: number, attempts: integer }
const claimed = (claimId: Shape, outcome: string): Shape => ({
  claimId,
  outcome: exactly(outcome),
  sandbox,
  leaseExpiresAt: time,
  ...timings
})
const snapshot = {
  idleReady: integer,
  queueLen: integer,
  reservedCount: integer,
  inflightCas: integer,
  lastDispatchAt: time,
  sessionId: integer,
  claimed: integer,
  total: integer,
  laneQueued: integer,
  dispatchQueued: integer,
  "target?": integer,
  "creating?": integer,
  "quotaBlocked?": integer
}

describe("claims", () => {
  const pool = "pool.default.default"
  it("claim, renew, get, release, cancel, snapshot", async () => {
    const claim = await ask(`${pool}.claim`)
    isLike(claim, claimed(name, "Claimed"))
    const id = { claimId: claim["claimId"] }
    const renewed = await ask(`${pool}.renew`, { ...id, ttl: "1h" })
    isLike(renewed, claimed(exactly(claim["claimId"]), "Claimed"))
    assert.isAbove(Date.parse(String(renewed["leaseExpiresAt"])), Date.parse(String(claim["leaseExpiresAt"])))
    assert.deepStrictEqual(await ask(`${pool}.get`, id), renewed)
    isLike(await ask(`${pool}.snapshot`), snapshot)
    isLike(await ask(`${pool}.release`, id), claimed(exactly(claim["claimId"]), "Released"))
    isLike(await ask(`${pool}.release`, id), claimed(exactly(claim["claimId"]), "Released"), "again")
    isLike(await ask(`${pool}.renew`, id), refused("Conflict"))
    for (const verb of ["release", "renew", "cancel", "get"]) {
      isLike(await ask(`${pool}.${verb}`, { claimId: "nobody" }), refused("NoSuchClaim"), verb)
    }
  })

  it("every field of a request, with one that is not in the contract; the same id again is the same claim", async () => {
    const request = {
      claimId: "full",
      holder: "h",
      team: "red",
      user: "u",
      priority: 9,
      deadline: 30_000,
      ttl: "90s",
      selector: {},
      targetPhase: "Running",
      labels: { of: "mine" },
      annotations: { a: "b" },
      env: { A: "1" },
      count: 1,
      unheardOf: [1]
    }
    const claim = await ask(`${pool}.claim`, request)
    isLike(claim, claimed(exactly("full"), "Claimed"))
    assert.deepInclude(claim["sandbox"], { labels: { of: "mine" }, env: { A: "1" } })
    const lease = Date.parse(String(claim["leaseExpiresAt"])) - Date.now()
    assert.isTrue(lease > 60_000 && lease <= 90_000, `${lease} ms`)
    assert.deepStrictEqual(await ask(`${pool}.claim`, request), claim)
    await ask(`${pool}.release`, { claimId: "full" })
  })

  it("Nats-Msg-Id is the claim's id, of a request and of a message; Heddle-Team is a name", async () => {
    const claim = await ask(`${pool}.claim`, {}, { "Nats-Msg-Id": "msg-1", "Heddle-Team": "red" })
    isLike(claim, claimed(exactly("msg-1"), "Claimed"))
    assert.deepStrictEqual(await ask(`${pool}.claim`, {}, { "Nats-Msg-Id": "msg-1" }), claim)
    isLike(await ask(`${pool}.release`, { claimId: "msg-1" }), claimed(exactly("msg-1"), "Released"))
    const odd = await ask(`${pool}.claim`, {}, { "Nats-Msg-Id": "no name." })
    isLike(odd, claimed(/^m-[0-9a-f]{32}$/, "Claimed"))
    await ask(`${pool}.release`, { claimId: odd["claimId"] })
    const refusal = await ask(`${pool}.claim`, { claimId: "t" }, { "Heddle-Team": "r.d" })
    assert.deepInclude(refusal, { claimId: "t", outcome: "Invalid" })
    assert.match(String((refusal["error"] as Json)["message"]), /"r\.d"/) // isLike would not say what an error says
  })

  it("outcomes: Invalid, NoSuchPool, DeadlineExceeded, QueueFull, Cancelled, Expired", async () => {
    const noSandbox = (claimId: Shape, outcome: string, error: Shape): Shape => ({
      claimId,
      outcome: exactly(outcome),
      ...timings,
      "error?": error
    })
    const error = (code: string): Shape => ({ code: exactly(code), message: text, "path?": text, "details?": [record] })
    for (
      const wrong of [{ priority: 10 }, { priority: -1 }, { count: 0 }, { deadline: "30" }, { ttl: true }, {
        labels: { a: 1 }
      }]
    ) {
      isLike(
        await ask(`${pool}.claim`, { ...wrong, claimId: "w" }),
        noSandbox(exactly("w"), "Invalid", error("InvalidMessage"))
      )
    }
    const badName = await ask(`${pool}.claim`, { claimId: "a.b" })
    isLike(badName, noSandbox(text, "Invalid", error("InvalidName")))
    assert.include(String((badName["error"] as Json)["message"]), "\"a.b\"") // the offending name
    const noPool = await ask("pool.default.nowhere.claim", { claimId: "np" })
    isLike(noPool, noSandbox(exactly("np"), "NoSuchPool", error("NoSuchPool")))
    const late = await ask(`${pool}.claim`, { claimId: "late", selector: { is: "nowhere" }, deadline: "50ms" })
    isLike(late, noSandbox(exactly("late"), "DeadlineExceeded", record))
    isLike(await ask("pool.apply", { name: "one", provider: "inline", size: 1, queueLengthMax: 1 }), {
      namespace: exactly("default"),
      name: exactly("one"),
      provider: exactly("inline"),
      size: exactly(1),
      owner: exactly(null, "pool-scheduler-1"),
      spec: record,
      "snapshot?": record
    })
    const held = await ask("pool.default.one.claim", { claimId: "held" })
    isLike(held, { ...(claimed(exactly("held"), "Claimed") as object) })
    const waiting = ask("pool.default.one.claim", { claimId: "waiting", deadline: "10m" })
    await until("it waits", async () => (await ask("pool.default.one.snapshot"))["queueLen"] === 1)
    const full = await ask("pool.default.one.claim", { claimId: "full" })
    isLike(
      full,
      noSandbox(exactly("full"), "QueueFull", {
        code: exactly("QueueFull"),
        message: text,
        details: { queueLen: exactly(1) }
      })
    )
    isLike(
      await ask("pool.default.one.cancel", { claimId: "waiting" }),
      noSandbox(exactly("waiting"), "Cancelled", record)
    )
    isLike(await waiting, noSandbox(exactly("waiting"), "Cancelled", record))
    await ask("pool.default.one.renew", { claimId: "held", ttl: "300ms" })
    const outcome = async () => (await ask("pool.default.one.get", { claimId: "held" }))["outcome"]
    await until("its time is over", async () => await outcome() === "Expired")
    isLike(await ask("pool.default.one.get", { claimId: "held" }), claimed(exactly("held"), "Expired"))
  })

  it("a durable claim: its result on the result subject and to Heddle-Reply-To, with the session; NoSuchPool where there is no pool", async () => {
    const told = new Map<string, { readonly body: Json; readonly session: string | undefined }>()
    const hear = (subject: string) =>
      nats.subscribe(
        subject,
        (message) =>
          told.set(message.subject, { body: JSON.parse(message.text), session: message.header("Heddle-Session") })
      )
    await Effect.runPromise(
      Effect.all([hear("heddle.pool.*.*.result.*"), hear("foreign.answer")]).pipe(Scope.provide(scope))
    )
    const publish = (pool: string, body: string, headers: Headers) =>
      Effect.runPromise(Append.publish(nats, `heddle.pool.default.${pool}.claim`, body, { headers }))
    const heard = async (subject: string) => {
      await until(`something is told on ${subject}`, async () => told.has(subject))
      return told.get(subject) ?? assert.fail(subject)
    }
    await publish("quick", "{\"claimId\":\"durable\"}", { "Heddle-Reply-To": "foreign.answer" })
    const result = await heard("heddle.pool.default.quick.result.durable")
    isLike(result.body, claimed(exactly("durable"), "Claimed"))
    assert.strictEqual(result.session, String(result.body["sessionId"]))
    assert.deepStrictEqual(await heard("foreign.answer"), result)
    await ask("pool.default.quick.release", { claimId: "durable" })
    await publish("quick", "nonsense", { "Nats-Msg-Id": "malformed" })
    assert.deepInclude((await heard("heddle.pool.default.quick.result.malformed")).body, { outcome: "Invalid" })
    await publish("nowhere", "{\"claimId\":\"lost\"}", {})
    assert.deepInclude((await heard("heddle.pool.default.nowhere.result.lost")).body, { outcome: "NoSuchPool" })
  })

  it("pools and envs", async () => {
    const pools = await ask("pool.list")
    isLike(
      pools,
      page({
        namespace: exactly("default"),
        name,
        provider: text,
        size: integer,
        owner: name,
        spec: record,
        "snapshot?": record
      })
    )
    isLike(await ask("env.default.nowhere.claim"), refused("NoSuchEnv"))
    await ask("env.apply", { name: "both", members: [{ pool: "quick" }] })
    const claim = await ask("env.default.both.claim", {})
    isLike(claim, { ...(claimed(name, "Claimed") as object), pool: exactly({ namespace: "default", name: "quick" }) })
    await ask("pool.default.quick.release", { claimId: claim["claimId"] })
  })
})

describe("workflows", () => {
  const run = (script: string) => ({ type: "shell", with: { run: script } })
  const attempt = {
    attempt: integer,
    state: text,
    "executor?": text,
    "sandbox?": text,
    submittedAt: time,
    "startedAt?": time,
    "endedAt?": time,
    "exitCode?": integer,
    "reason?": text
  }
  const view: Shape = {
    instanceId: name,
    state: text,
    definition: { name, version: integer },
    params: record,
    outputs: record,
    runNumber: integer,
    shard: integer,
    sessionId: integer,
    seq: integer,
    startedAt: time,
    "endedAt?": time,
    "reason?": text,
    tasks: [{
      name,
      type: text,
      "dependsOn?": [name],
      "state?": text,
      "intent?": exactly("none", "pause", "kill"),
      "why?": text,
      attempts: [attempt],
      "outputs?": record
    }]
  }
  const definition = {
    apiVersion: "heddle.dev/v1",
    kind: "Workflow",
    metadata: { name: "foreign", namespace: "default", labels: {} },
    unheardOf: true,
    spec: {
      params: { day: "2026-11-21" },
      pool: "default",
      tasks: [
        {
          name: "first",
          ...run(
            "env > all; for v in HEDDLE_INSTANCE_ID HEDDLE_TASK HEDDLE_ATTEMPT HEDDLE_PARAM_DAY HEDDLE_PARAM_OWN TRACEPARENT FROM_ENV; do echo \"$v=$(printenv $v)\" >> \"$HEDDLE_OUTPUTS\"; done; rm all"
          ),
          params: { own: "x y" },
          env: { FROM_ENV: "e" }
        },
        {
          name: "gate",
          type: "switch",
          dependsOn: ["first"],
          with: { cases: [{ when: "params.day != ''", next: "taken" }], default: "left" }
        },
        { name: "taken", type: "noop", dependsOn: ["gate"], pool: "quick" },
        { name: "left", type: "noop", dependsOn: ["gate"], pool: "quick" },
        { name: "bad", ...run("exit 7") },
        { name: "after", type: "noop", dependsOn: ["bad"], pool: "quick" }
      ]
    }
  }
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

  it("definitions: put, get, list, validate, delete; every problem with its path", async () => {
    const put = { name: exactly("foreign"), version: exactly(1), hash: text }
    const valid = { name: exactly("foreign"), version: exactly(1), valid: exactly(true) }
    isLike(await ask("definition.validate", definition), valid, "what a put would make it")
    isLike(await ask("definition.put", definition), put)
    isLike(await ask("definition.put", definition), put, "again")
    isLike(await ask("definition.validate", definition), valid)
    assert.deepInclude(await ask("definition.validate", { ...definition, spec: { ...definition.spec, priority: 1 } }), {
      version: 2
    })
    isLike(await ask("definition.get", { name: "foreign" }), {
      namespace: exactly("default"),
      name: exactly("foreign"),
      version: exactly(1),
      hash: text,
      createdAt: time,
      definition: record
    })
    isLike(await ask("definition.list"), page({ namespace: name, name, version: integer, "createdAt?": time }))
    const problems = await ask("definition.validate", {
      metadata: { name: "wrong" },
      spec: {
        tasks: [{ name: "a", type: "noop", dependsOn: ["zz"] }, { name: "a", type: "noop" }, {
          name: "b",
          type: "noop",
          priority: 12
        }]
      }
    })
    isLike(problems, refused("InvalidMessage"))
    const paths = ((problems["error"] as Json)["details"] as ReadonlyArray<Json>).map((one) => one["path"])
    assert.sameMembers(paths, ["spec.tasks[0].dependsOn[0]", "spec.tasks[1].name", "spec.tasks[2].priority"])
    await ask("definition.put", { ...definition, metadata: { name: "gone" } })
    isLike(await ask("definition.delete", { name: "gone" }), { name: exactly("gone"), version: exactly(1) })
    isLike(await ask("definition.get", { name: "gone" }), refused("NoSuchDefinition"))
  })

  it("start, result, get, list, history of a run with a task of every kind of end", async () => {
    const start = { definition: "foreign@1", instanceId: "i-1", params: { b: 1, a: { y: 1, x: 2 } }, priority: 3 }
    const headers = { traceparent, "Heddle-Team": "red" }
    isLike(await ask("workflow.start", start, headers), { instanceId: exactly("i-1") })
    // The same in other words, without the trace of the first.
    const again = { priority: 3, instanceId: "i-1", params: { a: { x: 2, y: 1 }, b: 1 }, definition: "foreign@1" }
    isLike(await ask("workflow.start", again), { instanceId: exactly("i-1") })
    isLike(await ask("workflow.start", { ...start, params: { b: 2 } }), refused("Conflict"))
    isLike(await ask("workflow.result", { instanceId: "i-1", wait: "60s" }), {
      instanceId: exactly("i-1"),
      state: exactly("FAILED"),
      outputs: record,
      reason: text,
      startedAt: time,
      endedAt: time
    })
    const found = await ask("workflow.get", { instanceId: "i-1" })
    isLike(found, view)
    assert.deepInclude(found, { definition: { name: "foreign", version: 1 }, runNumber: 1, state: "FAILED" })
    const tasks = new Map((found["tasks"] as ReadonlyArray<Json>).map((one) => [one["name"], one])) // `view` says so
    assert.deepStrictEqual(tasks.get("first")?.["outputs"], {
      HEDDLE_INSTANCE_ID: "i-1",
      HEDDLE_TASK: "first",
      HEDDLE_ATTEMPT: 1,
      HEDDLE_PARAM_DAY: "2026-11-21",
      HEDDLE_PARAM_OWN: "x y",
      TRACEPARENT: traceparent,
      FROM_ENV: "e"
    })
    for (const left of ["left", "after"]) {
      isLike(tasks.get(left), { name, type: text, dependsOn: [name], why: text, attempts: exactly([]) }, "never ran")
    }
    isLike(tasks.get("bad"), {
      name,
      type: text,
      state: exactly("FAILED"),
      attempts: [{ ...attempt, exitCode: exactly(7) }]
    })
    const summary = { instanceId: name, state: text, definition: record, startedAt: time, "endedAt?": time }
    isLike(await ask("workflow.list", { limit: 1 }), page(summary))
    isLike(await ask("workflow.history", { instanceId: "i-1", limit: 1 }), {
      items: [{ seq: integer, at: time, entry: record }],
      next: text
    })
    isLike(await ask("workflow.history", { instanceId: "i-1", next: "nonsense" }), refused("InvalidMessage"))
  })

  it("commands, each once and again", async () => {
    const states = async (id: string): Promise<unknown> =>
      (await ask("workflow.result", { instanceId: id, wait: "60s" }))["state"]
    const accepted = { accepted: exactly(true) }
    const command = (verb: string, body: object, headers?: Headers) =>
      ask(`workflow.${verb}`, { instanceId: "c-1", ...body }, headers)
    // runs until it is told to end: this machine may stand still between two commands
    const end = join(mesh.folder, "a-may-end")
    const tasks = [
      { name: "a", ...run(`until [ -e ${end} ]; do sleep 0.05; done`) },
      { name: "b", ...run("exit 3"), dependsOn: ["a"] }
    ]
    await ask("workflow.start", { instanceId: "c-1", inline: { metadata: { name: "commands" }, spec: { tasks } } })
    await until("its first task runs", async () => {
      const [first] = (await ask("workflow.get", { instanceId: "c-1" }))["tasks"] as ReadonlyArray<Json> // as `view` says
      return first?.["state"] === "RUNNING"
    })
    isLike(await command("pause", { reason: "lunch" }), accepted)
    isLike(await command("pause", {}), accepted)
    writeFileSync(end, "")
    assert.strictEqual(await states("c-1"), "PAUSED")
    isLike(await command("pause", {}), refused("Conflict"))
    isLike(await command("resume", {}), accepted)
    assert.strictEqual(await states("c-1"), "FAILED")
    isLike(await command("recover", {}, { "Nats-Msg-Id": "r1" }), accepted)
    isLike(await command("recover", {}, { "Nats-Msg-Id": "r1" }), accepted)
    assert.strictEqual(await states("c-1"), "FAILED")
    isLike(await command("force-success", { task: "b" }), accepted)
    isLike(await command("force-success", { task: "zz" }), refused("InvalidMessage"))
    isLike(await command("run-task", { task: "zz" }), refused("InvalidMessage"))
    isLike(await command("run-task", { task: "a" }), accepted)
    assert.strictEqual(await states("c-1"), "SUCCEEDED")
    rmSync(end)
    isLike(await command("rerun", {}), accepted)
    isLike(await command("stop", { reason: "enough" }), accepted)
    assert.strictEqual(await states("c-1"), "STOPPED")
    assert.deepInclude(await ask("workflow.get", { instanceId: "c-1" }), { runNumber: 2, reason: "enough" })
    const verbs = [
      "get",
      "result",
      "history",
      "pause",
      "resume",
      "stop",
      "rerun",
      "recover",
      "run-task",
      "force-success"
    ]
    for (const verb of verbs) {
      isLike(await ask(`workflow.${verb}`, { instanceId: "nobody", task: "a" }), refused("NoSuchInstance"), verb)
    }
  })

  it("schedules, backfills, groups, members, failovers", async () => {
    const schedule = {
      metadata: { name: "nightly" },
      spec: { cron: "0 0 * * *", timezone: "Europe/Berlin", workflow: { definition: "foreign" } }
    }
    const scheduled = {
      name: exactly("nightly"),
      namespace: exactly("default"),
      state: exactly("Active", "Paused"),
      "reason?": text,
      spec: record,
      "nextAt?": time,
      pending: [time],
      started: integer,
      skipped: integer,
      createdAt: time,
      updatedAt: time
    }
    isLike(await ask("schedule.put", schedule), scheduled)
    for (const verb of ["pause", "resume", "get"]) {
      isLike(await ask(`schedule.${verb}`, { name: "nightly" }), scheduled, verb)
    }
    isLike(await ask("schedule.list"), page(scheduled))
    isLike(await ask("schedule.preview", { name: "nightly", count: 2 }), {
      timezone: exactly("Europe/Berlin"),
      times: [{ at: time, date: text, instanceId: name }]
    })
    isLike(await ask("schedule.delete", { name: "nightly" }), { name: exactly("nightly"), deleted: exactly(true) })
    isLike(await ask("schedule.get", { name: "nightly" }), refused("NoSuchSchedule"))
    isLike(await ask("schedule.put", { ...schedule, metadata: { name: "a.b" } }), refused("InvalidName"))
    isLike(await ask("backfill.get", { name: "nobody" }), refused("NoSuchBackfill"))
    isLike(await ask("backfill.list"), { items: exactly([]) })
    isLike(await ask("group.get", { name: "nobody" }), refused("NoSuchGroup"))
    isLike(await ask("group.list"), { items: exactly([]) })
    assert.sameMembers(
      ((await ask("member.list"))["items"] as ReadonlyArray<Json>).map((one) => one["role"]),
      ["coordinator", "pool-scheduler", "task-executor", "failover"]
    )
    isLike(
      await ask("failover.list"),
      page({
        id: text,
        kind: text,
        at: time,
        subject: text,
        cause: text,
        shards: integer,
        instances: integer,
        tasks: integer,
        state: text,
        "recoveredMs?": integer
      })
    )
  })
})

describe("services", () => {
  const gathered = async (subject: string): Promise<ReadonlyArray<Json>> => {
    const found: Array<Json> = []
    const inbox = nats.inbox()
    await Effect.runPromise(
      nats.subscribe(inbox, ({ text: body }) => body !== "" && found.push(JSON.parse(body))).pipe(Scope.provide(scope))
    )
    nats.publish(subject, "", { reply: inbox })
    await until(`four answers to ${subject}`, async () => found.length >= 4)
    return found
  }
  const identity = { name: text, id: text, version: /^\d+\.\d+\.\d+/, metadata: record }
  const endpoint = { name, subject: text, queue_group: text }
  it("each is a NATS micro service: PING, INFO, STATS of ADR-32", async () => {
    const type = (kind: string) => exactly(`io.nats.micro.v1.${kind}_response`)
    const pings = await gathered("$SRV.PING")
    isLike(pings, [{ type: type("ping"), ...identity }])
    assert.sameMembers(pings.map((one) => one["name"]), [
      "heddle-coordinator",
      "heddle-pool-scheduler",
      "heddle-task-executor",
      "heddle-failover"
    ])
    isLike(await gathered("$SRV.INFO"), [{
      type: type("info"),
      ...identity,
      description: text,
      endpoints: [{ ...endpoint, metadata: record }]
    }])
    isLike(await gathered("$SRV.STATS"), [{
      type: type("stats"),
      ...identity,
      started: time,
      endpoints: [{
        ...endpoint,
        num_requests: integer,
        num_errors: integer,
        last_error: text,
        processing_time: integer,
        average_processing_time: integer
      }]
    }])
  })

  it("a refusal carries ADR-32's headers beside the contract's body, with a status of its own for each kind", async () => {
    for (
      const [subject, body, status] of [
        ["workflow.get", "{", "400"],
        ["schedule.get", "{\"name\":\"nobody\"}", "404"],
        ["pool.default.no$name.snapshot", "{}", "400"]
      ] as const
    ) {
      const answer = await send(`heddle.rpc.${subject}`, body)
      assert.strictEqual(answer.header("Nats-Service-Error-Code"), status, subject)
      assert.include(
        answer.header("Nats-Service-Error"),
        (JSON.parse(answer.text) as { error: { code: string } }).error.code
      )
    }
  })
})
