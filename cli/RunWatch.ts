/**
 * Looking on while a run goes: every attempt's start and end is told once, in order of time, also when several changes arrive together.
 *
 * Level-triggered: messages on the instance's history subject only wake, `heddle.rpc.workflow.get` decides what is shown; a look every two seconds covers a lost wake.
 * A coordinator that does not answer for a while (fail-over) is waited for, `unavailableMaxMs` long.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import { ContractError } from "../shared/protocol/ErrorCode.ts"
import { LogLine } from "../shared/protocol/Report.ts"
import * as Subject from "../shared/protocol/Subject.ts"
import { finalStatuses, type TaskView, WorkflowView } from "../shared/protocol/Workflow.ts"
import * as Connection from "./Connection.ts"
import { CliFailure } from "./ExitCode.ts"
import * as Output from "./Output.ts"
import * as RunResult from "./RunResult.ts"

export const lookIntervalMs = 2_000
/** On a terminal the clock of what runs should be seen to go. */
export const pictureIntervalMs = 500
/** Changes that come close together are shown together. */
export const gatherMs = 60
export const unavailableMaxMs = 60_000

type View = WorkflowView
type Attempt = TaskView["attempts"][number]

/** One change, for people a line and for programs an object. */
export interface Change {
  readonly at: string
  readonly instanceId: string
  readonly task?: string
  readonly attempt?: number
  readonly item?: number
  readonly state: string
  readonly ms?: number
  readonly sandbox?: string
  readonly exitCode?: number
  readonly reason?: string
}

const isEnded = (attempt: Attempt) => attempt.endedAt !== undefined
const attemptKey = (task: string, attempt: Attempt) => `${task}:${attempt.attempt}:${attempt.item ?? ""}`

/** How long an attempt may wait before that is told too: with nothing idle, silence would look like a hang. */
export const waitsMs = 1_000

/** What is in `view` and was not in what `seen` remembers; `seen` learns it. */
export const changes = (seen: Map<string, string>, view: View, nowMs: number): ReadonlyArray<Change> => {
  const found: Array<Change & { readonly order: number }> = []
  const { instanceId } = view
  const tell = (key: string, change: Omit<Change, "instanceId">, order: number) => {
    if (seen.get(key) === change.state) return
    seen.set(key, change.state)
    found.push({ ...change, instanceId, order })
  }
  for (const task of view.tasks) {
    for (const attempt of task.attempts) {
      const where = {
        task: task.name,
        attempt: attempt.attempt,
        ...(attempt.item === undefined ? {} : { item: attempt.item })
      }
      const sandbox = attempt.sandbox === undefined ? {} : { sandbox: attempt.sandbox }
      const key = attemptKey(task.name, attempt)
      if (attempt.startedAt !== undefined) {
        tell(`${key}:start`, { at: attempt.startedAt, ...where, state: "RUNNING", ...sandbox }, 1)
      }
      if (
        attempt.startedAt === undefined && attempt.state === "SUBMITTED" &&
        nowMs - Date.parse(attempt.submittedAt) > waitsMs
      ) tell(`${key}:wait`, { at: attempt.submittedAt, ...where, state: "SUBMITTED", reason: "waits for a sandbox" }, 0)
      if (isEnded(attempt) || !["SUBMITTED", "DISPATCHED", "RUNNING"].includes(attempt.state)) {
        tell(`${key}:end`, {
          at: attempt.endedAt ?? attempt.submittedAt,
          ...where,
          state: attempt.state,
          ...(attempt.startedAt === undefined || attempt.endedAt === undefined
            ? {}
            : { ms: Date.parse(attempt.endedAt) - Date.parse(attempt.startedAt) }),
          ...(attempt.exitCode === undefined || attempt.exitCode === 0 ? {} : { exitCode: attempt.exitCode }),
          ...(attempt.reason === undefined ? {} : { reason: attempt.reason })
        }, 2)
      }
    }
  }
  found.sort((a, b) => a.at.localeCompare(b.at) || a.order - b.order)
  const isFinal = finalStatuses.has(view.state)
  const last = {
    at: isFinal ? view.endedAt ?? view.startedAt : view.startedAt,
    state: view.state,
    ...(view.reason === undefined ? {} : { reason: view.reason })
  }
  if (seen.get("") !== `${view.runNumber}:${view.state}`) {
    seen.set("", `${view.runNumber}:${view.state}`)
    if (isFinal) found.push({ ...last, instanceId, order: 3 })
    else found.unshift({ ...last, instanceId, order: 0 })
  }
  return found.map(({ order: _, ...change }) => change)
}

