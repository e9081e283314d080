/**
 * The plugins that come with heddle. Services know none of them: the program that starts a service gives it its host.
 *
 * Loaded one by one when they are needed, so that a claim with `--exec` does not read every task type.
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
  type ContributionKind,
  contributionKinds,
  type Plugin,
  PluginError,
  PluginHost
} from "../shared/plugin/Plugin.ts"
import { ContractError } from "../shared/protocol/ErrorCode.ts"
import { CliFailure } from "./ExitCode.ts"
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

/** A task type that comes with heddle (it has its plugin's name), or nothing: another plugin may have it. With the settings of this environment. */
export const taskType = Effect.fnUntraced(
  function*(type: string) {
    if (!isFirstParty(type)) return undefined
    const settings: Readonly<Record<string, unknown>> = yield* configs
    const { default: plugin } = yield* Effect.promise(firstParty[type])
    return (yield* Effect.fromResult(plugin.load(settings[type]))).taskTypes.get(type)
  },
  Effect.mapError(({ message }) =>
    new CliFailure({ exit: 2, message, fix: "correct the environment (`heddle plugins` lists its variables)." })
  )
)

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

/** Config of plugins from the environment. */
const configs = Effect.gen(function*() {
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
export interface Offered {
  readonly kind: ContributionKind
  readonly name: string
  readonly plugin: string
  readonly version: string
  readonly api: string
  /** Of the plugin as a whole. `environment`: the variable that services take it from; a key without one keeps its default. */
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

/** What all of them offer, by kind and name. */
export const offered = Effect.gen(function*() {
  const found: Array<Offered> = Arguments.engineTypes.map((name) => ({
    kind: "taskTypes",
    name,
    plugin: "coordinator",
    version: Version.version,
    api: "",
    config: [],
    takes: []
  }))
  for (const load of Object.values(firstParty)) {
    const { default: plugin } = yield* Effect.promise(load)
    const { api, contributes, name, version } = plugin.manifest
    const config = keysOf(plugin.config).map(([key, isRequired]) => {
      const variable = variablesOf[name]?.[key]
      return { key, isRequired, ...(variable === undefined ? {} : { environment: variable }) }
    })
    const loaded = Result.getOrUndefined(plugin.load())
    const takesOf = (kind: ContributionKind, offer: string) =>
      keysOf(
        kind === "taskTypes"
          ? loaded?.taskTypes.get(offer)?.with
          : kind === "poolProviders"
          ? loaded?.poolProviders.get(offer)?.config
          : undefined
      ).map(([key, isRequired]) => ({ key, isRequired }))
    for (const kind of contributionKinds) {
      for (const offer of contributes[kind] ?? []) {
        found.push({ kind, name: offer, plugin: name, version, api, config, takes: takesOf(kind, offer) })
      }
    }
  }
  return found.toSorted((a, b) =>
    contributionKinds.indexOf(a.kind) - contributionKinds.indexOf(b.kind) || a.name.localeCompare(b.name)
  )
})

/** All of them, for the services. */
export const layer = Layer.unwrap(
  Effect.gen(function*() {
    const modules = yield* Effect.promise(() => Promise.all(Object.values(firstParty).map((load) => load())))
    return PluginHost.layer(modules.map((module) => module.default), yield* configs)
  })
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
