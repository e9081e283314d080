import * as Effect from "effect/Effect"
import { describe, it } from "vitest"
import * as AlertSinkSuite from "../../shared/plugin/suite/AlertSinkSuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { nats } from "./plugin.ts"

const sink = nats({ subject: "ops.alerts" })
Suite.run(
  { describe, it },
  "nats keeps what an alert sink promises",
  AlertSinkSuite.promises({ up: Effect.succeed({ sink }), silent: Effect.succeed(sink) })
)
