/** `--param key=value` and its kin, passed any number of times. */
import * as Effect from "effect/Effect"
import { type CliFailure } from "./ExitCode.ts"
import { usage } from "./Globals.ts"

/** The text after the first `=`; a key given twice keeps its last value. */
export const texts = (
  flag: string,
  pairs: ReadonlyArray<string>
): Effect.Effect<Readonly<Record<string, string>>, CliFailure> =>
  Effect.gen(function*() {
    const found: Record<string, string> = {}
    for (const pair of pairs) {
      const at = pair.indexOf("=")
      if (at < 1) {
        return yield* usage(
          `${flag} ${JSON.stringify(pair)} has no ${at < 0 ? "=" : "key"}.`,
          `write ${flag} key=value.`
        )
      }
      found[pair.slice(0, at)] = pair.slice(at + 1)
    }
    return found
  })

/** `3` is a number, `true` a boolean, `["a"]` a list, `"3"` the text 3; what is not JSON is text. */
export const value = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

export const values = (flag: string, pairs: ReadonlyArray<string>) =>
  Effect.map(
    texts(flag, pairs),
    (found) => Object.fromEntries(Object.entries(found).map(([key, text]) => [key, value(text)]))
  )
