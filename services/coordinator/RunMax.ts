/**
 * The longest that a run may take, whatever its definition says: a setting of the coordinator. Conformance A49.
 *
 * Kept true here: only new starts read it (`Instances`), and what it was stands in the START that the journal keeps; so a run's maximum does not change with the
 * setting, and replay does not ask for it.
 */
import type * as Effect from "effect/Effect"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import * as DurationSetting from "./DurationSetting.ts"

/** `HEDDLE_WORKFLOW_MAX_RUN_TIME` in milliseconds: a duration such as "24h"; no maximum when it is not given, or empty. */
export const fromEnvironment: Effect.Effect<number | undefined, ContractError> = DurationSetting.fromEnvironment(
  "HEDDLE_WORKFLOW_MAX_RUN_TIME",
  "24h"
)
