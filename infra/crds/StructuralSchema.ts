/**
 * The rules that the Kubernetes API server applies to the schema of a custom resource definition, as far as ours could break them.
 *
 * A check for machines without an API server: it answers every problem with its path. Rules: the API documentation of "structural schemas" and of
 * apiextensions.k8s.io/v1 JSONSchemaProps.
 */
import { isJson, type Json } from "../docs/TypeText.ts"

const known = new Set(
  ("description type format title default maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems minItems multipleOf enum maxProperties " +
    "minProperties required items allOf oneOf anyOf not properties additionalProperties nullable x-kubernetes-preserve-unknown-fields x-kubernetes-embedded-resource " +
    "x-kubernetes-int-or-string x-kubernetes-list-map-keys x-kubernetes-list-type x-kubernetes-map-type x-kubernetes-validations")
    .split(" ")
)
/** Not within `allOf`, `anyOf`, `oneOf`, `not`: there only values are judged. */
const structure = ["description", "type", "default", "additionalProperties", "nullable", "title"]
const types = new Set(["object", "array", "string", "integer", "number", "boolean"])

const isIntOrString = (schema: Json): boolean => schema["x-kubernetes-int-or-string"] === true
const canBeUntyped = (schema: Json): boolean =>
  isIntOrString(schema) || schema["x-kubernetes-preserve-unknown-fields"] === true

export const problems = (root: unknown): ReadonlyArray<string> => {
  const found: Array<string> = []
  const tell = (path: string, why: string) => void found.push(`${path === "" ? "the root" : path}: ${why}`)

  const junctor = (part: unknown, outside: Json, path: string): void => {
    if (!isJson(part)) return tell(path, "is not a schema")
    for (const field of structure) if (field in part) tell(path, `${field} is not allowed within a junctor`)
    for (const [name, inner] of Object.entries(isJson(part["properties"]) ? part["properties"] : {})) {
      const same = isJson(outside["properties"]) ? outside["properties"][name] : undefined
      if (!isJson(same)) tell(`${path}.${name}`, "is not specified outside of the junctor")
      else junctor(inner, same, `${path}.${name}`)
    }
  }

  const visit = (schema: unknown, path: string): void => {
    if (!isJson(schema)) return tell(path, "is not a schema")
    for (const key of Object.keys(schema)) if (!known.has(key)) tell(path, `${key} is not allowed`)
    const { additionalProperties, anyOf, items, properties, required, type } = schema
    if (type === undefined ? !canBeUntyped(schema) : !types.has(String(type))) tell(path, "needs a type")
    if (isIntOrString(schema) && type !== undefined) tell(path, "an int-or-string has no type")
    if (properties !== undefined && additionalProperties !== undefined) {
      tell(path, "properties and additionalProperties exclude each other")
    }
    if (additionalProperties === false) tell(path, "additionalProperties: false is not allowed")
    if (type === "array" && !isJson(items)) tell(path, "an array needs items, one schema for all")
    if (typeof schema["pattern"] === "string" && /\(\?[=!<]|\\\d/.test(schema["pattern"])) {
      tell(path, "RE2 has no look-around and no back-reference")
    }
    for (const bound of ["exclusiveMinimum", "exclusiveMaximum"]) {
      if (schema[bound] !== undefined && typeof schema[bound] !== "boolean") tell(path, `${bound} is a boolean`)
    }
    const isPattern = isIntOrString(schema) &&
      JSON.stringify(anyOf) === "[{\"type\":\"integer\"},{\"type\":\"string\"}]"
    for (const name of ["allOf", "anyOf", "oneOf"]) {
      const parts = schema[name]
      if (parts === undefined || (name === "anyOf" && isPattern)) continue
      if (!Array.isArray(parts)) tell(path, `${name} is a list`)
      else parts.forEach((part, index) => junctor(part, schema, `${path}.${name}[${index}]`))
    }
    if (isJson(properties)) {
      for (const name of Array.isArray(required) ? required : []) {
        if (!(String(name) in properties)) tell(path, `${String(name)} is required and not a property`)
      }
      for (const [name, part] of Object.entries(properties)) visit(part, path === "" ? name : `${path}.${name}`)
    }
    if (isJson(items)) visit(items, `${path}.*`)
    if (isJson(additionalProperties)) visit(additionalProperties, `${path}.{}`)
    const listType = schema["x-kubernetes-list-type"]
    const keys = schema["x-kubernetes-list-map-keys"]
    if (listType === "map") {
      const fields = isJson(items) ? items : {}
      for (const key of Array.isArray(keys) ? keys : []) {
        const field = isJson(fields["properties"]) ? fields["properties"][String(key)] : undefined
        if (!isJson(field)) tell(path, `the list key ${String(key)} is not a property of the items`)
        else if (!(Array.isArray(fields["required"]) && fields["required"].includes(key)) && !("default" in field)) {
          tell(path, `the list key ${String(key)} is neither required nor given a default`)
        }
      }
      if (!Array.isArray(keys) || keys.length === 0) tell(path, "a list of type map needs keys")
    } else if (keys !== undefined) tell(path, "list keys are for lists of type map")
    for (const one of Array.isArray(schema["x-kubernetes-validations"]) ? schema["x-kubernetes-validations"] : []) {
      if (!isJson(one) || typeof one["rule"] !== "string" || one["rule"].trim() === "") {
        tell(path, "a rule without text")
      }
    }
  }

  visit(root, "")
  if (isJson(root) && root["type"] !== "object") tell("", "is an object")
  return found
}
