/** A claimed sandbox as its holder uses it, through the public plugin SDK and nothing else. */
import * as Effect from "effect/Effect"
import type { Sandbox } from "../shared/protocol/Sandbox.ts"
import * as Plugins from "./Plugins.ts"

/** Reaches the sandbox through its provider's plugin; the connection lives as long as the scope. */
export const connect = Effect.fnUntraced(function*(sandbox: Sandbox) {
  const provider = yield* Plugins.poolProvider(sandbox.provider)
  return yield* provider.connect(sandbox)
})
