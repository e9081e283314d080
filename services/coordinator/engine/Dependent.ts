/**
 * A dependent task: asks how the last runs of other workflows ended, in a window of time. design/03 section 6, conformance A65.
 *
 * Kept true here: the engine only says what is asked (rendered once, when the task is dispatched, and again from the same values for whoever takes over) and takes
 * the answer as the task's end; looking other workflows up is the shell's.
 */
import * as Schema from "effect/Schema"
import { parseDurationMs } from "../../../shared/protocol/Time.ts"
import { type EpochMs, Namespace, SessionId, Token } from "../../../shared/protocol/Token.ts"
import type { Dependency, Query, Question } from "./EngineEffect.ts"
import * as Expression from "./Expression.ts"
import * as Rendering from "./Rendering.ts"
import type { Unit } from "./Unit.ts"
import type { WorkflowState } from "./WorkflowState.ts"

export const dependenciesMax = 100
const isName = Schema.is(Token)
const isNamespace = Schema.is(Namespace)
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const timeOf = (value: unknown): EpochMs | undefined => {
  const at = typeof value === "string" ? Date.parse(value) : Number.NaN
  return Number.isFinite(at) ? at : undefined
}

/** `within` counts back from `at`, when the task was submitted. `own`: the namespace of the workflow that asks, meant when none is named. */
const dependency = (value: unknown, path: string, at: EpochMs, own: Namespace): Dependency | string => {
  if (!isRecord(value) || !isName(value["workflow"])) return `${path}: name a workflow`
  const { from, is = "success", namespace = own, to, within, workflow } = value
  if (!isNamespace(namespace)) return `${path}.namespace: ${JSON.stringify(namespace)} is no name`
  const of = { workflow, namespace, name: namespace === own ? workflow : `${namespace}/${workflow}` }
  if (is !== "success" && is !== "failed") return `${path}.is: success or failed`
  if (within !== undefined) {
    const ms = typeof within === "string" ? parseDurationMs(within) : undefined
    return ms === undefined
      ? `${path}.within: a duration such as "24h"`
      : { ...of, from: at - ms, to: at, is }
  }
  const begin = from === undefined ? 0 : timeOf(from)
  const end = to === undefined ? at : timeOf(to)
  return begin === undefined || end === undefined
    ? `${path}: from and to are times such as "2026-01-31T00:00:00Z"`
    : { ...of, from: begin, to: end, is }
}

/** What is asked, or why it can't be. */
export const question = (state: WorkflowState, unit: Unit): Question | string => {
  const spec = Rendering.spec(state, unit, SessionId.make(0))
  if (spec instanceof Expression.ExpressionProblem) return spec.message
  const { all, any } = spec.with
  const list = all ?? any
  const isUsable = Array.isArray(list) && list.length > 0 && list.length <= dependenciesMax
  if (!isUsable || (all !== undefined && any !== undefined)) {
    return `with: give all: [...] or any: [...], 1 to ${dependenciesMax} workflows`
  }
  const mode = all === undefined ? "any" : "all"
  const of: Array<Dependency> = []
  for (const [i, value] of list.entries()) {
    const one = dependency(value, `with.${mode}[${i}]`, unit.execution.attempt.submittedAt, state.graph.namespace)
    if (typeof one === "string") return one
    of.push(one)
  }
  return { instance: state.instance, mode, of }
}

/** Nothing when the question can't be asked: that was found when the task was dispatched. */
export const query = (state: WorkflowState, unit: Unit): Query | undefined => {
  const { id } = unit.execution.attempt
  const asked = question(state, unit)
  return typeof asked === "string"
    ? undefined
    : { _tag: "Query", id: `query:${id}`, taskInstanceId: id, question: asked }
}
