/** Throughput: 2,000 workflows of five tasks, with a bound on how many are under way, or all submitted at once. */
import * as Samples from "../Samples.ts"
import type { Scenario } from "../Scenario.ts"
import { inFlight } from "../WorkflowClient.ts"
import * as Graphs from "./Graphs.ts"
import * as Outcome from "./Outcome.ts"

const count = 2_000
/** Until V8 has optimised what is hot in every service: figures are those of a mesh that has run for a while. */
const warmUp = 5_000
const sizeOf = (quick: boolean): number => quick ? 20 : count

const scenario = (name: string, most: number, what: string): Scenario => ({
  name,
  group: "workflow",
  what,
  figures: [
    { name: "workflows", unit: "/s", floor: "diamonds_per_s" },
    { name: "p50", unit: "ms" },
    { name: "p99", unit: "ms" }
  ],
  pieces: sizeOf,
  pools: () => [Graphs.inlinePool],
  prepare: async ({ mesh, quick, workflows }) => {
    const stored = await workflows.put(Graphs.diamond)
    const total = sizeOf(quick)
    await inFlight(quick ? 5 : warmUp, Math.min(most, 64), async () => {
      await workflows.run(stored, { confirmed: true })
    })
    const seen = new Set<string>()
    return {
      run: async () => {
        const times = new Float64Array(total)
        seen.clear()
        const from = performance.now()
        await inFlight(total, most, async (at) => {
          const submitted = performance.now()
          seen.add((await workflows.run(stored)).instanceId)
          times[at] = performance.now() - submitted
        })
        const seconds = (performance.now() - from) / 1_000
        if (seen.size !== total) throw new Error(`${total} starts gave ${seen.size} instances`)
        return { workflows: total / seconds, p50: Samples.percentile(times, 0.5), p99: Samples.percentile(times, 0.99) }
      },
      check: () => Outcome.check(mesh, seen, Graphs.diamond.spec.tasks.length)
    }
  }
})

export const diamonds64 = scenario("diamonds-64", 64, "2,000 five-task diamonds, 64 in flight")
export const diamonds256 = scenario("diamonds-256", 256, "2,000 five-task diamonds, 256 in flight")
export const diamondsBurst = scenario("diamonds-burst", count, "2,000 five-task diamonds submitted at once")
