/**
 * Agent mode: the agent as a process of its own with a token that only fits its sandbox, on a nats-server with JWT authentication; the holder over NATS.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { ChildProcess } from "node:child_process"
import * as AgentExec from "../../../plugins/kubernetes/AgentExec.ts"
import * as AgentLinkOf from "../../../shared/jetstream/AgentLink.ts"
import * as AgentToken from "../../../shared/jetstream/AgentToken.ts"
import * as Nats from "../../../shared/jetstream/Nats.ts"
import { type AgentConnection, AgentLink, type AgentTokensPort } from "../../../shared/plugin/AgentLink.ts"
import type { Sandbox } from "../../../shared/protocol/Sandbox.ts"
import { agentBase, agentOutput, agentSubject, type AgentTokenAnswer } from "../../../shared/protocol/SandboxAgent.ts"
import { Namespace, PoolName, SandboxUid } from "../../../shared/protocol/Token.ts"
import * as SignedBroker from "../../integration/SignedBroker.ts"
import { AgentPods } from "./AgentPods.ts"
import { awaitGone, contract, exited, isAlive, lines, run } from "./Contract.ts"

const pool = { namespace: Namespace.make("default"), name: PoolName.make("boxes") }
const uid = SandboxUid.make("uid-of-a-pod")
const base = agentBase(pool, "box-1")
const sandbox: Sandbox = {
  uid,
  name: "box-1",
  namespace: pool.namespace,
  provider: "kubernetes",
  address: AgentExec.addressOf(base),
  labels: {}
}

interface Options {
  /** What the holder's connection goes through. */
  readonly between?: (link: AgentConnection) => AgentConnection
  /** What answers the agent when it asks for a token. */
  readonly answer?: (
    tokens: AgentTokensPort,
    user: string,
    /** Of the mesh's other signing key. */
    others: AgentTokensPort
  ) => Effect.Effect<AgentTokenAnswer | undefined>
  readonly sandbox?: Partial<Sandbox>
  readonly ticketTtlMs?: number
}

/** A token for so long. */
const granted = (ttlMs: number): NonNullable<Options["answer"]> => (tokens, user) =>
  Effect.map(Effect.orDie(tokens.token(base, user, ttlMs)), (jwt) => ({ _tag: "Token", jwt, ttlMs }))

/** The agent as a process with its ticket, and who answers it. */
const started = Effect.fnUntraced(function*({ answer = granted(600_000), ticketTtlMs = 600_000 }: Options = {}) {
  const server = yield* SignedBroker.scoped
  const mesh = yield* Nats.open({ url: server.url, name: "executor", credentialsText: server.credentials })
  const tokens = AgentToken.make({ seed: server.seed, account: server.account }, mesh)
  const others = AgentToken.make({ seed: server.otherSeed, account: server.account }, mesh)
  const ticket = yield* tokens.ticket(base, ticketTtlMs)
  const asked: Array<string> = []
  yield* tokens.serve(pool, (from, request) =>
    Effect.suspend(() => {
      assert.strictEqual(from, base)
      asked.push(request)
      return Effect.map(
        answer(tokens, ticket.user, others),
        (told) => told === undefined ? undefined : JSON.stringify(told)
      )
    }))
  const agents = yield* Effect.acquireRelease(
    Effect.sync(() => new AgentPods()),
    (made) => Effect.promise(() => made.stop())
  )
  const agent = agents.start("box-1", {
    HEDDLE_NATS_URL: server.url,
    HEDDLE_AGENT_CREDENTIALS: Redacted.value(ticket.credentials),
    HEDDLE_AGENT_BASE: base,
    HEDDLE_SANDBOX_UID: uid
  })
  return { agent, agents, asked, mesh, server, ticket, tokens, folder: `${agents.folder}/box-1-1` }
})

const ready = (mesh: Nats.Connection) =>
  Effect.gen(function*() {
    while ((yield* Effect.result(mesh.request(agentSubject.hello(base), "", { timeoutMs: 500 })))._tag === "Failure") {
      yield* Effect.sleep(20)
    }
  })

const open = Effect.fnUntraced(function*(options: Options = {}) {
  const { between = (link) => link } = options
  const one = yield* started(options)
  yield* ready(one.mesh)
  const client = yield* AgentExec.connect({ ...sandbox, ...options.sandbox }).pipe(
    Effect.provideService(AgentLink, between(AgentLinkOf.make(one.mesh)))
  )
  return {
    ...one,
    client,
    vanish: Effect.sync(() => one.agent.kill("SIGKILL"))
  }
})

contract("agent", (env) => open(env === undefined ? {} : { sandbox: { env } }))

