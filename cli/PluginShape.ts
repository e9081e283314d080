/**
 * What a user's plugin must look like, checked from outside: whoever wrote it may have had no compiler, or one with other types. Pure.
 *
 * Keeps true: nothing reaches a service that it could only find broken by calling it; each problem names the place in the plugin and says what belongs there.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import {
  acceptsApi,
  apiVersion,
  type Contributed,
  type ContributionKind,
  contributionKinds,
  Manifest,
  type Plugin,
  PluginError,
  problemsOf
} from "../shared/plugin/Plugin.ts"

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null

const named = (value: unknown): string =>
  value === null
    ? "null"
    : value instanceof Promise
    ? "a promise (write `export default await ...`)"
    : Array.isArray(value)
    ? "a list"
    : typeof value === "object"
    ? "an object without manifest, config and load"
    : typeof value === "function"
    ? "a function"
    : JSON.stringify(value)

const decodeManifest = Schema.decodeUnknownResult(Manifest, { errors: "all" })

/** Problems of a module's default export; none: it is a plugin. */
export const problems = (exported: unknown): ReadonlyArray<string> => {
  if (
    !isRecord(exported) || !("manifest" in exported) || typeof exported["load"] !== "function" ||
    !Schema.isSchema(exported["config"])
  ) return [`its default export is no plugin but ${named(exported)}: write \`export default definePlugin({ ... })\``]
  const decoded = decodeManifest(exported["manifest"])
  if (Result.isFailure(decoded)) return problemsOf("", decoded.failure).map((text) => text.replace(/^\./, ""))
  const { api, contributes } = decoded.success
  const kinds: ReadonlyArray<string> = contributionKinds
  if (!acceptsApi(api, apiVersion)) {
    return [
      `api: it wants plugin API ${JSON.stringify(api)}, this is ${apiVersion}: write "^${
        apiVersion.split(".")[0]
      }", or use a version of it that is made for ${apiVersion}`
    ]
  }
  const unknown = Object.keys(contributes).filter((kind) => !kinds.includes(kind))
  if (unknown.length > 0) {
    return unknown.map((kind) => `contributes.${kind}: there is no such kind; kinds are ${kinds.join(", ")}`)
  }
  return Object.values(contributes).every((names) => names.length === 0)
    ? [`contributes: it offers nothing; kinds are ${kinds.join(", ")}`]
    : []
}

/** What each kind must have: functions, and under which key its own name stands. */
const members: Readonly<
  Record<ContributionKind, { readonly name: string; readonly functions: ReadonlyArray<string>; readonly made: string }>
> = {
  taskTypes: { name: "type", functions: ["run"], made: "TaskType.inline, sandboxed or effectful" },
  poolProviders: { name: "name", functions: ["validate", "open", "connect"], made: "PoolProvider.make" },
  placementPolicies: { name: "name", functions: ["make"], made: "the interface PlacementPolicy" },
  scalePolicies: { name: "name", functions: ["validate", "open"], made: "ScalePolicy.make" },
  alertSinks: { name: "sink", functions: ["deliver"], made: "the interface AlertSink" },
  poolSources: { name: "name", functions: ["run"], made: "the interface PoolSource" }
}
const tags: ReadonlySet<unknown> = new Set(["Inline", "Sandboxed", "Effectful"])

/** Problems of what a plugin's functions gave. */
export const contributedProblems = (contributed: unknown): ReadonlyArray<string> => {
  if (!isRecord(contributed)) return ["load: it gives no contributions"]
  return contributionKinds.flatMap((kind) => {
    const found = contributed[kind]
    if (!(found instanceof Map)) return [`${kind}: no map of names`]
    const { functions, made, name } = members[kind]
    return [...found].flatMap(([key, value]) => {
      const at = `${kind}.${key}`
      if (!isRecord(value)) return [`${at}: ${named(value)}; its function is to give what ${made} describes`]
      const missing = functions.filter((member) => typeof value[member] !== "function")
      return [
        ...missing.map((member) => `${at}.${member}: a function is missing (${made})`),
        ...(value[name] === key
          ? []
          : [`${at}.${name}: ${JSON.stringify(value[name])}, but it is offered as ${JSON.stringify(key)}`]),
        ...(kind === "taskTypes" && !(tags.has(value["_tag"]) && Schema.isSchema(value["with"]))
          ? [`${at}: no task type (${made})`]
          : [])
      ]
    })
  })
}

/** The plugin, which also fails to load when what its functions give is not what their kinds are. */
export const checked = (plugin: Plugin): Plugin => ({
  ...plugin,
  load: (config) =>
    Result.flatMap(plugin.load(config), (contributed): Result.Result<Contributed, PluginError> => {
      const wrong = contributedProblems(contributed)
      const { name } = plugin.manifest
      return wrong.length === 0
        ? Result.succeed(contributed)
        : Result.fail(
          new PluginError({
            plugin: name,
            message: `the plugin ${name} does not hold what it offers: ${wrong.join("; ")}`
          })
        )
    })
})
