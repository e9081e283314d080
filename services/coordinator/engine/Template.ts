/**
 * JSON values with `${{ CEL }}` in their texts: compiled once per graph, filled in per attempt. Follows design/02.
 *
 * Kept true here: a value without expressions is passed on as it is, uncopied; a text that is one expression and nothing else keeps the expression's type;
 * in any other text values are written out (objects and lists as JSON, null as nothing).
 */
import * as Expression from "./Expression.ts"

export type Template =
  | { readonly _tag: "Constant"; readonly value: unknown }
  | { readonly _tag: "Value"; readonly expression: Expression.Expression }
  | { readonly _tag: "Text"; readonly parts: ReadonlyArray<string | Expression.Expression> }
  | { readonly _tag: "List"; readonly items: ReadonlyArray<Template> }
  | { readonly _tag: "Record"; readonly keys: ReadonlyArray<string>; readonly values: ReadonlyArray<Template> }

/** Told of each expression found, and of each problem, with the path to it. */
export interface Sink {
  readonly expression: (path: string, expression: Expression.Expression) => void
  readonly problem: (path: string, problem: Expression.ExpressionProblem) => void
}

/** Nesting of a value in a definition. */
const depthMax = 64
const opening = "${{"

/** Where the expression that starts at `from` ends (offset of its `}}`): braces and quotes inside it are its own. */
const endOf = (text: string, from: number): number => {
  let depth = 0
  for (let i = from; i < text.length; i++) {
    const c = text[i]
    if (c === "\"" || c === "'") {
      const quote = text.startsWith(c.repeat(3), i) ? c.repeat(3) : c
      i += quote.length
      while (i < text.length && !text.startsWith(quote, i)) i += text[i] === "\\" ? 2 : 1
      i += quote.length - 1
    } else if (c === "{") depth += 1
    else if (c === "}") {
      if (depth === 0 && text[i + 1] === "}") return i
      depth -= 1
    }
  }
  return -1
}

const constant = (value: unknown): Template => ({ _tag: "Constant", value })

const compileText = (text: string, path: string, sink: Sink): Template => {
  let at = text.indexOf(opening)
  if (at < 0) return constant(text)
  const parts: Array<string | Expression.Expression> = []
  let from = 0
  while (at >= 0) {
    const end = endOf(text, at + opening.length)
    if (end < 0) {
      sink.problem(path, new Expression.ExpressionProblem(text.slice(at), undefined, "has no closing }}"))
      return constant(text)
    }
    if (at > from) parts.push(text.slice(from, at))
    const expression = Expression.compile(text.slice(at + opening.length, end).trim())
    if (expression instanceof Expression.ExpressionProblem) sink.problem(path, expression)
    else {
      sink.expression(path, expression)
      parts.push(expression)
    }
    from = end + 2
    at = text.indexOf(opening, from)
  }
  if (from < text.length) parts.push(text.slice(from))
  const only = parts.length === 1 ? parts[0] : undefined
  return only !== undefined && typeof only !== "string" ? { _tag: "Value", expression: only } : { _tag: "Text", parts }
}

export const compile = (value: unknown, path: string, sink: Sink, depth = 0): Template => {
  if (typeof value === "string") return compileText(value, path, sink)
  if (typeof value !== "object" || value === null) return constant(value)
  if (depth > depthMax) {
    sink.problem(path, new Expression.ExpressionProblem("", undefined, `values are nested deeper than ${depthMax}`))
    return constant(null)
  }
  if (Array.isArray(value)) {
    const items = value.map((element, i) => compile(element, `${path}[${i}]`, sink, depth + 1))
    return items.every((item) => item._tag === "Constant") ? constant(value) : { _tag: "List", items }
  }
  const keys = Object.keys(value)
  const values = keys.map((key) => compile((value as Record<string, unknown>)[key], `${path}.${key}`, sink, depth + 1))
  return values.every((item) => item._tag === "Constant") ? constant(value) : { _tag: "Record", keys, values }
}

const writeOut = (value: unknown): string =>
  typeof value === "string"
    ? value
    : value === null
    ? ""
    : typeof value === "object"
    ? JSON.stringify(value)
    : String(value)

/** The value, or the first problem. */
export const render = (self: Template, scope: Expression.Scope): unknown => {
  switch (self._tag) {
    case "Constant":
      return self.value
    case "Value":
      return Expression.evaluate(self.expression, scope)
    case "Text": {
      let text = ""
      for (const part of self.parts) {
        if (typeof part === "string") text += part
        else {
          const value = Expression.evaluate(part, scope)
          if (value instanceof Expression.ExpressionProblem) return value
          text += writeOut(value)
        }
      }
      return text
    }
    case "List": {
      const list: Array<unknown> = []
      for (const item of self.items) {
        const value = render(item, scope)
        if (value instanceof Expression.ExpressionProblem) return value
        list.push(value)
      }
      return list
    }
    case "Record": {
      const record: Record<string, unknown> = {}
      for (let i = 0; i < self.keys.length; i++) {
        const item = self.values[i]
        const key = self.keys[i]
        if (item === undefined || key === undefined) continue
        const value = render(item, scope)
        if (value instanceof Expression.ExpressionProblem) return value
        Expression.put(record, key, value)
      }
      return record
    }
  }
}

/** As text, for environment variables. */
export const renderText = (self: Template, scope: Expression.Scope): string | Expression.ExpressionProblem => {
  const value = render(self, scope)
  return value instanceof Expression.ExpressionProblem ? value : writeOut(value)
}
