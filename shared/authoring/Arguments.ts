/**
 * What the task types say of the tasks of a definition before anything runs: of each `with`, where its type is known. Pure; the command and the coordinator ask the same. design/03 section 7.
 *
 * Kept true here: a problem is what would be FATAL at run time; where an expression stands nothing is said; a field that a type does not have is none (it is ignored at run time);
 * a task without any argument yet is a draft, told apart from a wrong one: it may be stored, since every field of a task but its name and type is optional (design/02).
 */
import type * as Schema from "effect/Schema"
import type { WorkflowSpec } from "../protocol/Definition.ts"
import type { Problem } from "../protocol/ErrorCode.ts"
import * as Problems from "./Problems.ts"

/** Decided by the coordinator itself: their arguments are part of the graph, which is compiled. */
export const engineTypes: ReadonlyArray<string> = ["condition", "dependent", "sub-workflow", "switch"]

/** `with: {...}`, as templates and the contract write what is left to be filled in. */
const placeholder = "..."

export interface Findings {
  readonly problems: ReadonlyArray<Problem>
  /** What tasks without any argument must be given before they can run; `type` is that of the task. */
  readonly unfilled: ReadonlyArray<Problem & { readonly type: string }>
  /** Fields that a type ignores; `type` is that of the task. */
  readonly ignored: ReadonlyArray<Problem & { readonly type: string }>
  /** Types of which nothing is known here; `path` names the field. */
  readonly unknown: ReadonlyArray<{ readonly path: string; readonly type: string }>
}

/** Of every task and hook, in their order. `schemaOf`: what a type takes under `with`; `undefined`: it is not known here. */
export const findings = (
  spec: typeof WorkflowSpec.Type | typeof WorkflowSpec.Encoded,
  schemaOf: (type: string) => Schema.Codec<unknown, unknown> | undefined
): Findings => {
  const problems: Array<Problem> = []
  const unfilled: Array<Problem & { readonly type: string }> = []
  const ignored: Array<Problem & { readonly type: string }> = []
  const unknown: Array<{ readonly path: string; readonly type: string }> = []
  const check = (path: string, task: { readonly type: string; readonly with?: unknown }): void => {
    const { type } = task
    if (engineTypes.includes(type)) return
    const schema = schemaOf(type)
    if (schema === undefined) return void unknown.push({ path: `${path}.type`, type })
    const isDraft = Object.keys(task.with ?? {}).every((key) => key === placeholder)
    for (const { isExcess, ...problem } of Problems.argumentProblems(schema, task.with ?? {})) {
      const at = { ...problem, path: `${path}.${problem.path}` }
      if (isDraft) {
        if (!isExcess) unfilled.push({ ...at, type })
      } else if (isExcess) ignored.push({ ...at, type })
      else problems.push(at)
    }
  }
  for (const [i, task] of spec.tasks.entries()) check(`spec.tasks[${i}]`, task)
  if (spec.onCommit !== undefined) check("spec.onCommit", spec.onCommit)
  if (spec.onCleanup !== undefined) check("spec.onCleanup", spec.onCleanup)
  return { problems, unfilled, ignored, unknown }
}
