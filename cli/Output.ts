/**
 * What commands print: data on standard output in the asked format, everything else on standard error.
 *
 * Off a terminal, or with NO_COLOR, not one escape byte is written; a status is always a word, so that `grep` finds it. `json` is one document
 * (indented on a terminal, one line elsewhere), `jsonl` one line for each item, `yaml` the same document, `table` for people. design/02 "CLI".
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { styleText } from "node:util"

export const formats = ["table", "json", "jsonl", "yaml"] as const
export type Format = typeof formats[number]
export const colours = ["auto", "always", "never"] as const
export type Colour = typeof colours[number]

/** The streams and what they can show. */
export interface Screen {
  readonly write: (text: string) => void
  readonly writeError: (text: string) => void
  readonly isTty: boolean
  readonly isErrorTty: boolean
  readonly columns: number
}

export interface Column<A> {
  readonly title: string
  readonly value: (item: A) => string
  readonly alignRight?: boolean
}

export interface Style {
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly state: (word: string) => string
}

type Paint = Parameters<typeof styleText>[0]
const paintOfState: Readonly<Record<string, Paint>> = {
  SUCCEEDED: "green",
  FORCED_SUCCESS: "green",
  Claimed: "green",
  Released: "green",
  ok: "green",
  FAILED: "red",
  KILLED: "red",
  Failed: "red",
  problem: "red",
  STOPPED: "yellow",
  PAUSED: "yellow",
  FAILOVER: "yellow",
  READY_PAUSE: "yellow",
  READY_STOP: "yellow",
  DeadlineExceeded: "yellow",
  QueueFull: "yellow",
  warning: "yellow",
  RUNNING: "cyan",
  DISPATCHED: "cyan"
}

const plain = (text: string) => text
const painted = (paint: Paint) => (text: string) => styleText(paint, text, { validateStream: false })

export const style = (colour: boolean): Style =>
  colour
    ? {
      bold: painted("bold"),
      dim: painted("dim"),
      state: (word) => {
        const paint = paintOfState[word]
        return paint === undefined ? word : painted(paint)(word)
      }
    }
    : { bold: plain, dim: plain, state: plain }

/** NO_COLOR wins over everything but an explicit `--color always`. */
export const hasColour = (
  asked: Colour,
  isTty: boolean,
  env: Readonly<Record<string, string | undefined>>
): boolean =>
  asked === "always" ||
  (asked === "auto" && isTty && (env["NO_COLOR"] === undefined || env["NO_COLOR"] === "") && env["TERM"] !== "dumb")

// oxlint-disable-next-line no-control-regex -- escape sequences begin with a control character
const escapes = /\u001b\[[0-9;]*m/g
const width = (text: string) => text.replace(escapes, "").length

/** The first `columns` visible characters; escape sequences count for nothing and are kept, so no colour is left open. */
export const cut = (text: string, columns: number): string => {
  if (width(text) <= columns) return text
  let left = columns
  let shown = ""
  let at = 0
  for (const match of text.matchAll(escapes)) {
    const plainPart = text.slice(at, match.index).slice(0, left)
    left -= plainPart.length
    shown += plainPart + match[0]
    at = match.index + match[0].length
  }
  return shown + text.slice(at).slice(0, left)
}

/** Columns as wide as their widest cell, two spaces apart, nothing after the last; the title line only when there are items. */
export const table = <A>(columns: ReadonlyArray<Column<A>>, items: ReadonlyArray<A>, look: Style): string => {
  const rows = items.map((item) => columns.map((column) => column.value(item)))
  const widths = columns.map((column, at) =>
    rows.reduce((most, row) => Math.max(most, width(row[at] ?? "")), column.title.length)
  )
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, at) => {
      const gap = " ".repeat(Math.max(0, (widths[at] ?? 0) - width(cell)))
      return columns[at]?.alignRight === true ? gap + cell : at === cells.length - 1 ? cell : cell + gap
    }).join("  ").trimEnd()
  return [look.bold(line(columns.map((column) => column.title))), ...rows.map(line)].join("\n")
}

