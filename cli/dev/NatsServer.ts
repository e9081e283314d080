/**
 * The nats-server of `heddle dev` and of the demo: the checkout's nats.conf, a free port unless one is asked for, JetStream in a folder of its own.
 *
 * Kept true: the server never outlives the one who started it, also when that is killed with SIGKILL (a small shell stands between them and ends the server when
 * the pipe to it closes); closing the scope ends it in order, so that its store is closed; two servers never share a folder (`lock`).
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from "node:fs"
import { join, resolve } from "node:path"
import { findNatsServer, root } from "../../infra/bootstrap/nats-server.mjs"
import { CliFailure } from "../ExitCode.ts"
import * as FilePath from "../FilePath.ts"

export interface Options {
  /** Absolute; made when it is not there. */
  readonly dataDir: string
  /** 0: a free one. */
  readonly port: number
  /** `always`, or a duration as nats-server writes it. */
  readonly sync: string
  readonly name: string
}

export interface Running {
  readonly url: string
  readonly pid: number
  readonly version: string
  /** Ends when the server does; its text says how. */
  readonly ended: Effect.Effect<string>
  /** The last lines of its log. */
  readonly log: () => string
}

const readyTimeoutMs = 60_000
const endTimeoutMs = 10_000
const logLinesMax = 200

// $1: the server; the rest are its arguments. The reader's end of file is the death of whoever started this shell.
const guardian = `exe=$1; shift
exec 3<&0
"$exe" "$@" </dev/null 3<&- &
server=$!
trap 'kill -TERM $server 2>/dev/null' TERM INT HUP
( trap - TERM INT HUP; while read -r _; do :; done; kill -TERM $server 2>/dev/null ) <&3 &
reader=$!
wait $server; code=$?
while kill -0 $server 2>/dev/null; do wait $server; code=$?; done
kill $reader 2>/dev/null
exit $code`

const startTimeOf = (pid: number): string => {
  try {
    // Field 22 of /proc/<pid>/stat: tells one process from a later one with the same number.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[19] ?? ""
  } catch {
    return ""
  }
}

const isHeld = (path: string): boolean => {
  try {
    const [pid = "", started = ""] = readFileSync(path, "utf8").trim().split(" ")
    const id = Number(pid)
    if (!Number.isInteger(id) || id <= 0) return Date.now() - statSync(path).mtimeMs < 2_000 // being written
    process.kill(id, 0)
    return startTimeOf(id) === started
  } catch (cause) {
    return cause instanceof Error && "code" in cause && cause.code === "EPERM"
  }
}

/** One owner for a data folder, as long as its process lives. False: somebody else has it. */
export const tryLock = (folder: string): boolean => {
  FilePath.makeFolder(folder)
  const path = join(folder, "lock")
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const file = openSync(path, "wx")
      writeSync(file, `${process.pid} ${startTimeOf(process.pid)}\n`)
      closeSync(file)
      return true
    } catch (cause) {
      if (!(cause instanceof Error && "code" in cause && cause.code === "EEXIST")) throw cause
      if (isHeld(path)) return false
      rmSync(path, { force: true })
    }
  }
  return false
}

const unusable = (folder: string) => (cause: unknown): CliFailure =>
  new CliFailure({
    exit: 2,
    message: `The data folder ${folder} cannot be used: ${FilePath.reason(cause, "nothing can be made there")}.`,
    fix: "name another with --data-dir."
  })

/** Holds the folder for the scope. */
export const lock = (folder: string): Effect.Effect<boolean, CliFailure, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({ try: () => tryLock(folder), catch: unusable(folder) }),
    (isOurs) =>
      Effect.sync(() => {
        if (isOurs) rmSync(join(folder, "lock"), { force: true })
      })
  )

const portOf = (folder: string): string | undefined => {
  const name = existsSync(folder) ? readdirSync(folder).find((file) => file.endsWith(".ports")) : undefined
  if (name === undefined) return undefined
  try {
    const ports: unknown = JSON.parse(readFileSync(join(folder, name), "utf8"))
    if (typeof ports === "object" && ports !== null && "nats" in ports && Array.isArray(ports.nats)) {
      const first: unknown = ports.nats[0]
      return typeof first === "string" ? first : undefined
    }
  } catch {
    return undefined // half written
  }
  return undefined
}

