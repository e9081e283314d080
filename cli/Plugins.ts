/**
 * The plugins that come with heddle, and those that the user has named (`HEDDLE_PLUGINS`, `--plugin`). Services know none of them: the program that starts a service gives it its host.
 *
 * Loaded one by one when they are needed, so that a claim with `--exec` does not read every task type; a user's plugin is loaded only where none of heddle's has what is asked for,
 * or all of them are.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as Arguments from "../shared/authoring/Arguments.ts"
import {
  type Contributed,
  type ContributionKind,
  contributionKinds,
  type Plugin,
  PluginError,
  PluginHost
} from "../shared/plugin/Plugin.ts"
import { ContractError } from "../shared/protocol/ErrorCode.ts"
import { CliFailure } from "./ExitCode.ts"
import * as PluginFlag from "./PluginFlag.ts"
import * as Version from "./Version.ts"

const firstParty = {
  "alert-log": () => import("../plugins/alert-log/plugin.ts"),
  "alert-nats": () => import("../plugins/alert-nats/plugin.ts"),
  "alert-webhook": () => import("../plugins/alert-webhook/plugin.ts"),
  exec: () => import("../plugins/exec/plugin.ts"),
  "fair-share": () => import("../plugins/fair-share/plugin.ts"),
  fifo: () => import("../plugins/fifo/plugin.ts"),
  http: () => import("../plugins/http/plugin.ts"),
  inline: () => import("../plugins/inline/plugin.ts"),
  kubernetes: () => import("../plugins/kubernetes/plugin.ts"),
  local: () => import("../plugins/local/plugin.ts"),
  nats: () => import("../plugins/nats/plugin.ts"),
  noop: () => import("../plugins/noop/plugin.ts"),
  priority: () => import("../plugins/priority/plugin.ts"),
  scale: () => import("../plugins/scale/plugin.ts"),
  script: () => import("../plugins/script/plugin.ts"),
  shell: () => import("../plugins/shell/plugin.ts"),
  simulated: () => import("../plugins/simulated/plugin.ts")
} as const satisfies Record<string, () => Promise<{ readonly default: Plugin }>>

const isFirstParty = (name: string): name is keyof typeof firstParty => Object.hasOwn(firstParty, name)

/** What has been installed, and from where. */
export interface Installed {
  readonly plugin: Plugin
  readonly origin: "first-party" | "path" | "package"
  /** As the user has named it. */
  readonly named?: string
}

const ofEnvironment = (error: { readonly message: string }) =>
  new CliFailure({ exit: 2, message: `The environment is not valid: ${error.message}`, fix: "correct it." })

/** What `HEDDLE_PLUGINS` and the flag name, each once. */
const asked = Effect.gen(function*() {
  const text = yield* Effect.mapError(Config.String("HEDDLE_PLUGINS").pipe(Config.withDefault("")), ofEnvironment)
  return [...new Set([...namesOf(text), ...(yield* PluginFlag.Named)])]
})

/** Each of them loaded, or why it cannot be. */
const users = Effect.gen(function*() {
  const names = yield* asked
  if (names.length === 0) return []
  const UserPlugin = yield* Effect.promise(() => import("./UserPlugin.ts"))
  const loaded = yield* Effect.forEach(names, (named) => Effect.result(UserPlugin.load(named, process.cwd())), {
    concurrency: 8
  })
  // a module under two names is one plugin
  const files = loaded.map((result) => Result.isSuccess(result) ? result.success.file : undefined)
  return loaded.filter((_, at) => files[at] === undefined || files.indexOf(files[at]) === at)
})

/** The user's plugins that can be loaded; the first that cannot is the failure. */
const usersOnly = Effect.flatMap(users, Effect.forEach(Effect.fromResult))

const configText = Config.String("HEDDLE_PLUGIN_CONFIG").pipe(
  Config.withDefault(""),
  Config.map((text) => text.trim()),
  Effect.mapError(ofEnvironment)
)

/** Of `HEDDLE_PLUGIN_CONFIG`. */
const written = Effect.gen(function*() {
  const text = yield* configText
  if (text === "") return undefined
  const PluginConfig = yield* Effect.promise(() => import("./PluginConfig.ts"))
  const { configs, unknown } = yield* PluginConfig.read(text, process.cwd())
  return { configs, unknown, merged: PluginConfig.merged }
})

