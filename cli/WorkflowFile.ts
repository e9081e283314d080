/**
 * A workflow definition out of a file: read, decoded, and every problem with its line and column. A module (.ts, .js) is run, and exports the definition.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { existsSync, readFileSync, realpathSync } from "node:fs"
import { registerHooks } from "node:module"
import { pathToFileURL } from "node:url"
import {
  Definition,
  type DefinitionEncoded,
  ForEach,
  Group,
  HookDefinition,
  Retry,
  TaskDefinition,
  Timeout,
  WorkflowSpec
} from "../shared/protocol/Definition.ts"
import type { Problem } from "../shared/protocol/ErrorCode.ts"
import { CliFailure } from "./ExitCode.ts"
import { usage } from "./Globals.ts"
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

const decode = Schema.decodeUnknownResult(Definition, { errors: "all", onExcessProperty: "error" })
const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

const pathText = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string =>
  path.map((part) => typeof part === "object" ? part.key : part).reduce<string>(
    (text, key) => typeof key === "number" ? `${text}[${key}]` : text === "" ? String(key) : `${text}.${String(key)}`,
    ""
  )

const fieldNames: ReadonlyArray<string> = [
  Definition,
  Definition.fields.metadata,
  WorkflowSpec,
  TaskDefinition,
  HookDefinition,
  Retry,
  Timeout,
  Group,
  ForEach
].flatMap((schema) => Object.keys(schema.fields))

/** Edits from one word to the other, letters alone: the classic table, row by row. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1))
      )
    }
    row = next
  }
  return row[b.length] ?? 0
}

const unknownField = (path: string): string => {
  const name = path.split(".").at(-1) ?? path
  const [near] = fieldNames.map((known) => ({ known, far: distance(name.toLowerCase(), known.toLowerCase()) }))
    .filter(({ far }) => far <= 2).toSorted((a, b) => a.far - b.far)
  return `no field is called ${name}${near === undefined ? "" : `; did you mean ${near.known}?`}`
}

/** Structure only, by the Schema; `onExcessProperty: "error"` since a misspelt field must not be silently without effect. */
export const structuralProblems = (value: unknown): ReadonlyArray<Problem> => {
  const decoded = decode(value)
  return Result.isSuccess(decoded)
    ? []
    : formatIssue(decoded.failure.issue).issues.map((issue) => {
      const path = pathText(issue.path ?? [])
      return { path, message: issue.message.includes("no excess property") ? unknownField(path) : issue.message }
    })
}

/** What the graph is made of: without these it would be another one. */
const graphKeys: ReadonlySet<string | number | undefined> = new Set([
  "spec",
  "tasks",
  "name",
  "type",
  "dependsOn",
  "with"
])

/**
 * The definition without what the Schema refuses, so that what else is wrong with it is found in the same go. Undefined where that would change the graph: then a
 * problem of the graph could be one of the change.
 */
export const remainder = (value: unknown): Definition | undefined => {
  const copy: unknown = structuredClone(value)
  for (let round = 0; round < 5; round++) {
    const decoded = decode(copy)
    if (Result.isSuccess(decoded)) return decoded.success
    for (const { path } of structuralProblems(copy)) {
      const keys = YamlSource.segments(path)
      if (keys[0] === "metadata") {
        Object.assign(Object(copy), { metadata: { name: "unnamed" } })
        continue
      }
      const parents: Array<Record<string | number, unknown>> = []
      let at: unknown = copy
      for (const key of keys) {
        if (typeof at !== "object" || at === null) return undefined
        parents.push(at as Record<string | number, unknown>) // an object, or an array by its indices
        at = parents.at(-1)?.[key]
      }
      // What is missing is a field of something that is then taken out as a whole.
      const depth = at === undefined ? keys.length - 2 : keys.length - 1
      const key = keys[depth]
      const holder = parents[depth]
      if (key === undefined || holder === undefined || typeof key === "number" || graphKeys.has(key)) return undefined
      delete holder[key]
    }
  }
  return undefined
}

export const locate = (
  source: YamlSource.YamlSource,
  problems: ReadonlyArray<Problem>
): ReadonlyArray<YamlSource.LocatedProblem> =>
  problems.map((problem) => ({
    ...source.place(problem.path),
    path: problem.path,
    message: problem.fix === undefined ? problem.message : `${problem.message} (${problem.fix})`
  }))

const fromSource = (path: string, source: YamlSource.YamlSource): WorkflowFile => {
  const problems = source.syntax.length > 0 ? source.syntax : locate(source, structuralProblems(source.value))
  return {
    path,
    source,
    problems,
    definition: problems.length === 0 ? source.value as DefinitionEncoded : undefined // the Schema has decoded it
  }
}

export const parse = (path: string, text: string): WorkflowFile => fromSource(path, YamlSource.parse(text))

const isModule = (path: string): boolean => /\.m?[jt]s$/.test(path)

const unreadable = (path: string) => (cause: unknown): CliFailure =>
  cause instanceof Error && "code" in cause && cause.code === "ENOENT"
    ? new CliFailure({ exit: 3, message: `There is no file ${path}.` })
    : usage(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`)

/** What a module exports as default. Its problems have a path but no place: what was written there is a program. */
const readModule = (path: string): Effect.Effect<WorkflowFile, CliFailure> =>
  Effect.tryPromise({
    try: async () => {
      const file = realpathSync(path)
      // A file outside of this checkout finds it too.
      registerHooks?.({
        resolve: (specifier, context, next) =>
          specifier === "heddle/authoring"
            ? { url: new URL("../shared/authoring/Workflow.ts", import.meta.url).href, shortCircuit: true }
            : next(specifier, context)
      })
      const { default: exported }: { readonly default?: unknown } = await import(pathToFileURL(file).href)
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
    : Effect.try({
      try: () => parse(path === "-" ? "<stdin>" : path, readFileSync(path === "-" ? 0 : path, "utf8")),
      catch: unreadable(path)
    })

export const invalid = (file: WorkflowFile, problems: ReadonlyArray<YamlSource.LocatedProblem>): CliFailure =>
  new CliFailure({
    exit: 2,
    message: `${file.path} has ${problems.length} ${problems.length === 1 ? "problem" : "problems"}.`,
    problems: YamlSource.describe(file.path, problems)
  })

/** The definition, or a usage error that lists every problem. */
export const definitionOf = (file: WorkflowFile): Effect.Effect<DefinitionEncoded, CliFailure> =>
  file.definition === undefined ? Effect.fail(invalid(file, file.problems)) : Effect.succeed(file.definition)
