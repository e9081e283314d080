/**
 * Everything that can be known of a definition's file before a service is asked: structure, graph, expressions, and what the task types say of each `with`. The same for
 * `definitions validate`, `definitions put` and `run`. The store knows no task types (plugins belong to the executors), but the command has those that come with heddle.
 *
 * Kept true here: an error is what would be refused or be FATAL at run time; what may be right elsewhere (a type of another plugin, a field that is ignored) is a warning,
 * and so is a task that has no arguments yet, unless it is to run now.
 * Problems come all at once, in the order of the file.
 */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Arguments from "../shared/authoring/Arguments.ts"
import * as Problems from "../shared/authoring/Problems.ts"
import type { DefinitionEncoded } from "../shared/protocol/Definition.ts"
import { Output } from "./Output.ts"
import * as Plugins from "./Plugins.ts"
import * as WorkflowFile from "./WorkflowFile.ts"
import * as YamlSource from "./YamlSource.ts"

/** Of the task types that the definition names, those that come with heddle. `isDraft`: it may still lack arguments. */
const argumentFindings = Effect.fnUntraced(function*({ spec }: DefinitionEncoded, isDraft: boolean) {
  const schemas = new Map<string, Schema.Codec<unknown, unknown>>()
  for (const { type } of [...spec.tasks, spec.onCommit, spec.onCleanup].filter((task) => task !== undefined)) {
    const found = schemas.has(type) ? undefined : yield* Plugins.taskType(type)
    // types take schemas that need nothing to decode
    if (found !== undefined) schemas.set(type, found.with as Schema.Codec<unknown, unknown>)
  }
  const { ignored, problems, unfilled, unknown } = Arguments.findings(spec, (type) => schemas.get(type))
  const missing = unfilled.map(({ type, ...problem }) => ({
    ...problem,
    message: `${problem.message} (${type} cannot run without)`
  }))
  const warnings = [
    ...(isDraft ? missing : []),
    ...ignored.map(({ type, ...problem }) => ({ ...problem, message: `${problem.message} (${type} ignores it)` })),
    ...unknown.map(({ path, type }) => {
      const near = Problems.nearest(type, [...Plugins.taskTypes, ...Arguments.engineTypes])
      return {
        path,
        message: `no task type of heddle is called ${JSON.stringify(type)}: a plugin of the executors must offer it`,
        ...(near === undefined ? {} : { fix: `did you mean ${near}?` })
      }
    })
  ]
  return { problems: isDraft ? problems : [...problems, ...missing], warnings }
})

/**
 * What is wrong with the file, and what may be. `isWhole`: the graph is looked at also when nothing else is wrong, as the store will do anyway. `isDraft`: tasks may still
 * lack their arguments.
 */
export const check = Effect.fnUntraced(function*(
  file: WorkflowFile.WorkflowFile,
  { isDraft, isWhole }: { readonly isWhole: boolean; readonly isDraft: boolean }
) {
  const { definition, source } = file
  if (definition === undefined) return { problems: yield* WorkflowFile.allProblems(file), warnings: [] }
  const found = yield* argumentFindings(definition, isDraft)
  const graph = isWhole || found.problems.length > 0 ? yield* WorkflowFile.graphProblems(definition) : []
  return {
    problems: WorkflowFile.locate(source, [...graph, ...found.problems]).toSorted((a, b) =>
      a.line - b.line || a.column - b.column
    ),
    warnings: WorkflowFile.locate(source, found.warnings).toSorted((a, b) => a.line - b.line || a.column - b.column)
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
export const definitionOf = Effect.fnUntraced(function*(
  file: WorkflowFile.WorkflowFile,
  { isDraft }: { readonly isDraft: boolean }
) {
  const { problems, warnings } = yield* check(file, { isWhole: false, isDraft })
  yield* warn(file, warnings)
  return file.definition === undefined || problems.length > 0
    ? yield* WorkflowFile.invalid(file, problems)
    : file.definition
})
