import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type {
  ClaimMark,
  ClaimOutcome,
  OpenContext,
  ProviderPool,
  ReadBackOutcome,
  ReleaseOutcome,
  SandboxDelta,
  SandboxState
} from "../../shared/plugin/PoolProvider.ts"
import type { ExecRequest, ExitStatus, SandboxClient } from "../../shared/plugin/SandboxClient.ts"
import { ClaimId, Namespace, PoolName, SessionId } from "../../shared/protocol/Token.ts"
import { local } from "./plugin.ts"
import * as ProcessTree from "./ProcessTree.mjs"

const session = SessionId.make(7)
const contextOf = (name: string): OpenContext => ({
  pool: { namespace: Namespace.make("default"), name: PoolName.make(name) },
  sessionId: session,
  size: 1,
  labels: { tier: "test" },
  startedAt: 0
})
const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-test-"))),
  (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
)
const markOf = (id: string): ClaimMark => ({ claimId: ClaimId.make(id), holder: "test", sessionId: session, ttlMs: 0 })

/** A pool with one sandbox, its deltas as they come, and the sandbox once it is Idle. */
const opened = Effect.fnUntraced(function*(config: Record<string, unknown> = {}) {
  const directory = yield* folder
  const pool = yield* local.open(contextOf("p"), { directory, ...config })
  const deltas = yield* Queue.unbounded<SandboxDelta>()
  yield* pool.watch((delta) => Queue.offerUnsafe(deltas, delta))
  const until = (phase: SandboxState["phase"] | "Removed") =>
    Effect.gen(function*() {
      for (;;) {
        const delta = yield* Queue.take(deltas)
        if (delta._tag === "Removed" && phase === "Removed") return undefined
        if (delta._tag === "Upsert" && delta.state.phase === phase) return delta.state
      }
    }).pipe(Effect.timeout("1 minute"), Effect.orDie)
  const idle = until("Idle").pipe(Effect.flatMap((state) => Effect.fromNullishOr(state)), Effect.orDie)
  pool.create({ name: "a", sessionId: session }, (answer) => assert.deepStrictEqual(answer, { _tag: "Done" }))
  return { directory, pool, until, idle, first: yield* idle }
})

const claim = (pool: ProviderPool, state: SandboxState, id: string) =>
  Effect.callback<ClaimOutcome>((resume) =>
    pool.claim({ uid: state.sandbox.uid, version: state.version, mark: markOf(id) }, (_) => resume(Effect.succeed(_)))
  )
const release = (pool: ProviderPool, state: SandboxState, id: string, mode: "recycle" | "delete" = "recycle") =>
  Effect.callback<ReleaseOutcome>((resume) =>
    pool.release(
      { uid: state.sandbox.uid, claimId: ClaimId.make(id), sessionId: session, mode },
      (_) => resume(Effect.succeed(_))
    )
  )

interface Ran {
  readonly status: ExitStatus
  readonly stdout: string
  readonly stderr: string
}
const run = Effect.fnUntraced(
  function*(client: SandboxClient, request: Partial<ExecRequest> & Pick<ExecRequest, "command">) {
    const process = yield* client.exec({ env: {}, ...request })
    const text = { stdout: "", stderr: "" }
    yield* Stream.runForEach(process.output, ({ bytes, stream }) =>
      Effect.sync(() => {
        text[stream] += new TextDecoder().decode(bytes)
      }))
    const ran: Ran = { status: yield* process.exit, ...text }
    return ran
  },
  Effect.scoped
)

const isAlive = (pid: number) =>
  ProcessTree.signalOne(pid, 0) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
const gone = (pid: number) =>
  Effect.sync(() => {
    try {
      return !isAlive(pid)
    } catch {
      return true
    }
  })
/** Looks every 25 ms whether it is so by now; false when it is not within a minute. */
const eventually = (isSo: Effect.Effect<boolean>) =>
  Effect.gen(function*() {
    for (let i = 0; i < 2_400; i++) {
      if (yield* isSo) return true
      yield* Effect.sleep(25)
    }
    return false
  })
