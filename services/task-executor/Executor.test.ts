import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { type Messaging, MessagingFailed } from "../../shared/plugin/Messaging.ts"
import type { PoolProvider } from "../../shared/plugin/PoolProvider.ts"
import { SandboxLost } from "../../shared/plugin/SandboxClient.ts"
import * as TaskType from "../../shared/plugin/TaskType.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import {
  InstanceId,
  MemberId,
  Namespace,
  PoolName,
  Shard,
  StartupId,
  TaskInstanceId
} from "../../shared/protocol/Token.ts"
import * as Control from "./Control.ts"
import * as Executor from "./Executor.ts"
import { nobody, ScriptedWire, turn, unknown } from "./ScriptedWire.ts"
import { putOffMs } from "./Settler.ts"

const pool = (name: string): PoolRef => ({ namespace: Namespace.make("default"), name: PoolName.make(name) })
const anything = Schema.Record(Schema.String, Schema.Unknown)

/** Task types: `noop` at once; `held` when the test says so; `lost` in a sandbox that vanishes. */
const typesOf = (held: Map<string, Deferred.Deferred<TaskType.TaskOutcome>>, killed: Array<string>) =>
  new Map<string, TaskType.TaskType>([
    [
      "noop",
      TaskType.inline({
        type: "noop",
        description: "",
        with: anything,
        run: ({ with: outputs }) => ({ _tag: "Succeeded", outputs })
      })
    ],
    [
      "broken",
      TaskType.inline({
        type: "broken",
        description: "",
        with: anything,
        run: () => {
          throw new Error("bug")
        }
      })
    ],
    [
      "lost",
      TaskType.sandboxed({
        type: "lost",
        description: "",
        with: anything,
        run: () => Effect.fail(new SandboxLost({ sandbox: "s", reason: "gone" }))
      })
    ],
    [
      "effectful",
      TaskType.effectful({
        type: "effectful",
        description: "",
        with: Schema.Struct({ subject: Schema.String }),
        run: ({ messaging, spec, with: { subject } }) =>
          messaging.publish(subject, "", { headers: {} }).pipe(
            Effect.match({
              onFailure: ({ message }): TaskType.TaskOutcome => ({ _tag: "Failed", reason: message }),
              onSuccess: (): TaskType.TaskOutcome => ({
                _tag: "Succeeded",
                outputs: { key: TaskType.idempotencyKey(spec) }
              })
            })
          )
      })
    ],
    [
      "held",
      TaskType.sandboxed({
        type: "held",
        description: "",
        with: anything,
        run: ({ log, pauseRequested, spec }) => {
          const end = Deferred.makeUnsafe<TaskType.TaskOutcome>()
          held.set(spec.taskInstanceId, end)
          log("stdout", new TextEncoder().encode("hello\n"))
          const paused = Effect.as(pauseRequested, { _tag: "Paused" } satisfies TaskType.TaskOutcome)
          return Effect.raceFirst(Deferred.await(end), paused).pipe(
            Effect.onInterrupt(() =>
              Effect.sync(() => {
                killed.push(spec.taskInstanceId)
              })
            )
          )
        }
      })
    ]
  ])
const provider = (): PoolProvider => ({
  name: "inline",
  capabilities: { handOff: true, synchronous: true, persistent: false },
  validate: () => [],
  open: () => Effect.die("not here"),
  connect: () =>
    Effect.succeed({
      exec: () =>
        Effect.succeed({
          output: Stream.empty,
          exit: Effect.succeed({ _tag: "NotStarted", reason: "" }),
          kill: Effect.void
        })
    })
})

const noMessaging = Effect.fail(new MessagingFailed({ message: "not here", isPermanent: true }))
const messaging: Messaging = {
  publish: () => Effect.void,
  store: () => noMessaging,
  request: () => noMessaging
}

