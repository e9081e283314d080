/**
 * A definition compiled to its graph. design/03 section 5.
 *
 * Kept true here: a graph that was compiled has unique names, known predecessors, no cycle, expressions that parse and read only tasks that come before; `compile` names
 * every problem, not just the first, and takes time in proportion to tasks and edges. What the engine can't do yet is refused here (`Unsupported: ...`), never ignored.
 */
import * as Result from "effect/Result"
import type { Definition, DefinitionRef } from "../../../shared/protocol/Definition.ts"
import type { Problem } from "../../../shared/protocol/ErrorCode.ts"
import { namespaceDefault } from "../../../shared/protocol/Pool.ts"
import { priorityDefault, TaskName } from "../../../shared/protocol/Token.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Expression from "./Expression.ts"
import * as TaskCompiler from "./TaskCompiler.ts"
import * as TaskOrder from "./TaskOrder.ts"
import { Mark, type TaskState } from "./TaskState.ts"
import * as Template from "./Template.ts"
import { parsePool, type TaskNode, type WorkflowGraph } from "./WorkflowGraph.ts"

/** The most dependencies one definition may have. */
const edgesMax = 100_000
const poolDefault = "default"

/** `onCommit` and `onCleanup` are nodes of these names, and their attempts `onCommit:<run>:<attempt>`. */
const commitName = TaskName.make("onCommit")
const cleanupName = TaskName.make("onCleanup")

type Tasks = Definition["spec"]["tasks"]

/** Position of each task by its name; of two with one name the first. */
const indexOfNames = (tasks: Tasks, problems: TaskCompiler.Problems): Map<string, number> => {
  const indexOf = new Map<string, number>()
  tasks.forEach((task, i) => {
    const first = indexOf.get(task.name)
    if (first !== undefined) {
      problems.add(
        `spec.tasks[${i}].name`,
        `the name ${task.name} is used twice: spec.tasks[${first}].name and spec.tasks[${i}].name`,
        task.name,
        "Rename one of them."
      )
    } else if (task.name === commitName || task.name === cleanupName) {
      problems.add(
        `spec.tasks[${i}].name`,
        `the name ${task.name} is reserved for the hook spec.${task.name}`,
        task.name,
        "Rename the task, or make it the hook."
      )
    } else indexOf.set(task.name, i)
  })
  return indexOf
}

interface Edges {
  readonly predecessors: ReadonlyArray<ReadonlyArray<number>>
  readonly successors: ReadonlyArray<ReadonlyArray<number>>
}

const edgesOf = (tasks: Tasks, indexOf: ReadonlyMap<string, number>, problems: TaskCompiler.Problems): Edges => {
  const predecessors: Array<Array<number>> = tasks.map(() => [])
  const successors: Array<Array<number>> = tasks.map(() => [])
  let edges = 0
  tasks.forEach((task, i) => {
    const seen = new Set<string>()
    task.dependsOn?.forEach((name, k) => {
      const path = `spec.tasks[${i}].dependsOn[${k}]`
      const before = indexOf.get(name)
      if (seen.has(name)) {
        problems.add(path, `${name} is named twice in dependsOn of ${task.name}`, name, "Name it once.")
      } else if (before === undefined) {
        problems.add(
          path,
          `${task.name} depends on ${name}, which is no task of this workflow`,
          name,
          `Add a task named ${name}, or correct the name.`
        )
      } else if (before === i) problems.add(path, `${task.name} depends on itself`, name, "Remove it from dependsOn.")
      else {
        seen.add(name)
        edges += 1
        predecessors[i]?.push(before)
        successors[before]?.push(i)
      }
    })
  })
  if (edges > edgesMax) {
    problems.add(
      "spec.tasks",
      `the workflow has ${edges} dependencies, more than ${edgesMax}`,
      edges,
      "Join over a noop task instead of naming every pair."
    )
  }
  return { predecessors, successors }
}

/** Predecessors before successors; without those on or behind a cycle. */
const orderOf = (tasks: Tasks, { predecessors, successors }: Edges, problems: TaskCompiler.Problems) => {
  const order = TaskOrder.topological(predecessors.map((list) => list.length), successors)
  if (order.length === tasks.length) return order
  const reached = new Set(order)
  const left = new Set(tasks.keys().filter((i) => !reached.has(i)))
  for (const cycle of TaskOrder.cycles(left, predecessors, TaskCompiler.problemsMax)) {
    const names = cycle.map((i) => tasks[i]?.name ?? "")
    const shown = names.length > 20 ? [...names.slice(0, 20), `... (${names.length} tasks)`] : names
    problems.add(
      `spec.tasks[${cycle[0] ?? 0}].dependsOn`,
      `the dependencies form a cycle: ${[...shown, names[0]].join(" -> ")}`,
      names[0],
      "Remove one of these dependencies."
    )
  }
  return order
}

/** What a task reads of one that does not come before it. Nothing of a graph that has no order. */
const lookAtReads = (
  { predecessors, problems, reads, spec: { tasks } }: TaskCompiler.Surroundings,
  order: ReadonlyArray<number>
): void => {
  if (order.length < tasks.length) return
  for (const [earlier, read] of TaskOrder.unordered(order, predecessors, reads)) {
    const name = tasks[earlier]?.name ?? ""
    problems.add(
      read.path,
      `expression ${JSON.stringify(read.expression.source)}: ${name} does not come before ${tasks[read.by]?.name}`,
      read.expression.source,
      `Add ${name} to dependsOn of ${tasks[read.by]?.name}.`
    )
  }
}

