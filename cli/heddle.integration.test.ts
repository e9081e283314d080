import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { type AddressInfo, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"

const root = join(import.meta.dirname, "..")
const heddle = join(root, "bin", "heddle.mjs")

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-cli-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
)

const environment = (cwd: string, more: Record<string, string>): NodeJS.ProcessEnv => ({
  PATH: process.env["PATH"],
  HOME: cwd,
  XDG_CONFIG_HOME: cwd,
  NODE_COMPILE_CACHE: join(root, ".heddle", "cache", "compile"),
  HEDDLE_TIMEOUT: "60s",
  ...(process.env["HEDDLE_NATS_SERVER"] === undefined ? {} : { HEDDLE_NATS_SERVER: process.env["HEDDLE_NATS_SERVER"] }),
  ...(process.env["HEDDLE_TOOLS"] === undefined ? {} : { HEDDLE_TOOLS: process.env["HEDDLE_TOOLS"] }),
  ...more
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly error: string
}

const running = (cwd: string, args: ReadonlyArray<string>, more: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, [heddle, ...args], { cwd, env: environment(cwd, more), stdio: ["ignore", "pipe", "pipe"] })

const run = (cwd: string, args: ReadonlyArray<string>, more: Record<string, string> = {}) =>
  Effect.callback<Ended>((resume) => {
    const child = running(cwd, args, more)
    let out = ""
    let error = ""
    child.stdout?.on("data", (chunk: Buffer) => {
      out += chunk.toString()
    })
    child.stderr?.on("data", (chunk: Buffer) => {
      error += chunk.toString()
    })
    child.on("close", (code) => resume(Effect.succeed({ code, out, error })))
    return Effect.sync(() => void child.kill("SIGKILL"))
  })

const usageErrors = (cases: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]>) =>
  Effect.gen(function*() {
    const cwd = yield* folder
    for (const [args, said] of cases) {
      const { code, error, out } = yield* run(cwd, args)
      assert.deepStrictEqual({ code, out }, { code: 2, out: "" }, args.join(" "))
      assert.match(error, said)
      assert.isBelow(error.split("\n").length, 10, "never a page of help")
    }
  }).pipe(Effect.scoped)

it.live(
  "a usage error is exit code 2, one message on standard error, nothing on standard output",
  () =>
    usageErrors([
      [["clam"], /Unknown subcommand "clam"[\s\S]*claim/],
      [["claim"], /Missing required argument: pool/],
      [["claim", "p", "--nope"], /Unrecognized flag: --nope/],
      [["claim", "a b"], /The pool "a b" is no name/],
      [["claim", "p", "ls"], /heddle claim p --exec -- ls/],
      [["claim", "p", "--priority", "11"], /--priority: "11"\. Expected: 0 \(lowest\) to 9 \(highest\)/],
      [["pools", "apply", "pools.yaml"], /heddle pools apply -f pools\.yaml/],
      [["envs", "apply", "envs.json"], /heddle envs apply -f envs\.json/],
      [["pools", "ls", "-o", "xml"], /"table"/]
    ]),
  180_000
)

it.live(
  "so is a value that cannot be, told with its flag",
  () =>
    usageErrors([
      [["claim", "p", "--ttl", "0"], /--ttl "0" is too short/],
      [["serve", "task-executor", "--slots", "0"], /--slots: "0"\. Expected: a whole number from 1/],
      [["serve", "gateway", "--http-host", ""], /--http-host is empty/],
      [["dev", "--data-dir", "/proc/heddle/dev"], /\/proc\/heddle\/dev cannot be used[\s\S]*--data-dir/],
      [["pools", "ls", "--namespace", "a b"], /--namespace "a b" is no name/],
      [["pools", "apply", "-f", "."], /-f \. cannot be read: it is a folder/]
    ]),
  180_000
)

it.live("without a server: exit code 6, and with -o json the error is the contract's", () =>
  Effect.gen(function*() {
    const cwd = yield* folder
    const away = { HEDDLE_NATS_URL: "nats://127.0.0.1:1" }
    const { code, error, out } = yield* run(cwd, ["workflows", "ls", "-o", "json", "--timeout", "300ms"], away)
    assert.deepStrictEqual({ code, out }, { code: 6, out: "" })
    const answer: unknown = JSON.parse(error)
    assert.nestedPropertyVal(answer, "error.code", "Unavailable")
  }).pipe(Effect.scoped), 180_000)