const started = Effect.fnUntraced(
  function*(
    options: {
      readonly slots?: number
      readonly pools?: ReadonlyArray<PoolRef>
      readonly owners?: Map<number, string>
    } = {}
  ) {
    const wire = new ScriptedWire()
    const held = new Map<string, Deferred.Deferred<TaskType.TaskOutcome>>()
    const killed: Array<string> = []
    const executor = yield* Executor.make({
      identity: { member: MemberId.make("x1"), startup: StartupId.make("life1") },
      slots: options.slots ?? 64,
      host: { taskTypes: typesOf(held, killed), poolProviders: new Map([["inline", provider()]]) },
      wire,
      messaging,
      ownerOf: (shard) => {
        const owner = options.owners?.get(shard)
        return owner === undefined ? undefined : MemberId.make(owner)
      },
      onDefect: (cause) => assert.fail(String(cause))
    })
    executor.setPools(options.pools ?? [pool("p")])
    yield* turn
    return { wire, executor, held, killed }
  }
)

const task = (n: number) => `t${n}:1:1`
const assignment = (n: number, more: object = {}) => ({
  claimId: `c${n}`,
  sandbox: { uid: `s${n}`, name: `s${n}`, namespace: "default", provider: "inline", labels: {} },
  owner: "co1",
  shard: 3,
  session: 10,
  instance: "i1",
  taskInstanceId: task(n),
  type: "noop",
  handOff: 0,
  ...more
})
const spec = (n: number, type = "noop", options: object = {}) => ({
  instance: "i1",
  task: `t${n}`,
  taskInstanceId: task(n),
  attempt: 1,
  type,
  with: options,
  params: {},
  env: {},
  shard: 3,
  session: 10
})
const registered = (n: number, type = "noop", options: object = {}) => ({
  _tag: "Registered",
  spec: spec(n, type, options)
})
const assigned = (...assignments: ReadonlyArray<object>) => ({ sessionId: 70, assignments })
const empty = assigned()
/** Lets one task through up to its run. */
const running = Effect.fnUntraced(function*(wire: ScriptedWire, n: number, type: string, more: object = {}) {
  const [poll] = wire.on("dequeue")
  poll?.answer(assigned(assignment(n, more)))
  wire.one("register").answer({ outcomes: [registered(n, type)] })
  yield* turn
})
const factTags = (facts: ReadonlyArray<{ readonly fact: { readonly _tag: string } }>) => facts.map((_) => _.fact._tag)
const stop = { finishMs: 0, settleMs: 0 }

it.effect("a batch of tasks costs one registration, one report and its settlements", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    const poll = wire.one("heddle.rpc.pool.default.p.dequeue")
    assert.deepStrictEqual(poll.body, { executor: "x1", startup: "life1", max: 4, waitMs: 1_000 })
    poll.answer(assigned(assignment(1), assignment(2)))
    const register = wire.one("heddle.member.co1.register")
    assert.deepStrictEqual(register.body.registrations[1], {
      shard: 3,
      session: 10,
      instance: "i1",
      taskInstanceId: task(2),
      placement: { executor: "x1", startup: "life1", pool: pool("p"), poolSession: 70, claimId: "c2", sandbox: "s2" }
    })
    register.answer({ outcomes: [registered(1, "noop", { rows: 3 }), registered(2)] })
    yield* turn
    const facts = wire.one("heddle.member.co1.facts")
    assert.deepStrictEqual(facts.body.facts[0], {
      shard: 3,
      instance: "i1",
      taskInstanceId: task(1),
      executor: "x1",
      startup: "life1",
      sequence: 1,
      at: 0,
      fact: { _tag: "SUCCEEDED", outputs: { rows: 3 }, startedAt: 0 }
    })
    assert.lengthOf(facts.body.facts, 2)
    assert.strictEqual(executor.slots.used, 2)
    assert.lengthOf(wire.on("settle"), 0)
    facts.answer({ outcomes: [{ _tag: "Accepted" }, { _tag: "Accepted" }] })
    assert.strictEqual(executor.slots.used, 0)
    assert.strictEqual(executor.attempts.size, 0)
    yield* turn
    const { registered: told, released } = wire.one("settle").body
    assert.deepStrictEqual(released, ["c1", "c2"])
    assert.lengthOf(told, 0, "their release says it")
  }))

it.effect("the registration of a task that ends at once is told after a while when its report is not acknowledged", () =>
  Effect.gen(function*() {
    const { wire } = yield* started()
    yield* running(wire, 1, "noop")
    yield* TestClock.adjust(putOffMs - 1)
    assert.lengthOf(wire.on("settle"), 0)
    yield* TestClock.adjust(1)
    yield* turn
    const { registered: told, released } = wire.one("settle").body
    assert.deepStrictEqual([told, released], [["c1"], []])
    wire.one("settle").answer({ sessionId: 70 })
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    assert.deepStrictEqual([wire.one("settle").body.registered, wire.one("settle").body.released], [[], ["c1"]])
  }))

