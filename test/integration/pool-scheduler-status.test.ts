import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import fifoPlugin from "../../plugins/fifo/plugin.ts"
import { provider as simulated } from "../../plugins/simulated/plugin.ts"
import { SimulatedPool } from "../../plugins/simulated/SimulatedPool.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import { definePlugin, PluginHost } from "../../shared/plugin/Plugin.ts"
import type { PoolProvider, PoolStatus } from "../../shared/plugin/PoolProvider.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
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
const plugin = definePlugin({
  name: "shown",
  version: "1.0.0",
  api: "^1",
  contributes: { poolProviders: { shown: () => shown } }
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
})
