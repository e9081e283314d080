/**
 * `npm run bench`: how fast the product is on this machine, held against what the machine can do. docs/design/performance.md.
 *
 * A program of its own and not a test: it asserts that results are right, never how long they took. `--quick` runs everything with tiny sizes.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { arch, cpus, release, tmpdir, totalmem } from "node:os"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { findNatsServer, root } from "../../infra/bootstrap/nats-server.mjs"
import * as Floor from "./Floor.ts"
import * as Report from "./Report.ts"
import type { Scenario } from "./Scenario.ts"
import { claims } from "./scenario/Claims.ts"
import { diamonds256, diamonds64, diamondsBurst } from "./scenario/Diamonds.ts"
import { chain, fanOut, hello } from "./scenario/Latency.ts"
import { roundTrip } from "./scenario/RoundTrip.ts"
import * as Session from "./Session.ts"

const scenarios: ReadonlyArray<Scenario> = [
  hello,
  fanOut,
  chain,
  diamonds64,
  diamonds256,
  diamondsBurst,
  roundTrip,
  claims
]

const usage = `npm run bench -- [scenario ...] [flags]

npm run bench -- claims [core|kube|large ...] [--quick] [--runs N] [--json FILE]: what a claim costs in the scheduler, on the Kubernetes API
  beside plain PATCHes, and among 100,000 sandboxes (--profile-dir DIR: CPU profiles of that service); over NATS it is the scenario "claims" of the group "claim"
npm run bench -- engine [decide|replay|compile|completion ...]: the workflow engine alone, without a mesh
npm run bench -- memory: heap of a coordinator's process per live instance of ten tasks, and per one that waits long

scenarios (all when none is named; also a part of a name, or a group: workflow, claim):
${scenarios.map(({ name, what }) => `  ${name.padEnd(16)}${what}`).join("\n")}

  --json FILE          write the same figures as JSON
  --quick              tiny sizes, one run, no floor: shows that everything works, figures mean nothing
  --sync LEVEL         interval, always or both (default)
  --runs N             runs of each scenario, the median is shown (3)
  --no-floor           without the floor
  --profile            CPU profile of each service: the functions with the most self time while it was measured (Node)
  --profile-dir DIR    the same, and keep the .cpuprofile files
  --runtime NAME       node (default) or deno: what the services run on
  --program FILE       what the services are started from, such as a bundle (cli/heddle.ts)
  --coordinators N --pool-schedulers N --executors N    processes of each (1)
  --slots N            of each executor (256)
`

const readArgs = () =>
  parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      json: { type: "string" },
      quick: { type: "boolean", default: false },
      sync: { type: "string" },
      runs: { type: "string" },
      floor: { type: "boolean", default: true },
      profile: { type: "boolean", default: false },
      "profile-dir": { type: "string" },
      runtime: { type: "string", default: "node" },
      program: { type: "string" },
      coordinators: { type: "string", default: "1" },
      "pool-schedulers": { type: "string", default: "1" },
      executors: { type: "string", default: "1" },
      slots: { type: "string", default: "256" },
      help: { type: "boolean", short: "h", default: false }
    }
  })

class UsageError extends Error {}

const whole = (name: string, text: string): number => {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`--${name} ${text} is no whole number from 1`)
  return value
}

const oneOf = <A extends string>(name: string, text: string, allowed: ReadonlyArray<A>): A => {
  const found = allowed.find((value) => value === text)
  if (found === undefined) throw new UsageError(`--${name} ${text} is none of ${allowed.join(", ")}`)
  return found
}

/** Every word must name at least one scenario: a misspelt one must not look like a short benchmark. */
const chosen = (words: ReadonlyArray<string>): ReadonlyArray<Scenario> => {
  if (words.length === 0) return scenarios
  const found = new Set<Scenario>()
  for (const word of words) {
    const own = scenarios.filter(({ group, name }) => group === word.replace(/s$/, "") || name.includes(word))
    if (own.length === 0) {
      throw new UsageError(`no scenario is called ${word}; there are ${scenarios.map(({ name }) => name).join(", ")}`)
    }
    for (const scenario of own) found.add(scenario)
  }
  return scenarios.filter((scenario) => found.has(scenario))
}

