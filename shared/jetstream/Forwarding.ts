/**
 * Requests that one replica passes on to another, which answers the client itself.
 *
 * Keeps true: the other one says at once that it has the request, so nobody waits for a process that is gone; what it answers goes where the first one's answer would have gone, so
 * a request needs no second hop on its way back. Follows docs/design/modules.md, "The path of a task".
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { ContractError } from "../protocol/ErrorCode.ts"
import type { Headers, Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"
import { printable, refuse } from "./Rpc.ts"
import type { Service } from "./RpcService.ts"

/** Where the one who takes a request that was passed on sends its answer. */
const answerToHeader = "Heddle-Answer-To"
/** How long the one whom a request is passed on to may need to say that it has it. */
export const takenWaitDefaultMs = 2_000
/** A subject that can be published to; what stands in a header was checked by no server. */
const literalSubject = /^[^\s.*>\p{Cc}]+(\.[^\s.*>\p{Cc}]+)*$/u
const subjectCharsMax = 512

export interface PassOnOptions {
  /** Instead of the message's own. */
  readonly body?: string
  /** Beside the message's own. */
  readonly headers?: Headers
  readonly takenWaitMs?: number
  /** The other one has it and will answer. */
  readonly taken?: () => void
  /** Instead of answering the message itself with this. */
  readonly refused?: (error: ContractError) => void
}

/**
 * Passes a request on to another replica (`to`: a subject that `takeForwarded` serves there), which answers the client itself. The other one says at once that it has the
 * request; if nobody listens there (its process is gone), or nothing is heard for `takenWaitMs`, the request is answered `Unavailable` from here, so that nobody waits
 * for a process that is gone. `details.sent` tells whether it may have been done. Synchronous.
 */
export const passOn = (nats: Connection, to: string, message: Message, options: PassOnOptions = {}): void => {
  const { reply } = message
  const headers = {
    ...message.headers,
    ...options.headers,
    ...(reply === undefined ? {} : { [answerToHeader]: reply })
  }
  nats.requestUnsafe(
    to,
    options.body ?? message.data,
    { headers, timeoutMs: options.takenWaitMs ?? takenWaitDefaultMs },
    (result) => {
      if (Result.isSuccess(result)) return options.taken?.()
      const { failure } = result
      const sent = failure._tag === "RequestTimeout" || failure._tag === "ConnectionLost" && failure.sent
      const error = new ContractError({
        code: "Unavailable",
        message: `the owner does not take the request: ${failure.message}. It will have another one soon: try again`,
        details: { sent }
      })
      if (options.refused === undefined) refuse(message, error)
      else options.refused(error)
    }
  )
}

/** Serves what other replicas pass on: everything below `prefix` (`heddle.member.<id>.forwarded.`), as if it had come on the rest of its subject. */
export const takeForwarded = (
  nats: Connection,
  prefix: string,
  service: Service
): Effect.Effect<void, never, Scope.Scope> =>
  nats.subscribe(`${prefix}>`, (message) => {
    const subject = message.subject.slice(prefix.length)
    const answerTo = message.header(answerToHeader)
    let request = message
    if (answerTo !== undefined) {
      if (answerTo.length > subjectCharsMax || !literalSubject.test(answerTo)) {
        return refuse(
          message,
          new ContractError({ code: "InvalidMessage", message: `header ${answerToHeader} is no subject` })
        )
      }
      message.respond("")
      request = message.answeredTo(answerTo)
    }
    if (!service.dispatch(subject, request)) {
      refuse(
        request,
        new ContractError({ code: "UnknownSubject", message: `no rpc ${printable(subject).slice(0, 200)}` })
      )
    }
  })
