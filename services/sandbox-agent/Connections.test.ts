import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import {
  type Connection,
  NatsFailed,
  NoResponders,
  type RequestError,
  RequestTimeout
} from "../../shared/jetstream/Nats.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { AgentTokenAnswer } from "../../shared/protocol/SandboxAgent.ts"
import { SandboxUid } from "../../shared/protocol/Token.ts"
import * as Connections from "./Connections.ts"

const uid = SandboxUid.make("u-1")
const base = "heddle.sandbox.default.boxes.box-1"
const hour = 3_600_000
const refused = new ContractError({
  code: "Unavailable",
  message: "NATS refuses this identity",
  details: { refused: true }
})
const down = new ContractError({ code: "Unavailable", message: "no NATS server", details: { refused: false } })

/** What the server of a test has to say; both are read at each question. */
interface Server {
  answer: (
    asked: { readonly jwt: string | undefined; readonly number: number }
  ) => Effect.Effect<AgentTokenAnswer, RequestError>
  opens: (jwt: string | undefined) => Effect.Effect<void, ContractError>
}

const token = (jwt: string, ttlMs = hour): AgentTokenAnswer => ({ _tag: "Token", jwt, ttlMs })
const unanswered = Effect.andThen(
  Effect.sleep(5_000),
  Effect.fail(new RequestTimeout({ subject: "x", timeoutMs: 5_000 }))
)

/** An agent's connections before a scripted server; `said` is what happened, in order. */
const started = Effect.fnUntraced(function*(server: Partial<Server> = {}) {
  const said: Array<string> = []
  const lose = new Map<string, () => void>()
  const state: Server = {
    answer: ({ number }) => Effect.succeed(token(`t${number}`)),
    opens: () => Effect.void,
    ...server
  }
  let number = 0
  const run = Connections.run({
    base,
    uid,
    open: (jwt) =>
      Effect.gen(function*() {
        const name = jwt ?? "ticket"
        yield* state.opens(jwt)
        const failed = yield* Deferred.make<never, NatsFailed>()
        yield* Effect.acquireRelease(
          Effect.sync(() => {
            said.push(`open ${name}`)
            lose.set(name, () =>
              Deferred.doneUnsafe(failed, Effect.fail(new NatsFailed({ reason: "expired", cause: undefined }))))
          }),
          () =>
            Effect.sync(() => said.push(`close ${name}`))
        )
        const connection: Pick<Connection, "request" | "failure" | "flush"> & { readonly name: string } = {
          name,
          request: (subject, body) =>
            Effect.suspend(() => {
              assert.deepStrictEqual([subject, body], [`${base}.from.token`, `{"uid":"u-1"}`])
              said.push(`ask ${name}`)
              return state.answer({ jwt, number: ++number })
            }).pipe(Effect.map((answer) => ({ text: JSON.stringify(answer) }) as never)), // only the text is read
          failure: Deferred.await(failed),
          flush: Effect.succeed(true)
        }
        return connection as unknown as Connection // the rest is not used here
      }),
    use: (nats) => Effect.sync(() => said.push(`use ${(nats as unknown as { readonly name: string }).name}`)), // as made above
    leave: () => said.push("leave")
  })
  const fiber = yield* Effect.forkScoped(run)
  /** What happened until so much time from now, since it was asked for the last time. */
  const after = (ms: number) => Effect.map(TestClock.adjust(ms), () => said.splice(0))
  return { after, fiber, lose: (name: string) => lose.get(name)?.(), said, state }
})

const renewed = (from: string, to: string) => [`ask ${from}`, `open ${to}`, `use ${to}`, `close ${from}`]