it.effect("a task that runs in a sandbox is told as registered at once", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    yield* running(wire, 1, "held")
    assert.deepStrictEqual(wire.one("settle").body.registered, ["c1"])
    yield* executor.drain(stop)
  }))

it.effect("a task that runs in the executor reaches into no sandbox; wrong arguments are told as for any other", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    const nowhere = { sandbox: { ...assignment(1).sandbox, provider: "elsewhere" } }
    wire.one("dequeue").answer(assigned(assignment(1, nowhere), assignment(2, nowhere), assignment(3, nowhere)))
    wire.one("register").answer({
      outcomes: [
        registered(1, "effectful", { subject: "orders" }),
        registered(2, "effectful", { subject: 1 }),
        registered(3, "held")
      ]
    })
    const told = new Map<string, { readonly _tag: string; readonly reason?: string; readonly outputs?: object }>()
    for (let round = 0; round < 4 && told.size < 3; round++) {
      yield* turn
      for (const facts of wire.on("facts")) {
        for (const { fact, taskInstanceId } of facts.body.facts) {
          if (fact._tag !== "RUNNING") told.set(taskInstanceId, fact)
        }
        facts.answer({ outcomes: facts.body.facts.map(() => ({ _tag: "Accepted" })) })
      }
    }
    assert.deepStrictEqual(told.get(task(1))?.outputs, { key: "i1:t1:1" })
    assert.match(told.get(task(2))?.reason ?? "", /^the arguments of task type effectful are wrong: with\.subject: /)
    assert.match(told.get(task(3))?.reason ?? "", /no pool provider "elsewhere"/)
    yield* executor.drain(stop)
  }))

it.effect("never asks for more than there are free slots, never with more than two polls of one pool", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started({ slots: 6, pools: [pool("p"), pool("q")] })
    const ofP = () => wire.on(".p.dequeue")
    assert.lengthOf(ofP(), 1)
    assert.lengthOf(wire.on(".q.dequeue"), 1)
    ofP()[0]?.answer(assigned(assignment(1, { type: "held" })))
    yield* turn
    wire.one("register").answer({ outcomes: [registered(1, "held")] })
    yield* turn
    assert.isAtMost(ofP().length, 2)
    for (let n = 2; n < 20 && ofP().length > 0; n++) {
      const polls = ofP()
      assert.isAtMost(polls.length, 2)
      const asked = wire.on("dequeue").reduce((sum, _) => sum + _.body.max, 0)
      assert.isAtMost(asked + executor.slots.used, 6)
      polls[0]?.answer(assigned(assignment(n)))
      wire.one("register").answer({ outcomes: [registered(n, "held")] })
      yield* turn
    }
    assert.strictEqual(executor.slots.used, 5, "the idle pool keeps one slot")
    assert.lengthOf(ofP(), 0)
    yield* executor.drain(stop)
  }))

it.effect("a pool that fails is asked again after a while, longer each time", () =>
  Effect.gen(function*() {
    const { wire } = yield* started()
    for (const [waitMs, earliest] of [[130, 79], [260, 159], [520, 319]] as const) {
      wire.one("dequeue").fail(nobody)
      yield* TestClock.adjust(earliest)
      assert.lengthOf(wire.asked, 0)
      yield* TestClock.adjust(waitMs)
      assert.lengthOf(wire.asked, 1)
    }
    wire.one("dequeue").answer(empty)
    yield* turn
    assert.lengthOf(wire.asked, 1, "an empty answer is no failure")
  }))

it.effect("stale, refused and repeated assignments are dropped; an older session costs no call", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started({ slots: 128 })
    wire.one("dequeue").answer(
      assigned(
        assignment(1),
        assignment(2),
        assignment(3),
        assignment(4, { session: 9 }),
        assignment(1, { claimId: "c9" })
      )
    )
    const register = wire.one("register")
    assert.deepStrictEqual(
      register.body.registrations.map((_: { placement: { claimId: string } }) => _.placement.claimId),
      ["c1", "c2", "c3", "c9"]
    )
    register.answer({
      outcomes: [
        { _tag: "StaleSession", current: 12 },
        { _tag: "NoLongerRunnable", why: "stopped" },
        { _tag: "AlreadyAssigned" },
        { _tag: "AlreadyAssigned" }
      ]
    })
    yield* turn
    assert.deepStrictEqual(wire.one("settle").body.dropped, ["c4", "c1", "c2", "c3", "c9"])
    assert.strictEqual(executor.slots.used, 0)
    wire.on("dequeue")[0]?.answer(assigned(assignment(5, { session: 11 })))
    assert.lengthOf(wire.on("register"), 0, "12 is known since the refusal")
  }))

