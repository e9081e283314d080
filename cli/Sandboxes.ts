/** A claimed sandbox as its holder uses it, through the public plugin SDK and nothing else. */
import * as Effect from "effect/Effect"
import type { Sandbox } from "../shared/protocol/Sandbox.ts"
import { CliFailure } from "./ExitCode.ts"
import * as Plugins from "./Plugins.ts"

/** Reaches the sandbox through its provider's plugin; the connection lives as long as the scope. */
export const connect = Effect.fnUntraced(function*(sandbox: Sandbox) {
  const plugin = yield* Plugins.providerPlugin(sandbox.provider)
  const contributed = yield* Effect.fromResult(plugin.load()).pipe(
    Effect.mapError((error) => new CliFailure({ exit: 1, message: error.message }))
  )
  const provider = contributed.poolProviders.get(sandbox.provider)
  if (provider === undefined) {
    return yield* new CliFailure({
      exit: 1,
      message: `The plugin ${sandbox.provider} has no pool provider of this name.`
    })
  }
  return yield* provider.connect(sandbox)
})
