/** `heddle diff`: two runs, of instances or of files, beside each other; exit code 1 when they differ. design/02 "CLI". */
import * as Effect from "effect/Effect"
import * as Connection from "../Connection.ts"
import { CliFailure, Ended } from "../ExitCode.ts"
import * as Output from "../Output.ts"
import * as RunDiff from "../RunDiff.ts"
import * as RunRecord from "../RunRecord.ts"
import * as RunResult from "../RunResult.ts"

const sideOf = Effect.fnUntraced(function*(text: string) {
  const run = yield* RunRecord.read(text)
  const view = RunRecord.viewAt(run.entries, yield* RunRecord.graphOf(run))
  if (view === undefined) return yield* new CliFailure({ exit: 3, message: `${text} has no entry.` })
  return { view, entries: run.entries } satisfies RunDiff.Side
})

const shown = (value: unknown): string => {
  const text = value === undefined ? "-" : typeof value === "string" ? value : JSON.stringify(value)
  if (text === "") return "\"\""
  const line = text.split("\n")[0] ?? ""
  return line.length > 60 || line !== text ? `${line.slice(0, 57)}...` : line
}

const head = (name: string, { view }: RunDiff.Side, style: Output.Style): string =>
  `${style.bold(name)}  ${view.instanceId}  ${RunResult.definitionName(view.definition)}  ${style.state(view.state)}${
    view.endedAt === undefined
      ? ""
      : `  ${Output.duration(Math.max(0, Date.parse(view.endedAt) - Date.parse(view.startedAt)))}`
  }${view.reason === undefined ? "" : `  ${view.reason}`}`

const decision = (name: string, found: RunDiff.Decision | undefined, style: Output.Style): string =>
  found === undefined
    ? `  ${name}  nothing more`
    : `  ${name}  ${found.decided}  ${style.dim(`step ${found.step}, ${found.at}, journal ${found.seq}`)}`

/** What a row compares: `load  outputs.rows`. */
const rowsOf = (diff: RunDiff.RunDiff) => [
  ...diff.params.map(({ a, b, path }) => ({ of: "(run)", what: `params.${path}`, a: shown(a), b: shown(b) })),
  ...diff.tasks.map(({ a, b, path, task, what }) => ({
    of: task,
    what: path === undefined ? what : `${what}.${path}`,
    a: what === "time" ? Output.duration(Number(a)) : shown(a),
    b: what === "time" ? Output.duration(Number(b)) : shown(b)
  }))
]

const described = (a: RunDiff.Side, b: RunDiff.Side, diff: RunDiff.RunDiff, style: Output.Style): string => {
  const first = diff.firstDecision
  const rows = rowsOf(diff)
  return [
    head("A", a, style),
    head("B", b, style),
    ...(diff.isSame ? ["", "The same: definition, params, decisions, states and outputs."] : []),
    ...(first === undefined ? [] : [
      "",
      `First decided otherwise: ${first.task === undefined ? "the run itself" : `task ${first.task}`}`,
      decision("A", first.a, style),
      decision("B", first.b, style)
    ]),
    ...(rows.length === 0 ? [] : [
      "",
      Output.table(
        [
          { title: "TASK", value: (row) => row.of },
          { title: "WHAT", value: (row) => row.what },
          { title: "A", value: (row) => row.what === "state" ? style.state(row.a) : row.a },
          { title: "B", value: (row) => row.what === "state" ? style.state(row.b) : row.b }
        ],
        rows,
        style
      )
    ])
  ].join("\n")
}

export const run = (input: { readonly a: string; readonly b: string }) =>
  Effect.gen(function*() {
    const output = yield* Output.Output
    const [a, b] = [yield* sideOf(input.a), yield* sideOf(input.b)]
    const diff = RunDiff.compare(a, b)
    yield* output.value(
      { a: a.view.instanceId, b: b.view.instanceId, ...diff },
      () => described(a, b, diff, output.style)
    )
    if (!diff.isSame) return yield* new Ended({ exit: 1 })
  }).pipe(Connection.provide)