/** Waits for the end of a process that is ending, with a bound. */
const awaitGone = (pid: number) => eventually(gone(pid))
const exited = (code: number): ExitStatus => ({ _tag: "Exited", code, collected: undefined })

it.live(
  "a sandbox starts, is claimed once, runs, is reset for the next holder, and its old address is dead",
  () =>
    Effect.gen(function*() {
      const { directory, first, idle, pool } = yield* opened()
      assert.deepStrictEqual(first.sandbox.labels, { tier: "test" })
      assert.strictEqual(statSync(dirname(dirname(first.sandbox.address!.slice(5)))).mode & 0o777, 0o700)
      assert.strictEqual((yield* claim(pool, first, "c1"))._tag, "Success")
      assert.strictEqual((yield* claim(pool, first, "c2"))._tag, "WrongPhase")
      const client = yield* local.connect(first.sandbox)
      assert.deepStrictEqual(
        yield* run(client, {
          command: { script: "echo kept > file; echo home > $HOME/x; pwd; echo oops > /dev/stderr; exit 3" }
        }),
        {
          status: exited(3),
          stdout: `${dirname(first.sandbox.address!.slice(5))}/work\n`,
          stderr: "oops\n"
        }
      )
      assert.strictEqual(
        (yield* run(client, { command: ["cat", "file"] })).stdout,
        "kept\n",
        "one holder keeps its files"
      )
      assert.strictEqual((yield* release(pool, first, "other"))._tag, "NotOurs")
      assert.strictEqual((yield* release(pool, first, "c1"))._tag, "Done")
      assert.strictEqual((yield* release(pool, first, "c1"))._tag, "Done")
      const second = yield* idle
      assert.isAbove(second.version, first.version)
      assert.isUndefined(second.claim)
      assert.strictEqual((yield* claim(pool, first, "c3"))._tag, "Conflict", "an old version changes nothing")
      assert.strictEqual(
        (yield* Effect.flip(run(client, { command: ["true"] })))._tag,
        "SandboxLost",
        "the first holder is out"
      )
      assert.strictEqual((yield* claim(pool, second, "c3"))._tag, "Success")
      const again = yield* local.connect(second.sandbox)
      assert.deepStrictEqual(yield* run(again, { command: { script: "ls -A . $HOME $TMPDIR | grep -v :" } }), {
        status: exited(0),
        stdout: "\n\n",
        stderr: ""
      })
      const answer = yield* Effect.callback<ReadBackOutcome>((resume) =>
        pool.readBack(second.sandbox.uid, ClaimId.make("c3"), (_) => resume(Effect.succeed(_)))
      )
      assert.strictEqual(answer._tag, "Ours")
      assert.lengthOf(readdirSync(directory), 1)
    })
)

it.live(
  "a closed pool leaves neither process nor folder, and two pools in one folder do not meet",
  () =>
    Effect.gen(function*() {
      const directory = yield* folder
      const pids = yield* Effect.scoped(Effect.gen(function*() {
        const one = yield* opened({ directory })
        const two = yield* opened({ directory })
        assert.notStrictEqual(one.first.sandbox.uid, two.first.sandbox.uid)
        assert.notStrictEqual(one.first.sandbox.address, two.first.sandbox.address)
        yield* claim(one.pool, one.first, "c")
        const client = yield* local.connect(one.first.sandbox)
        const process = yield* client.exec({
          command: { script: "echo $$; exec sleep 300" },
          env: {},
          grace: { sigintMs: 50, sigtermMs: 50 }
        })
        const line = yield* Stream.runHead(process.output)
        const pid = Number(new TextDecoder().decode(line._tag === "Some" ? line.value.bytes : undefined))
        assert.isTrue(isAlive(pid))
        return [pid, ...ProcessTree.members({ folder: directory })]
      }))
      assert.isAbove(pids.length, 2)
      for (const pid of pids) assert.isTrue(yield* gone(pid), `${pid} is left`)
      assert.deepStrictEqual(readdirSync(directory), [])
    })
)

