// The task types exec and script in a real sandbox of the local provider, and behind the launcher of a pod: what their process sees, how it ends, and that a kill leaves
// nothing of it.
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { spawn, spawnSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { exec } from "../../plugins/exec/Exec.ts"
import * as PodLauncher from "../../plugins/kubernetes/PodLauncher.ts"
import { local } from "../../plugins/local/plugin.ts"
import * as ProcessTree from "../../plugins/local/ProcessTree.mjs"
import { script } from "../../plugins/script/Script.ts"
import type { ClaimOutcome, SandboxDelta } from "../../shared/plugin/PoolProvider.ts"
import type { OutputChunk, SandboxClient } from "../../shared/plugin/SandboxClient.ts"
import type { TaskType } from "../../shared/plugin/TaskType.ts"
import { TaskSpec } from "../../shared/protocol/Report.ts"
import type { Sandbox } from "../../shared/protocol/Sandbox.ts"
import { ClaimId, Namespace, PoolName, SessionId } from "../../shared/protocol/Token.ts"

const sessionId = SessionId.make(7)

/** A claimed sandbox of its own for a test, and its folder. */
const claimed = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-test-"))),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const pool = yield* local.open({
    pool: { namespace: Namespace.make("default"), name: PoolName.make("p") },
    sessionId,
    size: 1,
    labels: {},
    startedAt: 0
  }, { directory })
  const deltas = yield* Queue.unbounded<SandboxDelta>()
  yield* pool.watch((delta) => Queue.offerUnsafe(deltas, delta))
  pool.create({ name: "a", sessionId }, () => {})
  while (true) {
    const delta = yield* Queue.take(deltas)
    if (delta._tag !== "Upsert" || delta.state.phase !== "Idle") continue
    const { sandbox, version } = delta.state
    const mark = { claimId: ClaimId.make("c1"), holder: "test", sessionId, ttlMs: 0 }
    const outcome = yield* Effect.callback<ClaimOutcome>((resume) =>
      pool.claim({ uid: sandbox.uid, version, mark }, (answer) => resume(Effect.succeed(answer)))
    )
    assert.strictEqual(outcome._tag, "Success")
    return { sandbox, directory }
  }
}).pipe(Effect.timeout("90 seconds"))

const specOf = (type: string, options: Record<string, unknown>): TaskSpec =>
  Schema.decodeSync(TaskSpec)({
    instance: "i1",
    task: "load",
    taskInstanceId: "load:1:2",
    attempt: 2,
    type,
    with: options,
    params: { day: "2026-11-21", "max-rows": 3 },
    env: { STAGE: "test", REGION: "eu" },
    shard: 3,
    session: 9
  })

const run = Effect.fnUntraced(
  function*(sandbox: Sandbox, type: TaskType, options: Record<string, unknown>, onStdout?: (text: string) => void) {
    if (type._tag !== "Sandboxed") return assert.fail(`${type.type} runs in a sandbox`)
    const client = yield* local.connect(sandbox)
    const said = { stdout: "", stderr: "", system: "" }
    const outcome = yield* type.run({
      spec: specOf(type.type, options),
      sandbox: client,
      log: (stream, bytes) => {
        said[stream] += new TextDecoder().decode(bytes)
        onStdout?.(said.stdout)
      },
      pauseRequested: Effect.never
    })
    return { outcome, ...said }
  },
  Effect.scoped
)

const isGone = (pid: number) =>
  !ProcessTree.signalOne(pid, 0) || !existsSync(`/proc/${pid}/stat`) ||
  / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"))

/** Starts it, waits for a line `pid N [N ...]`, interrupts it, and gives the pids. */
const killed = Effect.fnUntraced(function*(sandbox: Sandbox, type: TaskType, options: Record<string, unknown>) {
  const started = yield* Queue.unbounded<ReadonlyArray<number>>()
  const fiber = yield* Effect.forkChild(run(sandbox, type, options, (stdout) => {
    const line = /^pid (.+)\n/m.exec(stdout)?.[1]
    if (line !== undefined) Queue.offerUnsafe(started, line.split(" ").map(Number))
  }))
  const pids = yield* Queue.take(started).pipe(Effect.timeout("90 seconds"))
  yield* Fiber.interrupt(fiber)
  return pids
})

