/**
 * A real nats-server for tests, from the checkout's own nats.conf: one per test file, on a port the server picks, with a store of its own in the temporary folder.
 *
 * Keeps true: nothing is left behind, whether the test ends, fails, or its process is told to end (SIGINT, SIGTERM, exit). After SIGKILL of the test process the server
 * ends by itself: a guard beside it reads a pipe that only the test process holds open. Follows docs/design/modules.md; used by test/integration and by services' tests.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { rmSync } from "node:fs"
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { findNatsServer, root } from "../../infra/bootstrap/nats-server.mjs"

export interface BrokerOptions {
  /** `always` (fsync before each acknowledgement) or a duration of nats-server; default `2m`. */
  readonly sync?: string
  /** Also opens the monitoring port; `monitorUrl` is set. */
  readonly hasMonitor?: boolean
  /** Default: what findNatsServer finds. */
  readonly binary?: string
  /** Further configuration, as nats.conf has it. */
  readonly config?: string
}

export interface RunningBroker {
  readonly url: string
  readonly port: number
  readonly monitorUrl: string | undefined
  readonly version: string
  readonly storeDir: string
  /** The server's process id now. */
  readonly pid: () => number
  /** `SIGKILL`, nothing is started again. */
  readonly kill: () => Promise<void>
  /** Starts again on the same port and store, after `kill` or `halt`. */
  readonly start: () => Promise<void>
  /** `kill` and `start`; `whileDown` runs in between. */
  readonly restart: (whileDown?: () => Promise<void>) => Promise<void>
  /** Ends the server in order (`SIGTERM`) and keeps the store. */
  readonly halt: () => Promise<void>
  /** Ends the server and removes its folder. Idempotent. */
  readonly stop: () => Promise<void>
}

const startTimeoutMs = 120_000

// What the guard runs: waits for the end of its standard input, then ends the server and removes the folder.
const guardSource = `
const [pidFile, dir] = process.argv.slice(1)
const fs = require("node:fs")
process.on("SIGINT", () => {}); process.on("SIGTERM", () => {})
process.stdin.on("data", () => {}).on("end", () => {
  try { process.kill(Number(fs.readFileSync(pidFile, "utf8")), "SIGKILL") } catch {}
  const until = Date.now() + 60000
  const clear = () => { try { fs.rmSync(dir, { recursive: true, force: true }) } catch {} if (fs.existsSync(dir) && Date.now() < until) setTimeout(clear, 50) }
  setTimeout(clear, 50)
})
`

const exited = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once("exit", () => resolve()))

