// package-lock.json must work on every platform and name no registry. npm drops an optional package from it that the registry at
// hand does not answer for (a mirror may carry its own platform only), and then refuses the file in `npm ci`.
// `npm run lock` puts those entries back by their exact version; without arguments this only looks.
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

interface Entry {
  readonly version?: string
  readonly resolved?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly os?: ReadonlyArray<string>
  readonly cpu?: ReadonlyArray<string>
  readonly libc?: ReadonlyArray<string>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

export interface Lock {
  readonly packages: Readonly<Record<string, Entry>>
}

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"]
const processors = ["arm64", "x64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32"]

/** The platform in the name of a binary package (`@oxlint/binding-linux-arm-musleabihf`), so that npm passes it over elsewhere. */
export const platformOf = (name: string): Pick<Entry, "os" | "cpu" | "libc"> => {
  const words = name.split(/[/-]/)
  const os = systems.filter((word) => words.includes(word))
  const cpu = processors.filter((word) => words.includes(word))
  const libc = /musl/.test(name) ? ["musl"] : /gnu|glibc/.test(name) && os[0] === "linux" ? ["glibc"] : []
  return { ...(cpu.length > 0 ? { cpu } : {}), ...(libc.length > 0 ? { libc } : {}), ...(os.length > 0 ? { os } : {}) }
}

/** Optional packages that some package asks for and the file does not hold, as entries to add. */
export const missingFrom = (lock: Lock): Readonly<Record<string, Entry>> => {
  const missing: Record<string, Entry> = {}
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
      const places = path.split("/node_modules/").map((_, depth, parts) =>
        `${parts.slice(0, parts.length - depth).join("/node_modules/")}/node_modules/${name}`
      )
      if ([...places, `node_modules/${name}`].some((place) => lock.packages[place] !== undefined)) continue
      const version = /^\d+\.\d+\.\d+\S*$/.exec(range)?.[0]
      if (version === undefined) {
        throw new Error(`${path} asks for ${name}@${range}: not an exact version, add it by hand`)
      }
      missing[`node_modules/${name}`] = {
        version,
        ...platformOf(name),
        ...(entry.dev === true ? { dev: true } : {}),
        optional: true
      }
    }
  }
  return missing
}

/** An address that npm would fetch from. Links to sponsors' pages are not. */
export const addressesIn = (lock: Lock): ReadonlyArray<string> =>
  Object.entries(lock.packages).filter(([, entry]) => entry.resolved !== undefined).map(([path]) => path)

if (import.meta.main) {
  const path = join(import.meta.dirname, "..", "..", "package-lock.json")
  const lock: Lock = JSON.parse(readFileSync(path, "utf8"))
  const missing = missingFrom(lock)
  const names = Object.keys(missing)
  if (process.argv.includes("--fix") && names.length > 0) {
    const { "": top, ...rest } = lock.packages
    const packages = Object.entries({ ...rest, ...missing }).toSorted(([a], [b]) => a.localeCompare(b, "en"))
    writeFileSync(
      path,
      `${JSON.stringify({ ...lock, packages: { "": top, ...Object.fromEntries(packages) } }, null, 2)}\n`
    )
    process.stdout.write(`package-lock.json: ${names.length} optional packages of other platforms put back\n`)
  } else {
    for (const name of names) process.stdout.write(`package-lock.json lacks ${name}: run \`npm run lock\`\n`)
    for (const name of addressesIn(lock)) {
      process.stdout.write(`package-lock.json names a registry for ${name}: see .npmrc\n`)
    }
    process.exitCode = names.length + addressesIn(lock).length === 0 ? 0 : 1
  }
}
