/**
 * What every SandboxClient promises (shared/plugin/SandboxClient.ts), as tests: the same assertions for each provider that runs processes. The sandboxes run on this machine,
 * so that a test sees for itself which processes are left.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { existsSync, readFileSync } from "node:fs"
import type {
  ExecRequest,
  ExitStatus,
  SandboxClient,
  SandboxLost,
  SandboxProcess
} from "../../../shared/plugin/SandboxClient.ts"

export interface SandboxUnderTest {
  readonly client: SandboxClient
  /** What its platform does to it when it is lost: the pod is deleted, the agent dies. */
  readonly vanish: Effect.Effect<void>
  /** A folder on this machine that processes in the sandbox can write to. */
  readonly folder: string
}

export interface Ran {
  readonly status: ExitStatus
  readonly stdout: string
  readonly stderr: string
}

export const exited = (code: number): ExitStatus => ({ _tag: "Exited", code, collected: undefined })

export const run: (
  client: SandboxClient,
  request: Partial<ExecRequest> & Pick<ExecRequest, "command">
) => Effect.Effect<Ran, SandboxLost> = Effect.fnUntraced(
  function*(client, request) {
    const process = yield* client.exec({ env: {}, ...request })
    const text = { stdout: "", stderr: "" }
    yield* Stream.runForEach(process.output, ({ bytes, stream }) =>
      Effect.sync(() => {
        text[stream] += Buffer.from(bytes).toString("latin1")
      }))
    return { status: yield* process.exit, ...text }
  },
  Effect.scoped
)

/** Output until this many lines have come. */
export const lines = (process: SandboxProcess, count: number): Effect.Effect<ReadonlyArray<string>, SandboxLost> =>
  Effect.suspend(() => {
    let text = ""
    return Stream.runForEachWhile(process.output, ({ bytes }) =>
      Effect.sync(() => {
        text += Buffer.from(bytes).toString("latin1")
        return text.split("\n").length <= count
      })).pipe(Effect.map(() => text.trim().split("\n")))
  })

export const isAlive = (pid: number): boolean => {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return false
  }
}

/** Waits for the end of a process that is ending, with a bound. */
export const awaitGone = (pid: number) =>
  Effect.gen(function*() {
    for (let i = 0; i < 2_400 && isAlive(pid); i++) yield* Effect.sleep(25)
    return !isAlive(pid)
  })

/** Leaves its group and session: only a look at all processes finds it. */
const daemon = `setsid sh -c 'echo $$; exec sleep 300'`
const quick = { sigintMs: 100, sigtermMs: 100 }

