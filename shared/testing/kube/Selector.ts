/**
 * Label and field selectors of list, watch and deletecollection, as the API server reads them: equality (`a=b`, `a==b`, `a!=b`), sets (`a in (b,c)`, `a notin (b)`),
 * existence (`a`, `!a`), joined by commas. `a!=b` and `notin` also match an object without the label.
 */
import type { KubeObject } from "./Json.ts"
import * as Refusal from "./Refusal.ts"

/** Undefined instead of a predicate that is always true. */
export type Predicate = (object: KubeObject) => boolean

type Requirement = (labels: Readonly<Record<string, string>>) => boolean

const key = "([A-Za-z0-9][-A-Za-z0-9_./]*)"
const value = "[A-Za-z0-9]?[-A-Za-z0-9_.]*"
const inSet = new RegExp(`^${key}\\s+(in|notin)\\s*\\(([^()]*)\\)$`)
const compared = new RegExp(`^${key}\\s*(==|=|!=)\\s*(${value})$`)
const exists = new RegExp(`^(!?)\\s*${key}$`)

const labelParts = (text: string): Array<string> => {
  const parts: Array<string> = []
  let depth = 0
  let start = 0
  for (let index = 0; index < text.length; index++) {
    const char = text[index]
    if (char === "(") depth++
    else if (char === ")") depth--
    else if (char === "," && depth === 0) {
      parts.push(text.slice(start, index).trim())
      start = index + 1
    }
  }
  parts.push(text.slice(start).trim())
  return parts
}

const requirement = (part: string): Requirement => {
  const set = inSet.exec(part)
  if (set !== null) {
    const [, name = "", operator, list = ""] = set
    const values = new Set(list.split(",").map((one) => one.trim()))
    return operator === "in"
      ? (labels) => {
        const has = labels[name]
        return has !== undefined && values.has(has)
      }
      : (labels) => {
        const has = labels[name]
        return has === undefined || !values.has(has)
      }
  }
  const comparison = compared.exec(part)
  if (comparison !== null) {
    const [, name = "", operator, wanted] = comparison
    return operator === "!=" ? (labels) => labels[name] !== wanted : (labels) => labels[name] === wanted
  }
  const existence = exists.exec(part)
  if (existence !== null) {
    const [, not, name = ""] = existence
    return not === "!" ? (labels) => labels[name] === undefined : (labels) => labels[name] !== undefined
  }
  throw Refusal.badRequest(
    `unable to parse requirement: found '${part}', expected: in, notin, =, ==, !=, or a label key`
  )
}

const noLabels: Readonly<Record<string, string>> = {}
const known = new Map<string, Predicate>()
const knownMax = 1_000

export const labels = (text: string | undefined): Predicate | undefined => {
  if (text === undefined || text.trim() === "") return undefined
  const before = known.get(text)
  if (before !== undefined) return before
  const all = labelParts(text).map(requirement)
  const predicate: Predicate = (object) => {
    const has = object.metadata.labels ?? noLabels
    for (const one of all) if (!one(has)) return false
    return true
  }
  if (known.size >= knownMax) known.clear()
  known.set(text, predicate)
  return predicate
}

/** `field` gives the value of a selectable field (absent ones are the empty string), and undefined for a field that cannot be selected by. */
export const fields = (
  text: string | undefined,
  field: (object: KubeObject, name: string) => string | undefined,
  selectable: ReadonlyArray<string>
): Predicate | undefined => {
  if (text === undefined || text.trim() === "") return undefined
  const all = text.split(",").filter((part) => part !== "").map((part) => {
    const match = /^(.*?)(!=|==|=)(.*)$/.exec(part)
    if (match === null) throw Refusal.badRequest(`invalid selector: '${text}'; can't understand '${part}'`)
    const [, name = "", operator, wanted = ""] = match
    if (!selectable.includes(name)) throw Refusal.badRequest(`field label not supported: ${name}`)
    return { name, isEqual: operator !== "!=", wanted }
  })
  return (object) => {
    for (const { name, isEqual, wanted } of all) if ((field(object, name) === wanted) !== isEqual) return false
    return true
  }
}

/** Both, or undefined when neither restricts. */
export const both = (left: Predicate | undefined, right: Predicate | undefined): Predicate | undefined =>
  left === undefined ? right : right === undefined ? left : (object) => left(object) && right(object)
