/**
 * Pools and envs that are declared elsewhere (objects of a cluster): what the sources of plugins may do to the mesh, which is what the rpcs do and nothing more.
 *
 * Every replica runs every source; what they apply is the same, and each request goes to whichever replica answers. Follows `shared/plugin/PoolSource.ts`.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { PoolSink } from "../../shared/plugin/PoolSource.ts"
import { EnvList, EnvSpec } from "../../shared/protocol/Env.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { PoolList, PoolSpec } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"

const encodePool = Schema.encodeSync(PoolSpec)
const encodeEnv = Schema.encodeSync(EnvSpec)

/** What is not there need not be removed. */
const idempotent = <A>(removal: Effect.Effect<A, ContractError>, code: "NoSuchPool" | "NoSuchEnv") =>
  Effect.catchIf(Effect.asVoid(removal), (error) => error.code === code, () => Effect.void)

/** By the rpcs of any replica. */
export const sink = (nats: Connection): PoolSink => ({
  pools: Effect.map(Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {}), ({ items }) => items.map((_) => _.spec)),
  applyPool: (spec) => Effect.asVoid(Rpc.call(nats, Subject.rpc.pools("apply"), Schema.Unknown, encodePool(spec))),
  removePool: (pool) => idempotent(Rpc.call(nats, Subject.rpc.pools("delete"), Schema.Unknown, pool), "NoSuchPool"),
  envs: Effect.map(Rpc.call(nats, Subject.rpc.envs("list"), EnvList, {}), ({ items }) => items.map((_) => _.spec)),
  applyEnv: (spec) => Effect.asVoid(Rpc.call(nats, Subject.rpc.envs("apply"), Schema.Unknown, encodeEnv(spec))),
  removeEnv: (env) => idempotent(Rpc.call(nats, Subject.rpc.envs("delete"), Schema.Unknown, env), "NoSuchEnv")
})