/** `12 ms`, `3.4 s`, `2 m 5 s`, `3 h 10 m`. */
export const duration = (ms: number): string =>
  ms < 10
    ? `${Number(ms.toFixed(1))} ms`
    : ms < 1_000
    ? `${Math.round(ms)} ms`
    : ms < 60_000
    ? `${(ms / 1_000).toFixed(1)} s`
    : ms < 3_600_000
    ? `${Math.floor(ms / 60_000)} m ${Math.floor((ms % 60_000) / 1_000)} s`
    : `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} m`

export class Output extends Context.Service<Output, {
  readonly format: Format
  readonly screen: Screen
  /** What was written may be drawn over. With NO_COLOR, or a terminal that knows no escape sequences, each change is a line of its own. */
  readonly isLive: boolean
  readonly style: Style
  /** Styles for standard error, which may be a terminal when standard output is not. */
  readonly errorStyle: Style
  /** One line of text for people on standard output, whatever the format. */
  readonly line: (text: string) => Effect.Effect<void>
  /** One line on standard error: progress, hints, logs. */
  readonly note: (text: string) => Effect.Effect<void>
  /** One value: `human` when the format is `table`. */
  readonly value: (value: unknown, human: () => string) => Effect.Effect<void>
  /** A page of items. `jsonl` prints them one a line. */
  readonly page: <A>(
    page: { readonly items: ReadonlyArray<A>; readonly next?: string },
    columns: ReadonlyArray<Column<A>>,
    none: string
  ) => Effect.Effect<void>
  /** The text of `event`, for callbacks. */
  readonly events: Effect.Effect<(value: unknown, human: () => string) => string>
  /** One item of a stream without an end: a line in every format (`json` and `jsonl` alike, `yaml` as a document). */
  readonly event: (value: unknown, human: () => string) => Effect.Effect<void>
}>()("heddle/cli/Output") {}

export const make = (
  screen: Screen,
  format: Format,
  colour: Colour,
  env: Readonly<Record<string, string | undefined>>
): Output["Service"] => {
  const look = style(hasColour(colour, screen.isTty, env))
  const line = (text: string) => Effect.sync(() => screen.write(`${text}\n`))
  const stringify = Effect.map(
    Effect.promise(() => import("yaml")),
    (module) => (value: unknown) => module.stringify(value).trimEnd()
  )
  const yaml = (value: unknown) => Effect.map(stringify, (text) => text(value))
  const events: Output["Service"]["events"] = format === "table"
    ? Effect.succeed((_, human) => `${human()}\n`)
    : format === "yaml"
    ? Effect.map(stringify, (text) => (data) => `---\n${text(data)}\n`)
    : Effect.succeed((data) => `${JSON.stringify(data)}\n`)
  const value = (data: unknown, human: () => string) =>
    format === "table"
      ? Effect.suspend(() => line(human()))
      : format === "yaml"
      ? Effect.flatMap(yaml(data), line)
      : line(screen.isTty && format === "json" ? JSON.stringify(data, null, 2) : JSON.stringify(data))
  return {
    format,
    screen,
    isLive: format === "table" && hasColour("auto", screen.isTty, env),
    style: look,
    errorStyle: style(hasColour(colour, screen.isErrorTty, env)),
    line,
    note: (text) => Effect.sync(() => screen.writeError(`${text}\n`)),
    value,
    page: (page, columns, none) =>
      format === "jsonl"
        ? Effect.sync(() => {
          for (const item of page.items) screen.write(`${JSON.stringify(item)}\n`)
        })
        : format === "table" && page.items.length === 0
        ? Effect.sync(() => screen.writeError(`${none}\n`))
        : value(page, () => table(columns, page.items, look)),
    events,
    event: (data, human) => Effect.map(events, (text) => screen.write(text(data, human)))
  }
}
