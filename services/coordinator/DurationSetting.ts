/** A setting of the coordinator that is a duration: read from the environment, refused by name when it is none. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { parseDurationMs } from "../../shared/protocol/Time.ts"

/** The variable's duration in milliseconds; `undefined` when it is not given, or empty. Fails with InvalidMessage when it is no duration above zero. */
export const fromEnvironment = (name: string, example: string): Effect.Effect<number | undefined, ContractError> => {
  const refuse = (message: string) => Effect.fail(new ContractError({ code: "InvalidMessage", message }))
  return Config.String(name).pipe(
    Config.withDefault(""),
    Effect.matchEffect({
      onFailure: (error) => refuse(`${name}: ${error.message}`),
      onSuccess: (text) => {
        const ms = text === "" ? undefined : parseDurationMs(text)
        return text === "" || (ms !== undefined && ms > 0)
          ? Effect.succeed(ms)
          : refuse(`${name} is "${text}": give a duration above zero, such as "${example}"`)
      }
    })
  )
}
