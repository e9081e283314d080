/**
 * One CEL expression: compiled once per graph, evaluated against a scope. Follows design/02 (`${{ ... }}` and `when`) and design/03 section 6.
 *
 * Kept true here: evaluation is a pure function of the scope and its cost is bounded (size of the expression, steps of its comprehensions, size of the result),
 * so that no definition can hold up a coordinator; an error names the expression and the position in it. CEL by @marcbachmann/cel-js, which has no limit of its
 * own at run time: each comprehension's list goes through `list__`, which charges its length before it is walked (`all` and `exists` swallow errors, so a limit that
 * strikes inside would not end them), and its body through `step__`, which charges long texts. Functions whose cost can't be bounded are refused.
 * JSON numbers without a fraction are CEL `int`, others `double`; a CEL int that is no safe JSON integer comes out as text.
 */
import { type ASTNode, Environment } from "@marcbachmann/cel-js"

/** Longest expression, in characters. */
export const expressionLengthMax = 4_000
/** Steps of comprehensions in one evaluation; one that gives a text of n characters counts n / 32 more. */
export const stepsMax = 100_000
/** Steps times the longest text or list that is read: functions walk those at each step. */
export const workMax = 200_000_000
/** Size of a result in characters, each value counting 8 besides its text. */
export const resultSizeMax = 262_144

/** What an expression reads, found at compile time, so that evaluation builds nothing else. */
export interface Reads {
  /** First-level names of `params`; `undefined`: all of them. */
  readonly params: ReadonlyArray<string> | undefined
  readonly tasks: ReadonlyArray<string>
  readonly instance: boolean
  readonly item: boolean
}

export interface Expression {
  readonly source: string
  readonly reads: Reads
  /** CEL's type of the result: `bool`, `list`, ..., `dyn` when it can't be told. */
  readonly type: string
  readonly evaluate: (context: Record<string, unknown>) => unknown
  /** Offsets in the rewritten source and how many characters were inserted there. */
  readonly insertions: ReadonlyArray<readonly [at: number, length: number]>
}

/** `position`: 0-based offset in `source`. */
export class ExpressionProblem {
  readonly source: string
  readonly position: number | undefined
  readonly problem: string
  constructor(source: string, position: number | undefined, problem: string) {
    this.source = source
    this.position = position
    this.problem = problem
  }
  get message(): string {
    const where = this.position === undefined ? "" : ` at position ${this.position + 1}`
    return `expression ${JSON.stringify(shorten(this.source))}${where}: ${this.problem}`
  }
}

/** Where an expression finds its values. */
export interface Scope {
  readonly params: Readonly<Record<string, unknown>>
  readonly task: (name: string) => { readonly outputs: Readonly<Record<string, unknown>>; readonly state: string }
  readonly instance: Readonly<Record<string, unknown>>
  readonly item: unknown
}

const shorten = (text: string) => text.length > 200 ? `${text.slice(0, 200)}...` : text

// The counters of the evaluation that is going on. Evaluation is synchronous, so there is one at a time.
let stepsLeft = 0
let longest = 0
const spend = (steps: number): void => {
  stepsLeft -= steps
  if (stepsLeft < 0) throw new Error("needs too many steps")
}
const step = (value: unknown): unknown => {
  if (typeof value === "string") spend(value.length >> 5)
  return value
}
const list = (value: unknown): unknown => {
  if (typeof value === "object" && value !== null) {
    spend(1 + (Array.isArray(value) ? value.length : Object.keys(value).length))
  }
  return value
}

const environment = new Environment({
  homogeneousAggregateLiterals: false,
  limits: { maxAstNodes: 500, maxDepth: 32, maxListElements: 200, maxMapEntries: 200, maxCallArguments: 8 }
})
  .registerVariable("params", "map")
  .registerVariable("tasks", "map")
  .registerVariable("instance", "map")
  .registerVariable("item", "dyn")
  .registerFunction("step__(dyn): dyn", step)
  .registerFunction("list__(dyn): dyn", list)

const comprehensions: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"])
const roots: ReadonlySet<string> = new Set(["params", "tasks", "instance", "item"])
const refused: ReadonlyMap<string, string> = new Map([
  ["matches", "matches() is not available, its cost has no bound: use contains(), startsWith() or endsWith()"],
  ["bind", "cel.bind() is not available, its cost has no bound: write the value out"]
])