// Each has a server and an agent of its own, and mostly waits.
describe.concurrent("what only agents have", () => {
  it.live(
    "a program in the sandbox finds nothing of the agent's token in its environment",
    () =>
      Effect.gen(function*() {
        const { client } = yield* open()
        const { stdout } = yield* run(client, { command: ["env"] })
        assert.notMatch(stdout, /NATS|AGENT|CREDENTIALS/)
      }),
    180_000
  )

  it.live("an agent that is told to end lets its programs end first", () =>
    Effect.gen(function*() {
      const { agent, client } = yield* open()
      const child = yield* client.exec({
        command: { script: "echo $$; sleep 300" },
        env: {},
        grace: { sigintMs: 200, sigtermMs: 200 }
      })
      const [pid] = (yield* lines(child, 1)).map(Number)
      agent.kill("SIGTERM")
      assert.strictEqual((yield* Effect.flip(child.exit))._tag, "SandboxLost")
      assert.isFalse(isAlive(pid ?? 0))
    }), 180_000)

  it.live(
    "output that does not arrive is noticed: lost, and never an output with a hole",
    () =>
      Effect.gen(function*() {
        let count = 0
        const { client } = yield* open({
          between: (link) => ({
            ...link,
            subscribe: (subject, handler) =>
              link.subscribe(subject, (data) => {
                if (data[0] === agentOutput.stdout && ++count === 2) return
                handler(data)
              })
          })
        })
        const child = yield* client.exec({
          // more messages than one, however much of it is read at once
          command: { script: "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.1; done" },
          env: {}
        })
        const lost = yield* Effect.flip(child.exit)
        assert.match(lost.reason, /output of its agent was lost/)
      }),
    180_000
  )

  it.live("a holder that is gone without a word loses its program after the silence", () =>
    Effect.gen(function*() {
      let isDead = false
      const { client } = yield* open({
        between: (link) => ({
          ...link,
          publish: (subject, body) => isDead || link.publish(subject, body)
        })
      })
      const child = yield* client.exec({
        command: { script: "echo $$; sleep 300" },
        env: {},
        grace: { sigintMs: 100, sigtermMs: 100 }
      })
      const [pid] = (yield* lines(child, 1)).map(Number)
      isDead = true
      for (let i = 0; i < 3_000 && isAlive(pid ?? 0); i++) yield* Effect.sleep(25)
      isDead = false
      assert.isFalse(isAlive(pid ?? 0))
    }), 180_000)

  it.live(
    "another sandbox under the same name, one that is not there, a process without a link: lost, with the reason",
    () =>
      Effect.gen(function*() {
        const { client, mesh } = yield* open()
        assert.deepStrictEqual((yield* run(client, { command: ["true"] })).status, exited(0))
        const link = AgentLinkOf.make(mesh)
        const reasonOf = (other: Partial<Sandbox>, given: AgentConnection | undefined = link) =>
          AgentExec.connect({ ...sandbox, ...other }).pipe(
            Effect.provideService(AgentLink, given),
            Effect.flip,
            Effect.map((lost) => lost.reason)
          )
        assert.strictEqual(yield* reasonOf({ uid: SandboxUid.make("other") }), "another sandbox has its name now")
        assert.strictEqual(
          yield* reasonOf({ address: AgentExec.addressOf(agentBase(pool, "box-2")) }),
          "its agent is gone"
        )
        assert.match(yield* reasonOf({ address: "agent:heddle.journal.>" }), /names no agent/)
        assert.match(
          (yield* Effect.flip(AgentExec.connect(sandbox))).reason,
          /no way to agents/
        )
      }),
    180_000
  )
})

/** Prints a number every 20 ms, which is more than one for each change of connections; with some bulk, so that there is something under way. */
const counting = (seconds: number) =>
  `i=0; while [ $i -lt ${
    seconds * 50
  } ]; do echo "$i xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"; i=$((i+1)); sleep 0.02; done`
const countOf = (text: string) => text.trim().split("\n").map((line) => Number(line.split(" ")[0]))

/** Of a token: renewed after half of it. What remains is longer than this machine may stand still. */
const tokenMs = 6_000

const ended = (agent: ChildProcess) =>
  Effect.callback<number | null>((resume) => {
    if (agent.exitCode !== null) return resume(Effect.succeed(agent.exitCode))
    agent.once("exit", (code) => resume(Effect.succeed(code)))
  })

