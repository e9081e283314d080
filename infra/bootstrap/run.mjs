// The first thing `npm test`, `npm run demo` and `npm run dev` run: it brings the checkout to where everything is installed,
// then hands over to the program. It works under Node 20 with nothing installed, and does without network when nothing is missing.
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs"
import { delimiter, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { installChromium } from "./chromium.mjs"
import { buildConsole } from "./console.mjs"
import { findHelm3, findKubeTools } from "./kube-tools.mjs"
import { findNatsServer, root } from "./nats-server.mjs"

const programs = new Map([
  ["demo", ["examples/demo.ts"]],
  ["test", ["infra/ci/test.ts"]],
  ["dev", ["cli/heddle.ts", "dev"]],
  ["heddle", ["cli/heddle.ts"]]
])

const modules = join(root, "node_modules")
const bin = join(modules, ".bin")
const stamp = join(modules, ".heddle-installed")
const lockWaitMs = 15 * 60_000

/** @param {string} path */
const readJson = (path) => JSON.parse(readFileSync(path, "utf8"))
const digest = () => createHash("sha256").update(readFileSync(join(root, "package-lock.json"))).digest("hex")

function isStamped() {
  try {
    return readFileSync(stamp, "utf8") === digest()
  } catch {
    return false
  }
}

/** npm keeps its own record of what stands in node_modules: somebody's `npm install` is as good as ours. */
function isInstalled() {
  try {
    const wanted = readJson(join(root, "package-lock.json")).packages
    const present = readJson(join(modules, ".package-lock.json")).packages
    return Object.entries(wanted).every(([path, entry]) =>
      path === "" || (present[path] === undefined
        ? entry.optional === true || entry.devOptional === true || entry.peer === true
        : present[path].version === entry.version && present[path].integrity === entry.integrity)
    )
  } catch {
    return false
  }
}

/** The shell's PATH without our own folder: npm must not run on a Node that it is about to replace. */
function outerPath() {
  return (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== bin).join(delimiter)
}

/** @param {string[]} args */
function npm(args) {
  const done = spawnSync("npm", args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, PATH: outerPath() }
  })
  if (done.error !== undefined) {
    throw new Error(`heddle: npm does not run (${done.error.message}). Install Node 20 or newer with npm.`)
  }
  if (done.status !== 0) {
    throw new Error(
      `heddle: npm ${args.join(" ")} failed. It needs the npm registry once; after that everything works offline.`
    )
  }
}

async function installModules() {
  if (isStamped()) return
  await withLock(async () => {
    if (isStamped()) return
    if (isInstalled()) npm(["run", "--silent", "prepare"])
    else {
      process.stderr.write("heddle: installing node_modules (npm ci)\n")
      npm(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
    }
    writeFileSync(stamp, digest())
  })
}

/**
 * One bootstrap at a time in a checkout. The lock is a file that holds the owner's process id and appears whole (link is atomic);
 * the lock of a dead owner is taken away.
 * @param {() => Promise<void>} work
 */
async function withLock(work) {
  const lock = join(root, ".heddle", "bootstrap.lock")
  const mine = `${lock}.${process.pid}`
  mkdirSync(join(root, ".heddle"), { recursive: true })
  writeFileSync(mine, String(process.pid))
  try {
    const deadline = Date.now() + lockWaitMs
    let isTold = false
    for (;;) {
      try {
        linkSync(mine, lock)
        break
      } catch (error) {
        if (/** @type {any} */ (error).code !== "EEXIST") throw error
      }
      if (!removeIfAbandoned(lock)) {
        if (!isTold) process.stderr.write("heddle: waiting for another bootstrap in this checkout\n")
        isTold = true
        if (Date.now() > deadline) throw new Error(`heddle: another bootstrap holds ${lock}; remove it if none runs`)
        await sleep(200)
      }
    }
    try {
      await work()
    } finally {
      unlinkSync(lock)
    }
  } finally {
    rmSync(mine, { force: true })
  }
}

/** @param {string} lock @returns {boolean} whether it is worth trying again at once */
function removeIfAbandoned(lock) {
  let owner
  try {
    owner = readFileSync(lock, "utf8")
  } catch {
    return true
  }
  try {
    process.kill(Number(owner), 0)
    return false
  } catch (error) {
    if (/** @type {any} */ (error).code === "EPERM") return false
  }
  // Somebody faster may have taken the dead lock's place in between: what was moved is looked at again.
  const aside = `${lock}.abandoned.${process.pid}`
  try {
    renameSync(lock, aside)
    if (readFileSync(aside, "utf8") !== owner) linkSync(aside, lock)
  } catch {
    return true
  } finally {
    rmSync(aside, { force: true })
  }
  return true
}

/** @returns {string} a Node that runs TypeScript */
function findNode() {
  const candidates = [join(bin, "node"), process.execPath]
  for (const path of candidates) {
    if (!existsSync(path)) continue
    const major = Number(/^v(\d+)/.exec(spawnSync(path, ["--version"], { encoding: "utf8" }).stdout ?? "")?.[1])
    if (major >= 24) return path
  }
  throw new Error(
    "heddle needs Node 24. npm's `node` package brings it; its install script did not run. " +
      "What to do: allow install scripts (npm config get ignore-scripts) and run `npm ci`, or install Node 24."
  )
}

/** @param {string} node @param {string[]} args @param {NodeJS.ProcessEnv} env */
function handOver(node, args, env) {
  const child = spawn(node, args, { cwd: root, stdio: "inherit", env })
  process.on("SIGTERM", () => child.kill("SIGTERM"))
  process.on("SIGHUP", () => child.kill("SIGHUP"))
  // A terminal's Ctrl-C reaches the child by itself; a second one would read as impatience.
  process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"))
  child.on("error", (error) => {
    process.stderr.write(`heddle: ${error.message}\n`)
    process.exitCode = 1
  })
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + (signal === "SIGINT" ? 2 : signal === "SIGTERM" ? 15 : signal === "SIGHUP" ? 1 : 9)
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeAllListeners(name)
  })
}

async function main() {
  const [name, ...rest] = process.argv.slice(2)
  const program = name === undefined ? undefined : programs.get(name)
  if (name !== undefined && program === undefined) {
    throw new Error(`heddle: no program ${name}; there are ${[...programs.keys()].join(", ")}`)
  }
  await installModules()
  const node = findNode()
  const server = await findNatsServer()
  if (name !== "demo" && name !== "heddle") {
    try {
      buildConsole(node)
    } catch (error) {
      // A mesh runs without its web page; the gateway says so there.
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    }
  }
  // The tests that need it fail by themselves, with the same words.
  if (name === "test") {
    // Nothing is installed over somebody's system: the test of the console says that it was left out.
    if (process.env["CI"] === "true") installChromium()
    await Promise.all(
      [findKubeTools(), findHelm3()].map((found) => found.catch((error) => process.stderr.write(`${error.message}\n`)))
    )
  }
  if (program === undefined) {
    process.stdout.write(`node ${node}\nnats-server ${server.version} ${server.path}\n`)
    return
  }
  handOver(node, [...program, ...rest], {
    ...process.env,
    PATH: `${bin}${delimiter}${outerPath()}`,
    HEDDLE_NATS_SERVER: server.path,
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(root, ".heddle", "cache", "compile")
  })
}

try {
  await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
