/**
 * Everything that starts instances by itself, as one part of a coordinator's life: schedules and backfills. Wiring only.
 */
import * as Effect from "effect/Effect"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import type * as RpcService from "../../shared/jetstream/RpcService.ts"
import type { AlertMessage } from "../../shared/protocol/Alert.ts"
import type { Shard } from "../../shared/protocol/Token.ts"
import * as BackfillRpc from "./BackfillRpc.ts"
import { Backfills } from "./Backfills.ts"
import type { Home } from "./HomeEntities.ts"
import * as ScheduleRpc from "./ScheduleRpc.ts"
import { Schedules } from "./Schedules.ts"
import * as Starter from "./Starter.ts"
import type { Timers } from "./Timers.ts"

export interface Scheduling {
  readonly endpoints: ReadonlyArray<RpcService.Endpoint>
  /** These shards are served here from now on, or no longer. */
  readonly moved: (shards: Iterable<Shard>) => void
  /** For ever: run it as a supervised fiber. */
  readonly run: Effect.Effect<void, JetStreamFailed>
}

export const make = (
  options: Home & {
    readonly timers: Timers
    /** Supervised. */
    readonly fork: (effect: Effect.Effect<void>) => void
    readonly alert: (alert: AlertMessage) => void
  }
): Scheduling => {
  const { alert, fork, timers, ...home } = options
  const start = Starter.make(home.nats)
  const schedules = new Schedules({ home, timers, start, fork, alert })
  const backfills = new Backfills({ home, timers, start, fork, alert })
  return {
    endpoints: [...ScheduleRpc.endpoints(schedules), ...BackfillRpc.endpoints(backfills)],
    moved: (shards) => {
      const set = new Set(shards)
      schedules.moved(set)
      backfills.moved(set)
    },
    run: Effect.all([schedules.run, backfills.run], { concurrency: "unbounded", discard: true })
  }
}