it.effect("a registration that a dead owner may have made is not dropped when the next owner says it is of an older session: it is asked for under the new one", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1), assignment(2)))
    // the owner was killed with the question in its hands: what it wrote down nobody knows
    wire.one("register").fail(unknown)
    yield* TestClock.adjust("1 second")
    wire.one("register").answer({
      outcomes: [{ _tag: "StaleSession", current: 12 }, { _tag: "StaleSession", current: 12 }]
    })
    yield* turn
    assert.lengthOf(wire.on("settle"), 0, "nothing is given up")
    const again = wire.one("register")
    assert.deepStrictEqual(
      again.body.registrations.map((_: { session: number; placement: { claimId: string } }) => [
        _.session,
        _.placement.claimId
      ]),
      [[12, "c1"], [12, "c2"]]
    )
    again.answer({ outcomes: [registered(1, "held"), { _tag: "NoLongerRunnable", why: "stopped" }] })
    yield* turn
    assert.deepStrictEqual(wire.one("settle").body.registered, ["c1"])
    assert.deepStrictEqual(wire.one("settle").body.dropped, ["c2"])
    assert.strictEqual(executor.attempts.size, 1)
    yield* executor.drain(stop)
  }))

it.effect("of two claims for one task the one that its owner took counts; once it runs here a third costs no call", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started({ slots: 128 })
    wire.one("dequeue").answer(assigned(assignment(1)))
    const first = wire.one("register")
    wire.on("dequeue")[0]?.answer(assigned(assignment(1, { claimId: "c2" })))
    wire.on("register")[1]?.answer({ outcomes: [{ _tag: "AlreadyAssigned" }] })
    first.answer({ outcomes: [registered(1, "held")] })
    yield* turn
    wire.on("dequeue")[0]?.answer(assigned(assignment(1, { claimId: "c3" })))
    assert.lengthOf(wire.on("register"), 0)
    assert.strictEqual(executor.attempts.size, 1)
    assert.strictEqual(executor.slots.used, 1)
    wire.one("settle").answer({ sessionId: 70 })
    yield* turn
    assert.deepStrictEqual(wire.one("settle").body.dropped, ["c3"])
  }))

it.effect("an unanswered registration is asked again, then returned, and reported in case it was made", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1), assignment(2, { owner: "co2" })))
    for (let i = 0; i < 6; i++) {
      for (const register of wire.on("register")) register.fail(register.subject.includes("co1") ? unknown : nobody)
      yield* TestClock.adjust("3 seconds")
    }
    assert.lengthOf(wire.on("register"), 0)
    const settle = wire.one("settle")
    const settled = [...settle.body.returned]
    settle.answer({ sessionId: 70 })
    for (const more of wire.on("settle")) settled.push(...more.body.returned)
    assert.sameMembers(settled, ["c1", "c2"])
    const facts = wire.one("facts")
    assert.deepStrictEqual(
      facts.body.facts.map((_: { taskInstanceId: string; fact: object }) => [_.taskInstanceId, _.fact]),
      [
        [task(1), { _tag: "SANDBOX_LOST", reason: "its registration was not answered" }]
      ]
    )
    facts.answer({ outcomes: [{ _tag: "Superseded" }] })
    yield* turn
    assert.strictEqual(executor.attempts.size, 0)
    assert.strictEqual(executor.slots.used, 0)
    const told = wire.on("settle").flatMap((_) => _.body.released.concat(_.body.lost))
    assert.deepStrictEqual(told, [], "settled once")
  }))

