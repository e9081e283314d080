/**
 * `npm run demo`: the whole product on one machine, in under a minute, offline. It starts a NATS server and the services as processes of their own, runs a workflow
 * over this checkout, claims a sandbox with a plain NATS request, kills a coordinator in the middle of a second run, and goes through that run again from JetStream.
 *
 * Kept true: it uses free ports and a folder of its own, so copies may run side by side; whatever happens it ends every process that it started and removes its
 * folder; its exit code is 0 only when every phase did what it says.
 */
import { connect } from "@nats-io/transport-node"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { createInterface } from "node:readline"
import { parse as parseYaml } from "yaml"
import * as NatsServer from "../cli/dev/NatsServer.ts"
import type { Recorded } from "../cli/Journal.ts"
import * as Output from "../cli/Output.ts"
import * as ReplayStep from "../cli/ReplayStep.ts"
import * as RunWatch from "../cli/RunWatch.ts"
import * as Sandboxes from "../cli/Sandboxes.ts"
import * as Kv from "../shared/jetstream/Kv.ts"
import { Nats } from "../shared/jetstream/Nats.ts"
import * as Rpc from "../shared/jetstream/Rpc.ts"
import * as Streams from "../shared/jetstream/Streams.ts"
import { ClaimResult, Snapshot } from "../shared/protocol/Claim.ts"
import { Entry } from "../shared/protocol/Journal.ts"
import { ShardOwnership } from "../shared/protocol/Member.ts"
import { PoolView } from "../shared/protocol/Pool.ts"
import * as Subject from "../shared/protocol/Subject.ts"
import { FailoverList } from "../shared/protocol/SystemEvent.ts"
import { Namespace, PoolName } from "../shared/protocol/Token.ts"
import { finalStatuses, StartAnswer, WorkflowView } from "../shared/protocol/Workflow.ts"

const root = join(import.meta.dirname, "..")
/** What starts `heddle` with the runtime that runs this. */
const cli = process.versions["deno"] === undefined
  ? [join(root, "bin", "heddle.mjs")]
  : ["run", "-A", join(root, "cli", "heddle.ts")]
/** The whole demo, which never hangs; `--limit <seconds>` for a machine that is busy with other things. */
const limitAt = process.argv.indexOf("--limit")
const limitMs = (limitAt < 0 ? 58 : Number(process.argv[limitAt + 1]) || 58) * 1_000
/** How often a run may be over before its coordinator could be killed. */
const runsMax = 6
/** What the limit leaves to a machine that is busy: shares of it. */
const failoverWaitMs = limitMs / 4
const endWaitMs = limitMs / 5
/** Of the coordinators' registrations: after so long the other one takes over. 2 s; a machine that is busy may let one that lives stand still for that. */
const ttl = `${Math.max(2, Math.round(limitMs / 26_000))}s`
/** Of those that nobody kills. */
const longTtl = "60s"
const style = Output.style(Output.hasColour("auto", process.stdout.isTTY, process.env))
const say = (text = "") => Effect.sync(() => void process.stdout.write(`${text}\n`))
const pool = { namespace: Namespace.make("default"), name: PoolName.make("default") }

class DemoFailed extends Schema.TaggedError<DemoFailed>()("DemoFailed", { message: Schema.String }) {}

/** Settings of the shell that starts the demo must not reach the demo's services; where tools are found may. */
const environment = (natsUrl: string): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) =>
      !name.startsWith("HEDDLE_") || name === "HEDDLE_NATS_SERVER" || name === "HEDDLE_TOOLS"
    )
  ),
  HEDDLE_NATS_URL: natsUrl,
  HEDDLE_NATS_SYNC: "2m"
})

interface Service {
  readonly name: string
  readonly child: ChildProcess
  readonly kill: () => void
}

const hasEnded = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null
const ended = (child: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (hasEnded(child)) return resume(Effect.void)
    const tell = () => resume(Effect.void)
    child.once("exit", tell)
    return Effect.sync(() => void child.off("exit", tell))
  })

