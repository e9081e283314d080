import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Coordinator from "../../services/coordinator/main.ts"
import * as Append from "../../shared/jetstream/Append.ts"
import { type Connection, Nats, open, RequestTimeout } from "../../shared/jetstream/Nats.ts"
import * as Read from "../../shared/jetstream/Read.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { DefinitionPut } from "../../shared/protocol/Definition.ts"
import type { ContractError } from "../../shared/protocol/ErrorCode.ts"
import { fnv1a } from "../../shared/protocol/Shard.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import { InstanceId, Ledger, MemberId, Shard } from "../../shared/protocol/Token.ts"
import { Accepted, StartAnswer, WorkflowResult, WorkflowView } from "../../shared/protocol/Workflow.ts"
import * as LiveMembers from "../../shared/registry/LiveMembers.ts"
import * as LedgerSeal from "../../shared/session/LedgerSeal.ts"
import { Broker } from "../../shared/testing/Broker.ts"
import * as ScriptedExecutor from "./ScriptedExecutor.ts"

// Coordinators that come and go while clients work: nothing that was accepted is lost, nothing runs twice, nobody waits for an answer that never comes.

const shardCount = 8
const connect = Effect.flatMap(Broker, (broker) => open({ url: broker.url, name: "test" }))
const coordinator = (name: string) =>
  Effect.gen(function*() {
    const broker = yield* Broker
    const scope = yield* Scope.make()
    const services = yield* Layer.buildWithScope(
      Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount, ttlMs: 60_000 }).pipe(
        Layer.provide(Nats.layer({ url: broker.url, name }))
      ),
      scope
    )
    const stop = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => stop)
    const { stats } = Context.get(services, Coordinator.Coordinator)
    return { name, stop, stats }
  })
const definition = (name: string, tasks = 1, more: object = {}) => ({
  metadata: { name },
  spec: {
    tasks: Array.from({ length: tasks }, (_, index) => ({
      name: `t${index}`,
      type: "noop",
      ...(index === 0 ? {} : { dependsOn: [`t${index - 1}`] }),
      ...more
    }))
  }
})
/** Failures that a client meets while shards change hands: it asks again. */
const isPassing = (code: string): boolean =>
  code === "NotOwner" || code === "Unavailable" || code === "ShuttingDown" || code === "DeadlineExceeded"
const patient = <A>(effect: Effect.Effect<A, ContractError>) =>
  Effect.retry(effect, {
    while: (error) => isPassing(error.code),
    schedule: Schedule.upTo(Schedule.spaced("50 millis"), { times: 2_000 })
  })
const start = (nats: Connection, body: object) => Rpc.call(nats, Subject.rpc.workflow("start"), StartAnswer, body)
const result = (nats: Connection, instanceId: string, wait = "100s") =>
  Rpc.call(nats, Subject.rpc.workflow("result"), WorkflowResult, { instanceId, wait }, { timeoutMs: 120_000 })
const view = (nats: Connection, instanceId: string) =>
  Rpc.call(nats, Subject.rpc.workflow("get"), WorkflowView, { instanceId })
const command = (nats: Connection, verb: Subject.WorkflowVerb, instanceId: string) =>
  Rpc.call(nats, Subject.rpc.workflow(verb), Accepted, { instanceId })
const until = (what: string, holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), untilAgain(holds))).pipe(
    Effect.timeoutOrElse({ duration: "60 seconds", orElse: () => Effect.die(new Error(`not within 60 s: ${what}`)) })
  )
