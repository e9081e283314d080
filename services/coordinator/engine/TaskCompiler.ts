/**
 * One task of a definition compiled to its node: its templates and expressions, and what a switch, a condition or a fan-out is made of. design/03 sections 5 and 6.
 *
 * Kept true here: every problem is told with its path, the value found there and a fix, and the rest is compiled all the same; what a task reads of others is noted, to
 * be held against the order of the whole.
 */
import type { Definition, TaskDefinition } from "../../../shared/protocol/Definition.ts"
import type { Problem } from "../../../shared/protocol/ErrorCode.ts"
import { type Namespace, priorityDefault } from "../../../shared/protocol/Token.ts"
import * as Condition from "./Condition.ts"
import * as Expression from "./Expression.ts"
import * as Template from "./Template.ts"
import {
  type ConditionPlan,
  itemsMax,
  parsePool,
  type RetryPolicy,
  type SwitchCase,
  type TaskNode,
  type TimeoutPolicy
} from "./WorkflowGraph.ts"

/** The most problems that are listed; a last one says how many more there are. */
export const problemsMax = 200
const retryIntervalDefaultMs = 1_000
const retryIntervalMaxDefaultMs = 3_600_000

/** What people write for the types that the engine itself runs: no executor would ever have such a type. */
export const misspeltTypes: ReadonlyMap<string, string> = new Map([
  ["conditions", "condition"],
  ["subworkflow", "sub-workflow"],
  ["sub_workflow", "sub-workflow"],
  ["workflow", "sub-workflow"]
])

/** What is wrong with the definition, as it is found. */
export class Problems {
  readonly #list: Array<Problem> = []
  #more = 0

  readonly add = (path: string, message: string, value?: unknown, fix?: string): void => {
    if (this.#list.length >= problemsMax) {
      this.#more += 1
      return
    }
    this.#list.push({
      path,
      message,
      ...(value === undefined ? {} : { value }),
      ...(fix === undefined ? {} : { fix })
    })
  }

  readonly expression = (path: string, problem: Expression.ExpressionProblem): void =>
    this.add(
      path,
      problem.message,
      problem.source,
      "Correct the CEL expression; see docs for its variables: params, tasks, instance, item."
    )

  /** All that are listed. */
  get found(): ReadonlyArray<Problem> {
    return this.#more === 0 ? this.#list : [...this.#list, { path: "spec", message: `and ${this.#more} more problems` }]
  }
}

/** An expression that reads a task, to be checked against the order of the graph. */
export interface Read {
  readonly by: number
  readonly path: string
  readonly expression: Expression.Expression
}

/** What is known of the whole before a task is compiled. */
export interface Surroundings {
  readonly spec: Definition["spec"]
  readonly namespace: Namespace
  readonly indexOf: ReadonlyMap<string, number>
  readonly predecessors: ReadonlyArray<ReadonlyArray<number>>
  readonly successors: ReadonlyArray<ReadonlyArray<number>>
  readonly problems: Problems
  /** By the task that is read; without those that depend on it directly. */
  readonly reads: Map<number, Array<Read>>
}

