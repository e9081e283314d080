import { describe, it } from "vitest"
import * as PoolProviderSuite from "../../shared/plugin/suite/PoolProviderSuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { provider } from "./plugin.ts"

Suite.run(
  { describe, it },
  "inline keeps what a pool provider promises",
  PoolProviderSuite.promises({ provider, fences: true })
)
