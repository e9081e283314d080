/**
 * Bad input on every subject of the contract: what is no JSON, has wrong types, names what does not exist, is too large, comes twice with other content, or is plain noise.
 * Each request gets the contract's error; messages on streams are answered or put aside; the services go on, and work that was under way is finished.
 *
 * Runs against a mesh of its own, or against the one whose NATS server `HEDDLE_TEST_NATS_URL` names (it needs a pool `default/default` with two local sandboxes).
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import * as Nats from "../../shared/jetstream/Nats.ts"
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
  const answer = await Effect.runPromise(Effect.result(nats.request(subject, body, { timeoutMs: 10_000 })))
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
  ...(["release", "renew", "cancel", "get"] as const).map((verb) =>
    [Subject.rpc.pool(pool, verb), ["claimId"]] as const
  ),
  [Subject.rpc.pool(pool, "claim"), []],
  [Subject.rpc.pool(pool, "snapshot"), []],
  [Subject.rpc.pool(pool, "dequeue"), ["executor", "startup", "max", "waitMs"]],
  [Subject.rpc.pool(pool, "settle"), ["executor", "startup", "registered", "dropped", "returned", "released", "lost"]],
  [Subject.rpc.pool(pool, "withdraw"), ["instance", "taskInstanceIds"]],
  [Subject.rpc.pools("apply"), ["name", "provider", "size"]],
  [Subject.rpc.pools("list"), []],
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
  const until = performance.now() + 60_000
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
  if (given === undefined) mesh = await Mesh.start({ pools: [{ name: "default", provider: "local", size: 2 }] })
  const open = Nats.open({ url: given ?? mesh?.natsUrl ?? "", name: "bad-input" })
  nats = await Effect.runPromise(open.pipe(Scope.provide(scope)))
  const members = await processes()
  pids = members.map((one) => `${one.member} ${one.startup}`).join()
  coordinator = members.find((one) => one.role === "coordinator")?.member ?? MemberId.make("none")
  executor = members.find((one) => one.role === "task-executor")?.member ?? MemberId.make("none")
  const started = await ask(Subject.rpc.workflow("start"), { instanceId: "under-way", inline: running })
  assert.deepStrictEqual(started.body, { instanceId: "under-way" })
}, 120_000)
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  await mesh?.stop()
}, 60_000)

describe("requests", () => {
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
        // A request that needs nothing may be as lax as it likes, but for a claim: that one takes something.
        if (needs.length > 0 || subject.endsWith(".claim")) {
          assert.isTrue(code !== undefined && refusals.has(code), `${subject} ${body}: ${code}`)
        }
      }
    }
  }, 60_000)

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
  }, 60_000)

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
  }, 60_000)
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
        const stored = await Effect.runPromise(Effect.result(nats.request(subject, body, { timeoutMs: 10_000 })))
        assert.isTrue(Result.isSuccess(stored), `${subject} is taken by a stream`)
      }
    }
    // A request that is answered only after the same services have handled what came before.
    assert.strictEqual((await ask(Subject.rpc.workflow("get"), { instanceId: "none" })).code, "NoSuchInstance")
    assert.isUndefined((await ask(Subject.rpc.pool(pool, "snapshot"), {})).code)
  }, 60_000)

  it("a durable claim that is no claim is answered to who wants the answer", async () => {
    for (const body of ["nonsense", "{\"ttl\":\"soon\"}"]) {
      const inbox = nats.inbox()
      const answer = await Effect.runPromise(
        Effect.callback<string>((resume) => {
          const subscription = nats.subscribeUnsafe(inbox, (message) => resume(Effect.succeed(message.text)))
          nats.publish(Subject.claim(pool), body, { headers: { [Subject.header.replyTo]: inbox } })
          return Effect.sync(subscription.unsubscribe)
        }).pipe(Effect.timeout("10 seconds"))
      )
      assert.isTrue(hasError(JSON.parse(answer)), answer)
    }
  })
})

it(
  "noise: random bytes and broken messages on every subject, each request is answered with the contract's words",
  async () => {
    const seed = "bad-input-1"
    const noise = Effect.gen(function*() {
      const random = yield* Random.Random
      const byte = () => Math.floor(random.nextDoubleUnsafe() * 256)
      const bytes = () => Buffer.from(Array.from({ length: Math.floor(random.nextDoubleUnsafe() * 200) }, byte))
      /** A well-formed object with random values under the names that the contract knows. */
      const shuffled = (names: ReadonlyArray<string>) => {
        const values = [null, -1, 1e308, "", "x", [], {}, true, [[[]]], { a: { a: 1 } }, "\u0000", "9".repeat(400)]
        return JSON.stringify(Object.fromEntries(names.map((name) => [name, values[byte() % values.length]])))
      }
      return { bytes, shuffled }
    }).pipe(Random.withSeed(seed))
    const { bytes, shuffled } = await Effect.runPromise(noise)
    const codes = new Set(Object.keys(errorCodes))
    for (const [subject, needs] of requests()) {
      const bodies = Array.from(
        { length: 30 },
        (_, i) => i % 2 === 0 ? bytes() : Buffer.from(shuffled([...needs, "limit", "next", "ttl", "wait"]))
      )
      const answers = await Promise.all(bodies.map((body) => send(subject, body)))
      for (const { code } of answers) assert.isTrue(code === undefined || codes.has(code), `${subject} (seed ${seed})`)
    }
    for (const subject of streamed()) for (let i = 0; i < 30; i++) nats.publish(subject, bytes())
    assert.isTrue(await Effect.runPromise(nats.flush))
  },
  120_000
)

it("after all that: the same processes, the work under way is done, and new work is done", async () => {
  assert.strictEqual((await result("under-way")).state, "SUCCEEDED")
  const inline = {
    metadata: { name: "after" },
    spec: { tasks: [{ name: "one", type: "shell", with: { run: "true" } }] }
  }
  assert.isUndefined((await ask(Subject.rpc.workflow("start"), { instanceId: "after", inline })).code)
  assert.strictEqual((await result("after")).state, "SUCCEEDED")
  const claim = await ask(Subject.rpc.pool(pool, "claim"), { claimId: "after", deadline: "20s" })
  assert.strictEqual((claim.body as { readonly outcome?: string }).outcome, "Claimed", JSON.stringify(claim.body))
  assert.isUndefined((await ask(Subject.rpc.pool(pool, "release"), { claimId: "after" })).code)
  const now = await processes()
  assert.strictEqual(now.map((one) => `${one.member} ${one.startup}`).join(), pids)
}, 120_000)