/** CelError of the library: message without its drawing, and where. */
const problemOf = (source: string, error: unknown, original: (offset: number) => number): ExpressionProblem => {
  const cel = error as {
    readonly summary?: unknown
    readonly range?: { readonly start: number }
    readonly message?: unknown
  }
  const text = typeof cel.summary === "string" ? cel.summary : String(cel.message ?? error)
  return new ExpressionProblem(source, cel.range === undefined ? undefined : original(cel.range.start), text)
}

const isNode = (value: unknown): value is ASTNode => typeof value === "object" && value !== null && "op" in value

/** Names and literal keys of an access such as `tasks.a["b"].c`, root first; undefined when it does not start with a name. */
const pathOf = (node: ASTNode): ReadonlyArray<string | undefined> | undefined => {
  switch (node.op) {
    case "id":
      return [node.args]
    case ".":
      return pathOf(node.args[0])?.concat(node.args[1])
    case "[]": {
      const key = node.args[1]
      return pathOf(node.args[0])?.concat(key.op === "value" && typeof key.args === "string" ? key.args : undefined)
    }
    default:
      return undefined
  }
}

interface Found {
  readonly params: Set<string>
  allParams: boolean
  readonly tasks: Set<string>
  instance: boolean
  item: boolean
  readonly wraps: Array<readonly [node: ASTNode, name: string]>
}

const visit = (
  source: string,
  value: unknown,
  bound: ReadonlyArray<string>,
  found: Found
): ExpressionProblem | undefined => {
  if (Array.isArray(value)) {
    for (const element of value) {
      const problem = visit(source, element, bound, found)
      if (problem !== undefined) return problem
    }
    return undefined
  }
  if (!isNode(value)) return undefined
  const path = pathOf(value)
  const root = path?.[0]
  if (path !== undefined && root !== undefined && roots.has(root) && !bound.includes(root)) {
    const key = path[1]
    if (root === "params") {
      if (key === undefined) found.allParams = true
      else found.params.add(key)
    } else if (root === "tasks") {
      if (key === undefined) {
        return new ExpressionProblem(
          source,
          value.range.start,
          "tasks is followed by a name: tasks.extract or tasks[\"my-task\"]"
        )
      }
      found.tasks.add(key)
    } else if (root === "instance") found.instance = true
    else found.item = true
    // The keys of `[]` may hold further references.
    let node: ASTNode = value
    while (node.op === "." || node.op === "[]") {
      if (node.op === "[]") {
        const problem = visit(source, node.args[1], bound, found)
        if (problem !== undefined) return problem
      }
      node = node.args[0]
    }
    return undefined
  }
  if (value.op === "rcall" || value.op === "call") {
    const name = value.args[0]
    const reason = refused.get(name)
    if (reason !== undefined) return new ExpressionProblem(source, value.range.start, reason)
    if (value.op === "rcall" && comprehensions.has(name)) {
      const [, receiver, args] = value.args
      const variable = args[0]
      const inner = variable !== undefined && variable.op === "id" ? [...bound, variable.args] : bound
      const bodies = args.slice(1)
      found.wraps.push([receiver, "list__("])
      for (const body of bodies) found.wraps.push([body, "step__("])
      return visit(source, receiver, bound, found) ?? visit(source, bodies, inner, found)
    }
  }
  return visit(source, value.args, bound, found)
}

/** Parses and type-checks; what it reads is in the answer. Which tasks exist is the caller's to check. */
export const compile = (source: string): Expression | ExpressionProblem => {
  if (source.trim() === "") return new ExpressionProblem(source, undefined, "is empty")
  if (source.length > expressionLengthMax) {
    return new ExpressionProblem(source, undefined, `is longer than ${expressionLengthMax} characters`)
  }
  const found: Found = {
    params: new Set(),
    allParams: false,
    tasks: new Set(),
    instance: false,
    item: false,
    wraps: []
  }
  const asIs = (offset: number) => offset
  try {
    const problem = visit(source, environment.parse(source).ast, [], found)
    if (problem !== undefined) return problem
  } catch (error) {
    return problemOf(source, error, asIs)
  }
  // Where two meet, what ends stands before what begins; of two that begin at one place the outer one (found first) stands first.
  const cuts = found.wraps
    .flatMap(([node, name]) => [[node.range.start, name], [node.range.end, ")"]] as const)
    .sort((a, b) => a[0] - b[0] || Number(b[1] === ")") - Number(a[1] === ")"))
  let rewritten = ""
  let from = 0
  const insertions: Array<readonly [number, number]> = []
  for (const [at, text] of cuts) {
    rewritten += source.slice(from, at) + text
    insertions.push([rewritten.length - text.length, text.length])
    from = at
  }
  rewritten += source.slice(from)
  try {
    const parsed = environment.parse(rewritten)
    const checked = parsed.check()
    if (!checked.valid) return problemOf(source, checked.error, (offset) => originalOffset(insertions, offset))
    return {
      source,
      reads: {
        params: found.allParams ? undefined : [...found.params],
        tasks: [...found.tasks],
        instance: found.instance,
        item: found.item
      },
      type: checked.type ?? "dyn",
      evaluate: parsed,
      insertions
    }
  } catch (error) {
    return problemOf(source, error, (offset) => originalOffset(insertions, offset))
  }
}

