/**
 * Bad input on every subject of the contract: what is no JSON, has wrong types, names what does not exist, is too large, comes twice with other content, or is plain noise.
 * Each request gets the contract's error; messages on streams are answered or put aside; the services go on, and work that was under way is finished.
 *
 * Runs against a mesh of its own, or against the one whose NATS server `HEDDLE_TEST_NATS_URL` names (it needs a pool `default/default` with two local sandboxes).
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import * as Catalog from "../../infra/docs/Catalog.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { DefinitionList } from "../../shared/protocol/Definition.ts"
import { ErrorAnswer, type ErrorCode, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import { MemberList } from "../../shared/protocol/Member.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import {
  ClaimId,
  InstanceId,
  MemberId,
  Namespace,
  PoolName,
  Shard,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"
import type { WorkflowResult } from "../../shared/protocol/Workflow.ts"
import { Mesh } from "../e2e/Mesh.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("default") }
const scope = Scope.makeUnsafe()
let mesh: Mesh | undefined
let nats: Nats.Connection
let coordinator: MemberId
let executor: MemberId
let pids = ""

interface Answer {
  /** `undefined`: nobody answers on this subject. */
  readonly body: unknown
  /** The contract's code, also of a claim's result that holds an error; `undefined` when it was accepted. */
  readonly code: ErrorCode | undefined
}

const ErrorWithin = Schema.Struct({ error: ErrorAnswer.fields.error })
const errorWithin = Schema.decodeUnknownResult(ErrorWithin)
const hasError = (body: unknown): boolean => typeof body === "object" && body !== null && "error" in body

const send = async (subject: string, body: string | Uint8Array): Promise<Answer> => {
  const answer = await Effect.runPromise(Effect.result(nats.request(subject, body, { timeoutMs: 60_000 })))
  if (Result.isFailure(answer)) {
    assert.strictEqual(answer.failure._tag, "NoResponders", `${subject}: ${answer.failure.message}`)
    return { body: undefined, code: undefined }
  }
  const { text } = answer.success
  const parsed: unknown = JSON.parse(text)
  if (!hasError(parsed)) return { body: parsed, code: undefined }
  const decoded = errorWithin(parsed)
  assert.isTrue(Result.isSuccess(decoded), `${subject}: an error that is not the contract's: ${text.slice(0, 300)}`)
  const code = Result.isSuccess(decoded) ? decoded.success.error.code : "Internal"
  assert.notStrictEqual(code, "Internal", `${subject}: ${text.slice(0, 500)}`)
  return { body: parsed, code }
}
const ask = (subject: string, body: unknown): Promise<Answer> => send(subject, JSON.stringify(body))

/** Every request of the contract that a service answers, with what its body must at least hold. */
const requests = (): ReadonlyArray<readonly [subject: string, needs: ReadonlyArray<string>]> => [
  [Subject.rpc.definition("put"), ["metadata", "spec"]],
  [Subject.rpc.definition("validate"), ["metadata", "spec"]],
  [Subject.rpc.definition("get"), ["name"]],
  [Subject.rpc.definition("list"), []],
  [Subject.rpc.definition("delete"), ["name"]],
  [Subject.rpc.workflow("start"), []],
  ...Subject.workflowVerbs.flatMap((verb): ReadonlyArray<readonly [string, ReadonlyArray<string>]> =>
    verb === "start" || verb === "list" ? [] : [[Subject.rpc.workflow(verb), ["instanceId"]]]
  ),
  [Subject.rpc.workflow("list"), []],
  ...(["release", "renew", "cancel", "get", "pause", "resume"] as const).map((verb) =>
    [Subject.rpc.pool(pool, verb), ["claimId"]] as const
  ),
  [Subject.rpc.pool(pool, "claim"), []],
  [Subject.rpc.pool(pool, "snapshot"), []],
  [Subject.rpc.pool(pool, "dequeue"), ["executor", "startup", "max", "waitMs"]],
  [Subject.rpc.pool(pool, "settle"), ["executor", "startup", "registered", "dropped", "returned", "released", "lost"]],
  [Subject.rpc.pool(pool, "withdraw"), ["instance", "taskInstanceIds"]],
  [Subject.rpc.pools("apply"), ["name", "provider"]],
  [Subject.rpc.pools("scale"), ["name"]],
  [Subject.rpc.pools("delete"), ["name"]],
  [Subject.rpc.pools("list"), []],
  [Subject.rpc.env("default", "noise"), []],
  [Subject.rpc.envs("apply"), ["name"]],
  [Subject.rpc.envs("delete"), ["name"]],
  [Subject.rpc.envs("list"), []],
  [Subject.rpc.group("get"), ["name"]],
  [Subject.rpc.group("set"), ["name"]],
  [Subject.rpc.group("prioritize"), ["name", "instanceId", "task", "priority"]],
  [Subject.rpc.group("list"), []],
  [Subject.rpc.schedule("put"), ["metadata", "spec"]],
  ...(["get", "delete", "pause", "resume", "trigger"] as const).map((verb) =>
    [Subject.rpc.schedule(verb), ["name"]] as const
  ),
  [Subject.rpc.schedule("preview"), []],
  [Subject.rpc.schedule("list"), []],
  [Subject.rpc.backfill("start"), ["metadata", "spec"]],
  [Subject.rpc.backfill("get"), ["name"]],
  [Subject.rpc.backfill("stop"), ["name"]],
  [Subject.rpc.backfill("list"), []],
  [Subject.rpc.memberList, []],
  [Subject.rpc.failoverList, []],
  [Subject.member(coordinator, "register"), ["registrations"]],
  [Subject.member(coordinator, "facts"), ["facts"]],
  [Subject.member(coordinator, "job-state"), ["jobs"]],
  [Subject.member(executor, "control"), ["kind", "owner", "tasks"]]
]

