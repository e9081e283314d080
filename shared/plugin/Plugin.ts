/**
 * A plugin and the host that loads it. A plugin contributes task types, pool providers, placement and scale policies, alert sinks and pool sources, each under its name.
 *
 * Keeps true: what a plugin is and offers (`manifest`) can be read without running any of its code; a plugin made for another version of this SDK is
 * refused with both versions in the message; its config is decoded before anything of it runs; two plugins never offer the same name. Clock, random, logger
 * and interruption come from the host through Effect's services, so that tests and simulation control them: a plugin takes them from nowhere else.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { Token } from "../protocol/Token.ts"
import type { AlertSink } from "./AlertSink.ts"
import type { PlacementPolicy } from "./PlacementPolicy.ts"
import type { PoolProvider } from "./PoolProvider.ts"
import type { PoolSource } from "./PoolSource.ts"
import type { ScalePolicy } from "./ScalePolicy.ts"
import type { TaskType } from "./TaskType.ts"

/** Version of this SDK: a major change breaks plugins, a minor one adds. */
export const apiVersion = "1.0.0"

export const contributionKinds = [
  "taskTypes",
  "poolProviders",
  "placementPolicies",
  "scalePolicies",
  "alertSinks",
  "poolSources"
] as const
export type ContributionKind = typeof contributionKinds[number]

/** What a plugin says of itself. `api`: the SDK versions it works with, `^1` or `^1.2`. `contributes`: names by kind. */
export const Manifest = Schema.Struct({
  name: Token,
  version: Schema.String.check(Schema.isPattern(/^\d+\.\d+\.\d+/, { message: "a version such as 1.0.0" })),
  api: Schema.String,
  contributes: Schema.Record(Schema.String, Schema.Array(Token))
})
export type Manifest = typeof Manifest.Type

type Contributions<Config, A> = Readonly<Record<string, (config: Config) => A>>

/** Why a plugin was not loaded; the message says what to do. */
export class PluginError extends Schema.TaggedError<PluginError>()("PluginError", {
  plugin: Schema.String,
  message: Schema.String
}) {}

/** What a plugin's functions gave for one config. */
export interface Contributed {
  readonly taskTypes: ReadonlyMap<string, TaskType>
  readonly poolProviders: ReadonlyMap<string, PoolProvider>
  readonly placementPolicies: ReadonlyMap<string, PlacementPolicy>
  readonly scalePolicies: ReadonlyMap<string, ScalePolicy>
  readonly alertSinks: ReadonlyMap<string, AlertSink>
  readonly poolSources: ReadonlyMap<string, PoolSource>
}

export interface Plugin {
  readonly manifest: Manifest
  /** Of the plugin's config, for `heddle plugins` and its JSON Schema. */
  readonly config: Schema.Top
  /** Decodes `config` (`{}` when not given; a key that the schema does not know is an error), then runs the plugin's functions. */
  readonly load: (config?: unknown) => Result.Result<Contributed, PluginError>
}

const noConfig = Schema.Struct({})

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()
/** One line, each problem with its field: `http.hosts: Expected array, got "a"`. */
export const problemsOf = (name: string, error: Schema.SchemaError): ReadonlyArray<string> =>
  formatIssue(error.issue).issues.map(({ message, path = [] }) => {
    const keys = path.map((part) => String(typeof part === "object" ? part.key : part))
    return `${[name, ...keys].join(".")}: ${message.replace(/\s*\n\s*/g, " ")}`
  })

