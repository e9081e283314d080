/**
 * A token of one sandbox on a real nats-server with JWT authentication: what it reaches, and that it reaches nothing else. design/04 section 1, docs/design/kubernetes.md "Agent mode".
 */
import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as AgentToken from "../../shared/jetstream/AgentToken.ts"
import * as Nats from "../../shared/jetstream/Nats.ts"
import type { AgentTokensPort } from "../../shared/plugin/AgentLink.ts"
import { agentBase, agentInbox, agentSubject } from "../../shared/protocol/SandboxAgent.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import * as SignedBroker from "./SignedBroker.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }
const a = agentBase(pool, "web-1-0")
const b = agentBase(pool, "web-1-1")

/** A ticket for `base`, and the credentials of a token for it. */
const signed = (tokens: AgentTokensPort, base: string, ttlMs = 60_000) =>
  Effect.gen(function*() {
    const ticket = yield* tokens.ticket(base, ttlMs)
    const token = yield* tokens.token(base, ticket.user, ttlMs)
    return { ticket, token: yield* AgentToken.credentialsWith(ticket.credentials, token) }
  })

/** The mesh's own connection, and one with the token of sandbox A. */
const opened = Effect.gen(function*() {
  const server = yield* SignedBroker.scoped
  const mesh = yield* Nats.open({ url: server.url, name: "mesh", credentialsText: server.credentials })
  const tokens = AgentToken.make({ seed: server.seed, account: server.account }, mesh)
  const of = (credentials: Redacted.Redacted<string>, base: string) =>
    Nats.open({
      url: server.url,
      name: base,
      credentialsText: Redacted.value(credentials),
      inboxPrefix: agentInbox(base)
    })
  const { ticket, token } = yield* signed(tokens, a)
  return { server, mesh, tokens, of, ticket, agent: yield* of(token, a) }
})

/** True: what is published on `subject` by `from` arrives at `to`. A second message that surely arrives tells when the first would have. */
const arrives = (from: Nats.Connection, to: Nats.Connection, subject: string, sure: string) =>
  Effect.gen(function*() {
    const seen = yield* Deferred.make<boolean>()
    yield* to.subscribe(subject, () => Deferred.doneUnsafe(seen, Effect.succeed(true)))
    yield* to.subscribe(sure, () => Deferred.doneUnsafe(seen, Effect.succeed(false)))
    from.publish(subject, "x")
    from.publish(sure, "x")
    return yield* Effect.timeout(Deferred.await(seen), 60_000)
  }).pipe(Effect.scoped)

it.live("an agent hears its own sandbox's requests, answers them, and tells", () =>
  Effect.gen(function*() {
    const { agent, mesh } = yield* opened
    yield* agent.subscribe(agentSubject.hello(a), (message) => message.respond("here"))
    assert.strictEqual((yield* mesh.request(agentSubject.hello(a), "")).text, "here")
    assert.isTrue(yield* arrives(agent, mesh, agentSubject.output(a, "e1"), "nothing.else"))
    assert.isTrue(yield* arrives(mesh, agent, agentSubject.input(a, "e1"), `${a}.to.sure`))
  }), 180_000)

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
  180_000
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
        yield* Effect.timeout(Deferred.await(done), 60_000)
      }))
      assert.deepStrictEqual(heard.filter((subject) => !subject.startsWith(`${a}.`)), [], wild)
    }
  }), 180_000)

