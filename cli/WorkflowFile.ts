/**
 * A workflow definition out of a file: read, decoded, and every problem with its line and column. A module (.ts, .js) is run, and exports the definition.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { existsSync, realpathSync } from "node:fs"
import * as Problems from "../shared/authoring/Problems.ts"
import { Definition, type DefinitionEncoded } from "../shared/protocol/Definition.ts"
import type { Problem } from "../shared/protocol/ErrorCode.ts"
import { CliFailure } from "./ExitCode.ts"
import * as FilePath from "./FilePath.ts"
import { namespaceDefault, usage } from "./Globals.ts"
import * as YamlSource from "./YamlSource.ts"

export interface WorkflowFile {
  readonly path: string
  readonly source: YamlSource.YamlSource
  readonly problems: ReadonlyArray<YamlSource.LocatedProblem>
  /** As it travels: durations as they were written. Only there when there is no problem. */
  readonly definition: DefinitionEncoded | undefined
}

/** Something with a slash or a file's ending is a file, and so is what exists under this name. */
export const isFile = (text: string): boolean =>
  text === "-" || /[/\\]|\.(ya?ml|json|m?[jt]s)$/.test(text) || existsSync(text)

export const locate = (
  source: YamlSource.YamlSource,
  problems: ReadonlyArray<Problem>
): ReadonlyArray<YamlSource.LocatedProblem> =>
  problems.map((problem) => ({
    ...source.place(problem.path),
    path: problem.path,
    ...(problem.value === undefined ? {} : { value: problem.value }),
    ...(problem.fix === undefined ? {} : { fix: problem.fix }),
    message: problem.fix === undefined ? problem.message : `${problem.message} (${problem.fix})`
  }))

const fromSource = (path: string, source: YamlSource.YamlSource): WorkflowFile => {
  const problems = source.syntax.length > 0 ? source.syntax : locate(source, Problems.structuralProblems(source.value))
  return {
    path,
    source,
    problems,
    definition: problems.length === 0 ? source.value as DefinitionEncoded : undefined // the Schema has decoded it
  }
}

export const parse = (path: string, text: string): WorkflowFile => fromSource(path, YamlSource.parse(text))

const isModule = (path: string): boolean => /\.m?[jt]s$/.test(path)

const missing = "check the path; what is stored is started by its name (`heddle definitions ls`)."
const unreadable = (path: string) => (cause: unknown): CliFailure =>
  cause instanceof Error && "code" in cause && cause.code === "ENOENT"
    ? new CliFailure({
      exit: 3,
      message: `There is no file ${path}.`,
      fix: missing
    })
    : usage(`${path} cannot be read: ${FilePath.reason(cause)}`)

/** What a module exports as default. Its problems have a path but no place: what was written there is a program. */
const readModule = (path: string): Effect.Effect<WorkflowFile, CliFailure> =>
  Effect.tryPromise({
    try: async () => {
      const UserModule = await import("./UserModule.ts")
      const { default: exported } = await UserModule.ofPath(realpathSync(path))
      if (exported === undefined) {
        throw new Error("it has no default export; write `export default defineWorkflow(...)`")
      }
      const value: unknown = JSON.parse(JSON.stringify(await exported))
      const source: YamlSource.YamlSource = { value, syntax: [], place: () => ({ line: 1, column: 1 }) }
      return fromSource(path, source)
    },
    catch: unreadable(path)
  })

export const read = (path: string): Effect.Effect<WorkflowFile, CliFailure> =>
  isModule(path)
    ? readModule(path)
    : Effect.map(FilePath.read(path, { fix: missing }), (text) => parse(path === "-" ? "<stdin>" : path, text))

export const invalid = (file: WorkflowFile, problems: ReadonlyArray<YamlSource.LocatedProblem>): CliFailure =>
  new CliFailure({
    exit: 2,
    code: "InvalidDefinition",
    message: `${file.path} has ${problems.length} ${problems.length === 1 ? "problem" : "problems"}.`,
    problems: YamlSource.describe(file.path, problems),
    details: problems
  })

/** What the engine refuses: names, references, cycles, expressions. The engine is loaded for that only. */
const compileProblems = Effect.fnUntraced(function*(definition: Definition) {
  const Compile = yield* Effect.promise(() => import("../services/coordinator/engine/Compile.ts"))
  const { name } = definition.metadata
  const compiled = Compile.compile(definition, { namespace: namespaceDefault, name, version: 0, hash: "" })
  return Result.isFailure(compiled) ? compiled.failure : []
})

/** The same of a definition whose structure is right. */
export const graphProblems = (definition: DefinitionEncoded) =>
  Schema.decodeEffect(Definition)(definition).pipe(
    Effect.orDie, // it was decoded before
    Effect.flatMap(compileProblems)
  )

/** Of a file whose structure has problems: those and the ones of the graph that is left without them. */
export const allProblems = Effect.fnUntraced(function*(file: WorkflowFile) {
  const rest = Problems.remainder(file.source.value)
  return rest === undefined
    ? file.problems
    : [...file.problems, ...locate(file.source, yield* compileProblems(rest))]
})
