import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import inlinePlugin, { provider as inline } from "../../plugins/inline/plugin.ts"
import { provider as simulated } from "../../plugins/simulated/plugin.ts"
import { SimulatedPool } from "../../plugins/simulated/SimulatedPool.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import { definePlugin, PluginHost } from "../../shared/plugin/Plugin.ts"
import type { PoolProvider, PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import { make as makeScalePolicy } from "../../shared/plugin/ScalePolicy.ts"
import { MemberId, PoolName } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as PoolSchedulers from "./PoolSchedulers.ts"

const statuses: Array<PoolStatus> = []
/** The simulated provider, with a status that somebody reads. */
const shown: PoolProvider = {
  ...simulated,
  name: "shown",
  open: (context, config) =>
    Effect.map(simulated.open(context, config), (pool) => {
      if (!(pool instanceof SimulatedPool)) return pool
      return Object.assign(pool, { status: (status: PoolStatus): void => void statuses.push(status) })
    })
}
const broken = Effect.die(new Error("a broken invariant"))
/** Nothing is told any more as soon as its sandboxes have been listed. */
const blind: PoolProvider = {
  ...inline,
  name: "blind",
  open: (context, config) =>
    Effect.map(inline.open(context, config), (pool) => Object.assign(pool, { failure: broken }))
}
const asking = makeScalePolicy({
  name: "broken",
  config: Schema.Struct({}),
  open: () => ({ decide: () => ({ target: 1 }), fetch: { everyMs: 1_000, run: () => broken } })
})
const plugin = definePlugin({
  name: "shown",
  version: "1.0.0",
  api: "^1",
  contributes: { poolProviders: { shown: () => shown } }
})
// Each is loaded by its own scheduler alone, which takes the pools over that the others have left.
const blindPlugin = definePlugin({
  name: "blind",
  version: "1.0.0",
  api: "^1",
  contributes: { poolProviders: { blind: () => blind } }
})
const askingPlugin = definePlugin({
  name: "asking",
  version: "1.0.0",
  api: "^1",
  contributes: { scalePolicies: { broken: () => asking } }
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("a pool's status", (it) => {
  it.effect("! 1.9 pendingRequests is the queue's length: every claim without a result, also those whose write is under way", () =>
    Effect.gen(function*() {
      const broker = yield* Broker
      yield* Layer.build(
        PoolScheduler.layer({ member: MemberId.make("ps-status"), version: "0.0.0" }).pipe(
          Layer.provide(Nats.layer({ url: broker.url, name: "ps-status" })),
          Layer.provide(PluginHost.layer([plugin, fifoPlugin]))
        )
      )
      const nats = yield* PoolSchedulers.connect
      // No answer ever comes back: the first claim's write is under way, or is read back, for good.
      const of = yield* PoolSchedulers.apply(nats, "shown", {
        provider: "shown",
        size: 1,
        config: { lostAnswerRate: 1, latencyMs: [0, 1], watchLagMs: [0, 1], startMs: [0, 1] }
      })
      const claims = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(PoolSchedulers.claim(nats, of, { deadline: "1m" }), { startImmediately: true })
      )
      const counters = yield* PoolSchedulers.until(PoolSchedulers.snapshot(nats, of), (_) => _.inflightCas === 1)
      assert.strictEqual(counters.queueLen, 3)
      yield* PoolSchedulers.until(
        Effect.sync(() => statuses.at(-1)),
        (status) => status?.pendingRequests === counters.queueLen
      )
      yield* Effect.forEach(claims, Fiber.interrupt)
    }))

  it.effect.each(
    [
      { of: "what its provider does in the background", name: "blind", provider: "blind", loaded: blindPlugin },
      {
        of: "a policy that asks somebody",
        name: "asking",
        provider: "inline",
        policies: [{ policy: "broken" }],
        loaded: askingPlugin
      }
    ]
  )(
    "a pool whose part dies of a defect ($of) ends the service with the reason",
    ({ loaded, name, policies, provider }) =>
      Effect.gen(function*() {
        const broker = yield* Broker
        const context = yield* Layer.build(
          PoolScheduler.layer({
            member: MemberId.make(`ps-${name}`),
            version: "0.0.0",
            pools: [{
              name: PoolName.make(name),
              provider,
              size: 1,
              ...(policies === undefined ? {} : { min: 0, max: 3, autoscale: { policies } })
            }]
          }).pipe(
            Layer.provideMerge(Nats.layer({ url: broker.url, name: `ps-${name}` })),
            Layer.provide(PluginHost.layer([loaded, fifoPlugin, inlinePlugin]))
          )
        )
        const failure = yield* Effect.flip(Context.get(context, Nats).failure).pipe(Effect.timeout(60_000))
        assert.match(failure.message, new RegExp(`pool default/${name}.*a broken invariant`, "s"))
      })
  )
})
