/** `heddle groups`: concurrency groups, their slots and who waits for one. design/02 `heddle.rpc.group.*`. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { GroupList, type GroupSummary, type GroupTicket, GroupView } from "../../shared/protocol/Group.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import * as Connection from "../Connection.ts"
import * as Globals from "../Globals.ts"
import { type Column, Output } from "../Output.ts"

const columns: ReadonlyArray<Column<GroupSummary>> = [
  { title: "GROUP", value: (group) => group.name },
  { title: "SLOTS", value: (group) => `${group.slots}${group.set === true ? " (set)" : ""}`, alignRight: true },
  { title: "HELD", value: (group) => String(group.held), alignRight: true },
  { title: "WAITING", value: (group) => String(group.waiting), alignRight: true },
  { title: "NAMESPACE", value: (group) => group.namespace }
]

export const ls = (input: { readonly limit: Option.Option<number>; readonly next: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const page = yield* Connection.call(Subject.rpc.group("list"), GroupList, {
      ...(Option.isSome(input.limit) ? { limit: input.limit.value } : {}),
      ...(Option.isSome(input.next) ? { next: input.next.value } : {})
    })
    yield* output.page(
      page,
      columns,
      "No concurrency groups. What to do: `group: { name, slots }` of a task makes one (examples/concurrency-group.yaml)."
    )
    if (page.next !== undefined && output.format === "table") {
      yield* output.note(`heddle: there are more: --next ${page.next}`)
    }
  }).pipe(Connection.provide)

const lineOf = (state: string) => (ticket: GroupTicket): string =>
  `  ${state}  ${ticket.instanceId}  ${ticket.taskInstanceId}  priority ${ticket.priority}`

const told = (view: GroupView): string =>
  [
    `${view.name}: ${view.slots} slots${
      view.set === true ? " (set)" : ""
    }, ${view.held.length} held, ${view.waiting.length} waiting`,
    ...view.held.map(lineOf("holds")),
    ...view.waiting.map(lineOf("waits"))
  ].join("\n")

/** `name` in the current namespace, or `namespace/name`. */
const refOf = Effect.fnUntraced(function*(text: string) {
  const slash = text.indexOf("/")
  return {
    namespace: slash < 0
      ? yield* Globals.namespaceToken()
      : yield* Globals.checkToken("The namespace", text.slice(0, slash)),
    name: yield* Globals.checkToken("The group", text.slice(slash + 1))
  }
})

const one = (verb: "get" | "set" | "prioritize", group: string, more: Record<string, unknown> = {}) =>
  Effect.gen(function*() {
    const output = yield* Output
    const view = yield* Connection.call(Subject.rpc.group(verb), GroupView, { ...(yield* refOf(group)), ...more })
    yield* output.value(view, () => told(view))
  }).pipe(Connection.provide)

export const get = (input: { readonly group: string }) => one("get", input.group)

export const set = (input: { readonly group: string; readonly slots: string }) =>
  /^\d{1,5}$/u.test(input.slots) || input.slots === "auto"
    ? one("set", input.group, { slots: input.slots === "auto" ? null : Number(input.slots) })
    : Effect.fail(
      Globals.usage(`The slots ${JSON.stringify(input.slots)} are no number.`, "write 0 to 10000, or auto.")
    )

export const prioritize = (
  input: { readonly group: string; readonly instance: string; readonly task: string; readonly priority: number }
) =>
  Effect.flatMap(
    Globals.checkToken("The instance", input.instance),
    (instanceId) => one("prioritize", input.group, { instanceId, task: input.task, priority: input.priority })
  )
