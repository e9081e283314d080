// Builds the web console (console/dist) when its sources are newer than what was built: the stamp is a hash of everything that goes into it.
// Two that build at once build the same; each makes a folder of its own, and the last to move it into place wins.
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./nats-server.mjs"

const folder = join(root, "console")
const stampName = ".built-from"

/** @param {string} path @returns {string[]} */
const filesUnder = (path) =>
  readdirSync(path, { withFileTypes: true })
    .filter(({ name }) => name !== "dist" && !name.startsWith(".") && !name.endsWith(".test.ts"))
    .flatMap((entry) => entry.isDirectory() ? filesUnder(join(path, entry.name)) : [join(path, entry.name)])

const digest = () => {
  const hash = createHash("sha256")
  for (const path of [join(root, "package-lock.json"), ...filesUnder(folder).sort()]) {
    hash.update(path.slice(root.length)).update("\0").update(readFileSync(path)).update("\0")
  }
  return hash.digest("hex")
}

/** @param {string} node a Node that the build tool supports @returns {boolean} whether it had to be built */
export const buildConsole = (node) => {
  const vite = join(root, "node_modules", "vite", "bin", "vite.js")
  if (!existsSync(folder) || !existsSync(vite)) return false
  const wanted = digest()
  const dist = join(folder, "dist")
  try {
    if (readFileSync(join(dist, stampName), "utf8") === wanted) return false
  } catch {
    // Never built, or built by hand.
  }
  const made = join(root, ".heddle", `console-${process.pid}`)
  mkdirSync(made, { recursive: true })
  try {
    const built = spawnSync(node, [vite, "build", folder, "--outDir", made, "--emptyOutDir"], {
      cwd: root,
      encoding: "utf8"
    })
    if (built.status !== 0) {
      throw new Error(`heddle: the web console could not be built\n${built.stdout}${built.stderr}`)
    }
    writeFileSync(join(made, stampName), wanted)
    for (let tries = 0;; tries++) {
      rmSync(dist, { recursive: true, force: true })
      try {
        renameSync(made, dist)
        return true
      } catch (error) {
        // Somebody else's stands there again already.
        if (tries > 10) throw error
      }
    }
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  process.stdout.write(buildConsole(process.execPath) ? "built console/dist\n" : "console/dist is current\n")
}
