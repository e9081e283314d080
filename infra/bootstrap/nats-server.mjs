// Finds the nats-server this machine will use, and gets it when the machine has none.
// Order: $HEDDLE_NATS_SERVER; PATH; the own tool folder; the official release archive; the Debian package of a newer suite.
// Nothing is installed over the system, and nothing touches the network once a good server is found.
// Plain JavaScript without dependencies: it runs under Node 20 before node_modules exists.
import { execFile } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs"
import { chmod, mkdir, rename, rm, stat, writeFile } from "node:fs/promises"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { debianMirrors, oneLineSource } from "./apt-sources.mjs"
import { cacheFolder } from "./cache-folder.mjs"

const run = promisify(execFile)

const versionMin = "2.12.0"
/**
 * The official archive of each platform, with what it must be: a forged or damaged one is refused, whoever serves it. The SHA-256 for Linux stand in the build of the official
 * container image too, those for macOS in several public projects that quote the release's SHA256SUMS. A newer version comes with its four sums.
 */
export const release = {
  version: "2.15.0",
  base: "https://github.com/nats-io/nats-server/releases/download",
  /** @type {Readonly<Record<string, string>>} */
  sha256: {
    "linux-amd64": "5d2c51caca950333aba84911df7d377f826f3a59ec36061c6539105084f65c92",
    "linux-arm64": "cdc208f5a3f42963a52b6ab06ef65626bb870315dc936e26ba571780c6351112",
    "darwin-amd64": "5bd8b59ca5bf93fab3da2c5843cf564cd6e2e291e22ae3b861746e7ebe259b95",
    "darwin-arm64": "e1c4e22d70bd44abfa0bcb3c16f7cf0c66f648c2e728c58924e8a1ce88913cc8"
  }
}
const suites = ["forky", "sid"]
const connectTimeoutMs = 5_000
const downloadTimeoutMs = 180_000

/** The checkout, or the installed package, this file stands in. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** @returns {string} the folder for tools that the machine lacks; a checkout's is ignored by git */
export function toolFolder() {
  return process.env["HEDDLE_TOOLS"] || join(cacheFolder(root), "tools")
}

/**
 * Reads what `nats-server --version` prints.
 * @param {string} text
 * @returns {string | undefined}
 */
export function parseVersion(text) {
  return /\bv?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)\b/.exec(text)?.[1]
}

/**
 * A release candidate of the least version counts as that version.
 * @param {string} version
 * @param {string} least
 */
export function isAtLeast(version, least) {
  const left = version.split("-", 1)[0].split(".").map(Number)
  const right = least.split("-", 1)[0].split(".").map(Number)
  for (let index = 0; index < 3; index++) {
    if (left[index] !== right[index]) return left[index] > right[index]
  }
  return true
}

/** @param {string} path */
async function versionOf(path) {
  try {
    const { stdout } = await run(path, ["--version"], { timeout: 60_000 })
    return parseVersion(stdout)
  } catch {
    return undefined
  }
}

/** @param {unknown} error */
function reasonOf(error) {
  const { cause, message, stderr } = /** @type {any} */ (error)
  const text = String(stderr || cause?.message || message || error).trim()
  const lines = text.split("\n").filter((line) => /^(E:|Err)|error|not |fail|refused|ENOTFOUND/i.test(line))
  return (lines.at(-1) ?? text.split("\n").at(-1) ?? "").trim().slice(0, 200)
}