it.live(
  "exec: an argv without a shell; env, workdir, parameters, outputs and exit codes",
  () =>
    Effect.gen(function*() {
      const { sandbox } = yield* claimed
      const plain = yield* run(sandbox, exec, {
        command: ["printf", "%s|"],
        args: ["$HOME", "a b", "*", "; exit 3", ""]
      })
      assert.deepStrictEqual(plain.stdout, "$HOME|a b|*|; exit 3||")
      assert.deepStrictEqual(plain.outcome, { _tag: "Succeeded", outputs: {}, exitCode: 0 })

      const program =
        "const e = process.env; require('fs').writeFileSync(e.HEDDLE_OUTPUTS, ['REGION', 'STAGE', 'HEDDLE_TASK', 'HEDDLE_PARAM_DAY', 'HEDDLE_PARAM_MAX_ROWS'].map((n) => n.toLowerCase() + '=' + e[n]).join('\\n'))"
      const seen = yield* run(sandbox, exec, {
        command: [process.execPath, "-e", program],
        env: { REGION: "us", HEDDLE_TASK: "another" },
        workdir: ".."
      })
      assert.deepStrictEqual(seen.outcome, {
        _tag: "Succeeded",
        outputs: {
          region: "us",
          stage: "test",
          heddle_task: "load",
          heddle_param_day: "2026-11-21",
          heddle_param_max_rows: 3
        },
        exitCode: 0
      })

      const codes = (exitCodes?: ReadonlyArray<number>) =>
        run(sandbox, exec, {
          command: ["sh", "-c", "echo no such row >&2; exit 4"],
          ...(exitCodes === undefined ? {} : { exitCodes })
        }).pipe(Effect.map(({ outcome }) => outcome))
      assert.deepStrictEqual(yield* codes([0, 4]), { _tag: "Succeeded", outputs: {}, exitCode: 4 })
      assert.deepStrictEqual(yield* codes(), { _tag: "Failed", reason: "exit code 4: no such row", exitCode: 4 })

      const stdin = "it's \"$HOME\"\n\n  `id` \\n ü EOF\nno line break at the end"
      const read = yield* run(sandbox, exec, { command: ["cat"], stdin })
      assert.deepStrictEqual([read.stdout, read.outcome._tag], [stdin, "Succeeded"])
      const nothing = yield* run(sandbox, exec, { command: ["cat"], stdin: "" })
      assert.deepStrictEqual([nothing.stdout, nothing.outcome._tag], ["", "Succeeded"])

      for (const given of [{}, { stdin: "x" }]) {
        const none = yield* run(sandbox, exec, { command: ["no-such-program-of-heddle"], ...given })
        assert.strictEqual(none.outcome._tag, "Fatal", "no retry would find it")
      }
      const nowhere = yield* run(sandbox, exec, { command: ["true"], workdir: "no/such/folder" })
      assert.match(nowhere.outcome._tag === "Fatal" ? nowhere.outcome.reason : "", /no such directory/)
    }),
  180_000
)

it.live("exec: a kill ends the whole tree, also what ignores the first signals", () =>
  Effect.gen(function*() {
    const { sandbox } = yield* claimed
    const pids = yield* killed(sandbox, exec, {
      command: ["sh", "-c", "trap '' INT TERM; sleep 600 & echo pid $$ $!; wait"],
      grace: "100ms"
    })
    assert.lengthOf(pids, 2)
    assert.deepStrictEqual(pids.filter((pid) => !isGone(pid)), [])
  }), 180_000)

it.live(
  "script: the source reaches its interpreter as it stands; parameters, arguments, outputs; nothing is left behind",
  () =>
    Effect.gen(function*() {
      const { directory, sandbox } = yield* claimed
      const odd = "'\"$HOME `date` \\n $(exit 1) \\ ü\n_ü\n-n %s"
      const ran = yield* run(sandbox, script, {
        interpreter: [process.execPath, "--no-warnings"],
        extension: "mjs",
        args: ["a b", "$HOME"],
        source: `import { appendFileSync } from "node:fs"
const odd = ${JSON.stringify(odd)}
appendFileSync(process.env.HEDDLE_OUTPUTS, [
  "odd=" + JSON.stringify(odd), "args=" + JSON.stringify(process.argv.slice(2)), "day=" + process.env.HEDDLE_PARAM_DAY,
  "file=" + JSON.stringify(process.argv[1].split("/").at(-1)), "dir=" + JSON.stringify(process.cwd())
].join("\\n"))`
      })
      assert.deepStrictEqual<unknown>(
        ran.outcome._tag === "Succeeded" ? { ...ran.outcome.outputs, dir: "" } : ran.outcome,
        {
          odd,
          args: ["a b", "$HOME"],
          day: "2026-11-21",
          file: "script.mjs",
          dir: ""
        }
      )
      const left = readdirSync(directory, { recursive: true, encoding: "utf8" })
      assert.deepStrictEqual(left.filter((path) => path.includes("heddle-script")), [])

      const shell = yield* run(sandbox, script, { interpreter: "sh", source: "echo \"$0\" | sed 's|.*/||'; exit 4" })
      assert.deepStrictEqual([shell.stdout, shell.outcome], ["script.sh\n", {
        _tag: "Failed",
        reason: "exit code 4",
        exitCode: 4
      }])
      const long = yield* run(sandbox, script, { interpreter: "sh", source: `# ${"x".repeat(300_000)}\necho long` })
      assert.strictEqual(long.stdout, "long\n")

      const none = yield* run(sandbox, script, { interpreter: "no-such-interpreter", source: "1" })
      assert.match(
        none.outcome._tag === "Fatal" ? none.outcome.reason : "",
        /no program no-such-interpreter.*with\.interpreter/
      )
      const own = yield* run(sandbox, script, { interpreter: "sh", source: "exit 127" })
      assert.deepStrictEqual(own.outcome, { _tag: "Failed", reason: "exit code 127", exitCode: 127 })
    }),
  180_000
)

