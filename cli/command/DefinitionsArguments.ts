/**
 * What the task types say of the tasks of a definition, before anything runs: `heddle definitions validate`. The store knows no task types (plugins belong to the
 * executors), but the command has those that come with heddle.
 *
 * Kept true here: an error is what would be FATAL at run time; what may be right elsewhere (a type of another plugin, a field that is ignored) is a warning.
 */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Problems from "../../shared/authoring/Problems.ts"
import type { DefinitionEncoded } from "../../shared/protocol/Definition.ts"
import type { Problem } from "../../shared/protocol/ErrorCode.ts"
import * as Plugins from "../Plugins.ts"

export interface Findings {
  readonly problems: ReadonlyArray<Problem>
  readonly warnings: ReadonlyArray<Problem>
}

/** Decided by the coordinator: their arguments are part of the graph, which has been compiled. */
const ofTheEngine: ReadonlyArray<string> = ["switch", "condition", "sub-workflow", "dependent"]

/** Of every task and hook, in their order. */
export const findings = Effect.fnUntraced(function*({ spec }: DefinitionEncoded) {
  const problems: Array<Problem> = []
  const warnings: Array<Problem> = []
  const check = Effect.fnUntraced(function*(path: string, task: { readonly type: string; readonly with?: unknown }) {
    if (ofTheEngine.includes(task.type)) return
    const type = yield* Plugins.taskType(task.type)
    if (type === undefined) {
      const near = Problems.nearest(task.type, [...Plugins.taskTypes, ...ofTheEngine])
      warnings.push({
        path: `${path}.type`,
        message: `no task type of heddle is called ${
          JSON.stringify(task.type)
        }: a plugin of the executors must offer it`,
        ...(near === undefined ? {} : { fix: `did you mean ${near}?` })
      })
      return
    }
    // `inline` and `sandboxed` take schemas that need nothing to decode.
    const schema = type.with as Schema.Codec<unknown, unknown>
    for (const { isExcess, ...problem } of Problems.argumentProblems(schema, task.with ?? {})) {
      const found = { ...problem, path: `${path}.${problem.path}` }
      if (isExcess) warnings.push({ ...found, message: `${found.message} (${task.type} ignores it)` })
      else problems.push(found)
    }
  })
  for (const [i, task] of spec.tasks.entries()) yield* check(`spec.tasks[${i}]`, task)
  if (spec.onCommit !== undefined) yield* check("spec.onCommit", spec.onCommit)
  if (spec.onCleanup !== undefined) yield* check("spec.onCleanup", spec.onCleanup)
  const found: Findings = { problems, warnings }
  return found
})