const shard = Shard.make(0)
const instance = InstanceId.make("nobody-knows-it")
/** Streams that clients or services publish to. Not the journal and not a pool's events: only their one writer may (nats permissions), and a stranger's message there ends it. */
const streamed = (): ReadonlyArray<string> => [
  Subject.command(shard, instance),
  Subject.claim(pool),
  Subject.claim({ namespace: pool.namespace, name: PoolName.make("no-such-pool") }),
  ...(["ready", "commit", "cleanup"] as const).map((name) => Subject.lane(pool, name)),
  Subject.claimResult(pool, ClaimId.make("no-such-claim")),
  Subject.logs(instance, TaskInstanceId.make("a:1:1")),
  Subject.history(shard, instance),
  Subject.system("NO_SUCH_KIND"),
  Subject.system("MASTER_FAILOVER")
]

const notJson = ["{", "nonsense", "{\"a\":}", "\u0000", Buffer.from([0xff, 0xfe, 0x00, 0x80]), "{} {}"]
const fiveMegabytes = JSON.stringify({ holder: "x".repeat(5_000_000) })
const badNames = ["with.dot", "star*", ">", "a b", "", "../x", "ä", "x".repeat(10_000), "a\r\nb"]

const running = {
  metadata: { name: "under-way" },
  spec: { tasks: [{ name: "long", type: "shell", with: { run: "sleep 8; echo done=yes >> \"$HEDDLE_OUTPUTS\"" } }] }
}
const result = async (instanceId: string): Promise<WorkflowResult> => {
  const until = performance.now() + 120_000
  for (;;) {
    const { body, code } = await ask(Subject.rpc.workflow("result"), { instanceId, wait: "5s" })
    // The contract's own schema describes what is not an error.
    if (code === undefined && body !== undefined) return body as WorkflowResult
    if (performance.now() > until) throw new Error(`no result of ${instanceId}: ${JSON.stringify(body)}`)
  }
}
const processes = async (): Promise<ReadonlyArray<(typeof MemberList.Type)["items"][number]>> =>
  Schema.decodeUnknownSync(MemberList)((await ask(Subject.rpc.memberList, {})).body).items

beforeAll(async () => {
  const { HEDDLE_TEST_NATS_URL: given } = process.env
  if (given === undefined) {
    mesh = await Mesh.start({ ttl: "60s", pools: [{ name: "default", provider: "local", size: 2 }] })
  }
  const open = Nats.open({ url: given ?? mesh?.natsUrl ?? "", name: "bad-input" })
  nats = await Effect.runPromise(open.pipe(Scope.provide(scope)))
  const members = await processes()
  pids = members.map((one) => `${one.member} ${one.startup}`).join()
  coordinator = members.find((one) => one.role === "coordinator")?.member ?? MemberId.make("none")
  executor = members.find((one) => one.role === "task-executor")?.member ?? MemberId.make("none")
  const started = await ask(Subject.rpc.workflow("start"), { instanceId: "under-way", inline: running })
  assert.deepStrictEqual(started.body, { instanceId: "under-way" })
}, 180_000)
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await mesh?.stop()
}, 180_000)

