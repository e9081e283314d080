/** `heddle backfill`: one workflow for each date of a range. design/02 `heddle.rpc.backfill.*`. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { randomUUID } from "node:crypto"
import { BackfillList, BackfillView, StartBackfill } from "../../shared/protocol/Backfill.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as Connection from "../Connection.ts"
import { Ended } from "../ExitCode.ts"
import * as Globals from "../Globals.ts"
import { type Column, Output } from "../Output.ts"
import * as Pairs from "../Pairs.ts"
import * as ResourceFile from "../ResourceFile.ts"

// As on the wire: what is printed is what the service said.
const ViewAnswer = Schema.toEncoded(BackfillView)
const ListAnswer = Schema.toEncoded(BackfillList)
type Shown = typeof ViewAnswer.Type

const lookMs = 500
const columns: ReadonlyArray<Column<Shown>> = [
  { title: "BACKFILL", value: (item) => item.name },
  { title: "STATE", value: (item) => item.state },
  { title: "WORKFLOW", value: (item) => item.spec.workflow.definition },
  { title: "DATES", value: (item) => String(item.total), alignRight: true },
  { title: "STARTED", value: (item) => String(item.started), alignRight: true },
  { title: "OK", value: (item) => String(item.succeeded), alignRight: true },
  { title: "FAILED", value: (item) => String(item.failed.length), alignRight: true },
  { title: "SINCE", value: (item) => item.startedAt }
]
const given = <A>(key: string, value: Option.Option<A>) => Option.isSome(value) ? { [key]: value.value } : {}

const describe = (item: Shown): string =>
  [
    `${item.name}: ${item.state}, ${item.succeeded} of ${item.total} dates succeeded`,
    ...item.running.map(({ instanceId }) => `  runs: ${instanceId}`),
    ...item.failed.map(({ instanceId, reason, state }) =>
      `  ${state ?? "not started"}: ${instanceId}${reason === undefined ? "" : `: ${reason}`}`
    )
  ].join("\n")

const waitForEnd = Effect.fnUntraced(function*(name: string) {
  for (;;) {
    const item = yield* Connection.call(Subject.rpc.backfill("get"), ViewAnswer, { name })
    if (item.endedAt !== undefined) return item
    yield* Effect.sleep(lookMs)
  }
})

export interface StartInput {
  readonly definition: Option.Option<string>
  readonly file: Option.Option<string>
  readonly name: Option.Option<string>
  readonly from: Option.Option<string>
  readonly to: Option.Option<string>
  readonly date: ReadonlyArray<string>
  readonly cron: Option.Option<string>
  readonly timezone: Option.Option<string>
  readonly parallel: Option.Option<number>
  readonly descending: boolean
  readonly skipFailed: boolean
  readonly param: ReadonlyArray<string>
  readonly wait: boolean
}

const fromFlags = Effect.fnUntraced(function*(input: StartInput, definition: string) {
  const params = yield* Pairs.values("--param", input.param)
  const name = Option.getOrElse(
    input.name,
    () => `${definition.split("@")[0]?.slice(0, 31) ?? ""}-${randomUUID().slice(0, 8)}`
  )
  return {
    metadata: { name, namespace: yield* Globals.namespaceToken() },
    spec: {
      ...given("from", input.from),
      ...given("to", input.to),
      ...(input.date.length === 0 ? {} : { dates: input.date }),
      ...given("cron", input.cron),
      ...given("timezone", input.timezone),
      ...given("parallelism", input.parallel),
      ...(input.descending ? { order: "descending" } : {}),
      ...(input.skipFailed ? { onFailure: "skip" } : {}),
      workflow: { definition, ...(Object.keys(params).length === 0 ? {} : { params }) }
    }
  }
})

export const start = (input: StartInput) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (Option.isSome(input.definition) === Option.isSome(input.file)) {
      return yield* Globals.usage("Name a stored definition, or give --file, one of them.")
    }
    const subject = Subject.rpc.backfill("start")
    const file = Option.isSome(input.file)
      ? yield* ResourceFile.read(input.file.value, "Backfill", StartBackfill)
      : undefined
    const started = file === undefined
      ? yield* Connection.call(
        subject,
        ViewAnswer,
        yield* fromFlags(input, Option.getOrElse(input.definition, () => ""))
      )
      : yield* Connection.call(subject, ViewAnswer, file.body).pipe(Effect.mapError(ResourceFile.inFile(file)))
    const item = input.wait ? yield* waitForEnd(started.name) : started
    yield* output.value(item, () => describe(item))
    if (input.wait && item.state !== "Succeeded") return yield* new Ended({ exit: 1 })
  }).pipe(Connection.provide)

export const ls = (input: { readonly limit: Option.Option<number>; readonly next: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const page = yield* Connection.call(Subject.rpc.backfill("list"), ListAnswer, {
      ...given("limit", input.limit),
      ...given("next", input.next)
    })
    yield* output.page(page, columns, "No backfills. What to do: `heddle backfill start NAME --from DATE --to DATE`.")
    if (page.next !== undefined && output.format === "table") {
      yield* output.note(`heddle: there are more: --next ${page.next}`)
    }
  }).pipe(Connection.provide)

export const get = (input: { readonly name: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const item = yield* Connection.call(Subject.rpc.backfill("get"), ViewAnswer, { name: input.name })
    yield* output.value(item, () => describe(item))
  }).pipe(Connection.provide)

export const stop = (input: { readonly name: string; readonly stopRuns: boolean }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const item = yield* Connection.call(Subject.rpc.backfill("stop"), ViewAnswer, {
      name: input.name,
      stopRuns: input.stopRuns
    })
    yield* output.value(item, () => describe(item))
  }).pipe(Connection.provide)
