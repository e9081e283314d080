/** `heddle errors`: the table of shared/protocol/ErrorCode.ts. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type ErrorCode, errorCodes } from "../../shared/protocol/ErrorCode.ts"
import { CliFailure } from "../ExitCode.ts"
import { Output } from "../Output.ts"

const items = Object.entries(errorCodes).map(([code, { fix, meaning }]) => ({ code: code as ErrorCode, meaning, fix })) // Object.entries widens keys

export const run = Effect.fnUntraced(function*(input: { readonly code: Option.Option<string> }) {
  const output = yield* Output
  if (Option.isNone(input.code)) {
    return yield* output.page(
      { items },
      [
        { title: "CODE", value: (item) => item.code },
        { title: "MEANING", value: (item) => item.meaning },
        { title: "WHAT TO DO", value: (item) => item.fix }
      ],
      ""
    )
  }
  const asked = input.code.value.toLowerCase()
  const found = items.find((item) => item.code.toLowerCase() === asked)
  if (found === undefined) {
    const close = items.filter((item) => item.code.toLowerCase().includes(asked)).map((item) => item.code)
    return yield* new CliFailure({
      exit: 3,
      message: `No error code is called ${JSON.stringify(input.code.value)}.`,
      fix: close.length > 0 ? `did you mean ${close.join(" or ")}?` : "`heddle errors` lists them."
    })
  }
  yield* output.value(found, () => `${output.style.bold(found.code)}: ${found.meaning}\nWhat to do: ${found.fix}`)
})