it.live("it cannot answer for another sandbox, nor ask JetStream", () =>
  Effect.gen(function*() {
    const { agent, mesh } = yield* opened
    yield* agent.subscribe(agentSubject.exec(b), (message) => message.respond("mine"))
    assert.strictEqual(
      (yield* Effect.flip(mesh.request(agentSubject.exec(b), "", { timeoutMs: 30_000 })))._tag,
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
    mesh.publish("$JS.API.INFO.NONE", "")
    yield* mesh.flush
    while (arrived.length === 0) yield* Effect.sleep(5)
    assert.deepStrictEqual(arrived, ["$JS.API.INFO.NONE"])
  }), 180_000)

it.live(
  "a token that has expired, that another key has signed, or that was made for another's key opens no connection",
  () =>
    Effect.gen(function*() {
      const { mesh, server, tokens } = yield* opened
      const foreign = yield* SignedBroker.scoped
      const open = (credentials: Redacted.Redacted<string>) =>
        Effect.flip(
          Nats.open({
            url: server.url,
            name: "x",
            credentialsText: Redacted.value(credentials),
            inboxPrefix: agentInbox(a),
            connectWaitMs: 60_000
          })
        )
      const others = AgentToken.make({ seed: foreign.seed, account: foreign.account }, mesh)
      const { ticket } = yield* signed(tokens, a)
      const ofAnother = yield* tokens.token(a, (yield* tokens.ticket(a, 60_000)).user, 60_000)
      for (
        const credentials of [
          (yield* signed(tokens, a, -5_000)).token,
          (yield* signed(tokens, a, -5_000)).ticket.credentials,
          (yield* signed(others, a)).token,
          yield* AgentToken.credentialsWith(ticket.credentials, ofAnother)
        ]
      ) assert.match((yield* open(credentials)).message, /refuses these credentials/)
      const bad = yield* Effect.flip(AgentToken.make({ seed: Redacted.make("no key") }, mesh).ticket(a, 60_000))
      assert.match(bad.message, /no token for an agent/)
      assert.match(
        (yield* Effect.flip(AgentToken.credentialsWith(Redacted.make("nothing"), "jwt"))).message,
        /no credentials/
      )
    }),
  180_000
)

it.live(
  "a ticket asks for a token, and reaches nothing else of its own or another sandbox",
  () =>
    Effect.gen(function*() {
      const { mesh, of, ticket, tokens } = yield* opened
      const asker = yield* of(ticket.credentials, a)
      const asked: Array<readonly [string, string]> = []
      yield* tokens.serve(pool, (base, text) => {
        asked.push([base, text])
        return Effect.succeed(text === "nothing" ? undefined : "answer")
      })
      assert.strictEqual((yield* asker.request(agentSubject.token(a), "please")).text, "answer")
      assert.deepStrictEqual(asked, [[a, "please"]])
      const none = yield* Effect.flip(asker.request(agentSubject.token(a), "nothing", { timeoutMs: 300 }))
      assert.strictEqual(none._tag, "RequestTimeout")
      const sure = agentSubject.token(a)
      for (const subject of [agentSubject.token(b), agentSubject.output(a, "e1"), "heddle.rpc.pool.list", "_INBOX.x"]) {
        assert.isFalse(yield* arrives(asker, mesh, subject, sure), `a ticket published on ${subject}`)
      }
      for (const subject of [agentSubject.exec(a), agentSubject.input(a, "e1"), "heddle.journal.c-1"]) {
        assert.isFalse(yield* arrives(mesh, asker, subject, `${agentInbox(a)}.sure`), `a ticket heard ${subject}`)
      }
    }),
  180_000
)

it.live(
  "a question whose answer should go elsewhere is not answered: an agent cannot make the mesh publish for it",
  () =>
    Effect.gen(function*() {
      const { agent, mesh, tokens } = yield* opened
      const answered: Array<string> = []
      yield* tokens.serve(pool, (base) =>
        Effect.sync(() => {
          answered.push(base)
          return "answer"
        }))
      const heard: Array<string> = []
      const elsewhere = [
        "$JS.API.STREAM.PURGE.HEDDLE_JOURNAL",
        "heddle.rpc.workflow.start",
        agentInbox(a),
        `${agentInbox(b)}.x`,
        agentSubject.exec(a)
      ]
      for (const reply of elsewhere) {
        yield* mesh.subscribe(reply, (message) => heard.push(message.subject))
        agent.publish(agentSubject.token(a), "", { reply })
      }
      assert.strictEqual((yield* agent.request(agentSubject.token(a), "")).text, "answer")
      assert.deepStrictEqual([answered, heard], [[a], []])
    }),
  180_000
)