const hookNode = (
  around: TaskCompiler.Surroundings,
  kind: "commit" | "cleanup",
  index: number
): TaskNode | undefined => {
  const { namespace, problems, spec } = around
  const of = kind === "commit" ? spec.onCommit : spec.onCleanup
  if (of === undefined) return undefined
  const path = kind === "commit" ? "spec.onCommit" : "spec.onCleanup"
  if (
    TaskCompiler.misspeltTypes.has(of.type) ||
    ["switch", "condition", "sub-workflow", "dependent"].includes(of.type)
  ) {
    problems.add(
      `${path}.type`,
      `Unsupported: a hook of type ${of.type} is not possible`,
      of.type,
      "Use a type that an executor runs."
    )
  }
  return {
    index,
    name: kind === "commit" ? commitName : cleanupName,
    kind,
    type: of.type,
    lane: kind,
    pool: of.pool === undefined ? undefined : parsePool(of.pool, namespace),
    priority: priorityDefault,
    join: "always",
    forbidden: false,
    absorbed: false,
    delayMs: 0,
    dispatchTimeoutMs: undefined,
    timeout: TaskCompiler.timeoutPolicy(of.timeout, `${path}.timeout`, problems),
    retry: TaskCompiler.retryPolicy(of.retry),
    ...TaskCompiler.templates(around, -1, path, of, false),
    group: undefined,
    forEach: undefined,
    cases: [],
    fallback: undefined,
    condition: undefined,
    branches: [],
    predecessors: [],
    successors: []
  }
}

/** The workflow's own params: those that are values, and those that are computed at START. */
const paramsOf = (around: TaskCompiler.Surroundings): Pick<WorkflowGraph, "params" | "paramTemplates"> => {
  const { problems, spec } = around
  const params: Record<string, unknown> = {}
  const paramTemplates: Array<readonly [string, Template.Template]> = []
  for (const [name, value] of Object.entries(spec.params ?? {})) {
    const template = Template.compile(value, `spec.params.${name}`, {
      problem: problems.expression,
      expression: (path, expression) => {
        TaskCompiler.note(around, -1, false)(path, expression)
        if (expression.reads.tasks.length === 0) return
        problems.add(
          path,
          `expression ${JSON.stringify(expression.source)}: no task has run when the workflow's params are set`,
          expression.source,
          "Read the task's outputs where the param is used."
        )
      }
    })
    if (template._tag === "Constant") Expression.put(params, name, value)
    else paramTemplates.push([name, template])
  }
  return { params, paramTemplates }
}

const serialOf = (type: Definition["spec"]["executionType"]): WorkflowGraph["serial"] => {
  switch (type) {
    case "serial-wait":
      return "wait"
    case "serial-discard":
      return "discard"
    case "serial-priority":
      return "priority"
    default:
      return undefined
  }
}

/** The graph, or every problem of the definition with its path, the value found there and a fix. Never throws. */
export const compile = (
  definition: Definition,
  ref: DefinitionRef
): Result.Result<WorkflowGraph, ReadonlyArray<Problem>> => {
  const { spec } = definition
  const { tasks } = spec
  const namespace = definition.metadata.namespace ?? namespaceDefault
  const problems = new TaskCompiler.Problems()
  const indexOf = indexOfNames(tasks, problems)
  const edges = edgesOf(tasks, indexOf, problems)
  const order = orderOf(tasks, edges, problems)
  const around: TaskCompiler.Surroundings = { spec, namespace, indexOf, ...edges, problems, reads: new Map() }
  const nodes = tasks.map((task, index) => TaskCompiler.compile(around, task, index))
  lookAtReads(around, order)
  const hook = (kind: "commit" | "cleanup"): TaskNode | undefined => {
    const node = hookNode(around, kind, nodes.length)
    if (node === undefined) return undefined
    nodes.push(node)
    indexOf.set(node.name, node.index)
    return node
  }
  const commit = hook("commit")
  const cleanup = hook("cleanup")
  const { params, paramTemplates } = paramsOf(around)
  const timeout = TaskCompiler.timeoutPolicy(spec.timeout, "spec.timeout", problems)
  const { found } = problems
  if (found.length > 0) return Result.fail(found)

  return Result.succeed({
    definition: ref,
    namespace,
    nodes,
    taskCount: tasks.length,
    indexOf,
    order,
    startNodes: order.filter((i) => edges.predecessors[i]?.length === 0),
    commit,
    cleanup,
    params,
    paramTemplates,
    pool: parsePool(spec.pool ?? poolDefault, namespace),
    priority: spec.priority ?? priorityDefault,
    endOnFailure: spec.failureStrategy === "end",
    groups: [...new Set(nodes.flatMap((node) => node.group?.name ?? []))],
    serial: serialOf(spec.executionType),
    isSemaphore: false,
    ...(spec.alerts === undefined ? {} : { alerts: spec.alerts }),
    timeout,
    fresh: ChunkedVector.fromArray(
      nodes.map((node): TaskState => ({
        marks: node.kind === "commit" || node.kind === "cleanup" ? Mark.Outside : 0,
        pending: node.predecessors.length,
        ok: 0,
        failed: 0,
        skipped: 0
      }))
    )
  })
}
