/**
 * What every process shows of itself: CPU, memory, how late its event loop comes, and which build runs.
 *
 * What a runtime does not measure is shown as 0, never left out, so that a query means the same on Node and on Deno. Nothing is sampled but the event loop, and that only
 * while the scope is open.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { monitorEventLoopDelay, performance } from "node:perf_hooks"
import * as Catalog from "./Catalog.ts"
import type { Meters } from "./Meters.ts"

/** Between two looks at the event loop. */
const resolutionMs = 10

const isDeno = "Deno" in globalThis
/** `node 24.21.0`, `deno 2.9.6`. */
export const runtime: string = isDeno
  ? `deno ${
    (globalThis as unknown as { readonly Deno: { readonly version: { readonly deno: string } } }).Deno.version.deno
  }` // asked one line above
  : `node ${process.versions.node}`

type Delays = ReturnType<typeof monitorEventLoopDelay>

const delays = (): Delays | undefined => {
  try {
    const histogram = monitorEventLoopDelay({ resolution: resolutionMs })
    histogram.enable()
    return histogram
  } catch {
    return undefined // the runtime has none: shown as 0
  }
}

/** Of a recorded delay in nanoseconds: Node's hold the sampling interval, Deno's do not. */
const secondsOf = (nanos: number): number =>
  Number.isFinite(nanos) ? Math.max(0, nanos / 1e9 - (isDeno ? 0 : resolutionMs / 1_000)) : 0

/** The delays since the last reading; one reading serves all three quantiles of a scrape. */
const eventLoop = (histogram: Delays | undefined, now: () => number) => {
  let readAt = -Infinity
  let last = { "0.5": 0, "0.99": 0, "1": 0 }
  return (quantile: keyof typeof last): number => {
    if (histogram === undefined) return 0
    const at = now()
    if (at - readAt > 100) {
      readAt = at
      if (histogram.count > 0) {
        last = {
          "0.5": secondsOf(histogram.percentile(50)),
          "0.99": secondsOf(histogram.percentile(99)),
          "1": secondsOf(histogram.max)
        }
      }
      histogram.reset()
    }
    return last[quantile]
  }
}

/** Shows them while the scope is open. */
export const show = (
  meters: Meters,
  build: { readonly service: string; readonly version: string }
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const histogram = yield* Effect.acquireRelease(
      Effect.sync(delays),
      (histogram) => Effect.sync(() => histogram?.disable())
    )
    const read = eventLoop(histogram, () => clock.currentTimeMillisUnsafe())
    for (const quantile of ["0.5", "0.99", "1"] as const) {
      yield* meters.gaugeScoped(Catalog.eventLoopDelay, { quantile }, () => read(quantile))
    }
    yield* meters.gaugeScoped(Catalog.buildInfo, { ...build, runtime }, () => 1)
    yield* meters.gaugeScoped(Catalog.processStart, {}, () => performance.timeOrigin / 1_000)
    yield* meters.gaugeScoped(Catalog.processMemory, {}, () => process.memoryUsage.rss())
    yield* meters.gaugeScoped(Catalog.heapUsed, {}, () => process.memoryUsage().heapUsed)
    meters.counted(Catalog.processCpu, {}, () => {
      const { system, user } = process.cpuUsage()
      return (system + user) / 1e6
    })
  })
