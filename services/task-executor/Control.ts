/**
 * What coordinators ask of this executor about tasks: kill, pause, or only whether it has them.
 *
 * Keeps true: every task of a request is answered, an unknown one too; an answer is given at once and says what is under way, the result comes as a fact.
 * A task whose registration is not answered yet counts as had: a kill may overtake that answer. Follows design/04 section 3.
 */
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import { type ControlAnswer, ControlRequest } from "../../shared/protocol/Report.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { Attempt, Attempts, Identity } from "./Attempt.ts"

export interface ControlOptions {
  readonly identity: Identity
  readonly attempts: Attempts
  readonly kill: (attempt: Attempt) => void
  readonly pause: (attempt: Attempt) => void
}

/** Answers one request. Who asks is the owner now: reports go there from here on. */
export const handle = (options: ControlOptions, request: ControlRequest): ControlAnswer => {
  const { attempts, identity, kill, pause } = options
  return {
    startup: identity.startup,
    tasks: request.tasks.map(({ instance, taskInstanceId }) => {
      const state = attempts.stateOf(instance, taskInstanceId)
      const attempt = attempts.get(instance, taskInstanceId)
      if (attempt !== undefined) {
        attempt.owner = request.owner
        if (request.kind === "kill") kill(attempt)
        else if (request.kind === "pause") pause(attempt)
      }
      return state
    })
  }
}

export const endpoint = (options: ControlOptions): RpcService.Endpoint =>
  RpcService.endpointUnsafe<ControlRequest, ControlAnswer>({
    name: "control",
    subject: Subject.member(options.identity.member, "control"),
    queue: false,
    description: "Kills or pauses tasks of this executor, or says which of them it has.",
    request: ControlRequest,
    handler: (request, respond) => respond.answer(handle(options, request))
  })
