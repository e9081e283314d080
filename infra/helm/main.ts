/**
 * `npm run chart` writes the files of the Helm chart that are made of others; `npm run chart -- --check` fails when they are not what they are made of, and names them.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Chart from "./Chart.ts"

const root = join(import.meta.dirname, "..", "..")
const isCheck = process.argv.includes("--check")
const read = (path: string): string | undefined => {
  try {
    return readFileSync(join(root, path), "utf8")
  } catch {
    return undefined // not made yet
  }
}

const files = Chart.files()
const changed = [...files].filter(([path, text]) => read(path) !== text)
if (isCheck && changed.length > 0) {
  for (const [path] of changed) process.stdout.write(`${path}: not what it is made of\n`)
  process.stdout.write("What to do: npm run chart, and commit the result.\n")
  process.exitCode = 1
} else {
  for (const [path, text] of changed) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  process.stdout.write(`${Chart.folder}: ${files.size} made files, ${changed.length} written\n`)
}
