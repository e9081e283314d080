/** What the launcher writes, read back however the streams are cut; and its script on the shells of this machine. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { spawn, spawnSync } from "node:child_process"
import type { ExecRequest, ExitStatus } from "../../shared/plugin/SandboxClient.ts"
import * as PodLauncher from "./PodLauncher.ts"

const id = "0123456789abcdef0123456789abcdef"
const marker = PodLauncher.markerOf(id)

interface Read {
  stdout: string
  stderr: string
  status: ExitStatus | undefined
  isStarted: boolean
}

/** `cuts`: where the bytes of a stream are divided; stderr is read before stdout, or after it. */
const read = (stdout: Buffer, stderr: Buffer, cuts: ReadonlyArray<number>, isStdoutFirst: boolean): Read => {
  const result: Read = { stdout: "", stderr: "", status: undefined, isStarted: false }
  const reader = new PodLauncher.LauncherReader(id, {
    output: (stream, bytes) => (result[stream] += Buffer.from(bytes).toString("latin1")),
    started: () => (result.isStarted = true),
    ended: (status) => {
      assert.isUndefined(result.status, "told once")
      result.status = status
    }
  })
  const feed = (bytes: Buffer, push: (piece: Buffer) => void) => {
    const at = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
    for (const [index, from] of at.entries()) {
      const to = at[index + 1]
      if (to !== undefined) push(bytes.subarray(from, to))
    }
  }
  const out = () => feed(stdout, (piece) => reader.pushStdout(piece))
  const err = () => feed(stderr, (piece) => reader.pushStderr(piece))
  for (const next of isStdoutFirst ? [out, err] : [err, out]) next()
  return result
}

// Beginnings of the marker are what a reader could get wrong.
const Piece = Schema.Literals([
  "a",
  "\u001e",
  "\u001eheddle:",
  marker.slice(0, -1),
  marker.slice(1),
  "\n",
  "exit 0 - 0\n",
  "\0"
])
const Text = Schema.Array(Piece).check(Schema.isMaxLength(12))
const Cuts = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 400 }))).check(
  Schema.isMaxLength(12)
)

describe("LauncherReader", () => {
  it.prop("gives back output, outputs and exit, however the streams are cut", {
    out: Text,
    err: Text,
    collected: Text,
    cuts: Cuts,
    isStdoutFirst: Schema.Boolean,
    code: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 128 }))
  }, ({ code, collected, cuts, err, isStdoutFirst, out }) => {
    // a piece followed by another one may make a whole marker, which only the launcher can write
    const [stdout, stderr, text] = [out, err, collected].map((pieces) => pieces.join("").replaceAll(marker, ""))
    if ([stdout, stderr].some((one) => one?.includes(marker) === true)) return
    const result = read(
      Buffer.from(`${stdout}${marker}`),
      Buffer.from(`${marker}started\n${stderr}${marker}exit ${code} ${Buffer.byteLength(text ?? "")} 1\n${text}`),
      cuts,
      isStdoutFirst
    )
    assert.deepStrictEqual(result, {
      stdout: stdout ?? "",
      stderr: stderr ?? "",
      status: { _tag: "Exited", code, collected: { text: text ?? "", truncated: true } },
      isStarted: true
    })
  })

  it("refuses what no launcher writes", () => {
    assert.throws(() => read(Buffer.from(marker), Buffer.from(`${marker}exit now\n`), [], true), /the line/)
    assert.throws(
      () => read(Buffer.from(""), Buffer.from(`${marker}${"x".repeat(20_000)}`), [], true),
      /without an end/
    )
  })

  it("tells signals as shells do", () => {
    assert.deepStrictEqual(PodLauncher.statusOf(137, undefined), {
      _tag: "Signalled",
      signal: "SIGKILL",
      collected: undefined
    })
    assert.deepStrictEqual(PodLauncher.statusOf(200, undefined), { _tag: "Exited", code: 200, collected: undefined })
  })
})

const shells = ["dash", "bash", "busybox", "ksh", "mksh"].filter((name) =>
  spawnSync(name, ["-c", "true"]).error === undefined
)

/** As a runtime runs it, with another shell in the place of /bin/sh. */
const launch = (
  shell: string,
  request: Partial<ExecRequest> & Pick<ExecRequest, "command">,
  given = 1
): Promise<Read> =>
  new Promise((resolve) => {
    const script = PodLauncher.scriptOf({ id, sandbox: "s", request: { env: {}, ...request }, claimEnv: {} })
    const command = [shell, ...(shell === "busybox" ? ["sh"] : []), ...PodLauncher.commandOf(script).slice(1)]
    const [program = "", ...args] = command
    const child = spawn(program, args, { stdio: "pipe" })
    const chunks: { stdout: Array<Buffer>; stderr: Array<Buffer> } = { stdout: [], stderr: [] }
    child.stdout.on("data", (chunk: Buffer) => chunks.stdout.push(chunk))
    child.stderr.on("data", (chunk: Buffer) => chunks.stderr.push(chunk))
    child.stdin.on("error", () => undefined) // it may end first
    const part = script.subarray(0, Math.floor(script.length * given))
    if (given < 1) child.stdin.end(part)
    else child.stdin.write(part)
    child.on("close", () => resolve(read(Buffer.concat(chunks.stdout), Buffer.concat(chunks.stderr), [], true)))
  })

describe.each(shells)("the launcher on %s", (shell) => {
  it("runs, collects, says no, and leaves nothing on stderr of its own", async () => {
    const ran = await launch(shell, {
      command: { script: "printf \"$A\" > $OUT; echo out; echo err >&2; kill -KILL $$" },
      env: { A: "it's\n\"1\"" },
      collect: { env: "OUT", bytesMax: 100 }
    })
    assert.deepStrictEqual(ran, {
      stdout: "out\n",
      stderr: "err\n",
      status: { _tag: "Signalled", signal: "SIGKILL", collected: { text: "it's\n\"1\"", truncated: false } },
      isStarted: true
    })
    const missing = await launch(shell, { command: ["no-such-program"] })
    assert.deepStrictEqual(missing, {
      stdout: "",
      stderr: "",
      status: { _tag: "NotStarted", reason: "no-such-program: no such program" },
      isStarted: false
    })
  })

  it("lines that begin as the launcher's own words do arrive as they stand", async () => {
    const text = "ü\n_ü\n_hdü\naü\nAü\n_hd_\n"
    const command = { script: `printf %s '${text}'` }
    const bytes = Buffer.from(text).toString("latin1") // as `read` shows them
    assert.strictEqual((await launch(shell, { command })).stdout, bytes)
    const long = { script: `${command.script}\n# ${"x".repeat(150_000)}` }
    assert.strictEqual((await launch(shell, { command: long })).stdout, bytes)
  })

  it.each([0, 0.3, 0.9, 0.999])("a script of which only %d has arrived does nothing", async (part) => {
    const ran = await launch(shell, { command: ["echo", "ran"] }, part)
    assert.isFalse(ran.isStarted)
    assert.strictEqual(ran.stdout, "")
    assert.isUndefined(ran.status)
  })
})