it.live("a task sees a clean environment: nothing of the service's but the allow-list", () =>
  Effect.gen(function*() {
    process.env["HEDDLE_TEST_SECRET"] = "hidden"
    process.env["HEDDLE_TEST_WANTED"] = "passed"
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        delete process.env["HEDDLE_TEST_SECRET"]
        delete process.env["HEDDLE_TEST_WANTED"]
      })
    )
    const { first, pool } = yield* opened({ passEnv: ["HEDDLE_TEST_WANTED"], env: { POOL: "p" } })
    yield* claim(pool, first, "c")
    const client = yield* local.connect(first.sandbox)
    const { stdout } = yield* run(client, { command: ["env"], env: { OWN: "yes" } })
    const env = Object.fromEntries(stdout.trim().split("\n").map((line) => line.split(/=(.*)/s).slice(0, 2)))
    assert.isUndefined(env["HEDDLE_TEST_SECRET"])
    assert.strictEqual(env["HEDDLE_TEST_WANTED"], "passed")
    assert.strictEqual(env["OWN"], "yes")
    assert.strictEqual(env["POOL"], "p")
    assert.match(env["HOME"], /\/home$/)
    const allowed = new Set([
      "PATH",
      "LANG",
      "LANGUAGE",
      "TZ",
      "USER",
      "LOGNAME",
      "SHELL",
      "HOME",
      "TMPDIR",
      "POOL",
      "OWN",
      "HEDDLE_SANDBOX",
      "HEDDLE_EXEC",
      "HEDDLE_TEST_WANTED",
      "PWD",
      "_",
      "SHLVL",
      "OLDPWD"
    ])
    assert.deepStrictEqual(Object.keys(env).filter((name) => !allowed.has(name) && !name.startsWith("LC_")), [])
  }))

const daemon = `node -e '
  const { spawn } = require("node:child_process")
  const child = spawn("sleep", ["300"], { detached: true, stdio: "ignore" })
  child.unref()
  console.log(child.pid)
'`

it.live(
  "the whole tree ends with its process: also a daemon in a session of its own; a kill escalates past processes that ignore it",
  () =>
    Effect.gen(function*() {
      const { first, pool } = yield* opened({ env: { PATH: process.env["PATH"] ?? "" } })
      yield* claim(pool, first, "c")
      const client = yield* local.connect(first.sandbox)
      const ended = yield* run(client, { command: { script: `${daemon}; sleep 300 & echo $!; exit 0` } })
      assert.deepStrictEqual(ended.status, exited(0))
      const pids = ended.stdout.trim().split("\n").map(Number)
      assert.lengthOf(pids, 2)
      for (const pid of pids) assert.isTrue(yield* gone(pid), `${pid} outlives its exec`)

      const killed = yield* Effect.scoped(Effect.gen(function*() {
        const process = yield* client.exec({
          command: {
            script: `trap '' INT TERM; ${daemon}; sh -c 'trap "" INT TERM; echo $$; while :; do sleep 1; done' & wait`
          },
          env: {},
          grace: { sigintMs: 60, sigtermMs: 60 }
        })
        let text = ""
        yield* Stream.runForEachWhile(process.output, ({ bytes }) =>
          Effect.sync(() => {
            text += new TextDecoder().decode(bytes)
            return text.trim().split("\n").length < 2
          }))
        const pids = text.trim().split("\n").map(Number)
        for (const pid of pids) assert.isTrue(isAlive(pid))
        yield* process.kill
        for (const pid of pids) assert.isTrue(yield* gone(pid), `${pid} outlives the kill`)
        return yield* process.exit
      }))
      assert.deepStrictEqual(killed, { _tag: "Signalled", signal: "SIGKILL", collected: undefined })
    })
)

