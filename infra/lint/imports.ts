// Who may import whom (docs/design/modules.md). Services meet only in messages, so they share nothing but shared/;
// the engine's decisions can be replayed, so they know no runtime; one folder knows the broker's client.
// Type imports count too: a type that crosses a border is a contract that belongs in shared/protocol.
// No file imports itself by way of others, not for a type and not later (`import()`): files that need each other can only be read
// together. A type that two of them share stands below both, where its concept is; nothing is excepted.
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { parseSync } from "oxc-parser"

export interface Import {
  readonly from: string
  /** The specifier, or for a relative one the path from the top of the checkout. */
  readonly to: string
  readonly names: ReadonlyArray<string>
}

export interface Violation {
  readonly from: string
  readonly to: string
  readonly rule: string
}

/** Everything in these modules of Effect is data and functions on data. */
const pureModules = new Set(
  ("Array BigDecimal BigInt Boolean Brand Chunk Combiner Data DateTime Duration Equal Equivalence Filter Formatter Function Hash HashMap HashSet " +
    "MutableHashMap MutableHashSet MutableList Number Option Order Pipeable Predicate Record Redacted Reducer Result Schema SchemaAST SchemaGetter " +
    "SchemaIssue SchemaParser SchemaTransformation String Struct Tuple Types UndefinedOr Utils")
    .split(" ")
)

const isTest = (path: string) => path.endsWith(".test.ts")
const within = (path: string, ...folders: ReadonlyArray<string>) =>
  folders.some((folder) => path.startsWith(`${folder}/`))
const unit = (path: string) => path.split("/").slice(0, 2).join("/")

const isPure = (entry: Import): boolean =>
  entry.to === "effect"
    ? entry.names.length > 0 && entry.names.every((name) => pureModules.has(name))
    : entry.to === "@marcbachmann/cel-js" ||
      (entry.to.startsWith("effect/") && pureModules.has(entry.to.slice("effect/".length)))

const internal = /^(services|shared|plugins|cli|infra|test|examples|console|bin)\//

/** Each rule says what is broken, or nothing. */
const rules: ReadonlyArray<(entry: Import) => string | false> = [
  ({ from, to }) =>
    within(from, "services") && internal.test(to) && unit(to) !== unit(from) && !within(to, "shared")
    && (within(to, "services") ? "services never import each other" : "services import only shared/"),
  ({ from, to }) =>
    within(from, "shared") && internal.test(to) && !within(to, "shared") &&
    !(within(from, "shared/testing") && within(to, "infra/bootstrap")) && // the broker fixture finds its server there
    !(isTest(from) && within(from, "shared/authoring") && within(to, "plugins")) && // its types are those of the plugins
    "shared/ imports no service, plugin or command",
  ({ from, to }) =>
    within(from, "plugins") && internal.test(to) && unit(to) !== unit(from)
    && !within(to, "shared/plugin", "shared/protocol") && !(isTest(from) && within(to, "shared/testing"))
    && "plugins import only shared/plugin and shared/protocol",
  (entry) =>
    within(entry.from, "services/coordinator/engine") && !isTest(entry.from)
    && !within(entry.to, "services/coordinator/engine", "shared/protocol") && !isPure(entry)
    && "the engine is pure: its own files, shared/protocol, Effect's data modules and the CEL evaluator",
  ({ from, to }) =>
    to.startsWith("@nats-io/") && !within(from, "shared/jetstream", "test", "examples") &&
    "only shared/jetstream imports @nats-io/*",
  ({ from, to }) =>
    within(from, "cli") && within(to, "services")
    && !(/^cli\/(dev|serve)[./]/.test(from) && /^services\/[^/]+\/main\.ts$/.test(to))
    && !within(to, "services/coordinator/engine") // pure: replay and validation run on it without a server
    && "only cli/dev and cli/serve import a service, and only its main.ts",
  ({ from, to }) =>
    within(from, "infra") && internal.test(to) && !within(to, "infra", "shared")
    // the reference is made from the command tree and from what the engine (which is pure) does
    && !(within(from, "infra/docs") && within(to, "cli", "services/coordinator/engine"))
    && !(within(from, "infra/docs") && to === "services/gateway/Api.ts") // pure: the table of routes
    && "infra/ imports only shared/",
  ({ from, to }) =>
    within(from, "console") && internal.test(to) && !within(to, "console", "shared/protocol") &&
    "the console imports only shared/protocol",
  ({ from, to }) =>
    within(to, "test", "examples") && !within(from, "test", "examples") && "the product imports no test and no example"
]