/** Of the list and of the reference: any pool is as good as another, and what only services send is not for the reference. */
const pattern = (subject: string): string => subject.replace(/^(heddle\.rpc\.(?:pool|env))\.[^.]+\.[^.]+\./, "$1.*.*.")
const isBetweenServices = /\.(dequeue|settle|withdraw)$/

describe("requests", () => {
  it("the list above, the reference and the services name the same requests", async () => {
    const listed = requests().map(([subject]) => pattern(subject)).filter((subject) =>
      subject.startsWith("heddle.rpc.")
    )
    const answers = (await answered()).map(pattern).filter((subject) => subject.startsWith("heddle.rpc."))
    assert.sameMembers([...new Set(answers)], listed)
    // agents in sandboxes answer below heddle.sandbox.
    // what an agent in a sandbox answers is on its own subjects (test/contract/sandbox/agent)
    const documented = Catalog.rpcs.flatMap(({ items }) => items.map(({ subject }) => pattern(subject)))
      .filter((subject) => subject.startsWith("heddle.rpc."))
      .filter((subject) => subject.startsWith("heddle.rpc."))
    assert.sameMembers(documented, listed.filter((subject) => !isBetweenServices.test(subject)))
  })

  it("what is no JSON is InvalidJson, on every subject", async () => {
    for (const [subject] of requests()) {
      for (const body of notJson) {
        assert.strictEqual((await send(subject, body)).code, "InvalidJson", `${subject} ${JSON.stringify(body)}`)
      }
    }
  })

  it("a body of 5 MB is PayloadTooLarge, on every subject", async () => {
    for (const [subject] of requests()) {
      assert.strictEqual((await send(subject, fiveMegabytes)).code, "PayloadTooLarge", subject)
    }
  })

  it("a field that is missing or of the wrong type is named", async () => {
    const refusals = new Set<ErrorCode>(["InvalidMessage", "InvalidDefinition"])
    for (const [subject, needs] of requests()) {
      for (const name of needs) {
        for (const body of [{}, { [name]: { not: ["this"] } }, Object.fromEntries(needs.map((one) => [one, null]))]) {
          const { body: answer, code } = await ask(subject, body)
          assert.isTrue(
            code !== undefined && refusals.has(code),
            `${subject} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`
          )
          assert.include(JSON.stringify(answer), name, subject)
        }
      }
      for (const body of ["null", "[1]", "\"text\"", "5", "true"]) {
        const { code } = await send(subject, body)
        assert.isTrue(code !== undefined && refusals.has(code), `${subject} ${body}: ${code}`)
      }
    }
  }, 180_000)

  it("names with dots, wildcards, blanks or 10 kB are refused with the field that holds them", async () => {
    const fields: ReadonlyArray<readonly [string, string, (name: string) => unknown]> = [
      [Subject.rpc.workflow("get"), "instanceId", (name) => ({ instanceId: name })],
      [Subject.rpc.workflow("start"), "instanceId", (name) => ({ instanceId: name, inline: running })],
      [Subject.rpc.workflow("start"), "definition", (name) => ({ definition: name })],
      [Subject.rpc.definition("get"), "name", (name) => ({ name })],
      [Subject.rpc.definition("put"), "metadata.name", (name) => ({ ...running, metadata: { name } })],
      [Subject.rpc.pool(pool, "claim"), "claimId", (name) => ({ claimId: name })],
      [Subject.rpc.pool(pool, "claim"), "team", (name) => ({ team: name })],
      [Subject.rpc.pool(pool, "get"), "claimId", (name) => ({ claimId: name })],
      [Subject.rpc.pools("apply"), "name", (name) => ({ name, provider: "local", size: 1 })]
    ]
    for (const [subject, path, bodyOf] of fields) {
      for (const name of badNames) {
        const { body, code } = await ask(subject, bodyOf(name))
        assert.isTrue(
          code === "InvalidMessage" || code === "InvalidDefinition" || code === "InvalidName",
          `${subject} ${path} ${JSON.stringify(name).slice(0, 40)}: ${JSON.stringify(body).slice(0, 300)}`
        )
        assert.include(JSON.stringify(body), path.slice(path.indexOf(".") + 1), subject)
        assert.isBelow(JSON.stringify(body).length, 4_000, `${subject}: the answer repeats the name`)
      }
    }
  }, 180_000)

  it("names in the subject are checked too", async () => {
    for (const token of ["no$such", "a;b", "x".repeat(1_000)]) {
      const { code } = await ask(`heddle.rpc.pool.default.${token}.claim`, {})
      assert.strictEqual(code, "InvalidName", token.slice(0, 20))
    }
  })

  it("what does not exist has its own code", async () => {
    const nowhere = { namespace: pool.namespace, name: PoolName.make("nowhere") }
    for (const verb of ["snapshot", "claim"] as const) {
      assert.strictEqual((await ask(Subject.rpc.pool(nowhere, verb), {})).code, "NoSuchPool", verb)
    }
    for (const verb of ["release", "renew", "cancel", "get"] as const) {
      assert.strictEqual((await ask(Subject.rpc.pool(nowhere, verb), { claimId: "c1" })).code, "NoSuchPool", verb)
      assert.strictEqual((await ask(Subject.rpc.pool(pool, verb), { claimId: "c-none" })).code, "NoSuchClaim", verb)
    }
    for (const verb of ["get", "delete"] as const) {
      assert.strictEqual((await ask(Subject.rpc.definition(verb), { name: "none" })).code, "NoSuchDefinition", verb)
    }
    assert.strictEqual((await ask(Subject.rpc.workflow("start"), { definition: "none" })).code, "NoSuchDefinition")
    for (const verb of ["get", "result", "history", "pause", "resume", "stop", "rerun", "recover"] as const) {
      const { code } = await ask(Subject.rpc.workflow(verb), { instanceId: "none", wait: "1s" })
      assert.strictEqual(code, "NoSuchInstance", verb)
    }
  })

  it("a definition's problems are listed all at once, by put, validate and an inline start", async () => {
    const task = (name: string, ...dependsOn: ReadonlyArray<string>) => ({ name, type: "noop", dependsOn })
    const broken = {
      metadata: { name: "broken" },
      spec: {
        tasks: [
          task("a", "c"),
          task("b", "a"),
          task("c", "b"),
          task("twice"),
          task("twice"),
          task("d", "missing"),
          task("e", "gone")
        ]
      }
    }
    const answers = [
      await ask(Subject.rpc.definition("put"), broken),
      await ask(Subject.rpc.definition("validate"), broken),
      await ask(Subject.rpc.workflow("start"), { inline: broken })
    ]
    for (const { body, code } of answers) {
      assert.strictEqual(code, "InvalidDefinition", JSON.stringify(body))
      const text = JSON.stringify(body)
      for (const word of ["cycle", "twice", "missing", "gone"]) assert.include(text, word)
    }
  })

  it("problems of a definition's structure and of its graph in one answer, each with path and what was found", async () => {
    const broken = {
      metadata: { name: "broken" },
      spec: {
        priority: 11,
        tasks: [
          { name: "a/b", type: "noop" },
          { name: "c", type: "noop", dependsOn: ["gone"], delay: "soon" },
          { name: "how", type: "switch", with: { cases: [{ when: "1 +", next: "c" }] } }
        ]
      }
    }
    for (const verb of ["put", "validate"] as const) {
      const { body } = await ask(Subject.rpc.definition(verb), broken)
      const { error } = body as {
        readonly error: { readonly details: ReadonlyArray<Record<"path" | "value", unknown>> }
      }
      assert.sameMembers(error.details.map(({ path }) => path), [
        "spec.priority",
        "spec.tasks[0].name",
        "spec.tasks[1].delay",
        "spec.tasks[1].dependsOn[0]",
        "spec.tasks[2].with.cases[0].when",
        "spec.tasks[2].with.cases[0].next"
      ], JSON.stringify(error))
      assert.strictEqual(error.details.find(({ path }) => path === "spec.priority")?.value, 11)
    }
  })

  it("a start from a task that is none is refused, with the name", async () => {
    const { body, code } = await ask(Subject.rpc.workflow("start"), { inline: running, startNodes: ["long", "gone"] })
    assert.strictEqual(code, "InvalidMessage")
    assert.nestedPropertyVal(body, "error.path", "startNodes[1]")
    assert.nestedPropertyVal(body, "error.message", "gone is no task of under-way")
  })

  it("a definition is deleted with all its versions, never one that somebody named", async () => {
    const put = await ask(Subject.rpc.definition("put"), { ...running, metadata: { name: "kept" } })
    assert.nestedPropertyVal(put.body, "version", 1)
    const { body, code } = await ask(Subject.rpc.definition("delete"), { name: "kept", version: 1 })
    assert.strictEqual(code, "InvalidMessage")
    assert.nestedPropertyVal(body, "error.path", "version")
    const listed = Schema.decodeUnknownSync(DefinitionList)((await ask(Subject.rpc.definition("list"), {})).body)
    const kept = listed.items.find(({ name }) => name === "kept")
    assert.strictEqual(kept?.version, 1)
    assert.match(kept?.createdAt ?? "", /^\d{4}-.*Z$/)
    const deleted = await ask(Subject.rpc.definition("delete"), { name: "kept" })
    assert.deepStrictEqual(deleted.body, { name: "kept", version: 1 })
    assert.strictEqual((await ask(Subject.rpc.definition("get"), { name: "kept" })).code, "NoSuchDefinition")
  })

  it("the same id with other content: Conflict for a workflow, never a second sandbox for a claim", async () => {
    const inline = (run: string) => ({
      metadata: { name: "same" },
      spec: { tasks: [{ name: "one", type: "shell", with: { run } }] }
    })
    const first = { instanceId: "same-id", inline: inline("true") }
    assert.deepStrictEqual((await ask(Subject.rpc.workflow("start"), first)).body, { instanceId: "same-id" })
    assert.deepStrictEqual((await ask(Subject.rpc.workflow("start"), first)).body, { instanceId: "same-id" })
    const other = await ask(Subject.rpc.workflow("start"), { ...first, inline: inline("false") })
    assert.strictEqual(other.code, "Conflict")
    assert.strictEqual((await result("same-id")).state, "SUCCEEDED")

    const claimed = (answer: Answer) => JSON.stringify((answer.body as { readonly sandbox?: unknown }).sandbox)
    const claim = await ask(Subject.rpc.pool(pool, "claim"), { claimId: "same-claim", ttl: "60s" })
    const again = await ask(Subject.rpc.pool(pool, "claim"), { claimId: "same-claim", ttl: "90s", holder: "other" })
    assert.isTrue(again.code === "Conflict" || claimed(again) === claimed(claim), JSON.stringify([claim, again]))
    assert.isUndefined((await ask(Subject.rpc.pool(pool, "release"), { claimId: "same-claim" })).code)
  }, 180_000)
})

