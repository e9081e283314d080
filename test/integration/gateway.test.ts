/**
 * The gateway as a foreign client meets it: plain HTTP against a real mesh, with `fetch` and nothing of the project's own. docs/design/gateway.md.
 *
 * Every route of the table is asked at least once; the last test says which was not. Gateways run in this process (two side by side, and ones that are ended and begun anew), the
 * mesh as processes.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Api from "../../services/gateway/Api.ts"
import * as Gateway from "../../services/gateway/main.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { Mesh } from "../e2e/Mesh.ts"

type Json = Readonly<Record<string, unknown>>

let mesh: Mesh

interface Running {
  readonly url: string
  readonly stop: () => Promise<void>
}

let gateways = 0
const startGateway = async (options: Partial<Gateway.GatewayConfig> = {}): Promise<Running> => {
  const scope = Scope.makeUnsafe()
  let url = ""
  const build = Effect.gen(function*() {
    const nats = yield* Layer.build(Nats.layer({ url: mesh.natsUrl, name: "gateway-under-test" }))
    yield* Layer.build(Gateway.layer({
      member: MemberId.make(`gateway-t${++gateways}`),
      version: "1.2.3",
      host: "127.0.0.1",
      port: 0,
      token: undefined,
      origins: new Set(),
      runsMax: 10_000,
      journalBytes: Gateway.journalBytesDefault,
      consoleDir: "/nowhere",
      durability: {},
      listening: (told) => {
        url = told
      },
      ...options
    })).pipe(Effect.provide(Context.merge(Context.empty(), nats)))
  })
  await Effect.runPromise(Scope.provide(build, scope))
  return { url, stop: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

let gateway: Running
beforeAll(async () => {
  mesh = await Mesh.start({
    pools: [{ name: "default", provider: "local", size: 2 }, { name: "quick", provider: "inline", size: 4 }]
  })
  gateway = await startGateway()
}, 180_000)
afterAll(async () => {
  await gateway?.stop()
  await mesh?.stop()
}, 180_000)

const asked = new Set<string>()
const note = (method: string, path: string): void => {
  const segments = path.split("?", 1)[0]?.split("/").slice(1) ?? []
  // the literal one before the one with a parameter
  const found = Api.routes.filter((route) => {
    const wanted = route.path.split("/").slice(1)
    return route.method === method && wanted.length === segments.length &&
      wanted.every((part, at) => part.startsWith(":") || part === segments[at])
  }).toSorted((a, b) => a.path.split(":").length - b.path.split(":").length)[0]
  if (found !== undefined) asked.add(found.id)
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Json
}

const send = async (method: string, path: string, init: RequestInit = {}, url = gateway.url): Promise<Answer> => {
  note(method, path)
  const response = await fetch(`${url}${Api.prefix}${path}`, { method, ...init })
  return { status: response.status, headers: response.headers, body: await response.json() as Json }
}
const get = (path: string, url?: string) => send("GET", path, {}, url)
const post = (path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}) =>
  send("POST", path, {
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  })
const remove = (path: string) => send("DELETE", path)

const ok = (answer: Answer): Json => {
  assert.strictEqual(answer.status, 200, JSON.stringify(answer.body))
  return answer.body
}
const refused = (answer: Answer, status: number, code: string): void => {
  assert.strictEqual(answer.status, status, JSON.stringify(answer.body))
  assert.nestedPropertyVal(answer.body, "error.code", code)
}
const itemsOf = (body: Json): ReadonlyArray<Json> => {
  assert.isArray(body["items"])
  return body["items"] as ReadonlyArray<Json>
}

const inline = (name: string, ...tasks: ReadonlyArray<Json>) => ({ inline: { metadata: { name }, spec: { tasks } } })
const noop = (name: string, dependsOn: ReadonlyArray<string> = []) => ({ name, type: "noop", dependsOn })
const shell = (name: string, run: string) => ({ name, type: "shell", pool: "default", with: { run } })
const ended = async (instance: string): Promise<Json> => ok(await get(`/workflows/${instance}/result?wait=60s`))

/** Lists follow the journal by a delivery. */
const until = (url: string, instance: string, state: string) =>
  mesh.until(
    `${instance} is listed as ${state}`,
    async () =>
      itemsOf(ok(await get(`/workflows?prefix=${instance}&limit=1000`, url)))
        .some((run) => run["instanceId"] === instance && run["state"] === state)
  )

