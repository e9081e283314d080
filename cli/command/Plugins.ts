/** `heddle plugins`: what this heddle can run, claim from, place and tell with: by kind and name, from which plugin and where that is from, and what of it can be set. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ContributionKind } from "../../shared/plugin/Plugin.ts"
import { CliFailure } from "../ExitCode.ts"
import { Output } from "../Output.ts"
import * as Plugins from "../Plugins.ts"

/** In the words of definitions and of `--kind`. */
const words: Readonly<Record<ContributionKind, string>> = {
  taskTypes: "task-type",
  poolProviders: "pool-provider",
  placementPolicies: "placement-policy",
  scalePolicies: "scale-policy",
  alertSinks: "alert-sink",
  poolSources: "pool-source"
}

const keys = (
  all: ReadonlyArray<{ readonly key: string; readonly isRequired: boolean; readonly environment?: string }>
): string =>
  all.map(({ environment, isRequired, key }) =>
    `${key}${isRequired ? "*" : ""}${environment === undefined ? "" : ` (${environment})`}`
  ).join(", ")

export const run = (input: { readonly kind: Option.Option<string> }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const all = (yield* Plugins.offered).map((offer) => ({ ...offer, kind: words[offer.kind] }))
    const wanted = Option.getOrUndefined(input.kind)
    const items = wanted === undefined ? all : all.filter((offer) => offer.kind === wanted)
    if (items.length === 0) {
      return yield* new CliFailure({
        exit: 3,
        message: `Nothing of the kind ${wanted ?? ""} is installed.`,
        fix: `kinds are ${Object.values(words).join(", ")}.`
      })
    }
    for (const problem of new Set(items.flatMap((offer) => offer.problem ?? []))) {
      yield* output.note(`heddle: warning: ${problem}`)
    }
    return yield* output.page({ items }, [
      { title: "KIND", value: (offer) => offer.kind },
      { title: "NAME", value: (offer) => offer.name },
      { title: "PLUGIN", value: (offer) => offer.plugin },
      { title: "VERSION", value: (offer) => offer.version },
      { title: "FROM", value: (offer) => offer.named ?? "heddle" },
      { title: "API", value: (offer) => offer.api },
      { title: "CONFIG", value: (offer) => keys(offer.config) },
      { title: "TAKES", value: (offer) => keys(offer.takes) }
    ], "")
  })