it.live(
  "SIGINT comes first and once, so that a process may end in its own way and its last output is read",
  () =>
    Effect.gen(function*() {
      const { first, pool } = yield* opened()
      yield* claim(pool, first, "c")
      const client = yield* local.connect(first.sandbox)
      const script =
        `process.on("SIGINT", () => { console.log("int"); setTimeout(() => process.exit(9), 100) }); console.log("up"); setInterval(() => {}, 1000)`
      const result = yield* Effect.scoped(Effect.gen(function*() {
        const child = yield* client.exec({
          command: [process.execPath, "-e", script],
          env: {},
          // far longer than it needs: what comes after SIGINT must not come because the machine is slow
          grace: { sigintMs: 60_000, sigtermMs: 60_000 }
        })
        const text: Array<string> = []
        yield* Stream.runForEach(child.output, ({ bytes }) =>
          Effect.suspend(() => {
            text.push(new TextDecoder().decode(bytes).trim())
            return text.length === 1 ? Effect.asVoid(Effect.forkDetach(child.kill)) : Effect.void
          }))
        return { text, status: yield* child.exit }
      }))
      assert.deepStrictEqual(result, { text: ["up", "int"], status: exited(9) })
    })
)

it.live("a reader that stops holds the writer up, and gets every byte when it goes on", () =>
  Effect.gen(function*() {
    const { first, pool } = yield* opened()
    yield* claim(pool, first, "c")
    const client = yield* local.connect(first.sandbox)
    const total = 24 * 1024 * 1024
    const read = yield* Effect.scoped(Effect.gen(function*() {
      const child = yield* client.exec({
        command: { script: `head -c ${total} /dev/zero; echo done > $HOME/done` },
        env: {}
      })
      let read = 0
      let isFirst = true
      yield* Stream.runForEach(child.output, ({ bytes }) =>
        Effect.gen(function*() {
          read += bytes.length
          if (!isFirst) return
          isFirst = false
          yield* Effect.sleep(400)
          const home = join(dirname(first.sandbox.address!.slice(5)), "home")
          assert.isFalse(existsSync(join(home, "done")), "the writer is still held up")
        }))
      assert.deepStrictEqual(yield* child.exit, exited(0))
      return read
    }))
    assert.strictEqual(read, total)
  }))

it.live.skipIf(process.platform !== "linux")(
  "a process that got the number of a root that is gone, and what it starts, is nobody's",
  () =>
    Effect.gen(function*() {
      const child = yield* Effect.acquireRelease(
        Effect.sync(() => spawn("sleep", ["300"], { detached: true, stdio: "ignore" })),
        (one) => Effect.sync(() => one.kill("SIGKILL"))
      )
      const { pid = 0 } = child
      const start = ProcessTree.startOf(pid) ?? ""
      assert.match(start, /^\d+$/)
      const of = (startedAt: string) => ({ roots: [pid], known: new Map([[pid, startedAt]]) })
      assert.deepStrictEqual(ProcessTree.members(of(start)), [pid])
      assert.deepStrictEqual(ProcessTree.members(of("1")), [])
      assert.strictEqual((yield* Effect.promise(() => ProcessTree.killAll(of("1")))).left, 0)
      assert.isTrue(isAlive(pid))
      yield* Effect.promise(() => ProcessTree.killAll(of(start)))
      assert.isTrue(yield* awaitGone(pid))
      assert.isUndefined(ProcessTree.startOf(2 ** 30))
    })
)

it.live("an agent that dies is Gone with its tasks, and its holder sees a lost sandbox", () =>
  Effect.gen(function*() {
    const { directory, first, pool, until } = yield* opened()
    yield* claim(pool, first, "c")
    const client = yield* local.connect(first.sandbox)
    const child = yield* client.exec({ command: { script: "echo $PPID $$; setsid sleep 300; :" }, env: {} })
    const line = yield* Stream.runHead(child.output)
    const [agent = 0, task = 0] = new TextDecoder().decode(line._tag === "Some" ? line.value.bytes : undefined).trim()
      .split(" ").map(Number)
    const all = ProcessTree.members({ folder: directory })
    assert.include(all, task)
    process.kill(agent, "SIGKILL")
    yield* until("Gone")
    yield* until("Removed")
    assert.strictEqual((yield* Effect.flip(child.exit))._tag, "SandboxLost")
    for (const pid of all) assert.isTrue(yield* awaitGone(pid), `${pid} is left`)
    assert.deepStrictEqual(yield* pool.list, [])
    assert.strictEqual((yield* claim(pool, first, "d"))._tag, "Gone")
  }))

