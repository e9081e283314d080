// npm's `prepare` step, after every install: tsc reports Effect's diagnostics, and `npx heddle` finds this checkout's launcher.
// Doing it again changes nothing.
import { spawnSync } from "node:child_process"
import { existsSync, renameSync, symlinkSync } from "node:fs"
import { join } from "node:path"
import { root } from "./nats-server.mjs"

const bin = join(root, "node_modules", ".bin")
if (existsSync(join(bin, "effect-tsgo"))) {
  const node = existsSync(join(bin, "node")) ? join(bin, "node") : process.execPath
  const patched = spawnSync(node, [join(bin, "effect-tsgo"), "patch"], { cwd: root, encoding: "utf8" })
  if (patched.status !== 0) {
    process.stderr.write(`${patched.stdout}${patched.stderr}heddle: effect-tsgo could not patch tsc\n`)
    process.exit(1)
  }
}
if (existsSync(bin)) {
  const link = join(bin, `.heddle-${process.pid}`)
  symlinkSync(join("..", "..", "bin", "heddle.mjs"), link)
  renameSync(link, join(bin, "heddle"))
}
