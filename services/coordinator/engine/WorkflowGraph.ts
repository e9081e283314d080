/**
 * The definition as an immutable DAG: compiled once per definition version (`Compile`), shared by all its runs. design/03 section 5.
 *
 * Kept true here: everything a decision needs of the definition is looked up by node index, not parsed or searched again.
 */
import type { AlertTarget } from "../../../shared/protocol/Alert.ts"
import type { DefinitionRef, Join } from "../../../shared/protocol/Definition.ts"
import type { LaneName } from "../../../shared/protocol/Lane.ts"
import type { PoolRef } from "../../../shared/protocol/Sandbox.ts"
import { Namespace, PoolName, type Priority, type TaskName } from "../../../shared/protocol/Token.ts"
import type * as ChunkedVector from "./ChunkedVector.ts"
import type * as Condition from "./Condition.ts"
import type * as Expression from "./Expression.ts"
import type { TaskState } from "./TaskState.ts"
import type * as Template from "./Template.ts"

/** Items of one fan-out. */
export const itemsMax = 10_000

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
