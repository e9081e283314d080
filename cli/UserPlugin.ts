/**
 * A plugin of the user's own: found by the path of its module or as a package, loaded, and looked at before anything of it is used.
 *
 * Keeps true: every way in which it can be wrong is one error that names the plugin as the user has named it, says what is wrong and what to do; a module that does not come to its
 * end is given up on; what it offers takes no name that another plugin or the engine has.
 */
import * as Effect from "effect/Effect"
import { existsSync, realpathSync, statSync } from "node:fs"
import { isAbsolute, resolve } from "node:path"
import { contributionKinds, type Manifest, type Plugin } from "../shared/plugin/Plugin.ts"
import { CliFailure } from "./ExitCode.ts"
import * as PluginShape from "./PluginShape.ts"
import * as UserModule from "./UserModule.ts"

/** For a module to load, with everything that it imports. */
export const loadMs = 10_000

export interface UserPlugin {
  /** As the user has named it. */
  readonly named: string
  readonly origin: "path" | "package"
  /** Of its module. */
  readonly file: string
  readonly plugin: Plugin
}

const failure = (named: string, what: string, fix: string) =>
  new CliFailure({ exit: 2, message: `The plugin ${named} ${what}.`, fix })

const correct = "correct it in HEDDLE_PLUGINS or --plugin; a path is relative to the working folder."

const isPath = (named: string, file: string): boolean =>
  isAbsolute(named) || /^\.\.?([\\/]|$)/.test(named) ||
  (existsSync(file) ? statSync(file).isFile() : !named.startsWith("@") && /\.[mc]?[jt]s$/.test(named))

/** The place in the user's own code that a stack names: of a module as a URL, of CommonJS as a path. */
const placeIn = (stack: string): string => {
  const paths = stack.match(/(?:file:\/\/)?\/[^\s()]+:\d+/g)?.map((at) => at.replace("file://", "")) ?? []
  const place = paths.find((at) => !UserModule.isOurs(`file://${at}`) && !at.includes("/node_modules/effect/"))
  return place === undefined ? "" : ` (${place})`
}

const thrown = (named: string, cause: unknown): CliFailure => {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  if (code === "ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING") {
    return failure(
      named,
      "is TypeScript below node_modules, which Node does not run",
      "take a build of it in JavaScript, or name its module by a path outside of node_modules."
    )
  }
  const said = cause instanceof Error
    ? `${cause.name}: ${cause.message.split("\n")[0] ?? ""}${placeIn(cause.stack ?? "")}`
    : String(cause)
  return failure(named, `cannot be loaded: ${said}`, "correct its module; `node` or `deno` alone may say more.")
}

const late = (named: string): CliFailure =>
  failure(
    named,
    `was not loaded after ${loadMs / 1_000} s: its module, or one that it imports, waits for something`,
    "a plugin does nothing while it loads; what it needs it opens when it is used."
  )

interface Found extends Pick<UserPlugin, "origin" | "file"> {
  readonly exports: UserModule.Exports
}

const ofPath = Effect.fnUntraced(function*(named: string, path: string) {
  if (!existsSync(path)) return yield* failure(named, `is not there: there is no file ${path}`, correct)
  if (statSync(path).isDirectory()) {
    return yield* failure(named, "is a folder", "name the module in it, such as its plugin.ts or plugin.js.")
  }
  const file = realpathSync(path)
  const exports = yield* Effect.tryPromise({
    try: () => UserModule.ofPath(file),
    catch: (cause) => thrown(named, cause)
  })
  return { exports, file, origin: "path" as const }
})

const ofPackage = Effect.fnUntraced(function*(named: string, folder: string) {
  const exports = yield* Effect.tryPromise({
    try: () => UserModule.ofPackage(named, folder),
    catch: (cause) =>
      UserModule.fileOf(named, folder) === undefined
        ? failure(
          named,
          `is not there: no package ${named} is installed for ${folder}${
            existsSync(resolve(folder, named)) ? ", and the folder of this name is no module" : ""
          }`,
          "install it there, or name a module by its path (./plugin.ts)."
        )
        : thrown(named, cause)
  })
  return { exports, file: UserModule.fileOf(named, folder) ?? named, origin: "package" as const }
})

/** Loads the plugin that is called so from `folder`. */
export const load = Effect.fnUntraced(function*(named: string, folder: string) {
  const path = resolve(folder, named)
  const found: Effect.Effect<Found, CliFailure> = isPath(named, path) ? ofPath(named, path) : ofPackage(named, folder)
  const { exports, file, origin } = yield* Effect.timeoutOrElse(found, {
    duration: loadMs,
    orElse: () => Effect.fail(late(named))
  })
  if (!("default" in exports)) {
    const others = Object.keys(exports)
    return yield* failure(
      named,
      `has no default export${others.length === 0 ? "" : `, only ${others.join(", ")}`}`,
      "write `export default definePlugin({ ... })`."
    )
  }
  const problems = PluginShape.problems(exports["default"])
  if (problems.length > 0) {
    return yield* failure(named, `is wrong: ${problems.join("; ")}`, "correct the plugin (docs/plugins.md).")
  }
  const plugin = PluginShape.checked(exports["default"] as Plugin) // looked at by `problems`
  return { named, origin, file, plugin } satisfies UserPlugin
})

/** What has a name already: `from` says whose it is. */
export interface Taken {
  readonly from: string
  readonly manifest: Pick<Manifest, "name" | "contributes">
}

/** Why the plugin cannot stand beside these; nothing: it can. */
export const clash = ({ named, plugin }: UserPlugin, taken: ReadonlyArray<Taken>): CliFailure | undefined => {
  const { contributes, name } = plugin.manifest
  const sameName = taken.find(({ manifest }) => manifest.name === name)
  if (sameName !== undefined) {
    return failure(
      named,
      `calls itself ${name}, as ${sameName.from} does`,
      "give it another name, or load only one of them."
    )
  }
  for (const kind of contributionKinds) {
    for (const offer of contributes[kind] ?? []) {
      const other = taken.find(({ manifest }) => manifest.contributes[kind]?.includes(offer))
      if (other !== undefined) {
        return failure(
          named,
          `offers ${kind} ${JSON.stringify(offer)}, which ${other.from} offers`,
          "give it another name, or load only one of them."
        )
      }
    }
  }
  return undefined
}