export const line = (change: Change, style: Output.Style): string => {
  const time = style.dim(change.at.slice(11, 23).padEnd(12))
  const name = change.task === undefined
    ? change.instanceId
    : `${change.task}${change.item === undefined ? "" : `[${change.item}]`}`
  const more = [
    change.attempt !== undefined && change.attempt > 1 ? `attempt ${change.attempt}` : "",
    change.ms === undefined ? "" : Output.duration(change.ms),
    change.sandbox === undefined ? "" : `in ${change.sandbox}`,
    // a process task's reason begins with it
    change.exitCode === undefined || change.reason?.startsWith(`exit code ${change.exitCode}`) === true
      ? ""
      : `exit code ${change.exitCode}`,
    change.reason ?? ""
  ].filter((part) => part !== "")
  return `${time}  ${name}  ${style.state(change.state)}${more.length === 0 ? "" : `  ${style.dim(more.join(", "))}`}`
}

const newest = (task: TaskView): Attempt | undefined => task.attempts.at(-1)

const span = (from: string | undefined, to: string | undefined, nowMs: number): string =>
  from === undefined ? "" : Output.duration(Math.max(0, (to === undefined ? nowMs : Date.parse(to)) - Date.parse(from)))

const taskRow = (task: TaskView, nowMs: number) => {
  const items = task.attempts.filter((attempt) => attempt.item !== undefined)
  const started = task.attempts.map((attempt) => attempt.startedAt).filter((at) => at !== undefined).toSorted()[0]
  const ends = task.attempts.map((attempt) => attempt.endedAt)
  const ended = ends.includes(undefined) ? undefined : ends.filter((at) => at !== undefined).toSorted().at(-1)
  const done = new Set(items.filter((attempt) => attempt.state === "SUCCEEDED").map((attempt) => attempt.item)).size
  return {
    name: task.name,
    type: task.type,
    state: task.state ?? "",
    attempts: items.length > 0
      ? `${done}/${new Set(items.map((attempt) => attempt.item)).size} items`
      : String(task.attempts.length || "-"),
    time: span(started, ended, nowMs),
    note: task.state === undefined
      ? task.why ?? ""
      : task.state === "SUCCEEDED"
      // a dry run, or taken over from another one
      ? task.attempts.length === 0 ? task.why ?? "" : ""
      : newest(task)?.reason ?? task.why ?? newest(task)?.sandbox ?? ""
  }
}

const order: Readonly<Record<string, number>> = {
  FAILED: 0,
  KILLED: 0,
  FAILOVER: 1,
  RUNNING: 1,
  DISPATCHED: 2,
  SUBMITTED: 3
}

/** The whole run on `rowsMax` lines at most: what failed and what runs comes first when not everything fits. */
export const picture = (view: View, style: Output.Style, nowMs: number, rowsMax: number = Infinity): string => {
  const rows = view.tasks.map((task) => taskRow(task, nowMs))
  const isFull = rows.length > rowsMax
  const shown = isFull
    ? rows.toSorted((a, b) => (order[a.state] ?? 4) - (order[b.state] ?? 4)).slice(0, Math.max(1, rowsMax - 1))
    : rows
  const counts = Object.entries(Object.groupBy(rows, (row) => row.state === "" ? "not run" : row.state))
    .map(([state, of]) => `${of?.length ?? 0} ${state}`).join(", ")
  const head = `${style.bold(view.instanceId)}  ${RunResult.definitionName(view.definition)}  ${
    style.state(view.state)
  }  ${span(view.startedAt, finalStatuses.has(view.state) ? view.endedAt : undefined, nowMs)}${
    view.runNumber > 1 ? `  run ${view.runNumber}` : ""
  }${view.forkOf === undefined ? "" : `  fork of ${view.forkOf.instanceId} at ${view.forkOf.seq}`}${
    view.reason === undefined ? "" : `  ${view.reason}`
  }`
  const body = Output.table(
    [
      { title: "TASK", value: (row) => row.name },
      { title: "TYPE", value: (row) => row.type },
      { title: "STATE", value: (row) => row.state === "" ? style.dim("-") : style.state(row.state) },
      { title: "ATTEMPTS", value: (row) => row.attempts, alignRight: true },
      { title: "TIME", value: (row) => row.time, alignRight: true },
      { title: "", value: (row) => style.dim(row.note.split("\n")[0] ?? "") }
    ],
    shown,
    style
  )
  return `${head}\n${body}${isFull ? `\n... ${rows.length} tasks: ${counts}` : ""}`
}

const decodeLog = Schema.decodeUnknownOption(Schema.fromJsonString(LogLine))

/** `heddle.logs.<instance>.<task>:<run>:<attempt>` of a message, and its text. */
export const logLine = (
  subject: string,
  text: string
): { readonly task: string; readonly log: LogLine } | undefined => {
  const log = Option.getOrUndefined(decodeLog(text))
  return log === undefined ? undefined : { task: subject.split(".").slice(3).join("."), log }
}