// ------------------------------------------------------------------------------------------------------------ Server-Sent Events

interface Event {
  readonly event: string
  readonly id: string
  readonly data: Json
}

const textOf = (response: Response): AsyncIterable<string> => {
  if (response.body === null) throw new Error("no body")
  return response.body.pipeThrough(new TextDecoderStream())
}

/** Reads events until `isLast`, or as many as `most`; then the connection is dropped in the middle of whatever comes. */
const readEvents = async (
  url: string,
  path: string,
  options: {
    readonly lastEventId?: string
    readonly isLast?: (event: Event) => boolean
    readonly most?: number
  }
): Promise<{ readonly events: ReadonlyArray<Event>; readonly lastEventId: string }> => {
  note("GET", path)
  const abort = new AbortController()
  const response = await fetch(`${url}${Api.prefix}${path}`, {
    signal: abort.signal,
    ...(options.lastEventId === undefined ? {} : { headers: { "last-event-id": options.lastEventId } })
  })
  assert.strictEqual(response.status, 200, response.status === 200 ? "" : await response.text())
  assert.include(response.headers.get("content-type") ?? "", "text/event-stream")
  const events: Array<Event> = []
  let lastEventId = options.lastEventId ?? ""
  let rest = ""
  for await (const value of textOf(response)) {
    rest += value
    const blocks = rest.split("\n\n")
    rest = blocks.pop() ?? ""
    for (const text of blocks) {
      const field = (name: string) =>
        text.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
      lastEventId = field("id") ?? lastEventId
      const data = field("data")
      if (data === undefined) continue
      const one = { event: field("event") ?? "message", id: lastEventId, data: JSON.parse(data) as Json }
      events.push(one)
      if (options.isLast?.(one) === true || events.length === options.most) {
        abort.abort()
        return { events, lastEventId }
      }
    }
  }
  return { events, lastEventId }
}

const isEndOf = (instance: string) => ({ data, event }: Event): boolean =>
  event === "run" && data["instanceId"] === instance && data["endedAt"] !== undefined

// --------------------------------------------------------------------------------------------------------------------------- tests

