/**
 * The plugins that come with heddle. Services know none of them: the program that starts a service gives it its host.
 *
 * Loaded one by one when they are needed, so that a claim with `--exec` does not read every task type.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Plugin, PluginHost } from "../shared/plugin/Plugin.ts"
import { CliFailure } from "./ExitCode.ts"

const firstParty = {
  fifo: () => import("../plugins/fifo/plugin.ts"),
  inline: () => import("../plugins/inline/plugin.ts"),
  local: () => import("../plugins/local/plugin.ts"),
  noop: () => import("../plugins/noop/plugin.ts"),
  shell: () => import("../plugins/shell/plugin.ts"),
  simulated: () => import("../plugins/simulated/plugin.ts")
} as const satisfies Record<string, () => Promise<{ readonly default: Plugin }>>

const isFirstParty = (name: string): name is keyof typeof firstParty => Object.hasOwn(firstParty, name)

/** The plugin of a pool provider (first-party providers have their plugin's name). */
export const providerPlugin = Effect.fnUntraced(function*(provider: string) {
  if (!isFirstParty(provider)) {
    return yield* new CliFailure({
      exit: 1,
      message: `This heddle knows no pool provider ${JSON.stringify(provider)}.`,
      fix:
        "use the command of the machine that has the provider's plugin, or claim without --exec and reach the sandbox by its address."
    })
  }
  return (yield* Effect.promise(firstParty[provider])).default
})

/** All of them, for the services. */
export const layer = Layer.unwrap(
  Effect.map(
    Effect.promise(() => Promise.all(Object.values(firstParty).map((load) => load()))),
    (modules) => PluginHost.layer(modules.map((module) => module.default))
  )
)
