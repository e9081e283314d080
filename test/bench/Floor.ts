/**
 * The floor: four small processes that pass the same messages as the product with nothing else, run in the same session on the same machine.
 *
 * It stands outside the checkout (`HEDDLE_BENCH_FLOOR`, or `../shared/bench/floor` beside it); without it the benchmark has no ratios, and says so.
 */
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { findNatsServer, root } from "../../infra/bootstrap/nats-server.mjs"

/** As its client prints them. */
export interface FloorFigures {
  readonly hello_p50_ms: number
  readonly hello_p99_ms: number
  readonly fan100_ms: number
  readonly chain20_ms: number
  readonly diamonds_per_s: number
}
export type FloorKey = keyof FloorFigures

const keys: ReadonlyArray<FloorKey> = ["hello_p50_ms", "hello_p99_ms", "fan100_ms", "chain20_ms", "diamonds_per_s"]
const runWithinMs = 120_000

/** The script, or why there is none. */
export const find = (): { readonly script: string } | { readonly missing: string } => {
  const folder = process.env["HEDDLE_BENCH_FLOOR"] ?? join(root, "..", "shared", "bench", "floor")
  const script = join(folder, "run.mjs")
  return existsSync(script)
    ? { script }
    : { missing: `no floor to compare with: there is no ${script} (HEDDLE_BENCH_FLOOR)` }
}

/** The line of figures in what the floor prints. */
export const parse = (output: string): FloorFigures => {
  const line = output.split("\n").find((text) => text.startsWith("{"))
  const found: Partial<Record<FloorKey, unknown>> = JSON.parse(line ?? "{}")
  for (const key of keys) {
    if (typeof found[key] !== "number") throw new Error(`the floor printed no ${key}:\n${output}`)
  }
  return found as FloorFigures // each key was checked
}

/** One run with one log per coordinator, as the product writes. */
export const run = async (script: string, sync: "always" | "interval"): Promise<FloorFigures> => {
  const server = await findNatsServer()
  const args = [script, "--shards", "1", ...(sync === "always" ? ["--sync", "always"] : [])]
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: root,
    env: { ...process.env, NATS_SERVER: server.path },
    timeout: runWithinMs
  })
  return parse(stdout)
}

/** The mean of each figure: the floor runs before and after the product, and the machine drifts between. */
export const mean = (runs: ReadonlyArray<FloorFigures>): FloorFigures | undefined => {
  if (runs.length === 0) return undefined
  const entries = keys.map((key) => [key, runs.reduce((sum, figures) => sum + figures[key], 0) / runs.length] as const)
  return Object.fromEntries(entries) as unknown as FloorFigures // one entry for each key
}
