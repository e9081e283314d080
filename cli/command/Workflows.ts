/** `heddle workflows`: look at runs and steer them. design/02 "Workflows". */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import {
  Accepted,
  finalStatuses,
  WorkflowList,
  WorkflowResult,
  WorkflowStatus
} from "../../shared/protocol/Workflow.ts"
import * as Connection from "../Connection.ts"
import { CliFailure, Ended } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import { type Column, duration, Output } from "../Output.ts"
import * as RunResult from "../RunResult.ts"
import * as RunWatch from "../RunWatch.ts"

interface Page {
  readonly limit: Option.Option<number>
  readonly next: Option.Option<string>
  readonly all: boolean
}

/** One page, or with `--all` every page as one. */
const paged = <A, R>(
  input: Page,
  ask: (
    query: { readonly limit?: number; readonly next?: string }
  ) => Effect.Effect<{ readonly items: ReadonlyArray<A>; readonly next?: string }, RequestFailure, R>
) =>
  Effect.gen(function*() {
    const items: Array<A> = []
    let next = Option.getOrUndefined(input.next)
    const limit = Option.getOrUndefined(input.limit)
    do {
      const page = yield* ask({ ...(limit === undefined ? {} : { limit }), ...(next === undefined ? {} : { next }) })
      items.push(...page.items)
      next = page.next
    } while (input.all && next !== undefined)
    return { items, ...(next === undefined ? {} : { next }) }
  })
type RequestFailure = Effect.Error<ReturnType<typeof RunWatch.get>>

const instanceOf = (text: string) => Globals.checkToken("The instance", text)

export const ls = (
  input: Page & { readonly state: Option.Option<string>; readonly definition: Option.Option<string> }
) =>
  Effect.gen(function*() {
    const output = yield* Output
    const state = Option.isNone(input.state) ?
      undefined :
      yield* Schema.decodeUnknownEffect(WorkflowStatus)(input.state.value.toUpperCase()).pipe(
        Effect.mapError(() => Globals.usage(`--state is one of ${WorkflowStatus.literals.join(", ")}.`))
      )
    const page = yield* paged(input, (query) =>
      Connection.call(Subject.rpc.workflow("list"), WorkflowList, {
        ...query,
        ...(state === undefined ? {} : { state }),
        ...(Option.isSome(input.definition) ? { definition: input.definition.value } : {})
      }))
    const now = yield* Clock.currentTimeMillis
    const columns: ReadonlyArray<Column<typeof page.items[number]>> = [
      { title: "INSTANCE", value: (run) => run.instanceId },
      { title: "STATE", value: (run) => output.style.state(run.state) },
      { title: "DEFINITION", value: (run) => RunResult.definitionName(run.definition) },
      { title: "STARTED", value: (run) => run.startedAt },
      {
        title: "TIME",
        value: (run) =>
          duration(
            Math.max(0, (run.endedAt === undefined ? now : Date.parse(run.endedAt)) - Date.parse(run.startedAt))
          ),
        alignRight: true
      }
    ]
    yield* output.page(page, columns, "No workflows. What to do: `heddle run examples/hello.yaml --watch` runs one.")
    if (page.next !== undefined && output.format === "table") {
      yield* output.note(`heddle: there are more: --next ${page.next}, or --all`)
    }
  }).pipe(Connection.provide)

export const get = (input: { readonly instance: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const view = yield* RunWatch.get(yield* instanceOf(input.instance))
    const now = yield* Clock.currentTimeMillis
    yield* output.value(view, () => {
      const outputs = RunResult.outputs(view.outputs, output.style)
      return [RunWatch.picture(view, output.style, now), ...(outputs.length > 0 ? ["", ...outputs] : [])].join("\n")
    })
  }).pipe(Connection.provide)

const endOf = (state: WorkflowResult["state"]) => {
  const exit = RunResult.exitOf(state)
  return exit === 0 ? Effect.void : Effect.fail(new Ended({ exit }))
}

export const watch = (
  input: { readonly instance: string; readonly logs: boolean; readonly waitTimeout: Option.Option<string> }
) =>
  Effect.gen(function*() {
    const output = yield* Output
    const instanceId = yield* instanceOf(input.instance)
    const timeoutMs = Option.isSome(input.waitTimeout)
      ? yield* Globals.durationMs("--wait-timeout", input.waitTimeout.value)
      : undefined
    const view = yield* RunWatch.watch(instanceId, { logs: input.logs, timeoutMs, show: RunWatch.showOf(output) })
    if (output.format === "json" || output.format === "yaml") yield* output.value(view, () => "")
    yield* endOf(view.state)
  }).pipe(Connection.provide)

export const result = (input: { readonly instance: string; readonly waitTimeout: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const instanceId = yield* instanceOf(input.instance)
    const waitMs = Option.isSome(input.waitTimeout)
      ? yield* Globals.durationMs("--wait-timeout", input.waitTimeout.value)
      : 30_000
    const answer = yield* Connection.call(
      Subject.rpc.workflow("result"),
      WorkflowResult,
      { instanceId, wait: waitMs },
      { extraMs: waitMs }
    )
    yield* output.value(answer, () => RunResult.describe(answer, output.style))
    yield* endOf(answer.state)
  }).pipe(Connection.provide)

const HistoryAnswer = Schema.Struct({
  // As it was written: a decoded entry would lose fields that its hash covers.
  items: Schema.Array(Schema.Struct({ seq: Schema.Int, entry: Schema.Record(Schema.String, Schema.Unknown) })),
  next: Schema.optionalKey(Schema.String)
})

