/**
 * Lists and counts of runs: of the read model, and beyond what that holds of the coordinators. docs/design/gateway.md "Read model".
 *
 * Kept true: a page is in one order, newest start first, whoever it comes from; nothing is in it twice, and nothing between two pages is left out. Coordinators are asked only for what
 * started before the read model begins.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { timestamp } from "../../shared/protocol/Time.ts"
import { WorkflowList, WorkflowStatus, type WorkflowSummary } from "../../shared/protocol/Workflow.ts"
import type { Json } from "./Api.ts"
import type { Run, Runs } from "./Runs.ts"

const limitDefault = 100
const requestMs = 10_000
/** Pages of a coordinator that one request may read to find runs that its own words do not select (several states, a prefix). */
const pagesMax = 3
const pageOfCoordinator = 1_000

const decodeState = Decode.valueDecoder(Schema.Struct({ state: WorkflowStatus }))

const shown = (run: Run) => ({
  instanceId: run.instanceId,
  state: run.state,
  definition: run.definition,
  startedAt: timestamp(run.startedAt),
  endedAt: run.endedAt === undefined ? undefined : timestamp(run.endedAt),
  seq: run.seq,
  runNumber: run.runNumber,
  reason: run.reason,
  parent: run.parent
})
const shownSummary = (summary: typeof WorkflowSummary.Type) => ({
  ...summary,
  definition: { namespace: namespaceDefault as string, ...summary.definition }
})

const textOf = (query: Json, key: string): string | undefined => {
  const value = query[key]
  return typeof value === "string" && value !== "" ? value : undefined
}

export interface Source {
  readonly runs: Runs
  /** Journal sequence up to which the runs are true. */
  readonly seq: () => number
}

const until = ({ runs, seq }: Source) => ({
  seq: seq(),
  ...(runs.since === undefined ? {} : { since: timestamp(runs.since) })
})

export const list = Effect.fnUntraced(function*(nats: Connection, source: Source, query: Json) {
  const { runs } = source
  const limit = typeof query["limit"] === "number" ? query["limit"] : limitDefault
  const definition = textOf(query, "definition")
  const namespace = textOf(query, "namespace")
  const prefix = textOf(query, "prefix")
  const next = textOf(query, "next")
  const asked = textOf(query, "state")?.split(",").map((state) => state.trim()).filter((state) => state !== "")
  const states = asked === undefined ? undefined : new Set<string>()
  for (const state of asked ?? []) states?.add((yield* Effect.fromResult(decodeState({ state }))).state)
  const selected = {
    ...(definition === undefined ? {} : { definition }),
    ...(namespace === undefined ? {} : { namespace })
  }
  const page = runs.page({
    ...selected,
    ...(states === undefined ? {} : { states }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(next === undefined ? {} : { next }),
    limit
  })
  const told = until(source)
  const items: Array<object> = page.items.map(shown)
  if (page.next !== undefined || runs.since === undefined) {
    return { items, ...(page.next === undefined ? {} : { next: page.next }), ...told }
  }
  // what is older: of the coordinators, by the same order
  const only = states?.size === 1 ? [...states][0] : undefined
  const isFiltered = prefix !== undefined || states !== undefined && only === undefined
  const horizon = `${timestamp(runs.since)}/`
  let older: string | undefined = next !== undefined && next < horizon ? next : horizon
  for (let pages = 0; older !== undefined && items.length < limit && pages < pagesMax; pages++) {
    const found: typeof WorkflowList.Type = yield* Rpc.callPatiently(nats, Subject.rpc.workflow("list"), WorkflowList, {
      ...selected,
      ...(only === undefined ? {} : { state: only }),
      limit: isFiltered ? pageOfCoordinator : limit - items.length,
      next: older
    }, { timeoutMs: requestMs, isRepeatable: true })
    older = found.next
    for (const one of found.items) {
      if (states !== undefined && !states.has(one.state)) continue
      if (prefix !== undefined && !one.instanceId.startsWith(prefix)) continue
      if (items.length === limit) break
      items.push(shownSummary(one))
      if (items.length === limit && one !== found.items.at(-1)) older = `${one.startedAt}/${one.instanceId}`
    }
  }
  return { items, ...(older === undefined ? {} : { next: older }), ...told }
})

export const counts = (source: Source, query: Json) => {
  const definition = textOf(query, "definition")
  const namespace = textOf(query, "namespace")
  const byState = new Map<string, number>()
  let total = 0
  const definitions = []
  for (const one of source.runs.counts()) {
    if (definition !== undefined && one.name !== definition) continue
    if (namespace !== undefined && one.namespace !== namespace) continue
    total += one.total
    for (const [state, count] of one.byState) byState.set(state, (byState.get(state) ?? 0) + count)
    definitions.push({
      namespace: one.namespace,
      name: one.name,
      total: one.total,
      byState: Object.fromEntries([...one.byState].sort(byName))
    })
  }
  definitions.sort((a, b) => b.total - a.total || (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1))
  return { total, byState: Object.fromEntries([...byState].sort(byName)), definitions, ...until(source) }
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => a < b ? -1 : 1

/** Lists are not answered from a part of the journal. */
export const notReady = (): ContractError =>
  new ContractError({ code: "Unavailable", message: "this gateway still reads the journal: try again in a moment" })
