/**
 * Structural schemas of CRDs: OpenAPI v3 validation as the API server does it, defaults, pruning of fields the schema does not know, list types, and the CEL rules of
 * `x-kubernetes-validations` with `self`, `oldSelf`, `message`, `messageExpression`, `reason` and `fieldPath`. Rules are compiled when the CRD is written, so that a wrong
 * rule is refused then, by name.
 */
import { Environment } from "@marcbachmann/cel-js"
import { equal, isObject, type Json, type JsonObject, type KubeObject } from "./Json.ts"
import { type Cause, cause } from "./Refusal.ts"

interface Rule {
  readonly text: string
  readonly isTransition: boolean
  readonly isOldOptional: boolean
  readonly message: string | undefined
  readonly messageOf: Expression | undefined
  readonly reason: string
  readonly fieldPath: string
  readonly run: Expression
}

type Expression = (self: Json, oldSelf: Json) => Json

/** A schema with its rules compiled; made once for a CRD. */
export interface Compiled {
  readonly schema: JsonObject
  readonly rules: ReadonlyMap<JsonObject, ReadonlyArray<Rule>>
  readonly hasRules: boolean
}

const environment = new Environment({
  enableOptionalTypes: true,
  unlistedVariablesAreDyn: false,
  homogeneousAggregateLiterals: false
})
  .registerVariable("self", "dyn")
  .registerVariable("oldSelf", "dyn")

const expression = (text: string): Expression => {
  const parsed = environment.parse(text)
  return (self, oldSelf) => parsed({ self, oldSelf })
}

const mentionsOld = (text: string): boolean =>
  /(^|[^A-Za-z0-9_.])oldSelf\b/.test(text.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, "\"\""))

const compileRule = (rule: Json): Rule => ({
  text: String(rule.rule),
  isTransition: mentionsOld(String(rule.rule)),
  isOldOptional: rule.optionalOldSelf === true,
  message: typeof rule.message === "string" ? rule.message : undefined,
  messageOf: typeof rule.messageExpression === "string" ? expression(rule.messageExpression) : undefined,
  reason: typeof rule.reason === "string" ? rule.reason : "FieldValueInvalid",
  fieldPath: typeof rule.fieldPath === "string" ? rule.fieldPath : "",
  run: expression(String(rule.rule))
})

const children = (schema: JsonObject): ReadonlyArray<readonly [string, JsonObject]> => [
  ...Object.entries(schema["properties"] ?? {}).map(([name, one]) =>
    [`.properties[${name}]`, one as JsonObject] as const
  ),
  ...(isObject(schema["additionalProperties"])
    ? [[".additionalProperties", schema["additionalProperties"]] as const]
    : []),
  ...(isObject(schema["items"]) ? [[".items", schema["items"]] as const] : [])
]

/** Why a schema cannot be served: it is not structural, or a rule does not compile. */
export const problems = (schema: JsonObject, path: string): ReadonlyArray<Cause> => {
  const causes: Array<Cause> = []
  const isFree = schema["x-kubernetes-int-or-string"] === true ||
    schema["x-kubernetes-preserve-unknown-fields"] === true
  if (schema["type"] === undefined && !isFree) {
    causes.push(cause.required(`${path}.type`, "must not be empty for specified object fields"))
  }
  if (schema["properties"] !== undefined && isObject(schema["additionalProperties"])) {
    causes.push(
      cause.forbidden(`${path}.additionalProperties`, "additionalProperties and properties are mutual exclusive")
    )
  }
  const rules: ReadonlyArray<Json> = schema["x-kubernetes-validations"] ?? []
  rules.forEach((rule, index) => {
    const at = `${path}.x-kubernetes-validations[${index}]`
    for (const name of ["rule", "messageExpression"]) {
      const text = rule?.[name]
      if (text === undefined) {
        if (name === "rule") causes.push(cause.required(`${at}.rule`))
        continue
      }
      try {
        expression(String(text))
        const checked = environment.check(String(text))
        if (!checked.valid) {
          causes.push(cause.invalid(`${at}.${name}`, text, `compilation failed: ${checked.error?.message ?? ""}`))
        }
      } catch (error) {
        causes.push(cause.invalid(`${at}.${name}`, text, `compilation failed: ${String(error)}`))
      }
    }
  })
  for (const [step, child] of children(schema)) causes.push(...problems(child, `${path}${step}`))
  return causes
}

