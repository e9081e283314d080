/**
 * Text to value by a Schema, for everything that comes from outside: a value, or a ContractError that lists every problem with its path.
 *
 * Keeps true: the good path is JSON.parse and one compiled check (Schema's JIT is switched on here, for every service that imports this folder); the search for all
 * problems is done only for a message that has one. Decode on Node and Deno alike. Follows design/02, first paragraph.
 */
import "effect/schema/SchemaJITCompiler/enable"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { ContractError, type Problem } from "../protocol/ErrorCode.ts"

/** Schemas whose decoding needs no service: all of shared/protocol. */
export type Decodable<A> = Schema.ConstraintDecoder<A>

/** The most problems one answer lists. */
export const problemsMax = 100

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

/** `["spec", "tasks", 2, "name"]` gives `spec.tasks[2].name`; a key that is no plain word stands in brackets with quotes. */
export const pathText = (path: ReadonlyArray<PropertyKey>): string => {
  let text = ""
  for (const key of path) {
    if (typeof key === "number" || (typeof key === "string" && /^\d+$/.test(key))) text += `[${String(key)}]`
    else if (typeof key === "string" && /^[A-Za-z_$][\w$-]*$/.test(key)) text += text === "" ? key : `.${key}`
    else text += `[${JSON.stringify(String(key))}]`
  }
  return text
}

const valueAt = (root: unknown, path: ReadonlyArray<PropertyKey>): unknown => {
  let value = root
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined
    value = (value as Record<PropertyKey, unknown>)[key] // an object or array, read by the key that Schema read it by
  }
  return value
}

const shown = (value: unknown): unknown =>
  typeof value === "object" && value !== null
    ? (Array.isArray(value) ? "a list" : "an object")
    : typeof value === "string"
    ? value.slice(0, 200)
    : value

const problemOf = (
  found: {
    readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined
    readonly message: string
  },
  root: unknown
): Problem => {
  const path = (found.path ?? []).map((segment) => typeof segment === "object" ? segment.key : segment)
  const value = valueAt(root, path)
  const problem = { path: pathText(path), message: found.message }
  return value === undefined ? problem : { ...problem, value: shown(value) }
}

const problemsOf = (issue: SchemaIssue.Issue, root: unknown): ReadonlyArray<Problem> =>
  formatIssues(issue).issues.slice(0, problemsMax).map((found) => problemOf(found, root))

/** What the messages of names and of references made of names begin with (`Token`, `ScheduleName`, `PoolText`, `DefinitionRefText`). */
const ofNames = ["a name of ", "a pool: name", "a definition: name"]
const isOfName = ({ message }: Problem): boolean => ofNames.some((words) => message.startsWith(words))

/** `, not "a b"`: what was found, where it is a plain value. */
const found = ({ value }: Problem): string =>
  value === undefined || value === "a list" || value === "an object"
    ? ""
    : `, not ${JSON.stringify(value).slice(0, 80)}`

const invalid = (problems: ReadonlyArray<Problem>): ContractError => {
  const first = problems[0]
  const where = first === undefined || first.path === "" ? "" : `${first.path}: `
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more, see details)` : ""
  return new ContractError({
    code: problems.length > 0 && problems.every(isOfName)
      ? "InvalidName"
      : "InvalidMessage",
    message: `${where}${first === undefined ? "not a valid message" : first.message + found(first)}${more}`,
    ...(first === undefined || first.path === "" ? {} : { path: first.path }),
    details: problems
  })
}

/** Checks and decodes a parsed value. */
export const valueDecoder = <A>(schema: Decodable<A>): (value: unknown) => Result.Result<A, ContractError> => {
  const decode = Schema.decodeUnknownResult(schema)
  const explain = Schema.decodeUnknownResult(schema, { errors: "all" })
  return (value) => {
    const decoded = decode(value)
    if (Result.isSuccess(decoded)) return Result.succeed(decoded.success)
    const explained = explain(value)
    return Result.fail(invalid(problemsOf((Result.isFailure(explained) ? explained : decoded).failure.issue, value)))
  }
}

const parse = (text: string): Result.Result<unknown, ContractError> => {
  if (text === "") return Result.succeed({})
  try {
    return Result.succeed(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : ""
    return Result.fail(new ContractError({ code: "InvalidJson", message: `the body is not JSON: ${reason}` }))
  }
}

/**
 * A function from text to value; make it once per schema. Empty text counts as `{}`. Errors: `InvalidJson`; `InvalidMessage` (or `InvalidName`, when nothing but names
 * is wrong) with the first problem's `path` and all problems (at most 100) in `details`.
 */
export const decoder = <A>(schema: Decodable<A>): (text: string) => Result.Result<A, ContractError> => {
  const decode = valueDecoder(schema)
  return (text) => {
    const parsed = parse(text)
    return Result.isFailure(parsed) ? Result.fail(parsed.failure) : decode(parsed.success)
  }
}
