/** What the benchmark tells: one value that is printed as tables and written as JSON, so that both show the same figures. */
import type { FloorFigures } from "./Floor.ts"
import type { Summary } from "./Profile.ts"
import * as Samples from "./Samples.ts"
import type { Figure, Values } from "./Scenario.ts"
import * as Table from "./Table.ts"
import type { Traffic } from "./Traffic.ts"

export type Sync = "interval" | "always"

export interface MeasuredFigure {
  readonly name: string
  readonly unit: Figure["unit"]
  /** The median of `runs`. */
  readonly value: number
  readonly runs: ReadonlyArray<number>
  /** The same on the floor, and this divided by it: a rate is better the larger, a time the smaller. */
  readonly floor?: number
  readonly ratio?: number
}

export interface MeasuredProcess {
  readonly name: string
  /** Of one run: the median of the runs. */
  readonly cpuSeconds: number
  /** The same for one piece of work. */
  readonly cpuUsEach: number
  readonly peakMb: number
}

/** Messages of one piece of work over the connections of one name; medians of the runs. */
export interface MeasuredTraffic {
  readonly connection: string
  readonly sentEach: number
  readonly receivedEach: number
  readonly bytesSentEach: number
  readonly bytesReceivedEach: number
}

export interface Measured {
  readonly scenario: string
  readonly what: string
  readonly sync: Sync
  readonly figures: ReadonlyArray<MeasuredFigure>
  readonly processes: ReadonlyArray<MeasuredProcess>
  readonly traffic: ReadonlyArray<MeasuredTraffic>
  readonly failure?: string
}

export interface Profiled {
  readonly scenario: string
  readonly sync: Sync
  readonly process: string
  readonly summary: Summary
}

export interface Report {
  readonly at: string
  readonly machine: Readonly<Record<string, string | number>>
  readonly versions: Readonly<Record<string, string>>
  readonly options: Readonly<Record<string, unknown>>
  readonly floor: ReadonlyArray<
    { readonly sync: Sync; readonly runs: ReadonlyArray<FloorFigures>; readonly mean?: FloorFigures }
  >
  readonly results: ReadonlyArray<Measured>
  readonly profiles: ReadonlyArray<Profiled>
  readonly notes: ReadonlyArray<string>
}

/** Usage of each process in one run. */
export type Usages = ReadonlyMap<string, { readonly cpuSeconds: number; readonly peakMb: number }>

/** The medians of a scenario's runs. */
export const figuresOf = (
  figures: ReadonlyArray<Figure>,
  runs: ReadonlyArray<Values>,
  floor: FloorFigures | undefined
): ReadonlyArray<MeasuredFigure> =>
  figures.map((figure) => {
    const values = runs.map((run) => run[figure.name] ?? Number.NaN)
    const value = Samples.median(values)
    const limit = figure.floor === undefined ? undefined : floor?.[figure.floor]
    return {
      name: figure.name,
      unit: figure.unit,
      value,
      runs: values,
      ...(limit === undefined ? {} : { floor: limit, ratio: value / limit })
    }
  })

export const processesOf = (runs: ReadonlyArray<Usages>, pieces: number): ReadonlyArray<MeasuredProcess> =>
  [...new Set(runs.flatMap((run) => [...run.keys()]))].map((name) => {
    const found = runs.flatMap((run) => run.get(name) ?? [])
    const cpuSeconds = Samples.median(found.map((usage) => usage.cpuSeconds))
    return {
      name,
      cpuSeconds,
      cpuUsEach: cpuSeconds * 1e6 / pieces,
      peakMb: Samples.median(found.map((usage) => usage.peakMb))
    }
  })

export const trafficOf = (
  runs: ReadonlyArray<ReadonlyMap<string, Traffic>>,
  pieces: number
): ReadonlyArray<MeasuredTraffic> =>
  [...new Set(runs.flatMap((run) => [...run.keys()]))].map((connection) => {
    const each = (key: keyof Traffic): number =>
      Samples.median(runs.map((run) => run.get(connection)?.[key] ?? 0)) / pieces
    return {
      connection,
      sentEach: each("sent"),
      receivedEach: each("received"),
      bytesSentEach: each("bytesSent"),
      bytesReceivedEach: each("bytesReceived")
    }
  })

const syncs: ReadonlyArray<Sync> = ["interval", "always"]
const right = (title: string): Table.Column => ({ title, align: "right" })
const left = (title: string): Table.Column => ({ title, align: "left" })

