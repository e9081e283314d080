/**
 * For tests: pool schedulers against a real broker, each with a connection and a scope of its own, and the requests that clients make of them.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import inlinePlugin from "../../plugins/inline/plugin.ts"
import scalePlugin from "../../plugins/scale/plugin.ts"
import simulatedPlugin from "../../plugins/simulated/plugin.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { PluginHost } from "../../shared/plugin/Plugin.ts"
import { ClaimResult, Snapshot } from "../../shared/protocol/Claim.ts"
import { PoolView } from "../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId, Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"

export const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))
const plugins = PluginHost.layer([inlinePlugin, simulatedPlugin, fifoPlugin, scalePlugin])

/** A scheduler with a connection and a scope of its own; `stop` ends it in order. */
export const scheduler = (
  name: string,
  options: { readonly ttlMs?: number; readonly ownerGraceMs?: number } = { ttlMs: 60_000, ownerGraceMs: 500 }
) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(
      PoolScheduler.layer({ member: MemberId.make(name), version: "0.0.0", ...options }).pipe(
        Layer.provide(Nats.layer({ url: broker.url, name })),
        Layer.provide(plugins)
      ),
      scope
    )
    const stop = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => stop)
    return { stop }
  })

export const pool = (name: string): PoolRef => ({ namespace: Namespace.make("default"), name: PoolName.make(name) })
export const claim = (nats: Connection, of: PoolRef, request: object = {}) =>
  Rpc.call(nats, Subject.rpc.pool(of, "claim"), ClaimResult, request, { timeoutMs: 60_000 })
export const about = (nats: Connection, of: PoolRef, verb: "release" | "renew" | "cancel" | "get", request: object) =>
  Rpc.call(nats, Subject.rpc.pool(of, verb), ClaimResult, request, { timeoutMs: 60_000 })
export const snapshot = (nats: Connection, of: PoolRef) =>
  Rpc.call(nats, Subject.rpc.pool(of, "snapshot"), Snapshot, {}, { timeoutMs: 60_000 })

/** Asks again until the answer is as wanted: what is waited for is told by nobody, so it is looked at, with an end. */
export const until = <A, E, R>(effect: Effect.Effect<A, E, R>, isWanted: (value: A) => boolean) =>
  effect.pipe(
    Effect.filterOrFail(isWanted, (value) => ({ _tag: "NotYet" as const, value })),
    Effect.retry({ schedule: Schedule.spaced(20), times: 5_000 })
  )

export const apply = (nats: Connection, name: string, spec: object) =>
  Effect.gen(function*() {
    yield* Rpc.call(nats, Subject.rpc.pools("apply"), PoolView, { name, ...spec }, { timeoutMs: 60_000 })
    const of = pool(name)
    const size = "size" in spec ? Number(spec.size) : 0
    yield* until(snapshot(nats, of), (_) => _.idleReady === size)
    return of
  })
export const quick = {
  provider: "simulated",
  config: { latencyMs: [0, 1], watchLagMs: [0, 1], startMs: [0, 1], resetMs: [1, 2] }
}
