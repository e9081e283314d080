/**
 * A sub-workflow: a task that is another instance. What parent and child tell each other. design/03 section 6, conformance A05 to A09, B04, B10, B15, C14 to C17.
 *
 * Kept true here: the child's id follows from the parent's attempt, so however often the parent asks there is one child; what the child is asked for and what it
 * answers names the attempt, so an answer to an earlier attempt changes nothing; a resumed or recovered parent goes on with the child it had, a retry gets a new one.
 */
import * as Schema from "effect/Schema"
import { DefinitionRefText } from "../../../shared/protocol/Definition.ts"
import { fnv1a } from "../../../shared/protocol/Shard.ts"
import type { ChildStart } from "../../../shared/protocol/Signal.ts"
import { InstanceId, Namespace, SessionId, type TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as AttemptId from "./AttemptId.ts"
import type { Send } from "./EngineEffect.ts"
import * as Expression from "./Expression.ts"
import * as Rendering from "./Rendering.ts"
import type { Turn } from "./Turn.ts"
import type { Unit } from "./Unit.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** Workflows in workflows: a definition that names itself ends here. */
export const depthMax = 16

const isDefinition = Schema.is(DefinitionRefText)
const isNamespace = Schema.is(Namespace)
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The child that an attempt gets when it is a new one. */
export const childId = (instance: InstanceId, id: TaskInstanceId): InstanceId => {
  const key = `${instance}/${id}`
  const hash = [key, `child ${key}`].map((text) => fnv1a(text).toString(16).padStart(8, "0")).join("")
  return InstanceId.make(`${instance.slice(0, 24)}-${AttemptId.taskOf(id).slice(0, 20)}-${hash}`)
}

/** The child of an attempt that is about to ask for one: that of the attempt before, when that one was paused, killed or recovered. */
export const childOf = (state: WorkflowState, { execution }: Unit): InstanceId => {
  const before = execution.past.at(-1)
  return before?.child !== undefined && execution.failures === 0
    ? before.child
    : childId(state.instance, execution.attempt.id)
}

/** What the child is started with, or why it can't be. */
export const request = (state: WorkflowState, unit: Unit): ChildStart | string => {
  const depth = (state.start?.parent?.depth ?? 0) + 1
  if (depth > depthMax) {
    return `workflows in workflows, deeper than ${depthMax}: does ${state.graph.definition.name} name itself?`
  }
  const spec = Rendering.spec(state, unit, SessionId.make(0))
  if (spec instanceof Expression.ExpressionProblem) return spec.message
  const { definition, namespace, params } = spec.with
  if (!isDefinition(definition)) return `with.definition: ${JSON.stringify(definition)} is no name or name@version`
  if (namespace !== undefined && !isNamespace(namespace)) {
    return `with.namespace: ${JSON.stringify(namespace)} is no name`
  }
  if (params !== undefined && !isRecord(params)) return "with.params is no object"
  return {
    _tag: "CHILD_START",
    definition,
    namespace: namespace ?? state.graph.namespace,
    params: { ...spec.params, ...params },
    parent: { instance: state.instance, task: unit.execution.attempt.id, depth },
    ...(state.start?.priority === undefined ? {} : { priority: state.start.priority }),
    ...(state.start?.pool === undefined ? {} : { pool: state.start.pool }),
    ...(state.start?.team === undefined ? {} : { team: state.start.team }),
    ...(state.start?.traceparent === undefined ? {} : { traceparent: state.start.traceparent })
  }
}

/** To the child of a live attempt. `Ask`: start it, or go on with it; it answers where it stands. */
export const tell = (state: WorkflowState, kind: "Ask" | "Kill" | "Pause", unit: Unit): Send | undefined => {
  const { child, id } = unit.execution.attempt
  if (child === undefined) return undefined
  const event = kind === "Kill"
    ? { _tag: "WORKFLOW_STOP", reason: `the parent ${state.instance} stops it` } as const
    : kind === "Pause"
    ? { _tag: "WORKFLOW_PAUSE", reason: `the parent ${state.instance} pauses it` } as const
    : request(state, unit)
  // It was checked before the attempt got its child, on the same values.
  if (typeof event === "string") return undefined
  return { _tag: "Send", id: `child-${kind.toLowerCase()}:${id}`, to: child, from: state.instance, event }
}

const toParent = (
  state: WorkflowState,
  verb: string,
  event: (id: TaskInstanceId) => Send["event"]
): ReadonlyArray<Send> => {
  const { parent } = state
  return parent === undefined ? [] : [{
    _tag: "Send",
    id: `parent-${verb}:${parent.task}@${state.endedAt ?? state.run}`,
    to: parent.instance,
    from: state.instance,
    event: event(parent.task)
  }]
}

/** The child runs. */
export const begun = (state: WorkflowState): ReadonlyArray<Send> =>
  toParent(state, "begun", (id) => ({ _tag: "TASK_RUNNING", id }))

/** How a child that rests ended, for the attempt that is its parent. Nothing while it runs. */
export const ended = (state: WorkflowState): ReadonlyArray<Send> =>
  state.endedAt === undefined ? [] : toParent(state, "ended", (id) => {
    switch (state.status) {
      case "SUCCEEDED":
        return { _tag: "TASK_SUCCEEDED", id, outputs: Rendering.workflowOutputs(state) }
      case "PAUSED":
        return { _tag: "TASK_PAUSED", id }
      case "STOPPED":
        return { _tag: "TASK_KILLED", id }
      default:
        return { _tag: "TASK_FAILED", id, reason: `${state.instance}: ${state.reason ?? "failed"}` }
    }
  })

export const emitAll = (turn: Turn, sends: ReadonlyArray<Send>): void => {
  for (const send of sends) turn.emit(send)
}