/** Takes the expressions of the task `by` (-1: of none): what it reads must exist, and `item` only where there is one. */
export const note =
  ({ indexOf, predecessors, problems, reads }: Surroundings, by: number, itemAllowed: boolean) =>
  (path: string, expression: Expression.Expression): void => {
    if (expression.reads.item && !itemAllowed) {
      problems.add(
        path,
        `expression ${JSON.stringify(expression.source)}: item is only known in a task with forEach`,
        expression.source,
        "Give the task a forEach, or use params."
      )
    }
    for (const name of expression.reads.tasks) {
      const earlier = indexOf.get(name)
      if (earlier === undefined) {
        problems.add(
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

/** What is filled in for each attempt; `of.env` goes before the workflow's own. */
export const templates = (
  around: Surroundings,
  by: number,
  path: string,
  of: { readonly with?: unknown; readonly params?: unknown; readonly env?: Readonly<Record<string, string>> },
  itemAllowed: boolean
): Pick<TaskNode, "with" | "params" | "env" | "constant"> => {
  const sink: Template.Sink = { expression: note(around, by, itemAllowed), problem: around.problems.expression }
  const withTemplate = of.with === undefined ? noExpression : Template.compile(of.with, `${path}.with`, sink)
  const params = of.params === undefined ? noExpression : Template.compile(of.params, `${path}.params`, sink)
  const env: Array<readonly [string, Template.Template]> = []
  for (const [name, value] of Object.entries({ ...around.spec.env, ...of.env })) {
    env.push([name, Template.compile(value, `${path}.env.${name}`, sink)])
  }
  const constant = withTemplate._tag === "Constant" && params._tag === "Constant" &&
    env.every(([, value]) => value._tag === "Constant")
  return { with: withTemplate, params, env, constant }
}

export const timeoutPolicy = (
  timeout: TaskDefinition["timeout"],
  path: string,
  problems: Problems
): TimeoutPolicy | undefined => {
  if (timeout === undefined) return undefined
  if (!(timeout.after > 0)) {
    problems.add(
      `${path}.after`,
      "a time-out must be longer than 0",
      timeout.after,
      "Give a duration such as \"10m\", or leave timeout out."
    )
  }
  const strategy = timeout.strategy ?? "fail"
  return { afterMs: timeout.after, warn: strategy !== "fail", fail: strategy !== "warn" }
}

export const retryPolicy = (retry: TaskDefinition["retry"]): RetryPolicy => ({
  times: retry?.times ?? 0,
  intervalMs: retry?.interval ?? retryIntervalDefaultMs,
  exponential: retry?.backoff === "exponential",
  intervalMaxMs: retry?.intervalMax ?? retryIntervalMaxDefaultMs,
  jitter: retry?.jitter ?? false
})

/** A task on its way to its node. */
interface Task {
  readonly around: Surroundings
  readonly task: TaskDefinition
  readonly index: number
  readonly path: string
  /** Successors that it names. */
  readonly branches: Set<number>
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const expressionOf = ({ around, index }: Task, path: string, source: string): Expression.Expression | undefined => {
  const expression = Expression.compile(source)
  if (expression instanceof Expression.ExpressionProblem) {
    around.problems.expression(path, expression)
    return undefined
  }
  note(around, index, false)(path, expression)
  return expression
}

/** The successor that a switch or a condition names. */
const branchOf = (
  { around: { indexOf, problems, successors }, branches, index, task }: Task,
  path: string,
  name: unknown
): number | undefined => {
  const next = typeof name === "string" ? indexOf.get(name) : undefined
  if (next === undefined) {
    problems.add(
      path,
      `the ${task.type} ${task.name} names ${JSON.stringify(name)}, which is no task of this workflow`,
      name,
      "Correct the name."
    )
    return undefined
  }
  if (!(successors[index]?.includes(next) ?? false)) {
    problems.add(
      path,
      `${String(name)} does not depend on the ${task.type} ${task.name}`,
      name,
      `Add ${task.name} to dependsOn of ${String(name)}.`
    )
    return undefined
  }
  branches.add(next)
  return next
}

const lookAtSubWorkflow = ({ around: { problems }, path, task }: Task): void => {
  if (typeof task.with?.["definition"] === "string") return
  problems.add(
    `${path}.with.definition`,
    `the sub-workflow ${task.name} names no definition`,
    task.with?.["definition"],
    "Give with.definition: name or name@version."
  )
}

const lookAtDependent = ({ around: { problems }, path, task }: Task): void => {
  const { all, any } = task.with ?? {}
  const key = all === undefined ? "any" : "all"
  const list = all ?? any
  const isEmpty = Array.isArray(list) && list.length === 0
  if (list === undefined || isEmpty) {
    problems.add(
      isEmpty ? `${path}.with.${key}` : `${path}.with`,
      `the dependent task ${task.name} names no workflow`,
      isEmpty ? list : task.with,
      "Give with.all or with.any: [{workflow: <name>, within: 24h}]."
    )
  } else if (all !== undefined && any !== undefined) {
    problems.add(
      `${path}.with.any`,
      `the dependent task ${task.name} has both all and any`,
      any,
      "Give one of them; two dependent tasks ask both."
    )
  }
}

const conditionPlan = (self: Task): ConditionPlan | undefined => {
  const { around: { indexOf, predecessors, problems }, index, path, task } = self
  const own = predecessors[index] ?? []
  if (own.length === 0) {
    problems.add(
      `${path}.dependsOn`,
      `the condition ${task.name} has no predecessor to ask about`,
      undefined,
      "Name the tasks it judges in dependsOn."
    )
  }
  const sink: Condition.Sink = {
    problem: problems.add,
    predecessor: (at, name) => {
      const earlier = typeof name === "string" ? indexOf.get(name) : undefined
      if (earlier !== undefined && own.includes(earlier)) return earlier
      problems.add(
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
    return (Array.isArray(value) ? value : [value]).flatMap((name: unknown, k) =>
      branchOf(self, Array.isArray(value) ? `${path}.with.${key}[${k}]` : `${path}.with.${key}`, name) ?? []
    )
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
    problems.add(
      `${path}.with`,
      `the condition ${task.name} leads nowhere`,
      task.with,
      "Give with.success and with.failed: lists of tasks that depend on it."
    )
  }
  return when === undefined ? undefined : { when, success, failed }
}

const switchPlan = (self: Task): Pick<TaskNode, "cases" | "fallback"> => {
  const { around: { problems, spec }, path, task } = self
  const cases: Array<SwitchCase> = []
  const nameOf = (index: number | undefined) => index === undefined ? undefined : spec.tasks[index]?.name
  const list = task.with?.["cases"]
  if (!Array.isArray(list)) {
    problems.add(
      `${path}.with.cases`,
      `the switch ${task.name} has no list of cases`,
      list,
      "Give with.cases: [{when: <CEL>, next: <task>}]."
    )
  } else {
    list.forEach((entry: unknown, k) => {
      const at = `${path}.with.cases[${k}]`
      if (!isRecord(entry) || typeof entry["when"] !== "string") {
        problems.add(at, `a case is {when: <CEL>, next: <task>}`, entry, "Give both.")
        return
      }
      const when = expressionOf(self, `${at}.when`, entry["when"])
      if (when !== undefined && when.type !== "bool" && when.type !== "dyn") {
        problems.add(
          `${at}.when`,
          `expression ${JSON.stringify(when.source)} gives ${when.type}, not true or false`,
          when.source,
          "Compare it with something."
        )
      }
      const next = nameOf(branchOf(self, `${at}.next`, entry["next"]))
      if (when !== undefined && next !== undefined) cases.push({ when, next })
    })
  }
  const otherwise = task.with?.["default"]
  return {
    cases,
    fallback: otherwise === undefined ? undefined : nameOf(branchOf(self, `${path}.with.default`, otherwise))
  }
}
const noSwitch: Pick<TaskNode, "cases" | "fallback"> = { cases: [], fallback: undefined }

const fanOut = (self: Task, forEach: NonNullable<TaskDefinition["forEach"]>): TaskNode["forEach"] => {
  const at = `${self.path}.forEach.items`
  const items = expressionOf(self, at, forEach.items)
  if (items === undefined) return undefined
  if (!items.type.startsWith("list") && items.type !== "dyn") {
    self.around.problems.add(
      at,
      `expression ${JSON.stringify(items.source)} gives ${items.type}, not a list`,
      items.source,
      "Give a list."
    )
  }
  return { items, parallelism: forEach.parallelism ?? itemsMax }
}

/** All conditions that can't be passed over: they judge its failure. */
const isAbsorbed = ({ around: { spec, successors }, index }: Task): boolean => {
  const own = successors[index] ?? []
  return own.length > 0 &&
    own.every((next) => spec.tasks[next]?.type === "condition" && spec.tasks[next].forbidden !== true)
}

/** The node of a task. */
export const compile = (around: Surroundings, task: TaskDefinition, index: number): TaskNode => {
  const { namespace, predecessors, problems, successors } = around
  const path = `spec.tasks[${index}]`
  const isSwitch = task.type === "switch"
  const isCondition = task.type === "condition"
  const isBranching = isSwitch || isCondition
  const meant = misspeltTypes.get(task.type)
  if (meant !== undefined) {
    problems.add(`${path}.type`, `there is no task type ${task.type}`, task.type, `Write type: ${meant}.`)
  }
  if (task.group !== undefined && isBranching) {
    problems.add(
      `${path}.group`,
      `the ${task.type} ${task.name} takes no slot`,
      task.group.name,
      "Put the group on the tasks it leads to."
    )
  }
  const join = task.join ?? "all_success"
  if ((join === "one_success" || join === "one_failed") && (predecessors[index]?.length ?? 0) === 0) {
    problems.add(
      `${path}.join`,
      `${task.name} has no predecessor, so ${join} can never hold`,
      join,
      "Add dependsOn, or leave join out."
    )
  }
  if (isBranching && task.forEach !== undefined) {
    problems.add(
      `${path}.forEach`,
      `the ${task.type} ${task.name} can't be a fan-out`,
      undefined,
      "Put forEach on the task it leads to."
    )
  }
  const self: Task = { around, task, index, path, branches: new Set() }
  if (task.type === "sub-workflow") lookAtSubWorkflow(self)
  if (task.type === "dependent") lookAtDependent(self)
  const condition = isCondition ? conditionPlan(self) : undefined
  const { cases, fallback } = isSwitch ? switchPlan(self) : noSwitch
  const forEach = task.forEach === undefined || isBranching ? undefined : fanOut(self, task.forEach)
  return {
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
    absorbed: isAbsorbed(self),
    delayMs: task.delay ?? 0,
    dispatchTimeoutMs: task.dispatchTimeout,
    timeout: timeoutPolicy(task.timeout, `${path}.timeout`, problems),
    retry: retryPolicy(task.retry),
    // The cases of a switch are expressions already; nothing else of it is sent anywhere.
    ...(isBranching ? nothingFilledIn : templates(around, index, path, task, task.forEach !== undefined)),
    group: task.group === undefined || isBranching
      ? undefined
      : { name: task.group.name, slots: task.group.slots, priority: task.group.priority ?? priorityDefault },
    forEach,
    cases,
    fallback,
    condition,
    branches: [...self.branches],
    predecessors: predecessors[index] ?? [],
    successors: successors[index] ?? []
  }
}
const nothingFilledIn: Pick<TaskNode, "with" | "params" | "env" | "constant"> = {
  with: noExpression,
  params: noExpression,
  env: [],
  constant: true
}