/** `open`: a sandbox that a claim with this environment holds. */
export const contract = (
  name: string,
  open: (claimEnv?: Readonly<Record<string, string>>) => Effect.Effect<SandboxUnderTest, unknown, Scope.Scope>
): void => {
  describe(`${name} keeps what a SandboxClient promises`, () => {
    const test = (what: string, body: (sandbox: SandboxUnderTest) => Effect.Effect<void, unknown, Scope.Scope>) =>
      it.live(what, () => Effect.flatMap(open(), body), 180_000)

    test("exit codes, both streams, each in its order", ({ client }) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(
          yield* run(client, { command: { script: "echo one; echo oops >&2; echo two; exit 3" } }),
          {
            status: exited(3),
            stdout: "one\ntwo\n",
            stderr: "oops\n"
          }
        )
        assert.deepStrictEqual((yield* run(client, { command: ["true"] })).status, exited(0))
        assert.deepStrictEqual((yield* run(client, { command: ["sh", "-c", "exit 126"] })).status, exited(126))
        const numbers = yield* run(client, {
          command: { script: "i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done" }
        })
        assert.deepStrictEqual(
          numbers.stdout,
          `${Array.from({ length: 5_000 }, (_, index) => index).join("\n")}\n`
        )
        const bytes = yield* run(client, { command: ["printf", "\\000\\036heddle:\\377\\036"] })
        assert.strictEqual(bytes.stdout, "\0\u001eheddle:\u00ff\u001e", "output is bytes")
        assert.deepStrictEqual((yield* run(client, { command: { script: "kill -TERM $$" } })).status, {
          _tag: "Signalled",
          signal: "SIGTERM",
          collected: undefined
        })
      }))

    test("arguments and variables arrive as they are; the service's own environment does not", ({ client }) =>
      Effect.gen(function*() {
        process.env["HEDDLE_TEST_SECRET"] = "hidden"
        yield* Effect.addFinalizer(() => Effect.sync(() => delete process.env["HEDDLE_TEST_SECRET"]))
        const odd = "a'b\"c $HOME `id` \\ \t\n* end'"
        const echoed = yield* run(client, { command: ["printf", "%s|%s", odd, ""] })
        assert.strictEqual(echoed.stdout, `${odd}|`)
        const seen = yield* run(client, {
          command: { script: "printf '%s|%s|%s' \"$ODD\" \"$EMPTY-$MANY\" \"$HEDDLE_TEST_SECRET\"" },
          env: { ODD: odd, EMPTY: "", MANY: "x".repeat(50_000), "odd.name": "1", UID: "7" }
        })
        assert.strictEqual(seen.stdout, `${odd}|-${"x".repeat(50_000)}|`)
        const named = yield* run(client, {
          command: ["env"],
          env: { "odd.name": "1 2", PATH: process.env["PATH"] ?? "" }
        })
        assert.include(named.stdout.split("\n"), "odd.name=1 2")
      }))

    it.live(
      "the claim's environment is in every process, and a request's own goes before it",
      () =>
        Effect.gen(function*() {
          const odd = "a'b\"c $HOME `id` \\ \t\n* end'"
          const { client } = yield* open({ CLAIMED: odd, BOTH: "claim", EMPTY: "" })
          const script = "printf '%s|%s|%s' \"$CLAIMED\" \"$BOTH\" \"${EMPTY-none}\""
          for (let count = 0; count < 2; count++) {
            assert.strictEqual((yield* run(client, { command: { script } })).stdout, `${odd}|claim|`)
          }
          assert.strictEqual(
            (yield* run(client, { command: { script }, env: { BOTH: "request" } })).stdout,
            `${odd}|request|`
          )
        }),
      60_000
    )

    test("the working directory is the sandbox's own, or what the request names", ({ client }) =>
      Effect.gen(function*() {
        const { stdout } = yield* run(client, { command: { script: "mkdir -p -- '-a b'/c; pwd" } })
        assert.deepStrictEqual(yield* run(client, { command: ["pwd"], cwd: "-a b/c" }), {
          status: exited(0),
          stdout: `${stdout.trim()}/-a b/c\n`,
          stderr: ""
        })
        assert.strictEqual((yield* run(client, { command: ["pwd"], cwd: "/" })).stdout, "/\n")
      }))

    test("outputs come with the exit, bounded, and only from the file itself", ({ client }) =>
      Effect.gen(function*() {
        const collect = { env: "OUT", bytesMax: 10 }
        const collected = (script: string) =>
          Effect.map(
            run(client, { command: { script }, collect }),
            ({ status }) => status._tag === "NotStarted" ? undefined : status.collected
          )
        assert.deepStrictEqual(yield* collected("echo a=1 > $OUT"), { text: "a=1\n", truncated: false })
        assert.deepStrictEqual(yield* collected("printf 0123456789 > $OUT"), { text: "0123456789", truncated: false })
        assert.deepStrictEqual(yield* collected("printf 01234567890 > $OUT"), { text: "0123456789", truncated: true })
        assert.deepStrictEqual(yield* collected("true"), { text: "", truncated: false })
        assert.deepStrictEqual(yield* collected("echo b > $OUT; exit 4"), { text: "b\n", truncated: false })
        assert.deepStrictEqual(yield* collected("rm $OUT; ln -s /etc/passwd $OUT"), { text: "", truncated: false })
        assert.deepStrictEqual(yield* collected("rm $OUT; mkfifo $OUT"), { text: "", truncated: false })
      }))

    test("what cannot start says why", ({ client, folder }) =>
      Effect.gen(function*() {
        const reason = (request: Partial<ExecRequest> & Pick<ExecRequest, "command">) =>
          Effect.map(
            run(client, request),
            ({ status }) => status._tag === "NotStarted" ? status.reason : JSON.stringify(status)
          )
        assert.strictEqual(yield* reason({ command: ["no-such-program"] }), "no-such-program: no such program")
        assert.strictEqual(
          yield* reason({ command: { script: "true", shell: "/no/such/shell" } }),
          "/no/such/shell: no such program"
        )
        assert.match(yield* reason({ command: ["true"], cwd: "no/folder" }), /no such directory: .*no\/folder/)
        assert.strictEqual(yield* reason({ command: [""] }), "the command is empty")
        assert.match(yield* reason({ command: [folder] }), /^\//)
        assert.match(yield* reason({ command: ["true"], env: { LARGE: "x".repeat(1_100_000) } }), /1048576/)
      }))

    test("a script is as long as it has to be; twenty at a time", ({ client }) =>
      Effect.gen(function*() {
        const long = yield* run(client, { command: { script: `: ${"x".repeat(200_000)}\necho long` } })
        assert.strictEqual(long.stdout, "long\n")
        const many = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, index) => index),
          (index) => run(client, { command: ["echo", String(index)] }),
          { concurrency: 20 }
        )
        assert.deepStrictEqual(many.map((_) => _.stdout), Array.from({ length: 20 }, (_, index) => `${index}\n`))
      }))

    test("a reader that stops holds the writer up, and gets every byte when it goes on", ({ client, folder }) =>
      Effect.gen(function*() {
        const total = 24 * 1024 * 1024
        const done = `${folder}/done`
        let read = 0
        let isFirst = true
        const child = yield* client.exec({
          command: { script: `head -c ${total} /dev/zero; echo done > '${done}'` },
          env: {}
        })
        yield* Stream.runForEach(child.output, ({ bytes }) =>
          Effect.gen(function*() {
            read += bytes.length
            if (!isFirst) return
            isFirst = false
            yield* Effect.sleep(600)
            assert.isFalse(existsSync(done), "the writer is still held up")
          }))
        assert.deepStrictEqual(yield* child.exit, exited(0))
        assert.strictEqual(read, total)
      }))

    test("what a process leaves running ends with it", ({ client }) =>
      Effect.gen(function*() {
        const { status, stdout } = yield* run(client, {
          command: {
            script:
              `setsid sh -c 'echo $$; echo > up; exec sleep 300' & sleep 300 & echo $!; until [ -e up ]; do sleep 0.02; done`
          }
        })
        assert.deepStrictEqual(status, exited(0))
        const pids = stdout.trim().split("\n").map(Number)
        assert.lengthOf(pids, 2)
        for (const pid of pids) assert.isFalse(isAlive(pid), `${pid} outlives its exec`)
      }))

    test("a kill reaches the whole tree, and goes on to those who do not listen", ({ client }) =>
      Effect.gen(function*() {
        const process = yield* client.exec({
          command: {
            script:
              `trap '' INT TERM; ${daemon} & sh -c 'trap "" INT TERM; echo $$; while :; do sleep 1; done' & echo $$; wait; wait; wait`
          },
          env: {},
          grace: quick
        })
        const pids = (yield* lines(process, 3)).map(Number)
        assert.lengthOf(pids, 3)
        for (const pid of pids) assert.isTrue(isAlive(pid))
        yield* process.kill
        for (const pid of pids) assert.isFalse(isAlive(pid), `${pid} outlives the kill`)
        assert.deepStrictEqual(yield* process.exit, { _tag: "Signalled", signal: "SIGKILL", collected: undefined })
      }))

    test("a kill goes on to whom it has found once, also when that one forgets whose it was", ({ client }) =>
      Effect.gen(function*() {
        const process = yield* client.exec({
          command: {
            script:
              `setsid sh -c 'trap "cd /; exec env -i sleep 300" TERM; echo $$; while :; do sleep 0.05; done' & echo $$; wait`
          },
          env: {},
          grace: { sigintMs: 50, sigtermMs: 500 }
        })
        const pids = (yield* lines(process, 2)).map(Number)
        assert.lengthOf(pids, 2)
        yield* process.kill
        for (const pid of pids) assert.isFalse(isAlive(pid), `${pid} outlives the kill`)
      }))

    test("SIGINT comes first and once, and the last words of the process are read", ({ client }) =>
      Effect.gen(function*() {
        const child = yield* client.exec({
          command: {
            script: "n=0; trap 'n=$((n+1)); echo int $n; sleep 0.3; exit 9' INT; echo up; while :; do sleep 0.05; done"
          },
          env: {}
        })
        const text: Array<string> = []
        yield* Stream.runForEach(child.output, ({ bytes }) =>
          Effect.suspend(() => {
            text.push(Buffer.from(bytes).toString())
            return text.length === 1 ? Effect.asVoid(Effect.forkDetach(child.kill)) : Effect.void
          }))
        assert.strictEqual(text.join(""), "up\nint 1\n")
        assert.deepStrictEqual(yield* child.exit, exited(9))
      }))

    test("leaving the scope ends the tree first, also when nobody reads", ({ client }) =>
      Effect.gen(function*() {
        const pids = yield* Effect.scoped(Effect.gen(function*() {
          const process = yield* client.exec({
            command: { script: `echo $$; ${daemon} & while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done` },
            env: {},
            grace: quick
          })
          const said = yield* lines(process, 2000)
          return said.filter((line) => /^\d+$/.test(line)).map(Number)
        }))
        assert.isAbove(pids.length, 0)
        for (const pid of pids) assert.isFalse(isAlive(pid), `${pid} outlives its scope`)
      }))

    test("an interrupted start leaves nothing", ({ client, folder }) =>
      Effect.gen(function*() {
        const mark = `sleep ${300 + Math.floor(performance.now())}.5`
        for (const afterMs of [1, 10, 30, 60]) {
          yield* Effect.scoped(
            client.exec({ command: { script: `echo $$ >> '${folder}/pids'; exec ${mark}` }, env: {}, grace: quick })
          )
            .pipe(Effect.timeoutOption(afterMs))
        }
        const pids = existsSync(`${folder}/pids`) ? readFileSync(`${folder}/pids`, "utf8").trim().split("\n") : []
        for (const pid of pids) assert.isFalse(isAlive(Number(pid)), `${pid} is left`)
      }))

    test("a sandbox that vanishes is lost: for its readers, for who waits, and for who comes", ({ client, vanish }) =>
      Effect.gen(function*() {
        const child = yield* client.exec({
          command: { script: `echo $$; ${daemon} & wait; sleep 300` },
          env: {},
          grace: quick
        })
        const pids = (yield* lines(child, 2)).map(Number)
        yield* vanish
        assert.strictEqual((yield* Effect.flip(child.exit))._tag, "SandboxLost")
        assert.strictEqual((yield* Effect.flip(run(client, { command: ["true"] })))._tag, "SandboxLost")
        for (const pid of pids) assert.isTrue(yield* awaitGone(pid), `${pid} outlives its sandbox`)
      }))
  })
}
