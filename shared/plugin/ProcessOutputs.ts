/**
 * The outputs of a process task: what it wrote into the file `HEDDLE_OUTPUTS`, one `name=value` per line (design/02 "Workflows").
 *
 * A value that is a JSON number, boolean, array or object is decoded (`rows=3`, `folders=["a","b"]`), so that expressions can calculate with it and `forEach`
 * can walk over it; `null`, and everything else, is the text as it stands. A JSON string (`"007"` with its quotes) is decoded too: the way to keep a text
 * that looks like a number. Later lines win. Empty lines are skipped.
 */
import * as Result from "effect/Result"
import type { Outputs } from "../protocol/Report.ts"

/** Of the whole file; larger values belong into the object store, by reference. */
export const outputsBytesMax = 256 * 1024

const name = /^[A-Za-z0-9_-]{1,63}$/

const valueOf = (text: string): unknown => {
  // Only what begins like a JSON value other than null is worth a try.
  if (!/^[-\d"[{tf]/.test(text)) return text
  try {
    const value: unknown = JSON.parse(text)
    // A number that does not survive (an id of 20 digits) stays a text.
    return typeof value === "number" && String(value) !== text && !/[.eE]/.test(text) ? text : value
  } catch {
    return text
  }
}

/** The outputs, or the first line that is none, with the reason. */
export const parse = (text: string): Result.Result<Outputs, string> => {
  const outputs: Record<string, unknown> = Object.create(null)
  const lines = text.split("\n")
  for (const [index, raw] of lines.entries()) {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw
    if (line.trim() === "") continue
    const at = line.indexOf("=")
    const key = line.slice(0, Math.max(at, 0))
    if (!name.test(key)) {
      return Result.fail(
        `line ${index + 1} of HEDDLE_OUTPUTS is no output: "${
          line.slice(0, 80)
        }". Write name=value, the name of letters, digits, _ and -.`
      )
    }
    outputs[key] = valueOf(line.slice(at + 1))
  }
  return Result.succeed({ ...outputs })
}