it.effect("another owner is followed at once, and the durable inbox gets what no owner takes", () =>
  Effect.gen(function*() {
    const owners = new Map<number, string>()
    const { executor, wire } = yield* started({ owners })
    wire.one("dequeue").answer(assigned(assignment(1)))
    wire.one("co1.register").answer({ outcomes: [{ _tag: "NotOwner", owner: "co2" }] })
    wire.one("co2.register").answer({ outcomes: [registered(1)] })
    yield* turn
    wire.one("co2.facts").answer({ outcomes: [{ _tag: "NotOwner", owner: "co3" }] })
    yield* turn
    owners.set(3, "co4")
    wire.one("co3.facts").fail(nobody)
    yield* turn
    wire.one("co4.facts").fail(unknown)
    yield* turn
    const [first] = wire.stored
    assert.strictEqual(first?.subject, "heddle.wf.3.i1.cmd")
    assert.strictEqual(first?.msgId, "fact-i1-t1:1:1-life1-1")
    assert.strictEqual(first?.body._tag, "Fact")
    assert.strictEqual(first?.body.report.fact._tag, "SUCCEEDED")
    first?.done(false)
    assert.strictEqual(executor.attempts.size, 1, "kept until it is acknowledged")
    yield* TestClock.adjust("10 seconds")
    wire.one("co4.facts").fail(nobody)
    yield* turn
    assert.strictEqual(wire.stored[0]?.msgId, "fact-i1-t1:1:1-life1-1", "the same message again")
    wire.stored[0]?.done(true)
    assert.strictEqual(executor.attempts.size, 0)
  }))

it.effect("facts of one task arrive in order, one at a time; a RUNNING that the end overtakes is left out", () =>
  Effect.gen(function*() {
    const { held, wire } = yield* started()
    yield* running(wire, 1, "held")
    const first = wire.one("facts")
    assert.deepStrictEqual(factTags(first.body.facts), ["RUNNING"])
    Deferred.doneUnsafe(held.get(task(1))!, Effect.succeed({ _tag: "Failed", reason: "no", exitCode: 2 }))
    yield* turn
    assert.lengthOf(wire.on("facts"), 1, "RUNNING is not answered yet")
    first.answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    assert.deepStrictEqual(wire.one("facts").body.facts[0].fact, {
      _tag: "FAILED",
      reason: "no",
      exitCode: 2,
      startedAt: 0
    })
    assert.strictEqual(wire.one("facts").body.facts[0].sequence, 2)
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    // Now one whose RUNNING never left.
    yield* turn
    wire.on("dequeue")[0]?.answer(assigned(assignment(2)))
    wire.one("register").answer({ outcomes: [registered(2, "lost")] })
    yield* turn
    assert.deepStrictEqual(factTags(wire.one("facts").body.facts), ["SANDBOX_LOST"])
    assert.strictEqual(wire.one("facts").body.facts[0].sequence, 1, "numbers have no holes")
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    wire.one("settle").answer({ sessionId: 70 })
    yield* turn
    assert.deepStrictEqual(wire.on("settle").flatMap((_) => _.body.lost), ["c2"])
  }))

it.effect("a kill interrupts, is answered at once, and ends in KILLED; it also reaches a task whose registration is not answered yet", () =>
  Effect.gen(function*() {
    const { executor, killed, wire } = yield* started()
    const tasks = [1, 2, 3].map((n) => ({
      shard: Shard.make(3),
      instance: InstanceId.make("i1"),
      taskInstanceId: TaskInstanceId.make(task(n))
    }))
    yield* running(wire, 1, "held")
    wire.on("dequeue")[0]?.answer(assigned(assignment(2)))
    const answer = Control.handle(executor.control, { kind: "kill", owner: MemberId.make("co7"), tasks })
    assert.deepStrictEqual(answer, { startup: StartupId.make("life1"), tasks: ["Running", "Running", "Unknown"] })
    wire.one("register").answer({ outcomes: [registered(2, "held")] })
    yield* turn
    assert.deepStrictEqual(killed, [task(1)], "the second never started")
    const [running1] = wire.on("co1.facts")
    assert.deepStrictEqual(factTags(running1?.body.facts), ["RUNNING"])
    assert.deepStrictEqual(
      wire.one("co7.facts").body.facts.map((
        _: { taskInstanceId: string; fact: { _tag: string } }
      ) => [_.taskInstanceId, _.fact._tag]),
      [[task(2), "KILLED"]]
    )
    running1?.answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    assert.deepStrictEqual(wire.on("co7.facts").flatMap((_) => factTags(_.body.facts)), ["KILLED", "KILLED"])
    const asked = Control.handle(executor.control, { kind: "ask", owner: MemberId.make("co7"), tasks })
    assert.deepStrictEqual(asked.tasks, ["Reporting", "Reporting", "Unknown"])
    for (const facts of wire.on("facts")) facts.answer({ outcomes: [{ _tag: "Accepted" }] })
    assert.strictEqual(executor.attempts.size, 0)
  }))

