/**
 * The task verbs of a pool, between executors, coordinators and the pool's owner: dequeue (long poll), settle, withdraw. Synchronous endpoints, no fiber.
 */
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { type DequeueAnswer, DequeueRequest, SettleRequest } from "../../shared/protocol/Dispatch.ts"
import { Withdraw } from "../../shared/protocol/Lane.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"
import { refusalsOf } from "./ClaimRpcs.ts"
import { closed } from "./DispatchQueue.ts"
import * as PoolRouting from "./PoolRouting.ts"

/** Long polls that may be parked at once, over all pools of this process. */
const pollsMax = 20_000

export const endpoints = (options: PoolRouting.Routing): ReadonlyArray<Rpc.Endpoint> => [
  Rpc.endpointUnsafe<DequeueRequest, DequeueAnswer>({
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
          else respond.answer({ sessionId: live.session, assignments })
        })
      })
  }),
  Rpc.endpointUnsafe<SettleRequest, { readonly sessionId: SessionId }>({
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
  Rpc.endpointUnsafe<typeof Withdraw.Type, object>({
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