const endings: Array<string> = []

/** One `heddle serve` process; ready when it says so. It ends with the scope, and with this process in any case (its standard input is our pipe). */
const serve = Effect.fnUntraced(function*(natsUrl: string, name: string, args: ReadonlyArray<string>) {
  const log: Array<string> = []
  let killed = false
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const started = spawn(process.execPath, [
        ...cli,
        "serve",
        ...args,
        "--member",
        name,
        "-o",
        "json",
        "--until-stdin-ends"
      ], {
        cwd: root,
        env: environment(natsUrl),
        stdio: ["pipe", "pipe", "pipe"]
      })
      createInterface(started.stderr).on("line", (line) => {
        log.push(line)
        if (log.length > 20) log.shift()
      })
      return started
    }),
    (process) =>
      Effect.gen(function*() {
        // not SIGTERM: Deno takes a process that was sent a signal for ended
        process.stdin.end()
        yield* ended(process).pipe(Effect.timeoutOption(endWaitMs))
        if (!hasEnded(process)) process.kill("SIGKILL")
        yield* ended(process)
        if (!killed && process.exitCode !== 0) {
          endings.push(`${name} ended with ${process.signalCode ?? process.exitCode}: ${log.slice(-3).join(" | ")}`)
        }
      })
  )
  yield* Effect.callback<void, DemoFailed>((resume) => {
    createInterface(child.stdout).once("line", () => resume(Effect.void))
    child.once(
      "exit",
      () => resume(Effect.fail(new DemoFailed({ message: `${name} does not start: ${log.slice(-5).join(" | ")}` })))
    )
  }).pipe(Effect.timeoutOrElse({
    duration: limitMs,
    orElse: () =>
      Effect.fail(
        new DemoFailed({ message: `${name} is not ready after ${limitMs / 1_000} s: ${log.slice(-5).join(" | ")}` })
      )
  }))
  return {
    name,
    child,
    kill: () => {
      killed = true
      child.kill("SIGKILL")
    }
  } satisfies Service
})

const nowMs = Clock.currentTimeMillis

/** As every client asks: again, while the reason passes; all of these are done once however often they are asked. */
const call = <A, I>(nats: Nats["Service"], subject: string, answer: Schema.Codec<A, I>, body: unknown) =>
  Rpc.callPatiently(nats, subject, answer, body, { timeoutMs: limitMs, attemptMs: 5_000, isRepeatable: true })
/** Once, for what is looked at again anyway. */
const look = <A, I>(nats: Nats["Service"], subject: string, answer: Schema.Codec<A, I>, body: unknown) =>
  Effect.option(Rpc.call(nats, subject, answer, body, { timeoutMs: 1_000 }))

/** What was told of dead coordinators, once all of it is done: the run may be over before the last shard is taken. */
const masterFailovers = Effect.fnUntraced(function*(nats: Nats["Service"]) {
  const until = (yield* nowMs) + failoverWaitMs
  while (true) {
    const found = yield* look(nats, Subject.rpc.failoverList, FailoverList, {})
    const records = Option.isSome(found) ? found.value.items.filter((item) => item.kind === "MASTER_FAILOVER") : []
    const isDone = records.length > 0 && records.every((record) => record.state === "Done")
    if (isDone || (yield* nowMs) >= until) return records
    yield* Effect.sleep(100)
  }
})