it.live("kill -9 of the service leaves no process, no task and no folder behind", () =>
  Effect.gen(function*() {
    const directory = yield* folder
    const program = fileURLToPath(new URL("TestService.ts", import.meta.url))
    const runtime = "Deno" in globalThis ? ["run", "-A", "--no-lock", program] : [program]
    const service = spawn(process.execPath, [...runtime, JSON.stringify(contextOf("q")), directory], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => service.kill("SIGKILL")))
    const sandbox = yield* Effect.callback<string>((resume) => {
      let text = ""
      service.stdout.on("data", (chunk) => {
        text += String(chunk)
        const lines = text.split("\n")
        if (lines.length > 2 && lines[1] !== undefined) resume(Effect.succeed(lines[1]))
      })
    })
    const client = yield* local.connect(JSON.parse(sandbox))
    const child = yield* client.exec({ command: { script: "echo $PPID; setsid sleep 300 & echo $!; wait" }, env: {} })
    let text = ""
    yield* Stream.runForEachWhile(child.output, ({ bytes }) =>
      Effect.sync(() => {
        text += new TextDecoder().decode(bytes)
        return text.trim().split("\n").length < 2
      }))
    const pids = [...text.trim().split("\n").map(Number), ...ProcessTree.members({ folder: directory })]
    assert.isAbove(pids.length, 3)
    service.kill("SIGKILL")
    for (const pid of pids) assert.isTrue(yield* awaitGone(pid), `${pid} is left`)
    yield* eventually(Effect.sync(() => readdirSync(directory).length === 0))
    assert.deepStrictEqual(readdirSync(directory), [])
  }))

it.live(
  "what was left by a service and agents that were all killed is removed by the next pool",
  () =>
    Effect.gen(function*() {
      const directory = yield* folder
      const stranger = spawn("sleep", ["300"], {
        detached: true,
        stdio: "ignore",
        env: { HEDDLE_SANDBOX: "AbCdEf-1-1" }
      })
      const bystander = spawn("sleep", ["300"], {
        detached: true,
        stdio: "ignore",
        env: { HEDDLE_SANDBOX: "ZZZZZZ-1-1" }
      })
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          stranger.kill("SIGKILL")
          bystander.kill("SIGKILL")
        })
      )
      // A process that has just begun to run a program shows no environment for a moment.
      const isMarked = (pid = 0) =>
        Effect.sync(() => readFileSync(`/proc/${pid}/environ`, "latin1").includes("HEDDLE_SANDBOX="))
      for (const { pid } of [stranger, bystander]) assert.isTrue(yield* eventually(isMarked(pid)))
      const made = join(directory, "heddle-local-AbCdEf")
      yield* Effect.promise(async () => {
        const fs = await import("node:fs/promises")
        await fs.mkdir(made)
        await fs.writeFile(join(made, "owner"), "2147483646 1")
      })
      yield* local.open(contextOf("r"), { directory })
      assert.isFalse(existsSync(made))
      assert.isTrue(yield* awaitGone(stranger.pid ?? 0))
      assert.isTrue(isAlive(bystander.pid ?? 0))
    })
)