export const compile = (schema: JsonObject): Compiled => {
  const rules = new Map<JsonObject, ReadonlyArray<Rule>>()
  const walk = (one: JsonObject) => {
    const own: ReadonlyArray<Json> = one["x-kubernetes-validations"] ?? []
    if (own.length > 0) rules.set(one, own.map(compileRule))
    for (const [, child] of children(one)) walk(child)
  }
  walk(schema)
  return { schema, rules, hasRules: rules.size > 0 }
}

/** Prunes what the schema does not know and fills in defaults; what needs neither keeps its reference. Null of a field that has a default and is not nullable is dropped first. */
const filled = (schema: JsonObject, value: Json, isRoot = false): Json => {
  if (Array.isArray(value)) {
    const items: Json = schema["items"]
    if (!isObject(items)) return value
    let next: Array<Json> | undefined
    value.forEach((item, index) => {
      const inner = filled(items, item)
      if (inner !== item) (next ??= [...value])[index] = inner
    })
    return next ?? value
  }
  if (!isObject(value)) return value
  const properties: Record<string, JsonObject> = schema["properties"] ?? {}
  const additional: Json = schema["additionalProperties"]
  const keepsUnknown = schema["x-kubernetes-preserve-unknown-fields"] === true || additional === true
  const isEmbedded = isRoot || schema["x-kubernetes-embedded-resource"] === true
  let next: JsonObject | undefined
  const change = () => (next ??= { ...value })
  for (const name in value) {
    const child = properties[name]
    if (isEmbedded && (name === "apiVersion" || name === "kind" || name === "metadata")) continue
    if (child !== undefined) {
      if (value[name] === null && child["nullable"] !== true && child["default"] !== undefined) {
        delete change()[name]
        continue
      }
      const inner = filled(child, value[name])
      if (inner !== value[name]) change()[name] = inner
    } else if (isObject(additional)) {
      const inner = filled(additional, value[name])
      if (inner !== value[name]) change()[name] = inner
    } else if (!keepsUnknown) delete change()[name]
  }
  for (const name in properties) {
    const child = properties[name]
    if (child?.["default"] === undefined || (next ?? value)[name] !== undefined) continue
    change()[name] = filled(child, structuredClone(child["default"]))
  }
  return next ?? value
}

const unknown = (schema: JsonObject, value: Json, path: string, found: Array<string>, isRoot = false): void => {
  if (Array.isArray(value)) {
    const items: Json = schema["items"]
    if (isObject(items)) value.forEach((item, index) => unknown(items, item, `${path}[${index}]`, found))
    return
  }
  if (!isObject(value)) return
  const properties: Record<string, JsonObject> = schema["properties"] ?? {}
  const additional: Json = schema["additionalProperties"]
  const keepsUnknown = schema["x-kubernetes-preserve-unknown-fields"] === true || additional === true
  const isEmbedded = isRoot || schema["x-kubernetes-embedded-resource"] === true
  for (const name in value) {
    if (isEmbedded && (name === "apiVersion" || name === "kind" || name === "metadata")) continue
    const child = properties[name] ?? (isObject(additional) ? additional : undefined)
    const at = path === "" ? name : `${path}.${name}`
    if (child !== undefined) unknown(child, value[name], at, found)
    else if (!keepsUnknown) found.push(at)
  }
}

/** Paths of what `fill` would drop. */
export const unknownFields = (compiled: Compiled, object: KubeObject): ReadonlyArray<string> => {
  const found: Array<string> = []
  unknown(compiled.schema, object, "", found, true)
  return found
}

export const fill = (compiled: Compiled, object: KubeObject, previous?: KubeObject): KubeObject => {
  let isSame = previous !== undefined
  if (previous !== undefined) {
    for (const key in object) if (key !== "metadata" && object[key] !== previous[key]) isSame = false
  }
  return isSame ? object : filled(compiled.schema, object, true)
}

const codePoints = (text: string): number => {
  let count = 0
  for (const _ of text) count++
  return count
}

const patterns = new Map<string, RegExp>()
const pattern = (source: string): RegExp => {
  const known = patterns.get(source)
  if (known !== undefined) return known
  const made = new RegExp(source)
  patterns.set(source, made)
  return made
}

const formats: Readonly<Record<string, (text: string) => boolean>> = {
  "date-time": (text) =>
    /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/.test(text) &&
    !Number.isNaN(Date.parse(text)),
  date: (text) => /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text)),
  duration: (text) => /^([+-]?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|w))+|0)$/.test(text.replaceAll(" ", "")),
  ipv4: (text) => /^(\d{1,3})(\.\d{1,3}){3}$/.test(text) && text.split(".").every((part) => Number(part) < 256),
  uuid: (text) => /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i.test(text),
  uri: (text) => URL.canParse(text),
  email: (text) => /^[^@\s]+@[^@\s]+$/.test(text),
  byte: (text) => /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0
}