describe("streams", () => {
  it("bad messages on every stream subject are put aside, and the services go on", async () => {
    // None of them is a message of any of the subjects; `{}` would be a good claim.
    const bodies = [
      ...notJson,
      "null",
      "[]",
      "{\"claimId\":5}",
      "{\"_tag\":\"Fact\",\"claimId\":5}",
      "{\"owner\":7,\"groups\":\"x\",\"ttl\":true}",
      fiveMegabytes
    ]
    for (const subject of streamed()) {
      for (const body of bodies) {
        const stored = await Effect.runPromise(Effect.result(nats.request(subject, body, { timeoutMs: 60_000 })))
        assert.isTrue(Result.isSuccess(stored), `${subject} is taken by a stream`)
      }
    }
    // A request that is answered only after the same services have handled what came before.
    assert.strictEqual((await ask(Subject.rpc.workflow("get"), { instanceId: "none" })).code, "NoSuchInstance")
    assert.isUndefined((await ask(Subject.rpc.pool(pool, "snapshot"), {})).code)
  }, 180_000)

  it("a durable claim that is no claim is answered to who wants the answer", async () => {
    for (const body of ["nonsense", "{\"ttl\":\"soon\"}"]) {
      const inbox = nats.inbox()
      const answer = await Effect.runPromise(
        Effect.callback<string>((resume) => {
          const subscription = nats.subscribeUnsafe(inbox, (message) => resume(Effect.succeed(message.text)))
          nats.publish(Subject.claim(pool), body, { headers: { [Subject.header.replyTo]: inbox } })
          return Effect.sync(subscription.unsubscribe)
        }).pipe(Effect.timeout("60 seconds"))
      )
      assert.isTrue(hasError(JSON.parse(answer)), answer)
    }
  })
})

