/** `--pool name=size[,provider]` of `heddle dev`. */
import * as Effect from "effect/Effect"
import type { PoolSpec } from "../../shared/protocol/Pool.ts"
import { namespaceDefault } from "../../shared/protocol/Pool.ts"
import { PoolName } from "../../shared/protocol/Token.ts"
import { type CliFailure } from "../ExitCode.ts"
import { usage } from "../Globals.ts"

/** What there is when no pool is asked for: four warm processes. */
export const poolDefault = "default=4,local"
/** Places in memory for tasks that need no sandbox of their own; there unless a pool of this name is asked for. */
export const inlineDefault = "inline=256,inline"

const form = /^([A-Za-z0-9_-]{1,63})=(\d{1,6})(?:,([A-Za-z0-9_-]{1,63}))?$/

/** One pool of fixed size. */
export const parse = (text: string): Effect.Effect<PoolSpec & { readonly size: number }, CliFailure> => {
  const match = form.exec(text)
  return match === null
    ? Effect.fail(
      usage(
        `--pool ${JSON.stringify(text)} is no pool.`,
        "write name=size or name=size,provider, such as default=4,local."
      )
    )
    : Effect.succeed({
      namespace: namespaceDefault,
      name: PoolName.make(match[1] ?? ""),
      size: Number(match[2]),
      provider: match[3] ?? (match[1] === "inline" ? "inline" : "local")
    })
}

/** Of flags, else of `HEDDLE_POOL` (several with spaces), else the defaults. */
export const parseAll = Effect.fnUntraced(function*(flags: ReadonlyArray<string>, fallback: string | undefined) {
  const texts = flags.length > 0
    ? flags
    : fallback === undefined
    ? [poolDefault]
    : fallback.split(/\s+/).filter((text) => text !== "")
  const asked = yield* Effect.forEach(texts, parse)
  const names = asked.map((pool) => pool.name)
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) return yield* usage(`--pool names ${twice} twice.`)
  return names.includes(PoolName.make("inline")) ? asked : [...asked, yield* parse(inlineDefault)]
})
