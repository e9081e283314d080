/**
 * The part of Kubernetes' JSONPath that printer columns of definitions use: fields, escaped dots, indices, `[*]` and filters that compare one field with a text or number.
 */
import { isObject, type Json } from "./Json.ts"

type Step = (values: ReadonlyArray<Json>) => ReadonlyArray<Json>

const field = (name: string): Step => (values) =>
  values.flatMap((value) => (isObject(value) && value[name] !== undefined ? [value[name]] : []))
const items = (values: ReadonlyArray<Json>): ReadonlyArray<Json> =>
  values.flatMap((value) => (Array.isArray(value) ? value : isObject(value) ? Object.values(value) : []))

const follow = (steps: ReadonlyArray<Step>, value: Json): ReadonlyArray<Json> => {
  let values: ReadonlyArray<Json> = [value]
  for (const step of steps) values = step(values)
  return values
}

const token =
  /\.((?:\\.|[^.[\]\\])+)|\[\s*'([^']*)'\s*\]|\[\s*(-?\d+)\s*\]|\[(\*)\]|\[\?\(\s*@\.([\w.-]+)\s*==\s*(?:"([^"]*)"|'([^']*)'|(-?[\d.]+))\s*\)\]/y

/** What the path finds, in order. `undefined` instead of a function: it cannot be read. */
export const compile = (path: string): ((value: Json) => ReadonlyArray<Json>) | undefined => {
  const steps: Array<Step> = []
  token.lastIndex = 0
  while (token.lastIndex < path.length) {
    const found = token.exec(path)
    if (found === null) return undefined
    const [, plain, quoted, index, star, by, double, single, number] = found
    if (plain !== undefined) steps.push(field(plain.replaceAll(/\\(.)/g, "$1")))
    else if (quoted !== undefined) steps.push(field(quoted))
    else if (index !== undefined) {
      steps.push((values) =>
        values.flatMap((value) => {
          const item: Json = Array.isArray(value) ? value.at(Number(index)) : undefined
          return item === undefined ? [] : [item]
        })
      )
    } else if (star !== undefined) steps.push(items)
    else if (by !== undefined) {
      const wanted = number === undefined ? double ?? single : Number(number)
      const names = by.split(".").map(field)
      steps.push((values) => items(values).filter((value) => follow(names, value)[0] === wanted))
    }
  }
  return (value) => follow(steps, value)
}
