import * as Effect from "effect/Effect"
import { describe, it } from "vitest"
import * as PoolProviderSuite from "../../shared/plugin/suite/PoolProviderSuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { provider } from "./plugin.ts"

Suite.run(
  { describe, it },
  "simulated keeps what a pool provider promises, as long as it is asked for no faults",
  PoolProviderSuite.promises({
    provider,
    config: Effect.succeed({ seed: 7 }),
    wrongConfigs: [{ conflictRate: 2 }, { latencyMs: 3 }, { zones: -1 }],
    fences: true
  })
)
