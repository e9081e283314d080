// The task executor against a real broker, with a scripted coordinator and a scripted pool beside it, and real local sandboxes.
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import localPlugin from "../../plugins/local/plugin.ts"
import * as ProcessTree from "../../plugins/local/ProcessTree.mjs"
import noopPlugin from "../../plugins/noop/plugin.ts"
import shellPlugin from "../../plugins/shell/plugin.ts"
import * as TaskExecutor from "../../services/task-executor/main.ts"
import * as Kv from "../../shared/jetstream/Kv.ts"
import { type Connection, Nats } from "../../shared/jetstream/Nats.ts"
import * as Nats_ from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as RpcService from "../../shared/jetstream/RpcService.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { PluginHost } from "../../shared/plugin/Plugin.ts"
import type { ProviderPool, SandboxDelta } from "../../shared/plugin/PoolProvider.ts"
import { DequeueRequest, SettleRequest } from "../../shared/protocol/Dispatch.ts"
import { ControlAnswer, type FactReport, FactRequest, RegisterRequest } from "../../shared/protocol/Report.ts"
import type { PoolRef, Sandbox } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import {
  ClaimId,
  InstanceId,
  MemberId,
  Namespace,
  PoolName,
  SessionId,
  Shard,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"
import { Broker } from "../../shared/testing/Broker.ts"

const pool: PoolRef = { namespace: Namespace.make("default"), name: PoolName.make("p") }
const coordinator = MemberId.make("co1")
const executor = MemberId.make("x1")
const instance = InstanceId.make("i1")
const shard = Shard.make(3)
const session = SessionId.make(10)
let made = 0

const connected = Effect.gen(function*() {
  const { url } = yield* Broker
  return yield* Nats_.open({ url, name: "task-executor-test" })
})

/** Both sides that an executor talks to. The coordinator registers everything; the pool hands out what the test puts in. */
const otherSides = Effect.fnUntraced(function*(nats: Connection, options: {
  readonly hasCoordinator?: boolean
  /** Answers to facts go ahead of an append: this is the subject of its acknowledgement. */
  readonly onceAcknowledged?: string
} = {}) {
  const facts = yield* Queue.unbounded<FactReport>()
  const settled = yield* Queue.unbounded<SettleRequest>()
  const specs = new Map<string, object>()
  const assignments = new Map<string, object>()
  const waiting: Array<object> = []
  const parked: Array<() => void> = []
  const superseded = new Set<string>()
  const deliver = () => {
    while (waiting.length > 0 && parked.length > 0) parked.shift()?.()
  }
  const accept = (request: typeof FactRequest.Type) => ({
    ...(options.onceAcknowledged === undefined ? {} : { onceAcknowledged: options.onceAcknowledged }),
    outcomes: request.facts.map((fact) => {
      Queue.offerUnsafe(facts, fact)
      return superseded.has(fact.taskInstanceId) ? { _tag: "Superseded" } : { _tag: "Accepted" }
    })
  })
  const endpoints = [
    RpcService.endpointUnsafe<DequeueRequest, object>({
      name: "dequeue",
      subject: Subject.rpc.pool(pool, "dequeue"),
      request: DequeueRequest,
      handler: (request, respond) => {
        const answer = () => {
          clearTimeout(timer)
          respond.answer({ sessionId: 70, assignments: waiting.splice(0, request.max) })
        }
        const timer = setTimeout(() => {
          parked.splice(parked.indexOf(answer), 1)
          answer()
        }, request.waitMs)
        parked.push(answer)
        deliver()
      }
    }),
    RpcService.endpointUnsafe<SettleRequest, object>({
      name: "settle",
      subject: Subject.rpc.pool(pool, "settle"),
      request: SettleRequest,
      handler: (request, respond) => {
        Queue.offerUnsafe(settled, request)
        for (const claimId of request.returned) waiting.push(assignments.get(claimId) ?? {})
        respond.answer({ sessionId: 70 })
        deliver()
      }
    }),
    RpcService.endpointUnsafe<typeof RegisterRequest.Type, object>({
      name: "register",
      subject: Subject.member(coordinator, "register"),
      queue: false,
      request: RegisterRequest,
      handler: (request, respond) =>
        respond.answer({
          outcomes: request.registrations.map(({ taskInstanceId }) => ({
            _tag: "Registered",
            spec: specs.get(taskInstanceId)
          }))
        })
    }),
    ...options.hasCoordinator === false ? [] : [RpcService.endpointUnsafe<typeof FactRequest.Type, object>({
      name: "facts",
      subject: Subject.member(coordinator, "facts"),
      queue: false,
      request: FactRequest,
      handler: (request, respond) => respond.answer(accept(request))
    })]
  ]
  yield* RpcService.serve(nats, { service: "scripted", version: "1.0.0", description: "", id: "scripted" }, endpoints)
  return {
    superseded,
    submit: (sandbox: object, type: string, options: object, handOff = 0) => {
      const n = ++made
      const taskInstanceId = TaskInstanceId.make(`t${n}:1:1`)
      const claimId = ClaimId.make(`c${n}`)
      specs.set(taskInstanceId, {
        instance,
        task: `t${n}`,
        taskInstanceId,
        attempt: 1,
        type,
        with: options,
        params: { n },
        env: {},
        shard,
        session
      })
      const assignment = {
        claimId,
        sandbox,
        owner: coordinator,
        shard,
        session,
        instance,
        taskInstanceId,
        type,
        handOff
      }
      assignments.set(claimId, assignment)
      waiting.push(assignment)
      deliver()
      return { taskInstanceId, claimId }
    },
    fact: Queue.take(facts).pipe(Effect.timeout("90 seconds"), Effect.orDie),
    /** The next settlement that names the claim in this way. */
    settled: (what: "registered" | "released" | "lost" | "dropped" | "returned", claimId: ClaimId) =>
      Queue.take(settled).pipe(
        Effect.repeat({ until: (_) => _[what].includes(claimId) }),
        Effect.timeout("90 seconds"),
        Effect.orDie
      )
  }
})

/** One warm local sandbox, claimed. */
const sandboxed = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "heddle-test-"))),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const loaded = yield* Effect.fromResult(localPlugin.load())
  const provider = loaded.poolProviders.get("local")
  if (provider === undefined) return yield* Effect.die("no provider")
  const deltas = yield* Queue.unbounded<SandboxDelta>()
  const opened: ProviderPool = yield* provider.open({ pool, sessionId: session, size: 1, labels: {}, startedAt: 0 }, {
    directory
  })
  yield* opened.watch((delta) => Queue.offerUnsafe(deltas, delta))
  opened.create({ name: "a", sessionId: session }, () => {})
  const isIdle = (delta: SandboxDelta): boolean => delta._tag === "Upsert" && delta.state.phase === "Idle"
  const idle = yield* Queue.take(deltas).pipe(Effect.repeat({ until: isIdle }), Effect.timeout("90 seconds"))
  if (idle._tag !== "Upsert") return yield* Effect.die("not idle")
  opened.claim({
    uid: idle.state.sandbox.uid,
    version: idle.state.version,
    mark: { claimId: ClaimId.make("held"), holder: "x1", sessionId: session, ttlMs: 0 }
  }, () => {})
  const sandbox: Sandbox = idle.state.sandbox
  return { sandbox, directory }
})