/** Tells every change of a run until it rests; `each` sees every new view. */
const follow = Effect.fnUntraced(function*(
  nats: Nats["Service"],
  instanceId: string,
  each: (view: WorkflowView) => Effect.Effect<void, DemoFailed>
) {
  const wakes = yield* Queue.sliding<void>(1)
  yield* nats.subscribe(`heddle.wf.*.${instanceId}.history`, () => void Queue.offerUnsafe(wakes, undefined))
  const seen = new Map<string, string>()
  while (true) {
    // While no coordinator has the shard there is no answer, and that is all a client sees of a fail-over.
    const looked = yield* look(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
    if (Option.isSome(looked)) {
      const view = looked.value
      for (const change of RunWatch.changes(seen, view, yield* nowMs)) yield* say(`  ${RunWatch.line(change, style)}`)
      yield* each(view)
      if (finalStatuses.has(view.state)) return view
    }
    yield* Queue.take(wakes).pipe(Effect.timeoutOption(500))
  }
}, Effect.scoped)

const start = (nats: Nats["Service"], instanceId: string, params: Readonly<Record<string, unknown>>) =>
  call(nats, Subject.rpc.workflow("start"), StartAnswer, {
    definition: "repo-report",
    instanceId,
    params: { root, ...params }
  })

const attempts = (view: WorkflowView) => view.tasks.flatMap((task) => task.attempts)

/** Which attempts a run needed beyond the first of each task or item: after a coordinator's death, none. */
const again = (view: WorkflowView) => {
  const extra = attempts(view).filter((attempt) => attempt.attempt > 1).length
  return extra === 0 ? `each of its ${attempts(view).length} tasks ran once` : `${extra} attempts again`
}

/** What the phase is, and what to look at. */
const headline = (text: string, note?: string) =>
  say(`\n${style.bold(text)}${note === undefined ? "" : `\n${style.dim(`  ${note}`)}`}`)
/** A line of the replay fits the terminal; in a file it has a limit all the same. */
const columns = process.stdout.columns ?? 150
const cut = (text: string) => text.length > columns ? `${text.slice(0, columns - 3)}...` : text

/** A claim as any program in any language makes it: one request, one answer, one release. */
const claimByHand = Effect.fnUntraced(function*(natsUrl: string) {
  const raw = yield* Effect.acquireRelease(
    Effect.promise(() => connect({ servers: natsUrl.replace("nats://", "") })),
    (connection) => Effect.promise(() => connection.close())
  )
  const ask = (verb: "claim" | "release", body: unknown) =>
    Effect.gen(function*() {
      const begun = performance.now()
      const answer = yield* Effect.promise(() =>
        raw.request(Subject.rpc.pool(pool, verb), JSON.stringify(body), { timeout: limitMs })
      )
      const result = yield* Schema.decodeEffect(Schema.fromJsonString(ClaimResult))(answer.string()).pipe(
        Effect.mapError((error) =>
          new DemoFailed({ message: `the answer to ${verb} is no ClaimResult: ${error.message}` })
        )
      )
      return { result, ms: performance.now() - begun }
    })
  yield* say(`  request ${Subject.rpc.pool(pool, "claim")} {}`)
  const claimed = yield* ask("claim", {})
  const { claimId, outcome, sandbox } = claimed.result
  if (outcome !== "Claimed" || sandbox === undefined) {
    return yield* new DemoFailed({ message: `the claim ended with ${outcome}` })
  }
  yield* say(
    `  ${style.state(outcome)} ${sandbox.name} at ${sandbox.address ?? sandbox.uid} in ${Output.duration(claimed.ms)}`
  )
  const begun = performance.now()
  const code = yield* Effect.scoped(Effect.gen(function*() {
    const client = yield* Sandboxes.connect(sandbox)
    const running = yield* client.exec({ command: { script: "echo \"hello from sandbox process $$\"" }, env: {} })
    yield* Stream.runForEach(
      running.output,
      (chunk) => Effect.sync(() => void process.stdout.write(`  | ${new TextDecoder().decode(chunk.bytes)}`))
    )
    const exit = yield* running.exit
    return exit._tag === "Exited" ? exit.code : -1
  }))
  const execMs = performance.now() - begun
  if (code !== 0) return yield* new DemoFailed({ message: `the command in the sandbox ended with ${code}` })
  const released = yield* ask("release", { claimId })
  yield* say(
    `  command took ${Output.duration(execMs)}; ${style.state(released.result.outcome)} in ${
      Output.duration(released.ms)
    }`
  )
  return { claimMs: claimed.ms, execMs }
}, Effect.scoped)

const ReplayLine = Schema.fromJsonString(Schema.Union([
  Schema.Struct({ seq: Schema.Int, ledger: Schema.String, ...Entry.fields }),
  Schema.Struct({ verify: Schema.Struct({ isGood: Schema.Boolean }) })
]))

/** `heddle replay INSTANCE --verify`, a line for each step. */
const replay = Effect.fnUntraced(function*(natsUrl: string, instanceId: string) {
  const lines = yield* Effect.callback<ReadonlyArray<string>, DemoFailed>((resume) => {
    const child = spawn(process.execPath, [...cli, "replay", instanceId, "--verify", "-o", "jsonl"], {
      cwd: root,
      env: environment(natsUrl),
      stdio: ["ignore", "pipe", "pipe"]
    })
    const out: Array<string> = []
    let problem = ""
    child.stderr.on("data", (chunk: Buffer) => {
      problem += chunk.toString()
    })
    const reader = createInterface(child.stdout).on("line", (line) => out.push(line))
    const closed = new Promise<void>((done) => reader.once("close", done))
    child.once(
      "exit",
      (code) =>
        void closed.then(() =>
          resume(
            code === 0
              ? Effect.succeed(out)
              : Effect.fail(new DemoFailed({ message: `replay ended with ${code}: ${problem}` }))
          )
        )
    )
    return Effect.sync(() => void child.kill())
  })
  const states: ReplayStep.States = new Map()
  let first: number | undefined
  let ledger: string | undefined
  let steps = 0
  let isGood = false
  for (const line of lines) {
    const step = yield* Schema.decodeEffect(ReplayLine)(line).pipe(
      Effect.mapError((error) => new DemoFailed({ message: `not a step: ${error.message}` }))
    )
    if ("verify" in step) {
      isGood = step.verify.isGood
      continue
    }
    const recorded: Recorded = { sequence: step.seq, ledger: step.ledger, entry: step }
    first ??= step.at
    steps += 1
    if (ledger !== undefined && ledger !== step.ledger) {
      yield* say(style.dim(`  --- from here on written by ${step.ledger}`))
    }
    ledger = step.ledger
    const why = recorded.entry.cause.map((event) =>
      ReplayStep.causeText(event).replace(/ told by .*| to .*, sandbox/, "")
    ).join("; ")
    const what = recorded.entry.transitions.map((transition) => ReplayStep.transitionText(transition, states, style))
      .join("; ")
    const text = `  ${String(step.n).padStart(3)}  +${Output.duration(step.at - first).padEnd(7)}  ${why}${
      what === "" ? "" : `  =>  ${what}`
    }`
    yield* say(cut(text))
  }
  if (!isGood) return yield* new DemoFailed({ message: "the replay did not verify" })
  return { steps }
})

const demo = Effect.gen(function*() {
  const begun = yield* nowMs
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-demo-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }))
  )
  yield* headline(
    "1. A NATS server and five services, each a process of its own",
    "They talk only over NATS. Two coordinators, so that one can be killed later."
  )
  const server = yield* NatsServer.start({ dataDir: folder, port: 0, sync: "2m", name: basename(folder) })
  yield* say(`  nats-server ${server.version} at ${server.url}`)
  const services = yield* Effect.forEach(
    [
      ["failover", ["failover", "--grace", "500ms", "--ttl", ttl]],
      ["coordinator-1", ["coordinator", "--ttl", ttl]],
      ["coordinator-2", ["coordinator", "--ttl", ttl]],
      ["pool-scheduler", ["pool-scheduler", "--ttl", longTtl]],
      ["task-executor", ["task-executor", "--ttl", longTtl, "--slots", "16"]]
    ] as const,
    ([name, args]) => serve(server.url, name, args),
    { concurrency: "unbounded" }
  )
  const connected = yield* Layer.build(Nats.layer({ url: server.url, name: "heddle-demo" }))
  const nats = yield* Effect.provide(Nats, connected)
  yield* call(nats, Subject.rpc.pools("apply"), Schema.toEncoded(PoolView), { ...pool, provider: "local", size: 4 })
  while (true) {
    const snapshot = yield* look(nats, Subject.rpc.pool(pool, "snapshot"), Snapshot, {})
    if (Option.isSome(snapshot) && snapshot.value.idleReady === 4) break
    yield* Effect.sleep(25)
  }
  const startMs = (yield* nowMs) - begun
  yield* say(
    `  ${services.map((service) => service.name).join(", ")} and a pool of 4 warm sandboxes, ready after ${
      Output.duration(startMs)
    }`
  )

  yield* headline(
    "2. A workflow: list the folders of this checkout, count each in a claimed sandbox, join into a report",
    "examples/repo-report.yaml. count[0], count[1], ... run side by side, each in a warm process of the pool."
  )
  const definition: unknown = parseYaml(readFileSync(join(root, "examples", "repo-report.yaml"), "utf8"))
  yield* call(nats, Subject.rpc.definition("put"), Schema.Unknown, definition)
  const run1Begun = yield* nowMs
  yield* start(nats, "report-1", {})
  const run1 = yield* follow(nats, "report-1", () => Effect.void)
  const run1Ms = (yield* nowMs) - run1Begun
  if (run1.state !== "SUCCEEDED") {
    return yield* new DemoFailed({ message: `report-1 is ${run1.state}: ${run1.reason ?? ""}` })
  }
  const report = run1.outputs["report"]
  if (typeof report !== "string" || !report.includes("| **all** |")) {
    return yield* new DemoFailed({ message: "report-1 has no report" })
  }
  yield* say()
  for (const line of report.trimEnd().split("\n")) yield* say(`  ${line}`)

  yield* headline(
    "3. A claim with one NATS message, from any language",
    "The answer says where the sandbox is; a second message gives it back."
  )
  const claim = yield* claimByHand(server.url)

  yield* headline(
    "4. kill -9 of a coordinator in the middle of a run",
    "Running tasks go on. The other coordinator reads the journal, takes the run over and finishes it."
  )
  let run2Begun = yield* nowMs
  let killedAt: number | undefined
  let resumedAt: number | undefined
  let doneAtKill = 0
  const succeeded = (view: WorkflowView) => attempts(view).filter((attempt) => attempt.state === "SUCCEEDED").length
  const strike = (view: WorkflowView) =>
    Effect.gen(function*() {
      const done = succeeded(view)
      // with enough left to do that somebody has to go on with it
      if (killedAt === undefined && done >= 4 && done <= 10) {
        const shards = Kv.bucket(nats, Streams.bucketName.shards)
        const looked = yield* Effect.option(shards.get(`shard.${view.shard}`))
        if (Option.isNone(looked)) return // the broker is busy: at the next change
        const entry = looked.value
        const owner = Option.isSome(entry)
          ? Option.map(Schema.decodeOption(Schema.fromJsonString(ShardOwnership))(entry.value.value), (shard) =>
            shard.owner)
          : Option.none()
        const victim = services.find((service) =>
          Option.isSome(owner) && service.name === owner.value
        )
        if (victim === undefined) {
          return yield* new DemoFailed({ message: `nobody owns the shard of ${view.instanceId}` })
        }
        victim.kill()
        killedAt = yield* nowMs
        doneAtKill = done
        yield* say(
          style.bold(
            `  kill -9 of ${victim.name}, process ${victim.child.pid ?? "?"}, after ${done} attempts had succeeded`
          )
        )
      } else if (killedAt !== undefined && resumedAt === undefined && done > doneAtKill) {
        resumedAt = yield* nowMs
        yield* say(
          style.bold(
            `  the other coordinator has the run: first progress ${
              Output.duration(resumedAt - killedAt)
            } after the kill`
          )
        )
      }
    })
  const isStruck = () => killedAt !== undefined
  let second = "report-2"
  yield* start(nats, second, { pace: "0.4" })
  let run2 = yield* follow(nats, second, strike)
  // a machine that let this process stand still meanwhile: the middle of that run has gone by
  for (let number = 3; !isStruck() && number <= runsMax; number++) {
    yield* say(`  ${second} was over before it could be struck: once more`)
    second = `report-${number}`
    run2Begun = yield* nowMs
    yield* start(nats, second, { pace: "0.4" })
    run2 = yield* follow(nats, second, strike)
  }
  const run2Ms = (yield* nowMs) - run2Begun
  if (run2.state !== "SUCCEEDED") {
    return yield* new DemoFailed({ message: `${second} is ${run2.state}: ${run2.reason ?? ""}` })
  }
  if (killedAt === undefined || resumedAt === undefined) {
    return yield* new DemoFailed({ message: `${second} was over before the kill` })
  }
  for (const record of yield* masterFailovers(nats)) {
    yield* say(
      `  ${record.kind} of ${record.subject}: ${record.shards} shards, ${record.instances} ${
        record.instances === 1 ? "workflow" : "workflows"
      }, ${record.state}`
    )
  }

  yield* headline(
    `5. The second run again, step by step, from JetStream: heddle replay ${second} --verify`,
    "step, time since the start, what came in => what changed. Attempts are task:run:attempt, with :item in a fan-out."
  )
  const replayBegun = yield* nowMs
  const { steps } = yield* replay(server.url, second)
  const replayMs = (yield* nowMs) - replayBegun

  yield* headline("Figures")
  const rows: ReadonlyArray<readonly [string, string]> = [
    ["start of everything", Output.duration(startMs)],
    ["first run", `${Output.duration(run1Ms)}, ${attempts(run1).length} tasks in sandboxes`],
    ["claim, one request", `${Output.duration(claim.claimMs)}; a command in it ${Output.duration(claim.execMs)}`],
    [
      "second run, coordinator killed",
      `${Output.duration(run2Ms)}, progress ${Output.duration(resumedAt - killedAt)} after the kill, ${again(run2)}`
    ],
    ["replay", `${steps} steps in ${Output.duration(replayMs)}, hash chain whole, decisions the same`]
  ]
  for (const [name, figure] of rows) yield* say(`  ${name.padEnd(32)} ${figure}`)
  return begun
})