function candidatesOnPath() {
  // Debian puts the server in /usr/sbin, which is not on everybody's PATH.
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin"]
  return [...new Set(folders)].filter(Boolean).map((folder) => join(folder, "nats-server")).filter((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/**
 * Moves a binary into the tool folder so that a reader sees the old one or the new one, never half of one.
 * @param {string} from a file on the same file system as the tool folder
 */
async function adopt(from) {
  await chmod(from, 0o755)
  const version = await versionOf(from)
  if (version === undefined || !isAtLeast(version, versionMin)) {
    throw new Error(`it holds version ${version ?? "unknown"}, and ${versionMin} is the least`)
  }
  const path = join(toolFolder(), "nats-server")
  await rename(from, path)
  return { path, version }
}

/**
 * @param {string} url
 * @param {number} timeoutMs for the answer to begin
 */
async function download(url, timeoutMs) {
  const abort = new AbortController()
  const head = setTimeout(() => abort.abort(new Error(`no answer in ${timeoutMs / 1000} s`)), timeoutMs)
  const whole = setTimeout(() => abort.abort(new Error(`not done in ${downloadTimeoutMs / 1000} s`)), downloadTimeoutMs)
  try {
    const response = await fetch(url, { signal: abort.signal })
    clearTimeout(head)
    if (!response.ok) throw new Error(`HTTP status ${response.status}`)
    return Buffer.from(await response.arrayBuffer())
  } finally {
    clearTimeout(head)
    clearTimeout(whole)
  }
}

/**
 * @param {string} folder
 * @param {typeof release} from
 */
export async function fromRelease(folder, from = release) {
  const platform = `${process.platform}-${{ x64: "amd64", arm64: "arm64" }[/** @type {string} */ (process.arch)]}`
  const sum = from.sha256[platform]
  if (sum === undefined) throw new Error(`there is none for ${process.platform} on ${process.arch}`)
  const name = `nats-server-v${from.version}-${platform}`
  const archive = await download(`${from.base}/v${from.version}/${name}.tar.gz`, connectTimeoutMs)
  const got = createHash("sha256").update(archive).digest("hex")
  if (got !== sum) throw new Error(`the checksum of ${name}.tar.gz is ${got}, not ${sum}: not used`)
  await writeFile(join(folder, "archive.tar.gz"), archive)
  await run("tar", ["-xzf", join(folder, "archive.tar.gz"), "-C", folder])
  return adopt(join(folder, name, "nats-server"))
}

function isDebianKin() {
  try {
    const release = readFileSync("/etc/os-release", "utf8")
    return /^ID(_LIKE)?=.*debian/m.test(release)
  } catch {
    return false
  }
}

/**
 * apt with its own sources, lists, cache and package state: it reads nothing of the system's but the mirror's address and keys,
 * and its last step is a download, not an installation.
 * @param {string} folder
 * @param {string} suite
 * @param {(message: string) => void} log
 */
async function fromDebian(folder, suite, log) {
  if (!isDebianKin()) throw new Error("this is not Debian")
  const mirrors = debianMirrors("/etc/apt")
  const mirror = mirrors[0]
  if (mirror === undefined) throw new Error("no Debian mirror in this machine's apt configuration (/etc/apt)")
  if (!existsSync("/usr/bin/apt-get") || !existsSync("/usr/bin/dpkg")) throw new Error("apt-get and dpkg are needed")
  log(`heddle: downloading Debian's nats-server package (suite ${suite}) with apt`)
  const base = join(folder, suite)
  await mkdir(join(base, "lists", "partial"), { recursive: true })
  await mkdir(join(base, "cache", "archives", "partial"), { recursive: true })
  await writeFile(join(base, "status"), "")
  await writeFile(join(base, "key.asc"), mirror.key ?? "")
  await writeFile(
    join(base, "sources.list"),
    oneLineSource(mirror, suite, mirror.key === undefined ? undefined : join(base, "key.asc"))
  )
  // Read after the system's configuration, so that its hooks (image builders like to empty the system's cache) are dropped.
  await writeFile(
    join(base, "apt.conf"),
    [
      "#clear APT::Update::Pre-Invoke;",
      "#clear APT::Update::Post-Invoke;",
      "#clear APT::Update::Post-Invoke-Success;",
      `Dir::Etc::SourceList "${base}/sources.list";`,
      `Dir::Etc::SourceParts "/dev/null";`,
      `Dir::Etc::Preferences "/dev/null";`,
      `Dir::Etc::PreferencesParts "/dev/null";`,
      `Dir::State "${base}";`,
      `Dir::State::Lists "${base}/lists";`,
      `Dir::State::Status "${base}/status";`,
      `Dir::Cache "${base}/cache";`,
      `APT::Update::Error-Mode "any";`,
      `APT::Sandbox::User "${process.getuid?.() === 0 ? "root" : ""}";`,
      `Acquire::Languages "none";`,
      `Acquire::Retries "1";`,
      `Acquire::http::Timeout "20";`,
      `Acquire::https::Timeout "20";`,
      ""
    ].join("\n")
  )
  const options = { cwd: base, timeout: downloadTimeoutMs, env: { ...process.env, LC_ALL: "C" } }
  await run("apt-get", ["-q", "-c", join(base, "apt.conf"), "update"], options)
  await run("apt-get", ["-q", "-c", join(base, "apt.conf"), "download", "nats-server"], options)
  const archive = readdirSync(base).find((name) => name.endsWith(".deb"))
  if (archive === undefined) throw new Error("apt-get download left no package")
  await run("dpkg", ["-x", archive, "unpacked"], options)
  const inside = ["usr/sbin/nats-server", "usr/bin/nats-server"].map((path) => join(base, "unpacked", path))
  const binary = inside.find((path) => existsSync(path))
  if (binary === undefined) throw new Error("the package holds no nats-server")
  return adopt(binary)
}

/** @param {(message: string) => void} log @param {string[]} tried */
async function install(log, tried) {
  const folder = join(toolFolder(), `.getting-${process.pid}-${randomBytes(4).toString("hex")}`)
  await mkdir(folder, { recursive: true })
  try {
    await removeAbandoned()
    const ways = [
      { name: "release archive", get: () => fromRelease(folder) },
      ...suites.map((suite) => ({ name: `Debian package of ${suite}`, get: () => fromDebian(folder, suite, log) }))
    ]
    for (const way of ways) {
      try {
        const server = await way.get()
        log(`heddle: nats-server ${server.version} from the ${way.name}, in ${server.path}`)
        return server
      } catch (error) {
        tried.push(`${way.name}: ${reasonOf(error)}`)
      }
    }
    return undefined
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Folders that a killed bootstrap left; an hour is longer than any that still runs. */
async function removeAbandoned() {
  for (const name of readdirSync(toolFolder())) {
    if (!name.startsWith(".getting-")) continue
    const path = join(toolFolder(), name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && Date.now() - found.mtimeMs > 3_600_000) await rm(path, { recursive: true, force: true })
  }
}

/** @param {string[]} tried */
function missing(tried) {
  const howTo = process.platform === "darwin"
    ? "brew install nats-server"
    : "install it from https://github.com/nats-io/nats-server/releases"
  return new Error([
    `heddle needs nats-server ${versionMin} or newer, and this machine has none. Looked in:`,
    ...tried.map((line) => `  - ${line}`),
    `What to do: ${howTo}, or set HEDDLE_NATS_SERVER to the path of a nats-server binary.`
  ].join("\n"))
}

/**
 * The nats-server to start. Gets one when there is none, unless `install` is false.
 * @param {{ install?: boolean, log?: (message: string) => void }} [options]
 * @returns {Promise<{ path: string, version: string }>}
 */
export async function findNatsServer(options = {}) {
  const log = options.log ?? ((message) => void process.stderr.write(`${message}\n`))
  /** @type {string[]} */
  const tried = []

  const named = process.env["HEDDLE_NATS_SERVER"]
  if (named) {
    // A server that somebody named is used or refused, never silently replaced.
    const version = await versionOf(named)
    if (version !== undefined && isAtLeast(version, versionMin)) return { path: named, version }
    throw missing([`HEDDLE_NATS_SERVER=${named}: ${version === undefined ? "does not run" : `is version ${version}`}`])
  }

  for (const path of candidatesOnPath()) {
    const version = await versionOf(path)
    if (version !== undefined && isAtLeast(version, versionMin)) return { path, version }
    tried.push(`${path}: ${version === undefined ? "does not run" : `version ${version} is too old`}`)
  }
  if (tried.length === 0) tried.push("PATH: no nats-server")

  const own = join(toolFolder(), "nats-server")
  const version = existsSync(own) ? await versionOf(own) : undefined
  if (version !== undefined && isAtLeast(version, versionMin)) return { path: own, version }
  tried.push(`${own}: ${existsSync(own) ? `version ${version ?? "unknown"}` : "not there"}`)

  if (options.install !== false) {
    const server = await install(log, tried)
    if (server !== undefined) return server
  }
  throw missing(tried)
}
