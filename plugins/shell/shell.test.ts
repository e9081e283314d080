import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Outputs from "../../shared/plugin/ProcessOutputs.ts"
import { variables } from "../../shared/plugin/ProcessTask.ts"
import type { ExecRequest, ExitStatus, SandboxClient } from "../../shared/plugin/SandboxClient.ts"
import { TaskSpec } from "../../shared/protocol/Report.ts"
import { shell } from "./Shell.ts"

const specOf = (options: Record<string, unknown>): TaskSpec =>
  Schema.decodeSync(TaskSpec)({
    instance: "i1",
    task: "extract",
    taskInstanceId: "extract:1:2",
    attempt: 2,
    type: "shell",
    with: options,
    params: { day: "2026-11-21", "max-rows": 3, item: { id: 1 } },
    env: { STAGE: "test", HEDDLE_TASK: "not this" },
    shard: 3,
    session: 9
  })

/** Runs the task type against a sandbox that answers as given, and shows what it was asked. */
const runWith = (options: Record<string, unknown>, status: ExitStatus, stderr = "") => {
  const requests: Array<ExecRequest> = []
  const logged: Array<string> = []
  const sandbox: SandboxClient = {
    exec: (request) =>
      Effect.sync(() => {
        requests.push(request)
        return {
          output: Stream.fromIterable(
            Array.from(stderr, (_) => ({ stream: "stderr" as const, bytes: new TextEncoder().encode(_) }))
          ),
          exit: Effect.succeed(status),
          kill: Effect.void
        }
      })
  }
  if (shell._tag !== "Sandboxed") throw new Error("shell runs in a sandbox")
  return shell.run({
    spec: specOf(options),
    sandbox,
    log: (stream, bytes) => logged.push(`${stream} ${new TextDecoder().decode(bytes)}`),
    pauseRequested: Effect.never
  }).pipe(Effect.map((outcome) => ({ outcome, requests, logged: logged.length })), Effect.scoped)
}
const exited = (code: number, text?: string, truncated = false): ExitStatus => ({
  _tag: "Exited",
  code,
  collected: text === undefined ? undefined : { text, truncated }
})

it("a process sees who it is and its parameters; the task's own env cannot pretend otherwise", () => {
  assert.deepStrictEqual(variables(specOf({ run: "true" })), {
    STAGE: "test",
    HEDDLE_PARAM_DAY: "2026-11-21",
    HEDDLE_PARAM_MAX_ROWS: "3",
    HEDDLE_PARAM_ITEM: "{\"id\":1}",
    HEDDLE_INSTANCE_ID: "i1",
    HEDDLE_TASK: "extract",
    HEDDLE_ATTEMPT: "2"
  })
})

it.effect("exit 0 with outputs succeeds; the script goes to the shell that was asked for", () =>
  Effect.gen(function*() {
    const { outcome, requests } = yield* runWith(
      { run: "echo hi", shell: "/bin/bash", cwd: "sub", grace: "2s" },
      exited(0, "rows=3\nfolders=[\"a\",\"b\"]\n")
    )
    assert.deepStrictEqual(outcome, { _tag: "Succeeded", outputs: { rows: 3, folders: ["a", "b"] }, exitCode: 0 })
    assert.deepStrictEqual(requests.map(({ env: _, ...rest }) => rest), [{
      command: { script: "echo hi", shell: "/bin/bash" },
      collect: { env: "HEDDLE_OUTPUTS", bytesMax: Outputs.outputsBytesMax },
      cwd: "sub",
      grace: { sigintMs: 2_000, sigtermMs: 2_000 }
    }])
  }))

it.effect("another exit code fails with it and with the last thing said on stderr", () =>
  Effect.gen(function*() {
    const { logged, outcome } = yield* runWith({ run: ["x"] }, exited(4), "first\närger\n\n")
    assert.deepStrictEqual(outcome, { _tag: "Failed", reason: "exit code 4: ärger", exitCode: 4 })
    assert.strictEqual(logged, "first\närger\n\n".length)
    const signalled = yield* runWith({ run: "x" }, { _tag: "Signalled", signal: "SIGSEGV", collected: undefined })
    assert.deepStrictEqual(signalled.outcome, { _tag: "Failed", reason: "ended by SIGSEGV" })
  }))

it.effect("what no retry would mend is fatal: wrong arguments, no such program, outputs that are none", () =>
  Effect.gen(function*() {
    const wrong = yield* runWith({ run: 3, cwd: 1 }, exited(0))
    assert.strictEqual(wrong.outcome._tag, "Fatal")
    assert.include(wrong.outcome._tag === "Fatal" ? wrong.outcome.reason : "", "cwd")
    assert.lengthOf(wrong.requests, 0)
    assert.strictEqual((yield* runWith({ run: "x" }, { _tag: "NotStarted", reason: "no" })).outcome._tag, "Fatal")
    assert.strictEqual((yield* runWith({ run: "x" }, exited(0, "no output"))).outcome._tag, "Fatal")
    assert.strictEqual((yield* runWith({ run: "x" }, exited(0, "a=1", true))).outcome._tag, "Fatal")
  }))

it("values that are JSON are decoded, everything else stays text", () => {
  const parsed = Outputs.parse(
    "a=1\nb=1.50\nc=true\nd=[1,2]\ne={\"x\":null}\nf=\"007\"\ng=007\nh=null\ni=\nj=a=b\r\nk=12345678901234567890\nl=[broken\n__proto__=x\n\na=2"
  )
  assert.deepStrictEqual(Result.getOrThrow(parsed), {
    a: 2,
    b: 1.5,
    c: true,
    d: [1, 2],
    e: { x: null },
    f: "007",
    g: "007",
    h: "null",
    i: "",
    j: "a=b",
    k: "12345678901234567890",
    l: "[broken",
    ["__proto__"]: "x"
  })
  assert.isTrue(Result.isFailure(Outputs.parse("ok=1\nname with blank=2")))
})

it.effect.prop("every JSON value but null, written on one line, comes back", [
  Schema.Record(
    Schema.String.check(Schema.isPattern(/^[a-z]{1,9}$/)),
    Schema.Union([Schema.Boolean, Schema.Array(Schema.String), Schema.String])
  )
], ([values]) =>
  Effect.sync(() => {
    const text = Object.entries(values).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join("\n")
    assert.deepStrictEqual(Result.getOrThrow(Outputs.parse(text)), values)
  }))
