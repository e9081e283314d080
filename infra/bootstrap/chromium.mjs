// The browser that the test of the web console drives. $HEDDLE_CHROMIUM, or one of the PATH; on Debian and its kin root gets the distribution's package (`.ci/run` does).
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { delimiter, join } from "node:path"

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]

/** @returns {string | undefined} */
export const findChromium = () => {
  const named = process.env["HEDDLE_CHROMIUM"]
  if (named !== undefined && named !== "") return named
  return names.flatMap((name) => (process.env["PATH"] ?? "").split(delimiter).map((path) => join(path, name))).find((
    path
  ) => existsSync(path))
}

/** Only as root on a system with apt; elsewhere nothing is installed. @returns {boolean} whether there is one now */
export const installChromium = () => {
  if (findChromium() !== undefined) return true
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) return false
  process.stderr.write("heddle: installing Chromium (apt) for the test of the web console\n")
  const apt = (...args) =>
    spawnSync("apt-get", args, {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      timeout: 300_000
    }).status === 0
  return (apt("install", "-y", "-qq", "--no-install-recommends", "chromium")
    || (apt("update", "-qq") && apt("install", "-y", "-qq", "--no-install-recommends", "chromium")))
    && findChromium() !== undefined
}
