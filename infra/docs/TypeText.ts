/**
 * JSON Schemas as a person reads them, and texts as Markdown tables hold them.
 */

export type Json = { readonly [key: string]: unknown }
export const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const code = (text: string) => `\`${text}\``
export const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ")

/** `string`, `0..9`, `"a" or "b"`, `[string]`, `{string: string}`, `object`. */
export const typeText = (schema: unknown): string => {
  if (!isJson(schema)) return "any"
  const { additionalProperties, anyOf, const: constant, enum: values, items, maximum, minimum, properties, type } =
    schema
  if (constant !== undefined) return JSON.stringify(constant)
  if (Array.isArray(values)) return values.map((value) => JSON.stringify(value)).join(" or ")
  const union = anyOf ?? schema["oneOf"]
  if (Array.isArray(union)) {
    const texts = [...new Set(union.map(typeText))]
    const isDuration = texts.includes("string") && texts.some((text) => text.startsWith("number")) &&
      texts.every((text) => /^(string|number)/.test(text))
    return isDuration ? "duration" : texts.join(" or ")
  }
  if (typeof schema["$ref"] === "string") return schema["$ref"].split("/").at(-1) ?? "object"
  if (type === "array") return `[${typeText(items)}]`
  if (type === "object") {
    if (isJson(properties)) return `{${Object.keys(properties).join(", ")}}`
    return isJson(additionalProperties) ? `{string: ${typeText(additionalProperties)}}` : "object"
  }
  const isSafe = (bound: unknown) => typeof bound === "number" && Math.abs(bound) !== Number.MAX_SAFE_INTEGER
  const range = !isSafe(minimum) && !isSafe(maximum)
    ? ""
    : ` ${isSafe(minimum) ? String(minimum) : ""}..${isSafe(maximum) ? String(maximum) : ""}`
  if (typeof schema["pattern"] === "string") {
    return schema["pattern"] === "^[A-Za-z0-9_-]{1,63}$"
      ? "name"
      : schema["pattern"].startsWith("^\\d{4}-")
      ? "time"
      : "string"
  }
  return typeof type === "string" ? `${type}${range}` : "any"
}
