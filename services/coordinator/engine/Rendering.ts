/**
 * Filling in `${{ }}` for one attempt, from the state. design/02, design/03 section 6.
 *
 * Kept true here: what an attempt is rendered from (params, the item, and outputs of tasks that come before, which `Compile` has checked) does not change
 * once the task was triggered. So `decide` evaluates everything when the task is about to be dispatched, where an error is a FATAL of that task, and the same
 * evaluation for the registration's answer can't fail. Nothing rendered is journalled; a fold never renders.
 */
import type { StartData } from "../../../shared/protocol/Journal.ts"
import type { TaskSpec } from "../../../shared/protocol/Report.ts"
import { timestamp } from "../../../shared/protocol/Time.ts"
import type { EpochMs, SessionId } from "../../../shared/protocol/Token.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Expression from "./Expression.ts"
import { Mark, type TaskState } from "./TaskState.ts"
import * as Template from "./Template.ts"
import type { Unit } from "./Unit.ts"
import { nodeAt, type TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

const nothing: Readonly<Record<string, unknown>> = {}

/** A task's outputs: a fan-out's are `{items: [...]}`, in the order of its list. */
export const outputsOf = (task: TaskState): Readonly<Record<string, unknown>> => {
  if (task.taken !== undefined) return task.taken
  if (task.items !== undefined) {
    return task.status === "SUCCEEDED" || task.status === "FORCED_SUCCESS"
      ? { items: ChunkedVector.toArray(task.items.executions).map((item) => item?.outputs ?? {}) }
      : nothing
  }
  return task.status === "SUCCEEDED" || task.status === "FORCED_SUCCESS" ? task.execution?.outputs ?? nothing : nothing
}

/** `tasks.<name>.state`: the task's state, or what became of one that has none. */
export const stateOf = (task: TaskState): string => {
  if (task.status !== undefined) return task.status
  if ((task.marks & Mark.Skipped) !== 0) return "SKIPPED"
  if ((task.marks & Mark.Passed) !== 0) return "FORBIDDEN"
  return (task.marks & Mark.Blocked) === 0 ? "NONE" : "BLOCKED"
}

export const scopeOf = (state: WorkflowState, node: TaskNode, item: number): Expression.Scope => ({
  params: state.params,
  task: (name) => {
    const index = state.graph.indexOf.get(name)
    if (index === undefined) return { outputs: nothing, state: "NONE" }
    const task = ChunkedVector.get(state.tasks, index)
    return { outputs: outputsOf(task), state: stateOf(task) }
  },
  instance: {
    id: state.instance,
    run: state.run,
    definition: state.graph.definition.name,
    version: state.graph.definition.version,
    namespace: state.graph.namespace,
    task: node.name,
    startedAt: timestamp(state.startedAt)
  },
  item: item < 0 ? null : ChunkedVector.get(state.tasks, node.index).items?.values[item] ?? null
})

/**
 * The params of a run whose definition has expressions in them: each may read those without, the start params and those before it. `undefined`: it has none.
 * Start params override, and their expressions are not evaluated.
 */
export const workflowParams = (
  state: WorkflowState,
  start: StartData,
  at: EpochMs
): Readonly<Record<string, unknown>> | Expression.ExpressionProblem | undefined => {
  const { definition, namespace, paramTemplates, params } = state.graph
  if (paramTemplates.length === 0) return undefined
  const known: Record<string, unknown> = { ...params, ...start.params }
  const scope: Expression.Scope = {
    params: known,
    task: () => ({ outputs: nothing, state: "NONE" }),
    instance: {
      id: state.instance,
      run: 1,
      definition: definition.name,
      version: definition.version,
      namespace,
      startedAt: timestamp(at)
    },
    item: null
  }
  for (const [name, template] of paramTemplates) {
    if (start.params !== undefined && Object.hasOwn(start.params, name)) continue
    const value = Template.render(template, scope)
    if (value instanceof Expression.ExpressionProblem) return value
    Expression.put(known, name, value)
  }
  return known
}

/** What is wrong with the expressions of a task that is about to be dispatched, or nothing. */
export const problem = (state: WorkflowState, node: TaskNode, item: number): string | undefined => {
  if (node.constant) return undefined
  const scope = scopeOf(state, node, item)
  const rendered = [
    ["with", Template.render(node.with, scope)] as const,
    ["params", Template.render(node.params, scope)] as const,
    ...node.env.map(([name, value]) => [`env.${name}`, Template.render(value, scope)] as const)
  ]
  for (const [path, value] of rendered) {
    if (value instanceof Expression.ExpressionProblem) return `${path}: ${value.message}`
  }
  return undefined
}

/** Outputs of everything before the task, merged: what comes later in the graph overrides what comes earlier. */
const passedOn = (state: WorkflowState, node: TaskNode): Readonly<Record<string, unknown>> => {
  if (state.withOutputs === 0 || (node.predecessors.length === 0 && node.kind === "task")) return nothing
  const { graph } = state
  const before = new Set<number>(node.predecessors)
  if (node.kind === "commit" || node.kind === "cleanup") { for (const index of graph.order) before.add(index) }
  else for (const index of before) for (const earlier of nodeAt(graph, index).predecessors) before.add(earlier)
  const merged: Record<string, unknown> = {}
  for (const index of graph.order) {
    if (!before.has(index)) continue
    const task = ChunkedVector.get(state.tasks, index)
    if (task.status === undefined) continue
    const outputs = outputsOf(task)
    for (const key of Object.keys(outputs)) if (key !== "") Expression.put(merged, key, outputs[key])
  }
  return merged
}

/** Everything that succeeded, merged likewise: the outputs of the workflow. */
export const workflowOutputs = (state: WorkflowState): Readonly<Record<string, unknown>> => {
  if (state.withOutputs === 0) return nothing
  const merged: Record<string, unknown> = {}
  for (const index of state.graph.order) {
    const outputs = outputsOf(ChunkedVector.get(state.tasks, index))
    for (const key of Object.keys(outputs)) if (key !== "") Expression.put(merged, key, outputs[key])
  }
  return merged
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** What the executor runs. Params: global and start params, then the task's own, then outputs passed on; a param with an empty name is left out. */
export const spec = (
  state: WorkflowState,
  { execution, item, node }: Unit,
  session: SessionId
): TaskSpec | Expression.ExpressionProblem => {
  const scope = node.constant ? undefined : scopeOf(state, node, item)
  const fill = (template: Template.Template): unknown =>
    template._tag === "Constant" || scope === undefined
      ? (template as { readonly value?: unknown }).value
      : Template.render(template, scope)
  const withValue = fill(node.with)
  if (withValue instanceof Expression.ExpressionProblem) return withValue
  const own = fill(node.params)
  if (own instanceof Expression.ExpressionProblem) return own
  // Passed on as OpenTelemetry passes it to a process; the definition's own `env` comes after it.
  const env: Record<string, string> = state.start?.traceparent === undefined
    ? {}
    : { TRACEPARENT: state.start.traceparent }
  for (const [name, template] of node.env) {
    const value = scope === undefined
      ? String((template as { readonly value?: unknown }).value)
      : Template.renderText(template, scope)
    if (value instanceof Expression.ExpressionProblem) return value
    Expression.put(env, name, value)
  }
  const params: Record<string, unknown> = {
    ...state.params,
    ...(isRecord(own) ? own : nothing),
    ...passedOn(state, node)
  }
  if (Object.hasOwn(params, "")) delete params[""]
  return {
    instance: state.instance,
    task: node.name,
    taskInstanceId: execution.attempt.id,
    attempt: execution.attempt.n,
    type: node.type,
    with: isRecord(withValue) ? withValue : nothing,
    params,
    env,
    shard: state.shard,
    session
  }
}
