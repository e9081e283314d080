/**
 * The definition as an immutable DAG: compiled once per definition version, shared by all its runs. design/03 section 5.
 *
 * Kept true here: everything a decision needs of the definition is looked up by node index, not parsed or searched again; a graph that was compiled has
 * unique names, known predecessors, no cycle, expressions that parse and read only tasks that come before; `compile` names every problem, not just the first,
 * and takes time in proportion to tasks and edges. What the engine can't do yet is refused here (`Unsupported: ...`), never ignored.
 */
import * as Result from "effect/Result"
import type { AlertTarget } from "../../../shared/protocol/Alert.ts"
import type { Definition, DefinitionRef, Join, TaskDefinition } from "../../../shared/protocol/Definition.ts"
import type { Problem } from "../../../shared/protocol/ErrorCode.ts"
import type { LaneName } from "../../../shared/protocol/Lane.ts"
import { namespaceDefault } from "../../../shared/protocol/Pool.ts"
import type { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import { Namespace, PoolName, type Priority, priorityDefault, TaskName } from "../../../shared/protocol/Token.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import * as Condition from "./Condition.ts"
import * as Expression from "./Expression.ts"
import { Mark, type TaskState } from "./TaskState.ts"
import * as Template from "./Template.ts"

/** The most dependencies one definition may have. */
export const edgesMax = 100_000
/** The most problems that are listed; a last one says how many more there are. */
export const problemsMax = 200
/** Items of one fan-out. */
export const itemsMax = 10_000
export const retryIntervalDefaultMs = 1_000
export const retryIntervalMaxDefaultMs = 3_600_000
export const poolDefault = "default"

/** `onCommit` and `onCleanup` are nodes of these names, and their attempts `onCommit:<run>:<attempt>`. */
export const commitName = TaskName.make("onCommit")
export const cleanupName = TaskName.make("onCleanup")

export interface RetryPolicy {
  readonly times: number
  readonly intervalMs: number
  readonly exponential: boolean
  readonly intervalMaxMs: number
  readonly jitter: boolean
}
export interface TimeoutPolicy {
  readonly afterMs: number
  readonly warn: boolean
  readonly fail: boolean
}
export interface SwitchCase {
  readonly when: Expression.Expression
  readonly next: TaskName
}

export interface ConditionPlan {
  readonly when: Condition.Condition
  readonly success: ReadonlyArray<number>
  readonly failed: ReadonlyArray<number>
}

export interface TaskNode {
  readonly index: number
  readonly name: TaskName
  readonly kind: "task" | "sub-workflow" | "dependent" | "switch" | "condition" | "commit" | "cleanup"
  readonly type: string
  readonly lane: LaneName
  /** Its own pool; undefined: the workflow's. */
  readonly pool: PoolRef | undefined
  readonly priority: Priority
  readonly join: Join
  readonly forbidden: boolean
  /** Its failure is absorbed if they are in the run: all successors are condition tasks that are not forbidden. */
  readonly absorbed: boolean
  readonly delayMs: number
  readonly dispatchTimeoutMs: number | undefined
  readonly timeout: TimeoutPolicy | undefined
  readonly retry: RetryPolicy
  readonly with: Template.Template
  readonly params: Template.Template
  readonly env: ReadonlyArray<readonly [name: string, value: Template.Template]>
  /** None of `with`, `params`, `env` holds an expression. */
  readonly constant: boolean
  /** Its concurrency group, of which it takes a slot before it is dispatched. */
  readonly group: { readonly name: string; readonly slots: number | undefined; readonly priority: Priority } | undefined
  readonly forEach: { readonly items: Expression.Expression; readonly parallelism: number } | undefined
  readonly cases: ReadonlyArray<SwitchCase>
  readonly fallback: TaskName | undefined
  /** Of a condition task: what it asks and where each answer leads. */
  readonly condition: ConditionPlan | undefined
  /** Successors that the switch or the condition names: those it does not take are skipped. */
  readonly branches: ReadonlyArray<number>
  readonly predecessors: ReadonlyArray<number>
  readonly successors: ReadonlyArray<number>
}

export interface WorkflowGraph {
  readonly definition: DefinitionRef
  readonly namespace: Namespace
  /** Tasks in the order of the definition, then the hooks. */
  readonly nodes: ReadonlyArray<TaskNode>
  /** Tasks without the hooks. */
  readonly taskCount: number
  readonly indexOf: ReadonlyMap<string, number>
  /** Indices of the tasks, predecessors before successors. */
  readonly order: ReadonlyArray<number>
  readonly startNodes: ReadonlyArray<number>
  readonly commit: TaskNode | undefined
  readonly cleanup: TaskNode | undefined
  /** Those without expressions. */
  readonly params: Readonly<Record<string, unknown>>
  /** Those with expressions, in the order of the definition; evaluated once, at START. */
  readonly paramTemplates: ReadonlyArray<readonly [name: string, value: Template.Template]>
  readonly pool: PoolRef
  readonly priority: Priority
  readonly endOnFailure: boolean
  /** Names of the concurrency groups of its tasks. */
  readonly groups: ReadonlyArray<string>
  /** Runs of the definition, of all its versions, one after the other. */
  readonly serial: "wait" | "discard" | "priority" | undefined
  /** The graph of a semaphore, which has no tasks (engine/Semaphore.ts). */
  readonly isSemaphore: boolean
  /** Who is told of the run; the deployment's targets when absent. */
  readonly alerts?: ReadonlyArray<AlertTarget>
  readonly timeout: TimeoutPolicy | undefined
  /** The table of a run of the whole graph before it starts. */
  readonly fresh: ChunkedVector.ChunkedVector<TaskState>
}

export const nodeAt = (graph: WorkflowGraph, index: number): TaskNode => {
  const node = graph.nodes[index]
  if (node === undefined) throw new RangeError(`the graph of ${graph.definition.name} has no node ${index}`)
  return node
}

/** `name` or `namespace/name`. */
export const parsePool = (text: string, namespace: Namespace): PoolRef => {
  const slash = text.indexOf("/")
  return slash < 0
    ? { namespace, name: PoolName.make(text) }
    : { namespace: Namespace.make(text.slice(0, slash)), name: PoolName.make(text.slice(slash + 1)) }
}

/** What people write for the types that the engine itself runs: no executor would ever have such a type. */
const misspeltTypes: ReadonlyMap<string, string> = new Map([
  ["conditions", "condition"],
  ["subworkflow", "sub-workflow"],
  ["sub_workflow", "sub-workflow"],
  ["workflow", "sub-workflow"]
])

interface Report {
  readonly add: (path: string, message: string, value?: unknown, fix?: string) => void
  readonly expression: (path: string, problem: Expression.ExpressionProblem) => void
}

/** An expression that reads a task, to be checked against the order of the graph. */
interface Read {
  readonly by: number
  readonly path: string
  readonly expression: Expression.Expression
}

const timeoutPolicy = (
  timeout: TaskDefinition["timeout"],
  path: string,
  report: Report
): TimeoutPolicy | undefined => {
  if (timeout === undefined) return undefined
  if (!(timeout.after > 0)) {
    report.add(
      `${path}.after`,
      "a time-out must be longer than 0",
      timeout.after,
      "Give a duration such as \"10m\", or leave timeout out."
    )
  }
  const strategy = timeout.strategy ?? "fail"
  return { afterMs: timeout.after, warn: strategy !== "fail", fail: strategy !== "warn" }
}

const retryPolicy = (retry: TaskDefinition["retry"]): RetryPolicy => ({
  times: retry?.times ?? 0,
  intervalMs: retry?.interval ?? retryIntervalDefaultMs,
  exponential: retry?.backoff === "exponential",
  intervalMaxMs: retry?.intervalMax ?? retryIntervalMaxDefaultMs,
  jitter: retry?.jitter ?? false
})

/** Kahn's order, and the indices that it can't reach: those on or behind a cycle. */
const topological = (predecessorCount: ReadonlyArray<number>, successors: ReadonlyArray<ReadonlyArray<number>>) => {
  const left = predecessorCount.slice()
  const order: Array<number> = []
  for (let i = 0; i < left.length; i++) if (left[i] === 0) order.push(i)
  for (let head = 0; head < order.length; head++) {
    for (const next of successors[order[head] ?? -1] ?? []) {
      const count = (left[next] ?? 0) - 1
      left[next] = count
      if (count === 0) order.push(next)
    }
  }
  return order
}

/** One cycle for each back edge of a depth-first walk over the nodes that no order reaches. */
const cyclesOf = (
  unordered: ReadonlySet<number>,
  predecessors: ReadonlyArray<ReadonlyArray<number>>
): ReadonlyArray<ReadonlyArray<number>> => {
  const cycles: Array<ReadonlyArray<number>> = []
  const done = new Set<number>()
  for (const start of unordered) {
    if (done.has(start)) continue
    const path = [start]
    const next = [0]
    const place = new Map([[start, 0]])
    while (path.length > 0 && cycles.length < problemsMax) {
      const top = path.length - 1
      const node = path[top] ?? -1
      const before = predecessors[node]?.[next[top] ?? 0]
      next[top] = (next[top] ?? 0) + 1
      if (before === undefined) {
        done.add(node)
        place.delete(node)
        path.pop()
        next.pop()
      } else if (place.has(before)) cycles.push(path.slice(place.get(before)).reverse())
      else if (unordered.has(before) && !done.has(before)) {
        place.set(before, path.length)
        path.push(before)
        next.push(0)
      }
    }
  }
  return cycles
}

/** Which of the wanted pairs (earlier task, later task) are not ordered by the graph. 32 earlier tasks share one walk over the graph. */
const unordered = (
  order: ReadonlyArray<number>,
  predecessors: ReadonlyArray<ReadonlyArray<number>>,
  wanted: ReadonlyMap<number, ReadonlyArray<Read>>
): ReadonlyArray<readonly [earlier: number, read: Read]> => {
  const missing: Array<readonly [number, Read]> = []
  const sources = [...wanted.keys()]
  for (let from = 0; from < sources.length; from += 32) {
    const block = sources.slice(from, from + 32)
    const own = new Int32Array(predecessors.length)
    block.forEach((source, bit) => {
      own[source] = (own[source] ?? 0) | (1 << bit)
    })
    const before = new Int32Array(predecessors.length)
    for (const node of order) {
      let bits = 0
      for (const predecessor of predecessors[node] ?? []) bits |= (before[predecessor] ?? 0) | (own[predecessor] ?? 0)
      before[node] = bits
    }
    block.forEach((source, bit) => {
      for (const read of wanted.get(source) ?? []) {
        if (((before[read.by] ?? 0) & (1 << bit)) === 0) missing.push([source, read])
      }
    })
  }
  return missing
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

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
  const problems: Array<Problem> = []
  let more = 0
  const report: Report = {
    add: (path, message, value, fix) => {
      if (problems.length >= problemsMax) more += 1
      else {problems.push({
          path,
          message,
          ...(value === undefined ? {} : { value }),
          ...(fix === undefined ? {} : { fix })
        })}
    },
    expression: (path, problem) =>
      report.add(
        path,
        problem.message,
        problem.source,
        "Correct the CEL expression; see docs for its variables: params, tasks, instance, item."
      )
  }
  const { spec } = definition
  const namespace = definition.metadata.namespace ?? namespaceDefault
  const tasks = spec.tasks
  const indexOf = new Map<string, number>()
  tasks.forEach((task, i) => {
    const first = indexOf.get(task.name)
    if (first !== undefined) {
      report.add(
        `spec.tasks[${i}].name`,
        `the name ${task.name} is used twice: spec.tasks[${first}].name and spec.tasks[${i}].name`,
        task.name,
        "Rename one of them."
      )
    } else if (task.name === commitName || task.name === cleanupName) {
      report.add(
        `spec.tasks[${i}].name`,
        `the name ${task.name} is reserved for the hook spec.${task.name}`,
        task.name,
        "Rename the task, or make it the hook."
      )
    } else indexOf.set(task.name, i)
  })

  // Edges.
  const predecessors: Array<Array<number>> = tasks.map(() => [])
  const successors: Array<Array<number>> = tasks.map(() => [])
  let edges = 0
  tasks.forEach((task, i) => {
    const seen = new Set<string>()
    task.dependsOn?.forEach((name, k) => {
      const path = `spec.tasks[${i}].dependsOn[${k}]`
      const before = indexOf.get(name)
      if (seen.has(name)) report.add(path, `${name} is named twice in dependsOn of ${task.name}`, name, "Name it once.")
      else if (before === undefined) {
        report.add(
          path,
          `${task.name} depends on ${name}, which is no task of this workflow`,
          name,
          `Add a task named ${name}, or correct the name.`
        )
      } else if (before === i) report.add(path, `${task.name} depends on itself`, name, "Remove it from dependsOn.")
      else {
        seen.add(name)
        edges += 1
        predecessors[i]?.push(before)
        successors[before]?.push(i)
      }
    })
  })
  if (edges > edgesMax) {
    report.add(
      "spec.tasks",
      `the workflow has ${edges} dependencies, more than ${edgesMax}`,
      edges,
      "Join over a noop task instead of naming every pair."
    )
  }
  const order = topological(predecessors.map((list) => list.length), successors)
  if (order.length < tasks.length) {
    const reached = new Set(order)
    const left = new Set(tasks.keys().filter((i) => !reached.has(i)))
    for (const cycle of cyclesOf(left, predecessors)) {
      const names = cycle.map((i) => tasks[i]?.name ?? "")
      const shown = names.length > 20 ? [...names.slice(0, 20), `... (${names.length} tasks)`] : names
      report.add(
        `spec.tasks[${cycle[0] ?? 0}].dependsOn`,
        `the dependencies form a cycle: ${[...shown, names[0]].join(" -> ")}`,
        names[0],
        "Remove one of these dependencies."
      )
    }
  }

  // What is not there yet.
  const unsupported = (path: string, what: string, value: unknown, fix: string) =>
    report.add(path, `Unsupported: ${what}`, value, fix)
  // Nodes.
  const reads = new Map<number, Array<Read>>()
  const note = (by: number, itemAllowed: boolean) => (path: string, expression: Expression.Expression) => {
    if (expression.reads.item && !itemAllowed) {
      report.add(
        path,
        `expression ${JSON.stringify(expression.source)}: item is only known in a task with forEach`,
        expression.source,
        "Give the task a forEach, or use params."
      )
    }
    for (const name of expression.reads.tasks) {
      const earlier = indexOf.get(name)
      if (earlier === undefined) {
        report.add(
          path,
          `expression ${JSON.stringify(expression.source)}: ${name} is no task of this workflow`,
          expression.source,
          "Correct the name."
        )
      } else if (by >= 0 && !(predecessors[by]?.includes(earlier) ?? false)) {
        const list = reads.get(earlier)
        const read = { by, path, expression }
        if (list === undefined) reads.set(earlier, [read])
        else list.push(read)
      }
    }
  }
  const noExpression: Template.Template = { _tag: "Constant", value: {} }
  const templates = (
    by: number,
    path: string,
    of: { readonly with?: unknown; readonly params?: unknown; readonly env?: Readonly<Record<string, string>> },
    itemAllowed: boolean
  ) => {
    const sink: Template.Sink = { expression: note(by, itemAllowed), problem: report.expression }
    const withTemplate = of.with === undefined ? noExpression : Template.compile(of.with, `${path}.with`, sink)
    const params = of.params === undefined ? noExpression : Template.compile(of.params, `${path}.params`, sink)
    const env: Array<readonly [string, Template.Template]> = []
    for (const [name, value] of Object.entries(of.env ?? {})) {
      env.push([name, Template.compile(value, `${path}.env.${name}`, sink)])
    }
    const constant = withTemplate._tag === "Constant" && params._tag === "Constant" &&
      env.every(([, value]) => value._tag === "Constant")
    return { with: withTemplate, params, env, constant }
  }
  const compiled = (
    by: number,
    path: string,
    source: string,
    itemAllowed: boolean
  ): Expression.Expression | undefined => {
    const expression = Expression.compile(source)
    if (expression instanceof Expression.ExpressionProblem) {
      report.expression(path, expression)
      return undefined
    }
    note(by, itemAllowed)(path, expression)
    return expression
  }

  const nodes: Array<TaskNode> = []
  tasks.forEach((task, index) => {
    const path = `spec.tasks[${index}]`
    const isSwitch = task.type === "switch"
    const isCondition = task.type === "condition"
    const isBranching = isSwitch || isCondition
    const meant = misspeltTypes.get(task.type)
    if (meant !== undefined) {
      report.add(`${path}.type`, `there is no task type ${task.type}`, task.type, `Write type: ${meant}.`)
    }
    if (task.group !== undefined && isBranching) {
      report.add(
        `${path}.group`,
        `the ${task.type} ${task.name} takes no slot`,
        task.group.name,
        "Put the group on the tasks it leads to."
      )
    }
    const join = task.join ?? "all_success"
    if ((join === "one_success" || join === "one_failed") && (predecessors[index]?.length ?? 0) === 0) {
      report.add(
        `${path}.join`,
        `${task.name} has no predecessor, so ${join} can never hold`,
        join,
        "Add dependsOn, or leave join out."
      )
    }
    const cases: Array<SwitchCase> = []
    const branches = new Set<number>()
    let fallback: TaskName | undefined
    const branch = (at: string, name: unknown): TaskName | undefined => {
      const next = typeof name === "string" ? indexOf.get(name) : undefined
      if (next === undefined) {
        report.add(
          at,
          `the ${task.type} ${task.name} names ${JSON.stringify(name)}, which is no task of this workflow`,
          name,
          "Correct the name."
        )
        return undefined
      }
      if (!(successors[index]?.includes(next) ?? false)) {
        report.add(
          at,
          `${String(name)} does not depend on the ${task.type} ${task.name}`,
          name,
          `Add ${task.name} to dependsOn of ${String(name)}.`
        )
        return undefined
      }
      branches.add(next)
      return tasks[next]?.name
    }
    if (isBranching && task.forEach !== undefined) {
      report.add(
        `${path}.forEach`,
        `the ${task.type} ${task.name} can't be a fan-out`,
        undefined,
        "Put forEach on the task it leads to."
      )
    }
    if (task.type === "sub-workflow" && typeof task.with?.["definition"] !== "string") {
      report.add(
        `${path}.with.definition`,
        `the sub-workflow ${task.name} names no definition`,
        task.with?.["definition"],
        "Give with.definition: name or name@version."
      )
    }
    if (task.type === "dependent") {
      const { all, any } = task.with ?? {}
      const key = all === undefined ? "any" : "all"
      const list = all ?? any
      const isEmpty = Array.isArray(list) && list.length === 0
      if (list === undefined || isEmpty) {
        report.add(
          isEmpty ? `${path}.with.${key}` : `${path}.with`,
          `the dependent task ${task.name} names no workflow`,
          isEmpty ? list : task.with,
          "Give with.all or with.any: [{workflow: <name>, within: 24h}]."
        )
      } else if (all !== undefined && any !== undefined) {
        report.add(
          `${path}.with.any`,
          `the dependent task ${task.name} has both all and any`,
          any,
          "Give one of them; two dependent tasks ask both."
        )
      }
    }
    let condition: ConditionPlan | undefined
    if (isCondition) {
      const own = predecessors[index] ?? []
      if (own.length === 0) {
        report.add(
          `${path}.dependsOn`,
          `the condition ${task.name} has no predecessor to ask about`,
          undefined,
          "Name the tasks it judges in dependsOn."
        )
      }
      const sink: Condition.Sink = {
        problem: report.add,
        predecessor: (at, name) => {
          const earlier = typeof name === "string" ? indexOf.get(name) : undefined
          if (earlier !== undefined && own.includes(earlier)) return earlier
          report.add(
            at,
            earlier === undefined
              ? `the condition ${task.name} asks about ${JSON.stringify(name)}, which is no task of this workflow`
              : `the condition ${task.name} asks about ${String(name)}, which it does not depend on`,
            name,
            earlier === undefined ? "Correct the name." : `Add ${String(name)} to dependsOn of ${task.name}.`
          )
          return undefined
        }
      }
      const leads = (key: "success" | "failed"): ReadonlyArray<number> => {
        const value = task.with?.[key] ?? []
        return (Array.isArray(value) ? value : [value]).flatMap((name: unknown, k) => {
          const next = branch(Array.isArray(value) ? `${path}.with.${key}[${k}]` : `${path}.with.${key}`, name)
          return next === undefined ? [] : [indexOf.get(next) ?? -1]
        })
      }
      const when = task.with?.["when"] === undefined
        ? {
          _tag: "And" as const,
          of: own.map((earlier) => ({ _tag: "Task" as const, index: earlier, is: "success" as const }))
        }
        : Condition.compile(task.with["when"], `${path}.with.when`, sink)
      const success = leads("success")
      const failed = leads("failed")
      if (success.length + failed.length === 0) {
        report.add(
          `${path}.with`,
          `the condition ${task.name} leads nowhere`,
          task.with,
          "Give with.success and with.failed: lists of tasks that depend on it."
        )
      }
      if (when !== undefined) condition = { when, success, failed }
    }
    if (isSwitch) {
      const list = task.with?.["cases"]
      if (!Array.isArray(list)) {
        report.add(
          `${path}.with.cases`,
          `the switch ${task.name} has no list of cases`,
          list,
          "Give with.cases: [{when: <CEL>, next: <task>}]."
        )
      } else {
        list.forEach((entry: unknown, k) => {
          const at = `${path}.with.cases[${k}]`
          if (!isRecord(entry) || typeof entry["when"] !== "string") {
            report.add(at, `a case is {when: <CEL>, next: <task>}`, entry, "Give both.")
            return
          }
          const when = compiled(index, `${at}.when`, entry["when"], false)
          if (when !== undefined && when.type !== "bool" && when.type !== "dyn") {
            report.add(
              `${at}.when`,
              `expression ${JSON.stringify(when.source)} gives ${when.type}, not true or false`,
              when.source,
              "Compare it with something."
            )
          }
          const next = branch(`${at}.next`, entry["next"])
          if (when !== undefined && next !== undefined) cases.push({ when, next })
        })
      }
      const otherwise = task.with?.["default"]
      if (otherwise !== undefined) fallback = branch(`${path}.with.default`, otherwise)
    }
    let forEach: TaskNode["forEach"]
    if (task.forEach !== undefined && !isBranching) {
      const items = compiled(index, `${path}.forEach.items`, task.forEach.items, false)
      if (items !== undefined) {
        if (!items.type.startsWith("list") && items.type !== "dyn") {
          report.add(
            `${path}.forEach.items`,
            `expression ${JSON.stringify(items.source)} gives ${items.type}, not a list`,
            items.source,
            "Give a list."
          )
        }
        forEach = { items, parallelism: task.forEach.parallelism ?? itemsMax }
      }
    }
    nodes.push({
      index,
      name: task.name,
      kind: isSwitch
        ? "switch"
        : isCondition
        ? "condition"
        : task.type === "sub-workflow" || task.type === "dependent"
        ? task.type
        : "task",
      type: task.type,
      lane: "ready",
      pool: task.pool === undefined ? undefined : parsePool(task.pool, namespace),
      priority: task.priority ?? priorityDefault,
      join,
      forbidden: task.forbidden ?? false,
      absorbed: (successors[index]?.length ?? 0) > 0 &&
        (successors[index]?.every((next) => tasks[next]?.type === "condition" && tasks[next].forbidden !== true) ??
          false),
      delayMs: task.delay ?? 0,
      dispatchTimeoutMs: task.dispatchTimeout,
      timeout: timeoutPolicy(task.timeout, `${path}.timeout`, report),
      retry: retryPolicy(task.retry),
      ...templates(
        index,
        path,
        // The cases of a switch are expressions already; nothing else of it is sent anywhere.
        isBranching ? {} : { ...task, ...(spec.env === undefined ? {} : { env: { ...spec.env, ...task.env } }) },
        task.forEach !== undefined
      ),
      group: task.group === undefined || isBranching
        ? undefined
        : { name: task.group.name, slots: task.group.slots, priority: task.group.priority ?? priorityDefault },
      forEach,
      cases,
      fallback,
      condition,
      branches: [...branches],
      predecessors: predecessors[index] ?? [],
      successors: successors[index] ?? []
    })
  })
  for (const [earlier, read] of unordered(order, predecessors, reads)) {
    if (order.length < tasks.length) break
    const name = tasks[earlier]?.name ?? ""
    report.add(
      read.path,
      `expression ${JSON.stringify(read.expression.source)}: ${name} does not come before ${tasks[read.by]?.name}`,
      read.expression.source,
      `Add ${name} to dependsOn of ${tasks[read.by]?.name}.`
    )
  }
  const hook = (kind: "commit" | "cleanup"): TaskNode | undefined => {
    const of = kind === "commit" ? spec.onCommit : spec.onCleanup
    if (of === undefined) return undefined
    const path = kind === "commit" ? "spec.onCommit" : "spec.onCleanup"
    if (misspeltTypes.has(of.type) || ["switch", "condition", "sub-workflow", "dependent"].includes(of.type)) {
      unsupported(
        `${path}.type`,
        `a hook of type ${of.type} is not possible`,
        of.type,
        "Use a type that an executor runs."
      )
    }
    const node: TaskNode = {
      index: nodes.length,
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
      timeout: timeoutPolicy(of.timeout, `${path}.timeout`, report),
      retry: retryPolicy(of.retry),
      ...templates(-1, path, { ...of, ...(spec.env === undefined ? {} : { env: { ...spec.env, ...of.env } }) }, false),
      group: undefined,
      forEach: undefined,
      cases: [],
      fallback: undefined,
      condition: undefined,
      branches: [],
      predecessors: [],
      successors: []
    }
    nodes.push(node)
    indexOf.set(node.name, node.index)
    return node
  }
  const commit = hook("commit")
  const cleanup = hook("cleanup")
  const params: Record<string, unknown> = {}
  const paramTemplates: Array<readonly [string, Template.Template]> = []
  for (const [name, value] of Object.entries(spec.params ?? {})) {
    const template = Template.compile(value, `spec.params.${name}`, {
      problem: report.expression,
      expression: (path, expression) => {
        note(-1, false)(path, expression)
        if (expression.reads.tasks.length === 0) return
        report.add(
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
  const timeout = timeoutPolicy(spec.timeout, "spec.timeout", report)
  if (more > 0) problems.push({ path: "spec", message: `and ${more} more problems` })
  if (problems.length > 0) return Result.fail(problems)

  return Result.succeed({
    definition: ref,
    namespace,
    nodes,
    taskCount: tasks.length,
    indexOf,
    order,
    startNodes: order.filter((i) => predecessors[i]?.length === 0),
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