const end = (child: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGTERM")
  }).pipe(
    Effect.timeoutOption(endTimeoutMs),
    Effect.andThen(Effect.sync(() => {
      // The whole group: the shell's death alone would only tell the server to end.
      if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
        process.kill(-child.pid, "SIGKILL")
      }
    }))
  )

/** Starts the server and waits until it answers. Fails with its own words when it does not start. */
export const start = Effect.fnUntraced(function*(options: Options) {
  const binary = yield* Effect.tryPromise({
    try: () => findNatsServer({ log: (message) => void process.stderr.write(`heddle: ${message}\n`) }),
    catch: (cause) => new CliFailure({ exit: 1, message: cause instanceof Error ? cause.message : String(cause) })
  })
  const store = resolve(options.dataDir, "jetstream")
  const ports = resolve(options.dataDir, "run")
  yield* Effect.try({
    try: () => {
      FilePath.makeFolder(store)
      rmSync(ports, { recursive: true, force: true })
      FilePath.makeFolder(ports)
    },
    catch: unusable(options.dataDir)
  })
  const lines: Array<string> = []
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const started = spawn("/bin/sh", [
        "-c",
        guardian,
        "heddle-nats",
        binary.path,
        "-c",
        join(root, "nats.conf"),
        "--ports_file_dir",
        ports
      ], {
        stdio: ["pipe", "pipe", "pipe"],
        // A group of its own: Ctrl-C in a terminal must reach the services first, they need the server to end in order.
        detached: true,
        env: {
          PATH: process.env["PATH"] ?? "",
          HEDDLE_NATS_NAME: JSON.stringify(options.name),
          HEDDLE_NATS_PORT: options.port === 0 ? "-1" : String(options.port),
          HEDDLE_NATS_STORE: JSON.stringify(store),
          HEDDLE_NATS_SYNC: JSON.stringify(options.sync)
        }
      })
      const keep = (chunk: Buffer) => {
        lines.push(...chunk.toString("utf8").split("\n").filter((text) => text !== ""))
        if (lines.length > logLinesMax) lines.splice(0, lines.length - logLinesMax)
      }
      started.stdout.on("data", keep)
      started.stderr.on("data", keep)
      return started
    }),
    end
  )
  const ended = Effect.callback<string>((resume) => {
    const tell = () =>
      resume(
        Effect.succeed(
          `nats-server ended with ${child.signalCode ?? `exit code ${child.exitCode ?? "?"}`}: ${
            lines.slice(-3).join(" | ")
          }`
        )
      )
    if (child.exitCode !== null || child.signalCode !== null) return tell()
    child.once("exit", tell)
    child.once("error", (cause) => resume(Effect.succeed(`nats-server does not start: ${cause.message}`)))
    return Effect.sync(() => void child.off("exit", tell))
  })
  const ready = Effect.gen(function*() {
    while (true) {
      const url = portOf(ports)
      if (url !== undefined) return url
      yield* Effect.sleep(10)
    }
  }).pipe(Effect.timeoutOrElse({
    duration: readyTimeoutMs,
    orElse: () =>
      Effect.fail(
        new CliFailure({
          exit: 1,
          message: `nats-server is not ready after ${readyTimeoutMs / 1_000} s: ${lines.slice(-5).join(" | ")}`
        })
      )
  }))
  const url = yield* Effect.raceFirst(
    ready,
    Effect.flatMap(ended, (text) =>
      Effect.fail(
        new CliFailure({
          exit: 1,
          message: text,
          fix: /address already in use/.test(text)
            ? `port ${options.port} is taken: choose another --nats-port, or none for a free one.`
            : "its log is above; `heddle doctor` checks the binary."
        })
      ))
  )
  return {
    url: url.replace("0.0.0.0", "127.0.0.1"),
    pid: child.pid ?? 0,
    version: binary.version,
    ended,
    log: () => lines.join("\n")
  } satisfies Running
})
