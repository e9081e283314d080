/**
 * What a condition task asks: success or failure of named predecessors, joined with `and` and `or`. design/03 section 6, conformance A28 to A34.
 *
 * Kept true here: a condition is compiled to node indices once; it is decided only when all its predecessors are handled, from their states alone. A predecessor
 * that was skipped neither succeeded nor failed; one that passed (forbidden, dry run) succeeded.
 */
import { Mark, type TaskState } from "./TaskState.ts"

export type Condition =
  | { readonly _tag: "Task"; readonly index: number; readonly is: "success" | "failed" }
  | { readonly _tag: "And" | "Or"; readonly of: ReadonlyArray<Condition> }

/** Nesting of `and` and `or`. */
const depthMax = 16

export interface Sink {
  /** Index of a predecessor of the condition task; `undefined` after the problem was reported. */
  readonly predecessor: (path: string, name: unknown) => number | undefined
  readonly problem: (path: string, message: string, value: unknown, fix: string) => void
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** `{task, is?}`, `{and: [...]}` or `{or: [...]}`; `is` is `success` unless it says `failed`. */
export const compile = (value: unknown, path: string, sink: Sink, depth = 0): Condition | undefined => {
  const fix = "Give {task: <name>, is: success | failed}, {and: [...]} or {or: [...]}."
  if (!isRecord(value) || depth > depthMax) {
    sink.problem(path, "a condition names a task, or joins conditions with and / or", value, fix)
    return undefined
  }
  const list = value["and"] ?? value["or"]
  if (list !== undefined) {
    if (!Array.isArray(list) || list.length === 0 || (value["and"] !== undefined && value["or"] !== undefined)) {
      sink.problem(path, "`and` and `or` take a list of conditions, one of the two", value, fix)
      return undefined
    }
    const key = value["and"] === undefined ? "or" : "and"
    const of = list.flatMap((one: unknown, i) => compile(one, `${path}.${key}[${i}]`, sink, depth + 1) ?? [])
    return { _tag: key === "and" ? "And" : "Or", of }
  }
  const is = value["is"] ?? "success"
  if (is !== "success" && is !== "failed") {
    sink.problem(`${path}.is`, "a task is asked for success or failed", is, fix)
    return undefined
  }
  const index = sink.predecessor(`${path}.task`, value["task"])
  return index === undefined ? undefined : { _tag: "Task", index, is }
}

/** Whether it holds for tasks that were handled. */
export const holds = (self: Condition, task: (index: number) => TaskState): boolean => {
  switch (self._tag) {
    case "And":
      return self.of.every((one) => holds(one, task))
    case "Or":
      return self.of.some((one) => holds(one, task))
    case "Task": {
      const { marks, status } = task(self.index)
      if ((marks & Mark.Skipped) !== 0) return false
      const failed = status === "FAILED" || status === "KILLED" || (marks & Mark.Blocked) !== 0
      return self.is === "failed" ? failed : !failed
    }
  }
}