it.live(
  "outputs come with the exit, bounded; what cannot start says why; a request in a lost sandbox fails",
  () =>
    Effect.gen(function*() {
      const { first, pool } = yield* opened()
      yield* claim(pool, first, "c")
      const client = yield* local.connect(first.sandbox)
      const collect = { env: "OUT", bytesMax: 10 }
      const small = yield* run(client, { command: { script: "echo a=1 > $OUT" }, collect })
      assert.deepStrictEqual(small.status, { _tag: "Exited", code: 0, collected: { text: "a=1\n", truncated: false } })
      const large = yield* run(client, { command: { script: "echo 0123456789012 > $OUT" }, collect })
      assert.deepStrictEqual(large.status, {
        _tag: "Exited",
        code: 0,
        collected: { text: "0123456789", truncated: true }
      })
      const trick = yield* run(client, { command: { script: "rm $OUT; ln -s /etc/passwd $OUT" }, collect })
      assert.deepStrictEqual(trick.status, { _tag: "Exited", code: 0, collected: { text: "", truncated: false } })
      const missing = yield* run(client, { command: ["no-such-program"] })
      assert.deepStrictEqual(missing.status, { _tag: "NotStarted", reason: "no-such-program: no such program" })
      const nowhere = yield* run(client, { command: ["true"], cwd: "no/folder" })
      assert.strictEqual(nowhere.status._tag, "NotStarted")
      const long = yield* run(client, { command: { script: `: ${"x".repeat(200_000)}\necho long` } })
      assert.strictEqual(long.stdout, "long\n")
      const many = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, i) => i),
        (i) => run(client, { command: ["echo", String(i)] }),
        { concurrency: 20 }
      )
      assert.deepStrictEqual(many.map((_) => _.stdout), Array.from({ length: 20 }, (_, i) => `${i}\n`))
    })
)

