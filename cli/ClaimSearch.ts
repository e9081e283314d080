/**
 * Finds the pool of a claim that was named without one: every pool is asked.
 *
 * Keeps true: a claim is never guessed; one id in several pools is told, and nothing is done. For people: a program names the pool, which is one request.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ClaimResult } from "../shared/protocol/Claim.ts"
import { errorCodes } from "../shared/protocol/ErrorCode.ts"
import { PoolList } from "../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../shared/protocol/Sandbox.ts"
import * as Subject from "../shared/protocol/Subject.ts"
import { ClaimId } from "../shared/protocol/Token.ts"
import * as Connection from "./Connection.ts"
import { CliFailure } from "./ExitCode.ts"
import * as Globals from "./Globals.ts"

const poolsAtOnce = 8

/** The pool that knows the claim. Fails with exit code 3 when none does, 2 when several do. */
const poolOfClaim = Effect.fnUntraced(function*(claimId: ClaimId) {
  const { items } = yield* Connection.call(Subject.rpc.pools("list"), PoolList, {})
  const found = yield* Effect.forEach(
    items,
    ({ name, namespace }) => {
      const pool: PoolRef = { namespace, name }
      return Connection.callOnce(Subject.rpc.pool(pool, "get"), ClaimResult, { claimId }).pipe(
        Effect.as(Option.some(pool)),
        Effect.catchIf(
          (error) => error._tag === "ContractError" && (error.code === "NoSuchClaim" || error.code === "NoSuchPool"),
          () => Effect.succeedNone
        ),
        // It waits there.
        Effect.catchIf(
          (error) => error._tag === "ContractError" && error.code === "Conflict",
          () => Effect.succeed(Option.some(pool))
        )
      )
    },
    { concurrency: poolsAtOnce }
  )
  const [pool, ...others] = found.flatMap(Option.toArray)
  if (pool === undefined) {
    return yield* new CliFailure({
      exit: 3,
      code: "NoSuchClaim",
      message: `No pool knows the claim ${claimId}.`,
      fix: errorCodes.NoSuchClaim.fix
    })
  }
  if (others.length > 0) {
    return yield* Globals.usage(
      `Several pools know a claim ${claimId}: ${[pool, ...others].map(poolKey).join(", ")}. Name the pool before it.`
    )
  }
  return pool
})

/** `[POOL] CLAIM...` as written: one word alone is a claim, else the first one is its pool. */
export const placed = Effect.fnUntraced(function*(words: ReadonlyArray<string>) {
  const [first = "", ...rest] = words
  const claims = yield* Effect.forEach(
    rest.length === 0 ? [first] : rest,
    (id) => Globals.checkToken("The claim", id)
  )
  const ids = claims.map((id) => ClaimId.make(id))
  const [only] = ids
  const pool = rest.length === 0 && only !== undefined ? yield* poolOfClaim(only) : yield* Globals.poolOf(first)
  return { pool, ids }
})
