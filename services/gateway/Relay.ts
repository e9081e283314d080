/**
 * Requests that become rpcs: what is asked over NATS for a route, under which id, how long it may take, and what happens when the client does not wait for the answer.
 *
 * Kept true: a request is asked again within its deadline only if doing it twice is doing it once, which its id sees to; every wait has a deadline; a claim whose client has gone, and
 * which nobody could name, is given back. docs/design/gateway.md "Rules".
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { claimDeadlineDefaultMs, claimDeadlineMaxMs } from "../../shared/protocol/Claim.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { parseDurationMs } from "../../shared/protocol/Time.ts"
import { Namespace, PoolName, Token } from "../../shared/protocol/Token.ts"
import type { Ask, Json, Params } from "./Api.ts"

/** For all attempts of a request that waits for nothing. */
export const requestMs = 10_000
/** What a wait may take beyond the time it names. */
export const waitExtraMs = 5_000
/** The longest that one attempt of a wait is left without an answer before it is asked again: its owner may have died. */
const heldMs = 20_000
const waitMaxMs = 24 * 3_600_000
const giveUpMs = 3_000

export interface Asking {
  readonly ask: Ask
  readonly params: Params
  readonly query: Json
  readonly sent: Json
  /** `Idempotency-Key`. */
  readonly key: string | undefined
  /** Passed on: `traceparent`, `Heddle-Team`. */
  readonly headers: Readonly<Record<string, string>>
}

export interface Relay {
  /** The answer as it came. */
  readonly ask: (asking: Asking) => Effect.Effect<unknown, ContractError>
}

const isName: (text: unknown) => boolean = Schema.is(Token)

/** The milliseconds of a duration of the contract, a number as text included. */
export const durationMs = (value: unknown): number | undefined => {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value : undefined
  if (typeof value !== "string") return undefined
  return /^\d{1,12}$/.test(value) ? Number(value) : parseDurationMs(value)
}

/** Whether a route's request waits for something longer than an answer takes. */
export const isWait = ({ ask, query }: Pick<Asking, "ask" | "query">): boolean =>
  ask.kind === "claim" || ask.kind === "result" && (durationMs(query["wait"]) ?? 0) > 0

const newId = Effect.gen(function*() {
  const random = yield* Random.Random
  const part = () => Math.floor(random.nextDoubleUnsafe() * 36 ** 8).toString(36).padStart(8, "0")
  return `http-${part()}${part()}`
})

