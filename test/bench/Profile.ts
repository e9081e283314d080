/**
 * Where a process spent its time: the functions of a V8 CPU profile by self time.
 *
 * A sample counts for the time until the next one. Waiting (`(idle)`) is told apart, so shares are of the time that the process worked.
 * With windows only what was measured counts, not start-up and warm-up; both clocks are the machine's monotonic one, in microseconds.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** The file that `--cpu-prof` writes. Times in microseconds. */
export interface CpuProfile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly children?: ReadonlyArray<number>
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }>
  readonly startTime: number
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

/** `[from, to)` on the monotonic clock, microseconds. */
export type Window = readonly [fromUs: number, toUs: number]

export interface Line {
  /** `functionName path:line`, or V8's own `(garbage collector)`, `(program)`. */
  readonly place: string
  readonly selfMs: number
  /** Of the busy time, 0 to 1. */
  readonly share: number
}

export interface Summary {
  readonly busyMs: number
  readonly idleMs: number
  readonly functions: ReadonlyArray<Line>
  /** The same time by file, or by package. */
  readonly files: ReadonlyArray<Line>
  /** Functions of the checkout with the time of everything that they call; these overlap. */
  readonly withCallees: ReadonlyArray<Line>
}

/** The monotonic clock that profiles are stamped with. */
export const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n)

/** Shortens a script's URL: a package's name and file, else the path from the checkout. */
export const shortPath = (url: string, root: string): string => {
  if (!url.startsWith("file:")) return url
  const path = fileURLToPath(url)
  const inPackage = path.lastIndexOf("/node_modules/")
  if (inPackage >= 0) return path.slice(inPackage + "/node_modules/".length)
  return path.startsWith(`${root}/`) ? path.slice(root.length + 1) : path
}

const isOwn = (url: string, path: string): boolean =>
  url.startsWith("file:") && !url.includes("/node_modules/") && !path.startsWith("/")

/** One file of ours; of packages, runtime and engine only whose it is. */
const ownerOf = (path: string, name: string): string => {
  if (path === "") return name.startsWith("(") ? name : "(native)"
  if (path.startsWith("node:")) return "node"
  const scoped = /^(@[^/]+\/[^/]+|effect)\//.exec(path)?.[1]
  return scoped ?? path
}

const ranked = (times: ReadonlyMap<string, number>, busyUs: number): ReadonlyArray<Line> =>
  [...times].sort((a, b) => b[1] - a[1]).map(([place, us]) => ({
    place,
    selfMs: us / 1_000,
    share: busyUs === 0 ? 0 : us / busyUs
  }))

/** Self times of one profile, or of several lives of one service. No window: all of it. */
export const summarize = (
  profiles: ReadonlyArray<CpuProfile>,
  root: string,
  windows?: ReadonlyArray<Window>
): Summary => {
  const functions = new Map<string, number>()
  const files = new Map<string, number>()
  const totals = new Map<string, number>()
  let busyUs = 0
  let idleUs = 0
  for (const { nodes, samples, startTime, timeDeltas } of profiles) {
    const frames = new Map(nodes.map(({ callFrame, id }) => {
      const path = shortPath(callFrame.url, root)
      const name = callFrame.functionName === "" ? "(anonymous)" : callFrame.functionName
      const place = path === "" ? name : `${name} ${path}:${callFrame.lineNumber + 1}`
      return [id, { name, place, owner: ownerOf(path, name), isOwn: isOwn(callFrame.url, path) }] as const
    }))
    const parents = new Map(nodes.flatMap(({ children = [], id }) => children.map((child) => [child, id] as const)))
    let at = startTime
    for (let index = 0; index < samples.length; index++) {
      at += timeDeltas[index] ?? 0
      const us = Math.max(0, timeDeltas[index + 1] ?? 0)
      const frame = frames.get(samples[index] ?? -1)
      if (frame === undefined) continue
      if (windows !== undefined && !windows.some(([from, to]) => at >= from && at < to)) continue
      if (frame.name === "(idle)") {
        idleUs += us
        continue
      }
      busyUs += us
      functions.set(frame.place, (functions.get(frame.place) ?? 0) + us)
      files.set(frame.owner, (files.get(frame.owner) ?? 0) + us)
      const onStack = new Set<string>() // a function that calls itself counts once
      for (let id = samples[index]; id !== undefined; id = parents.get(id)) {
        const caller = frames.get(id)
        if (caller?.isOwn === true) onStack.add(caller.place)
      }
      for (const place of onStack) totals.set(place, (totals.get(place) ?? 0) + us)
    }
  }
  return {
    busyMs: busyUs / 1_000,
    idleMs: idleUs / 1_000,
    functions: ranked(functions, busyUs),
    files: ranked(files, busyUs),
    withCallees: ranked(totals, busyUs)
  }
}

/** The profiles in a folder. */
export const readFolder = (folder: string): ReadonlyArray<CpuProfile> =>
  readdirSync(folder).filter((name) => name.endsWith(".cpuprofile")).map((name) =>
    JSON.parse(readFileSync(join(folder, name), "utf8"))
  )