const log = (line: string): void => void process.stderr.write(`bench: ${line}\n`)

const bench = async (): Promise<void> => {
  // Has flags of its own.
  if (process.argv[2] === "claims") return void await import("./claims.ts")
  const { positionals, values } = readArgs()
  if (values.help) return void process.stdout.write(usage)
  if (positionals[0] === "engine") return void await import("./engine.ts")
  if (positionals[0] === "memory") return void await import("./memory.ts")
  const selected = chosen(positionals)
  const sync = oneOf("sync", values.sync ?? (values.quick ? "interval" : "both"), ["interval", "always", "both"])
  const runtime = oneOf("runtime", values.runtime, ["node", "deno"])
  const isProfiled = values.profile || values["profile-dir"] !== undefined
  if (isProfiled && runtime === "deno") {
    throw new UsageError("--profile needs --runtime node: Deno writes no CPU profile")
  }
  const runs = whole("runs", values.runs ?? (values.quick ? "1" : "3"))
  const mesh = {
    runtime,
    ...(values.program === undefined ? {} : { program: resolve(values.program) }),
    coordinators: whole("coordinators", values.coordinators),
    poolSchedulers: whole("pool-schedulers", values["pool-schedulers"]),
    executors: whole("executors", values.executors),
    slots: whole("slots", values.slots)
  }
  const notes: Array<string> = []
  const floor = Floor.find()
  const script = values.floor && !values.quick && "script" in floor ? floor.script : undefined
  if (values.floor && !values.quick && "missing" in floor) notes.push(floor.missing)
  if (isProfiled) notes.push("profiling costs time: compare figures only with those of another profiled run")

  const temporary = isProfiled && values["profile-dir"] === undefined
    ? mkdtempSync(join(tmpdir(), "heddle-profile-"))
    : undefined
  const profileFolder = values["profile-dir"] ?? temporary
  const sessions: Array<readonly [Report.Sync, Session.SessionResult]> = []
  const server = await findNatsServer()
  try {
    for (const level of sync === "both" ? ["interval", "always"] as const : [sync]) {
      sessions.push([
        level,
        await Session.run({
          sync: level,
          runs,
          quick: values.quick,
          scenarios: selected,
          mesh,
          log,
          ...(script === undefined ? {} : { floor: script }),
          ...(profileFolder === undefined ? {} : { profiles: profileFolder })
        })
      ])
    }
  } finally {
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true })
  }
  const packageJson: { readonly version: string; readonly dependencies: Record<string, string> } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8")
  )
  const cores = cpus()
  const report: Report.Report = {
    at: new Date().toISOString(),
    machine: {
      cores: cores.length,
      cpu: cores[0]?.model ?? "unknown",
      "memory GB": Math.round(totalmem() / 1e9),
      system: `${process.platform} ${release()} ${arch()}`
    },
    versions: {
      heddle: packageJson.version,
      node: process.versions.node,
      ...(runtime === "deno" ? { services: "deno" } : {}),
      "nats-server": server.version,
      effect: packageJson.dependencies["effect"] ?? "unknown"
    },
    options: { ...mesh, runs, quick: values.quick, sync, scenarios: selected.map(({ name }) => name) },
    floor: sessions.map(([level, { floor: figures }]) => {
      const mean = Floor.mean(figures)
      return { sync: level, runs: figures, ...(mean === undefined ? {} : { mean }) }
    }),
    results: sessions.flatMap(([, { results }]) => results),
    profiles: sessions.flatMap(([, { profiles }]) => profiles),
    notes
  }
  process.stdout.write(`${Report.render(report)}\n`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
  if (report.results.some(({ failure }) => failure !== undefined)) process.exitCode = 1
}

try {
  await bench()
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && "code" in error)
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  if (isUsage) process.stderr.write("See: npm run bench -- --help\n")
  process.exitCode = isUsage ? 2 : 1
}