const typeOf = (value: Json): string =>
  value === null
    ? "null"
    : Array.isArray(value)
    ? "array"
    : typeof value === "number"
    ? Number.isInteger(value) ? "integer" : "number"
    : typeof value

const isOfType = (value: Json, type: string): boolean => {
  const actual = typeOf(value)
  return actual === type || (type === "number" && actual === "integer")
}

const inBody = (field: string, value: Json, detail: string): Cause =>
  cause.invalid(field, value, `${field} in body ${detail}`)

const checkScalars = (schema: JsonObject, value: Json, field: string, causes: Array<Cause>): void => {
  if (typeof value === "string") {
    if (schema["minLength"] !== undefined && codePoints(value) < schema["minLength"]) {
      causes.push(inBody(field, value, `should be at least ${schema["minLength"]} chars long`))
    }
    if (schema["maxLength"] !== undefined && codePoints(value) > schema["maxLength"]) {
      causes.push({
        reason: "FieldValueTooLong",
        field,
        message: `Too long: may not be more than ${schema["maxLength"]} bytes`
      })
    }
    if (schema["pattern"] !== undefined && !pattern(schema["pattern"]).test(value)) {
      causes.push(inBody(field, value, `should match '${schema["pattern"]}'`))
    }
    const format = formats[schema["format"] ?? ""]
    if (format !== undefined && !format(value)) {
      causes.push(inBody(field, value, `must be of type ${schema["format"]}: ${JSON.stringify(value)}`))
    }
  }
  if (typeof value === "number") {
    const { minimum, maximum } = schema
    if (minimum !== undefined && (schema["exclusiveMinimum"] === true ? value <= minimum : value < minimum)) {
      causes.push(
        inBody(
          field,
          value,
          schema["exclusiveMinimum"] === true
            ? `should be greater than ${minimum}`
            : `should be greater than or equal to ${minimum}`
        )
      )
    }
    if (maximum !== undefined && (schema["exclusiveMaximum"] === true ? value >= maximum : value > maximum)) {
      causes.push(
        inBody(
          field,
          value,
          schema["exclusiveMaximum"] === true
            ? `should be less than ${maximum}`
            : `should be less than or equal to ${maximum}`
        )
      )
    }
    const { multipleOf } = schema
    if (multipleOf !== undefined && Math.abs(value / multipleOf - Math.round(value / multipleOf)) > 1e-9) {
      causes.push(inBody(field, value, `should be a multiple of ${multipleOf}`))
    }
    if (schema["format"] === "int32" && (value < -2_147_483_648 || value > 2_147_483_647)) {
      causes.push(inBody(field, value, `must be of type int32: ${JSON.stringify(value)}`))
    }
  }
  if (schema["enum"] !== undefined && !schema["enum"].some((one: Json) => equal(one, value))) {
    causes.push(cause.notSupported(field, value, schema["enum"]))
  }
}

const join = (field: string, name: string): string => (field === "" ? name : `${field}.${name}`)

const checkList = (schema: JsonObject, value: ReadonlyArray<Json>, field: string, causes: Array<Cause>): void => {
  if (schema["minItems"] !== undefined && value.length < schema["minItems"]) {
    causes.push(inBody(field, value.length, `should have at least ${schema["minItems"]} items`))
  }
  if (schema["maxItems"] !== undefined && value.length > schema["maxItems"]) {
    causes.push({
      reason: "FieldValueTooMany",
      field,
      message: `Too many: ${value.length}: must have at most ${schema["maxItems"]} items`
    })
  }
  const listType = schema["x-kubernetes-list-type"]
  if (listType === "set" || schema["uniqueItems"] === true) {
    value.forEach((item, index) => {
      if (value.findIndex((one) => equal(one, item)) < index) causes.push(cause.duplicate(`${field}[${index}]`, item))
    })
  }
  if (listType === "map") {
    const keys: ReadonlyArray<string> = schema["x-kubernetes-list-map-keys"] ?? []
    const seen = new Set<string>()
    value.forEach((item, index) => {
      const key = Object.fromEntries(
        keys.map((name) => [name, item?.[name] ?? schema["items"]?.properties?.[name]?.default])
      )
      const text = JSON.stringify(key)
      if (seen.has(text)) causes.push(cause.duplicate(`${field}[${index}]`, key))
      seen.add(text)
    })
  }
}