/** Declares a plugin; nothing of `contributes` runs until a host loads it. */
export const definePlugin = <Config = typeof noConfig.Type>(options: {
  readonly name: string
  readonly version: string
  readonly api: string
  readonly config?: Schema.Codec<Config, unknown>
  readonly contributes: {
    readonly taskTypes?: Contributions<Config, TaskType>
    readonly poolProviders?: Contributions<Config, PoolProvider>
    readonly placementPolicies?: Contributions<Config, PlacementPolicy>
    readonly scalePolicies?: Contributions<Config, ScalePolicy>
    readonly alertSinks?: Contributions<Config, AlertSink>
    readonly poolSources?: Contributions<Config, PoolSource>
  }
}): Plugin => {
  // Without a schema, Config is the empty struct: the default of the type parameter.
  const config = (options.config ?? noConfig) as Schema.Codec<Config, unknown>
  const decode = Schema.decodeUnknownResult(config, { errors: "all", onExcessProperty: "error" })
  const contributes: Record<string, ReadonlyArray<string>> = {}
  // also what no compiler has kept out of it (`taskType:`): the host says that there is no such kind
  for (const [kind, offered] of Object.entries(options.contributes)) {
    const names = Object.keys(offered ?? {})
    if (names.length > 0) contributes[kind] = names
  }
  const { api, name, version } = options
  const build = <A>(contributions: Contributions<Config, A> | undefined, config: Config): ReadonlyMap<string, A> =>
    new Map(Object.entries(contributions ?? {}).map(([key, make]) => [key, make(config)]))
  return {
    manifest: { name, version, api, contributes },
    config,
    load: (input) => {
      if (!acceptsApi(api, apiVersion)) {
        return Result.fail(
          new PluginError({
            plugin: name,
            message:
              `the plugin ${name} ${version} wants plugin API ${api}, this is ${apiVersion}: use a version of it that is made for ${apiVersion}`
          })
        )
      }
      const decoded = decode(input ?? {})
      if (Result.isFailure(decoded)) {
        return Result.fail(
          new PluginError({
            plugin: name,
            message: `the config of plugin ${name} is wrong: ${problemsOf(name, decoded.failure).join("; ")}`
          })
        )
      }
      try {
        return Result.succeed({
          taskTypes: build(options.contributes.taskTypes, decoded.success),
          poolProviders: build(options.contributes.poolProviders, decoded.success),
          placementPolicies: build(options.contributes.placementPolicies, decoded.success),
          scalePolicies: build(options.contributes.scalePolicies, decoded.success),
          alertSinks: build(options.contributes.alertSinks, decoded.success),
          poolSources: build(options.contributes.poolSources, decoded.success)
        })
      } catch (error) {
        return Result.fail(
          new PluginError({ plugin: name, message: `the plugin ${name} failed to load: ${String(error)}` })
        )
      }
    }
  }
}

/** `^1`, `^1.2`, `^1.2.3`: same major, and not newer than `version`. Anything else is accepted by nobody. */
export const acceptsApi = (range: string, version: string): boolean => {
  const wanted = /^\^(\d+)(?:\.(\d+))?(?:\.(\d+))?$/.exec(range)
  if (wanted === null) return false
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number)
  const [wantedMajor, wantedMinor, wantedPatch] = [wanted[1], wanted[2], wanted[3]].map((_) => Number(_ ?? 0))
  return wantedMajor === major && (wantedMinor! < minor || wantedMinor === minor && wantedPatch! <= patch)
}

/** The plugins of one process: what each kind offers by name. */
export class PluginHost
  extends Context.Service<PluginHost, Contributed & { readonly manifests: ReadonlyArray<Manifest> }>()(
    "heddle/plugin/PluginHost"
  )
{
  /** Loads `plugins`, each with the config that stands under its name; the first that cannot be loaded fails the layer. */
  static readonly layer = (
    plugins: ReadonlyArray<Plugin>,
    configs: Readonly<Record<string, unknown>> = {}
  ): Layer.Layer<PluginHost, PluginError> => Layer.effect(PluginHost, make(plugins, configs))
}

const make = Effect.fnUntraced(function*(plugins: ReadonlyArray<Plugin>, configs: Readonly<Record<string, unknown>>) {
  const host = {
    manifests: plugins.map((_) => _.manifest),
    taskTypes: new Map<string, TaskType>(),
    poolProviders: new Map<string, PoolProvider>(),
    placementPolicies: new Map<string, PlacementPolicy>(),
    scalePolicies: new Map<string, ScalePolicy>(),
    alertSinks: new Map<string, AlertSink>(),
    poolSources: new Map<string, PoolSource>()
  }
  const from = new Map<string, string>()
  for (const plugin of plugins) {
    const { name } = plugin.manifest
    const contributed = yield* Effect.fromResult(plugin.load(configs[name]))
    for (const kind of contributionKinds) {
      for (const [key, value] of contributed[kind]) {
        const other = from.get(`${kind} ${key}`)
        if (other !== undefined) {
          return yield* new PluginError({
            plugin: name,
            message: `the plugins ${other} and ${name} both offer ${kind} "${key}": load only one of them`
          })
        }
        from.set(`${kind} ${key}`, name) // `kind` picks the map and the value of the same kind.
        ;(host[kind] as Map<string, typeof value>).set(key, value)
      }
    }
  }
  return PluginHost.of(host)
})
