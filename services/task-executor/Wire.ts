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

export type AskFailure =
  /** It reached nobody: not done. */
  | { readonly _tag: "Nobody"; readonly reason: string }
  /** Done or not, nobody knows. */
  | { readonly _tag: "Unknown"; readonly reason: string }
  | { readonly _tag: "Refused"; readonly error: ContractError }

/** A kind of question: what its answer must look like. Made once, at module scope. */
export interface Question<A> {
  readonly read: (message: Message) => Result.Result<A, ContractError>
}
export const question = <A>(answer: Decode.Decodable<A>): Question<A> => ({ read: Rpc.answerReader(answer) })

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

export const make = (nats: Connection): Wire => ({
  ask: (question, subject, body, timeoutMs, done) =>
    nats.requestUnsafe(subject, body, { timeoutMs }, (result) => {
      if (Result.isSuccess(result)) {
        const answer = question.read(result.success)
        return done(
          Result.isSuccess(answer)
            ? Result.succeed(answer.success)
            : Result.fail<AskFailure>({ _tag: "Refused", error: answer.failure })
        )
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