// ------------------------------------------------------------------------------------------------- noise, with smallest failing cases

type Encodable = Schema.Codec<unknown, unknown>
/** Every message that shared/protocol describes: a new one is in it by itself. */
const schemas = async (): Promise<ReadonlyArray<readonly [name: string, schema: Encodable]>> => {
  const folder = join(import.meta.dirname, "../../shared/protocol")
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts")).toSorted()
  const modules = await Promise.all(files.map((file) => import(join(folder, file)) as Promise<Record<string, unknown>>))
  return modules.flatMap((module, at) =>
    Object.entries(module).flatMap(([name, value]) =>
      Schema.isSchema(value) && (value.ast._tag === "Objects" || value.ast._tag === "Union")
        ? [[`${files[at]}:${name}`, Schema.toEncoded(value) as unknown as Encodable] as const] // as JSON it needs no services
        : []
    )
  )
}

const token = (pattern: string, at: number, pool: string): string =>
  pattern.startsWith("heddle.wf") || pattern.startsWith("heddle.archive") ?
    at === 2 ? "0" : "noise"
    : at === 2 && pattern.includes(".pool.") || at === 3 && pattern.includes(".rpc.")
    ? "default"
    : pool
/** A subject of this form. */
const filled = (pattern: string, pool: string): string =>
  pattern.split(".").map((part, at) => part === "*" || part === ">" ? token(pattern, at, pool) : part).join(".")

