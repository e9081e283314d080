/** The workflows of the benchmark: the same graphs as the floor's, of no-op tasks in the `inline` pool, where a task costs an executor slot and nothing else. */
import type { DefinitionEncoded } from "../../../shared/protocol/Definition.ts"
import type { PoolSpec } from "../../../shared/protocol/Pool.ts"

const pool = "inline"

/** Enough slots that no task of any scenario but the burst waits for one. */
export const inlinePool: typeof PoolSpec.Encoded = { name: pool, provider: "inline", size: 512 }

const graph = (
  name: string,
  tasks: ReadonlyArray<readonly [name: string, dependsOn: ReadonlyArray<string>]>
): DefinitionEncoded => ({
  metadata: { name: `bench-${name}` },
  spec: {
    pool,
    tasks: tasks.map(([name, dependsOn]) => ({ name, type: "noop", ...(dependsOn.length === 0 ? {} : { dependsOn }) }))
  }
})

const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, at) => at)

export const hello = graph("hello", [["a", []]])
/** One task, then `width` side by side, then one. */
export const fanOut = (width: number): DefinitionEncoded => {
  const middle = numbers(width).map((at) => `f${at}`)
  return graph(`fan-out-${width}`, [["p", []], ...middle.map((name) => [name, ["p"]] as const), ["j", middle]])
}
export const chain = (length: number): DefinitionEncoded =>
  graph(`chain-${length}`, numbers(length).map((at) => [`t${at}`, at === 0 ? [] : [`t${at - 1}`]] as const))
/** Five tasks: a, then b, c, d, then e. */
export const diamond = graph("diamond", [["a", []], ["b", ["a"]], ["c", ["a"]], ["d", ["a"]], ["e", ["b", "c", "d"]]])