describe.concurrent("the tokens of an agent", () => {
  it.live("are renewed while programs run, and no output, input or kill is lost by it", () =>
    Effect.gen(function*() {
      const { asked, client } = yield* open({ answer: granted(tokenMs) })
      const [counted, killed] = yield* Effect.all([
        run(client, { command: { script: counting(13) } }),
        Effect.scoped(Effect.gen(function*() {
          const child = yield* client.exec({
            command: { script: "trap 'echo told; exit 7' INT; echo up; while :; do sleep 0.05; done" },
            env: {}
          })
          yield* lines(child, 1)
          yield* Effect.sleep(2 * tokenMs)
          // Over another connection than the one by which it was started.
          yield* child.kill
          return yield* child.exit
        }))
      ], { concurrency: 2 })
      const numbers = countOf(counted.stdout)
      assert.deepStrictEqual(numbers, Array.from({ length: 650 }, (_, index) => index))
      assert.deepStrictEqual([counted.status, killed], [exited(0), exited(7)])
      assert.isAtLeast(asked.length, 4, "it has asked for the next one again and again")
      assert.deepStrictEqual([...new Set(asked)], [JSON.stringify({ uid })])
    }), 180_000)

  it.live(
    "signed with another key from some time on, as the mesh's key is replaced: nobody notices",
    () =>
      Effect.gen(function*() {
        let isReplaced = false
        const { asked, client } = yield* open({
          answer: (tokens, user, others) => {
            const by = isReplaced ? others : tokens
            isReplaced = true
            return granted(tokenMs)(by, user, others)
          }
        })
        const { status, stdout } = yield* run(client, { command: { script: counting(8) } })
        assert.deepStrictEqual(status, exited(0))
        assert.lengthOf(countOf(stdout), 400)
        assert.isAtLeast(asked.length, 3)
      }),
    180_000
  )

  it.live(
    "not renewed in time: what runs is lost and ends, and the sandbox is back when somebody answers",
    () =>
      Effect.gen(function*() {
        let isSilent = false
        const { client, mesh } = yield* open({
          answer: (tokens, user) => isSilent ? Effect.undefined : granted(3_000)(tokens, user, tokens)
        })
        const child = yield* client.exec({
          command: { script: "echo $$; sleep 300" },
          env: {},
          grace: { sigintMs: 100, sigtermMs: 100 }
        })
        const [pid = 0] = (yield* lines(child, 1)).map(Number)
        isSilent = true
        assert.strictEqual((yield* Effect.flip(child.exit))._tag, "SandboxLost")
        assert.isTrue(yield* awaitGone(pid))
        const hello = yield* Effect.flip(mesh.request(agentSubject.hello(base), "", { timeoutMs: 60_000 }))
        assert.strictEqual(hello._tag, "NoResponders", "a token that has ended hears nothing")
        isSilent = false
        yield* ready(mesh)
        assert.strictEqual((yield* run(client, { command: ["echo", "back"] })).stdout, "back\n")
      }),
    180_000
  )

  it.live(
    "refused because the sandbox is gone, or a ticket that is no good: the agent ends with code 1, for its container to show",
    () =>
      Effect.gen(function*() {
        const gone = yield* started({
          answer: () => Effect.succeed({ _tag: "Refused", reason: "there is no such sandbox", isFinal: true })
        })
        assert.strictEqual(yield* ended(gone.agent), 1)
        const expired = yield* started({ ticketTtlMs: -5_000 })
        assert.strictEqual(yield* ended(expired.agent), 1)
        assert.deepStrictEqual(expired.asked, [])
      }),
    180_000
  )

  it.live(
    "output told ahead of its turn is put in order; more than was granted, or a number twice, is a lost sandbox",
    () =>
      Effect.gen(function*() {
        const through = (change: (handler: (data: Uint8Array) => void) => (data: Uint8Array) => void) => ({
          between: (link: AgentConnection): AgentConnection => ({
            ...link,
            subscribe: (subject, handler) => link.subscribe(subject, change(handler))
          })
        })
        const isStdout = (data: Uint8Array) => data[0] === agentOutput.stdout
        let held: Uint8Array | undefined
        const swapped = yield* open(through((handler) => (data) => {
          if (held === undefined && isStdout(data)) {
            held = data.slice()
            return
          }
          handler(data)
          if (held !== undefined && held.length > 0) handler(held)
          held = new Uint8Array()
        }))
        const { status, stdout } = yield* run(swapped.client, { command: { script: counting(1) } })
        assert.deepStrictEqual([status, countOf(stdout)], [exited(0), Array.from({ length: 50 }, (_, index) => index)])

        const twice = yield* open(through((handler) => (data) => {
          handler(data)
          if (isStdout(data)) handler(data)
        }))
        const doubled = yield* Effect.flip(run(twice.client, { command: ["echo", "x"] }))
        assert.match(doubled.reason, /twice/)

        let isFlooded = false
        const flood = yield* open(through((handler) => (data) => {
          handler(data)
          if (!isStdout(data) || isFlooded) return
          isFlooded = true
          const first = new DataView(data.buffer, data.byteOffset).getUint32(1) + 1
          const more = new Uint8Array(5 + 256 * 1024)
          more[0] = agentOutput.stdout
          for (let number = first; number < first + 8; number++) {
            new DataView(more.buffer).setUint32(1, number)
            handler(more)
          }
        }))
        const flooded = yield* Effect.flip(run(flood.client, { command: { script: "echo x; sleep 5" } }))
        assert.match(flooded.reason, /more than it may/)
      }),
    180_000
  )
})