it.live(
  "what processes wrote arrives whole also when others keep their agent busy for long",
  () =>
    Effect.gen(function*() {
      // In the agent, as on a slow machine: to start a process takes its time, and so does a look at all of them.
      const slow = `
        import child from "node:child_process"
        import fs from "node:fs"
        import { syncBuiltinESMExports } from "node:module"
        const { readdirSync } = fs
        const { spawn } = child
        const stand = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
        fs.readdirSync = (path, ...of) => {
          if (path === "/proc") stand(50)
          return readdirSync(path, ...of)
        }
        child.spawn = (...of) => {
          const started = spawn(...of)
          stand(of[0] === "mkfifo" ? 200 : 20)
          return started
        }
        syncBuiltinESMExports()`
      const { first, pool } = yield* opened({
        env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(slow)}` }
      })
      yield* claim(pool, first, "c")
      const client = yield* local.connect(first.sandbox)
      yield* client.exec({ command: ["sleep", "300"], env: {}, grace: { sigintMs: 0, sigtermMs: 0 } })
      const many = yield* Effect.forEach(
        Array.from({ length: 24 }, (_, i) => i),
        (i) => run(client, { command: { script: `echo ${i}; echo err ${i} > /dev/stderr` } }),
        { concurrency: 24 }
      )
      assert.deepStrictEqual(
        many,
        Array.from({ length: 24 }, (_, i) => ({ status: exited(0), stdout: `${i}\n`, stderr: `err ${i}\n` }))
      )
    })
)

it.live("writes of an older session are fenced", () =>
  Effect.gen(function*() {
    const { first, pool } = yield* opened()
    const old = SessionId.make(6)
    const answer = yield* Effect.callback<ClaimOutcome>((resume) =>
      pool.claim({ uid: first.sandbox.uid, version: first.version, mark: { ...markOf("c"), sessionId: old } }, (_) =>
        resume(Effect.succeed(_)))
    )
    assert.deepStrictEqual(answer, { _tag: "Fenced", current: session })
  }))

it.live.runIf(process.platform === "linux")(
  "pause answers when everything stands still, also what was just being forked, however often it is done",
  () =>
    Effect.gen(function*() {
      const { first, pool, until } = yield* opened()
      assert.strictEqual((yield* claim(pool, first, "c"))._tag, "Success")
      const running = yield* until("Running").pipe(Effect.flatMap((state) => Effect.fromNullishOr(state)), Effect.orDie)
      const client = yield* local.connect(running.sandbox)
      const forking = "echo up; while :; do (:); (:) & done"
      const exec = yield* client.exec({ env: {}, command: ["sh", "-c", `(${forking}) & (${forking}) & ${forking}`] })
      yield* exec.output.pipe(
        Stream.mapAccum(() => 0, (seen, { bytes }) => [seen + bytes.length, [seen + bytes.length]]),
        Stream.takeUntil((seen) => seen >= 9),
        Stream.runDrain
      )
      const set = (verb: "pause" | "resume") =>
        Effect.callback<ReleaseOutcome>((resume) =>
          pool[verb]?.(
            { uid: first.sandbox.uid, claimId: ClaimId.make("c"), sessionId: session },
            (_) => resume(Effect.succeed(_))
          )
        )
      const statesOf = () =>
        ProcessTree.members({ mark: `HEDDLE_SANDBOX=${first.sandbox.uid}` }).map((pid) => {
          try {
            const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
            return {
              pid,
              command: readFileSync(`/proc/${pid}/cmdline`, "latin1"),
              state: stat[stat.lastIndexOf(")") + 2]
            }
          } catch {
            return { pid, command: "", state: "gone" }
          }
        }).filter(({ command }) => !command.includes("agent.mjs"))
      for (let round = 0; round < 8; round++) {
        assert.deepStrictEqual(yield* set("pause"), { _tag: "Done" })
        const states = statesOf()
        assert.isAtLeast(states.length, 3)
        assert.deepStrictEqual(states.filter(({ state }) => state === "R" || state === "S"), [])
        assert.deepStrictEqual(yield* set("resume"), { _tag: "Done" })
      }
      assert.deepStrictEqual(yield* release(pool, first, "c"), { _tag: "Done" })
      yield* until("Idle")
    })
)

it.live(
  "pause holds what the holder has started still, resume lets it go on; a paused sandbox can be released",
  () =>
    Effect.gen(function*() {
      const { first, pool, until } = yield* opened()
      assert.strictEqual((yield* claim(pool, first, "c"))._tag, "Success")
      const running = yield* until("Running").pipe(Effect.flatMap((state) => Effect.fromNullishOr(state)), Effect.orDie)
      const client = yield* local.connect(running.sandbox)
      const counting = yield* client.exec({ env: {}, command: ["sh", "-c", "while :; do echo $$; sleep 0.02; done"] })
      const lines = yield* Queue.unbounded<number>()
      yield* Stream.runForEach(counting.output, ({ bytes }) =>
        Effect.sync(() => {
          Queue.offerUnsafe(lines, Number.parseInt(new TextDecoder().decode(bytes), 10))
        })).pipe(Effect.forkScoped)
      const pid = yield* Queue.take(lines)
      const setPaused = (verb: "pause" | "resume", id: string) =>
        Effect.callback<ReleaseOutcome>((resume) =>
          pool[verb]?.(
            { uid: first.sandbox.uid, claimId: ClaimId.make(id), sessionId: session },
            (_) => resume(Effect.succeed(_))
          )
        )
      const stateOf = Effect.sync(() => / ([A-Z]) /.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1])
      assert.deepStrictEqual(yield* setPaused("pause", "other"), { _tag: "NotOurs" })
      assert.deepStrictEqual(yield* setPaused("pause", "c"), { _tag: "Done" })
      // D: it waits for its vfork child, which was stopped before it became another program.
      assert.include(["T", "D"], yield* stateOf)
      assert.isTrue((yield* pool.list)[0]?.isPaused)
      assert.deepStrictEqual(yield* setPaused("resume", "c"), { _tag: "Done" })
      yield* Queue.clear(lines)
      yield* Queue.take(lines)
      assert.deepStrictEqual(yield* setPaused("pause", "c"), { _tag: "Done" })
      assert.deepStrictEqual(yield* release(pool, first, "c"), { _tag: "Done" })
      yield* until("Idle")
      assert.isTrue(yield* awaitGone(pid))
    })
)
