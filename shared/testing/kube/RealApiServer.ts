/**
 * A real kube-apiserver with its etcd, started the way envtest does it: binaries from the folder that KUBEBUILDER_ASSETS names, data and keys in a temporary folder, free ports,
 * tokens from a file, RBAC on, ServiceAccount admission off. There is no kubelet, no scheduler and no controller: a test plays them.
 *
 * Keeps true: nothing is left behind when `stop` was called; when the test process dies first, a guard that reads a pipe from it ends both and removes the folder.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import { existsSync, openSync, readFileSync, writeFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { request } from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { freePort } from "../FreePort.ts"

export interface RealApiServer {
  readonly url: string
  /** PEM. */
  readonly ca: string
  /** Of a user in system:masters. */
  readonly adminToken: string
  /** Users without any right until a binding gives them one: name and token. */
  readonly users: ReadonlyArray<{ readonly name: string; readonly token: string }>
  readonly stop: () => Promise<void>
}

const startTimeoutMs = 60_000
const usersCount = 40

/** The folder with `kube-apiserver` and `etcd`, or undefined: then the double stands in. */
export const assets = (): string | undefined => {
  const folder = process.env["KUBEBUILDER_ASSETS"]
  return folder === undefined || folder === "" ? undefined : folder
}

const guardSource = `
const [dir, ...pids] = process.argv.slice(1)
const fs = require("node:fs")
process.on("SIGINT", () => {}); process.on("SIGTERM", () => {})
process.stdin.on("data", () => {}).on("end", () => {
  for (const pid of pids) { try { process.kill(Number(pid), "SIGKILL") } catch {} }
  const until = Date.now() + 5000
  const clear = () => { try { fs.rmSync(dir, { recursive: true, force: true }) } catch {} if (fs.existsSync(dir) && Date.now() < until) setTimeout(clear, 50) }
  setTimeout(clear, 50)
})
`

const exited = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once("exit", () => resolve()))

const get = (url: string, ca: string | undefined, token: string): Promise<number> =>
  new Promise((resolve) => {
    const sent = request(url, {
      headers: { authorization: `Bearer ${token}` },
      ...(ca === undefined ? { rejectUnauthorized: false } : { ca })
    }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    sent.on("error", () => resolve(0))
    sent.setTimeout(2_000, () => sent.destroy())
    sent.end()
  })

export const start = async (folder: string): Promise<RealApiServer> => {
  for (const name of ["kube-apiserver", "etcd"]) {
    if (!existsSync(join(folder, name))) {
      throw new Error(
        `KUBEBUILDER_ASSETS=${folder} has no ${name}: name a folder with kube-apiserver and etcd, or unset it to test against the double`
      )
    }
  }
  const dir = await mkdtemp(join(tmpdir(), "heddle-kube-"))
  const [clientPort, peerPort, port] = [await freePort(), await freePort(), await freePort()]
  const adminToken = randomBytes(16).toString("hex")
  const users = Array.from(
    { length: usersCount },
    (_, index) => ({ name: `tester-${index + 1}`, token: randomBytes(16).toString("hex") })
  )
  writeFileSync(
    join(dir, "tokens.csv"),
    [`${adminToken},admin,admin,system:masters`, ...users.map(({ name, token }) => `${token},${name},${name}`)].join(
      "\n"
    )
  )
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs1", format: "pem" }
  })
  writeFileSync(join(dir, "service-account.key"), privateKey, { mode: 0o600 })
  const etcd = spawn(
    join(folder, "etcd"),
    [
      "--data-dir",
      join(dir, "etcd"),
      "--listen-client-urls",
      `http://127.0.0.1:${clientPort}`,
      "--advertise-client-urls",
      `http://127.0.0.1:${clientPort}`,
      "--listen-peer-urls",
      `http://127.0.0.1:${peerPort}`,
      "--initial-advertise-peer-urls",
      `http://127.0.0.1:${peerPort}`,
      "--initial-cluster",
      `default=http://127.0.0.1:${peerPort}`
    ],
    { stdio: ["ignore", openSync(join(dir, "etcd.log"), "a"), openSync(join(dir, "etcd.log"), "a")] }
  )
  const log = join(dir, "apiserver.log")
  const server = spawn(join(folder, "kube-apiserver"), [
    `--etcd-servers=http://127.0.0.1:${clientPort}`,
    `--cert-dir=${join(dir, "certs")}`,
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    `--secure-port=${port}`,
    "--service-cluster-ip-range=10.0.0.0/24",
    "--allow-privileged=true",
    "--authorization-mode=RBAC",
    `--token-auth-file=${join(dir, "tokens.csv")}`,
    "--disable-admission-plugins=ServiceAccount",
    `--service-account-issuer=https://127.0.0.1:${port}/`,
    `--service-account-key-file=${join(dir, "service-account.key")}`,
    `--service-account-signing-key-file=${join(dir, "service-account.key")}`,
    "--endpoint-reconciler-type=none"
  ], { stdio: ["ignore", openSync(log, "a"), openSync(log, "a")] })
  const guard = spawn(process.execPath, ["-e", guardSource, dir, String(etcd.pid), String(server.pid)], {
    stdio: ["pipe", "ignore", "ignore"]
  })
  guard.unref()
  const pipe = guard.stdin as unknown as { readonly unref: () => void } // a pipe is a socket at run time
  pipe.unref()
  const stop = async () => {
    server.kill("SIGKILL")
    etcd.kill("SIGKILL")
    await Promise.all([exited(server), exited(etcd)])
    guard.ref()
    guard.stdin?.end()
    await exited(guard)
    await rm(dir, { recursive: true, force: true })
  }
  const url = `https://127.0.0.1:${port}`
  const triesMax = startTimeoutMs / 100
  for (let tries = 0; tries < triesMax; tries++) {
    if (server.exitCode !== null || etcd.exitCode !== null) {
      const text = readFileSync(existsSync(log) ? log : join(dir, "etcd.log"), "utf8").slice(-2_000)
      await stop()
      throw new Error(`kube-apiserver or etcd ended while starting:\n${text}`)
    }
    // ready, and the namespace that objects are made in is there
    if (
      await get(`${url}/readyz`, undefined, adminToken) === 200 &&
      await get(`${url}/api/v1/namespaces/default`, undefined, adminToken) === 200
    ) {
      return { url, ca: readFileSync(join(dir, "certs", "apiserver.crt"), "utf8"), adminToken, users, stop }
    }
    await delay(100)
  }
  const text = readFileSync(log, "utf8").slice(-2_000)
  await stop()
  throw new Error(`kube-apiserver was not ready after ${startTimeoutMs} ms:\n${text}`)
}
