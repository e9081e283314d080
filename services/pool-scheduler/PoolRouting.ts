/**
 * Brings a pool's request to the pool's owner: here, or in another replica, or, when nobody owns the pool for the moment, to whoever does so next.
 *
 * A request is passed on as it came (subject, headers, body, reply), at most `hopsMax` times: replicas that disagree for a moment do not play ball with it. One whose pool
 * is unknown is looked up at the bucket's leader before it is told `NoSuchPool`: its pool may have been applied a moment ago through another replica.
 */
import * as Forwarding from "../../shared/jetstream/Forwarding.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import type * as RpcService from "../../shared/jetstream/RpcService.ts"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { Namespace, PoolName } from "../../shared/protocol/Token.ts"
import type { OwnedPool } from "./OwnedPool.ts"
import type { PoolDirectory } from "./PoolDirectory.ts"

const hopsHeader = "Heddle-Hops"
const hopsMax = 3
/** How long a request waits for its pool to have an owner. */
const parkMs = 10_000

export interface Routing {
  readonly nats: Connection
  readonly directory: PoolDirectory
  /** Reads the pool's spec from the leader into the directory; calls back either way. */
  readonly lookUp: (pool: PoolRef, done: () => void) => void
}

/** What a request is answered with when there is no pool to take it. */
export interface Refusals {
  readonly noSuchPool: () => void
  readonly closing: () => void
  readonly refuse: (error: ContractError) => void
}

/** A refusal for requests that reach a pool nobody owns at the moment. */
const noOwner = (pool: PoolRef): ContractError =>
  new ContractError({
    code: "Unavailable",
    message: `pool ${poolKey(pool)} has no owner at the moment; try again in some seconds`
  })

export const noSuchPool = (pool: PoolRef): ContractError =>
  new ContractError({
    code: "NoSuchPool",
    message: `there is no pool ${poolKey(pool)}. ${errorCodes.NoSuchPool.fix}`,
    path: poolKey(pool)
  })

/** The tokens of `heddle.rpc.pool.<ns>.<pool>.<verb>`, checked by Rpc already. */
export const poolOf = (context: RpcService.RequestContext): PoolRef => ({
  namespace: Namespace.make(context.tokens[0] ?? ""),
  name: PoolName.make(context.tokens[1] ?? "")
})

export const route = <A>(
  routing: Routing,
  context: RpcService.RequestContext,
  respond: RpcService.Responder<A>,
  refusals: Refusals,
  local: (live: OwnedPool) => void
): void => {
  const pool = poolOf(context)
  const until = routing.directory.route(pool)._tag === "Local"
    ? 0
    : routing.nats.clock.currentTimeMillisUnsafe() + parkMs
  const attempt = (isLookedUp: boolean): void => {
    const found = routing.directory.route(pool)
    switch (found._tag) {
      case "Local":
        return local(found.live)
      case "Remote": {
        const { message, subject } = context
        const hops = Number(message.header(hopsHeader) ?? 0)
        if (hops >= hopsMax) {
          return refusals.refuse(
            new ContractError({
              code: "NotOwner",
              message: `pool ${poolKey(pool)} is changing hands; try again in some seconds`,
              details: { owner: found.owner }
            })
          )
        }
        return Forwarding.passOn(routing.nats, Subject.forwarded(found.owner, subject), message, {
          headers: { [hopsHeader]: String(hops + 1) },
          taken: respond.passedOn,
          refused: refusals.refuse
        })
      }
      case "Closing":
        return refusals.closing()
      case "NoSuchPool":
        return isLookedUp ? refusals.noSuchPool() : routing.lookUp(pool, () => attempt(true))
      case "NoOwner":
        if (routing.nats.clock.currentTimeMillisUnsafe() >= until) return refusals.refuse(noOwner(pool))
        if (!routing.directory.park(pool, until, () => attempt(isLookedUp))) return refusals.refuse(noOwner(pool))
    }
  }
  attempt(false)
}