describe("routes", () => {
  it("runs: start, get, result, history, logs, list, counts", async () => {
    const started = ok(
      await post("/workflows", { instanceId: "r-1", ...inline("one", shell("say", "echo first; echo second >&2")) })
    )
    assert.deepStrictEqual(started, { instanceId: "r-1" })
    assert.strictEqual((await ended("r-1"))["state"], "SUCCEEDED")
    const view = ok(await get("/workflows/r-1"))
    assert.nestedPropertyVal(view, "tasks[0].state", "SUCCEEDED")
    assert.nestedPropertyVal(ok(await get("/workflows/r-1/result")), "state", "SUCCEEDED")
    const history = itemsOf(ok(await get("/workflows/r-1/history?limit=1")))
    assert.lengthOf(history, 1)
    assert.nestedPropertyVal(history[0], "entry.n", 1)

    // output follows its task's end: both lines are there when the live stream has given both
    const live = await readEvents(gateway.url, "/workflows/r-1/logs/live?task=say", { most: 2 })
    assert.sameMembers(live.events.map(({ data }) => data["text"]), ["first", "second"])
    const logs = ok(await get("/workflows/r-1/logs?task=say&limit=1"))
    assert.deepStrictEqual(itemsOf(logs).map(({ text }) => text), [live.events[0]?.data["text"]])
    const more = ok(await get(`/workflows/r-1/logs?next=${String(logs["next"])}`))
    assert.deepStrictEqual(itemsOf(more).map(({ text }) => text), [live.events[1]?.data["text"]])
    const after = await readEvents(gateway.url, "/workflows/r-1/logs/live", {
      lastEventId: live.events[0]?.id ?? "",
      most: 1
    })
    assert.deepStrictEqual(after.events, live.events.slice(1))

    await until(gateway.url, "r-1", "SUCCEEDED")
    const list = ok(await get("/workflows?definition=one&prefix=r-"))
    assert.deepInclude(itemsOf(list)[0], { instanceId: "r-1", state: "SUCCEEDED", runNumber: 1 })
    assert.strictEqual(list["since"], undefined)
    const counts = ok(await get("/workflows/counts?definition=one"))
    assert.deepInclude(counts, { total: 1, byState: { SUCCEEDED: 1 } })
  })

  it("commands to runs and tasks", async () => {
    ok(await post("/workflows", { instanceId: "c-1", ...inline("waits", shell("long", "sleep 300")) }))
    assert.deepStrictEqual(ok(await post("/workflows/c-1/stop", { reason: "enough" })), { accepted: true })
    assert.deepInclude(await ended("c-1"), { state: "STOPPED" })
    ok(
      await post("/workflows", {
        instanceId: "c-2",
        ...inline(
          "fails",
          { name: "bad", type: "shell", pool: "default", with: { run: "exit 1" } },
          noop("next", ["bad"])
        )
      })
    )
    assert.deepInclude(await ended("c-2"), { state: "FAILED" })
    ok(await post("/workflows/c-2/tasks/bad/force-success"))
    ok(await post("/workflows/c-2/recover"))
    assert.deepInclude(await ended("c-2"), { state: "SUCCEEDED" })
    ok(await post("/workflows/c-2/tasks/next/run", { dependType: "TASK_ONLY" }))
    assert.deepInclude(await ended("c-2"), { state: "SUCCEEDED" })
    refused(await post("/workflows/c-2/tasks/next/force-start"), 409, "Conflict")
    ok(
      await post("/workflows", {
        instanceId: "c-3",
        ...inline("paused", { ...noop("first"), delay: "300s" }, noop("second", ["first"]))
      })
    )
    ok(await post("/workflows/c-3/pause"))
    assert.deepInclude(await ended("c-3"), { state: "PAUSED" })
    ok(await post("/workflows/c-3/resume"))
    ok(await post("/workflows/c-3/stop"))
    assert.deepInclude(await ended("c-3"), { state: "STOPPED" })
    ok(await post("/workflows", { instanceId: "c-4", ...inline("again", noop("a")) }))
    await ended("c-4")
    ok(await post("/workflows/c-4/rerun"))
    await mesh.until("c-4 has run twice", async () => (ok(await get("/workflows/c-4")))["runNumber"] === 2)
  })

  it("definitions, as JSON and as YAML", async () => {
    const definition = { metadata: { name: "stored" }, spec: { tasks: [noop("a")] } }
    assert.deepInclude(ok(await post("/definitions", definition)), { name: "stored", version: 1 })
    const yaml =
      "metadata:\n  name: stored\nspec:\n  tasks:\n    - { name: a, type: noop }\n    - { name: b, type: noop }\n"
    const put = await send("POST", "/definitions", { headers: { "content-type": "application/yaml" }, body: yaml })
    assert.deepInclude(ok(put), { name: "stored", version: 2 })
    assert.deepInclude(ok(await post("/definitions/validate", definition)), { valid: true })
    const bad = await post("/definitions/validate", {
      metadata: { name: "bad" },
      spec: { tasks: [noop("a", ["b"]), noop("b", ["a"])] }
    })
    refused(bad, 422, "InvalidDefinition")
    assert.isArray((bad.body["error"] as Json)["details"])
    assert.deepInclude(ok(await get("/definitions/stored?version=1")), { version: 1 })
    assert.include(itemsOf(ok(await get("/definitions?limit=10"))).map(({ name }) => name), "stored")
    assert.deepInclude(ok(await remove("/definitions/stored")), { name: "stored" })
    refused(await get("/definitions/stored"), 404, "NoSuchDefinition")
  })

  it("pools and claims", async () => {
    assert.includeMembers(itemsOf(ok(await get("/pools"))).map(({ name }) => name), ["default", "quick"])
    assert.deepInclude(ok(await post("/pools", { name: "more", provider: "inline", size: 1 })), {
      name: "more",
      size: 1
    })
    await mesh.until("pool more has one", async () => (await get("/pools/default/more")).body["idleReady"] === 1)
    assert.deepInclude(ok(await post("/pools/default/more/scale", { size: 2 })), { size: 2 })
    await mesh.until("pool more has two", async () => (await get("/pools/default/more")).body["idleReady"] === 2)
    const claims = "/pools/default/more/claims"
    assert.deepInclude(ok(await post(claims, { claimId: "k-1", ttl: "60s" })), { claimId: "k-1", outcome: "Claimed" })
    assert.deepInclude(ok(await get(`${claims}/k-1`)), { outcome: "Claimed" })
    assert.deepInclude(ok(await post(`${claims}/k-1/renew`, { ttl: "90s" })), { outcome: "Claimed" })
    refused(await post(`${claims}/k-1/pause`), 501, "Unsupported")
    refused(await post(`${claims}/k-1/resume`), 501, "Unsupported")
    assert.deepInclude(ok(await remove(`${claims}/k-1`)), { outcome: "Released" })
    assert.deepInclude(ok(await remove(`${claims}/k-1`)), { outcome: "Released" })
    assert.deepInclude(ok(await post(claims)), { outcome: "Claimed" }, "nothing at all is a claim")
    ok(await post(claims, undefined, { "idempotency-key": "k-2" }))
    const late = await post(claims, { deadline: 0 })
    assert.strictEqual(late.status, 504, JSON.stringify(late.body))
    assert.strictEqual(late.body["outcome"], "DeadlineExceeded")
    assert.deepInclude(ok(await post(`${claims}/k-2/cancel`)), { claimId: "k-2" })
    const nowhere = await post("/pools/default/nowhere/claims", {})
    assert.deepStrictEqual([nowhere.status, nowhere.body["outcome"]], [404, "NoSuchPool"])
    const wrong = await post(claims, { priority: 99 })
    assert.deepStrictEqual([wrong.status, wrong.body["outcome"]], [400, "Invalid"])
    ok(await remove("/pools/default/more"))
  })

  it("envs, schedules, backfills, groups, mesh", async () => {
    ok(await post("/envs", { name: "some", members: [{ pool: "quick" }] }))
    assert.deepInclude(itemsOf(ok(await get("/envs")))[0], { name: "some" })
    const claimed = ok(await post("/envs/default/some/claims", {}))
    assert.deepInclude(claimed["pool"], { name: "quick" })
    ok(await remove(`/pools/default/quick/claims/${String(claimed["claimId"])}`))
    ok(await remove("/envs/default/some"))

    ok(await post("/definitions", { metadata: { name: "due" }, spec: { tasks: [noop("a")] } }))
    ok(
      await post("/schedules", {
        metadata: { name: "yearly" },
        spec: { cron: "0 0 1 1 *", workflow: { definition: "due" } }
      })
    )
    assert.deepInclude(itemsOf(ok(await get("/schedules")))[0], { name: "yearly" })
    assert.deepInclude(ok(await get("/schedules/yearly")), { state: "Active" })
    assert.deepInclude(ok(await post("/schedules/yearly/pause", { reason: "holidays" })), { state: "Paused" })
    assert.deepInclude(ok(await post("/schedules/yearly/resume")), { state: "Active" })
    assert.lengthOf(ok(await get("/schedules/yearly/preview?count=3"))["times"] as ReadonlyArray<unknown>, 3)
    const triggered = ok(await post("/schedules/yearly/trigger", {}, { "idempotency-key": "by-hand" }))
    assert.deepStrictEqual(triggered, { instanceId: "by-hand" })
    await ended("by-hand")
    ok(await remove("/schedules/yearly"))

    ok(
      await post("/backfills", {
        metadata: { name: "days" },
        spec: { dates: ["2026-01-01"], workflow: { definition: "due" } }
      })
    )
    assert.deepInclude(itemsOf(ok(await get("/backfills")))[0], { name: "days" })
    assert.deepInclude(ok(await get("/backfills/days")), { total: 1 })
    ok(await post("/backfills/days/stop", {}))

    assert.deepInclude(ok(await post("/groups/default/g", { slots: 2 })), { name: "g", slots: 2 })
    assert.deepInclude(ok(await get("/groups/default/g")), { slots: 2 })
    assert.include(itemsOf(ok(await get("/groups"))).map(({ name }) => name), "g")

    await mesh.until("a coordinator and this gateway are members", async () => {
      const roles = new Set(itemsOf(ok(await get("/members"))).map(({ role }) => role))
      return roles.has("coordinator") && roles.has("gateway")
    })
    assert.isArray(ok(await get("/failovers?limit=5"))["items"])
    assert.match(String(ok(await get("/durability"))["text"]), /^R1, /)
    assert.deepInclude(ok(await get("/info")), { version: "1.2.3" })
  })

  it("the OpenAPI document has every route; the page and the probes answer", async () => {
    const document = await (await fetch(`${gateway.url}${Api.prefix}/openapi.json`)).json() as { paths: Json }
    for (const { method, path } of Api.routes) {
      const known = document.paths[`${Api.prefix}${path.replace(/:([a-z]+)/giu, "{$1}")}`] as Json | undefined
      assert.property(known, method.toLowerCase(), path)
    }
    const page = await fetch(gateway.url)
    assert.strictEqual(page.status, 200)
    assert.include(page.headers.get("content-security-policy") ?? "", "frame-ancestors 'none'")
    assert.strictEqual(page.headers.get("x-content-type-options"), "nosniff")
    assert.include(await page.text(), "/api/v1/openapi.json")
    assert.strictEqual((await fetch(`${gateway.url}/livez`)).status, 200)
    assert.strictEqual((await fetch(`${gateway.url}/readyz`)).status, 200)
    assert.match((await fetch(`${gateway.url}/metrics`)).headers.get("content-type") ?? "", /^text\/plain/)
  })
})

