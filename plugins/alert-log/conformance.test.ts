import * as Effect from "effect/Effect"
import { describe, it } from "vitest"
import * as AlertSinkSuite from "../../shared/plugin/suite/AlertSinkSuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { log } from "./plugin.ts"

Suite.run(
  { describe, it },
  "log keeps what an alert sink promises",
  AlertSinkSuite.promises({ up: Effect.succeed({ sink: log }), canFail: false })
)