const plugins = PluginHost.layer([localPlugin, shellPlugin, noopPlugin])
const executorLayer = (nats: Connection, more: Partial<TaskExecutor.TaskExecutorConfig> = {}) =>
  TaskExecutor.layer({
    member: executor,
    version: "1.0.0",
    slots: 8,
    pools: [pool],
    finishMs: 500,
    settleMs: 3_000,
    ttlMs: 60_000,
    ...more
  }).pipe(
    Layer.provide(Layer.succeed(Nats, nats)),
    Layer.provide(plugins)
  )
const running = Effect.fnUntraced(function*(more: Partial<TaskExecutor.TaskExecutorConfig> = {}) {
  const nats = yield* connected
  yield* Streams.ensure(nats)
  const sides = yield* otherSides(nats)
  const service = yield* Layer.build(executorLayer(nats, more)).pipe(Effect.map((context) => context))
  return { nats, sides, service }
})
const logsOf = (nats: Connection, taskInstanceId: TaskInstanceId) =>
  Read.readRange(nats, Streams.name.logs, { filter: Subject.logs(instance, taskInstanceId), from: 1 }).pipe(
    Stream.map((_) => JSON.parse(_.text)),
    Stream.runCollect
  )

layer(Broker.layer(), { timeout: "180 seconds", excludeTestServices: true })("task-executor", (it) => {
  it.effect("a shell task runs in its sandbox: facts, outputs, logs, settlements; the registry shows the executor while it lives", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { nats, sides } = yield* running().pipe(Scope.provide(scope))
      const { sandbox } = yield* sandboxed
      const registry = Kv.bucket(nats, Streams.bucketName.registry)
      const entry = yield* registry.get("task-executor.x1")
      assert.deepInclude(entry._tag === "Some" ? JSON.parse(entry.value.value) : {}, {
        slots: 8,
        pools: [pool],
        role: "task-executor"
      })
      const { claimId, taskInstanceId } = sides.submit(sandbox, "shell", {
        run: "echo hello $HEDDLE_TASK $HEDDLE_PARAM_N; echo oops >&2; echo 'folders=[\"a\",\"b\"]' >> $HEDDLE_OUTPUTS"
      })
      assert.deepInclude(yield* sides.fact, { taskInstanceId, sequence: 1, fact: { _tag: "RUNNING" } })
      const ended = (yield* sides.fact).fact
      assert.strictEqual(ended._tag, "SUCCEEDED")
      assert.deepStrictEqual(ended._tag === "SUCCEEDED" ? [ended.outputs, ended.exitCode] : [], [{
        folders: ["a", "b"]
      }, 0])
      yield* sides.settled("released", claimId)
      // Drains: after it every line is stored.
      yield* Scope.close(scope, Exit.void)
      const after = yield* connected
      const lines = yield* logsOf(after, taskInstanceId)
      const n = taskInstanceId.split(":")[0]
      assert.sameDeepMembers(lines.map((_) => [_.stream, _.text]), [["stdout", `hello ${n} ${made}`], [
        "stderr",
        "oops"
      ]])
      assert.strictEqual((yield* Kv.bucket(after, Streams.bucketName.registry).get("task-executor.x1"))._tag, "None")
    }))

  it.effect("a kill ends the whole process tree and is told as KILLED; a lost sandbox as SANDBOX_LOST", () =>
    Effect.gen(function*() {
      const { nats, sides } = yield* running()
      const { directory, sandbox } = yield* sandboxed
      const first = sides.submit(sandbox, "shell", { run: "setsid sleep 300 & sleep 300", grace: "100ms" })
      assert.strictEqual((yield* sides.fact).fact._tag, "RUNNING")
      const control = (kind: string) =>
        Rpc.call(nats, Subject.member(executor, "control"), ControlAnswer, {
          kind,
          owner: coordinator,
          tasks: [{ shard, instance, taskInstanceId: first.taskInstanceId }, {
            shard,
            instance,
            taskInstanceId: "ghost:1:1"
          }]
        })
      assert.deepStrictEqual((yield* control("ask")).tasks, ["Running", "Unknown"])
      assert.deepStrictEqual((yield* control("kill")).tasks, ["Running", "Unknown"])
      assert.strictEqual((yield* sides.fact).fact._tag, "KILLED")
      const left = ProcessTree.members({ folder: directory })
      assert.lengthOf(left, 1, "the agent and nothing else")
      yield* sides.settled("released", first.claimId)

      const second = sides.submit(sandbox, "shell", { run: "sleep 300" })
      assert.strictEqual((yield* sides.fact).fact._tag, "RUNNING")
      for (const agent of left) ProcessTree.signalOne(agent, "SIGKILL")
      assert.strictEqual((yield* sides.fact).fact._tag, "SANDBOX_LOST")
      yield* sides.settled("lost", second.claimId)
    }))

  it.effect("a superseded task is killed without a report", () =>
    Effect.gen(function*() {
      const { sides } = yield* running()
      const { directory, sandbox } = yield* sandboxed
      sides.superseded.add(`t${made + 1}:1:1`)
      const { claimId } = sides.submit(sandbox, "shell", { run: "sleep 300", grace: "50ms" })
      assert.strictEqual((yield* sides.fact).fact._tag, "RUNNING")
      yield* sides.settled("released", claimId)
      assert.lengthOf(ProcessTree.members({ folder: directory }), 1)
    }))

  it.effect("without a coordinator the fact stands in the instance's durable inbox", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      yield* Streams.ensure(nats)
      const sides = yield* otherSides(nats, { hasCoordinator: false })
      yield* Layer.build(executorLayer(nats))
      const { claimId, taskInstanceId } = sides.submit(
        { uid: "s", name: "s", namespace: "default", provider: "inline", labels: {} },
        "noop",
        { outputs: { rows: 1 } }
      )
      yield* sides.settled("released", claimId)
      const stored = yield* Read.lastMessage(nats, Streams.name.commands, Subject.command(shard, instance))
      const body = stored._tag === "Some" ? JSON.parse(stored.value.text) : {}
      assert.strictEqual(body._tag, "Fact")
      assert.deepInclude(body.report, { taskInstanceId, executor: "x1", sequence: 1 })
    }))

  it.effect("an answer that goes ahead of the append holds when the broker has acknowledged that; after a refusal the fact is told again", () =>
    Effect.gen(function*() {
      const nats = yield* connected
      yield* Streams.ensure(nats)
      const onceAcknowledged = "heddle.ack.x1.s.7"
      const sides = yield* otherSides(nats, { onceAcknowledged })
      yield* Layer.build(executorLayer(nats))
      const sandbox = { uid: "s", name: "s", namespace: "default", provider: "inline", labels: {} }
      const inbox = Read.lastMessage(nats, Streams.name.commands, Subject.command(shard, instance))
      const before = yield* inbox

      const good = sides.submit(sandbox, "noop", { outputs: {} })
      yield* sides.fact
      yield* nats.flush
      nats.publish(onceAcknowledged, JSON.stringify({ stream: "HEDDLE_JOURNAL", seq: 4 }))
      yield* sides.settled("released", good.claimId)
      assert.deepStrictEqual(yield* inbox, before, "it was told once")

      nats.publish(
        onceAcknowledged,
        JSON.stringify({ error: { code: 400, err_code: 10071, description: "wrong last sequence: 9" } })
      )
      yield* nats.flush
      const bad = sides.submit(sandbox, "noop", { outputs: {} })
      yield* sides.settled("released", bad.claimId)
      const stored = yield* inbox
      const body = stored._tag === "Some" ? JSON.parse(stored.value.text) : {}
      assert.strictEqual(body.report?.taskInstanceId, bad.taskInstanceId, "nobody knows what became of the append")
    }))

  it.effect("a registration that is taken away ends the tasks of that life; the next life has another startup id", () =>
    Effect.gen(function*() {
      const { nats, service, sides } = yield* running()
      const { sandbox } = yield* sandboxed
      const { identity } = yield* TaskExecutor.TaskExecutor.pipe(Effect.provide(service))
      const before = identity().startup
      const { taskInstanceId } = sides.submit(sandbox, "shell", { run: "sleep 300", grace: "50ms" })
      assert.strictEqual((yield* sides.fact).fact._tag, "RUNNING")
      yield* Kv.bucket(nats, Streams.bucketName.registry).delete("task-executor.x1")
      const lost = yield* sides.fact
      assert.deepInclude(lost, { taskInstanceId, startup: before })
      assert.strictEqual(lost.fact._tag, "SANDBOX_LOST")
      const next = sides.submit(
        { uid: "s", name: "s", namespace: "default", provider: "inline", labels: {} },
        "noop",
        {}
      )
      const fact = yield* sides.fact
      assert.strictEqual(fact.taskInstanceId, next.taskInstanceId)
      assert.notStrictEqual(fact.startup, before)
    }))

  it.effect("kill -9 of the broker under a running task: it goes on, and its end is told when the broker is back", () =>
    Effect.gen(function*() {
      const broker = yield* Broker
      const { nats, sides } = yield* running()
      const { directory, sandbox } = yield* sandboxed
      const { claimId, taskInstanceId } = sides.submit(sandbox, "shell", {
        run: "while [ ! -e $HOME/go ]; do sleep 0.05; done; echo done=1 >> $HEDDLE_OUTPUTS"
      })
      assert.strictEqual((yield* sides.fact).fact._tag, "RUNNING")
      yield* Effect.promise(() =>
        broker.restart(async () => {
          const fs = await import("node:fs/promises")
          const [root = ""] = readdirSync(directory)
          await fs.writeFile(join(directory, root, "1", "home", "go"), "")
        })
      )
      yield* Streams.ensure(nats)
      const fact = yield* sides.fact.pipe(Effect.repeat({ until: (_) => _.fact._tag === "SUCCEEDED" }))
      assert.strictEqual(fact.taskInstanceId, taskInstanceId)
      yield* sides.settled("released", claimId)
    }))
})