describe("what is wrong is told in the contract's words", () => {
  it("names, bodies, queries, routes", async () => {
    refused(await get("/workflows/no-such"), 404, "NoSuchInstance")
    refused(await get("/workflows/no.such"), 400, "InvalidName")
    refused(await get("/pools/default/%3E"), 400, "InvalidName")
    refused(await get("/workflows?limit=0"), 400, "InvalidMessage")
    refused(await get("/workflows?state=ASLEEP"), 400, "InvalidMessage")
    refused(await get("/nothing"), 404, "UnknownSubject")
    refused(await send("DELETE", "/workflows"), 404, "UnknownSubject")
    refused(await post("/workflows"), 400, "InvalidMessage")
    refused(await post("/workflows", { definition: "no-such" }), 404, "NoSuchDefinition")
    const type = { "content-type": "application/json" }
    refused(await send("POST", "/workflows", { headers: type, body: "{" }), 400, "InvalidJson")
    refused(await send("POST", "/workflows", { headers: type, body: "[]" }), 400, "InvalidMessage")
    refused(await send("POST", "/workflows", { body: "{}" }), 415, "InvalidMessage")
    refused(await send("POST", "/workflows", { headers: type, body: " ".repeat(1_100_000) }), 413, "PayloadTooLarge")
    refused(await post("/workflows", {}, { "idempotency-key": "no name" }), 400, "InvalidName")
    refused(await get("/workflows/r-1/result?wait=soon"), 400, "InvalidMessage")
    refused(await get("/workflows/r-1/logs?task=%3E"), 400, "InvalidName")
    refused(await get("/events?kinds=everything"), 400, "InvalidMessage")
    refused(await get("/events?after=yesterday"), 400, "InvalidMessage")
    refused(await get("/events?after=j99999999"), 400, "InvalidMessage")
  })

  it("a run that goes on has no result yet: 504, at once and after the wait", async () => {
    ok(await post("/workflows", { instanceId: "w-1", ...inline("waits", { ...noop("later"), delay: "300s" }) }))
    refused(await get("/workflows/w-1/result"), 504, "DeadlineExceeded")
    refused(await get("/workflows/w-1/result?wait=200ms"), 504, "DeadlineExceeded")
    ok(await post("/workflows/w-1/stop"))
  })
})