const untilAgain = (holds: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => holds() ? Effect.void : Effect.andThen(Effect.sleep("5 millis"), untilAgain(holds)))
const shardOf = (instance: string): Shard => Shard.make(fnv1a(instance) % shardCount)
const succeeded = { _tag: "SUCCEEDED", outputs: {} } as const
/** Tag and ledger of every record of the journal, oldest first. */
const journal = (nats: Connection) =>
  Effect.map(
    Stream.runCollect(Read.readRange(nats, Streams.name.journal, { filter: "heddle.journal.*", from: 1 })),
    (stored) =>
      stored.flatMap(({ subject, text }) =>
        (JSON.parse(text) as { readonly records: ReadonlyArray<{ readonly _tag: string }> }).records.map((
          { _tag }
        ) => ({
          _tag,
          ledger: subject.split(".").at(-1) ?? ""
        }))
      )
  )

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("coming and going", (it) => {
  it.effect("a coordinator that stood still in the middle of its start and was taken for dead begins anew", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const name = "sealed-at-start"
      let sealed: string | undefined
      const runFork = Effect.runForkWith(yield* Effect.context<never>())
      // between the ledger that it has opened and the registration that it asks for, somebody seals that ledger
      const requestUnsafe: Connection["requestUnsafe"] = (subject, body, options, done) => {
        const ask = () => nats.requestUnsafe(subject, body, options, done)
        if (sealed !== undefined || subject !== `$KV.${Streams.bucketName.registry}.coordinator.${name}`) return ask()
        const { ledger = "" } = JSON.parse(String(body)) as { readonly ledger?: string } // a Member
        sealed = ledger
        runFork(
          Effect.andThen(LedgerSeal.sealLedger(nats, Ledger.make(ledger), MemberId.make("other")), Effect.sync(ask))
        )
      }
      const slow: Connection = Object.create(nats, { requestUnsafe: { value: requestUnsafe } })
      const services = yield* Layer.build(
        Coordinator.layer({ member: MemberId.make(name), version: "test", shardCount, ttlMs: 60_000 }).pipe(
          Layer.provide(Layer.succeed(Nats, slow))
        )
      )
      assert.include(sealed, name)
      assert.strictEqual(Context.get(services, Coordinator.Coordinator).stats().shards, shardCount)
      const lives = (yield* journal(nats)).filter(({ ledger }) => ledger.startsWith(name))
      assert.deepStrictEqual(lives.filter(({ ledger }) => ledger === sealed).map(({ _tag }) => _tag), [
        "Opened",
        "Sealed"
      ])
      assert.isTrue(lives.some(({ _tag, ledger }) => _tag === "Adopted" && ledger !== sealed))
    }))

  it.effect("what a coordinator could not take while the broker did not answer it takes later, though nothing else changes", () =>
    Effect.gen(function*() {
      const broker = yield* Broker
      const nats = yield* open({ url: broker.url, name: "unanswered-b" })
      let isAnswered = true
      let unanswered = 0
      const requestUnsafe: Connection["requestUnsafe"] = (subject, body, options, done) => {
        const isOfShards = subject.startsWith(`$KV.${Streams.bucketName.shards}.`) ||
          subject === `$JS.API.STREAM.MSG.GET.KV_${Streams.bucketName.shards}`
        if (isAnswered || !isOfShards) return nats.requestUnsafe(subject, body, options, done)
        unanswered++
        done(Result.fail(new RequestTimeout({ subject, timeoutMs: 5_000 })))
      }
      const deaf: Connection = Object.create(nats, {
        requestUnsafe: { value: requestUnsafe },
        request: {
          value: ((subject, body, options) =>
            Effect.callback((resume) => {
              requestUnsafe(subject, body, options ?? {}, (answer) => resume(Effect.fromResult(answer)))
            })) satisfies Connection["request"]
        }
      })
      const first = yield* coordinator("unanswered-a")
      const second = yield* Layer.build(
        Coordinator.layer({ member: MemberId.make("unanswered-b"), version: "test", shardCount, ttlMs: 60_000 }).pipe(
          Layer.provide(Layer.succeed(Nats, deaf))
        )
      )
      const { stats } = Context.get(second, Coordinator.Coordinator)
      yield* until("both serve", () => {
        const [ofFirst, ofSecond] = [first.stats().shards, stats().shards]
        return ofFirst > 0 && ofSecond > 0 && ofFirst + ofSecond === shardCount
      })
      isAnswered = false
      yield* first.stop
      yield* until("it has tried to take them", () => unanswered > 0)
      yield* LiveMembers.make(nats).pipe(
        Effect.flatMap((live) =>
          until(
            "the first one has left the registry",
            () => live.of("coordinator").every(({ member }) => member === "unanswered-b")
          )
        ),
        Effect.scoped
      )
      // from here on nothing changes: what follows is more than it could do about what has changed before
      const before = unanswered
      yield* until("it tries again and again", () => unanswered > before + 10 * shardCount)
      isAnswered = true
      yield* until("it has taken all", () => stats().shards === shardCount)
    }))

  it.effect("a second coordinator joins while workflows run, the first leaves: no instance lost, each task once", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("join-a")
      const executor = yield* ScriptedExecutor.make(nats, "join-ex", () => succeeded)
      const total = 150
      const ids = Array.from({ length: total }, (_, index) => `join-${index}`)
      const working = yield* Effect.forkChild(
        Effect.forEach(
          ids,
          (instanceId) =>
            Effect.andThen(
              patient(start(nats, { inline: definition("five", 5), instanceId })),
              patient(result(nats, instanceId))
            ),
          { concurrency: 16 }
        )
      )
      yield* until("some have run", () => executor.ran.length > 50)
      const second = yield* coordinator("join-b")
      yield* until(
        "both serve",
        () =>
          first.stats().shards > 0 && second.stats().shards > 0 &&
          first.stats().shards + second.stats().shards === shardCount
      )
      yield* first.stop
      // far below what a request lives: none was passed on to somebody who had gone
      const results = yield* Effect.timeout(Fiber.join(working), "80 seconds")
      assert.deepStrictEqual(results.map(({ state }) => state), ids.map(() => "SUCCEEDED" as const))
      const ran = executor.ran.map((spec) => `${spec.instance}/${spec.taskInstanceId}`)
      assert.strictEqual(new Set(ran).size, ran.length, "no attempt was registered twice")
      assert.strictEqual(new Set(executor.ran.map((spec) => `${spec.instance}/${spec.task}`)).size, total * 5)
      assert.strictEqual(second.stats().shards, shardCount)
      yield* second.stop
    }))

  it.effect("one that leaves gets nothing back from those that stay", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("leave-a")
      const second = yield* coordinator("leave-b")
      yield* until("both serve", () => first.stats().shards > 0 && second.stats().shards > 0)
      const before = (yield* journal(nats)).length
      yield* first.stop
      yield* until("the other serves all", () => second.stats().shards === shardCount)
      const after = (yield* journal(nats)).slice(before).filter((record) => record._tag === "Released")
      assert.isTrue(after.every((record) => record.ledger.startsWith("leave-a-")), JSON.stringify(after))
      yield* second.stop
    }))

  it.effect("starts in flight while the only coordinator leaves: what was accepted is there, what was not is told so", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("stop-a")
      const outcomes = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 2_000 }, (_, index) => `stop-${index}`),
          (instanceId) =>
            Effect.map(
              Effect.result(start(nats, { inline: definition("one"), instanceId })),
              (answer) => ({ instanceId, answer })
            ),
          { concurrency: 64 }
        )
      )
      yield* until("some are accepted", () => first.stats().live > 100)
      const begun = performance.now()
      yield* first.stop
      assert.isBelow(performance.now() - begun, 12_000)
      const all = yield* Fiber.join(outcomes)
      const accepted = all.filter(({ answer }) => Result.isSuccess(answer))
      assert.isAbove(accepted.length, 100)
      assert.isBelow(accepted.length, all.length, "the stop came between")
      for (const { answer } of all) {
        if (Result.isFailure(answer)) assert.isTrue(isPassing(answer.failure.code), answer.failure.code)
      }
      const second = yield* coordinator("stop-b")
      for (const { instanceId } of accepted) assert.strictEqual((yield* view(nats, instanceId)).instanceId, instanceId)
      yield* second.stop
    }))

  it.effect("a stop while the broker is gone ends in bounded time", () =>
    Effect.gen(function*() {
      const broker = yield* Broker
      const nats = yield* connect
      const first = yield* coordinator("gone-a")
      yield* start(nats, { inline: definition("one"), instanceId: "gone-1" })
      yield* Effect.promise(() => broker.kill())
      const begun = performance.now()
      yield* first.stop
      assert.isBelow(performance.now() - begun, 25_000)
      yield* Effect.promise(() => broker.start())
    }))
})

