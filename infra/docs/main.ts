/**
 * `npm run docs` writes docs/reference; `npm run docs:check` fails when it is not what the schemas and commands say, and names the files.
 */
import * as Effect from "effect/Effect"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Reference from "./Reference.ts"

const root = join(import.meta.dirname, "..", "..")
const isCheck = process.argv.includes("--check")

const present = (folder: string): ReadonlyArray<string> => {
  try {
    return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
  } catch {
    return [] // not made yet
  }
}
const read = (path: string): string | undefined => {
  try {
    return readFileSync(join(root, path), "utf8")
  } catch {
    return undefined
  }
}

const files = await Effect.runPromise(Reference.files)
const stale = present("docs/reference").filter((path) => !files.has(path))
const changed = [...files].filter(([path, text]) => read(path) !== text).map(([path]) => path)
if (isCheck) {
  for (const path of changed) process.stdout.write(`${path}: not what the schemas and commands say\n`)
  for (const path of stale) process.stdout.write(`${path}: nothing makes it any more\n`)
  if (changed.length + stale.length > 0) {
    process.stdout.write("What to do: npm run docs, and commit the result.\n")
    process.exitCode = 1
  } else process.stdout.write(`docs/reference: ${files.size} files as they should be\n`)
} else {
  for (const path of stale) rmSync(join(root, path))
  for (const path of changed) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), files.get(path) ?? "")
  }
  process.stdout.write(`docs/reference: ${files.size} files, ${changed.length} written, ${stale.length} removed\n`)
}
