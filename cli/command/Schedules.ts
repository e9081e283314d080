/** `heddle schedules`: workflows that start by the clock. design/02 `heddle.rpc.schedule.*`. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Deleted, PutSchedule, ScheduleList, SchedulePreview, ScheduleView } from "../../shared/protocol/Schedule.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import * as Connection from "../Connection.ts"
import * as Globals from "../Globals.ts"
import { type Column, Output } from "../Output.ts"
import * as Pairs from "../Pairs.ts"
import * as ResourceFile from "../ResourceFile.ts"

// As on the wire: what is printed is what the service said.
const ViewAnswer = Schema.toEncoded(ScheduleView)
const ListAnswer = Schema.toEncoded(ScheduleList)
type Shown = typeof ViewAnswer.Type

const columns: ReadonlyArray<Column<Shown>> = [
  { title: "SCHEDULE", value: (item) => item.name },
  { title: "STATE", value: (item) => item.state },
  { title: "CRON", value: (item) => item.spec.cron },
  { title: "ZONE", value: (item) => item.spec.timezone ?? "UTC" },
  { title: "WORKFLOW", value: (item) => item.spec.workflow.definition },
  { title: "NEXT", value: (item) => item.nextAt ?? "-" },
  { title: "LAST", value: (item) => item.lastInstance ?? "-" },
  { title: "PROBLEM", value: (item) => item.problem?.code ?? "" }
]
const given = <A>(key: string, value: Option.Option<A>) => Option.isSome(value) ? { [key]: value.value } : {}

export const ls = (input: { readonly limit: Option.Option<number>; readonly next: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const page = yield* Connection.call(Subject.rpc.schedule("list"), ListAnswer, {
      ...given("limit", input.limit),
      ...given("next", input.next)
    })
    yield* output.page(page, columns, "No schedules. What to do: `heddle schedules put FILE` makes one.")
    if (page.next !== undefined && output.format === "table") {
      yield* output.note(`heddle: there are more: --next ${page.next}`)
    }
  }).pipe(Connection.provide)

const describe = (item: Shown): string =>
  [
    `${item.name}: ${item.state}${item.reason === undefined ? "" : ` (${item.reason})`}`,
    `  ${item.spec.workflow.definition} at ${item.spec.cron} ${item.spec.timezone ?? "UTC"}`,
    `  next ${item.nextAt ?? "none"}, last ${item.lastInstance ?? "none"}`,
    `  ${item.started} started, ${item.skipped} left out`,
    ...(item.problem === undefined
      ? []
      : [`  ${item.problem.scheduledAt} was not started: ${item.problem.code}: ${item.problem.message}`])
  ].join("\n")

const one = (verb: "get" | "pause" | "resume", body: Record<string, unknown>) =>
  Effect.gen(function*() {
    const output = yield* Output
    const item = yield* Connection.call(Subject.rpc.schedule(verb), ViewAnswer, body)
    yield* output.value(item, () => describe(item))
  }).pipe(Connection.provide)

export const get = (input: { readonly name: string }) => one("get", { name: input.name })
export const pause = (input: { readonly name: string; readonly reason: Option.Option<string> }) =>
  one("pause", { name: input.name, ...given("reason", input.reason) })
export const resume = (input: { readonly name: string }) => one("resume", { name: input.name })

export const put = (input: { readonly file: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const file = yield* ResourceFile.read(input.file, "Schedule", PutSchedule)
    const item = yield* Connection.call(Subject.rpc.schedule("put"), ViewAnswer, file.body).pipe(
      Effect.mapError(ResourceFile.inFile(file))
    )
    yield* output.value(item, () => describe(item))
  }).pipe(Connection.provide)

export const remove = (input: { readonly name: string }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const answer = yield* Connection.remove(Subject.rpc.schedule("delete"), Deleted, { name: input.name }, {
      name: input.name,
      deleted: true
    })
    yield* output.value(answer, () => `${answer.name} is deleted`)
  }).pipe(Connection.provide)

/** As the service makes it for a trigger without a time: `nightly-m20261121T020000123`. */
const triggeredId = (name: string, at: string) => `${name}-m${at.replace(/[-:.Z]/gu, "")}`

export const trigger = (input: {
  readonly name: string
  readonly at: Option.Option<string>
  readonly id: Option.Option<string>
  readonly param: ReadonlyArray<string>
}) =>
  Effect.gen(function*() {
    const output = yield* Output
    const params = yield* Pairs.values("--param", input.param)
    const now = yield* Clock.currentTimeMillis
    const answer = yield* Connection.call(Subject.rpc.schedule("trigger"), StartAnswer, {
      name: input.name,
      // the time is told here, so that asking again is no second start
      scheduledAt: Option.getOrElse(input.at, () => timestamp(now)),
      ...(Option.isSome(input.id)
        ? { instanceId: input.id.value }
        : Option.isSome(input.at)
        ? {}
        : { instanceId: triggeredId(input.name, timestamp(now)) }),
      ...(Object.keys(params).length === 0 ? {} : { params })
    })
    yield* output.value(answer, () => answer.instanceId)
  }).pipe(Connection.provide)

export const preview = (input: {
  readonly name: Option.Option<string>
  readonly cron: Option.Option<string>
  readonly timezone: Option.Option<string>
  readonly after: Option.Option<string>
  readonly count: Option.Option<number>
}) =>
  Effect.gen(function*() {
    const output = yield* Output
    if (Option.isSome(input.name) === Option.isSome(input.cron)) {
      return yield* Globals.usage("Name a schedule, or give --cron, one of them.")
    }
    const answer = yield* Connection.call(Subject.rpc.schedule("preview"), SchedulePreview, {
      ...given("name", input.name),
      ...given("cron", input.cron),
      ...given("timezone", input.timezone),
      ...given("after", input.after),
      ...given("count", input.count)
    })
    yield* output.page(
      { items: answer.times },
      [
        { title: "AT", value: (item) => item.at },
        { title: "DATE", value: (item) => item.date },
        { title: "INSTANCE", value: (item) => item.instanceId ?? "" }
      ],
      "No time is left: its end has passed."
    )
  }).pipe(Connection.provide)
