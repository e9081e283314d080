/**
 * One session of the benchmark at one sync level: floor, mesh with the workflow scenarios, floor again; then a mesh with the claim scenarios.
 *
 * All on the same machine in the same minutes, since a figure of another day says nothing about this one. Each mesh is fresh: no scenario meets
 * the streams of another group. A scenario that fails is reported and the next goes on; a mesh that dies ends its group.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { root } from "../../infra/bootstrap/nats-server.mjs"
import { Mesh, MeshFailed, type MeshOptions } from "../e2e/Mesh.ts"
import * as ProcessUsage from "../e2e/ProcessUsage.ts"
import * as Floor from "./Floor.ts"
import * as Profile from "./Profile.ts"
import * as Report from "./Report.ts"
import type { Bench, Scenario, Values } from "./Scenario.ts"
import * as Traffic from "./Traffic.ts"
import * as WorkflowClient from "./WorkflowClient.ts"

export interface SessionOptions {
  readonly sync: Report.Sync
  readonly runs: number
  readonly quick: boolean
  readonly scenarios: ReadonlyArray<Scenario>
  /** The floor's script; without it no ratios. */
  readonly floor?: string
  /** The folder that profiles are written to. */
  readonly profiles?: string
  readonly mesh: Pick<MeshOptions, "runtime" | "program" | "coordinators" | "poolSchedulers" | "executors" | "slots">
  readonly log: (line: string) => void
}

export interface SessionResult {
  readonly floor: ReadonlyArray<Floor.FloorFigures>
  readonly results: ReadonlyArray<Report.Measured>
  readonly profiles: ReadonlyArray<Report.Profiled>
}

interface Run {
  readonly scenario: Scenario
  readonly values: ReadonlyArray<Values>
  readonly usages: ReadonlyArray<Report.Usages>
  readonly traffic: ReadonlyArray<ReadonlyMap<string, Traffic.Traffic>>
  readonly windows: ReadonlyArray<Profile.Window>
  readonly failure?: string
}

/** The benchmark's own process in the tables. */
const clientName = "client"
const samplingUs = 500
const echoWithinMs = 10_000

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** What each process used between two looks, and its peak. */
const usageSince = (before: Report.Usages, after: Report.Usages): Report.Usages =>
  new Map([...after].flatMap(([name, { cpuSeconds, peakMb }]) => {
    const from = before.get(name)
    return from === undefined ? [] : [[name, { cpuSeconds: cpuSeconds - from.cpuSeconds, peakMb }] as const]
  }))

const pidsOf = (mesh: Mesh): ReadonlyArray<readonly [string, number]> => [
  [clientName, process.pid],
  ...[...mesh.processes.values()].map(({ name, pid }) => [name, pid] as const)
]

const usages = (mesh: Mesh): Report.Usages =>
  new Map(
    pidsOf(mesh).flatMap(([name, pid]) => {
      const usage = ProcessUsage.read(pid)
      return usage === undefined ? [] : [[name, usage] as const]
    })
  )

const trafficOf = async (mesh: Mesh): Promise<ReadonlyMap<string, Traffic.Traffic>> =>
  mesh.monitorUrl === undefined ? new Map() : Traffic.read(mesh.monitorUrl)

const runScenario = async (scenario: Scenario, bench: Bench, options: SessionOptions): Promise<Run> => {
  const values: Array<Values> = []
  const used: Array<Report.Usages> = []
  const windows: Array<Profile.Window> = []
  const traffic: Array<ReadonlyMap<string, Traffic.Traffic>> = []
  const { mesh } = bench
  try {
    const prepared = await mesh.alive(scenario.name, scenario.prepare(bench))
    for (let at = 0; at < options.runs; at++) {
      for (const [, pid] of pidsOf(mesh)) ProcessUsage.resetPeak(pid)
      const sentBefore = await trafficOf(mesh)
      const before = usages(mesh)
      const from = Profile.nowUs()
      values.push(await mesh.alive(scenario.name, prepared.run()))
      windows.push([from, Profile.nowUs()])
      used.push(usageSince(before, usages(mesh)))
      traffic.push(Traffic.since(sentBefore, await trafficOf(mesh)))
    }
    await mesh.alive(scenario.name, prepared.check?.() ?? Promise.resolve())
    return { scenario, values, usages: used, windows, traffic }
  } catch (error) {
    return { scenario, values: [], usages: [], windows, traffic: [], failure: messageOf(error) }
  }
}

