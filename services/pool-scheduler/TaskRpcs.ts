/**
 * The task verbs of a pool, between executors, coordinators and the pool's owner: dequeue (long poll), settle, withdraw. Synchronous endpoints, no fiber.
 */
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import {
  type DequeueAnswer,
  DequeueRequest,
  SettleRequest,
  type TaskAssignment
} from "../../shared/protocol/Dispatch.ts"
import { Withdraw } from "../../shared/protocol/Lane.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"
import { refusalsOf } from "./ClaimRpcs.ts"
import { closed } from "./DispatchQueue.ts"
import * as PoolRouting from "./PoolRouting.ts"

/** Sandboxes as JSON: a slot's is the same at every claim, and an answer carries many. */
const sandboxTexts = new WeakMap<Sandbox, string>()

const sandboxText = (sandbox: Sandbox): string => {
  const known = sandboxTexts.get(sandbox)
  if (known !== undefined) return known
  const text = JSON.stringify(sandbox)
  sandboxTexts.set(sandbox, text)
  return text
}

/** `DequeueAnswer` as JSON. Names and ids hold nothing that JSON would escape (`Token.ts`). */
export const answerText = (session: SessionId, assignments: ReadonlyArray<TaskAssignment>): string => {
  let text = ""
  for (const one of assignments) {
    text +=
      `${text === "" ? "" : ","}{"claimId":"${one.claimId}","sandbox":${
        sandboxText(one.sandbox)
      },"owner":"${one.owner}",`
      + `"shard":${one.shard},"session":${one.session},"instance":"${one.instance}","taskInstanceId":"${one.taskInstanceId}",`
      + `"type":"${one.type}","handOff":${one.handOff}}`
  }
  return `{"sessionId":${session},"assignments":[${text}]}`
}

/** Long polls that may be parked at once, over all pools of this process. */
const pollsMax = 20_000

export const endpoints = (options: PoolRouting.Routing): ReadonlyArray<RpcService.Endpoint> => [
  RpcService.endpointUnsafe<DequeueRequest, DequeueAnswer>({
    name: "dequeue",
    subject: "heddle.rpc.pool.*.*.dequeue",
    description: "Assignments for an executor (long poll)",
    request: DequeueRequest,
    inFlightMax: pollsMax,
    handler: (request, respond, context) =>
      PoolRouting.route(options, context, respond, refusalsOf(respond, context), (live) => {
        const { executor, max, startup, waitMs } = request
        live.core.dequeue({ executor, startup, max, until: live.now() + waitMs }, (assignments) => {
          if (assignments === undefined) respond.refuse(closed())
          else respond.answer(answerText(live.session, assignments))
        })
      })
  }),
  RpcService.endpointUnsafe<SettleRequest, { readonly sessionId: SessionId }>({
    name: "settle",
    subject: "heddle.rpc.pool.*.*.settle",
    description: "What became of assignments",
    request: SettleRequest,
    handler: (request, respond, context) =>
      PoolRouting.route(options, context, respond, refusalsOf(respond, context), (live) => {
        live.core.settle(request)
        respond.answer({ sessionId: live.session })
      })
  }),
  RpcService.endpointUnsafe<typeof Withdraw.Type, object>({
    name: "withdraw",
    subject: "heddle.rpc.pool.*.*.withdraw",
    description: "Entries that can no longer run",
    request: Withdraw,
    handler: (request, respond, context) =>
      PoolRouting.route(options, context, respond, refusalsOf(respond, context), (live) => {
        live.core.withdraw(request.instance, request.taskInstanceIds)
        respond.answer({})
      })
  })
]
