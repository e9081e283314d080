// Where heddle keeps what it can make or get again: compiled modules, tools that the machine lacks.
// A checkout has it inside (`.heddle`, ignored by git), so that copies do not meet; an installed package, whose folder may be read-only and goes with the next
// installation, has it where the user's caches are. Plain JavaScript without dependencies: the command begins with it.
import { existsSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"

/** @param {string} root folder of the checkout or the installed package @returns {string} absolute, perhaps not there yet */
export const cacheFolder = (root) => {
  if (existsSync(join(root, "package-lock.json"))) return join(root, ".heddle")
  const named = process.env["XDG_CACHE_HOME"]
  if (named?.startsWith("/")) return join(named, "heddle")
  try {
    return join(homedir(), ".cache", "heddle")
  } catch {
    // A user id without an entry, as containers have them.
    return join(tmpdir(), `heddle-cache-${process.getuid?.() ?? 0}`)
  }
}