it.live(
  "script: a kill reaches the interpreter, which may end in its own way; then the shell around it ends too",
  () =>
    Effect.gen(function*() {
      const { directory, sandbox } = yield* claimed
      const source =
        `process.on("SIGINT", () => { require("node:fs").writeFileSync("ended", "in order"); process.exit(0) })
setInterval(() => {}, 1000)
console.log("pid", process.pid, process.ppid)`
      const pids = yield* killed(sandbox, script, {
        interpreter: process.execPath,
        extension: "cjs",
        source,
        grace: "10s"
      })
      assert.deepStrictEqual(pids.filter((pid) => !isGone(pid)), [])
      const paths = readdirSync(directory, { recursive: true, encoding: "utf8" })
      const ended = paths.find((path) => path.endsWith("/ended")) ?? assert.fail(paths.join(" "))
      assert.strictEqual(readFileSync(join(directory, ended), "utf8"), "in order")
      assert.deepStrictEqual(paths.filter((path) => path.includes("heddle-script")), [])
    }),
  180_000
)

/** As in a pod: the launcher of the provider kubernetes, run here by one of this machine's shells. */
const inPod = (shell: string): SandboxClient => ({
  exec: (request) =>
    Effect.callback((resume) => {
      const id = randomBytes(16).toString("hex")
      const launcher = PodLauncher.scriptOf({ id, sandbox: "s", request, claimEnv: {} })
      const child = spawn(shell, PodLauncher.commandOf(launcher).slice(1), { stdio: "pipe" })
      const output: Array<OutputChunk> = []
      const reader = new PodLauncher.LauncherReader(id, {
        output: (stream, bytes) => output.push({ stream, bytes }),
        started: () => undefined,
        ended: (status) => {
          child.stdin.end()
          resume(Effect.succeed({
            output: Stream.fromIterable(output),
            exit: Effect.succeed(status),
            kill: Effect.void
          }))
        }
      })
      child.stdout.on("data", (bytes: Buffer) => reader.pushStdout(bytes))
      child.stderr.on("data", (bytes: Buffer) => reader.pushStderr(bytes))
      child.stdin.write(launcher) // its end would be a kill
    })
})
const shells = ["dash", "bash", "ksh", "mksh"].filter((name) => spawnSync(name, ["-c", "true"]).error === undefined)

it.live.each(shells)("exec and script behind the launcher of a pod, on %s", (shell) =>
  Effect.gen(function*() {
    const run = Effect.fnUntraced(function*(type: TaskType, options: Record<string, unknown>) {
      if (type._tag !== "Sandboxed") return assert.fail("")
      return yield* type.run({
        spec: specOf(type.type, options),
        sandbox: inPod(shell),
        log: () => undefined,
        pauseRequested: Effect.never
      })
    }, Effect.scoped)
    const source =
      "require('fs').writeFileSync(process.env.HEDDLE_OUTPUTS, 'said=' + JSON.stringify(process.argv.slice(2)))"
    const args = ["it's", "$HOME", "a\nb"]
    const command = [process.execPath, "-e", `process.argv.splice(1, 0, ""); ${source}`, "--"]
    const said = { _tag: "Succeeded", outputs: { said: args }, exitCode: 0 }
    assert.deepStrictEqual<unknown>(yield* run(exec, { command, args }), said)
    const reading = "const text = require('fs').readFileSync(0, 'utf8'); " +
      source.replace("process.argv.slice(2)", "text")
    assert.deepStrictEqual<unknown>(
      yield* run(exec, { command: [process.execPath, "-e", reading], stdin: args.join("\n") }),
      { ...said, outputs: { said: args.join("\n") } }
    )
    assert.deepStrictEqual<unknown>(
      yield* run(script, { interpreter: process.execPath, extension: "cjs", source, args }),
      said
    )
    const none = yield* run(script, { interpreter: "no-such-interpreter", source })
    assert.match(none._tag === "Fatal" ? none.reason : "", /no program no-such-interpreter/)
  }), 180_000)
