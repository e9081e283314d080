/**
 * Keeps an agent connected with a token that is good: asks for one with its ticket, asks for the next one over its own connection when half of the time is over, and changes to a
 * connection with that one before the server ends the first.
 *
 * Keeps true: what runs in the sandbox does not notice a change of connections; a token that could not be renewed in time ends what runs, and is asked for anew with the ticket, with a
 * growing pause, for as long as that takes; it ends with the reason when the ticket is refused or the sandbox is no sandbox of its pool any more.
 * docs/design/kubernetes.md, "Agent mode".
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { agentSubject, AgentTokenAnswer } from "../../shared/protocol/SandboxAgent.ts"
import type { SandboxUid } from "../../shared/protocol/Token.ts"

/** The agent cannot go on: its ticket is no good, or its sandbox is no sandbox any more. */
export class AgentRefused extends Schema.TaggedError<AgentRefused>()("AgentRefused", { reason: Schema.String }) {
  override get message(): string {
    return this.reason
  }
}

export interface ConnectionsOptions {
  readonly base: string
  readonly uid: SandboxUid
  /** Opens a connection: with the ticket when no token is given. */
  readonly open: (jwt: string | undefined) => Effect.Effect<Connection, ContractError, Scope.Scope>
  /** From now on everything is heard and told over this one. */
  readonly use: (nats: Connection) => Effect.Effect<void>
  /** The last connection has ended, another one is not there. */
  readonly leave: () => void
}

type Token = Extract<AgentTokenAnswer, { readonly _tag: "Token" }>

/** Between two questions: doubled from the first to the second. */
export const askPauseMinMs = 1_000
export const askPauseMaxMs = 30_000
const askTimeoutMs = 5_000
/** Before the end of a token that was not renewed the connection is closed by us: at most so long, a tenth of its time when that is less. */
const endMarginMaxMs = 5_000

const decodeAnswer = Decode.decoder(AgentTokenAnswer)

const isRefused = (error: ContractError): boolean =>
  typeof error.details === "object" && error.details !== null && "refused" in error.details &&
  error.details.refused === true

/** A part of `ms` that not every agent has in common. */
const aboutOf = (ms: number) => Effect.map(Random.nextBetween(0.8, 1), (part) => ms * part)

/** Never succeeds. */
export const run = Effect.fnUntraced(function*(options: ConnectionsOptions) {
  const { base, uid } = options
  const request = JSON.stringify({ uid })

  const ask = (nats: Connection): Effect.Effect<Token, AgentRefused | string> =>
    Effect.gen(function*() {
      const message = yield* Effect.mapError(
        nats.request(agentSubject.token(base), request, { timeoutMs: askTimeoutMs }),
        (error) => error.message
      )
      const answer = decodeAnswer(message.text)
      if (Result.isFailure(answer)) return yield* Effect.fail("the answer cannot be read")
      if (answer.success._tag === "Token") return answer.success
      const { isFinal, reason } = answer.success
      return yield* isFinal ? new AgentRefused({ reason }) : Effect.fail(reason)
    })

  /** Again and again, with growing pauses, until there is a token. */
  const asked = (nats: Connection, endsRefused: boolean): Effect.Effect<Token, AgentRefused> =>
    Effect.gen(function*() {
      for (let pauseMs = askPauseMinMs;; pauseMs = Math.min(pauseMs * 2, askPauseMaxMs)) {
        const answer = yield* Effect.result(ask(nats))
        if (Result.isSuccess(answer)) return answer.success
        const error = answer.failure
        if (endsRefused && typeof error !== "string") return yield* error
        yield* Effect.logWarning("no token for this agent yet", typeof error === "string" ? error : error.reason)
        yield* Effect.sleep(yield* aboutOf(pauseMs))
      }
    })

  /** `undefined`: the connection has ended before. */
  const untilLost = <A, E, R>(nats: Connection, effect: Effect.Effect<A, E, R>) =>
    Effect.raceFirst(effect, nats.failure.pipe(Effect.catch(() => Effect.undefined)))

  /** With the ticket, as at the beginning. */
  const first: Effect.Effect<Token, AgentRefused> = Effect.gen(function*() {
    for (let pauseMs = askPauseMinMs;; pauseMs = Math.min(pauseMs * 2, askPauseMaxMs)) {
      const token = yield* Effect.scoped(Effect.gen(function*() {
        const nats = yield* options.open(undefined)
        return yield* untilLost(nats, asked(nats, true))
      })).pipe(
        Effect.catchTag("ContractError", (error) =>
          isRefused(error)
            ? Effect.fail(new AgentRefused({ reason: error.message }))
            : Effect.as(Effect.logWarning("no connection for this agent yet", error.message), undefined))
      )
      if (token !== undefined) return token
      yield* Effect.sleep(yield* aboutOf(pauseMs))
    }
  })

  /** A connection in a scope of its own, so that the next one can be there before it is closed. */
  const opened = (token: Token) =>
    Effect.gen(function*() {
      const scope = yield* Scope.fork(yield* Effect.scope)
      return yield* options.open(token.jwt).pipe(
        Scope.provide(scope),
        Effect.map((nats) => ({ nats, token, close: Scope.close(scope, Exit.void) })),
        Effect.onError(() => Scope.close(scope, Exit.void))
      )
    })

  /** Returns when the connection has ended, or is about to with its token. */
  const held = (granted: Token) =>
    Effect.scoped(Effect.gen(function*() {
      let current = yield* opened(granted)
      yield* options.use(current.nats)
      for (;;) {
        const { nats, token } = current
        const renewal = Effect.gen(function*() {
          yield* Effect.sleep(yield* aboutOf(token.ttlMs / 2))
          for (let pauseMs = askPauseMinMs;; pauseMs = Math.min(pauseMs * 2, askPauseMaxMs)) {
            // A refusal may be the word of an owner that has been replaced: what counts is what stands when this token ends.
            const renewed = yield* asked(nats, false)
            const following = yield* Effect.result(opened(renewed))
            if (Result.isSuccess(following)) return following.success
            yield* Effect.logWarning("a new token opens no connection yet", following.failure.message)
            yield* Effect.sleep(yield* aboutOf(pauseMs))
          }
        })
        const end = Effect.as(Effect.sleep(token.ttlMs - Math.min(endMarginMaxMs, token.ttlMs / 10)), undefined)
        const next = yield* untilLost(nats, Effect.raceFirst(renewal, end))
        if (next === undefined) return
        const previous = current
        current = next
        yield* options.use(current.nats)
        yield* nats.flush
        // On the side: it takes what is still under way to it, which may last.
        yield* Effect.forkScoped(previous.close)
      }
    }))

  for (;;) {
    const token = yield* first
    yield* held(token).pipe(
      Effect.catch((error) => Effect.logWarning("a token opens no connection", error.message))
    )
    options.leave()
    yield* Effect.logWarning("the connection to NATS, or its token, has ended: asking for a new one")
    yield* Effect.sleep(yield* aboutOf(askPauseMinMs))
  }
})