describe("the connections of an agent", () => {
  it.effect("a token by the ticket, then the next one each time when about half of its time is over, with a second connection", () =>
    Effect.gen(function*() {
      const { after } = yield* started()
      assert.deepStrictEqual(yield* after(0), ["open ticket", "ask ticket", "close ticket", "open t1", "use t1"])
      assert.deepStrictEqual(yield* after(hour * 0.39), [])
      assert.deepStrictEqual(yield* after(hour * 0.12), renewed("t1", "t2"))
      assert.deepStrictEqual(yield* after(hour * 0.28), [])
      assert.deepStrictEqual(yield* after(hour * 0.22), renewed("t2", "t3"))
    }))

  it.effect("answers that do not come, or come late, are asked for again with growing pauses, and the token is used meanwhile", () =>
    Effect.gen(function*() {
      const { after, state } = yield* started()
      yield* after(0)
      state.answer = () => unanswered
      const asked = yield* after(hour * 0.9)
      assert.deepStrictEqual([...new Set(asked)], ["ask t1"])
      // Half an hour at pauses of up to 30 s and waits of 5 s.
      assert.isAbove(asked.length, 40)
      assert.isBelow(asked.length, 80)
      state.answer = () => Effect.andThen(Effect.sleep(4_900), Effect.succeed(token("late")))
      assert.deepStrictEqual((yield* after(60_000)).slice(-4), renewed("t1", "late"))
    }))

  it.effect("no owner, then another one: a refusal that is not by the token's end is no end", () =>
    Effect.gen(function*() {
      const { after, state } = yield* started()
      yield* after(0)
      state.answer = () => Effect.fail(new NoResponders({ subject: "x" }))
      yield* after(hour / 2)
      state.answer = () =>
        Effect.succeed({ _tag: "Refused", reason: "the API server cannot be reached", isFinal: false })
      yield* after(120_000)
      state.answer = () => Effect.succeed({ _tag: "Refused", reason: "an owner that has been replaced", isFinal: true })
      assert.deepStrictEqual([...new Set(yield* after(120_000))], ["ask t1"])
      state.answer = () => Effect.succeed(token("next"))
      assert.deepStrictEqual((yield* after(60_000)).slice(-4), renewed("t1", "next"))
    }))

  it.effect("not renewed by its end: what runs ends, and the ticket asks until somebody answers", () =>
    Effect.gen(function*() {
      const { after, state } = yield* started()
      yield* after(0)
      state.answer = () => unanswered
      assert.deepStrictEqual([...new Set(yield* after(hour - 6_000))], ["ask t1"])
      const ended = yield* after(3_000)
      // The pauses between questions are random: one may fall into the token's last second.
      assert.deepStrictEqual(
        [...new Set(ended[0] === "ask t1" ? ended.slice(1) : ended)],
        ["close t1", "leave", "open ticket", "ask ticket"]
      )
      assert.deepStrictEqual([...new Set(yield* after(hour * 3))], ["ask ticket"])
      state.answer = () => Effect.succeed(token("again"))
      assert.deepStrictEqual((yield* after(60_000)).slice(-4), [
        "ask ticket",
        "close ticket",
        "open again",
        "use again"
      ])
    }))

  it.effect("a connection that ends before its token, for whatever reason, is the same", () =>
    Effect.gen(function*() {
      const { after, lose } = yield* started()
      yield* after(0)
      lose("t1")
      assert.deepStrictEqual(yield* after(1_000), [
        "close t1",
        "leave",
        "open ticket",
        "ask ticket",
        "close ticket",
        "open t2",
        "use t2"
      ])
    }))

  it.effect("without a server it tries again, with a pause of 30 s at most", () =>
    Effect.gen(function*() {
      let tries = 0
      const { after, state } = yield* started({ opens: () => Effect.suspend(() => (tries++, Effect.fail(down))) })
      yield* after(hour)
      assert.isAbove(tries, 120)
      assert.isBelow(tries, 160)
      state.opens = () => Effect.void
      assert.deepStrictEqual((yield* after(30_000)).slice(-1), ["use t1"])
    }))

  it.effect("a new token that opens no connection is no loss: the one that is good is used, another one asked for", () =>
    Effect.gen(function*() {
      const { after, state } = yield* started({ opens: (jwt) => jwt === "t2" ? Effect.fail(down) : Effect.void })
      yield* after(0)
      assert.deepStrictEqual(yield* after(hour / 2), ["ask t1", ...renewed("t1", "t3")])
      state.opens = (jwt) => jwt === undefined ? Effect.void : Effect.fail(refused)
      assert.deepStrictEqual([...new Set(yield* after(hour / 2))], ["ask t3"])
    }))

  it.effect("ends with the reason when its ticket is refused, or its sandbox is none any more", () =>
    Effect.gen(function*() {
      const bad = yield* started({ opens: () => Effect.fail(refused) })
      yield* bad.after(0)
      assert.match(String(yield* Effect.flip(Fiber.join(bad.fiber))), /refuses this identity/)
      const gone = yield* started({
        answer: () => Effect.succeed({ _tag: "Refused", reason: "there is no sandbox u-1 any more", isFinal: true })
      })
      assert.deepStrictEqual(yield* gone.after(0), ["open ticket", "ask ticket", "close ticket"])
      assert.match(String(yield* Effect.flip(Fiber.join(gone.fiber))), /no sandbox u-1/)
    }))

  it.effect("its end closes every connection, also in the middle of a change", () =>
    Effect.gen(function*() {
      for (const ms of [0, hour * 0.45, hour * 0.5]) {
        const { after, fiber, said, state } = yield* started()
        yield* after(0)
        state.opens = () => Effect.sleep(hour)
        yield* after(ms)
        said.length = 0
        assert.isTrue(Exit.hasInterrupts(yield* Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber))))
        assert.deepStrictEqual(said, ["close t1"])
      }
    }))
})
