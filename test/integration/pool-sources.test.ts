/**
 * What a pool source is shown of the mesh by the pool scheduler that runs it: who serves a pool, which pools belong to an env, and that either has changed.
 */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import simulatedPlugin, { provider as simulated } from "../../plugins/simulated/plugin.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { definePlugin, type Plugin, PluginHost } from "../../shared/plugin/Plugin.ts"
import { type PoolProvider, ProviderError } from "../../shared/plugin/PoolProvider.ts"
import type { PoolSink, PoolSource } from "../../shared/plugin/PoolSource.ts"
import { EnvName } from "../../shared/protocol/Env.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId, Namespace, PoolName } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import { apply, connect, quick, until } from "./PoolSchedulers.ts"

/** A source that declares nothing and keeps what it is given. */
const watching = () => {
  const seen = { sink: undefined as PoolSink | undefined, changes: 0 }
  const source: PoolSource = {
    name: "watching",
    description: "declares nothing",
    run: (sink) =>
      Effect.gen(function*() {
        yield* sink.changes(() => void seen.changes++)
        seen.sink = sink
        return yield* Effect.never
      })
  }
  // Knows the provider, and can open no pool of it.
  const provider: PoolProvider = {
    ...simulated,
    open: () => Effect.fail(new ProviderError({ provider: "simulated", message: "not from here" }))
  }
  const plugin = definePlugin({
    name: "watching",
    version: "1.0.0",
    api: "^1",
    contributes: { poolSources: { watching: () => source }, poolProviders: { simulated: () => provider } }
  })
  return { seen, plugin }
}

const scheduler = (member: string, plugins: ReadonlyArray<Plugin>) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(
      PoolScheduler.layer({ member: MemberId.make(member), version: "0.0.0", ttlMs: 60_000, ownerGraceMs: 500 }).pipe(
        Layer.provide(Nats.layer({ url: broker.url, name: member })),
        Layer.provide(PluginHost.layer(plugins))
      ),
      scope
    )
    const stop = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => stop)
    return { stop }
  })

layer(Broker.layer(), { timeout: "180 seconds", excludeTestServices: true })("pool sources", (it) => {
  it.effect("a source sees who serves a pool, that nobody does any more, and which pools belong to an env", () =>
    Effect.gen(function*() {
      const { plugin, seen } = watching()
      const serving = yield* scheduler("ps-serving", [simulatedPlugin, fifoPlugin])
      yield* scheduler("ps-watching", [plugin, fifoPlugin])
      const { sink } = yield* until(Effect.sync(() => seen), (_) => _.sink !== undefined)
      assert.isDefined(sink)
      if (sink === undefined) return
      const pool = { namespace: Namespace.make("default"), name: PoolName.make("seen") }
      const env = { namespace: Namespace.make("default"), name: EnvName.make("gold") }
      assert.deepStrictEqual(sink.standing(pool), { _tag: "Absent" })
      assert.isUndefined(sink.members(env))

      const nats = yield* connect
      const before = seen.changes
      yield* Rpc.call(nats, Subject.rpc.envs("apply"), Schema.Unknown, { name: "gold", selector: { tier: "gold" } })
      yield* apply(nats, "seen", { ...quick, size: 1, labels: { tier: "gold" } })
      yield* until(Effect.sync(() => sink.standing(pool)), (_) => _._tag === "Served")
      assert.deepStrictEqual(sink.standing(pool), {
        _tag: "Served",
        owner: MemberId.make("ps-serving"),
        isDraining: false
      })
      yield* until(Effect.sync(() => sink.members(env)), (_) => _?.length === 1)
      assert.deepEqual<unknown>(sink.members(env), ["seen"])
      assert.isAbove(seen.changes, before)

      yield* apply(nats, "seen", { ...quick, size: 0, drain: true, labels: { tier: "gold" } })
      yield* until(Effect.sync(() => sink.standing(pool)), (_) => _._tag === "Served" && _.isDraining)

      const served = seen.changes
      yield* serving.stop
      yield* until(Effect.sync(() => sink.standing(pool)), (_) => _._tag === "NoOwner")
      assert.isAbove(seen.changes, served)
      assert.deepEqual<unknown>(sink.members(env), ["seen"])

      yield* sink.removePool(pool)
      yield* until(Effect.sync(() => sink.standing(pool)), (_) => _._tag === "Absent")
      yield* until(Effect.sync(() => sink.members(env)), (_) => _?.length === 0)
    }))
})