const originalOffset = (insertions: Expression["insertions"], offset: number): number => {
  let inserted = 0
  for (const [at, length] of insertions) if (at < offset) inserted += Math.min(length, offset - at)
  return offset - inserted
}

/** A JSON value as CEL sees it; notes the longest text or list in it. */
const toCel = (value: unknown): unknown => {
  switch (typeof value) {
    case "string":
      if (value.length > longest) longest = value.length
      return value
    case "number":
      return Number.isSafeInteger(value) ? BigInt(value) : value
    case "object": {
      if (value === null) return null
      if (Array.isArray(value)) {
        if (value.length > longest) longest = value.length
        return value.map(toCel)
      }
      const record: Record<string, unknown> = {}
      for (const key of Object.keys(value)) put(record, key, toCel((value as Record<string, unknown>)[key]))
      return record
    }
    case "undefined":
      return null
    default:
      return value
  }
}

/** Assignment that no key (`__proto__`) can turn into something else. */
export const put = (record: Record<string, unknown>, key: string, value: unknown): void => {
  if (key === "__proto__") {
    Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true })
  } else record[key] = value
}

interface Size {
  left: number
}
const tooDear = `needs more than ${stepsMax} steps (fewer where it reads a very long text or list)`
const tooLarge = `gives more than ${resultSizeMax} characters`

/** A CEL value as JSON. */
const fromCel = (value: unknown, size: Size): unknown => {
  size.left -= 8
  if (size.left < 0) throw new Error(tooLarge)
  switch (typeof value) {
    case "string":
      size.left -= value.length
      if (size.left < 0) throw new Error(tooLarge)
      return value
    case "bigint":
      return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString()
    case "number":
      return Number.isFinite(value) ? value : String(value)
    case "boolean":
      return value
    case "object": {
      if (value === null) return null
      if (Array.isArray(value)) return value.map((element) => fromCel(element, size))
      if (value instanceof Date) return value.toISOString()
      const prototype: unknown = Object.getPrototypeOf(value)
      if (value instanceof Map || prototype === Object.prototype || prototype === null) {
        const record: Record<string, unknown> = {}
        for (const [key, element] of value instanceof Map ? value : Object.entries(value)) {
          const name = String(key)
          size.left -= name.length
          put(record, name, fromCel(element, size))
        }
        return record
      }
      if (value instanceof Uint8Array) throw new Error("gives bytes: use .base64(), .hex() or .string()")
      // CEL's own duration, uint and type values know their text.
      return String(value)
    }
    default:
      throw new Error("gives no value")
  }
}

/** The value as JSON, or what went wrong. Never throws. */
export const evaluate = (self: Expression, scope: Scope): unknown => {
  const { reads } = self
  longest = 1
  const context: Record<string, unknown> = {}
  const params: Record<string, unknown> = {}
  if (reads.params === undefined) context["params"] = toCel(scope.params)
  else {
    for (const key of reads.params) if (Object.hasOwn(scope.params, key)) put(params, key, toCel(scope.params[key]))
    context["params"] = params
  }
  const tasks: Record<string, unknown> = {}
  for (const name of reads.tasks) {
    const { outputs, state } = scope.task(name)
    put(tasks, name, { outputs: toCel(outputs), state })
  }
  context["tasks"] = tasks
  context["instance"] = reads.instance ? toCel(scope.instance) : {}
  context["item"] = reads.item ? toCel(scope.item) : null
  stepsLeft = Math.min(stepsMax, Math.floor(workMax / longest))
  try {
    const value = fromCel(self.evaluate(context), { left: resultSizeMax })
    // `all`, `exists`, `&&` and `||` may have swallowed the error.
    return stepsLeft < 0 ? new ExpressionProblem(self.source, undefined, tooDear) : value
  } catch (error) {
    if (stepsLeft < 0) return new ExpressionProblem(self.source, undefined, tooDear)
    return problemOf(self.source, error, (offset) => originalOffset(self.insertions, offset))
  }
}
