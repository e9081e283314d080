/**
 * Follows the list of pools, for an executor that serves all of them. A slow look every few seconds: a new pool has no task before somebody has applied it.
 */
import * as Effect from "effect/Effect"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { PoolList } from "../../shared/protocol/Pool.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"

const lookMs = 2_000
const pagesMax = 1_000

const list = Effect.fnUntraced(function*(nats: Connection) {
  const pools: Array<PoolRef> = []
  let next: string | undefined
  for (let page = 0; page < pagesMax; page++) {
    const answer: PoolList = yield* Rpc.call(
      nats,
      Subject.rpc.pools("list"),
      PoolList,
      next === undefined ? {} : { next }
    )
    for (const { name, namespace } of answer.items) pools.push({ namespace, name })
    next = answer.next
    if (next === undefined) break
  }
  return pools
})

/** Calls `onChange` with all pools, at first and whenever there are others. Never ends; a list that cannot be had is asked for again. */
export const follow = (nats: Connection, onChange: (pools: ReadonlyArray<PoolRef>) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    let known = ""
    while (true) {
      const pools = yield* list(nats).pipe(Effect.option)
      if (pools._tag === "Some") {
        const text = pools.value.map(poolKey).sort().join(" ")
        if (text !== known) {
          known = text
          yield* onChange(pools.value)
        }
      }
      yield* Effect.sleep(lookMs)
    }
  })
