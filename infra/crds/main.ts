/**
 * `npm run crds` writes the custom resource definitions; `npm run crds -- --check` fails when they are not what the schemas say, and names the files.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Crd from "./Crd.ts"

const root = join(import.meta.dirname, "..", "..")
const isCheck = process.argv.includes("--check")
const read = (path: string): string | undefined => {
  try {
    return readFileSync(join(root, path), "utf8")
  } catch {
    return undefined // not made yet
  }
}

const changed = [...Crd.files()].filter(([path, text]) => read(path) !== text)
if (isCheck && changed.length > 0) {
  for (const [path] of changed) process.stdout.write(`${path}: not what the schemas say\n`)
  process.stdout.write("What to do: npm run crds, and commit the result.\n")
  process.exitCode = 1
} else {
  for (const [path, text] of changed) writeFileSync(join(root, path), text)
  process.stdout.write(`infra/crds: ${Crd.kinds.length} files, ${changed.length} written\n`)
}