const specifier = (from: string, text: string) => text.startsWith(".") ? normalize(join(dirname(from), text)) : text

/** All imports of a module, also `export ... from` and `import("literal")`. */
export const importsOf = (from: string, source: string): ReadonlyArray<Import> => {
  const { module } = parseSync(from, source)
  const found: Array<Import> = []
  for (const { entries, moduleRequest } of module.staticImports) {
    found.push({
      from,
      to: specifier(from, moduleRequest.value),
      names: entries.map((entry) => entry.importName.name ?? "*")
    })
  }
  for (const { entries } of module.staticExports) {
    for (const { importName, moduleRequest } of entries) {
      if (moduleRequest === null) continue
      found.push({
        from,
        to: specifier(from, moduleRequest.value),
        names: [importName.name ?? "*"]
      })
    }
  }
  for (const { moduleRequest } of module.dynamicImports) {
    const literal = /^["'`]([^"'`$]+)["'`]$/.exec(source.slice(moduleRequest.start, moduleRequest.end))?.[1]
    if (literal !== undefined) {
      found.push({ from, to: specifier(from, literal), names: ["*"] })
    }
  }
  return found
}

const cyclesOf = (imports: ReadonlyArray<Import>): ReadonlyArray<Violation> => {
  const edges = new Map<string, Set<string>>()
  for (const { from, to } of imports) {
    if (!internal.test(to)) continue
    edges.set(from, (edges.get(from) ?? new Set()).add(to))
  }
  const violations: Array<Violation> = []
  const done = new Set<string>()
  const path: Array<string> = []
  const visit = (file: string): void => {
    const at = path.indexOf(file)
    if (at >= 0) {
      violations.push({
        from: path.at(-1) ?? file,
        to: file,
        rule: `circular import: ${[...path.slice(at), file].join(" -> ")}`
      })
      return
    }
    if (done.has(file)) return
    path.push(file)
    for (const next of edges.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of edges.keys()) visit(file)
  return violations
}

export const check = (sources: ReadonlyMap<string, string>): ReadonlyArray<Violation> => {
  const imports = [...sources].flatMap(([path, source]) => importsOf(path, source))
  const broken = imports.flatMap((entry) =>
    rules.flatMap((rule) => {
      const found = rule(entry)
      return found === false ? [] : [{ from: entry.from, to: entry.to, rule: found }]
    })
  )
  return [...broken, ...cyclesOf(imports)]
}

const sourcesUnder = (folders: ReadonlyArray<string>): ReadonlyMap<string, string> => {
  const sources = new Map<string, string>()
  const read = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) {
        if (entry.name !== "node_modules" && entry.name !== "dist" && entry.name !== "vendor") read(path)
      } else if (/\.(ts|tsx|mts|mjs|js)$/.test(entry.name)) sources.set(path, readFileSync(path, "utf8"))
    }
  }
  const present = new Set(readdirSync("."))
  for (const folder of folders) if (present.has(folder)) read(folder)
  return sources
}

if (import.meta.main) {
  process.chdir(join(import.meta.dirname, "..", ".."))
  const sources = sourcesUnder(["services", "shared", "plugins", "cli", "infra", "test", "examples", "console", "bin"])
  const violations = check(sources)
  for (const { from, rule, to } of violations) process.stdout.write(`${from}: ${to}: ${rule}\n`)
  process.stdout.write(`${sources.size} files, ${violations.length} forbidden imports\n`)
  process.exitCode = violations.length === 0 ? 0 : 1
}
