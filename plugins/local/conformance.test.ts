import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, it } from "vitest"
import * as PoolProviderSuite from "../../shared/plugin/suite/PoolProviderSuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { local } from "./plugin.ts"

const config = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-test-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
  ),
  (directory) => ({ directory })
)

Suite.run(
  { describe, it },
  "local keeps what a pool provider promises",
  PoolProviderSuite.promises({
    provider: local,
    config,
    wrongConfigs: [{ directory: 1 }, { startConcurrency: 0 }],
    fences: true
  })
)
