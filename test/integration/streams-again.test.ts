/** A stream that a restarted broker has lost is made again as the mesh's settings say, by whichever service comes first. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Coordinator from "../../services/coordinator/main.ts"
import * as PoolScheduler from "../../services/pool-scheduler/main.ts"
import * as JetStreamApi from "../../shared/jetstream/JetStreamApi.ts"
import { Nats } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { PluginHost } from "../../shared/plugin/Plugin.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as PoolSchedulers from "./PoolSchedulers.ts"

const streams: Streams.StreamsOptions = { logsBytesMax: 8 * 1024 * 1024 }
const common = { version: "0.0.0", streams }
const services = {
  coordinator: Layer.effectDiscard(
    Layer.build(Coordinator.layer({ ...common, member: MemberId.make("co"), shardCount: 2, ttlMs: 60_000 }))
  ),
  "pool-scheduler": Layer.effectDiscard(
    Layer.build(PoolScheduler.layer({ ...common, member: MemberId.make("ps"), ttlMs: 60_000 }))
  )
}

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("a stream that was lost", (it) => {
  for (const name of ["coordinator", "pool-scheduler"] as const) {
    it.effect(`is made again by a ${name} with the settings of the mesh`, () =>
      Effect.gen(function*() {
        const broker = yield* Broker
        const nats = yield* PoolSchedulers.connect
        yield* Streams.ensure(nats, streams)
        yield* Layer.build(Layer.provide(services[name], [Nats.layer({ url: broker.url, name }), PluginHost.layer([])]))
        yield* JetStreamApi.ask(nats, `STREAM.DELETE.${Streams.name.logs}`, undefined)
        yield* Effect.promise(() => broker.restart())
        let found = Option.none<{ readonly config: { readonly max_bytes: number } }>()
        while (Option.isNone(found)) {
          found = yield* Streams.info(nats, Streams.name.logs).pipe(
            Effect.catchIf((error) => error.isTransient, () => Effect.succeedNone)
          )
        }
        assert.strictEqual(found.value.config.max_bytes, streams.logsBytesMax)
      }))
  }
})