const Info = Schema.Struct({ endpoints: Schema.Array(Schema.Struct({ subject: Schema.String })) })
const decodeInfo = Schema.decodeUnknownSync(Schema.fromJsonString(Info))
/** Every request that some service of the mesh answers, as the services themselves tell (`nats micro info`): a new one is in it by itself. */
const answered = (): Promise<ReadonlyArray<string>> =>
  Effect.runPromise(
    Effect.gen(function*() {
      const found = new Set<string>()
      let count = 0
      const inbox = nats.inbox()
      yield* nats.subscribe(inbox, (message) => {
        count++
        for (const { subject } of decodeInfo(message.text).endpoints) found.add(filled(subject, "noise"))
      })
      nats.publish("$SRV.INFO", "", { reply: inbox })
      // each member is a service of its own
      const all = pids.split(",").length
      yield* Effect.repeat(Effect.sync(() => count >= all), { until: (isAll) => isAll, schedule: Schedule.spaced(10) })
      return [...found].toSorted()
    }).pipe(Effect.scoped)
  )
/** Every subject that a stream takes. `nowhere`: where only the one writer of a subject may write, it is a subject without one. */
const taken = (): ReadonlyArray<string> =>
  Streams.definitions().flatMap(({ name, subjects }) =>
    subjects.map((pattern) =>
      name.startsWith("KV_")
        ? pattern.replace(">", "noise")
        : filled(pattern, pattern.endsWith(".event") ? "nowhere" : "noise")
    )
  )

const Edit = Schema.Struct({
  kind: Schema.Literals(["drop", "replace", "rename", "cut", "flip", "double"]),
  at: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 10_000 })),
  value: Schema.Json
})
/** Where a JSON value can be changed: each object and array in it, with one of its keys. */
const places = (value: unknown): ReadonlyArray<readonly [Record<string, unknown>, string]> =>
  typeof value !== "object" || value === null ? [] : Object.keys(value).flatMap((key) => {
    const holder = value as Record<string, unknown> // an array is changed by its indexes
    return [[holder, key] as const, ...places(holder[key])]
  })
