/**
 * The package.json of the published package, made from the checkout's: the same name, version, programs and dependencies, without what only a checkout needs (scripts, development
 * tools). Exports that are sources in the checkout are what was compiled from them, with their types.
 *
 * Pure.
 */

/** What of the checkout's package.json is read. */
export interface Source {
  readonly name: string
  readonly version: string
  readonly description: string
  readonly license: string
  readonly bin: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string>>
  readonly dependencies: Readonly<Record<string, string>>
}

export interface Manifest extends Omit<Source, "exports"> {
  readonly keywords: ReadonlyArray<string>
  readonly type: "module"
  /** The compiled program takes what Node 24 has; it starts no other Node, as a checkout does. */
  readonly engines: { readonly node: string }
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>
}

const compiled = (path: string): Manifest["exports"][string] =>
  path.endsWith(".ts")
    ? { types: path.replace(/\.ts$/, ".d.ts"), default: path.replace(/\.ts$/, ".js") }
    : path

export const of = ({ bin, dependencies, description, exports, license, name, version }: Source): Manifest => ({
  name,
  version,
  description,
  keywords: ["workflow", "durable-execution", "sandbox", "nats", "jetstream", "kubernetes", "scheduler"],
  license,
  type: "module",
  engines: { node: ">=24" },
  bin,
  exports: Object.fromEntries(Object.entries(exports).map(([subpath, path]) => [subpath, compiled(path)])),
  dependencies
})
