/** JSON that somebody else wrote, looked into without trust. Keys that come from outside live in records without a prototype or in Maps. */

export type JsonObject = { readonly [key: string]: unknown }

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The value below `path`; `undefined` as soon as something is not there. */
export const at = (value: unknown, ...path: ReadonlyArray<string>): unknown => {
  let inner = value
  for (const key of path) {
    if (!isObject(inner) || !Object.hasOwn(inner, key)) return undefined
    inner = inner[key]
  }
  return inner
}

export const textAt = (value: unknown, ...path: ReadonlyArray<string>): string | undefined => {
  const found = at(value, ...path)
  return typeof found === "string" ? found : undefined
}

export const listAt = (value: unknown, ...path: ReadonlyArray<string>): ReadonlyArray<unknown> => {
  const found = at(value, ...path)
  return Array.isArray(found) ? found : []
}

/** Texts by key; what is no text is left out. */
export const textsAt = (value: unknown, ...path: ReadonlyArray<string>): Readonly<Record<string, string>> => {
  const found = at(value, ...path)
  const texts: Record<string, string> = Object.create(null) as Record<string, string> // keys from outside
  if (isObject(found)) {
    for (const [key, text] of Object.entries(found)) if (typeof text === "string") texts[key] = text
  }
  return texts
}

/** `undefined`: not JSON. */
export const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // told as "not JSON" by whoever asked
  }
}
