/**
 * The longest that a run may take, whatever its definition says: a setting of the coordinator. Conformance A49.
 *
 * Kept true here: only new starts read it (`Instances`), and what it was stands in the START that the journal keeps; so a run's maximum does not change with the
 * setting, and replay does not ask for it.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { parseDurationMs } from "../../shared/protocol/Time.ts"

const name = "HEDDLE_WORKFLOW_MAX_RUN_TIME"

/** `HEDDLE_WORKFLOW_MAX_RUN_TIME` in milliseconds: a duration such as "24h"; no maximum when it is not given, or empty. */
export const fromEnvironment: Effect.Effect<number | undefined, ContractError> = Effect.gen(function*() {
  const text = Option.getOrElse(yield* Config.option(Config.String(name)), () => "")
  if (text === "") return undefined
  const ms = parseDurationMs(text)
  if (ms !== undefined && ms > 0) return ms
  return yield* new ContractError({
    code: "InvalidMessage",
    message: `${name} is "${text}": give a duration above zero, such as "24h"`
  })
}).pipe(
  Effect.catchTag(
    "ConfigError",
    (error) => Effect.fail(new ContractError({ code: "InvalidMessage", message: `${name}: ${error.message}` }))
  )
)
