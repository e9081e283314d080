/**
 * The task types that come with heddle, held to what every task type promises (shared/plugin/suite/TaskTypeSuite.ts); those that run processes in one sandbox of the local provider.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, it } from "vitest"
import execPlugin from "../../../plugins/exec/plugin.ts"
import httpPlugin from "../../../plugins/http/plugin.ts"
import { local } from "../../../plugins/local/plugin.ts"
import natsPlugin from "../../../plugins/nats/plugin.ts"
import noopPlugin from "../../../plugins/noop/plugin.ts"
import scriptPlugin from "../../../plugins/script/plugin.ts"
import shellPlugin from "../../../plugins/shell/plugin.ts"
import { type Messaging, MessagingFailed } from "../../../shared/plugin/Messaging.ts"
import type { SandboxState } from "../../../shared/plugin/PoolProvider.ts"
import type { SandboxClient } from "../../../shared/plugin/SandboxClient.ts"
import * as Suite from "../../../shared/plugin/suite/Suite.ts"
import * as TaskTypeSuite from "../../../shared/plugin/suite/TaskTypeSuite.ts"
import { ClaimId, Namespace, PoolName, SessionId } from "../../../shared/protocol/Token.ts"
import * as HttpOther from "../../../shared/testing/HttpOther.ts"

const keeps = (subject: TaskTypeSuite.Subject) =>
  Suite.run({ describe, it }, `${subject.type.type} keeps what a task type promises`, TaskTypeSuite.promises(subject))

// ---------------------------------------------------------------- processes

const folder = mkdtempSync(join(tmpdir(), "heddle-test-"))
const scope = Scope.makeUnsafe()
let client: SandboxClient | undefined
const sandbox = Effect.suspend(() => client === undefined ? Effect.die("no sandbox") : Effect.succeed(client))
const sessionId = SessionId.make(1)

beforeAll(() =>
  Effect.runPromise(
    Effect.gen(function*() {
      const pool = yield* local.open({
        pool: { namespace: Namespace.make("default"), name: PoolName.make("types") },
        sessionId,
        size: 1,
        labels: {},
        startedAt: 0
      }, { directory: folder })
      const idles = yield* Queue.unbounded<SandboxState>()
      yield* pool.watch((delta) => {
        if (delta._tag === "Upsert" && delta.state.phase === "Idle") Queue.offerUnsafe(idles, delta.state)
      })
      pool.create({ name: "a", sessionId }, () => {})
      const idle = yield* Effect.timeout(Queue.take(idles), "2 minutes")
      const mark = { claimId: ClaimId.make("c"), holder: "test", sessionId, ttlMs: 0 }
      yield* Effect.callback<void>((resume) =>
        pool.claim({ uid: idle.sandbox.uid, version: idle.version, mark }, () => resume(Effect.void))
      )
      client = yield* local.connect(idle.sandbox)
    }).pipe(Scope.provide(scope))
  )
)
afterAll(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void))
  rmSync(folder, { recursive: true, force: true })
})

/** A process that says who it is, then stays; `isGone` looks at it on this machine. */
const staying = (name: string) => {
  const file = join(folder, `${name}.pid`)
  const isGone = Effect.sync(() => {
    if (!existsSync(file)) return true
    try {
      return /\) [ZX] /.test(readFileSync(`/proc/${readFileSync(file, "utf8").trim()}/stat`, "latin1"))
    } catch {
      return true
    }
  })
  return { source: `trap '' INT; echo $$ > '${file}'; echo up; exec sleep 600`, isGone }
}
const graceMs = 400

const inShell = staying("shell")
keeps({
  type: TaskTypeSuite.typeOf(shellPlugin, "shell"),
  sandbox,
  wrong: [[{}, /with\.run/], [{ run: "true", grace: "soon" }, /with\.grace/], [{ run: [] }, /with\.run/]],
  cases: [
    {
      name: "a script with outputs",
      with: { run: "echo rows=3 >> $HEDDLE_OUTPUTS; echo \"day=$HEDDLE_PARAM_DAY\" >> $HEDDLE_OUTPUTS" },
      outcome: "Succeeded",
      outputs: { rows: 3, day: "2026-01-02" },
      exitCode: 0
    },
    { name: "an exit code", with: { run: "echo why >&2; exit 3" }, outcome: "Failed", exitCode: 3, reason: /why/ },
    {
      name: "a wrong line of outputs",
      with: { run: "echo none >> $HEDDLE_OUTPUTS" },
      outcome: "Fatal",
      reason: /line 1/
    },
    { name: "no such program", with: { run: ["no-such-program"] }, outcome: "Fatal", reason: /no-such-program/ },
    {
      name: "outputs beyond what is kept",
      with: { run: "head -c 300000 /dev/zero | tr '\\0' x >> $HEDDLE_OUTPUTS" },
      outcome: "Fatal",
      reason: /more than \d+ bytes/
    },
    {
      name: "a line of stderr without an end",
      with: { run: "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1" },
      outcome: "Failed",
      logged: 100_000
    }
  ],
  endless: { with: { run: inShell.source, grace: `${graceMs / 2}ms` }, isGone: inShell.isGone, graceMs }
})

