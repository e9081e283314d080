/**
 * How the executor asks others: one question, one answer or the reason why there is none. The only file of this service that touches the connection for requests.
 *
 * Keeps true: `done` is called exactly once per question, without a fiber. Whether a question may have been acted on is part of its failure: `Nobody` says it
 * was not, `Unknown` that nobody knows, `Refused` what the other side said.
 */
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import type * as Decode from "../../shared/jetstream/Decode.ts"
import type { Message } from "../../shared/jetstream/Message.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { Acknowledgements } from "./Acknowledgements.ts"

export type AskFailure =
  /** It reached nobody: not done. */
  | { readonly _tag: "Nobody"; readonly reason: string }
  /** Done or not, nobody knows. */
  | { readonly _tag: "Unknown"; readonly reason: string }
  | { readonly _tag: "Refused"; readonly error: ContractError }

/** A kind of question: what its answer must look like. Made once, at module scope. */
export interface Question<A> {
  readonly read: (message: Message) => Result.Result<A, ContractError>
  /** The subject whose acknowledgement the answer waits for, if it came ahead of the append. */
  readonly onceAcknowledged?: (answer: A) => string | undefined
}
export const question = <A>(answer: Decode.Decodable<A>): Question<A> => ({ read: Rpc.answerReader(answer) })
/** A question whose answer may come ahead of the append that makes it true: `done` hears of it when the broker has acknowledged that. */
export const questionOfOwner = <A extends { readonly onceAcknowledged?: string }>(
  answer: Decode.Decodable<A>
): Question<A> => ({ read: Rpc.answerReader(answer), onceAcknowledged: (given) => given.onceAcknowledged })

export interface Wire {
  /** `body`: JSON text. */
  readonly ask: <A>(
    question: Question<A>,
    subject: string,
    body: string,
    timeoutMs: number,
    done: (result: Result.Result<A, AskFailure>) => void
  ) => void
  /** An acknowledged publish into a stream. `msgId` makes a repetition harmless. */
  readonly store: (subject: string, body: string, msgId: string | undefined, done: (isStored: boolean) => void) => void
}

const storeTimeoutMs = 5_000

export const make = (nats: Connection, acknowledgements: Pick<Acknowledgements, "wait">): Wire => ({
  ask: (question, subject, body, timeoutMs, done) =>
    nats.requestUnsafe(subject, body, { timeoutMs }, (result) => {
      if (Result.isSuccess(result)) {
        const answer = question.read(result.success)
        if (Result.isFailure(answer)) return done(Result.fail<AskFailure>({ _tag: "Refused", error: answer.failure }))
        const after = question.onceAcknowledged?.(answer.success)
        if (after === undefined) return done(Result.succeed(answer.success))
        return acknowledgements.wait(after, (isStored) =>
          done(
            isStored
              ? Result.succeed(answer.success)
              : Result.fail<AskFailure>({ _tag: "Unknown", reason: "the append of the answer was not acknowledged" })
          ))
      }
      const error = result.failure
      const isUnsent = error._tag === "NoResponders" || error._tag === "MessageTooLarge" ||
        error._tag === "ConnectionLost" && !error.sent
      done(Result.fail({ _tag: isUnsent ? "Nobody" : "Unknown", reason: error.message }))
    }),
  store: (subject, body, msgId, done) =>
    Append.publishUnsafe(
      nats,
      subject,
      body,
      { timeoutMs: storeTimeoutMs, ...(msgId === undefined ? {} : { msgId }) },
      (result) => done(Result.isSuccess(result))
    )
})

/** Of a failure, for logs. */
export const reasonOf = (failure: AskFailure): string =>
  failure._tag === "Refused" ? `${failure.error.code}: ${failure.error.message}` : failure.reason
