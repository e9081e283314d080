/** How long one workflow takes from submit to result when nothing else runs: one task, 100 side by side, 20 in a row. */
import type { DefinitionEncoded } from "../../../shared/protocol/Definition.ts"
import * as Samples from "../Samples.ts"
import type { Figure, Scenario } from "../Scenario.ts"
import * as Graphs from "./Graphs.ts"
import * as Outcome from "./Outcome.ts"

interface Options {
  readonly name: string
  readonly what: string
  readonly definition: DefinitionEncoded
  readonly count: number
  readonly warmUp: number
  readonly figures: ReadonlyArray<Figure & { readonly share: number }>
}

const scenario = ({ count, definition, figures, name, warmUp, what }: Options): Scenario => ({
  name,
  group: "workflow",
  what,
  figures,
  pools: () => [Graphs.inlinePool],
  prepare: async ({ mesh, quick, workflows }) => {
    const stored = await workflows.put(definition)
    const seen = new Set<string>()
    for (let at = 0; at < (quick ? 2 : warmUp); at++) await workflows.run(stored, { confirmed: true })
    return {
      run: async () => {
        const times: Array<number> = []
        for (let at = 0; at < (quick ? 3 : count); at++) {
          const from = performance.now()
          const { instanceId } = await workflows.run(stored)
          times.push(performance.now() - from)
          seen.add(instanceId)
        }
        return Object.fromEntries(figures.map((figure) => [figure.name, Samples.percentile(times, figure.share)]))
      },
      check: () => Outcome.check(mesh, seen, definition.spec.tasks.length)
    }
  }
})

export const hello = scenario({
  name: "hello",
  what: "one no-op task, submit to result, one at a time",
  definition: Graphs.hello,
  count: 500,
  warmUp: 200,
  figures: [
    { name: "p50", unit: "ms", floor: "hello_p50_ms", share: 0.5 },
    { name: "p99", unit: "ms", floor: "hello_p99_ms", share: 0.99 }
  ]
})

export const fanOut = scenario({
  name: "fan-out",
  what: "100 tasks side by side between a first and a last",
  definition: Graphs.fanOut(100),
  count: 20,
  warmUp: 10,
  figures: [{ name: "p50", unit: "ms", floor: "fan100_ms", share: 0.5 }]
})

export const chain = scenario({
  name: "chain",
  what: "20 tasks in a row",
  definition: Graphs.chain(20),
  count: 30,
  warmUp: 10,
  figures: [{ name: "p50", unit: "ms", floor: "chain20_ms", share: 0.5 }]
})
