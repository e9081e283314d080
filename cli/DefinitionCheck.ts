/**
 * Everything that can be known of a definition's file before a service is asked: structure, graph, expressions, and what the task types say of each `with`. The same for
 * `definitions validate`, `definitions put` and `run`. The store knows no task types (plugins belong to the executors), but the command has those that come with heddle.
 *
 * Kept true here: an error is what would be refused or be FATAL at run time; what may be right elsewhere (a type of another plugin, a field that is ignored) is a warning.
 * Problems come all at once, in the order of the file.
 */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Problems from "../shared/authoring/Problems.ts"
import type { DefinitionEncoded } from "../shared/protocol/Definition.ts"
import type { Problem } from "../shared/protocol/ErrorCode.ts"
import { Output } from "./Output.ts"
import * as Plugins from "./Plugins.ts"
import * as WorkflowFile from "./WorkflowFile.ts"
import * as YamlSource from "./YamlSource.ts"

interface Findings {
  readonly problems: ReadonlyArray<Problem>
  readonly warnings: ReadonlyArray<Problem>
}

/** Of every task and hook, in their order. */
const argumentFindings = Effect.fnUntraced(function*({ spec }: DefinitionEncoded) {
  const problems: Array<Problem> = []
  const warnings: Array<Problem> = []
  const check = Effect.fnUntraced(function*(path: string, task: { readonly type: string; readonly with?: unknown }) {
    if (Plugins.engineTaskTypes.includes(task.type)) return
    const type = yield* Plugins.taskType(task.type)
    if (type === undefined) {
      const near = Problems.nearest(task.type, [...Plugins.taskTypes, ...Plugins.engineTaskTypes])
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

/** What is wrong with the file, and what may be. `isWhole`: the graph is looked at also when nothing else is wrong, as the store will do anyway. */
export const check = Effect.fnUntraced(function*(file: WorkflowFile.WorkflowFile, isWhole: boolean) {
  const { definition, source } = file
  if (definition === undefined) return { problems: yield* WorkflowFile.allProblems(file), warnings: [] }
  const found = yield* argumentFindings(definition)
  const graph = isWhole || found.problems.length > 0 ? yield* WorkflowFile.graphProblems(definition) : []
  return {
    problems: WorkflowFile.locate(source, [...graph, ...found.problems]).toSorted((a, b) =>
      a.line - b.line || a.column - b.column
    ),
    warnings: WorkflowFile.locate(source, found.warnings)
  }
})

/** Says what may be wrong, on standard error. */
export const warn = Effect.fnUntraced(function*(
  file: WorkflowFile.WorkflowFile,
  warnings: ReadonlyArray<YamlSource.LocatedProblem>
) {
  const output = yield* Output
  for (const line of YamlSource.describe(file.path, warnings)) yield* output.note(`heddle: warning: ${line}`)
})

/** The definition, as it is sent; or a usage error that lists every problem. */
export const definitionOf = Effect.fnUntraced(function*(file: WorkflowFile.WorkflowFile) {
  const { problems, warnings } = yield* check(file, false)
  yield* warn(file, warnings)
  return file.definition === undefined || problems.length > 0
    ? yield* WorkflowFile.invalid(file, problems)
    : file.definition
})
