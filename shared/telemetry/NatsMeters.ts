/**
 * What a process shows of its connection to NATS, and that it is not ready while there is none.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Connection } from "../jetstream/Nats.ts"
import * as Catalog from "./Catalog.ts"
import { Telemetry } from "./Meters.ts"
import { ProcessReadiness } from "./Readiness.ts"

/** Shows it while the scope is open. */
export const show = (nats: Connection): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const meters = yield* Telemetry
    meters.counted(Catalog.natsMessages, { direction: "in" }, () => nats.traffic().inMessages)
    meters.counted(Catalog.natsMessages, { direction: "out" }, () => nats.traffic().outMessages)
    meters.counted(Catalog.natsBytes, { direction: "in" }, () => nats.traffic().inBytes)
    meters.counted(Catalog.natsBytes, { direction: "out" }, () => nats.traffic().outBytes)
    meters.counted(Catalog.natsReconnects, {}, () => nats.traffic().reconnects)
    yield* meters.gaugeScoped(Catalog.natsConnected, {}, () => nats.isConnected ? 1 : 0)
    yield* (yield* ProcessReadiness).addScoped("nats", () =>
      nats.isConnected ? undefined : `no connection to ${nats.url}: it is made again for as long as it takes`)
  })