/** A process of the benchmark's own; it ends when its input does. */
const launch =
  (mesh: Mesh, children: Array<ChildProcess>) => async (file: string, args: ReadonlyArray<string>): Promise<void> => {
    const child = spawn(process.execPath, [join(import.meta.dirname, file), mesh.natsUrl, ...args], {
      stdio: ["pipe", "pipe", "inherit"]
    })
    children.push(child)
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${file} was not ready within ${echoWithinMs} ms`)), echoWithinMs)
      child.once("error", reject)
      child.once("exit", (code) => reject(new Error(`${file} ended with ${code}`)))
      child.stdout.once("data", () => {
        clearTimeout(late)
        resolve()
      })
    })
  }

const end = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  child.kill("SIGKILL")
  await gone
}

const runGroup = async (
  scenarios: ReadonlyArray<Scenario>,
  options: SessionOptions
): Promise<{ readonly runs: ReadonlyArray<Run>; readonly names: ReadonlyArray<string> }> => {
  if (scenarios.length === 0) return { runs: [], names: [] }
  const { profiles } = options
  const pools = new Map(
    scenarios.flatMap((scenario) => scenario.pools?.(options.quick) ?? []).map((pool) => [pool.name, pool])
  )
  const mesh = await Mesh.start({
    ...options.mesh,
    sync: options.sync,
    hasMonitor: true,
    pools: [...pools.values()],
    ...(profiles === undefined ? {} : {
      runtimeFlags: (name: string) => {
        const folder = join(profiles, name)
        mkdirSync(folder, { recursive: true })
        return ["--cpu-prof", `--cpu-prof-dir=${folder}`, `--cpu-prof-interval=${samplingUs}`]
      }
    })
  })
  const children: Array<ChildProcess> = []
  const runs: Array<Run> = []
  const names = [...mesh.processes.keys()].filter((name) => name !== "nats-server")
  try {
    const connection = await mesh.connection()
    const workflows = await WorkflowClient.make(connection, (subject, body) => mesh.ask(subject, body))
    const bench: Bench = { mesh, connection, workflows, quick: options.quick, launch: launch(mesh, children) }
    for (const scenario of scenarios) {
      options.log(`${scenario.name}, sync ${options.sync}: ${scenario.what}`)
      runs.push(await runScenario(scenario, bench, options))
    }
    workflows.close()
  } finally {
    await Promise.all(children.map(end))
    const ended = await mesh.stop()
    const unclean = ended.filter(({ code, name }) => code !== 0 && name !== "nats-server")
    if (unclean.length > 0) options.log(`did not end cleanly: ${JSON.stringify(unclean)}`)
  }
  return { runs, names }
}

const profilesOf = (
  runs: ReadonlyArray<Run>,
  names: ReadonlyArray<string>,
  options: SessionOptions
): ReadonlyArray<Report.Profiled> => {
  const { profiles, sync } = options
  if (profiles === undefined) return []
  return names.flatMap((name) => {
    const found = Profile.readFolder(join(profiles, name))
    return runs.filter(({ windows }) => windows.length > 0).map(({ scenario, windows }) => ({
      scenario: scenario.name,
      sync,
      process: name,
      summary: Profile.summarize(found, root, windows)
    }))
  })
}

export const run = async (options: SessionOptions): Promise<SessionResult> => {
  const { floor: script, scenarios, sync } = options
  const floor: Array<Floor.FloorFigures> = []
  const results: Array<Report.Measured> = []
  const profiles: Array<Report.Profiled> = []
  const workflow = scenarios.filter(({ group }) => group === "workflow")
  const claim = scenarios.filter(({ group }) => group === "claim")
  const runFloor = async (): Promise<void> => {
    if (script === undefined || workflow.length === 0) return
    options.log(`floor, sync ${sync}`)
    floor.push(await Floor.run(script, sync))
  }
  await runFloor()
  for (const group of [workflow, claim]) {
    const own = options.profiles === undefined
      ? options
      : { ...options, profiles: join(options.profiles, sync, group[0]?.group ?? "") }
    try {
      const { names, runs } = await runGroup(group, own)
      if (group === workflow) await runFloor()
      const limit = Floor.mean(floor)
      for (const { failure, scenario, traffic, usages: used, values } of runs) {
        const pieces = scenario.pieces?.(options.quick)
        results.push({
          scenario: scenario.name,
          what: scenario.what,
          sync,
          figures: failure === undefined ? Report.figuresOf(scenario.figures, values, limit) : [],
          processes: pieces === undefined ? [] : Report.processesOf(used, pieces),
          traffic: pieces === undefined ? [] : Report.trafficOf(traffic, pieces),
          ...(failure === undefined ? {} : { failure })
        })
      }
      profiles.push(...profilesOf(runs, names, own))
    } catch (error) {
      if (!(error instanceof MeshFailed)) throw error
      for (const { name, what } of group) {
        results.push({ scenario: name, what, sync, figures: [], processes: [], traffic: [], failure: error.message })
      }
    }
  }
  return { floor, results, profiles }
}