const configFix =
  "correct HEDDLE_PLUGIN_CONFIG, or the plugin's variables (`heddle plugins` shows fields and variables)."
/** A plugin that does not take its config, or holds something else than it says. */
export const notLoaded = ({ message }: PluginError) => new CliFailure({ exit: 2, message, fix: configFix })

/** The config of every plugin by name: the environment's variables over what is written. `names`: of all that are installed, where that is known. */
const configs = Effect.fnUntraced(function*(names: ReadonlyArray<string> | undefined) {
  const file = yield* written
  const own: Readonly<Record<string, Readonly<Record<string, unknown>>>> = yield* Effect.mapError(variables, notLoaded)
  const stranger = names === undefined ? undefined : file?.unknown(names)
  if (stranger !== undefined) return yield* stranger
  return file === undefined ? own : file.merged(file.configs, own)
})

/** What an installed plugin holds with its config. */
const contributed = Effect.fnUntraced(function*(plugin: Plugin) {
  const settings = yield* configs(undefined)
  return yield* Effect.mapError(Effect.fromResult(plugin.load(settings[plugin.manifest.name])), notLoaded)
})

/** What a first-party plugin of this name holds of this kind and name, else what a plugin of the user's does; nothing when there is none. */
const find = Effect.fnUntraced(function*<Kind extends ContributionKind>(kind: Kind, name: string) {
  const own = isFirstParty(name) ? (yield* Effect.promise(firstParty[name])).default : undefined
  const offers = ({ manifest }: Plugin) => manifest.contributes[kind]?.includes(name) === true
  const plugin = own !== undefined && offers(own)
    ? own
    : (yield* usersOnly).find(({ plugin }) => offers(plugin))?.plugin
  return plugin === undefined ? undefined : (yield* contributed(plugin))[kind].get(name) as
    | ReturnType<Contributed[Kind]["get"]> // the map of this kind
    | undefined
})

/** A pool provider by its name (first-party providers have their plugin's), with the config of this environment. */
export const poolProvider = Effect.fnUntraced(function*(name: string) {
  return (yield* find("poolProviders", name)) ?? (yield* new CliFailure({
    exit: 1,
    message: `This heddle knows no pool provider ${JSON.stringify(name)}.`,
    fix:
      "name the provider's plugin with --plugin or HEDDLE_PLUGINS, or claim without --exec and reach the sandbox by its address."
  }))
})

/** A task type that comes with heddle (it has its plugin's name) or with a plugin of the user's, or nothing: the executors may have it. With the config of this environment. */
export const taskType = (type: string) =>
  Arguments.engineTypes.includes(type) ? Effect.undefined : find("taskTypes", type)

/** Task types that come with heddle, for who misspelt one. */
export const taskTypes: ReadonlyArray<string> = ["exec", "http", "nats", "noop", "script", "shell"]

/**
 * The settings of plugins that services take from the environment. `HEDDLE_KUBERNETES_OBJECTS`: namespaces, with commas between them, whose SandboxPool and SandboxEnv
 * objects are pools and envs of this mesh (`*`: all; none when not set). `HEDDLE_HTTP_HOSTS`: hosts that `http` tasks may ask (all when not set), `HEDDLE_NATS_TASK_SUBJECTS`:
 * subjects of the mesh and the server that `nats` tasks may use all the same; both with commas, and the same for executors and coordinators.
 */
const environment = {
  "alert-webhook": { url: "HEDDLE_ALERT_WEBHOOK_URL" },
  "alert-nats": { subject: "HEDDLE_ALERT_NATS_SUBJECT" },
  http: { hosts: "HEDDLE_HTTP_HOSTS" },
  kubernetes: { objects: "HEDDLE_KUBERNETES_OBJECTS" },
  nats: { subjects: "HEDDLE_NATS_TASK_SUBJECTS" }
} as const
const variablesOf: Readonly<Record<string, Readonly<Record<string, string>>>> = environment

