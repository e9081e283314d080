/**
 * Ids of attempts: `<task>:<run>:<attempt>`, and `<task>:<run>:<attempt>:<item>` for an item of a fan-out.
 *
 * Kept true here: a task's name holds no colon, so the id alone says which task and item it is about; no other file takes an id apart.
 */
import type { TaskInstanceId } from "../../../shared/protocol/Token.ts"
import type { TaskNode, WorkflowGraph } from "./WorkflowGraph.ts"

/** The `n`th attempt (1, 2, ...) of a task in a run, or of one of its items; `item` -1: of the task. */
export const make = (node: TaskNode, run: number, n: number, item: number): TaskInstanceId =>
  // Built of a name that `compile` took and of numbers: always a TaskInstanceId.
  (item < 0 ? `${node.name}:${run}:${n}` : `${node.name}:${run}:${n}:${item}`) as TaskInstanceId

/** The name of its task. */
export const taskOf = (id: TaskInstanceId): string => id.slice(0, id.indexOf(":"))

/** The node that an attempt's id names; -1: the graph has none of that name. */
export const indexOf = (graph: WorkflowGraph, id: TaskInstanceId): number => graph.indexOf.get(taskOf(id)) ?? -1

/** Position of a fan-out item in the list: the last part of its attempt's id. -1 for a task that is none. */
export const itemOf = (node: TaskNode, id: TaskInstanceId): number =>
  node.forEach === undefined ? -1 : Number(id.slice(id.lastIndexOf(":") + 1))