const program = Effect.gen(function*() {
  const begun = yield* Effect.scoped(demo).pipe(Effect.timeoutOrElse({
    duration: limitMs,
    orElse: () => Effect.fail(new DemoFailed({ message: `not done after ${limitMs / 1_000} s` }))
  }))
  for (const text of endings) yield* say(`  ${text}`)
  if (endings.length > 0) return yield* new DemoFailed({ message: "a service did not end in order" })
  yield* say(`  ${"everything, ended in order".padEnd(32)} ${Output.duration((yield* nowMs) - begun)}`)
  yield* headline("Go on by yourself")
  yield* say(
    "  npm run dev            all of this in one process, until Ctrl-C; it prints what to try in another terminal"
  )
  yield* say("  README.md              claims and workflows of your own, and how heddle is made")
})

const fiber = Effect.runFork(program)
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void Effect.runFork(Fiber.interrupt(fiber)))
}
fiber.addObserver((exit) => {
  if (Exit.isFailure(exit)) {
    const error = Cause.squash(exit.cause)
    process.stderr.write(
      `\nheddle demo: ${
        Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : error instanceof Error ? error.message : String(error)
      }\n`
    )
  }
  process.exit(Exit.isSuccess(exit) ? 0 : Cause.hasInterruptsOnly(exit.cause) ? 130 : 1)
})
