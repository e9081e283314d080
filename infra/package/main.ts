/**
 * `npm run build`: the npm package in `dist/`, ready for `npm publish ./dist` or `npm pack ./dist`. Nothing else needs a build: a checkout, its tests and the image run the sources.
 *
 * TypeScript is compiled file by file, so the package has the checkout's layout, and a reader of a stack trace finds the same names.
 */
import { execFileSync } from "node:child_process"
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Manifest from "./Manifest.ts"

const root = join(import.meta.dirname, "..", "..")

/** What runs as it stands. `console/dist` is made by the bootstrap. */
const asTheyAre = [
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
  "nats.conf",
  "bin/heddle.mjs",
  "console/dist",
  "infra/bootstrap/{apt-sources,cache-folder,nats-server}.mjs",
  "plugins/**/*.{mjs,d.mts}"
]

/** Makes the package in the folder `into`, which is emptied first. Throws with what the compiler says. */
export const build = (into: string): void => {
  if (!existsSync(join(root, "console", "dist", "index.html"))) {
    throw new Error("console/dist is not built. What to do: npm run bootstrap.")
  }
  rmSync(into, { recursive: true, force: true })
  mkdirSync(into, { recursive: true })
  const tsc = join(root, "node_modules", ".bin", "tsc")
  try {
    execFileSync(tsc, ["-p", join(import.meta.dirname, "tsconfig.json"), "--outDir", into], {
      encoding: "utf8",
      stdio: "pipe"
    })
  } catch (error) {
    throw new Error(`the package does not compile\n${String(Object(error).stdout ?? error)}`, { cause: error })
  }
  for (const path of globSync(asTheyAre, { cwd: root })) {
    mkdirSync(dirname(join(into, path)), { recursive: true })
    cpSync(join(root, path), join(into, path), { recursive: true })
  }
  const source: Manifest.Source = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  writeFileSync(join(into, "package.json"), `${JSON.stringify(Manifest.of(source), undefined, 2)}\n`)
}

if (import.meta.main) {
  try {
    build(join(root, "dist"))
    process.stdout.write("built dist\n")
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}