/** Config of plugins from those variables. */
const variables = Effect.gen(function*() {
  const url = yield* Config.option(Config.String(environment["alert-webhook"].url))
  const subject = yield* Config.option(Config.String(environment["alert-nats"].subject))
  const hosts = yield* Config.option(Config.String(environment.http.hosts))
  const objects = yield* Config.option(Config.String(environment.kubernetes.objects))
  const subjects = yield* Config.option(Config.String(environment.nats.subjects))
  return {
    ...(Option.isSome(url) ? { "alert-webhook": { url: url.value } } : {}),
    ...(Option.isSome(subject) ? { "alert-nats": { subject: subject.value } } : {}),
    ...(Option.isSome(hosts) ? { http: { hosts: namesOf(hosts.value) } } : {}),
    ...(Option.isSome(objects)
      ? { kubernetes: { objects: objects.value.trim() === "*" ? [] : namesOf(objects.value) } }
      : {}),
    ...(Option.isSome(subjects) ? { nats: { subjects: namesOf(subjects.value) } } : {})
  }
}).pipe(
  Effect.mapError((error) =>
    new PluginError({ plugin: "environment", message: `the environment is not valid: ${error.message}` })
  )
)

const namesOf = (text: string): ReadonlyArray<string> =>
  text.split(",").map((name) => name.trim()).filter((name) => name !== "")

/** One name that a plugin offers. */
export interface Offered extends Pick<Installed, "origin" | "named"> {
  readonly kind: ContributionKind
  readonly name: string
  readonly plugin: string
  readonly version: string
  readonly api: string
  /** Why services could not start with it: its config is wrong, or missing. */
  readonly problem?: string
  /** Of the plugin as a whole. `environment`: the variable that services take it from; a key without one keeps its default, or has what HEDDLE_PLUGIN_CONFIG says. */
  readonly config: ReadonlyArray<
    { readonly key: string; readonly isRequired: boolean; readonly environment?: string }
  >
  /** Of a task type: what `with` takes; of a pool provider: what `config` of a pool takes. */
  readonly takes: ReadonlyArray<{ readonly key: string; readonly isRequired: boolean }>
}

const keysOf = (schema: Schema.Top | undefined): ReadonlyArray<readonly [key: string, isRequired: boolean]> =>
  schema !== undefined && "fields" in schema && typeof schema.fields === "object" && schema.fields !== null
    ? Object.entries(schema.fields as Readonly<Record<string, Schema.Top>>).map(([key, field]) =>
      [key, !SchemaAST.isOptional(Schema.toEncoded(field).ast)] as const
    )
    : []

/** All that are installed, and why what the user has named is not: everything that is wrong, for who can say it all at once. */
export const installed = Effect.gen(function*() {
  const modules = yield* Effect.promise(() => Promise.all(Object.values(firstParty).map((load) => load())))
  const plugins: Array<Installed> = modules.map((module) => ({ plugin: module.default, origin: "first-party" }))
  const problems: Array<CliFailure> = []
  const found = yield* users
  if (found.length > 0) {
    const { clash } = yield* Effect.promise(() => import("./UserPlugin.ts"))
    const engine = {
      from: "the coordinator",
      manifest: { name: "", contributes: { taskTypes: Arguments.engineTypes } }
    }
    for (const result of found) {
      const wrong = Result.isFailure(result) ? result.failure : clash(result.success, [
        engine,
        ...plugins.map(({ named, plugin: { manifest } }) => ({
          manifest,
          from: named === undefined ? `the plugin ${manifest.name} of heddle` : `the plugin ${named}`
        }))
      ])
      if (wrong !== undefined) problems.push(wrong)
      else if (Result.isSuccess(result)) plugins.push(result.success)
    }
  }
  return { plugins, problems }
})

/** All that are installed, with their configs; the first thing that is wrong is the failure. */
const ready = Effect.gen(function*() {
  const { plugins, problems: [problem] } = yield* installed
  if (problem !== undefined) return yield* problem
  return { plugins, settings: yield* configs(plugins.map(({ plugin }) => plugin.manifest.name)) }
})

