import * as Effect from "effect/Effect"
import { describe, it } from "vitest"
import * as AlertSinkSuite from "../../shared/plugin/suite/AlertSinkSuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import * as HttpOther from "../../shared/testing/HttpOther.ts"
import { webhook } from "./plugin.ts"

/** For one POST: a machine that stands still for a while is no answer that does not come. */
const timeout = 600_000
const sinkOf = (answer: Parameters<typeof HttpOther.scoped>[0]) =>
  Effect.map(HttpOther.scoped(answer), ({ got, url }) => ({
    sink: webhook({ url, timeout }),
    arrived: Effect.sync(() => got)
  }))
const sinkAlone = (answer: Parameters<typeof HttpOther.scoped>[0]) => Effect.map(sinkOf(answer), ({ sink }) => sink)

Suite.run(
  { describe, it },
  "webhook keeps what an alert sink promises",
  AlertSinkSuite.promises({
    up: sinkOf(() => ({ status: 204 })),
    down: Effect.succeed(webhook({ url: HttpOther.nowhere, timeout })),
    refused: sinkAlone(() => ({ status: 404 })),
    silent: sinkAlone(() => undefined)
  })
)
