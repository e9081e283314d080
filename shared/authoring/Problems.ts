/**
 * What is wrong with the structure of a definition, every problem at once with its path, what was found and what to write instead; and what is left of a definition without
 * it, so that the problems of its graph can be told in the same go. Pure. design/03 sections 5 and 7.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import {
  Definition,
  ForEach,
  Group,
  HookDefinition,
  Retry,
  TaskDefinition,
  Timeout,
  WorkflowSpec
} from "../protocol/Definition.ts"
import type { Problem } from "../protocol/ErrorCode.ts"
import { TaskName } from "../protocol/Token.ts"

/** `spec.tasks[2].with["a b"]` -> `["spec", "tasks", 2, "with", "a b"]`. */
export const segments = (path: string): ReadonlyArray<string | number> => {
  const found: Array<string | number> = []
  for (const match of path.matchAll(/\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|([^.[\]]+)/g)) {
    if (match[1] !== undefined) found.push(Number(match[1]))
    else found.push(match[2] ?? match[3] ?? "")
  }
  return found
}

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

/** The name that was probably meant: of those within two edits the nearest. */
export const nearest = (name: string, known: ReadonlyArray<string>): string | undefined =>
  known.map((one) => ({ one, far: distance(name.toLowerCase(), one.toLowerCase()) }))
    .filter(({ far }) => far <= 2).toSorted((a, b) => a.far - b.far)[0]?.one

const unknownField = (path: string, known: ReadonlyArray<string>): string => {
  const name = path.split(".").at(-1) ?? path
  const near = nearest(name, known)
  return `no field is called ${name}${near === undefined ? "" : `; did you mean ${near}?`}`
}

const valueAt = (root: unknown, path: string): unknown => {
  let at = root
  for (const key of segments(path)) {
    if (typeof at !== "object" || at === null) return undefined
    at = (at as Record<string | number, unknown>)[key] // an object, or an array by its indices
  }
  return at
}

/** What was found, short. */
const shown = (value: unknown): string => {
  const text = Array.isArray(value)
    ? "a list"
    : typeof value === "object" && value !== null
    ? "an object"
    : JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** What to write instead, where that can be told from what was found. */
const fixOf = (message: string, value: unknown): string | undefined => {
  if (message === "Expected array" && typeof value === "string") return `write [${value}]`
  if (message === "Expected string" && (typeof value === "number" || typeof value === "boolean")) {
    return `write ${JSON.stringify(String(value))}`
  }
  if (typeof value !== "string" || !message.startsWith("Expected \"")) return undefined
  const known = [...message.matchAll(/"([^"]+)"/gu)].map((match) => match[1] ?? "")
  const near = known.find((one) => one.startsWith(value) || distance(one.toLowerCase(), value.toLowerCase()) <= 2)
  return near === undefined ? undefined : `did you mean ${near}?`
}

const problemsOf = (
  issue: SchemaIssue.Issue,
  value: unknown,
  known: ReadonlyArray<string>
): ReadonlyArray<Problem & { readonly isExcess: boolean }> =>
  formatIssue(issue).issues.map(({ message, path: parts = [] }) => {
    const path = pathText(parts)
    if (message.includes("no excess property")) return { path, message: unknownField(path, known), isExcess: true }
    const found = valueAt(value, path)
    if (found === undefined) return { path, message, isExcess: false }
    const fix = fixOf(message, found)
    return {
      path,
      message: `${message}, found ${shown(found)}`,
      value: found,
      ...(fix === undefined ? {} : { fix }),
      isExcess: false
    }
  })

/** Structure only, by the Schema; `onExcessProperty: "error"` since a misspelt field must not be silently without effect. */
export const structuralProblems = (value: unknown): ReadonlyArray<Problem> => {
  const decoded = decode(value)
  return Result.isSuccess(decoded)
    ? []
    : problemsOf(decoded.failure.issue, value, fieldNames).map(({ isExcess: _, ...problem }) => problem)
}

/**
 * What the schema of a task type says of a task's `with`; paths begin at `with`. Where an expression stands the value is known only when the task runs, so nothing is
 * said of it. `isExcess`: a field that the type does not have, and at run time ignores.
 */
export const argumentProblems = (
  schema: Schema.Codec<unknown, unknown>,
  value: unknown
): ReadonlyArray<Problem & { readonly isExcess: boolean }> => {
  const root = { with: value }
  const decoded = Schema.decodeResult(Schema.Struct({ with: schema }), {
    errors: "all",
    onExcessProperty: "error"
  })(root)
  if (Result.isSuccess(decoded)) return []
  const known = "fields" in schema && typeof schema.fields === "object" && schema.fields !== null
    ? Object.keys(schema.fields)
    : []
  return problemsOf(decoded.failure.issue, root, known).filter(({ path }) => !isExpression(valueAt(root, path)))
}

const isExpression = (value: unknown): boolean => typeof value === "string" && value.includes("${{")

/** What the graph is made of: without these it would be another one. */
const graphKeys: ReadonlySet<string | number | undefined> = new Set([
  "spec",
  "tasks",
  "name",
  "type",
  "dependsOn",
  "with"
])

const isName = Schema.is(TaskName)

/** Another name for tasks whose name the Schema refuses, there and where they are waited for; a predecessor that stands without brackets is a list. */
const nameTasks = (definition: unknown): void => {
  const tasks = valueAt(definition, "spec.tasks")
  if (!Array.isArray(tasks)) return
  const found = tasks.filter((task): task is Record<string, unknown> => typeof task === "object" && task !== null)
  const names = new Map<unknown, string>()
  for (const [i, task] of found.entries()) {
    const { name } = task
    if (name === undefined || isName(name)) continue
    names.set(name, names.get(name) ?? `unnamed_${i}`)
    task["name"] = names.get(name)
  }
  for (const task of found) {
    const { dependsOn } = task
    const list = typeof dependsOn === "string" ? [dependsOn] : dependsOn
    if (!Array.isArray(list)) continue
    // what is no name and nobody's is told already
    task["dependsOn"] = list.map((name: unknown) => names.get(name) ?? name).filter((name) => isName(name))
  }
}

/**
 * The definition without what the Schema refuses, so that what else is wrong with it is found in the same go. Undefined where that would change the graph: then a
 * problem of the graph could be one of the change.
 */
export const remainder = (value: unknown): Definition | undefined => {
  const copy: unknown = structuredClone(value)
  nameTasks(copy)
  for (let round = 0; round < 5; round++) {
    const decoded = decode(copy)
    if (Result.isSuccess(decoded)) return decoded.success
    for (const { path } of structuralProblems(copy)) {
      const keys = segments(path)
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
      let depth = at === undefined ? keys.length - 2 : keys.length - 1
      // An element of a list: the list.
      while (typeof keys[depth] === "number") depth -= 1
      const key = keys[depth]
      const holder = parents[depth]
      if (key === undefined || holder === undefined || typeof key === "number" || graphKeys.has(key)) return undefined
      delete holder[key]
    }
  }
  return undefined
}