layer(Broker.layer(), { timeout: 180_000, excludeTestServices: true })("clients", (it) => {
  it.effect("who waits for a result while the shard changes hands is told to ask again, and then gets it", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("wait-a")
      const executor = yield* ScriptedExecutor.make(nats, "wait-ex", () => undefined)
      const ids = Array.from({ length: 16 }, (_, index) => `wait-${index}`)
      for (const instanceId of ids) yield* start(nats, { inline: definition("one"), instanceId })
      yield* until("they run", () => executor.ran.length === ids.length)
      let told = 0
      const waiting = yield* Effect.forEach(
        ids,
        (id) => Effect.forkChild(Effect.tap(Effect.result(result(nats, id, "110s")), () => Effect.sync(() => told++)))
      )
      yield* until("all wait", () => first.stats().waiters === ids.length)
      const begun = performance.now()
      const second = yield* coordinator("wait-b")
      // the first lives on with the rest: those whose shard has moved are told
      yield* until("some have moved", () => first.stats().waiters < ids.length)
      yield* until("those are told", () => told === ids.length - first.stats().waiters)
      yield* first.stop
      const answers = yield* Effect.forEach(waiting, (fiber) => Fiber.join(fiber))
      assert.isBelow(performance.now() - begun, 60_000, "long before they have waited to the end")
      for (const answer of answers) assert.isTrue(Result.isFailure(answer) && isPassing(answer.failure.code))
      const again = yield* Effect.forEach(ids, (id) => Effect.forkChild(patient(result(nats, id, "110s"))))
      yield* until("all wait again", () => second.stats().waiters === ids.length)
      for (const spec of executor.ran) executor.report(spec, MemberId.make("wait-b"), succeeded)
      for (const fiber of again) assert.strictEqual((yield* Fiber.join(fiber)).state, "SUCCEEDED")
      assert.strictEqual(executor.ran.length, ids.length, "each task ran once")
      yield* second.stop
    }))

  it.effect("the same id at once from two connections: one instance; with other content: Conflict", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* connect, yield* connect]
      yield* coordinator("once-a")
      yield* coordinator("once-b")
      const executor = yield* ScriptedExecutor.make(one, "once-ex", () => succeeded)
      yield* Rpc.call(one, Subject.rpc.definition("put"), DefinitionPut, definition("kept"))
      for (let i = 0; i < 20; i++) {
        const instanceId = `once-${i}`
        const answers = yield* Effect.forEach(
          [one, two, one, two],
          (nats) => patient(start(nats, { definition: "kept@1", instanceId })),
          { concurrency: 4 }
        )
        assert.deepStrictEqual(answers.map((answer) => answer.instanceId), Array(4).fill(InstanceId.make(instanceId)))
        assert.strictEqual((yield* patient(result(two, instanceId))).state, "SUCCEEDED")
        const other = yield* Effect.flip(
          Effect.retry(start(one, { definition: "kept@1", instanceId, params: { other: true } }), {
            while: (error) => isPassing(error.code)
          })
        )
        assert.strictEqual(other.code, "Conflict")
      }
      assert.strictEqual(executor.ran.filter((spec) => spec.instance.startsWith("once-")).length, 20)
      const mixed = yield* Effect.forEach(
        [1, 2, 3, 4],
        (value) =>
          Effect.result(
            start(value % 2 === 0 ? one : two, { definition: "kept", instanceId: "mixed", params: { value } })
          ),
        { concurrency: 4 }
      )
      assert.strictEqual(mixed.filter(Result.isSuccess).length, 1)
      for (const answer of mixed) if (Result.isFailure(answer)) assert.strictEqual(answer.failure.code, "Conflict")
    }))

  it.effect("commands of the durable inbox; what can never be handled is put aside with an answer", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("inbox-a")
      const executor = yield* ScriptedExecutor.make(nats, "inbox-ex", () => undefined)
      const answers: Array<Record<string, unknown>> = []
      const inbox = nats.inbox()
      yield* nats.subscribe(inbox, (message) => void answers.push(JSON.parse(message.text) as Record<string, unknown>))
      const send = (instance: string, body: unknown, shard = shardOf(instance)) =>
        Append.publish(
          nats,
          Subject.command(shard, InstanceId.make(instance)),
          typeof body === "string" ? body : JSON.stringify(body),
          { headers: { [Subject.header.replyTo]: inbox } }
        )
      yield* send("by-inbox", { _tag: "Start", request: { inline: definition("two", 2) } })
      const ranOf = (instance: string) => executor.ran.filter((spec) => spec.instance === instance)
      yield* until("it runs", () => ranOf("by-inbox").length === 1)
      // redelivered, or sent twice: one instance
      yield* send("by-inbox", { _tag: "Start", request: { inline: definition("two", 2) } })
      yield* send("by-inbox", { _tag: "Pause", reason: "inbox" })
      const spec = ranOf("by-inbox")[0]
      assert.isDefined(spec)
      if (spec === undefined) return
      yield* send("by-inbox", {
        _tag: "Fact",
        report: {
          shard: spec.shard,
          instance: spec.instance,
          taskInstanceId: spec.taskInstanceId,
          executor: executor.member,
          startup: executor.startup,
          sequence: 99,
          at: 0,
          fact: succeeded
        }
      })
      yield* until(
        "the result is published to the reply subject",
        () => answers.some((one) => one["state"] === "PAUSED")
      )
      yield* send("to-stop", { _tag: "Start", request: { inline: definition("one") } })
      yield* until("the other runs", () => ranOf("to-stop").length === 1)
      yield* send("to-stop", { _tag: "Stop" })
      yield* until("stopped", () => answers.some((one) => one["state"] === "STOPPED"))
      answers.length = 0

      const elsewhere = Shard.make((shardOf("lost-way") + 1) % shardCount)
      const bad: ReadonlyArray<readonly [string, unknown, Shard?]> = [
        ["bad", "not json"],
        ["bad", { _tag: "Explode" }],
        ["bad", { _tag: "Start", request: { definition: "nothing-of-that-name" } }],
        ["bad", { _tag: "Start", request: {} }],
        ["bad", { _tag: "Start", request: { inline: definition("one"), definition: "one" } }],
        ["bad", { _tag: "Start", request: { inline: definition("one"), instanceId: "another" } }],
        ["bad", {
          _tag: "Start",
          request: {
            inline: { metadata: { name: "x" }, spec: { tasks: [{ name: "a", type: "noop", dependsOn: ["a"] }] } }
          }
        }],
        ["nobody", { _tag: "Pause" }],
        ["lost-way", { _tag: "Start", request: { inline: definition("one") } }, elsewhere],
        ["lost-way", {
          _tag: "Fact",
          report: {
            shard: 0,
            instance: "someone-else",
            taskInstanceId: "a:1:1",
            executor: "e",
            startup: "s",
            sequence: 1,
            at: 0,
            fact: succeeded
          }
        }],
        ["lost-way", {
          _tag: "Fact",
          report: {
            shard: 4_000,
            instance: "lost-way",
            taskInstanceId: "a:1:1",
            executor: "e",
            startup: "s",
            sequence: 1,
            at: 0,
            fact: succeeded
          }
        }]
      ]
      for (const [instance, body, shard] of bad) yield* send(instance, body, shard ?? shardOf(instance))
      yield* until(
        "each is answered with an error",
        () => answers.filter((one) => "error" in one).length === bad.length
      )
      const left = Effect.map(
        Streams.info(nats, Streams.name.commands),
        (info) => info._tag === "Some" ? info.value.state.messages : -1
      )
      assert.strictEqual(
        yield* Effect.repeat(left, { until: (messages) => messages === 0, schedule: Schedule.spaced("20 millis") })
          .pipe(
            Effect.andThen(left)
          ),
        0,
        "nothing is redelivered for ever"
      )
      assert.strictEqual(
        (yield* start(nats, { inline: definition("one"), instanceId: "still-there" })).instanceId,
        "still-there"
      )
    }))

  it.effect("pause, resume, stop, recover and rerun, also of instances that left memory long ago", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      const first = yield* coordinator("verbs-a")
      let isFailing = true
      const executor = yield* ScriptedExecutor.make(
        nats,
        "verbs-ex",
        (spec) => isFailing && spec.task === "t1" ? { _tag: "FAILED", reason: "not today" } : succeeded
      )
      const at = yield* start(nats, { inline: definition("two", 2), instanceId: "verbs" })
      assert.strictEqual((yield* result(nats, at.instanceId)).state, "FAILED")
      yield* until("it has left memory", () => first.stats().live + first.stats().resting === 0)
      for (const verb of ["pause", "stop", "resume"] as const) {
        assert.strictEqual((yield* Effect.flip(command(nats, verb, "verbs"))).code, "Conflict")
      }
      yield* first.stop
      yield* coordinator("verbs-b")
      isFailing = false
      yield* command(nats, "recover", "verbs")
      assert.strictEqual((yield* result(nats, "verbs")).state, "SUCCEEDED")
      const ours = () => executor.ran.filter((spec) => spec.instance === "verbs").map((spec) => spec.task)
      assert.deepStrictEqual(ours(), ["t0", "t1", "t1"])
      yield* command(nats, "rerun", "verbs")
      assert.strictEqual((yield* result(nats, "verbs")).state, "SUCCEEDED")
      assert.strictEqual((yield* view(nats, "verbs")).runNumber, 2)
      assert.deepStrictEqual(ours(), ["t0", "t1", "t1", "t0", "t1"])
      assert.strictEqual((yield* Effect.flip(command(nats, "rerun", "never-was"))).code, "NoSuchInstance")
    }))

  it.effect("definitions: two puts of different content at once give versions 1 and 2; a deleted name starts nothing", () =>
    Effect.gen(function*() {
      const nats = yield* connect
      yield* coordinator("defs-a")
      yield* coordinator("defs-b")
      const executor = yield* ScriptedExecutor.make(nats, "defs-ex", () => succeeded)
      const put = (name: string, tasks: number) =>
        Rpc.call(nats, Subject.rpc.definition("put"), DefinitionPut, definition(name, tasks))
      const remove = (name: string) => Rpc.call(nats, Subject.rpc.definition("delete"), Schema.Unknown, { name })
      for (let i = 0; i < 15; i++) {
        const name = `raced-${i}`
        const versions = yield* Effect.forEach([1, 2], (tasks) => put(name, tasks), { concurrency: 2 })
        assert.deepStrictEqual(versions.map(({ version }) => version).sort(), [1, 2])
      }
      // a delete between: afterwards the newest put is what starts, or the name is gone
      for (let i = 0; i < 15; i++) {
        const name = `deleted-${i}`
        yield* put(name, 1)
        const [second] = yield* Effect.all([put(name, 2), Effect.result(remove(name))], { concurrency: 2 })
        assert.strictEqual(second.version, 2)
        const third = yield* put(name, 3)
        assert.strictEqual(third.version, 3)
        const { instanceId } = yield* start(nats, { definition: `${name}@3` })
        assert.strictEqual((yield* result(nats, instanceId)).state, "SUCCEEDED")
        assert.strictEqual((yield* view(nats, instanceId)).tasks.length, 3)
        yield* remove(name)
        assert.strictEqual((yield* Effect.flip(remove(name))).code, "NoSuchDefinition")
      }
      assert.isAbove(executor.ran.length, 0)
    }))
})