const inExec = staying("exec")
keeps({
  type: TaskTypeSuite.typeOf(execPlugin, "exec"),
  sandbox,
  wrong: [[{}, /with\.command/], [{ command: [] }, /with\.command/], [
    { command: ["true"], exitCodes: [] },
    /with\.exitCodes/
  ]],
  cases: [
    {
      name: "a program with arguments and input",
      with: { command: ["sh", "-c", "echo \"read=$(cat)\" >> $HEDDLE_OUTPUTS"], stdin: "a b" },
      outcome: "Succeeded",
      outputs: { read: "a b" }
    },
    {
      name: "an exit code that is good",
      with: { command: ["sh", "-c", "exit 4"], exitCodes: [4] },
      outcome: "Succeeded"
    },
    {
      name: "an exit code that is not",
      with: { command: ["sh", "-c", "exit 5"], exitCodes: [4] },
      outcome: "Failed",
      exitCode: 5
    },
    { name: "no such program", with: { command: ["no-such-program"] }, outcome: "Fatal", reason: /no-such-program/ }
  ],
  endless: {
    with: { command: ["sh", "-c", inExec.source], grace: `${graceMs / 2}ms` },
    isGone: inExec.isGone,
    graceMs
  }
})

const inScript = staying("script")
keeps({
  type: TaskTypeSuite.typeOf(scriptPlugin, "script"),
  sandbox,
  wrong: [[{}, /with\.source/], [{ interpreter: "sh", source: 1 }, /with\.source/]],
  cases: [
    {
      name: "a source with outputs",
      with: { interpreter: "sh", source: "echo rows=3 >> $HEDDLE_OUTPUTS" },
      outcome: "Succeeded",
      outputs: { rows: 3 }
    },
    { name: "an exit code", with: { interpreter: "sh", source: "exit 6" }, outcome: "Failed", exitCode: 6 },
    {
      name: "no such interpreter",
      with: { interpreter: "no-such-program", source: "" },
      outcome: "Fatal",
      reason: /no-such-program/
    }
  ],
  endless: {
    with: { interpreter: "sh", source: inScript.source, grace: `${graceMs / 2}ms` },
    isGone: inScript.isGone,
    graceMs
  }
})

// ---------------------------------------------------------------- in the executor

keeps({
  type: TaskTypeSuite.typeOf(noopPlugin, "noop"),
  wrong: [[{ outputs: "none" }, /with\.outputs/]],
  cases: [
    { name: "nothing", with: {}, outcome: "Succeeded", outputs: {} },
    {
      name: "outputs",
      with: { outputs: { a: [1, { b: null }] } },
      outcome: "Succeeded",
      outputs: { a: [1, { b: null }] }
    }
  ]
})

const published: Array<string> = []
const asked = Latch.makeUnsafe(false)
let isAsking = false
const messaging: Messaging = {
  publish: (subject) => Effect.sync(() => void published.push(subject)),
  store: (subject) => Effect.fail(new MessagingFailed({ message: `no stream takes ${subject}`, isPermanent: false })),
  request: () =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        isAsking = true
        asked.openUnsafe()
      }),
      () => Effect.never,
      () =>
        Effect.sync(() => {
          isAsking = false
        })
    )
}
keeps({
  type: TaskTypeSuite.typeOf(natsPlugin, "nats"),
  messaging,
  wrong: [
    [{}, /with\.subject/],
    [{ subject: "heddle.rpc.workflow.start" }, /HEDDLE_NATS_TASK_SUBJECTS/],
    [{ subject: "a.*" }, /with\.subject/]
  ],
  cases: [
    { name: "a message", with: { subject: "orders.new", data: { id: 1 } }, outcome: "Succeeded" },
    {
      name: "a stream that is not there",
      with: { subject: "orders.new", mode: "jetstream" },
      outcome: "Failed",
      reason: /no stream/
    }
  ],
  endless: {
    with: { subject: "orders.new", mode: "request" },
    begun: asked.await,
    isGone: Effect.sync(() => !isAsking),
    graceMs
  }
})

const begun = Latch.makeUnsafe(false)
let url = HttpOther.nowhere
beforeAll(async () => {
  const other = await Effect.runPromise(
    HttpOther.scoped((body) => {
      if (body === "\"ok\"") return { status: 200, body: "{\"a\":1}" }
      if (body === "\"missing\"") return { status: 404 }
      if (body === "\"broken\"") return { status: 500 }
      begun.openUnsafe()
      return undefined
    }).pipe(Scope.provide(scope))
  )
  url = other.url
})
const http = TaskTypeSuite.typeOf(httpPlugin, "http")
/** The address is known when the server listens. */
const call = (json: string) => ({
  get url() {
    return url
  },
  json,
  timeout: "10m"
})
keeps({
  type: http,
  wrong: [[{}, /with\.url/], [{ url: "ftp://x" }, /with\.url/], [{ url: "http://x", method: "FETCH" }, /with\.method/]],
  cases: [
    { name: "an answer", with: call("ok"), outcome: "Succeeded" },
    { name: "an answer that is for good", with: call("missing"), outcome: "Fatal", reason: /404/ },
    { name: "an answer that may pass", with: call("broken"), outcome: "Failed", reason: /500/ },
    { name: "nobody there", with: { url: HttpOther.nowhere }, outcome: "Failed" }
  ],
  endless: { with: call("silent"), begun: begun.await, graceMs }
})