/** What a task wrote, its name before each line: a message may hold many. */
export const logText = ({ log, task }: NonNullable<ReturnType<typeof logLine>>, look: Output.Style): string =>
  [
    ...(log.text === "" ? [] : log.text.replace(/\n$/, "").split("\n").map((line) => ` ${line}`)),
    ...(log.dropped === undefined ? [] : [` ... ${log.dropped} bytes left out`])
  ].map((line) => `${look.dim(`${task} |`)}${line}`).join("\n")

export const get = (instanceId: string) => Connection.call(Subject.rpc.workflow("get"), WorkflowView, { instanceId })

const isPassing = (error: ContractError) =>
  ["Unavailable", "NotOwner", "Overloaded", "ShuttingDown", "DeadlineExceeded"].includes(error.code)

export interface Options {
  readonly logs: boolean
  /** Give up after so long; exit code 5. */
  readonly timeoutMs: number | undefined
  /** Where changes are told: a line each (`lines`), a JSON line each (`events`), a redrawn picture (`picture`), or nowhere. */
  readonly show: "lines" | "events" | "picture" | "notes" | "nothing"
}

/** How changes are shown, by the format and by what standard output is. */
export const showOf = (output: Output.Output["Service"]): Options["show"] =>
  output.format === "table" ? output.isLive ? "picture" : "lines" : output.format === "jsonl" ? "events" : "notes"

/** Looks on until the run rests; the last view. */
export const watch = (instanceId: string, options: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const nats = yield* Connection.nats
    const output = yield* Output.Output
    const wakes = yield* Queue.sliding<void>(1)
    const pendingLogs: Array<string> = []
    yield* nats.subscribe(`heddle.wf.*.${instanceId}.history`, () => void Queue.offerUnsafe(wakes, undefined))
    if (options.logs) {
      yield* nats.subscribe(`heddle.logs.${instanceId}.>`, (message) => {
        const found = logLine(message.subject, message.text)
        if (found === undefined) return
        pendingLogs.push(
          options.show === "events"
            ? JSON.stringify({ task: found.task, ...found.log })
            : logText(found, output.style)
        )
        Queue.offerUnsafe(wakes, undefined)
      })
    }
    const seen = new Map<string, string>()
    const started = yield* Clock.currentTimeMillis
    let drawn = 0
    let downSince: number | undefined
    // this loop asks again by itself, and for longer than one request may take
    const look = Connection.callOnce(Subject.rpc.workflow("get"), WorkflowView, { instanceId })
    while (true) {
      const looked = yield* Effect.result(look)
      const now = yield* Clock.currentTimeMillis
      if (looked._tag === "Failure") {
        const error = looked.failure
        if (!(error instanceof ContractError) || !isPassing(error)) return yield* error
        downSince ??= now
        if (now - downSince > unavailableMaxMs) return yield* error
        if (downSince === now && options.show !== "nothing") {
          yield* output.note(`heddle: waiting for a coordinator (${error.message})`)
        }
      } else {
        downSince = undefined
        const view = looked.success
        const logs = pendingLogs.splice(0)
        if (options.show === "picture") {
          const lines = picture(view, output.style, now, Math.max(5, (process.stdout.rows || 24) - 3)).split("\n")
          const columns = process.stdout.columns || 80
          if (drawn > 0) output.screen.write(`\u001b[${drawn}A\u001b[J`)
          for (const text of logs) output.screen.write(`${text}\n`)
          // A line that the terminal folds would be two when the cursor goes back.
          for (const line of lines) output.screen.write(`${Output.cut(line, columns - 1)}\n`)
          drawn = lines.length
        } else {
          const told = changes(seen, view, now)
          for (const text of logs) {
            if (options.show === "notes") yield* output.note(text)
            else if (options.show !== "nothing") yield* output.line(text)
          }
          for (const change of told) {
            if (options.show === "lines") yield* output.line(line(change, output.style))
            else if (options.show === "events") yield* output.line(JSON.stringify(change))
            else if (options.show === "notes") yield* output.note(line(change, output.errorStyle))
          }
        }
        if (finalStatuses.has(view.state)) return view
      }
      const left = options.timeoutMs === undefined ? Infinity : started + options.timeoutMs - now
      if (left <= 0) {
        return yield* new CliFailure({
          exit: 5,
          message: `${instanceId} has not come to rest within ${Output.duration(options.timeoutMs ?? 0)}; it goes on.`,
          fix: `heddle workflows watch ${instanceId}`
        })
      }
      yield* Queue.take(wakes).pipe(
        Effect.timeoutOption(
          Math.min(
            downSince !== undefined ? 500 : options.show === "picture" ? pictureIntervalMs : lookIntervalMs,
            left
          )
        )
      )
      yield* Effect.sleep(Math.min(gatherMs, Math.max(0, left)))
    }
  }))
