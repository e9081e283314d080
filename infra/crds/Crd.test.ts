import { assert, it } from "@effect/vitest"
import { evaluate } from "@marcbachmann/cel-js"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Yaml from "yaml"
import { isJson, type Json } from "../docs/TypeText.ts"
import * as Crd from "./Crd.ts"
import * as StructuralSchema from "./StructuralSchema.ts"

const root = join(import.meta.dirname, "..", "..")
const documents = [...Crd.files()].map(([path, text]) => ({ path, text, value: Yaml.parse(text) as unknown }))

const at = (value: unknown, ...path: ReadonlyArray<string | number>): unknown =>
  path.reduce<unknown>(
    (inner, key) => (isJson(inner) ? inner[key] : Array.isArray(inner) ? inner[Number(key)] : undefined),
    value
  )
const schemaOf = (kind: string): Json => {
  const found = documents.find(({ value }) => at(value, "spec", "names", "kind") === kind)
  const schema = at(found?.value, "spec", "versions", 0, "schema", "openAPIV3Schema")
  assert.isTrue(isJson(schema))
  return schema as Json // just seen
}

it.each(documents)("$path is what the schemas say", ({ path, text }) => {
  assert.strictEqual(readFileSync(join(root, path), "utf8"), text, "npm run crds, and commit the result")
})

it.each(documents)("$path: kubectl explain has a word for every field", ({ value }) => {
  const silent: Array<string> = []
  const visit = (schema: unknown, path: string): void => {
    if (!isJson(schema) || path === ".metadata") return
    if (schema["description"] === undefined) silent.push(path)
    const { items, properties } = schema
    for (const fields of [properties, isJson(items) ? items["properties"] : undefined]) {
      if (isJson(fields)) { for (const [name, part] of Object.entries(fields)) visit(part, `${path}.${name}`) }
    }
  }
  visit(at(value, "spec", "versions", 0, "schema", "openAPIV3Schema"), "")
  assert.deepStrictEqual(silent, [])
})

it.each(documents)("$path has a structural schema", ({ value }) => {
  assert.deepStrictEqual(
    StructuralSchema.problems(at(value, "spec", "versions", 0, "schema", "openAPIV3Schema")),
    []
  )
})

it("the check of structural schemas sees what the API server refuses", () => {
  const object = (properties: Json, more: Json = {}) => ({ type: "object", properties, ...more })
  const refused: ReadonlyArray<readonly [unknown, RegExp]> = [
    [object({ a: { $ref: "#/x" } }), /a: \$ref is not allowed/],
    [object({ a: {} }), /a: needs a type/],
    [object({ a: { type: "array" } }), /a: an array needs items/],
    [object({ a: { type: "string" } }, { anyOf: [{ properties: { a: { type: "string" } } }] }), /type is not allowed/],
    [object({ a: { type: "string" } }, { oneOf: [{ properties: { b: { enum: [1] } } }] }), /not specified outside/],
    [object({ a: { type: "number", exclusiveMinimum: 0 } }), /exclusiveMinimum is a boolean/],
    [object({}, { additionalProperties: { type: "string" } }), /exclude each other/],
    [object({}, { required: ["b"] }), /b is required and not a property/],
    [object({ a: { type: "string", pattern: "^(?!x)" } }), /RE2/],
    [
      object({ a: { type: "array", items: object({ k: { type: "string" } }), "x-kubernetes-list-type": "map" } }),
      /needs keys/
    ],
    [
      object({
        a: {
          type: "array",
          items: object({ k: { type: "string" } }),
          "x-kubernetes-list-type": "map",
          "x-kubernetes-list-map-keys": ["k"]
        }
      }),
      /neither required nor/
    ]
  ]
  for (const [schema, problem] of refused) assert.match(StructuralSchema.problems(schema).join("\n"), problem)
})

