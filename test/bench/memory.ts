/**
 * Memory per instance: `npm run bench -- memory`, or `node test/bench/memory.ts [--instances 5000] [--quick]`. How much heap of a coordinator's process does one live instance of a ten-task workflow take,
 * and how much one that waits long and has left memory? Target: a live one less than 20 kB (exit code 1 otherwise); what waits costs a record.
 *
 * A real broker and a coordinator in a process of its own; client and executor are in this one. Measured is that process's `heapUsed` after two full collections: before the first
 * start, then when all instances are where the row says and the derived history has everything, divided by their number. So timers, indexes and everything else that
 * grows with instances counts, and so does what the process keeps of them after they have moved on; code and streams that the first use loads are warmed up before.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ChildProcess, fork } from "node:child_process"
import { parseArgs } from "node:util"
import * as Coordinator from "../../services/coordinator/main.ts"
import { type Connection, Nats, open } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { MemberId } from "../../shared/protocol/Token.ts"
import { StartAnswer } from "../../shared/protocol/Workflow.ts"
import * as Broker from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "../integration/ScriptedExecutor.ts"

const targetBytes = 20_000
const withinMs = 120_000

interface Measured {
  readonly heapUsed: number
  readonly stats: ReturnType<typeof Coordinator.Coordinator.Service["stats"]>
}

/** The coordinator's process: answers every message with what it holds. */
const serve = (url: string): void => {
  const gc = globalThis.gc
  if (gc === undefined) throw new Error("needs --expose-gc")
  const main = Effect.gen(function*() {
    const { stats } = yield* Coordinator.Coordinator
    process.on("message", () => {
      gc()
      gc()
      const measured: Measured = { heapUsed: process.memoryUsage().heapUsed, stats: stats() }
      process.send?.(measured)
    })
    process.send?.("ready")
    return yield* Effect.never
  }).pipe(
    Effect.provide(
      Coordinator.layer({ member: MemberId.make("co-1"), version: "bench", shardCount: 16 }).pipe(
        Layer.provide(Nats.layer({ url, name: "co-1" }))
      )
    )
  )
  process.once("disconnect", () => process.exit(0))
  Effect.runPromise(Effect.scoped(main)).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
}

const answerOf = (child: ChildProcess): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`the coordinator ended with ${code}`))
    child.once("exit", ended)
    child.once("message", (message) => {
      child.off("exit", ended)
      resolve(message)
    })
  })
const ask = (child: ChildProcess): Effect.Effect<Measured> =>
  Effect.promise(() => {
    const answer = answerOf(child)
    child.send("measure")
    return answer as Promise<Measured> // what `serve` sends
  })
/** What the process holds as soon as that is what is asked for. */
const reached = (child: ChildProcess, isThere: (stats: Measured["stats"]) => boolean) =>
  Effect.gen(function*() {
    for (const end = performance.now() + withinMs; performance.now() < end;) {
      const measured = yield* ask(child)
      if (isThere(measured.stats)) return measured
      yield* Effect.sleep(200)
    }
    const { stats } = yield* ask(child)
    return yield* Effect.die(new Error(`not there within ${withinMs} ms: ${JSON.stringify({ ...stats, timers: 0 })}`))
  })

const chain = (first: object) =>
  Array.from({ length: 10 }, (_, i) => ({
    name: `task-${i}`,
    type: "shell",
    with: { run: "true" },
    ...(i === 0 ? first : { dependsOn: [`task-${i - 1}`] })
  }))
const definitions = {
  begins: chain({}),
  "half-way": chain({}),
  waits: chain({ delay: "10h" })
}
type Name = keyof typeof definitions

const startAll = (nats: Connection, definition: Name, count: number) =>
  Effect.forEach(
    Array.from({ length: count }),
    () =>
      Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, { definition, params: { day: "2026-01-01" } }, {
        timeoutMs: 20_000
      }),
    { concurrency: 256, discard: true }
  )

const bench = (instances: number) =>
  Effect.gen(function*() {
    const broker = yield* Broker.scoped()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => fork(import.meta.filename, ["--coordinator", broker.url], { execArgv: ["--expose-gc"] })),
      (started) => Effect.sync(() => started.kill("SIGKILL"))
    )
    yield* Effect.promise(() => answerOf(child))
    const nats = yield* open({ url: broker.url, name: "bench" })
    const executor = yield* ScriptedExecutor.make(
      nats,
      "ex-1",
      ({ instance, taskInstanceId }) =>
        taskInstanceId.startsWith("task-5") || instance.startsWith("begins")
          ? undefined
          : { _tag: "SUCCEEDED", outputs: { rows: 12_345, ok: true } }
    )
    for (const [name, tasks] of Object.entries(definitions)) {
      yield* Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, { metadata: { name }, spec: { tasks } })
    }
    const rows: Array<readonly [what: string, bytes: number]> = []
    const isQuiet = (stats: Measured["stats"]) => stats.unprojected === 0 && stats.events === 0
    let running = 0
    const measure = (
      what: string,
      name: Name,
      isThere: (stats: Measured["stats"], before: Measured["stats"]) => boolean
    ) =>
      Effect.gen(function*() {
        const before = yield* reached(child, isQuiet)
        yield* startAll(nats, name, instances)
        const after = yield* reached(child, (stats) => isQuiet(stats) && isThere(stats, before.stats))
        rows.push([what, (after.heapUsed - before.heapUsed) / instances])
      })
    // whatever the first ones load and compile
    yield* startAll(nats, "half-way", 200)
    yield* startAll(nats, "waits", 200)
    yield* reached(child, (stats) => isQuiet(stats) && stats.passive === 200 && executor.running.size === 200)
    running = 200 + instances
    yield* measure("live, five tasks ended, the sixth runs", "half-way", () => executor.running.size === running)
    yield* measure("live, its first task runs", "begins", () => executor.running.size === running + instances)
    yield* measure(
      "waits for a delay of hours, out of memory",
      "waits",
      (stats, before) => stats.passive === before.passive + instances
    )
    return rows
  }).pipe(Effect.scoped)

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    coordinator: { type: "string" },
    instances: { type: "string", default: "5000" },
    quick: { type: "boolean", default: false }
  }
})
if (values.coordinator === undefined) {
  const instances = values.quick ? 100 : Number(values.instances)
  const rows = await Effect.runPromise(bench(instances))
  for (const [what, bytes] of rows) {
    console.log(
      `${what.padEnd(44)} ${(bytes / 1_000).toFixed(2).padStart(8)} kB an instance of ten tasks, of ${instances}`
    )
  }
  const worst = Math.max(...rows.map(([, bytes]) => bytes))
  if (!values.quick && worst > targetBytes) {
    console.error(`more than the target of ${targetBytes / 1_000} kB`)
    process.exitCode = 1
  }
} else serve(values.coordinator)