const check = (schema: JsonObject, value: Json, field: string, causes: Array<Cause>, isRoot = false): void => {
  if (value === null && schema["nullable"] === true) return
  if (schema["x-kubernetes-int-or-string"] === true) {
    if (typeof value !== "string" && !Number.isInteger(value)) {
      causes.push(
        cause.type(field, value, `${field} in body must be of type integer or string: ${JSON.stringify(typeOf(value))}`)
      )
      return
    }
  } else if (schema["type"] !== undefined && !isOfType(value, schema["type"])) {
    causes.push(
      cause.type(
        field,
        typeOf(value),
        `${field} in body must be of type ${schema["type"]}: ${JSON.stringify(typeOf(value))}`
      )
    )
    return
  }
  checkScalars(schema, value, field, causes)
  if (Array.isArray(value)) {
    checkList(schema, value, field, causes)
    const items: Json = schema["items"]
    if (isObject(items)) value.forEach((item, index) => check(items, item, `${field}[${index}]`, causes))
  } else if (isObject(value)) {
    const properties: Record<string, JsonObject> = schema["properties"] ?? {}
    for (const name of schema["required"] ?? []) {
      if (value[name] === undefined) causes.push(cause.required(join(field, name)))
    }
    const count = Object.keys(value).length
    if (schema["minProperties"] !== undefined && count < schema["minProperties"]) {
      causes.push(inBody(field, count, `should have at least ${schema["minProperties"]} properties`))
    }
    if (schema["maxProperties"] !== undefined && count > schema["maxProperties"]) {
      causes.push({
        reason: "FieldValueTooMany",
        field,
        message: `Too many: ${count}: must have at most ${schema["maxProperties"]} items`
      })
    }
    for (const name in value) {
      if (isRoot && name === "metadata") continue
      const child = properties[name] ??
        (isObject(schema["additionalProperties"]) ? schema["additionalProperties"] : undefined)
      if (child !== undefined && value[name] !== undefined) check(child, value[name], join(field, name), causes)
    }
  }
  combine(schema, value, field, causes)
}

const passes = (schema: JsonObject, value: Json): boolean => {
  const causes: Array<Cause> = []
  check(schema, value, "", causes)
  return causes.length === 0
}

const combine = (schema: JsonObject, value: Json, field: string, causes: Array<Cause>): void => {
  for (const one of schema["allOf"] ?? []) check(one, value, field, causes)
  if (schema["anyOf"] !== undefined && !schema["anyOf"].some((one: JsonObject) => passes(one, value))) {
    causes.push(inBody(field, value, "must validate at least one schema (anyOf)"))
  }
  if (schema["oneOf"] !== undefined && schema["oneOf"].filter((one: JsonObject) => passes(one, value)).length !== 1) {
    causes.push(inBody(field, value, "must validate one and only one schema (oneOf)"))
  }
  if (isObject(schema["not"]) && passes(schema["not"], value)) {
    causes.push(inBody(field, value, "must not validate the schema (not)"))
  }
}

const reserved = new Set(
  "true false null in as break const continue else for function if import let loop package namespace return var void while"
    .split(" ")
)

/** A property's name as an expression writes it. */
const celName = (name: string): string => {
  if (reserved.has(name)) return `__${name}__`
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !name.includes("__")
    ? name
    : name.replaceAll("__", "__underscores__").replaceAll(".", "__dot__").replaceAll("-", "__dash__").replaceAll(
      "/",
      "__slash__"
    )
}

/** Numbers by the schema: an integer is CEL's int, everything else a double. */
const celValue = (schema: JsonObject | undefined, value: Json, isRoot = false): Json => {
  if (typeof value === "number") {
    return schema?.["type"] === "number" ? value : Number.isInteger(value) ? BigInt(value) : value
  }
  if (typeof value === "string" && schema?.["format"] === "date-time") return new Date(value)
  if (Array.isArray(value)) return value.map((item) => celValue(schema?.["items"], item))
  if (!isObject(value)) return value
  const result: JsonObject = {}
  const properties: Record<string, JsonObject> = schema?.["properties"] ?? {}
  const isMap = isObject(schema?.["additionalProperties"])
  for (const name in value) {
    // of metadata a rule sees the name only
    if (isRoot && name === "metadata") {
      result[name] = {
        name: value[name]?.name,
        ...(value[name]?.generateName === undefined ? {} : { generateName: value[name].generateName })
      }
      continue
    }
    if (value[name] === undefined) continue
    result[isMap ? name : celName(name)] = celValue(properties[name] ?? schema?.["additionalProperties"], value[name])
  }
  return result
}

