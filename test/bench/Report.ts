/** What the benchmark tells: one value that is printed as tables and written as JSON, so that both show the same figures. */
import type { FloorFigures } from "./Floor.ts"
import type { Summary } from "./Profile.ts"
import * as Samples from "./Samples.ts"
import type { Figure, Values } from "./Scenario.ts"
import * as Table from "./Table.ts"

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
  readonly peakMb: number
}

export interface Measured {
  readonly scenario: string
  readonly what: string
  readonly sync: Sync
  readonly figures: ReadonlyArray<MeasuredFigure>
  readonly processes: ReadonlyArray<MeasuredProcess>
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

export const processesOf = (runs: ReadonlyArray<Usages>): ReadonlyArray<MeasuredProcess> =>
  [...new Set(runs.flatMap((run) => [...run.keys()]))].map((name) => {
    const found = runs.flatMap((run) => run.get(name) ?? [])
    return {
      name,
      cpuSeconds: Samples.median(found.map((usage) => usage.cpuSeconds)),
      peakMb: Samples.median(found.map((usage) => usage.peakMb))
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
    [left("scenario"), left("sync"), left("process"), right("CPU s"), right("peak MB")],
    results.flatMap(({ processes, scenario, sync }) =>
      processes.map(({ cpuSeconds, name, peakMb }) => [scenario, sync, name, cpuSeconds.toFixed(2), peakMb.toFixed(0)])
    )
  )

const profileLines = 30
/** A process that only waited is not worth a table. */
const busyMinMs = 10
const profileText = ({ process, scenario, summary, sync }: Profiled): string => {
  const { busyMs, files, functions, idleMs } = summary
  const row = (
    { place, selfMs, share }: Summary["functions"][number]
  ) => [(share * 100).toFixed(1), selfMs.toFixed(0), place]
  const columns = [right("%"), right("ms"), left("")]
  return [
    `## ${scenario}, sync ${sync}, ${process}: busy ${busyMs.toFixed(0)} ms, waiting ${idleMs.toFixed(0)} ms`,
    Table.render(columns, functions.slice(0, profileLines).map(row)),
    "by file or package:",
    Table.render(columns, files.slice(0, profileLines / 2).map(row))
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
    ...profiles.filter(({ summary }) => summary.busyMs >= busyMinMs).flatMap((profile) => ["", profileText(profile)]),
    "",
    ...notes,
    ...results.flatMap(({ failure, scenario, sync }) =>
      failure === undefined ? [] : [`FAILED: ${scenario}, sync ${sync}: ${failure}`]
    )
  ].join("\n")
}
