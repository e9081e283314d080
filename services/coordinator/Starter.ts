/**
 * Starts an instance with a chosen id, by way of `heddle.rpc.workflow.start`: whichever coordinator serves its shard, and safe to repeat.
 *
 * What passes by itself (no owner now, overload, an answer that did not come) is tried again with back-off until `triesMax`; then it is `Later`, and whoever asked
 * looks at its own state before it asks again. Follows design/02 "Workflows".
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId } from "../../shared/protocol/Token.ts"
import { StartAnswer, type StartRequest } from "../../shared/protocol/Workflow.ts"

export type StartOutcome =
  | { readonly _tag: "Started" }
  /** An instance with this id and other content is there. */
  | { readonly _tag: "Taken"; readonly error: ContractError }
  | { readonly _tag: "Refused"; readonly error: ContractError }
  | { readonly _tag: "Later"; readonly error: ContractError }

const answerMs = 10_000
const triesMax = 5
const backOff = Schedule.min([Schedule.exponential("200 millis", 2), Schedule.spaced("5 seconds")])

const passing: ReadonlySet<string> = new Set([
  "NotOwner",
  "Overloaded",
  "Unavailable",
  "ShuttingDown",
  "DeadlineExceeded"
])
/** Failures that go away by themselves. */
export const isPassing = (error: ContractError): boolean => passing.has(error.code)

export type Starter = (request: StartRequest & { readonly instanceId: InstanceId }) => Effect.Effect<StartOutcome>

export const make = (nats: Connection): Starter => (request) =>
  Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, request, { timeoutMs: answerMs }).pipe(
    Effect.retry({ times: triesMax, while: isPassing, schedule: backOff }),
    Effect.match({
      onSuccess: (): StartOutcome => ({ _tag: "Started" }),
      onFailure: (error): StartOutcome => ({
        _tag: isPassing(error) ? "Later" : error.code === "Conflict" ? "Taken" : "Refused",
        error
      })
    })
  )
