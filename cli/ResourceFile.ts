/**
 * A resource (schedule, backfill) out of a YAML or JSON file, for a service that checks it: what is refused is shown with its line and column.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { ContractError, type Problem } from "../shared/protocol/ErrorCode.ts"
import { CliFailure } from "./ExitCode.ts"
import * as FilePath from "./FilePath.ts"
import * as Globals from "./Globals.ts"
import * as YamlSource from "./YamlSource.ts"

export interface ResourceFile {
  readonly path: string
  readonly source: YamlSource.YamlSource
  /** With the current namespace where it names none. */
  readonly body: Readonly<Record<string, unknown>>
}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()
const pathText = (path: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }>): string =>
  path.map((part) => typeof part === "object" ? part.key : part).reduce<string>(
    (text, key) => typeof key === "number" ? `${text}[${key}]` : text === "" ? String(key) : `${text}.${String(key)}`,
    ""
  )

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const refuse = (path: string, problems: ReadonlyArray<YamlSource.LocatedProblem>): CliFailure =>
  new CliFailure({
    exit: 2,
    message: `${path} has ${problems.length} ${problems.length === 1 ? "problem" : "problems"}.`,
    problems: YamlSource.describe(path, problems)
  })

/** A misspelt field must not be silently without effect, as it is on the wire. */
const problemsOf = (schema: Schema.ConstraintDecoder<unknown>, value: unknown): ReadonlyArray<Problem> => {
  const decoded = Schema.decodeUnknownResult(schema, { errors: "all", onExcessProperty: "error" })(value)
  return Result.isSuccess(decoded) ? [] : formatIssue(decoded.failure.issue).issues.map((issue) => {
    const path = pathText(issue.path ?? [])
    return {
      path,
      message: issue.message.includes("no excess property")
        ? `no field is called ${path.split(".").at(-1) ?? path}`
        : issue.message
    }
  })
}

const located = (source: YamlSource.YamlSource, problems: ReadonlyArray<Problem>) =>
  problems.map(({ message, path }) => ({ ...source.place(path), path, message }))

export const read = Effect.fnUntraced(function*(path: string, kind: string, schema: Schema.ConstraintDecoder<unknown>) {
  const text = yield* FilePath.read(path)
  const source = YamlSource.parse(text)
  if (source.syntax.length > 0) return yield* refuse(path, source.syntax)
  const { value } = source
  if (!isRecord(value) || !isRecord(value["metadata"]) || !isRecord(value["spec"])) {
    return yield* Globals.usage(
      `${path} is no ${kind.toLowerCase()}.`,
      `write kind: ${kind}, metadata: { name }, and spec.`
    )
  }
  const problems = problemsOf(schema, value)
  if (problems.length > 0) return yield* refuse(path, located(source, problems))
  const namespace = yield* Globals.namespaceToken()
  return {
    path,
    source,
    body: { ...value, metadata: { namespace, ...value["metadata"] } }
  } satisfies ResourceFile
})

/** The service's answer names a path; people want the line of their file. */
export const inFile = (file: ResourceFile) => <E>(error: E) => {
  if (!(error instanceof ContractError) || error.path === undefined || error.path === "") return error
  return refuse(file.path, located(file.source, [{ path: error.path, message: error.message }]))
}