/** A message after edits: of its values, then of its bytes. */
const edited = (message: unknown, edits: ReadonlyArray<typeof Edit.Type>): Uint8Array => {
  const copy: Record<string, unknown> = { root: structuredClone(message) }
  for (const { at, kind, value } of edits) {
    const all = places(copy)
    const [holder, key] = all[at % all.length] ?? [copy, "root"]
    if (kind === "drop") delete holder[key]
    else if (kind === "replace") holder[key] = value
    else if (kind === "rename") {
      holder[`${key}x`] = holder[key]
      delete holder[key]
    }
  }
  let bytes = Buffer.from(JSON.stringify(copy["root"]) ?? "")
  for (const { at, kind } of edits) {
    if (bytes.length === 0) break
    if (kind === "cut") bytes = bytes.subarray(0, at % bytes.length)
    else if (kind === "double") bytes = Buffer.concat([bytes, bytes])
    else if (kind === "flip") bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ (1 << (at % 8))
  }
  return bytes
}
const byte = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))
/** Random bytes, random JSON, a message as it should be, and one after some edits. */
const bodies = (of: ReadonlyArray<Encodable>): ReadonlyArray<Arbitrary.Arbitrary<Uint8Array>> => [
  Arbitrary.array(Arbitrary.schema(byte), { maxLength: 200 }).pipe(Arbitrary.map((bytes) => Uint8Array.from(bytes))),
  Arbitrary.schema(Schema.Json).pipe(Arbitrary.map((value) => Buffer.from(JSON.stringify(value)))),
  ...of.flatMap((schema) => {
    const message = Arbitrary.schema(schema)
    const edits = Arbitrary.array(Arbitrary.schema(Edit), { minLength: 1, maxLength: 4 })
    return [
      message.pipe(Arbitrary.map((value) => edited(value, []))),
      Arbitrary.all([message, edits]).pipe(Arbitrary.map(([value, list]) => edited(value, list)))
    ]
  })
]
/** Fails with the subject and the smallest bytes that do it. */
const holds = (
  subject: string,
  body: Arbitrary.Arbitrary<Uint8Array>,
  property: (bytes: Uint8Array) => Promise<void>,
  runs: number
): Promise<void> =>
  Effect.runPromise(
    Arbitrary.checkEffect(
      body,
      (bytes) => Effect.as(Effect.tryPromise({ try: () => property(bytes), catch: (cause) => String(cause) }), true),
      { runs, size: 12, maxShrinks: 300 }
    ).pipe(Effect.map((result) => {
      if (result._tag === "Falsified") {
        const bytes = Buffer.from(result.shrunkInput)
        assert.fail(
          `${subject} with ${JSON.stringify(bytes.toString())} (hex ${bytes.toString("hex")}): ${
            result.failure._tag === "PropertyError" ? result.failure.error : "false"
          }\nreplay ${result.replay}`
        )
      }
      assert.strictEqual(result._tag, "Passed", subject)
    }))
  )

const codes = new Set(Object.keys(errorCodes))
/** These may hold an answer back: a claim until its deadline, an executor's question until there is work, a result until the run ends. */
const mayWait = /\.(claim|dequeue|result)$/
const refusals = new Set<string | undefined>(["InvalidJson", "InvalidMessage", "InvalidDefinition", "InvalidName"])

/** The contract's code of the answer; `undefined` when it was accepted or is held back. */
const codeOf = async (subject: string, body: Uint8Array): Promise<string | undefined> => {
  const timeoutMs = mayWait.test(subject) ? 250 : 60_000
  const answer = await Effect.runPromise(Effect.result(nats.request(subject, body, { timeoutMs })))
  if (Result.isFailure(answer)) {
    if (answer.failure._tag === "RequestTimeout" && mayWait.test(subject)) return undefined
    throw new Error(answer.failure.message)
  }
  const parsed: unknown = JSON.parse(answer.success.text)
  if (!hasError(parsed)) return undefined
  const decoded = errorWithin(parsed)
  if (Result.isFailure(decoded)) throw new Error(`not the contract's error: ${answer.success.text.slice(0, 300)}`)
  const { code, message } = decoded.success.error
  if (code === "Internal" || !codes.has(code)) throw new Error(`${code}: ${message.slice(0, 500)}`)
  return code
}
/** Who does not answer, and what the processes that have ended said; `undefined`: all services are there. */
const down = async (): Promise<string | undefined> => {
  const probes = [[Subject.rpc.workflow("get"), { instanceId: "none" }, "NoSuchInstance"], [
    Subject.rpc.pool(pool, "snapshot"),
    {},
    undefined
  ], [Subject.rpc.memberList, {}, undefined]] as const
  for (const [subject, body, wanted] of probes) {
    const code = await codeOf(subject, Buffer.from(JSON.stringify(body))).catch(String)
    if (code === wanted) continue
    const ended = await Promise.race([mesh?.died.catch(String), Promise.resolve("no process has ended")])
    return `${subject}: ${code}; ${ended}`
  }
  return undefined
}

