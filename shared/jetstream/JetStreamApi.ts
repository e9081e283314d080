/**
 * Requests to the JetStream API (`$JS.API.…`) and its errors: what Streams, Read, Consume and Kv are built on.
 *
 * Keeps true: an error of the server keeps its code; a missing answer is never taken for a refusal. Only for this folder and its tests.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { textOf } from "./Message.ts"
import type { Connection } from "./Nats.ts"

/** Codes of the server that heddle tells apart (https://github.com/nats-io/nats-server, `server/errors.json`). */
export const errCode = {
  consumerNotFound: 10014,
  messageNotFound: 10037,
  insufficientStorage: 10047,
  streamNameInUse: 10058,
  streamNotFound: 10059,
  streamStoreFailed: 10077,
  wrongLastSequence: 10071,
  wrongLastSequenceInFlight: 10164,
  consumerExists: 10148,
  consumerNameInUse: 10013,
  maxConsumers: 10026
} as const

/**
 * A JetStream operation that did not succeed. `errCode` is the server's (0: there was no answer of the server, only `reason`).
 * `isTransient`: the same request may succeed a moment later (no answer, connection down, leader election).
 */
export class JetStreamFailed extends Schema.TaggedError<JetStreamFailed>()("JetStreamFailed", {
  operation: Schema.String,
  reason: Schema.String,
  errCode: Schema.Int,
  isTransient: Schema.Boolean
}) {
  override get message(): string {
    return `${this.operation}: ${this.reason}${this.errCode === 0 ? "" : ` (${this.errCode})`}`
  }
}

export const apiTimeoutMs = 5_000

interface ApiError {
  readonly error?: { readonly code?: number; readonly err_code?: number; readonly description?: string }
}

/** Codes that mean "not now": JetStream or a leader is not there yet; 10012 and 10149: the server is still deleting a consumer of that name. */
const transientCodes: ReadonlySet<number> = new Set([10008, 10009, 10012, 10023, 10149, 10164, 10176, 10208, 10210])

export const failedOf = (operation: string, error: ApiError["error"]): JetStreamFailed =>
  new JetStreamFailed({
    operation,
    reason: error?.description ?? "no description",
    errCode: error?.err_code ?? 0,
    isTransient: transientCodes.has(error?.err_code ?? 0) || error?.code === 503
  })

/** Asks `$JS.API.<verb>`; the answer is the server's JSON, trusted to have the shape its documentation gives. */
export const ask = <A>(
  nats: Pick<Connection, "request">,
  verb: string,
  body: unknown,
  timeoutMs: number = apiTimeoutMs
): Effect.Effect<A, JetStreamFailed> =>
  nats.request(`$JS.API.${verb}`, body === undefined ? "" : JSON.stringify(body), { timeoutMs }).pipe(
    Effect.mapError((error) =>
      new JetStreamFailed({
        operation: verb,
        reason: error.message,
        errCode: 0,
        isTransient: error._tag !== "MessageTooLarge"
      })
    ),
    Effect.flatMap((message) => {
      const answer = JSON.parse(textOf(message.data)) as A & ApiError // the server's own API, versioned and checked at start (Durability)
      return answer.error === undefined ? Effect.succeed(answer as A) : Effect.fail(failedOf(verb, answer.error))
    })
  )

const schedule = (forMs: number) =>
  Schedule.min([Schedule.exponential(50), Schedule.spaced(500)]).pipe(
    Schedule.jittered,
    Schedule.upTo({ duration: forMs })
  )

/**
 * In a cluster, a stream that somebody has just made is heard of by the leader of all streams a moment later than by its own, and until then the former says that there is none. A stream
 * that is really not there is told so much later.
 */
const newStreamMs = 3_000

/** Goes on for `forMs` while the failure is transient: start of the server, leader election, reconnect, a stream that is new. */
export const retryTransient =
  (forMs: number) => <A, R>(effect: Effect.Effect<A, JetStreamFailed, R>): Effect.Effect<A, JetStreamFailed, R> =>
    effect.pipe(
      Effect.retry({
        while: (error) => error.errCode === errCode.streamNotFound,
        schedule: schedule(Math.min(forMs, newStreamMs))
      }),
      Effect.retry({ while: (error) => error.isTransient, schedule: schedule(forMs) })
    )
