/**
 * A module of the user's (a workflow, a plugin), in JavaScript or TypeScript, wherever it stands: loaded in this process, with the `heddle/...` and the Effect of the heddle that runs.
 *
 * Keeps true: there is one SDK and one Effect in the process, so what a user's module makes is what heddle knows; a module of a package that was built on another major version of
 * Effect keeps its own. Nothing of it is set up before the first module is asked for. On Node and Deno.
 */
import { existsSync, readFileSync } from "node:fs"
import { registerHooks, type ResolveFnOutput, type ResolveHookContext } from "node:module"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

type Next = (specifier: string, context?: Partial<ResolveHookContext>) => ResolveFnOutput

const home = new URL("..", import.meta.url).href
/** A module of heddle or of what it uses: those find what they import by themselves. Of a checkout the examples are not among them. */
export const isOurs = (url: string): boolean =>
  url.startsWith(home) && /^(bin|cli|infra|node_modules|plugins|services|shared)\//.test(url.slice(home.length))

const ours = /^(heddle|effect)(\/|$)/
/** Before a package's name that the user has given: it is looked for from the folder between them, by the rules of `import`. */
const scheme = "heddle-user:"
const fromFolder = new RegExp(`^${scheme}([^:]*):(.*)$`)
/** Where each of them was found. */
const found = new Map<string, string>()

const attempt = (resolve: () => ResolveFnOutput): ResolveFnOutput | undefined => {
  try {
    return resolve()
  } catch {
    return undefined // asked for in another way then, and told by that
  }
}

/** `file:///x/node_modules/effect/dist/Schema.js` -> 4 */
const majorOf = (url: string): string | undefined => {
  const root = /^file:.*\/node_modules\/effect\//.exec(url)?.[0]
  if (root === undefined) return undefined
  const { version }: { readonly version: string } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"))
  return version.split(".")[0]
}

const resolveOurs = (specifier: string, context: ResolveHookContext, next: Next): ResolveFnOutput => {
  const own = () => next(specifier, { ...context, parentURL: import.meta.url })
  if (specifier.startsWith("heddle")) return own()
  const mine = attempt(own)
  if (mine === undefined) return next(specifier, context)
  if (!(context.parentURL ?? "").includes("/node_modules/")) return mine
  const theirs = attempt(() => next(specifier, context))
  const major = theirs === undefined ? undefined : majorOf(theirs.url)
  return theirs === undefined || major === undefined || major === majorOf(mine.url) ? mine : theirs
}

let isHooked = false
const hook = (): void => {
  if (isHooked) return
  isHooked = true
  registerHooks({
    resolve: (specifier, context, next) => {
      const [, folder, name] = fromFolder.exec(specifier) ?? []
      if (folder !== undefined && name !== undefined) {
        const parentURL = pathToFileURL(join(decodeURIComponent(folder), "package.json")).href
        const result = next(name, { ...context, parentURL })
        // Deno names a place for what is nowhere
        if (result.url.startsWith("file:") && !existsSync(fileURLToPath(result.url))) {
          throw new Error(`no ${result.url}`)
        }
        found.set(specifier, result.url)
        return result
      }
      return ours.test(specifier) && !isOurs(context.parentURL ?? home)
        ? resolveOurs(specifier, context, next)
        : next(specifier, context)
    },
    // Deno asks the hook above for the imports of a module only when it is loaded through one.
    ...("Deno" in globalThis ? { load: (url, context, next) => next(url, context) } : {})
  })
}

export type Exports = Readonly<Record<string, unknown>>

/** What the module of this path exports. Rejects with whatever is thrown while it loads. */
export const ofPath = async (path: string): Promise<Exports> => {
  hook()
  return await import(pathToFileURL(path).href)
}

const specifierOf = (name: string, folder: string) => `${scheme}${encodeURIComponent(folder)}:${name}`

/** What a package exports that is installed for modules of `folder`. Rejects with whatever is thrown while it is looked for or loads: `fileOf` tells which. */
export const ofPackage = async (name: string, folder: string): Promise<Exports> => {
  hook()
  return await import(specifierOf(name, folder))
}

/** The file of a package that `ofPackage` has found. */
export const fileOf = (name: string, folder: string): string | undefined => {
  const url = found.get(specifierOf(name, folder))
  return url?.startsWith("file:") === true ? fileURLToPath(url) : url
}