describe("noise", () => {
  it("a failing case is told with its subject and the smallest bytes that do it", async () => {
    const [bytes = Arbitrary.Constant(new Uint8Array())] = bodies([])
    const failure = await holds(
      "heddle.rpc.x",
      bytes,
      (body) => body.includes(0x7b) ? Promise.reject(new Error("ends the service")) : Promise.resolve(),
      10_000
    )
      .then(() => "", String)
    assert.include(failure, "heddle.rpc.x with \"{\" (hex 7b): Error: ends the service")
  })

  it("on every request: an answer of the contract", async () => {
    await ask(Subject.rpc.pools("apply"), { name: "noise", provider: "simulated", size: 2, queueLengthMax: 4 })
    const known = [
      ...requests().map(([subject]) => subject.replace(".default.default.", ".default.noise.")),
      Subject.rpc.env("default", "noise")
    ]
    const subjects = [...new Set([...await answered(), ...known])].toSorted()
    for (const verb of Subject.workflowVerbs) assert.include(subjects, Subject.rpc.workflow(verb))
    const messages = await schemas()
    assert.isAbove(messages.length, 50)
    const samples = await Promise.all(
      messages.map(async ([, schema]) => {
        const [one] = await Effect.runPromise(Arbitrary.sampleEffect(Arbitrary.schema(schema), { count: 1, seed: 7 }))
        return Buffer.from(JSON.stringify(one))
      })
    )
    for (const subject of subjects) {
      if (
        await codeOf(subject, Buffer.from("{")).then(
          () => false,
          (error: unknown) => /nobody answers/.test(String(error))
        )
      ) continue
      // which of the contract's messages this subject takes is found by sending it one of each
      const fitting: Array<Encodable> = []
      if (!mayWait.test(subject)) {
        const found = await Promise.all(samples.map((body) => codeOf(subject, body)))
        for (const [at, [, schema]] of messages.entries()) if (!refusals.has(found[at])) fitting.push(schema)
      } else {
        for (const [name, schema] of messages) {
          if (/:(ClaimRequest|DequeueRequest|ResultRequest)$/.test(name)) fitting.push(schema)
        }
      }
      for (const body of bodies(fitting.slice(0, 4))) {
        await holds(subject, body, async (bytes) => void await codeOf(subject, bytes), mayWait.test(subject) ? 4 : 10)
      }
    }
    assert.isUndefined(await down())
  }, 180_000)

  it("on every subject of a stream: put aside, and the services go on", async () => {
    const messages = (await schemas()).map(([, schema]) => schema)
    const own = messages.filter((_, at) => at % 7 === 0)
    for (const subject of taken()) {
      for (const body of bodies(own).slice(0, 8)) {
        await holds(subject, body, async (bytes) => {
          if (await down() !== undefined) return // an earlier case did it: that one is told
          await Effect.runPromise(Effect.result(nats.request(subject, bytes, { timeoutMs: 60_000 })))
          assert.isUndefined(await down())
        }, 4)
      }
    }
    // nothing that cannot be handled stays in the way (a claim that can be made of noise waits for its sandbox)
    await Effect.runPromise(
      Read.lastMessage(nats, Streams.name.commands, "heddle.wf.0.noise.cmd").pipe(
        Effect.filterOrFail((last) => last._tag === "None", () => ({ _tag: "StillThere" as const })),
        Effect.retry({ times: 900, schedule: Schedule.spaced(100) })
      )
    )
  }, 180_000)
})

it("after all that: the same processes, the work under way is done, and new work is done", async () => {
  assert.strictEqual((await result("under-way")).state, "SUCCEEDED")
  const inline = {
    metadata: { name: "after" },
    spec: { tasks: [{ name: "one", type: "shell", with: { run: "true" } }] }
  }
  assert.isUndefined((await ask(Subject.rpc.workflow("start"), { instanceId: "after", inline })).code)
  assert.strictEqual((await result("after")).state, "SUCCEEDED")
  const claim = await ask(Subject.rpc.pool(pool, "claim"), { claimId: "after", deadline: "50s" })
  assert.strictEqual((claim.body as { readonly outcome?: string }).outcome, "Claimed", JSON.stringify(claim.body))
  assert.isUndefined((await ask(Subject.rpc.pool(pool, "release"), { claimId: "after" })).code)
  const now = await processes()
  assert.strictEqual(now.map((one) => `${one.member} ${one.startup}`).join(), pids)
}, 180_000)
