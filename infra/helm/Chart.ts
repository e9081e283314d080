/**
 * The files of the Helm chart that are made of something else: what `npm run chart` writes and its test compares with.
 *
 * Keeps true: `values.schema.json` is Values.ts in draft-07, the only dialect that Helm 3 and 4 both enforce, and closed (a misspelt value is an error); the table in the chart's
 * README has every value with its default. Rights, definitions, dashboards and alerts are not made: `files/` has links to infra/crds and infra/grafana, which Helm follows.
 */
import * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Yaml from "yaml"
import * as Comments from "../docs/Comments.ts"
import { cell, code, isJson, type Json } from "../docs/TypeText.ts"
import * as Values from "./Values.ts"

const root = join(import.meta.dirname, "..", "..")
/** Of the chart, from the checkout's root. */
export const folder = "infra/helm/heddle"

const comments = Comments.read(
  ["infra/helm/Values.ts", "shared/protocol/SandboxPool.ts", "shared/protocol/SandboxEnv.ts", "shared/protocol/Env.ts"]
    .map((path) => readFileSync(join(root, path), "utf8"))
)
/** Of a field: its own comment, that of all components' fields, that of the contract's spec. */
const textOf = (of: string, field: string): string | undefined =>
  [of, "component", "globalFields"].map((name) => comments.ofField.get(`${name}.${field}`)).find((text) =>
    text !== undefined
  )

/** The limits of JavaScript's integers are no limits of a value. */
const isLimitOfNumbers = (bound: unknown): boolean => Math.abs(Number(bound)) === Number.MAX_SAFE_INTEGER

const tidied = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(tidied)
  if (!isJson(schema)) return schema
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key, value]) => !((key === "minimum" || key === "maximum") && isLimitOfNumbers(value)))
      .map(([key, value]) => [key, tidied(value)])
  )
}

const described = (schema: unknown, name: string): Json => {
  if (!isJson(schema)) throw new Error(`${name} is no object`)
  const { properties, ...rest } = schema
  if (!isJson(properties)) return schema
  return {
    ...rest,
    properties: Object.fromEntries(
      Object.entries(properties).map(([field, part]) => {
        const description = textOf(name, field)
        return [field, isJson(part) && description !== undefined ? { description, ...part } : part]
      })
    )
  }
}

/** As draft-07, with every struct under `definitions`. */
export const schema = (): Json => {
  const document = JsonSchema.toDocumentDraft07(
    Schema.toJsonSchemaDocument(Values.Values, { onExcessProperty: "error" })
  )
  const definitions = Object.fromEntries(
    Object.entries(document.definitions).map(([name, part]) => [name, described(tidied(part), name)])
  )
  const { Values: values, ...others } = definitions
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Values of the chart heddle",
    ...values,
    definitions: others
  }
}

/** One value of the chart. */
export interface Row {
  readonly path: string
  readonly text: string
  readonly initial: unknown
}

/** All values, those of a component after those that all components have. Objects of Kubernetes and of the contract are one value. */
export const rows = (): ReadonlyArray<Row> => {
  const { definitions, ...values } = schema()
  const defaults: unknown = Yaml.parse(readFileSync(join(root, folder, "values.yaml"), "utf8"))
  const found: Array<Row> = []
  const visit = (part: Json, path: string, initial: unknown): void => {
    const { properties } = part
    if (!isJson(properties)) return
    for (const [field, one] of Object.entries(properties)) {
      if (!isJson(one)) continue
      const name = /#\/definitions\/(\w+)$/.exec(String(one["$ref"] ?? ""))?.[1]
      const inner = name === undefined || !isJson(definitions) ? undefined : definitions[name]
      const ownPath = path === "" ? field : `${path}.${field}`
      const value = isJson(initial) ? initial[field] : undefined
      const isOfComponent = path !== "common" && Object.hasOwn(Values.component, field)
      if (isOfComponent && value === undefined) continue
      // one that says nothing by itself (`natsAuth: {}`) is one value
      const isNothing = isJson(value) && Object.keys(value).length === 0
      if (isJson(inner) && isJson(inner["properties"]) && !isNothing) visit(inner, ownPath, value)
      else found.push({ path: ownPath, text: String(one["description"] ?? ""), initial: value })
    }
  }
  visit(values, "", defaults)
  return found
}

const begin = "<!-- values: made by `npm run chart` from infra/helm/Values.ts and values.yaml -->"
const end = "<!-- end of values -->"

const table = (): string =>
  [
    "| value | default | |",
    "|---|---|---|",
    ...rows().map(({ initial, path, text }) =>
      `| ${code(path)} | ${initial === undefined ? "" : code(cell(JSON.stringify(initial)))} | ${cell(text)} |`
    )
  ].join("\n")

const readme = (): string => {
  const text = readFileSync(join(root, folder, "README.md"), "utf8")
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${folder}/README.md has lost the marks of its table of values`)
  return `${text.slice(0, from)}${begin}\n\n${table()}\n\n${text.slice(to)}`
}

/** Path from the checkout's root -> what the file is to hold. */
export const files = (): ReadonlyMap<string, string> =>
  new Map([
    [`${folder}/values.schema.json`, `${JSON.stringify(schema(), null, 2)}\n`],
    [`${folder}/README.md`, readme()]
  ])
