#!/usr/bin/env node
// `heddle`. In a checkout the program is TypeScript that Node 24 runs as it is, and an older Node starts the checkout's own; in the package it was compiled (infra/package).
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import module from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { cacheFolder } from "../infra/bootstrap/cache-folder.mjs"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, "cli", "heddle.ts")
const program = existsSync(source) ? source : join(root, "cli", "heddle.js")
// Reading 200 modules again at each command is most of a command's time.
process.env["NODE_COMPILE_CACHE"] ??= join(cacheFolder(root), "cache", "compile")

if (Number(process.versions.node.split(".")[0]) >= 24) {
  module.enableCompileCache?.(process.env["NODE_COMPILE_CACHE"])
  process.argv[1] = program
  await import(pathToFileURL(program).href)
} else {
  const node = join(root, "node_modules", ".bin", "node")
  if (!existsSync(node)) {
    process.stderr.write(
      program === source
        ? "heddle needs Node 24. What to do: run `npm ci` in the checkout, or install Node 24.\n"
        : `heddle needs Node 24, this is ${process.versions.node}. What to do: install Node 24.\n`
    )
    process.exit(1)
  }
  const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: "inherit" })
  const signals = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
  // A terminal's Ctrl-C reaches the child by itself; a second one would read as impatience.
  for (const name of signals) process.on(name, () => (name === "SIGINT" && process.stdin.isTTY) || child.kill(name))
  child.on("exit", (code, signal) => {
    for (const name of signals) process.removeAllListeners(name)
    if (signal === null) process.exitCode = code ?? 1
    else process.kill(process.pid, signal)
  })
}
