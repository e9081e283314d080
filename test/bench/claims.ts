/**
 * Claims: `npm run bench -- claims [--quick] [--runs N] [--json FILE] [--profile-dir DIR] [core|kube|large]`. What one costs in the scheduler, on Kubernetes' API, and among
 * 100,000 sandboxes: in one process without a broker, and in a pool-scheduler process of its own, whose start, idle cost and take-over are measured too.
 *
 * The claim path over NATS is the scenario `claims` of the group (`npm run bench -- claim`). Targets of the issue are in the tables; nothing fails for being missed, since a
 * figure depends on the machine. docs/design/performance.md, "Claims on Kubernetes".
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { cpus, loadavg } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as ClaimCore from "./ClaimCore.ts"
import * as ClaimFleet from "./ClaimFleet.ts"
import * as ClaimKube from "./ClaimKube.ts"
import * as ClaimLarge from "./ClaimLarge.ts"
import * as ClaimReport from "./ClaimReport.ts"

const log = (line: string): void => void process.stderr.write(`bench: ${line}\n`)

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    runs: { type: "string" },
    json: { type: "string" },
    /** CPU profiles of the service of `large` are written there. */
    "profile-dir": { type: "string" },
    /** How `large` starts itself: with a heap that can be collected on demand. */
    collected: { type: "boolean", default: false }
  }
})
const parts = ["core", "kube", "large"] as const
const chosen = parts.filter((part) => positionals.includes(part))
const asked = positionals.filter((word) => word !== "claims")
if (asked.length > chosen.length) {
  log(`${asked.join(" ")}: the parts are ${parts.join(", ")}`)
  process.exit(2)
}
const wants = (part: typeof parts[number]): boolean => chosen.length === 0 || chosen.includes(part)
const isQuick = values.quick
const runs = Number(values.runs ?? (isQuick ? 1 : 3))

/** In a process of its own, so that nothing else is on its heap. */
const large = (): ClaimLarge.Large => {
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ["--expose-gc", import.meta.filename, "--collected", ...(isQuick ? ["--quick"] : [])],
    { encoding: "utf8" }
  )
  if (status !== 0) throw new Error(`the part "large" failed: ${stderr}`)
  return JSON.parse(stdout)
}

/** The service as a process of its own; with a latency on pods of the API-server double. */
const fleet = (kubeLatencyMs?: number): Promise<ClaimFleet.Fleet> => {
  const size = isQuick
    ? { pools: 3, each: 5, large: 10, claims: 30, idleMs: 200, ttl: "1s" }
    : kubeLatencyMs === undefined
    ? { pools: 200, each: 500, large: 20_000, claims: 20_000, idleMs: 20_000 }
    : { pools: 40, each: 500, large: 2_000, claims: 4_000, idleMs: 20_000 }
  const folder = values["profile-dir"]
  const profiles = folder === undefined
    ? undefined
    : join(folder, kubeLatencyMs === undefined ? "simulated" : "kubernetes")
  if (profiles !== undefined) mkdirSync(profiles, { recursive: true })
  return ClaimFleet.run({
    ...size,
    log,
    ...(kubeLatencyMs === undefined ? {} : { kubeLatencyMs }),
    ...(profiles === undefined ? {} : { profiles })
  })
}

if (values.collected) {
  const result = isQuick ? ClaimLarge.run(4, 10, 40) : ClaimLarge.run(200, 500, 100_000)
  process.stdout.write(JSON.stringify(result))
} else {
  const core = wants("core") ? ClaimCore.run(isQuick) : []
  const compared: Array<ClaimKube.Compared> = []
  if (wants("kube")) {
    for (const latencyMs of isQuick ? [1] : [5, 50]) {
      compared.push(...await ClaimKube.run(latencyMs, isQuick, runs, log))
    }
  }
  const big = wants("large") ? large() : undefined
  const fleets = wants("large") ? [await fleet(), await fleet(isQuick ? 1 : 5)] : []
  const report: ClaimReport.ClaimReport = {
    at: new Date().toISOString(),
    machine: {
      cores: cpus().length,
      cpu: cpus()[0]?.model ?? "unknown",
      load: loadavg().map((one) => Number(one.toFixed(2)))
    },
    node: process.versions.node,
    runs,
    core,
    kube: compared,
    fleets,
    ...(big === undefined ? {} : { large: big })
  }
  process.stdout.write(`${ClaimReport.render(report)}\n`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}
