/** `--plugin`: a plugin of the user's own for this command, beside those of `HEDDLE_PLUGINS`. The one place that says what the flag is, and how it reaches whoever loads plugins. */
import * as Flag from "effect/cli/Flag"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export const flag = Flag.String("plugin").pipe(
  Flag.withMetavar("<module>"),
  Flag.withDescription(
    "A plugin of your own, beside those of HEDDLE_PLUGINS: path of its module, or name of a package; can be passed multiple times"
  ),
  Flag.atLeast(0)
)

/** What the command line of this command names. */
export const Named = Context.Reference<ReadonlyArray<string>>("heddle/cli/PluginFlag", { defaultValue: () => [] })

/** A command's handler, with what its flag names. */
export const given =
  <Input, A, E, R>(run: (input: Input) => Effect.Effect<A, E, R>) =>
  (input: Input & { readonly plugin: ReadonlyArray<string> }) => Effect.provideService(run(input), Named, input.plugin)