/** What goes on after a client has gone ends with the scope. */
export const make = (nats: Connection): Effect.Effect<Relay, never, Scope.Scope> =>
  Effect.gen(function*() {
    const leftovers = yield* FiberSet.make<unknown, unknown>()
    yield* FiberSet.join(leftovers).pipe(
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.sync(() =>
            nats.fail(`gateway: what goes on for clients that have gone: ${Cause.pretty(cause)}`, cause)
          )
      ),
      Effect.forkScoped
    )

    const call = (
      { ask, params }: Pick<Asking, "ask" | "params">,
      body: unknown,
      options: {
        readonly timeoutMs: number
        readonly isRepeatable: boolean
        readonly headers: Readonly<Record<string, string>>
        readonly attemptMs?: number
      }
    ): Effect.Effect<unknown, ContractError> =>
      Rpc.callPatiently(nats, ask.subject(params), Schema.Unknown, body, options)

    /** Of a claim that was granted and that nobody waits for. */
    const giveBack = (
      claimId: string,
      pool: { readonly namespace: string; readonly name: string },
      verb: "cancel" | "release"
    ) =>
      Rpc.callPatiently(
        nats,
        Subject.rpc.pool({ namespace: Namespace.make(pool.namespace), name: PoolName.make(pool.name) }, verb),
        Schema.Unknown,
        { claimId },
        { timeoutMs: giveUpMs, isRepeatable: true }
      ).pipe(
        Effect.asVoid,
        Effect.catch((error) =>
          error.code === "NoSuchClaim"
            ? Effect.void
            : Effect.logWarning(
              `gateway: claim ${claimId} of a client that has gone is not given back: ${error.message}`
            )
        )
      )

    const claim = Effect.fnUntraced(function*(asking: Asking) {
      const { key, params, sent } = asking
      const isNamed = sent["claimId"] !== undefined || key !== undefined
      const claimId = sent["claimId"] ?? key ?? (yield* newId)
      const waitMs = Math.min(durationMs(sent["deadline"]) ?? claimDeadlineDefaultMs, claimDeadlineMaxMs)
      const timeoutMs = waitMs + waitExtraMs
      const asked = call(asking, { ...sent, claimId }, {
        timeoutMs,
        isRepeatable: true,
        attemptMs: Math.min(timeoutMs, heldMs),
        headers: asking.headers
      })
      if (isNamed || typeof claimId !== "string") return yield* asked
      const { ns, pool } = params
      if (pool !== undefined && ns !== undefined) {
        return yield* Effect.onInterrupt(asked, () => giveBack(claimId, { namespace: ns, name: pool }, "cancel"))
      }
      // an env: which pool it will come from is told with the grant
      const fiber = yield* FiberSet.run(leftovers, Effect.exit(asked))
      return yield* Fiber.join(fiber).pipe(
        Effect.flatten,
        Effect.onInterrupt(() =>
          FiberSet.run(
            leftovers,
            Effect.flatMap(Fiber.join(fiber), (exit) => {
              const from = Exit.isSuccess(exit) ? poolOf(exit.value) : undefined
              return from === undefined ? Effect.void : giveBack(claimId, from, "release")
            })
          )
        )
      )
    })

    const result = Effect.fnUntraced(function*(asking: Asking) {
      const { headers, params, query } = asking
      const body = asking.ask.body(params, query, {})
      const wanted = durationMs(query["wait"] ?? 0)
      // not a duration: whoever knows says so
      if (wanted === undefined || wanted > waitMaxMs) {
        return yield* call(asking, body, { timeoutMs: requestMs, isRepeatable: true, headers })
      }
      const now = () => nats.clock.currentTimeMillisUnsafe()
      const until = now() + wanted
      while (true) {
        const slice = Math.max(0, Math.min(until - now(), heldMs))
        const isLast = now() + slice >= until
        const answer = yield* Effect.result(
          call(asking, { ...(body as object), wait: slice }, { // `body` of the table makes an object
            timeoutMs: slice + requestMs,
            attemptMs: slice + waitExtraMs,
            isRepeatable: true,
            headers
          })
        )
        if (Result.isSuccess(answer)) return answer.success
        if (isLast || answer.failure.code !== "DeadlineExceeded") return yield* answer.failure
      }
    })

    return {
      ask: Effect.fnUntraced(function*(asking) {
        const { ask, headers, key, params, query, sent } = asking
        if (key !== undefined && !isName(key)) {
          return yield* new ContractError({
            code: "InvalidName",
            message: `header Idempotency-Key: ${
              JSON.stringify(key.slice(0, 80))
            } is no name. ${errorCodes.InvalidName.fix}`
          })
        }
        switch (ask.kind) {
          case "claim":
            return yield* claim(asking)
          case "result":
            return yield* result(asking)
          case "command": {
            const id = key ?? (yield* newId)
            return yield* call(asking, ask.body(params, query, sent), {
              timeoutMs: requestMs,
              isRepeatable: true,
              headers: { ...headers, [Subject.header.msgId]: id }
            })
          }
          case "trigger": {
            const body = ask.body(params, query, key === undefined ? sent : { instanceId: key, ...sent })
            const isRepeatable = key !== undefined || sent["instanceId"] !== undefined ||
              sent["scheduledAt"] !== undefined
            return yield* call(asking, body, { timeoutMs: requestMs, isRepeatable, headers })
          }
          case "read":
            return yield* call(asking, ask.body(params, query, sent), {
              timeoutMs: requestMs,
              isRepeatable: true,
              headers
            })
        }
      })
    }
  })

/** Where a granted claim to an env came from. */
const poolOf = (answer: unknown): { readonly namespace: string; readonly name: string } | undefined => {
  const read = decodePool(answer)
  return read._tag === "Some" && read.value.outcome === "Claimed" ? read.value.pool : undefined
}
const decodePool = Schema.decodeUnknownOption(
  Schema.Struct({ outcome: Schema.String, pool: Schema.Struct({ namespace: Namespace, name: PoolName }) })
)