const figureTable = (results: ReadonlyArray<Measured>): string => {
  const shown = syncs.filter((sync) => results.some((result) => result.sync === sync))
  const rows: Array<ReadonlyArray<string>> = []
  for (const scenario of new Set(results.map((result) => result.scenario))) {
    const own = results.filter((result) => result.scenario === scenario)
    for (const { name, unit } of own.find((result) => result.figures.length > 0)?.figures ?? []) {
      rows.push([
        scenario,
        name,
        unit,
        ...shown.flatMap((sync) => {
          const figure = own.find((result) => result.sync === sync)?.figures.find((candidate) =>
            candidate.name === name
          )
          return figure === undefined ? ["failed", "", ""] : [
            Samples.format(figure.value),
            figure.floor === undefined ? "" : Samples.format(figure.floor),
            figure.ratio === undefined ? "" : figure.ratio.toFixed(2)
          ]
        })
      ])
    }
  }
  return Table.render([
    left("scenario"),
    left("figure"),
    left("unit"),
    ...shown.flatMap((sync) => [right(`sync ${sync}`), right("floor"), right("ratio")])
  ], rows)
}

const processTable = (results: ReadonlyArray<Measured>): string =>
  Table.render(
    [left("scenario"), left("sync"), left("process"), right("CPU s"), right("CPU us each"), right("peak MB")],
    results.flatMap(({ processes, scenario, sync }) => {
      const sum = (key: "cpuSeconds" | "cpuUsEach" | "peakMb") => processes.reduce((total, one) => total + one[key], 0)
      const all = { name: "all", cpuSeconds: sum("cpuSeconds"), cpuUsEach: sum("cpuUsEach"), peakMb: sum("peakMb") }
      return (processes.length === 0 ? [] : [...processes, all]).map(({ cpuSeconds, cpuUsEach, name, peakMb }) => [
        scenario,
        sync,
        name,
        cpuSeconds.toFixed(2),
        cpuUsEach.toFixed(0),
        peakMb.toFixed(0)
      ])
    })
  )

const trafficTable = (results: ReadonlyArray<Measured>): string =>
  Table.render(
    [
      left("scenario"),
      left("sync"),
      left("connection"),
      right("sent each"),
      right("got each"),
      right("B sent each"),
      right("B got each")
    ],
    results.flatMap(({ scenario, sync, traffic }) =>
      traffic.filter(({ receivedEach, sentEach }) => sentEach + receivedEach >= trafficMin).map((one) => [
        scenario,
        sync,
        one.connection,
        one.sentEach.toFixed(2),
        one.receivedEach.toFixed(2),
        one.bytesSentEach.toFixed(0),
        one.bytesReceivedEach.toFixed(0)
      ])
    )
  )

/** Heartbeats are no cost of a piece of work. */
const trafficMin = 0.01
const profileLines = 30
/** A process that mostly waited is not worth a table. */
const busyShareMin = 0.1
const isBusy = ({ summary: { busyMs, idleMs } }: Profiled): boolean => busyMs / (busyMs + idleMs) >= busyShareMin
const profileText = ({ process, scenario, summary, sync }: Profiled): string => {
  const { busyMs, files, functions, idleMs, withCallees } = summary
  const row = (
    { place, selfMs, share }: Summary["functions"][number]
  ) => [(share * 100).toFixed(1), selfMs.toFixed(0), place]
  const columns = [right("%"), right("ms"), left("")]
  return [
    `## ${scenario}, sync ${sync}, ${process}: busy ${busyMs.toFixed(0)} ms, waiting ${idleMs.toFixed(0)} ms`,
    Table.render(columns, functions.slice(0, profileLines).map(row)),
    "by file or package:",
    Table.render(columns, files.slice(0, profileLines / 2).map(row)),
    "our functions with all that they call:",
    Table.render(columns, withCallees.slice(0, profileLines).map(row))
  ].join("\n")
}

/** What is printed. */
export const render = (report: Report): string => {
  const { machine, notes, profiles, results, versions } = report
  const list = (values: Readonly<Record<string, string | number>>) =>
    Object.entries(values).map(([name, value]) => `${name} ${value}`).join(", ")
  return [
    `machine: ${list(machine)}`,
    `versions: ${list(versions)}`,
    "",
    figureTable(results),
    ...(results.some(({ processes }) => processes.length > 0) ? ["", processTable(results)] : []),
    ...(results.some(({ traffic }) => traffic.length > 0) ? ["", trafficTable(results)] : []),
    ...profiles.filter(isBusy).flatMap((profile) => ["", profileText(profile)]),
    "",
    ...notes,
    ...results.flatMap(({ failure, scenario, sync }) =>
      failure === undefined ? [] : [`FAILED: ${scenario}, sync ${sync}: ${failure}`]
    )
  ].join("\n")
}