it.effect("a pause reaches a type that can pause", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    yield* running(wire, 1, "held")
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    Control.handle(executor.control, {
      kind: "pause",
      owner: MemberId.make("co1"),
      tasks: [{ shard: Shard.make(3), instance: InstanceId.make("i1"), taskInstanceId: TaskInstanceId.make(task(1)) }]
    })
    yield* turn
    assert.deepStrictEqual(factTags(wire.one("facts").body.facts), ["PAUSED"])
  }))

it.effect("a superseded task is killed, reports nothing more, and its sandbox is released only when it has ended", () =>
  Effect.gen(function*() {
    const { executor, killed, wire } = yield* started()
    yield* running(wire, 1, "held")
    wire.one("settle").answer({ sessionId: 70 })
    wire.one("facts").answer({ outcomes: [{ _tag: "Superseded" }] })
    yield* turn
    assert.deepStrictEqual(killed, [task(1)])
    assert.lengthOf(wire.on("facts"), 0)
    assert.deepStrictEqual(wire.one("settle").body.released, ["c1"])
    assert.strictEqual(executor.attempts.size, 0)
    assert.strictEqual(executor.slots.used, 0)
  }))

it.effect("hand-off: the sandbox is offered while tasks may follow, the next one runs in it without the pool", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1, { handOff: 1 })))
    wire.one("register").answer({ outcomes: [registered(1)] })
    yield* turn
    const first = wire.one("facts")
    assert.strictEqual(first.body.facts[0].offer, 1)
    first.answer({ outcomes: [{ _tag: "Accepted", next: [spec(2)] }] })
    yield* turn
    assert.strictEqual(executor.slots.used, 1)
    assert.lengthOf(wire.on("settle"), 0)
    const second = wire.one("facts")
    assert.strictEqual(second.body.facts[0].taskInstanceId, task(2))
    assert.strictEqual(second.body.facts[0].sequence, 1)
    assert.isUndefined(second.body.facts[0].offer, "none remain")
    second.answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    assert.deepStrictEqual(wire.one("settle").body.released, ["c1"])
  }))

it.effect("an offer whose answer was lost is asked again before the inbox gets the fact", () =>
  Effect.gen(function*() {
    const { wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1, { handOff: 3 })))
    wire.one("register").answer({ outcomes: [registered(1)] })
    yield* turn
    for (let i = 0; i < 4; i++) {
      wire.one("facts").fail(i === 0 ? unknown : nobody)
      assert.lengthOf(wire.stored, 0)
      yield* TestClock.adjust("10 seconds")
    }
    assert.strictEqual(wire.one("facts").body.facts[0].sequence, 1)
    wire.one("facts").fail(nobody)
    assert.lengthOf(wire.stored, 1)
    assert.isUndefined(wire.stored[0]?.body.report.offer)
  }))

it.effect("outputs that make a report too large are a FATAL with the reason", () =>
  Effect.gen(function*() {
    const { wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1)))
    wire.one("register").answer({ outcomes: [registered(1, "noop", { text: "x".repeat(400_000) })] })
    yield* turn
    const [fact] = wire.one("facts").body.facts
    assert.strictEqual(fact.fact._tag, "FATAL")
    assert.strictEqual(fact.sequence, 1)
    assert.include(fact.fact.reason, "more than 300000")
  }))

it.effect("a task type that throws, or that nobody has, is FATAL", () =>
  Effect.gen(function*() {
    const { wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1), assignment(2)))
    wire.one("register").answer({ outcomes: [registered(1, "broken"), registered(2, "unheard")] })
    yield* turn
    const [broken, unheard] = wire.one("facts").body.facts
    assert.include(broken.fact.reason, "bug")
    assert.include(unheard.fact.reason, "noop, broken, lost, effectful, held")
  }))