it("the same key twice is done once; with other content it is a conflict", async () => {
  const body = inline("keyed", noop("a"))
  const first = ok(await post("/workflows", body, { "idempotency-key": "key-1" }))
  assert.deepStrictEqual(ok(await post("/workflows", body, { "idempotency-key": "key-1" })), first)
  refused(
    await post("/workflows", inline("keyed", noop("a"), noop("b")), { "idempotency-key": "key-1" }),
    409,
    "Conflict"
  )
  const instance = String(first["instanceId"])
  await ended(instance)
  ok(await post(`/workflows/${instance}/rerun`, undefined, { "idempotency-key": "key-2" }))
  await mesh.until("it runs again", async () => ok(await get(`/workflows/${instance}`))["runNumber"] === 2)
  await ended(instance)
  ok(await post(`/workflows/${instance}/rerun`, undefined, { "idempotency-key": "key-2" }))
  assert.strictEqual(ok(await get(`/workflows/${instance}`))["runNumber"], 2)
  const claim = { "idempotency-key": "key-3" }
  const held = ok(await post("/pools/default/quick/claims", undefined, claim))
  assert.deepStrictEqual(
    ok(await post("/pools/default/quick/claims", undefined, claim))["sandbox"],
    held["sandbox"]
  )
  ok(await remove("/pools/default/quick/claims/key-3"))
})

