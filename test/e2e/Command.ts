/**
 * A command as a user starts it: its lines while it runs, how it ended, and what it left behind.
 *
 * Keeps true: each has a temporary folder of its own (`TMPDIR`), so that what it started is known by that path, and nothing of it outlives `dispose`;
 * no `HEDDLE_*` setting of the caller's reaches it but where tools are found and the mark of `npm test`.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { root } from "../../infra/bootstrap/nats-server.mjs"

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly error: string
}

const kept = new Set(["HEDDLE_NATS_SERVER", "HEDDLE_TOOLS", "HEDDLE_TEST_STEP"])
const tailChars = 4_000

const readSafely = (read: () => string): string => {
  try {
    return read()
  } catch {
    return "" // ended in between, or somebody else's
  }
}

const isZombie = (pid: string) => / Z /.test(readSafely(() => readFileSync(`/proc/${pid}/stat`, "latin1")).slice(-400))

export class Command {
  /** Its `TMPDIR`, home and configuration folder. */
  readonly folder = mkdtempSync(join(tmpdir(), "heddle-e2e-"))
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess
  #out = ""
  #error = ""
  #firstLine: Promise<string>

  /** `args` may need the folder, for a `--data-dir`. Runs in the checkout. */
  constructor(
    program: string,
    args: (folder: string) => ReadonlyArray<string>,
    env: Readonly<Record<string, string>> = {}
  ) {
    const { folder } = this
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith("HEDDLE_") || kept.has(name))
    const child = spawn(program, args(folder), {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...Object.fromEntries(own), TMPDIR: folder, HOME: folder, XDG_CONFIG_HOME: folder, ...env }
    })
    this.#child = child
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#out += text
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#error += text
    })
    this.ended = new Promise((resolve) => {
      child.once("error", (error) => {
        this.#error += error.message
        resolve({ code: 127, signal: null, out: this.#out, error: this.#error })
      })
      child.once("close", (code, signal) => resolve({ code, signal, out: this.#out, error: this.#error }))
    })
    const reader = createInterface(child.stdout)
    this.#firstLine = new Promise((resolve, reject) => {
      reader.once("line", resolve)
      void this.ended.then(({ code, signal }) =>
        reject(new Error(`it ended (${signal ?? `code ${code}`}) before it printed a line: ${this.#error}`))
      )
    })
    this.#firstLine.catch(() => undefined) // who does not ask for it does not miss it
  }

  /** The first line on standard output. */
  firstLine(withinMs: number): Promise<string> {
    return this.#within("its first line", this.#firstLine, withinMs)
  }

  /** How it ended, at most so long from now. */
  end(withinMs: number): Promise<Ended> {
    return this.#within("its end", this.ended, withinMs)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Its processes that are alive, by command line, working folder or environment; empty where the system does not tell. */
  processes(): ReadonlyArray<string> {
    const pids = readSafelyList("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    return pids.flatMap((pid) => {
      const line = readSafely(() => readFileSync(`/proc/${pid}/cmdline`, "latin1")).replaceAll("\0", " ").trim()
      const where = readSafely(() => readlinkSync(`/proc/${pid}/cwd`))
      const environment = readSafely(() => readFileSync(`/proc/${pid}/environ`, "latin1"))
      const isIts = [line, where, environment].some((text) => text.includes(this.folder))
      return isIts && !isZombie(pid) ? [`${pid} ${line}`] : []
    })
  }

  /** What it left behind once it has ended; what it started may need a moment to notice that. */
  async remainders(withinMs = 60_000): Promise<ReadonlyArray<string>> {
    const until = performance.now() + withinMs
    while (this.processes().length > 0 && performance.now() < until) await sleep(50)
    return this.processes()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill("SIGTERM")
      await Promise.race([this.ended, sleep(60_000, undefined, { ref: false })])
    }
    for (const line of await this.remainders()) {
      try {
        process.kill(Number(line.split(" ")[0]), "SIGKILL")
      } catch {
        // Ended in between.
      }
    }
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  }

  async #within<A>(what: string, work: Promise<A>, withinMs: number): Promise<A> {
    const patience = new AbortController()
    const late = sleep(withinMs, undefined, { signal: patience.signal }).then(
      () => {
        const said = `${this.#out.slice(-tailChars)}\n${this.#error.slice(-tailChars)}`.trim()
        throw new Error(`${what} is not there after ${withinMs} ms; it said:\n${said}`)
      },
      () => new Promise<never>(() => undefined) // in time
    )
    try {
      return await Promise.race([work, late])
    } finally {
      patience.abort()
    }
  }
}

const readSafelyList = (folder: string): ReadonlyArray<string> => {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