it.effect("log output goes out in order with what was dropped counted", () =>
  Effect.gen(function*() {
    const { wire } = yield* started()
    yield* running(wire, 1, "held")
    yield* TestClock.adjust("60 millis")
    assert.deepStrictEqual(wire.stored.map((_) => [_.subject, _.body]), [
      ["heddle.logs.i1.t1:1:1", { at: 0, stream: "stdout", text: "hello" }]
    ])
  }))

it.effect("a RUNNING that may have arrived is not left out, and its number not used again", () =>
  Effect.gen(function*() {
    const owners = new Map([[3, "co2"]])
    const { held, wire } = yield* started({ owners })
    yield* running(wire, 1, "held")
    wire.one("co1.facts").fail(unknown)
    Deferred.doneUnsafe(held.get(task(1))!, Effect.succeed({ _tag: "Succeeded", outputs: {} }))
    yield* turn
    const again = wire.one("co2.facts")
    assert.deepStrictEqual([again.body.facts[0].sequence, again.body.facts[0].fact._tag], [1, "RUNNING"])
    again.answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    const last = wire.one("co2.facts").body.facts[0]
    assert.deepStrictEqual([last.sequence, last.fact._tag], [2, "SUCCEEDED"])
  }))

it.effect("the end: asks no more, gives back what still comes, lets tasks end, stops the rest and reports it as lost", () =>
  Effect.gen(function*() {
    const { executor, held, killed, wire } = yield* started()
    yield* running(wire, 1, "held")
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    wire.on("dequeue")[0]?.answer(assigned(assignment(2)))
    wire.one("register").answer({ outcomes: [registered(2, "held")] })
    yield* turn
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    wire.one("settle").answer({ sessionId: 70 })
    yield* turn
    for (const settle of wire.on("settle")) settle.answer({ sessionId: 70 })
    const draining = yield* Effect.forkChild(executor.drain({ finishMs: 1_000, settleMs: 1_000 }))
    yield* turn
    for (const poll of wire.on("dequeue")) poll.answer(assigned(assignment(3)))
    yield* TestClock.adjust("100 millis")
    assert.deepStrictEqual(wire.on("settle").flatMap((_) => _.body.returned).slice(0, 1), ["c3"])
    for (const settle of wire.on("settle")) settle.answer({ sessionId: 70 })
    assert.lengthOf(wire.on("dequeue"), 0)
    Deferred.doneUnsafe(held.get(task(1))!, Effect.succeed({ _tag: "Succeeded", outputs: {} }))
    yield* turn
    assert.deepStrictEqual(factTags(wire.one("facts").body.facts), ["SUCCEEDED"])
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    assert.deepStrictEqual(killed, [])
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(killed, [task(2)])
    assert.deepStrictEqual(wire.one("facts").body.facts[0].fact, {
      _tag: "SANDBOX_LOST",
      reason: "its executor was shut down"
    })
    wire.one("facts").answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    for (let i = 0; i < 3; i++) {
      for (const settle of wire.on("settle")) settle.answer({ sessionId: 70 })
      for (const stored of wire.stored) stored.done(true)
      yield* TestClock.adjust("100 millis")
    }
    assert.strictEqual(yield* Fiber.join(draining), 0)
  }))

it.effect("the end does not wait for a pool that nobody answers for, once everything is reported", () =>
  Effect.gen(function*() {
    const { executor, wire } = yield* started()
    wire.one("dequeue").answer(assigned(assignment(1)))
    wire.one("register").answer({ outcomes: [registered(1, "noop")] })
    yield* turn
    for (const facts of wire.on("facts")) facts.answer({ outcomes: [{ _tag: "Accepted" }] })
    yield* turn
    const draining = yield* Effect.forkChild(executor.drain({ finishMs: 10_000, settleMs: 15_000 }))
    for (let waited = 0; waited < Executor.poolsAnswerMs; waited += 100) {
      for (const asked of [...wire.on("settle"), ...wire.on("dequeue")]) asked.fail(nobody)
      yield* TestClock.adjust(100)
    }
    yield* TestClock.adjust(100)
    assert.strictEqual(
      draining.pollUnsafe()?._tag,
      "Success",
      "its pool takes back what it gave when it sees that the executor is gone"
    )
    assert.strictEqual(yield* Fiber.join(draining), 0)
  }))
