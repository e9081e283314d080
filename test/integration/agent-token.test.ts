/**
 * A token of one sandbox on a real nats-server with JWT authentication: what it reaches, and that it reaches nothing else. design/04 section 1, docs/design/kubernetes.md "Agent mode".
 */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as AgentToken from "../../shared/jetstream/AgentToken.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import { agentBase, agentInbox, agentSubject } from "../../shared/protocol/SandboxAgent.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import * as SignedBroker from "./SignedBroker.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }
const a = agentBase(pool, "web-1-0")
const b = agentBase(pool, "web-1-1")

/** The mesh's own connection, and one with the token of sandbox A. */
const opened = Effect.gen(function*() {
  const server = yield* SignedBroker.scoped
  const mesh = yield* Nats.open({ url: server.url, name: "mesh", credentialsText: server.credentials })
  const tokens = AgentToken.make({ seed: server.seed, account: server.account })
  const agent = yield* Effect.flatMap(
    tokens.issue(a, 60_000),
    (token) =>
      Nats.open({ url: server.url, name: "a", credentialsText: Redacted.value(token), inboxPrefix: agentInbox(a) })
  )
  return { server, mesh, agent, tokens }
})

/** True: what is published on `subject` by `from` arrives at `to`. A second message that surely arrives tells when the first would have. */
const arrives = (from: Nats.Connection, to: Nats.Connection, subject: string, sure: string) =>
  Effect.gen(function*() {
    const seen = yield* Deferred.make<boolean>()
    yield* to.subscribe(subject, () => Deferred.doneUnsafe(seen, Effect.succeed(true)))
    yield* to.subscribe(sure, () => Deferred.doneUnsafe(seen, Effect.succeed(false)))
    from.publish(subject, "x")
    from.publish(sure, "x")
    return yield* Effect.timeout(Deferred.await(seen), 5_000)
  }).pipe(Effect.scoped)

it.live("an agent hears its own sandbox's requests, answers them, and tells", () =>
  Effect.gen(function*() {
    const { agent, mesh } = yield* opened
    yield* agent.subscribe(agentSubject.hello(a), (message) => message.respond("here"))
    assert.strictEqual((yield* mesh.request(agentSubject.hello(a), "")).text, "here")
    assert.isTrue(yield* arrives(agent, mesh, agentSubject.output(a, "e1"), "nothing.else"))
    assert.isTrue(yield* arrives(mesh, agent, agentSubject.input(a, "e1"), `${a}.to.sure`))
  }), 30_000)

it.live(
  "it publishes nowhere else: no other sandbox, no command, journal, lane, fact, JetStream API, or inbox",
  () =>
    Effect.gen(function*() {
      const { agent, mesh } = yield* opened
      const sure = agentSubject.output(a, "sure")
      for (
        const subject of [
          agentSubject.output(b, "e1"),
          agentSubject.exec(b),
          agentSubject.exec(a),
          agentSubject.input(a, "e1"),
          "heddle.sandbox.default.boxes.web-1-0",
          "heddle.journal.c-1",
          "heddle.wf.0.i.cmd",
          "heddle.member.coordinator-1.facts",
          "heddle.member.executor-1.control",
          "heddle.rpc.workflow.start",
          "heddle.rpc.pool.default.boxes.claim",
          "heddle.pool.default.boxes.lane.x",
          "$JS.API.STREAM.LIST",
          "$JS.API.STREAM.MSG.GET.HEDDLE_JOURNAL",
          "$KV.heddle_shards.shard.0",
          "_INBOX.somebody"
        ]
      ) {
        assert.isFalse(yield* arrives(agent, mesh, subject, sure), `it published on ${subject}`)
      }
    }),
  60_000
)

it.live("it hears nothing else: no other sandbox, no journal, no answers to others", () =>
  Effect.gen(function*() {
    const { agent, mesh } = yield* opened
    const sure = agentSubject.input(a, "sure")
    for (
      const subject of [
        agentSubject.exec(b),
        agentSubject.input(b, "e1"),
        agentSubject.output(b, "e1"),
        agentSubject.output(a, "e1"),
        "heddle.journal.c-1",
        "heddle.wf.0.i.history",
        "heddle.logs.i.t",
        "$KV.heddle_registry.x",
        mesh.inbox()
      ]
    ) assert.isFalse(yield* arrives(mesh, agent, subject, sure), `it heard ${subject}`)
    // wildcards reach no further
    for (const wild of [">", "heddle.>", "heddle.sandbox.>", "heddle.sandbox.*.*.*.to.>"]) {
      const heard: Array<string> = []
      yield* Effect.scoped(Effect.gen(function*() {
        yield* agent.subscribe(wild, (message) => heard.push(message.subject))
        const done = yield* Deferred.make<void>()
        yield* agent.subscribe(sure, () => Deferred.doneUnsafe(done, Effect.void))
        mesh.publish(agentSubject.exec(b), "secret")
        mesh.publish("heddle.journal.c-1", "secret")
        mesh.publish(sure, "")
        yield* Effect.timeout(Deferred.await(done), 5_000)
      }))
      assert.deepStrictEqual(heard.filter((subject) => !subject.startsWith(`${a}.`)), [], wild)
    }
  }), 60_000)

it.live("it cannot answer for another sandbox, nor ask JetStream", () =>
  Effect.gen(function*() {
    const { agent, mesh } = yield* opened
    yield* agent.subscribe(agentSubject.exec(b), (message) => message.respond("mine"))
    assert.strictEqual(
      (yield* Effect.flip(mesh.request(agentSubject.exec(b), "", { timeoutMs: 2_000 })))._tag,
      "NoResponders"
    )
    const arrived: Array<string> = []
    yield* mesh.subscribe("$JS.API.>", (message) => arrived.push(message.subject))
    for (
      const subject of [
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.DIRECT.GET.HEDDLE_JOURNAL",
        "$JS.API.STREAM.PURGE.HEDDLE_JOURNAL"
      ]
    ) {
      assert.strictEqual(
        (yield* Effect.flip(agent.request(subject, "", { timeoutMs: 300 })))._tag,
        "RequestTimeout",
        subject
      )
    }
    assert.deepStrictEqual(arrived, [])
    // the same from somebody who may: so that the silence above says something
    yield* Effect.flip(mesh.request("$JS.API.INFO.NONE", "", { timeoutMs: 300 }))
    assert.deepStrictEqual(arrived, ["$JS.API.INFO.NONE"])
  }), 30_000)

it.live("a token that has expired, or that another key has signed, opens no connection", () =>
  Effect.gen(function*() {
    const { server, tokens } = yield* opened
    const foreign = yield* SignedBroker.scoped
    const open = (credentialsText: string) =>
      Effect.flip(
        Nats.open({ url: server.url, name: "x", credentialsText, inboxPrefix: agentInbox(a), connectWaitMs: 500 })
      )
    const expired = yield* open(Redacted.value(yield* tokens.issue(a, -5_000)))
    const other = yield* open(
      Redacted.value(yield* AgentToken.make({ seed: foreign.seed, account: foreign.account }).issue(a, 60_000))
    )
    for (const error of [expired, other]) assert.match(error.message, /refuses this identity/)
    const bad = yield* Effect.flip(AgentToken.make({ seed: Redacted.make("no key") }).issue(a, 60_000))
    assert.match(bad.message, /no token for an agent/)
  }), 60_000)