/** What all of them offer, by kind and name. */
export const offered = Effect.gen(function*() {
  const found: Array<Offered> = Arguments.engineTypes.map((name) => ({
    kind: "taskTypes",
    name,
    plugin: "coordinator",
    version: Version.version,
    api: "",
    origin: "first-party",
    config: [],
    takes: []
  }))
  const { plugins, settings } = yield* ready
  for (const { named, origin, plugin } of plugins) {
    const { api, contributes, name, version } = plugin.manifest
    const config = keysOf(plugin.config).map(([key, isRequired]) => {
      const variable = variablesOf[name]?.[key]
      return { key, isRequired, ...(variable === undefined ? {} : { environment: variable }) }
    })
    const loading = plugin.load(settings[name])
    const loaded = Result.getOrUndefined(loading)
    const takesOf = (kind: ContributionKind, offer: string) =>
      keysOf(
        kind === "taskTypes"
          ? loaded?.taskTypes.get(offer)?.with
          : kind === "poolProviders"
          ? loaded?.poolProviders.get(offer)?.config
          : undefined
      ).map(([key, isRequired]) => ({ key, isRequired }))
    const from = {
      origin,
      ...(named === undefined ? {} : { named }),
      ...(Result.isFailure(loading) ? { problem: loading.failure.message } : {})
    }
    for (const kind of contributionKinds) {
      for (const offer of contributes[kind] ?? []) {
        found.push({ kind, name: offer, plugin: name, version, api, ...from, config, takes: takesOf(kind, offer) })
      }
    }
  }
  return found.toSorted((a, b) =>
    contributionKinds.indexOf(a.kind) - contributionKinds.indexOf(b.kind) || a.name.localeCompare(b.name)
  )
})

/** The user's plugins that are right, and everything that is wrong with the others and with the config of any, for `heddle doctor`; nothing when the user has said nothing. */
export const diagnosis = Effect.gen(function*() {
  if ((yield* asked).length === 0 && (yield* configText) === "") return undefined
  const { plugins, problems } = yield* installed
  // with a plugin missing, nobody can say that a name is none's
  const names = problems.length > 0 ? undefined : plugins.map(({ plugin }) => plugin.manifest.name)
  const settings = yield* Effect.result(configs(names))
  const wrong = Result.isFailure(settings)
    ? [settings.failure]
    : plugins.flatMap(({ plugin }) => {
      const loaded = plugin.load(settings.success[plugin.manifest.name])
      return Result.isFailure(loaded) ? [notLoaded(loaded.failure)] : []
    })
  return { users: plugins.filter(({ named }) => named !== undefined), problems: [...problems, ...wrong] }
})

/** All of them, for the services. */
export const layer = Layer.unwrap(
  Effect.map(ready, ({ plugins, settings }) => PluginHost.layer(plugins.map(({ plugin }) => plugin), settings))
)

/** By task type what it takes under `with`; types take schemas that need nothing to decode. */
export const argumentSchemas = Effect.map(
  PluginHost,
  ({ taskTypes }) =>
    new Map([...taskTypes].map(([type, { with: schema }]) => [type, schema as Schema.Codec<unknown, unknown>]))
)

/**
 * Who is told of what no definition has targets for: `HEDDLE_ALERTS`, names of sinks with commas between them; `log` when not given, nobody when empty. A name that
 * no plugin offers is an error at once.
 */
export const alerts = Effect.gen(function*() {
  const host = yield* PluginHost
  const text = yield* Config.String("HEDDLE_ALERTS").pipe(Config.withDefault("log"))
  const names = text.split(",").map((name) => name.trim()).filter((name) => name !== "")
  const unknown = names.find((name) => !host.alertSinks.has(name))
  if (unknown !== undefined) {
    return yield* new ContractError({
      code: "InvalidName",
      message: `HEDDLE_ALERTS names the alert sink "${unknown}", the plugins offer ${
        [...host.alertSinks.keys()].join(", ")
      }`
    })
  }
  return { sinks: host.alertSinks, targets: names.map((sink) => ({ sink })) }
}).pipe(
  Effect.catchTag(
    "ConfigError",
    (error) => Effect.fail(new ContractError({ code: "InvalidMessage", message: `HEDDLE_ALERTS: ${error.message}` }))
  )
)