it("a client that goes away leaves no claim in the queue, unless it named it", async () => {
  const path = "/pools/default/quick/claims"
  const waiting = async () => Number((await get("/pools/default/quick")).body["queueLen"])
  const nobody = { selector: { colour: "none" }, deadline: "120s" }
  for (const body of [nobody, { ...nobody, claimId: "named" }]) {
    const abort = new AbortController()
    const gone = fetch(`${gateway.url}${Api.prefix}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: abort.signal
    }).catch(() => undefined)
    await mesh.until("the claim waits", async () => await waiting() === 1)
    abort.abort()
    await gone
    if (!("claimId" in body)) await mesh.until("nothing waits", async () => await waiting() === 0)
  }
  assert.strictEqual(await waiting(), 1)
  ok(await post(`${path}/named/cancel`))
})

describe("live events", () => {
  it("through dropped connections, another gateway and a restarted one: each event once, in order", async () => {
    const before = Number(ok(await get("/workflows"))["seq"])
    const names = Array.from({ length: 12 }, (_, n) => `e-${n}`)
    const last = "e-last"
    let other = await startGateway()
    const runs = (async () => {
      for (const instanceId of names) {
        ok(
          await post("/workflows", { instanceId, ...inline("events", noop("a"), noop("b", ["a"]), shell("c", "true")) })
        )
      }
      for (const instanceId of names) await ended(instanceId)
      ok(await post("/workflows", { instanceId: last, ...inline("events", noop("a")) }))
      await ended(last)
    })()
    // one reader is interrupted again and again while runs go on, by every means
    const got: Array<Event> = []
    let cursor = String(before)
    for (let turn = 0;; turn++) {
      const from = turn % 2 === 0 ? gateway : other
      const part = await readEvents(from.url, "/events?kinds=run,task,entry", {
        lastEventId: cursor,
        isLast: isEndOf(last),
        most: 1 + turn * 7 % 23
      })
      got.push(...part.events.filter(({ event }) => event !== "hello"))
      cursor = part.lastEventId
      if (part.events.some(isEndOf(last))) break
      if (turn % 5 === 4) {
        await other.stop()
        other = await startGateway()
      }
    }
    await runs
    // the other reads it all afterwards, at once
    const whole = await readEvents(other.url, `/events?kinds=run,task,entry&after=${before}`, { isLast: isEndOf(last) })
    const plain = (events: ReadonlyArray<Event>) => events.map(({ data, event }) => ({ event, data }))
    assert.deepStrictEqual(plain(got), plain(whole.events.filter(({ event }) => event !== "hello")))
    for (const instance of names) {
      const states = got.filter(({ data, event }) => event === "run" && data["instanceId"] === instance)
        .map(({ data }) => data["state"])
      assert.deepStrictEqual(states, ["RUNNING", "SUCCEEDED"], instance)
    }
    // the journal has nothing else: entries are those of the history
    const entries = got.filter(({ data, event }) => event === "entry" && (data["entry"] as Json)["instance"] === "e-0")
    assert.deepStrictEqual(entries.map(({ data }) => data), itemsOf(ok(await get("/workflows/e-0/history"))))
    await other.stop()
  })

  it("claims and owners of one pool; runs of one instance; nothing else", async () => {
    const from = await readEvents(gateway.url, "/events?pool=default/quick", { most: 1 })
    ok(await post("/pools/default/quick/claims", { claimId: "seen-1", holder: "me" }))
    ok(await remove("/pools/default/quick/claims/seen-1"))
    const seen = await readEvents(gateway.url, "/events?pool=default/quick", {
      lastEventId: from.lastEventId,
      isLast: ({ data }) => data["kind"] === "Released"
    })
    assert.deepStrictEqual(
      seen.events.filter(({ event }) => event !== "hello").map((
        { data, event }
      ) => [event, data["kind"], data["claimId"]]),
      [["claim", "Claimed", "seen-1"], ["claim", "Released", "seen-1"]]
    )
    const one = await readEvents(gateway.url, "/events?instance=e-3&after=0", { isLast: isEndOf("e-3") })
    assert.sameMembers([...new Set(one.events.slice(1).map(({ data }) => data["instanceId"]))], ["e-3"])
  })

  it("a reader hears that the stream lives, and that the gateway ends", async () => {
    const quiet = await startGateway({ heartbeatMs: 50 })
    const response = await fetch(`${quiet.url}${Api.prefix}/events?instance=nobody`)
    let text = ""
    let stopped: Promise<void> | undefined
    for await (const value of textOf(response)) {
      text += value
      if (text.includes("\n: \n")) stopped ??= quiet.stop()
    }
    await stopped
    assert.match(text, /event: dropped\ndata: \{"reason":"this gateway is ending.*"cursor":"j\d+"\}\n\n$/)
  })
})

describe("the read model", () => {
  const all = async (url: string, query: string): Promise<ReadonlyArray<unknown>> => {
    const ids: Array<unknown> = []
    let next: unknown
    do {
      const page = ok(
        await get(`/workflows?${query}${next === undefined ? "" : `&next=${encodeURIComponent(String(next))}`}`, url)
      )
      ids.push(...itemsOf(page).map(({ instanceId }) => instanceId))
      next = page["next"]
    } while (next !== undefined)
    return ids
  }

  it("one that holds little is completed by the coordinators: the same lists, whatever is asked", async () => {
    await mesh.until("every run rests", async () => {
      const page = ok(await get("/workflows?state=SERIAL_WAIT,WAIT_TO_RUN,RUNNING,READY_PAUSE,READY_STOP,FAILOVER"))
      return itemsOf(page).length === 0
    })
    const small = await startGateway({ runsMax: 5 })
    const none = await startGateway({ journalBytes: 1 })
    assert.isString(ok(await get("/workflows", small.url))["since"])
    for (
      const query of [
        "limit=3",
        "limit=2&state=SUCCEEDED",
        "limit=4&state=STOPPED,FAILED,SUCCEEDED&prefix=e-",
        "definition=events&limit=5"
      ]
    ) {
      const wanted = await all(gateway.url, query)
      assert.isAbove(wanted.length, 1, query)
      assert.deepStrictEqual(await all(small.url, query), wanted, `runsMax 5: ${query}`)
      assert.deepStrictEqual(await all(none.url, query), wanted, `no journal: ${query}`)
    }
    // an old run that begins anew is new, also to those that do not hold its beginning
    ok(await post("/workflows/r-1/rerun"))
    await ended("r-1")
    for (const { url } of [gateway, small, none]) {
      await mesh.until("r-1 is the newest run", async () => {
        const newest = itemsOf(ok(await get("/workflows?limit=1", url)))[0]
        return newest?.["instanceId"] === "r-1" && (newest["definition"] as Json)["name"] === "one"
      })
    }
    await Promise.all([small.stop(), none.stop()])
  })
})

describe("who may ask", () => {
  it("with a token nothing of the API is answered without it", async () => {
    const guarded = await startGateway({ token: Redacted.make("s3cret") })
    const status = async (path: string, token?: string) =>
      (await fetch(
        `${guarded.url}${path}`,
        token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }
      ))
        .status
    const path = `${Api.prefix}/workflows`
    assert.deepStrictEqual(
      [await status(path), await status(path, "s3cre"), await status(path, "s3cret"), await status("/api/v1/nothing")],
      [401, 401, 200, 401]
    )
    assert.strictEqual(await status(`/%61pi/v1/workflows`), 401)
    assert.strictEqual(await status(`//api/v1/workflows`), 401)
    assert.deepStrictEqual(
      [await status("/"), await status("/livez"), await status(`${Api.prefix}/openapi.json`)],
      [200, 200, 200]
    )
    await guarded.stop()
  })

  it("a page of another web site may not, nor a name that is not the gateway's", async () => {
    const evil = await fetch(`${gateway.url}${Api.prefix}/workflows/r-1/stop`, {
      method: "POST",
      headers: { origin: "http://evil.example" }
    })
    assert.strictEqual(evil.status, 403)
    assert.isNull(evil.headers.get("access-control-allow-origin"))
    const own = await fetch(`${gateway.url}${Api.prefix}/info`, { headers: { origin: gateway.url } })
    assert.strictEqual(own.status, 200)
  })
})

it("every route was asked", () => {
  assert.deepStrictEqual(Api.routes.map(({ id }) => id).filter((id) => !asked.has(id)), [])
})
