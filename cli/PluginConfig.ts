/**
 * `HEDDLE_PLUGIN_CONFIG`: config of plugins by their names, from a file (YAML or JSON), or in JSON in the variable itself.
 *
 * Keeps true: what stands there is used or refused, never without effect: a name that no plugin has, and what is no map, are errors with their place; the fields of each are
 * decoded by its plugin's schema, which takes no field that it does not know.
 */
import * as Effect from "effect/Effect"
import { resolve } from "node:path"
import * as Problems from "../shared/authoring/Problems.ts"
import { CliFailure } from "./ExitCode.ts"
import * as FilePath from "./FilePath.ts"
import * as YamlSource from "./YamlSource.ts"

export const variable = "HEDDLE_PLUGIN_CONFIG"

export type Configs = Readonly<Record<string, Readonly<Record<string, unknown>>>>

export interface PluginConfig {
  readonly configs: Configs
  /** Why it cannot be meant for plugins of these names; nothing: it can. */
  readonly unknown: (names: ReadonlyArray<string>) => CliFailure | undefined
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const wrong = (of: string, problems: ReadonlyArray<YamlSource.LocatedProblem>): CliFailure =>
  new CliFailure({
    exit: 2,
    message: `The config of plugins is wrong (${of === variable ? variable : `${variable}: ${of}`}).`,
    problems: YamlSource.describe(of, problems),
    fix: "write `name: { field: value }` for each plugin; `heddle plugins` lists names and fields."
  })

/** `text`: the value of the variable. A path is relative to `folder`. */
export const read = Effect.fnUntraced(function*(text: string, folder: string) {
  const isInline = text.trimStart().startsWith("{")
  const of = isInline ? variable : resolve(folder, text)
  const source = YamlSource.parse(
    isInline ? text : yield* FilePath.read(of, { of: variable, isStdin: false, exit: 2 })
  )
  if (source.syntax.length > 0) return yield* wrong(of, source.syntax)
  const value = source.value ?? {}
  const located = (path: string, message: string) => ({ ...source.place(path), path, message })
  if (!isRecord(value)) return yield* wrong(of, [located("", "it is a map of plugins")])
  const flat = Object.entries(value).filter(([, config]) => !isRecord(config) && config !== null)
  if (flat.length > 0) {
    return yield* wrong(of, flat.map(([name]) => located(name, "the config of a plugin is a map of its fields")))
  }
  return {
    configs: Object.fromEntries(Object.entries(value).map(([name, config]) => [name, isRecord(config) ? config : {}])),
    unknown: (names) => {
      const strangers = Object.keys(value).filter((name) => !names.includes(name))
      return strangers.length === 0 ? undefined : wrong(
        of,
        strangers.map((name) => {
          const near = Problems.nearest(name, names)
          return located(
            name,
            `no plugin is called ${JSON.stringify(name)}${near === undefined ? "" : `; did you mean ${near}?`}`
          )
        })
      )
    }
  } satisfies PluginConfig as PluginConfig
})

/** One over the other, field by field. */
export const merged = (under: Configs, over: Configs): Configs =>
  Object.fromEntries(
    [...new Set([...Object.keys(under), ...Object.keys(over)])].map((name) => [name, { ...under[name], ...over[name] }])
  )