/** Says that it is a nats-server of this version, and answers nothing but PING. */
const pretender = (version: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly stop: () => void }>((resume) => {
      const server = createServer((socket) => {
        socket.on("error", () => undefined) // whoever looked has gone
        socket.write(
          `INFO ${JSON.stringify({ server_id: "P", version, max_payload: 1_048_576, headers: true, proto: 1 })}\r\n`
        )
        socket.on("data", (bytes) => {
          if (bytes.includes("PING")) socket.write("PONG\r\n")
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo // listening on TCP
        resume(Effect.succeed({ url: `nats://127.0.0.1:${port}`, stop: () => server.close() }))
      })
    }),
    ({ stop }) => Effect.sync(stop)
  )

it.live(
  "a nats-server that is too old: no service starts on it, doctor says so, both name the least version",
  () =>
    Effect.gen(function*() {
      const cwd = yield* folder
      const { url } = yield* pretender("2.11.9")
      for (const service of ["coordinator", "pool-scheduler", "task-executor", "failover"]) {
        const { code, error } = yield* run(cwd, ["serve", service, "--nats", url])
        assert.strictEqual(code, 6, error)
        assert.match(error, /nats-server 2\.11\.9 at .* is too old: 2\.12\.\d+ at least/, service)
      }
      const doctor = yield* run(cwd, ["doctor", "--nats", url])
      assert.notStrictEqual(doctor.code, 0)
      assert.match(doctor.out, /problem .*2\.11\.9/)
    }).pipe(Effect.scoped),
  180_000
)

it.live(
  "what needs no server: help, errors, completion, validation; without an escape byte off a terminal",
  () =>
    Effect.gen(function*() {
      const cwd = yield* folder
      const help = yield* run(cwd, ["--help"])
      assert.strictEqual(help.code, 0)
      assert.notInclude(help.out, "\u001b")
      const one = yield* run(cwd, ["errors", "nosuchpool", "-o", "json"])
      assert.nestedPropertyVal(JSON.parse(one.out), "code", "NoSuchPool")
      assert.strictEqual((yield* run(cwd, ["errors", "Nothing"])).code, 3)
      assert.include((yield* run(cwd, ["completion", "zsh"])).out, "#compdef heddle")
      for (const shell of ["bash", "zsh", "fish"]) {
        const script = (yield* run(cwd, ["completion", shell])).out
        assert.include(script, "force-success", shell)
        assert.notInclude(script, "--completions", shell)
      }
      for (const name of ["hello", "diamond", "repo-report"]) {
        const file = join(root, "examples", `${name}.yaml`)
        assert.strictEqual((yield* run(cwd, ["definitions", "validate", "--local", file])).code, 0, name)
      }
    }).pipe(Effect.scoped),
  180_000
)

/** `heddle dev` until the scope ends; its ready line. */
const dev = (cwd: string) =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => running(cwd, ["dev", "-o", "json", "--pool", "default=2"])),
      (process) =>
        Effect.callback<void>((resume) => {
          if (process.exitCode !== null || process.signalCode !== null) return resume(Effect.void)
          process.once("exit", () => resume(Effect.void))
          process.kill("SIGKILL")
        })
    )
    const out = child.stdout
    if (out === null) throw new Error("stdout is a pipe")
    const line = yield* Effect.callback<string>((resume) => {
      createInterface(out).once("line", (text) => resume(Effect.succeed(text)))
    })
    return { child, ready: JSON.parse(line) as { readonly ready: boolean; readonly natsUrl: string } } // what the contract says
  })

it.live(
  "dev: a claim succeeds at once, a command's exit code comes through, a run waits and replays, SIGTERM ends it with 0",
  () =>
    Effect.gen(function*() {
      const cwd = yield* folder
      const { child, ready } = yield* dev(cwd)
      assert.strictEqual(ready.ready, true)
      // No flag, no variable: the endpoint of the dev in this folder is found.
      const claimed = yield* run(cwd, ["claim", "default", "-o", "json", "--id", "c-1"])
      assert.nestedPropertyVal(JSON.parse(claimed.out), "outcome", "Claimed")
      assert.strictEqual((yield* run(cwd, ["release", "default", "c-1"])).code, 0)
      // A claim alone is looked for in all pools; without a pool the claims of all are shown.
      assert.strictEqual((yield* run(cwd, ["claim", "default", "--id", "c-2"])).code, 0)
      const held = yield* run(cwd, ["claims", "ls", "-o", "jsonl"])
      assert.deepInclude(JSON.parse(held.out), { claimId: "c-2", pool: "default/default" })
      assert.nestedPropertyVal(
        JSON.parse((yield* run(cwd, ["claims", "describe", "c-2", "-o", "json"])).out),
        "outcome",
        "Claimed"
      )
      assert.deepInclude(yield* run(cwd, ["release", "c-2"]), { code: 0, out: "c-2 Released\n" })
      assert.strictEqual((yield* run(cwd, ["release", "c-nowhere"])).code, 3)
      const used = yield* run(cwd, ["claim", "default", "--exec", "--", "sh", "-c", "echo data; echo log >&2; exit 7"])
      assert.deepStrictEqual(used, { code: 7, out: "data\n", error: "log\n" })
      assert.strictEqual((yield* run(cwd, ["claim", "nowhere"])).code, 3)
      const args = [
        "run",
        join(root, "examples", "diamond.yaml"),
        "--id",
        "d-1",
        "--param",
        "number=4",
        "--wait",
        "-o",
        "json"
      ]
      const result = yield* run(cwd, args)
      assert.strictEqual(result.code, 0, result.error)
      assert.nestedPropertyVal(JSON.parse(result.out), "outputs.sum", 24)
      const fromTypeScript = yield* run(cwd, ["run", join(root, "examples", "nightly.ts"), "--wait", "-o", "json"])
      assert.strictEqual(fromTypeScript.code, 0, fromTypeScript.error)
      assert.deepNestedPropertyVal(JSON.parse(fromTypeScript.out), "outputs.rows", [3, 3])
      const replayed = yield* run(cwd, ["replay", "d-1", "--verify"])
      assert.strictEqual(replayed.code, 0, replayed.error)
      assert.match(replayed.out, /hash chain {2}ok/)
      assert.match(replayed.out, /decisions {3}ok/)
      assert.strictEqual((yield* run(cwd, ["workflows", "get", "nobody"])).code, 3)
      const code = yield* Effect.callback<number | null>((resume) => {
        child.once("exit", (exit) => resume(Effect.succeed(exit)))
        child.kill("SIGTERM")
      })
      assert.strictEqual(code, 0)
      assert.strictEqual((yield* run(cwd, ["claim", "default", "--nats", ready.natsUrl, "--timeout", "300ms"])).code, 6)
    }).pipe(Effect.scoped),
  180_000
)