/** For tests without Effect; with Effect use `scoped` or `layer`. The caller calls `stop`. */
export const startBroker = async (options: BrokerOptions = {}): Promise<RunningBroker> => {
  const binary = options.binary ?? (await findNatsServer({ log: () => {} })).path
  const dir = await mkdtemp(join(tmpdir(), "heddle-broker-"))
  const pidFile = join(dir, "nats.pid")
  const storeDir = join(dir, "store")
  const guard = spawn(process.execPath, ["-e", guardSource, pidFile, dir], { stdio: ["pipe", "ignore", "ignore"] })
  // The pipe alone must not keep the test process alive.
  guard.unref()
  const pipe = guard.stdin as unknown as { readonly unref: () => void } // a pipe is a socket at run time
  pipe.unref()
  let child: ChildProcess | undefined
  let port = -1
  let monitorPort = -1
  let isStopped = false
  let output = ""

  const onExit = (): void => {
    child?.kill("SIGKILL")
    rmSync(dir, { recursive: true, force: true })
  }
  process.once("exit", onExit)

  const portsOf = async (
    pid: number
  ): Promise<{ readonly nats: ReadonlyArray<string>; readonly monitoring?: ReadonlyArray<string> } | undefined> => {
    const file = (await readdir(dir)).find((name) => name.endsWith(`_${pid}.ports`))
    if (file === undefined) return undefined
    const text = await readFile(join(dir, file), "utf8")
    return text.trimEnd().endsWith("}") ? JSON.parse(text) : undefined
  }

  const launch = async (): Promise<void> => {
    output = ""
    let configFile = join(root, "nats.conf")
    if (options.config !== undefined) {
      const own = await readFile(configFile, "utf8")
      configFile = join(dir, "nats.conf")
      await writeFile(configFile, `${own}\n${options.config}\n`)
    }
    const configArguments = ["-c", configFile]
    const server = spawn(
      binary,
      [
        ...configArguments,
        "--pid",
        pidFile,
        "--ports_file_dir",
        dir,
        ...(options.hasMonitor === true ? ["-m", String(monitorPort)] : [])
      ],
      {
        stdio: ["ignore", "pipe", "pipe"],
        env: {
          ...process.env,
          HEDDLE_NATS_NAME: `"heddle-test-${process.pid}"`,
          HEDDLE_NATS_PORT: String(port),
          HEDDLE_NATS_STORE: JSON.stringify(storeDir),
          HEDDLE_NATS_SYNC: JSON.stringify(options.sync ?? "2m")
        }
      }
    )
    child = server
    const collect = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-8_000)
    }
    server.stdout.on("data", collect)
    server.stderr.on("data", collect)
    const until = performance.now() + startTimeoutMs
    while (true) {
      if (server.exitCode !== null || server.signalCode !== null) {
        throw new Error(`nats-server ended at its start:\n${output}`)
      }
      if (performance.now() > until) {
        throw new Error(`nats-server was not ready within ${startTimeoutMs / 1000} s:\n${output}`)
      }
      const ports = output.includes("Server is ready") && server.pid !== undefined
        ? await portsOf(server.pid)
        : undefined
      const address = ports?.nats[0]
      if (address !== undefined) {
        port = Number(new URL(address).port)
        const monitor = ports?.monitoring?.[0]
        if (monitor !== undefined) monitorPort = Number(new URL(monitor).port)
        return
      }
      await delay(10)
    }
  }
  const end = async (signal: "SIGKILL" | "SIGTERM"): Promise<void> => {
    const server = child
    if (server === undefined) return
    server.kill(signal)
    await exited(server)
    child = undefined
  }
  const stop = async (): Promise<void> => {
    if (isStopped) return
    isStopped = true
    process.removeListener("exit", onExit)
    await end("SIGKILL")
    await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
    guard.ref()
    guard.kill("SIGKILL")
    await exited(guard)
  }
  try {
    await launch()
  } catch (cause) {
    await stop()
    throw cause
  }
  return {
    get url() {
      return `nats://127.0.0.1:${port}`
    },
    get port() {
      return port
    },
    get monitorUrl() {
      return options.hasMonitor === true ? `http://127.0.0.1:${monitorPort}` : undefined
    },
    version: await versionOf(binary),
    storeDir,
    pid: () => child?.pid ?? 0,
    kill: () => end("SIGKILL"),
    halt: () => end("SIGTERM"),
    start: launch,
    restart: async (whileDown) => {
      await end("SIGKILL")
      await whileDown?.()
      await launch()
    },
    stop
  }
}

const versionOf = (binary: string): Promise<string> =>
  new Promise((resolve) => {
    const child = spawn(binary, ["--version"], { stdio: ["ignore", "pipe", "ignore"] })
    let text = ""
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString()
    })
    child.once("exit", () => resolve(/v(\d\S*)/.exec(text)?.[1] ?? "unknown"))
  })

/** The broker of a scope. */
export const scoped = (options?: BrokerOptions): Effect.Effect<RunningBroker, never, Scope.Scope> =>
  Effect.acquireRelease(Effect.promise(() => startBroker(options)), (broker) => Effect.promise(() => broker.stop()))

export class Broker extends Context.Service<Broker, RunningBroker>()("heddle/testing/Broker") {
  static readonly layer = (options?: BrokerOptions): Layer.Layer<Broker> => Layer.effect(Broker, scoped(options))
}