const tags = (value: unknown): string =>
  Array.isArray(value)
    ? value.map((part: unknown) => {
      if (typeof part !== "object" || part === null) return String(part)
      const name = "_tag" in part ? String(part._tag) : "?"
      const of = "id" in part ? part.id : "task" in part ? part.task : "status" in part ? part.status : undefined
      return of === undefined ? name : `${name}(${String(of)})`
    }).join(" ")
    : ""

export const history = (input: Page & { readonly instance: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const instanceId = yield* instanceOf(input.instance)
    const page = yield* paged(input, (query) =>
      Connection.call(Subject.rpc.workflow("history"), HistoryAnswer, { instanceId, ...query }))
    yield* output.page(
      page,
      [
        {
          title: "SEQ",
          value: ({ seq }) =>
            String(seq),
          alignRight: true
        },
        { title: "N", value: ({ entry }) => String(entry["n"] ?? ""), alignRight: true },
        {
          title: "AT",
          value: ({ entry }) => typeof entry["at"] === "number" ? new Date(entry["at"]).toISOString() : ""
        },
        { title: "CAUSE", value: ({ entry }) => tags(entry["cause"]) },
        { title: "TRANSITIONS", value: ({ entry }) => tags(entry["transitions"]) }
      ],
      "No history."
    )
    if (page.next !== undefined && output.format === "table") {
      yield* output.note(`heddle: there is more: --next ${page.next}, or --all`)
    }
  }).pipe(Connection.provide)

export const logs = (
  input: { readonly instance: string; readonly task: Option.Option<string>; readonly follow: boolean }
) =>
  Effect.scoped(Effect.gen(function*() {
    const nats = yield* Connection.nats
    const output = yield* Output
    const eventText = yield* output.events
    const instanceId = yield* instanceOf(input.instance)
    const only = Option.isSome(input.task) ? yield* Globals.checkToken("--task", input.task.value) : undefined
    const print = (subject: string, text: string): void => {
      const found = RunWatch.logLine(subject, text)
      if (found === undefined || (only !== undefined && found.task.split(":")[0] !== only)) return
      const { log, task } = found
      output.screen.write(
        eventText({ task, ...log, at: timestamp(log.at) }, () => RunWatch.logText(found, output.style))
      )
    }
    // What comes while the past is read waits, so that nothing is missing and nothing is told twice.
    let early: Array<{ readonly subject: string; readonly text: string }> | undefined = []
    const past = new Set<string>()
    if (input.follow) {
      yield* nats.subscribe(`heddle.logs.${instanceId}.>`, (message) => {
        if (early === undefined) print(message.subject, message.text)
        else early.push({ subject: message.subject, text: message.text })
      })
    }
    yield* Stream.runForEach(
      Read.readRange(nats, Streams.name.logs, { filter: `heddle.logs.${instanceId}.*`, from: 1 }),
      (message) =>
        Effect.sync(() => {
          past.add(`${message.subject} ${message.text}`)
          print(message.subject, message.text)
        })
    ).pipe(Effect.mapError((error) =>
      new CliFailure({ exit: 1, message: error.message, fix: "`heddle doctor` shows what is missing." })
    ))
    for (const message of early) {
      if (!past.has(`${message.subject} ${message.text}`)) {
        print(message.subject, message.text)
      }
    }
    early = undefined
    if (input.follow) {
      yield* RunWatch.watch(instanceId, { logs: false, timeoutMs: undefined, show: "nothing" })
    }
  })).pipe(Connection.provide)

type Verb = "pause" | "resume" | "stop" | "rerun" | "recover"

export const command = (verb: Verb) =>
(
  input: {
    readonly instance: ReadonlyArray<string>
    readonly reason: Option.Option<string>
    readonly id: Option.Option<string>
    readonly wait: boolean
  }
) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (Option.isSome(input.id)) yield* Globals.checkToken("--id", input.id.value)
    const answers: Array<
      { readonly instanceId: string; readonly accepted: boolean; readonly state?: WorkflowResult["state"] }
    > = []
    for (const text of input.instance) {
      const instanceId = yield* instanceOf(text)
      const { accepted } = yield* Connection.call(Subject.rpc.workflow(verb), Accepted, {
        instanceId,
        ...(Option.isSome(input.reason) ? { reason: input.reason.value } : {})
      }, { id: input.id })
      const view = input.wait
        ? yield* RunWatch.watch(instanceId, { logs: false, timeoutMs: undefined, show: "nothing" })
        : undefined
      const answer = { instanceId, accepted, ...(view === undefined ? {} : { state: view.state }) }
      answers.push(answer)
      if (output.format === "table") {
        yield* output.line(`${instanceId} ${
          view === undefined || !finalStatuses.has(view.state)
            ? `${verb} ${accepted ? "accepted" : "refused"}`
            : output.style.state(view.state)
        }`)
      }
    }
    if (output.format === "jsonl") {
      yield* output.page({ items: answers }, [], "")
    } else if (output.format !== "table") {
      yield* output.value(answers.length === 1 ? answers[0] : { items: answers }, () => "")
    }
    if (!answers.every((answer) => answer.accepted)) return yield* new Ended({ exit: 4 })
    // who waits for a run to go on wants to know how it ended; a pause or stop has done what it was to do
    const isAwaited = verb === "resume" || verb === "rerun" || verb === "recover"
    for (const { state } of isAwaited ? answers : []) if (state !== undefined) yield* endOf(state)
  }).pipe(Connection.provide)