const runRule = (rule: Rule, self: Json, oldSelf: Json, value: Json, field: string): Cause | undefined => {
  const at = rule.fieldPath === ""
    ? field
    : field === ""
    ? rule.fieldPath.replace(/^\./, "")
    : `${field}${rule.fieldPath.startsWith(".") ? "" : "."}${rule.fieldPath}`
  const shown = isObject(value) ? "object" : Array.isArray(value) ? "array" : value
  const because = (detail: string): Cause => {
    switch (rule.reason) {
      case "FieldValueForbidden":
        return cause.forbidden(at, detail)
      case "FieldValueRequired":
        return cause.required(at, detail)
      case "FieldValueDuplicate":
        return cause.duplicate(at, shown)
      default:
        return cause.invalid(at, shown, detail)
    }
  }
  try {
    if (rule.run(self, oldSelf) === true) return undefined
  } catch (error) {
    return because(
      `rule evaluation error: ${
        error instanceof Error ? error.message.split("\n")[0] : String(error)
      } evaluating rule: ${rule.message ?? rule.text}`
    )
  }
  let message = rule.message ?? `failed rule: ${rule.text.trim()}`
  try {
    const told = rule.messageOf?.(self, oldSelf)
    if (typeof told === "string" && told.trim() !== "") message = told
  } catch {
    // as documented: a message expression that fails leaves the message
  }
  return because(message)
}

const checkRules = (
  compiled: Compiled,
  schema: JsonObject,
  value: Json,
  old: Json,
  hasOld: boolean,
  field: string,
  onlyTransitions: boolean,
  causes: Array<Cause>,
  isRoot = false
): void => {
  const rules = compiled.rules.get(schema)
  if (rules !== undefined && value !== null) {
    const self = celValue(schema, value, isRoot)
    const oldSelf = hasOld ? celValue(schema, old, isRoot) : undefined
    for (const rule of rules) {
      if (rule.isTransition !== onlyTransitions) continue
      // a transition rule says nothing of what is new, unless it asks to
      if (rule.isTransition && !hasOld && !rule.isOldOptional) continue
      const found = runRule(rule, self, oldSelf, value, field)
      if (found !== undefined) causes.push(found)
    }
  }
  if (Array.isArray(value)) {
    const items: Json = schema["items"]
    if (!isObject(items)) return
    const keys: ReadonlyArray<string> | undefined = schema["x-kubernetes-list-type"] === "map"
      ? schema["x-kubernetes-list-map-keys"]
      : undefined
    value.forEach((item, index) => {
      // items of a list correspond only where the list is a map
      const before = keys === undefined || !Array.isArray(old)
        ? undefined
        : old.find((one) => keys.every((key) => equal(one?.[key], item?.[key])))
      checkRules(compiled, items, item, before, before !== undefined, `${field}[${index}]`, onlyTransitions, causes)
    })
  } else if (isObject(value)) {
    const properties: Record<string, JsonObject> = schema["properties"] ?? {}
    for (const name in value) {
      if (isRoot && name === "metadata") continue
      const child = properties[name] ??
        (isObject(schema["additionalProperties"]) ? schema["additionalProperties"] : undefined)
      if (child === undefined || value[name] === undefined) continue
      const before = isObject(old) ? old[name] : undefined
      checkRules(compiled, child, value[name], before, before !== undefined, join(field, name), onlyTransitions, causes)
    }
  }
}

/** Schema, then the rules that look at one state; rules are not run on what the schema refuses. */
export const validate = (compiled: Compiled, object: KubeObject): ReadonlyArray<Cause> => {
  const causes: Array<Cause> = []
  check(compiled.schema, object, "", causes, true)
  if (causes.length > 0 || !compiled.hasRules) return causes
  checkRules(compiled, compiled.schema, object, undefined, false, "", false, causes, true)
  return causes
}

/** The rules that compare with the state before. */
export const validateTransition = (
  compiled: Compiled,
  next: KubeObject,
  previous: KubeObject
): ReadonlyArray<Cause> => {
  if (!compiled.hasRules) return []
  const causes: Array<Cause> = []
  checkRules(compiled, compiled.schema, next, previous, true, "", true, causes, true)
  return causes
}