const rulesOf = (kind: string, ...path: ReadonlyArray<string>): ReadonlyArray<string> => {
  const schema = path.reduce<unknown>(
    (inner, name) => name === "*" ? at(inner, "items") : at(inner, "properties", name),
    schemaOf(kind)
  )
  const rules = at(schema, "x-kubernetes-validations")
  return Array.isArray(rules) ? rules.map((one) => String(at(one, "rule"))) : []
}
/** Whether all rules at a path hold; for a new object, those about the old one are not asked. */
const holds = (rules: ReadonlyArray<string>, self: Json, oldSelf?: Json): boolean => {
  assert.isAbove(rules.length, 0)
  return rules.every((rule) =>
    oldSelf === undefined && rule.includes("oldSelf") ? true : evaluate(rule, { self, oldSelf: oldSelf ?? self })
  )
}

it("CEL: what a SandboxPool's rules take and refuse", () => {
  const spec = rulesOf("SandboxPool", "spec")
  const pod = { template: { spec: { containers: [] } } }
  const fixed = { provider: "kubernetes", ...pod, size: 1 }
  const scaled = { provider: "kubernetes", ...pod, autoscale: {} }
  assert.isTrue(holds(spec, fixed))
  assert.isTrue(holds(spec, { provider: "local", size: 1, config: {} }))
  assert.isTrue(holds(spec, { ...scaled, min: 1, max: 1, minIdle: 1 }))
  assert.isFalse(holds(spec, { provider: "kubernetes", size: 1 }))
  assert.isFalse(holds(spec, { ...fixed, provider: "local" }))
  assert.isFalse(holds(spec, { ...scaled, min: 2, max: 1 }))
  assert.isFalse(holds(spec, { ...scaled, minIdle: 2, max: 1 }))
  assert.isFalse(holds(spec, { ...fixed, min: 1 }))
  assert.isFalse(holds(spec, { provider: "kubernetes", ...pod }))
  assert.isFalse(holds(spec, { provider: "local", size: 1 }, { provider: "inline", size: 1 }))

  const reset = rulesOf("SandboxPool", "spec", "reset")
  assert.isTrue(holds(reset, { method: "exec", command: ["true"] }))
  assert.isTrue(holds(reset, { method: "restart", alternates: {} }))
  assert.isFalse(holds(reset, { method: "exec" }))
  assert.isFalse(holds(reset, { method: "none", alternates: {} }))

  const labels = rulesOf("SandboxPool", "spec", "template", "metadata", "labels")
  assert.isTrue(holds(labels, { app: "x" }))
  assert.isFalse(holds(labels, { "heddle.dev/pool": "x" }))
  const annotations = rulesOf("SandboxPool", "spec", "template", "metadata", "annotations")
  assert.isTrue(holds(annotations, { "heddle.dev/protected": "true" }))
  assert.isFalse(holds(annotations, { "heddle.dev/claim": "x" }))

  const name = rulesOf("SandboxPool")
  assert.isTrue(holds(name, { metadata: { name: "web-1" } }))
  assert.isFalse(holds(name, { metadata: { name: "web.1" } }))
  assert.isFalse(holds(name, { metadata: { name: "w".repeat(64) } }))
})

it("CEL: an env needs members or a selector", () => {
  const spec = rulesOf("SandboxEnv", "spec")
  assert.isTrue(holds(spec, { members: [{ pool: "a" }] }))
  assert.isTrue(holds(spec, { selector: { team: "a" } }))
  assert.isFalse(holds(spec, {}))
  assert.isFalse(holds(spec, { members: [], selector: {} }))
})

it("a duration is an int-or-string, what heddle does not look into is preserved", () => {
  const spec = at(schemaOf("SandboxPool"), "properties", "spec", "properties")
  assert.strictEqual(at(spec, "ttl", "x-kubernetes-int-or-string"), true)
  assert.strictEqual(at(spec, "config", "x-kubernetes-preserve-unknown-fields"), true)
  const pod = at(spec, "template", "properties", "spec")
  assert.strictEqual(at(pod, "x-kubernetes-preserve-unknown-fields"), true)
  assert.deepStrictEqual(at(pod, "properties", "containers", "x-kubernetes-list-map-keys"), ["name"])
  assert.match(String(at(spec, "release", "description")), /recycle/)
})
