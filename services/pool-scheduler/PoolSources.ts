/**
 * Pools and envs that are declared elsewhere (objects of a cluster): what the sources of plugins may do to the mesh, which is what the rpcs do and nothing more.
 *
 * Every replica runs every source; what they apply is the same, and each request goes to whichever replica answers. Follows `shared/plugin/PoolSource.ts`.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import type { PoolSink, PoolStanding } from "../../shared/plugin/PoolSource.ts"
import { EnvList, EnvSpec } from "../../shared/protocol/Env.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault, PoolList, PoolSpec } from "../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import type { EnvDirectory } from "./EnvDirectory.ts"
import type { PoolDirectory } from "./PoolDirectory.ts"

const encodePool = Schema.encodeSync(PoolSpec)
const encodeEnv = Schema.encodeSync(EnvSpec)

/** What is not there need not be removed. */
const idempotent = <A>(removal: Effect.Effect<A, ContractError>, code: "NoSuchPool" | "NoSuchEnv") =>
  Effect.catchIf(Effect.asVoid(removal), (error) => error.code === code, () => Effect.void)

/** Listeners of changes in what this replica knows of the mesh. */
export class Changes {
  private readonly listeners = new Set<() => void>()

  readonly tell = (): void => {
    for (const listener of this.listeners) listener()
  }

  listen(listener: () => void): Effect.Effect<void, never, Scope.Scope> {
    return Effect.asVoid(Effect.acquireRelease(
      Effect.sync(() => this.listeners.add(listener)),
      () => Effect.sync(() => this.listeners.delete(listener))
    ))
  }
}

export interface SinkView {
  readonly directory: Pick<PoolDirectory, "route" | "specOf">
  readonly envs: Pick<EnvDirectory, "viewOf">
  readonly member: MemberId
  readonly changes: Changes
}

const standingOf = ({ directory, member }: SinkView, pool: PoolRef): PoolStanding => {
  const route = directory.route(pool)
  switch (route._tag) {
    case "Local":
    case "Remote":
      return {
        _tag: "Served",
        owner: route._tag === "Remote" ? route.owner : member,
        isDraining: directory.specOf(pool)?.drain === true
      }
    // On the way out: the next owner says more.
    case "Closing":
    case "NoOwner":
      return { _tag: "NoOwner" }
    case "NoSuchPool":
      return { _tag: "Absent" }
  }
}

/** Changes by the rpcs of any replica; what is told, from what this one knows. */
export const sink = (nats: Connection, view: SinkView): PoolSink => ({
  pools: Effect.map(Rpc.call(nats, Subject.rpc.pools("list"), PoolList, {}), ({ items }) => items.map((_) => _.spec)),
  applyPool: (spec) => Effect.asVoid(Rpc.call(nats, Subject.rpc.pools("apply"), Schema.Unknown, encodePool(spec))),
  removePool: (pool) => idempotent(Rpc.call(nats, Subject.rpc.pools("delete"), Schema.Unknown, pool), "NoSuchPool"),
  envs: Effect.map(Rpc.call(nats, Subject.rpc.envs("list"), EnvList, {}), ({ items }) => items.map((_) => _.spec)),
  applyEnv: (spec) => Effect.asVoid(Rpc.call(nats, Subject.rpc.envs("apply"), Schema.Unknown, encodeEnv(spec))),
  removeEnv: (env) => idempotent(Rpc.call(nats, Subject.rpc.envs("delete"), Schema.Unknown, env), "NoSuchEnv"),
  standing: (pool) => standingOf(view, pool),
  members: ({ name, namespace = namespaceDefault }) =>
    view.envs.viewOf({ namespace, name })?.members.map(({ pool }) => pool),
  changes: (listener) => view.changes.listen(listener)
})
