/**
 * Requests of the contract from the asker's side: ask, wait, read the answer or the error it carries; and the form in which an error travels.
 *
 * Keeps true: an error of the contract arrives as it was told, its code, its message and its details; what nobody answered says whether the request may have been done, so
 * that whoever repeats it knows what that means. Requests are served by `RpcService`. Follows design/02.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { ContractError, ErrorAnswer, type ErrorCode, errorCodes } from "../protocol/ErrorCode.ts"
import * as Decode from "./Decode.ts"
import type { Headers, Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"

const numericCode: Partial<Record<ErrorCode, number>> = {
  PayloadTooLarge: 413,
  UnknownSubject: 404,
  NoSuchPool: 404,
  NoSuchEnv: 404,
  NoSuchClaim: 404,
  NoSuchDefinition: 404,
  NoSuchInstance: 404,
  NoSuchSchedule: 404,
  NoSuchBackfill: 404,
  NoSuchGroup: 404,
  Conflict: 409,
  NotOwner: 409,
  InvalidSessionId: 409,
  QueueFull: 429,
  QuotaExceeded: 429,
  Overloaded: 429,
  DeadlineExceeded: 408,
  ShuttingDown: 503,
  PoolDraining: 503,
  DispatchQueueClosed: 503,
  Unavailable: 503,
  Unsupported: 501,
  Internal: 500
}
const headerCode = "Nats-Service-Error-Code"
const headerText = "Nats-Service-Error"

/** For a header, which takes no line breaks and nothing else than ASCII. */
export const printable = (text: string): string => text.replace(/[^\x20-\x7e]+/g, " ").slice(0, 500)

/** Answers with an error of the contract, as body and as ADR-32 headers. */
export const refuse = (message: Message, error: ContractError): void => {
  message.respond(JSON.stringify(error.answer), {
    [headerCode]: String(numericCode[error.code] ?? 400),
    [headerText]: printable(`${error.code}: ${error.message}`)
  })
}

const readError = Decode.decoder(ErrorAnswer)

export interface CallOptions {
  readonly timeoutMs?: number
  readonly headers?: Headers
}

/** Reads an answer: the value, or the error it carries. Pure; for callers of `requestUnsafe`. */
export const answerReader = <A>(schema: Decode.Decodable<A>): (message: Message) => Result.Result<A, ContractError> => {
  const decode = Decode.decoder(schema)
  return (message) => {
    if (message.header(headerCode) === undefined) return decode(message.text)
    const error = readError(message.text)
    return Result.isFailure(error) ? Result.fail(error.failure) : Result.fail(new ContractError(error.success.error))
  }
}

/**
 * Asks and waits. Errors: what the service answered; `Unavailable` when nobody answers on the subject or the connection is down; `DeadlineExceeded` after `timeoutMs`
 * (default 5 s; done or not is then unknown, so repeat with the same idempotency key).
 */
export const call = <A>(
  nats: Connection,
  subject: string,
  answer: Decode.Decodable<A>,
  body: unknown,
  options?: CallOptions
): Effect.Effect<A, ContractError> => {
  const read = answerReader(answer)
  return nats.request(subject, JSON.stringify(body ?? {}), options ?? {}).pipe(
    Effect.mapError((error) => {
      switch (error._tag) {
        case "NoResponders":
          return new ContractError({
            code: "Unavailable",
            message: `no service answers on ${subject}. ${errorCodes.Unavailable.fix}`,
            details: { sent: false }
          })
        case "RequestTimeout":
          return new ContractError({ code: "DeadlineExceeded", message: error.message, details: { sent: true } })
        case "ConnectionLost":
          return new ContractError({
            code: "Unavailable",
            message: `${error.message}. ${errorCodes.Unavailable.fix}`,
            details: { sent: error.sent }
          })
        case "MessageTooLarge":
          return new ContractError({ code: "PayloadTooLarge", message: error.message })
      }
    }),
    Effect.flatMap((message) => Effect.fromResult(read(message)))
  )
}

const isSent = (error: ContractError): boolean =>
  typeof error.details === "object" && error.details !== null && "sent" in error.details && error.details.sent === true

/** Whether the request that failed so may have been done all the same. */
export const isPerhapsDone = (error: ContractError): boolean =>
  isSent(error) || error.code === "ShuttingDown" || error.code === "DispatchQueueClosed"

/** Whether the same request may succeed a moment later. `isRepeatable`: doing it twice is doing it once, so it is asked again also when it may have been done. */
export const isPassing = (error: ContractError, isRepeatable: boolean): boolean =>
  error.code === "NotOwner" || error.code === "Overloaded" ||
  error.code === "Unavailable" && (isRepeatable || !isSent(error)) ||
  isRepeatable && (error.code === "ShuttingDown" || error.code === "DispatchQueueClosed")

export interface PatientOptions extends CallOptions {
  /** For all attempts together. */
  readonly timeoutMs: number
  /** Doing it twice is doing it once: carries an id, only reads, or sets what it names. */
  readonly isRepeatable: boolean
  /** For one attempt of a repeatable request, after which it is asked again; default two fifths of `timeoutMs`. */
  readonly attemptMs?: number
  /** Before each attempt that repeats one, with why. */
  readonly repeating?: (error: ContractError) => void
  /** Before the first attempt that repeats. */
  readonly waiting?: (error: ContractError) => Effect.Effect<void>
}
const backoffFirstMs = 50
const backoffMaxMs = 1_000

/**
 * `call`, again and again within `timeoutMs` while it is refused for a reason that passes: no service or owner for the moment, a replica that ends. A repeatable request is
 * also asked again when no answer comes, since whoever took it may have died with it. The last error is the one that is told.
 */
export const callPatiently = <A>(
  nats: Connection,
  subject: string,
  answer: Decode.Decodable<A>,
  body: unknown,
  options: PatientOptions
): Effect.Effect<A, ContractError> =>
  Effect.gen(function*() {
    const now = () => nats.clock.currentTimeMillisUnsafe()
    const until = now() + options.timeoutMs
    const attemptMs = options.attemptMs ?? Math.ceil(options.timeoutMs * 0.4)
    let backoffMs = backoffFirstMs
    let isFirst = true
    while (true) {
      const leftMs = Math.max(1, until - now())
      const timeoutMs = options.isRepeatable ? Math.min(leftMs, attemptMs) : leftMs
      const outcome = yield* Effect.result(
        call(nats, subject, answer, body, { ...options, timeoutMs })
      )
      if (Result.isSuccess(outcome)) return outcome.success
      const error = outcome.failure
      // an answer that did not come; a service's own DeadlineExceeded has no such mark
      const isSilence = error.code === "DeadlineExceeded" && isSent(error)
      const mayPass = isPassing(error, options.isRepeatable) || isSilence && options.isRepeatable
      const random = yield* Random.next
      const waitMs = isSilence ? 0 : Math.ceil(backoffMs * (0.5 + random))
      if (!mayPass || now() + waitMs >= until) return yield* error
      options.repeating?.(error)
      if (isFirst && options.waiting !== undefined) yield* options.waiting(error)
      isFirst = false
      yield* Effect.sleep(waitMs)
      backoffMs = Math.min(backoffMaxMs, backoffMs * 2)
    }
  })
