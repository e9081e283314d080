import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { LifecycleEvent } from "../../../shared/protocol/Journal.ts"
import { TaskName } from "../../../shared/protocol/Token.ts"
import * as Decide from "./Decide.ts"
import * as Registration from "./Registration.ts"
import * as Replay from "./Replay.ts"
import { id, ScriptedRun, session, type Spec } from "./ScriptedRun.ts"

type Task = Spec["tasks"][number]
const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: Partial<Task> = {}): Task => ({
  name,
  type: "shell",
  dependsOn,
  ...more
})
const run = (tasks: ReadonlyArray<Task>, more: Partial<Spec> = {}) => new ScriptedRun({ tasks, ...more })
const pause: LifecycleEvent = { _tag: "WORKFLOW_PAUSE" }
const stop: LifecycleEvent = { _tag: "WORKFLOW_STOP" }
const recover = (mode: "resume" | "recover" | "rerun"): LifecycleEvent => ({ _tag: "WORKFLOW_RECOVER", mode })

/** Also for every finished test run: what was written can be verified. */
const verified = (self: ScriptedRun) => assert.deepStrictEqual(Replay.verify(self.entries, self.graph), [])

describe("start", () => {
  it("A01 one task", () => {
    const one = run([task("a")]).start()
    assert.deepStrictEqual([...one.lane], [[id("a:1:1"), "ready"]])
    one.succeed("a")
    assert.strictEqual(one.state.status, "SUCCEEDED")
    assert.isDefined(one.view.startedAt)
    assert.isDefined(one.view.endedAt)
    assert.strictEqual(one.finalized.length, 1)
    assert.strictEqual(one.finalized[0]?.result.state, "SUCCEEDED")
    verified(one)
  })

  it("no task at all", () => assert.strictEqual(run([]).start().state.status, "SUCCEEDED"))

  it("A02 dry run executes nothing", () => {
    const dry = run([task("a"), task("b", ["a"])], { onCommit: { type: "shell" }, onCleanup: { type: "shell" } }).start(
      { dryRun: true }
    )
    assert.strictEqual(dry.state.status, "SUCCEEDED")
    assert.strictEqual(dry.summary, "a:SUCCEEDED/0 b:SUCCEEDED/0")
    assert.strictEqual(dry.task("a").why, "dry run")
    assert.deepStrictEqual(dry.dispatched, [])
  })

  it("A12 a failure with a retry left: two attempts, the first superseded", () => {
    const retried = run([task("a", [], { retry: { times: 1, interval: "5s" } })]).start()
    retried.fail("a")
    assert.strictEqual(retried.state.status, "RUNNING")
    assert.strictEqual(retried.state.active, 1, "it stays active while it waits")
    retried.pass(4_999)
    assert.strictEqual(retried.newest("a"), id("a:1:1"))
    retried.pass(1)
    assert.strictEqual(retried.newest("a"), id("a:1:2"))
    assert.deepStrictEqual(
      retried.turn({ _tag: "TASK_SUCCEEDED", id: id("a:1:1"), by: retried.by(), outputs: {} }).transitions,
      []
    )
    retried.succeed("a")
    assert.deepStrictEqual(retried.task("a").attempts.map((attempt) => attempt.state), ["FAILED", "SUCCEEDED"])
    assert.strictEqual(retried.state.status, "SUCCEEDED")
    verified(retried)
  })

  it("retries end, and FATAL is not retried", () => {
    const spent = run([task("a", [], { retry: { times: 1, interval: 0 } })]).start()
    spent.fail("a")
    spent.pass(0)
    spent.fail("a", "exit 2")
    assert.strictEqual(spent.state.status, "FAILED")
    assert.strictEqual(spent.state.reason, "task a failed: exit 2")
    const fatal = run([task("a", [], { retry: { times: 3 } })]).start()
    fatal.register("a")
    fatal.turn({ _tag: "TASK_FATAL", id: fatal.newest("a"), by: fatal.by(), reason: "no such type" })
    assert.strictEqual(fatal.summary, "a:FAILED/1")
  })

  it("the wait grows, is capped, and its jitter is the same at every verification", () => {
    const waits = (jitter: boolean) => {
      const self = run([
        task("a", [], { retry: { times: 4, interval: "1s", backoff: "exponential", intervalMax: "3s", jitter } })
      ]).start()
      return [1, 2, 3, 4].map(() => {
        self.fail("a")
        const wait = [...self.timers.values()][0]!.dueAt - self.now // armed by the failure
        self.pass(wait)
        return wait
      })
    }
    assert.deepStrictEqual(waits(false), [1_000, 2_000, 3_000, 3_000])
    const jittered = waits(true)
    assert.deepStrictEqual(waits(true), jittered)
    jittered.forEach((wait, i) => {
      const base = [1_000, 2_000, 3_000, 3_000][i] ?? 0
      assert.isTrue(wait >= base * 0.8 && wait <= base * 1.2, `${wait} around ${base}`)
    })
  })

  it("A15 what depends on a failure has no attempt and says why; A42 other branches go on", () => {
    const two = run([task("a"), task("b", ["a"]), task("c"), task("d", ["c"]), task("e", ["b", "d"])]).start()
    two.fail("a")
    two.succeed("c")
    two.succeed("d")
    assert.strictEqual(two.summary, "a:FAILED/1 b:-/0 c:SUCCEEDED/1 d:SUCCEEDED/1 e:-/0")
    assert.strictEqual(two.task("b").why, "a failed")
    assert.strictEqual(two.task("e").why, "b did not run")
    assert.strictEqual(two.state.status, "FAILED")
    verified(two)
  })

  it("A19 to A22 start nodes", () => {
    const tasks = [task("c1"), task("c2", ["c1"]), task("c3", ["c2"]), task("x")]
    const started = (dependType?: "TASK_ONLY" | "TASK_PRE" | "TASK_POST") => {
      const self = run(tasks).start({
        startNodes: [TaskName.make("c2")],
        ...(dependType === undefined ? {} : { dependType })
      })
      while (self.state.endedAt === undefined) self.succeed(String([...self.lane.keys()][0]).split(":")[0] ?? "")
      return self.dispatched.join(" ")
    }
    assert.strictEqual(started(), "c2:1:1 c3:1:1")
    assert.strictEqual(started("TASK_POST"), "c2:1:1 c3:1:1")
    assert.strictEqual(started("TASK_ONLY"), "c2:1:1")
    assert.strictEqual(started("TASK_PRE"), "c1:1:1 c2:1:1")
    const unknown = run(tasks).start({ startNodes: [TaskName.make("nowhere")] })
    assert.strictEqual(unknown.state.status, "FAILED")
    assert.include(unknown.state.reason ?? "", "nowhere")
  })

  it("A39 forbidden tasks pass through", () => {
    const forbidden = run([task("a"), task("b", ["a"], { forbidden: true }), task("c", ["b"])]).start()
    forbidden.succeed("a")
    forbidden.succeed("c")
    assert.strictEqual(forbidden.summary, "a:SUCCEEDED/1 b:-/0 c:SUCCEEDED/1")
    assert.strictEqual(forbidden.task("b").why, "forbidden")
    assert.strictEqual(forbidden.state.status, "SUCCEEDED")
  })

  it("A40 failure strategy end kills the rest", () => {
    const end = run([task("a"), task("b"), task("c"), task("d", ["a"])], { failureStrategy: "end" }).start()
    end.register("a")
    end.running("a")
    end.fail("c")
    assert.strictEqual(end.task("b").state, "KILLED")
    assert.deepStrictEqual(end.controls.map((control) => control.id), ["kill:a:1:1"])
    end.ended("a", "TASK_KILLED")
    assert.strictEqual(end.summary, "a:KILLED/1 b:KILLED/1 c:FAILED/1 d:-/0")
    assert.strictEqual(end.state.status, "FAILED")
    assert.include(end.state.reason ?? "", "task c failed: exit 1")
    verified(end)
  })

  it("A45 and A41: a join runs once after all its predecessors", () => {
    const diamond = run([task("a"), task("b", ["a"]), task("c", ["a"]), task("d", ["b", "c"])]).start()
    diamond.succeed("a")
    diamond.succeed("c")
    assert.isFalse(diamond.lane.has(id("d:1:1")))
    diamond.succeed("b")
    diamond.succeed("d")
    assert.strictEqual(diamond.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1 c:SUCCEEDED/1 d:SUCCEEDED/1")
  })

  it("delay: the task waits, counted from its first attempt", () => {
    const delayed = run([task("a", [], { delay: "10s", retry: { times: 1, interval: "1s" } })]).start()
    assert.strictEqual(delayed.task("a").state, "DELAY_EXECUTION")
    delayed.pass(9_999)
    assert.strictEqual(delayed.lane.size, 0)
    delayed.pass(1)
    assert.strictEqual(delayed.lane.size, 1)
    delayed.fail("a")
    delayed.pass(1_000)
    assert.strictEqual(delayed.lane.size, 1, "a retry does not wait for the delay again")
    delayed.succeed("a")
    verified(delayed)
  })

  it("priorities, pools and team reach the lane", () => {
    const one = run([
      task("a", [], { priority: 8 }),
      task("b", [], { pool: "gpu" }),
      task("c", [], { pool: "other/p" })
    ], { pool: "own", priority: 2 })
    const effects =
      one.turn({ _tag: "WORKFLOW_START", start: { definition: one.graph.definition, priority: 7, team: "red" } })
        .effects
    const sent = effects.flatMap((effect) =>
      effect._tag === "Dispatch"
        ? [[
          effect.pool.namespace,
          effect.pool.name,
          effect.entry.priority,
          effect.entry.taskPriority,
          effect.entry.team
        ]]
        : []
    )
    assert.deepStrictEqual(sent, [["default", "own", 7, 8, "red"], ["default", "gpu", 7, 5, "red"], [
      "other",
      "p",
      7,
      5,
      "red"
    ]])
    const overridden = run([task("a")], { pool: "own" })
    const [first] =
      overridden.turn({ _tag: "WORKFLOW_START", start: { definition: overridden.graph.definition, pool: "mine" } })
        .effects
    assert.strictEqual(first?._tag === "Dispatch" ? first.pool.name : "", "mine")
  })
})

describe("join rules (A70 to A75) on predecessors that succeeded, failed and were skipped", () => {
  const outcome = (join: NonNullable<Task["join"]>, ok: number, failed: number, skipped: number): string => {
    const before = [
      ...Array.from({ length: ok }, (_, i) => task(`ok${i}`)),
      ...Array.from({ length: failed }, (_, i) => task(`bad${i}`)),
      ...Array.from({ length: skipped }, (_, i) => task(`skip${i}`, ["gate"]))
    ]
    const names = before.map((one) => one.name)
    const self = run([
      ...(skipped > 0
        ? [
          task("gate", [], {
            type: "switch",
            with: {
              cases: Array.from({ length: skipped }, (_, i) => ({ when: "false", next: `skip${i}` })),
              default: "elsewhere"
            }
          }),
          task("elsewhere", ["gate"])
        ]
        : []),
      ...before,
      task("join", names, { join })
    ]).start()
    if (skipped > 0) self.succeed("elsewhere")
    for (const name of names) {
      if (name.startsWith("ok")) self.succeed(name)
      if (name.startsWith("bad")) self.fail(name)
    }
    const state = self.lane.has(id("join:1:1")) ? "runs" : self.task("join").why === undefined ? "waits" : "not"
    if (state === "runs") self.succeed("join")
    assert.strictEqual(self.state.status, failed > 0 ? "FAILED" : "SUCCEEDED")
    verified(self)
    return state
  }
  const cases: ReadonlyArray<
    readonly [NonNullable<Task["join"]>, ok: number, failed: number, skipped: number, expected: string]
  > = [
    ["all_success", 2, 0, 0, "runs"],
    ["all_success", 1, 1, 0, "not"],
    ["all_success", 1, 0, 1, "runs"],
    ["all_success", 0, 0, 2, "not"],
    ["all_done", 1, 1, 0, "runs"],
    ["all_done", 0, 2, 0, "runs"],
    ["all_done", 0, 1, 1, "runs"],
    ["all_done", 0, 0, 2, "not"],
    ["one_success", 1, 2, 0, "runs"],
    ["one_success", 0, 2, 0, "not"],
    ["one_success", 0, 1, 1, "not"],
    ["one_failed", 2, 1, 0, "runs"],
    ["one_failed", 2, 0, 0, "not"],
    ["none_failed", 1, 0, 1, "runs"],
    ["none_failed", 1, 1, 0, "not"],
    ["always", 0, 2, 0, "runs"],
    ["always", 0, 0, 2, "runs"],
    ["always", 1, 1, 1, "runs"]
  ]
  for (const [join, ok, failed, skipped, expected] of cases) {
    it(`${join}: ${ok} succeeded, ${failed} failed, ${skipped} skipped`, () =>
      assert.strictEqual(outcome(join, ok, failed, skipped), expected))
  }
  it("a join waits for all predecessors, also when its rule could hold already", () => {
    const self = run([task("a"), task("b"), task("c", ["a", "b"], { join: "one_success" })]).start()
    self.succeed("a")
    assert.strictEqual(self.task("c").why, "waits for b")
  })
  it("a task that was blocked counts as failed for those behind it", () => {
    const self = run([
      task("a"),
      task("b", ["a"]),
      task("c", ["b"], { join: "one_failed" }),
      task("d", ["b"], { join: "all_done" })
    ]).start()
    self.fail("a")
    assert.deepStrictEqual([...self.lane.keys()], [id("c:1:1"), id("d:1:1")])
  })
})

describe("switch", () => {
  const spec = (when: string, more: object = { default: "d" }): ReadonlyArray<Task> => [
    task("a"),
    task("s", ["a"], { type: "switch", with: { cases: [{ when, next: "b" }], ...more } }),
    task("b", ["s"]),
    task("d", ["s"]),
    task("e", ["b", "d"])
  ]
  it("A35, A36 only the branch taken runs, and the join behind both", () => {
    const self = run(spec("int(tasks.a.outputs.rows) > 0")).start()
    self.succeed("a", { rows: "3" })
    assert.deepStrictEqual([...self.lane.keys()], [id("b:1:1")])
    self.succeed("b")
    self.succeed("e")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.strictEqual(self.task("d").why, "the switch s took b")
    const other = run(spec("int(tasks.a.outputs.rows) > 0")).start()
    other.succeed("a", { rows: "0" })
    assert.deepStrictEqual([...other.lane.keys()], [id("d:1:1")])
  })
  it("A38 no case and no default: FAILED with the reason; so is an expression error", () => {
    const none = run(spec("false", {}).filter((one) => one.name !== "d" && one.name !== "e")).start()
    none.succeed("a")
    assert.strictEqual(none.state.reason, "task s failed: no case holds and there is no default")
    const error = run(spec("tasks.a.outputs.rows > 0")).start()
    error.succeed("a")
    assert.strictEqual(error.state.status, "FAILED")
    assert.include(error.state.reason ?? "", "at position 17: No such key: rows")
  })
})

describe("params, outputs and expressions", () => {
  const specOf = (self: ScriptedRun, name: string) =>
    Result.getOrThrow(Registration.taskSpec(self.state, self.newest(name), session))
  it("A23 to A26: global < start < task < outputs passed on; A04 environment", () => {
    const self = run([
      task("a", [], { env: { B: "${{ params.day }}!" } }),
      task("b", ["a"]),
      task("c", ["b"], {
        params: { x: "local", y: "${{ tasks.a.outputs.n + 1 }}", "": 1 },
        with: { run: "echo ${{ params.day }} ${{ instance.id }}", deep: [{ n: "${{ tasks.a.outputs.n }}" }] }
      })
    ], { params: { day: "monday", z: 1 }, env: { A: "1", B: "overridden" } }).start({ params: { day: "friday" } })
    assert.deepStrictEqual(specOf(self, "a").env, { A: "1", B: "friday!" })
    self.succeed("a", { x: "from a", n: 4 })
    self.succeed("b", { "": "ignored" })
    const spec = specOf(self, "c")
    assert.deepStrictEqual(spec.params, { day: "friday", z: 1, x: "from a", y: 5, n: 4 })
    assert.deepStrictEqual(spec.with, { run: "echo friday wf-1", deep: [{ n: 4 }] })
    self.succeed("c", { n: 5 })
    assert.deepStrictEqual(self.view.outputs, { x: "from a", n: 5 })
  })
  it("A11 an expression error is a FATAL of its task: no retry, nothing on the lane", () => {
    const self = run([task("a", [], { with: { run: "${{ params.missing }}" }, retry: { times: 3 } })]).start()
    assert.strictEqual(self.state.status, "FAILED")
    assert.strictEqual(self.summary, "a:FAILED/1")
    assert.include(self.state.reason ?? "", "with: expression \"params.missing\" at position 8: No such key: missing")
    assert.deepStrictEqual(self.dispatched, [])
    verified(self)
  })
})

describe("time-outs", () => {
  it("A48 fail: killed, FAILED with the reason; the retry is a new attempt with its own time", () => {
    const self = run([task("a", [], { timeout: { after: "10s" }, retry: { times: 1, interval: "1s" } })]).start()
    self.pass(60_000)
    assert.strictEqual(self.timers.size, 0, "waiting for an executor takes no running time")
    self.register("a")
    self.pass(10_000)
    assert.deepStrictEqual(self.controls.map((control) => control.id), ["kill:a:1:1"])
    assert.strictEqual(self.task("a").intent, "kill")
    self.ended("a", "TASK_KILLED")
    assert.strictEqual(self.task("a").attempts[0]?.reason, "timed out after 10s")
    self.pass(1_000)
    self.register("a")
    assert.deepStrictEqual(
      self.turn({ _tag: "TASK_TIMEOUT", id: id("a:1:1"), kind: "run" }).transitions,
      [],
      "a timer of an earlier attempt"
    )
    self.pass(10_000)
    self.ended("a", "TASK_KILLED")
    assert.strictEqual(self.state.reason, "task a failed: timed out after 10s")
    verified(self)
  })
  it("A50 warn: one alert, and it goes on; A51 warn-fail: both", () => {
    const warned = run([task("a", [], { timeout: { after: "10s", strategy: "warn" } })]).start()
    warned.register("a")
    warned.pass(30_000)
    assert.deepStrictEqual(warned.alerts.map((alert) => alert.kind), ["TaskTimeout"])
    assert.deepStrictEqual(warned.controls, [])
    warned.succeed("a")
    assert.strictEqual(warned.state.status, "SUCCEEDED")
    const both = run([task("a", [], { timeout: { after: "10s", strategy: "warn-fail" } })]).start()
    both.register("a")
    both.pass(10_000)
    assert.deepStrictEqual([both.alerts.length, both.controls.length], [1, 1])
  })
  it("B29 the kill of a time-out crosses a success: one result", () => {
    const self = run([task("a", [], { timeout: { after: "10s" } })]).start()
    self.register("a")
    self.pass(10_000)
    self.succeed("a")
    assert.deepStrictEqual(self.ended("a", "TASK_KILLED").transitions, [])
    assert.strictEqual(self.state.status, "SUCCEEDED")
  })
  it("A56 dispatch time-out: FAILED and off the lane; A57 without one it stays, and says what it waits for", () => {
    const self = run([task("a", [], { dispatchTimeout: "5s", pool: "nowhere" })]).start()
    self.pass(5_000)
    assert.strictEqual(self.state.reason, "task a failed: no executor of pool default/nowhere took it within 5s")
    const waits = run([task("a", [], { pool: "nowhere" })]).start().pass(3_600_000)
    assert.strictEqual(waits.task("a").why, "waits for an executor of pool default/nowhere")
    const taken = run([task("a", [], { dispatchTimeout: "5s" })]).start()
    taken.register("a")
    assert.strictEqual(taken.timers.size, 0)
  })
  it("the kill of an attempt that timed out is reported twice: the retry stays", () => {
    const self = run([task("a", [], { timeout: { after: "10s" }, retry: { times: 1, interval: "5s" } })]).start()
    self.register("a")
    self.pass(10_000)
    self.ended("a", "TASK_KILLED")
    assert.strictEqual(self.task("a").state, "FAILED")
    assert.deepStrictEqual(self.ended("a", "TASK_KILLED").transitions, [])
    self.pass(5_000)
    self.succeed("a")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("A53 workflow time-out: an alert; with fail a stop whose result is FAILED", () => {
    const warn = run([task("a")], { timeout: { after: "1m", strategy: "warn" } }).start().pass(60_000)
    assert.deepStrictEqual(warn.alerts.map((alert) => alert.kind), ["WorkflowTimeout"])
    assert.strictEqual(warn.state.status, "RUNNING")
    warn.succeed("a")
    const fail = run([task("a"), task("b")], { timeout: { after: "1m" } }).start()
    fail.register("a")
    fail.pass(60_000)
    assert.strictEqual(fail.state.status, "READY_STOP")
    fail.ended("a", "TASK_KILLED")
    assert.strictEqual(fail.state.status, "FAILED")
    assert.strictEqual(fail.state.reason, "the workflow timed out")
    verified(fail)
  })
})

describe("fan-out (A64)", () => {
  const spec = (parallelism?: number, more: Partial<Task> = {}): ReadonlyArray<Task> => [
    task("f", [], {
      forEach: { items: "params.list", ...(parallelism === undefined ? {} : { parallelism }) },
      with: { run: "echo ${{ item }}" },
      ...more
    }),
    task("after", ["f"], { with: { all: "${{ tasks.f.outputs.items }}" } })
  ]
  const list = Array.from({ length: 40 }, (_, i) => i)
  it("never more than the limit at once, outputs in the order of the list", () => {
    const self = run(spec(5), { params: { list } }).start()
    let most = 0
    while (self.lane.size > 0) {
      most = Math.max(most, self.lane.size)
      const ids = [...self.lane.keys()]
      // The newest first: ends out of order.
      const item = String(ids.at(-1)).split(":")[3] ?? ""
      if (self.newest("f[0]") !== undefined && ids.at(-1)?.startsWith("after")) break
      self.succeed(`f[${item}]`, { n: Number(item) * 2 })
    }
    assert.strictEqual(most, 5)
    assert.deepStrictEqual(self.task("f").outputs?.["items"], list.map((n) => ({ n: n * 2 })))
    assert.deepStrictEqual(
      Result.getOrThrow(Registration.taskSpec(self.state, id("after:1:1"), session)).with["all"],
      list.map((n) => ({ n: n * 2 }))
    )
    assert.strictEqual(self.task("f").attempts.length, 40)
    self.succeed("after")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("an item sees its value, retries alone, and its failure fails the task after the others ended", () => {
    const self = run(spec(undefined, { retry: { times: 1, interval: "1s" } }), { params: { list: ["x", "y"] } }).start()
    self.register("f[1]")
    assert.strictEqual(
      Result.getOrThrow(Registration.taskSpec(self.state, id("f:1:1:1"), session)).with["run"],
      "echo y"
    )
    self.fail("f[1]")
    self.pass(1_000)
    self.fail("f[1]", "exit 9")
    assert.strictEqual(self.state.status, "RUNNING")
    self.succeed("f[0]")
    assert.strictEqual(self.state.reason, "task f failed: item 1: exit 9")
    verified(self)
  })
  it("an empty list succeeds at once; what is no list fails the task", () => {
    const none = run(spec(), { params: { list: [] } }).start()
    assert.strictEqual(none.task("f").state, "SUCCEEDED")
    const wrong = run(spec(), { params: { list: "text" } }).start()
    assert.include(wrong.state.reason ?? "", "gives no list")
  })
  it("pause, resume: items that succeeded are kept", () => {
    const self = run(spec(2), { params: { list: [1, 2, 3, 4] } }).start()
    self.succeed("f[0]", { n: 1 })
    self.register("f[1]")
    self.turn(pause)
    self.ended("f[1]", "TASK_PAUSED")
    assert.strictEqual(self.state.status, "PAUSED")
    self.turn(recover("resume"))
    assert.deepStrictEqual([...self.lane.keys()], [id("f:1:2:1"), id("f:1:2:2")])
    for (const item of [1, 2, 3]) self.succeed(`f[${item}]`, { n: item + 1 })
    self.succeed("after")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.deepStrictEqual(self.task("f").outputs?.["items"], [1, 2, 3, 4].map((n) => ({ n })))
    verified(self)
  })
  it("stop: KILLED", () => {
    const self = run(spec(2), { params: { list: [1, 2, 3] } }).start()
    self.register("f[0]")
    self.turn(stop)
    self.ended("f[0]", "TASK_KILLED")
    assert.strictEqual(self.state.status, "STOPPED")
    assert.strictEqual(self.task("f").state, "KILLED")
    verified(self)
  })
})

describe("hooks", () => {
  const hooks: Partial<Spec> = {
    onCommit: { type: "shell", retry: { times: 1, interval: "1s" } },
    onCleanup: { type: "shell" }
  }
  it("A66 onCommit runs once, after all and before SUCCEEDED, on its lane", () => {
    const self = run([task("a"), task("b")], hooks).start()
    self.succeed("a")
    self.succeed("b")
    assert.deepStrictEqual([...self.lane], [[id("onCommit:1:1"), "commit"]])
    assert.strictEqual(self.state.status, "RUNNING")
    self.succeed("onCommit")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1 onCommit:SUCCEEDED/1")
    verified(self)
  })
  it("A67 onCleanup after a failure, A68 after a stop, A69 after a commit that failed", () => {
    const failed = run([task("a")], hooks).start()
    failed.fail("a")
    assert.deepStrictEqual([...failed.lane], [[id("onCleanup:1:1"), "cleanup"]])
    assert.isDefined(Decide.refusal(failed.state, stop))
    failed.succeed("onCleanup")
    assert.strictEqual(failed.state.reason, "task a failed: exit 1")
    const stopped = run([task("a")], hooks).start()
    stopped.turn(stop)
    stopped.turn(stop)
    stopped.fail("onCleanup")
    assert.strictEqual(stopped.state.status, "STOPPED")
    assert.deepStrictEqual(stopped.alerts.map((alert) => alert.kind), ["CleanupFailed"])
    const commit = run([task("a")], hooks).start()
    commit.succeed("a")
    commit.fail("onCommit")
    commit.pass(1_000)
    commit.fail("onCommit")
    assert.strictEqual(commit.task("onCommit").attempts.length, 2)
    commit.succeed("onCleanup")
    assert.strictEqual(commit.state.status, "FAILED")
    for (const one of [failed, stopped, commit]) verified(one)
  })
})

describe("pause, stop, recover", () => {
  it("B01 pause while the only task runs: both SUCCEEDED; B02 while it fails: FAILED", () => {
    const ok = run([task("a")]).start()
    ok.register("a")
    ok.turn(pause)
    assert.deepStrictEqual(ok.controls.map((control) => control.id), ["pause:a:1:1"])
    ok.succeed("a")
    assert.strictEqual(ok.state.status, "SUCCEEDED")
    const bad = run([task("a")]).start()
    bad.register("a")
    bad.turn(pause)
    bad.fail("a")
    assert.strictEqual(bad.state.status, "FAILED")
  })
  for (const [event, state, rest] of [[pause, "PAUSED", "PAUSED"], [stop, "KILLED", "STOPPED"]] as const) {
    it(`B03, B09 ${event._tag}: running tasks end, the second level is ${state}, the third has no attempt`, () => {
      const self = run(
        ["a", "b", "c"].flatMap((
          chain
        ) => [task(`${chain}1`), task(`${chain}2`, [`${chain}1`]), task(`${chain}3`, [`${chain}2`])])
      ).start()
      for (const chain of ["a", "b", "c"]) self.register(`${chain}1`)
      self.turn(event)
      for (const chain of ["a", "b", "c"]) self.succeed(`${chain}1`)
      assert.strictEqual(self.state.status, rest)
      assert.strictEqual(
        self.summary,
        ["a", "b", "c"].map((chain) => `${chain}1:SUCCEEDED/1 ${chain}2:${state}/1 ${chain}3:-/0`).join(" ")
      )
      verified(self)
    })
    it(`B05, B11 ${event._tag}: a task that waits for its retry is ${state} without a new attempt`, () => {
      const self = run([task("a", [], { retry: { times: 3, interval: "1m" } })]).start()
      self.fail("a")
      self.turn(event)
      assert.strictEqual(self.state.status, rest)
      assert.strictEqual(self.summary, `a:${state}/1`)
      assert.deepStrictEqual(self.task("a").attempts.map((attempt) => attempt.state), ["FAILED"])
      verified(self)
    })
    it(`a failure with a retry left during ${event._tag} does not wait`, () => {
      const self = run([task("a", [], { retry: { times: 3, interval: "1m" } })]).start()
      self.register("a")
      self.turn(event)
      self.fail("a")
      assert.strictEqual(self.summary, `a:${state}/1`)
      assert.strictEqual(self.state.status, rest)
    })
  }
  it("B13 stop during READY_PAUSE, B14 stop twice, B27 an intent stays until it is confirmed", () => {
    const self = run([task("a"), task("b", ["a"])]).start()
    self.register("a")
    self.turn(pause)
    self.turn(stop)
    self.turn(stop)
    assert.deepStrictEqual(self.controls.map((control) => control.id), ["pause:a:1:1", "kill:a:1:1", "kill:a:1:1"])
    assert.strictEqual(self.task("a").intent, "kill")
    self.pass(3_600_000)
    self.ended("a", "TASK_KILLED")
    assert.strictEqual(self.state.status, "STOPPED")
    assert.strictEqual(self.finalized.length, 1)
    verified(self)
  })
  it("a pause after the last chain was paused can be stopped: STOPPED", () => {
    const self = run([task("a"), task("b")]).start()
    self.register("a")
    self.turn(pause)
    self.turn(stop)
    self.succeed("a")
    assert.strictEqual(self.task("b").state, "PAUSED")
    assert.strictEqual(self.state.status, "STOPPED")
  })
  it("resume: paused tasks get new attempts, what succeeded stays", () => {
    const self = run([task("a"), task("b", ["a"]), task("c", ["b"])]).start()
    self.register("a")
    self.turn(pause)
    self.succeed("a")
    assert.strictEqual(self.state.status, "PAUSED")
    assert.strictEqual(Decide.refusal(self.state, recover("resume")), undefined)
    self.turn(recover("resume"))
    assert.deepStrictEqual([...self.lane.keys()], [id("b:1:2")])
    self.succeed("b")
    self.succeed("c")
    assert.strictEqual(self.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/1")
    assert.strictEqual(self.state.status, "SUCCEEDED")
    verified(self)
  })
  it("B16 recover stopped, B17 recover failed: what failed and all behind it runs again", () => {
    const stopped = run([task("a"), task("b", ["a"])]).start()
    stopped.register("a")
    stopped.turn(stop)
    stopped.ended("a", "TASK_KILLED")
    stopped.turn(recover("recover"))
    stopped.succeed("a")
    stopped.succeed("b")
    assert.strictEqual(stopped.summary, "a:SUCCEEDED/2 b:SUCCEEDED/1")
    const failed = run([task("a"), task("b"), task("c", ["a", "b"]), task("d", ["b"], { join: "one_failed" })]).start()
    failed.succeed("a")
    failed.fail("b")
    failed.succeed("d")
    assert.strictEqual(failed.state.status, "FAILED")
    failed.turn(recover("recover"))
    assert.deepStrictEqual([...failed.lane.keys()], [id("b:1:2")])
    failed.succeed("b")
    failed.succeed("c")
    assert.strictEqual(failed.summary, "a:SUCCEEDED/1 b:SUCCEEDED/2 c:SUCCEEDED/1 d:-/1", "d is judged anew")
    assert.strictEqual(failed.state.status, "SUCCEEDED")
    for (const one of [stopped, failed]) verified(one)
  })
  it("recover keeps what a switch did not take", () => {
    const self = run([
      task("s", [], { type: "switch", with: { cases: [{ when: "true", next: "b" }], default: "c" } }),
      task("x"),
      task("b", ["s", "x"]),
      task("c", ["s", "x"])
    ]).start()
    self.fail("x")
    self.turn(recover("recover"))
    self.succeed("x")
    assert.deepStrictEqual([...self.lane.keys()], [id("b:1:1")])
    self.succeed("b")
    assert.strictEqual(self.state.status, "SUCCEEDED")
  })
  it("B20 rerun: same instance, run number + 1, everything again", () => {
    const self = run([task("a")]).start({ params: { x: 1 } })
    self.succeed("a")
    assert.isDefined(Decide.refusal(self.state, recover("recover")))
    self.turn(recover("rerun"))
    assert.deepStrictEqual([...self.lane.keys()], [id("a:2:1")])
    self.succeed("a")
    assert.deepStrictEqual([self.view.runNumber, self.state.status], [2, "SUCCEEDED"])
    assert.deepStrictEqual(self.view.params, { x: 1 })
    verified(self)
  })
})

describe("registration and hand-off", () => {
  it("one placement per attempt, also when two ask in one turn; the same again is registered again", () => {
    const self = run([task("a")]).start()
    const first = self.placement("ex-1")
    const second = self.placement("ex-2")
    const a = id("a:1:1")
    self.turn({ _tag: "TASK_DISPATCHED", id: a, placement: first }, {
      _tag: "TASK_DISPATCHED",
      id: a,
      placement: second
    })
    assert.strictEqual(Registration.registrationOutcome(self.state, a, first)._tag, "Registered")
    assert.strictEqual(Registration.registrationOutcome(self.state, a, second)._tag, "AlreadyAssigned")
    assert.strictEqual(
      Registration.registrationOutcome(self.state, a, { ...first, claimId: second.claimId })._tag,
      "AlreadyAssigned"
    )
    self.succeed("a")
    assert.deepStrictEqual(Registration.registrationOutcome(self.state, a, first), {
      _tag: "NoLongerRunnable",
      why: "it is SUCCEEDED"
    })
    assert.strictEqual(Registration.registrationOutcome(self.state, id("zz:1:1"), first)._tag, "NoLongerRunnable")
  })
  const offered = (self: ScriptedRun, name: string): LifecycleEvent => ({
    _tag: "TASK_SUCCEEDED",
    id: self.newest(name),
    by: self.by(2),
    offer: 3,
    outputs: { from: name }
  })
  it("one next task in the same pool goes straight to DISPATCHED; a repeated fact names it again", () => {
    const self = run([
      task("a"),
      task("b", ["a"], { pool: "gpu" }),
      task("c", ["a"], { timeout: { after: "1m" } }),
      task("d", ["a"])
    ]).start()
    self.register("a")
    const fact = offered(self, "a")
    const { effects } = self.turn(fact)
    assert.deepStrictEqual(effects.map((effect) => effect.id), [
      "dispatch:b:1:1",
      "arm:timeout:c:1:1@61000",
      "dispatch:d:1:1"
    ])
    assert.strictEqual(self.task("c").state, "DISPATCHED")
    assert.deepStrictEqual(self.turn(fact).transitions, [])
    assert.deepStrictEqual(
      Registration.handedTo(self.state, id("a:1:1")).valueOf(),
      Registration.handedTo(self.state, id("a:1:1")).valueOf()
    )
    assert.deepStrictEqual(Registration.handedTo(self.state, id("a:1:1")), [id("c:1:1")])
    assert.strictEqual(Result.getOrThrow(Registration.taskSpec(self.state, id("c:1:1"), session)).params["from"], "a")
    self.succeed("c")
    assert.deepStrictEqual(Registration.handedTo(self.state, id("a:1:1")), [])
    verified(self)
  })
  it("tasks that end at once follow together, as many as the offer has room for; other types go to the lane", () => {
    const self = run([
      task("a", [], { type: "noop" }),
      ...["b", "c", "d", "e"].map((name) => task(name, ["a"], { type: "noop" })),
      task("s", ["a"]),
      task("f", ["b", "c", "d", "e", "s"], { type: "noop" })
    ]).start()
    self.register("a")
    const { effects } = self.turn({ ...offered(self, "a"), together: true } as LifecycleEvent)
    assert.deepStrictEqual(effects.map((effect) => effect.id), ["dispatch:e:1:1", "dispatch:s:1:1"])
    assert.deepStrictEqual(Registration.handedTo(self.state, id("a:1:1")), [id("b:1:1"), id("c:1:1"), id("d:1:1")])
    self.succeed("b")
    assert.deepStrictEqual(Registration.handedTo(self.state, id("a:1:1")), [id("c:1:1"), id("d:1:1")])
    verified(self)
  })
  it("no hand-off for a fan-out, a hook, a spent offer or a run that is pausing", () => {
    const fan = run([task("a"), task("f", ["a"], { forEach: { items: "[1, 2]" } })]).start()
    fan.register("a")
    fan.turn(offered(fan, "a"))
    assert.strictEqual(fan.lane.size, 2)
    const hook = run([task("a")], { onCommit: { type: "shell" } }).start()
    hook.register("a")
    hook.turn(offered(hook, "a"))
    assert.strictEqual(hook.lane.size, 1)
    const spent = run([task("a"), task("b", ["a"])]).start()
    spent.register("a")
    const fact = offered(spent, "a")
    spent.turn({ ...fact, offer: 0 } as LifecycleEvent)
    assert.strictEqual(spent.lane.size, 1)
    const pausing = run([task("a"), task("b", ["a"])]).start()
    pausing.register("a")
    pausing.turn(pause)
    pausing.turn(offered(pausing, "a"))
    assert.strictEqual(pausing.task("b").state, "PAUSED")
  })
})

describe("failover", () => {
  it("C02 to C05: asked first; lost: a new attempt that uses up no retry", () => {
    const self = run([task("a", [], { retry: { times: 1, interval: "1s" }, timeout: { after: "1m" } })]).start()
    self.register("a")
    self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:1"), lost: false, reason: "rebuild" })
    assert.deepStrictEqual(self.controls.map((control) => control.id), ["ask:a:1:1"])
    assert.deepStrictEqual(Registration.heldBy(self.state, self.by().executor, self.by().startup), [id("a:1:1")])
    self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:1"), lost: true, reason: "executor ex-1 is gone" })
    assert.isFalse(Registration.isLive(self.state, id("a:1:1"), self.by().executor, self.by().startup))
    self.fail("a")
    self.pass(1_000)
    self.succeed("a")
    assert.deepStrictEqual(self.task("a").attempts.map((attempt) => attempt.state), ["FAILOVER", "FAILED", "SUCCEEDED"])
    verified(self)
  })
  it("C22 the superseded executor's late success changes nothing", () => {
    const self = run([task("a")]).start()
    self.register("a")
    self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:1"), lost: true, reason: "gone" })
    assert.deepStrictEqual(
      self.turn({ _tag: "TASK_SUCCEEDED", id: id("a:1:1"), by: self.by(), outputs: {} }).transitions,
      []
    )
    self.register("a", self.placement("ex-2"))
    assert.deepStrictEqual(
      self.turn({ _tag: "TASK_SUCCEEDED", id: id("a:1:2"), by: self.by(1, "ex-1"), outputs: {} }).transitions,
      [],
      "not the incarnation that holds it"
    )
    self.turn({ _tag: "TASK_SUCCEEDED", id: id("a:1:2"), by: self.by(1, "ex-2"), outputs: {} })
    assert.strictEqual(self.state.status, "SUCCEEDED")
    assert.isTrue(
      Registration.isLive(self.state, id("a:1:2"), self.by(1, "ex-2").executor, self.by().startup),
      "its repeated report is Accepted"
    )
  })
  it("a lost task with an intent is settled by it", () => {
    for (const [event, status] of [[pause, "PAUSED"], [stop, "STOPPED"]] as const) {
      const self = run([task("a")]).start()
      self.register("a")
      self.turn(event)
      self.turn({ _tag: "TASK_FAILOVER", id: id("a:1:1"), lost: true, reason: "unknown there" })
      assert.strictEqual(self.state.status, status)
    }
  })
  it("C08, C11: START again (a rebuild) asks for what runs and repeats what waits", () => {
    const self = run([task("a"), task("b"), task("c", [], { retry: { times: 1, interval: "30s" } })]).start()
    self.register("a")
    self.fail("c")
    self.pass(20_000)
    const start: LifecycleEvent = { _tag: "WORKFLOW_START", start: { definition: self.graph.definition } }
    const { effects, transitions } = self.turn(start)
    assert.deepStrictEqual(transitions, [])
    assert.deepStrictEqual(effects.map((effect) => effect.id), ["arm:retry:c:1:1@31000", "ask:a:1:1", "dispatch:b:1:1"])
    verified(self)
  })
})

describe("the whole", () => {
  it("WAIT_TO_RUN can be paused and stopped directly", () => {
    assert.strictEqual(run([task("a")]).turn(pause).state.status, "PAUSED")
    assert.strictEqual(run([task("a")]).turn(stop).state.status, "STOPPED")
  })
  it("poisoned: FAILED with the reason, what runs is killed, once", () => {
    const self = run([task("a")]).start()
    self.register("a")
    const decision = Decide.poison(self.state, "x is not a function", self.now)
    assert.strictEqual(decision.state.status, "FAILED")
    assert.deepStrictEqual(decision.effects.map((effect) => effect._tag), ["Kill", "Alert", "Finalize"])
    assert.deepStrictEqual(Decide.poison(decision.state, "again", self.now).transitions, [])
  })
  it("how events are cut into turns makes no difference", () => {
    const events = (self: ScriptedRun): ReadonlyArray<LifecycleEvent> => [
      { _tag: "TASK_DISPATCHED", id: id("a:1:1"), placement: self.placement() },
      { _tag: "TASK_RUNNING", id: id("a:1:1"), by: self.by() },
      pause,
      { _tag: "TASK_SUCCEEDED", id: id("a:1:1"), by: self.by(2), outputs: {} }
    ]
    const one = run([task("a"), task("b", ["a"])]).start()
    const all = Decide.decide(one.state, events(one), one.now)
    const two = run([task("a"), task("b", ["a"])]).start()
    const single = events(two).map((event) => {
      const decision = Decide.decide(two.state, [event], two.now)
      two.state = decision.state
      return decision
    })
    assert.deepStrictEqual(all.effects, single.flatMap((decision) => decision.effects))
    assert.strictEqual(all.state.status, two.state.status)
    assert.strictEqual(all.transitions.length, single.flatMap((decision) => decision.transitions).length)
  })
})

it("a task whose sandbox is lost every time fails after ten failovers in a row; other attempts between them start the count again", () => {
  const lose = (self: ScriptedRun, times: number) => {
    for (let i = 0; i < times && self.state.endedAt === undefined; i++) {
      self.register("a")
      self.turn({ _tag: "TASK_FAILOVER", id: self.newest("a"), lost: true, reason: "sandbox gone" })
    }
  }
  const self = run([task("a", [], { retry: { times: 5 } })]).start()
  lose(self, 100)
  assert.strictEqual(self.state.status, "FAILED")
  assert.strictEqual(self.task("a").attempts.length, 11)
  assert.match(self.state.reason ?? "", /lost 11 times in a row, the last time: sandbox gone/u)
  verified(self)
  const mixed = run([task("a", [], { retry: { times: 5, interval: 0 } })]).start()
  lose(mixed, 10)
  mixed.fail("a")
  mixed.pass(1)
  lose(mixed, 10)
  mixed.succeed("a")
  assert.strictEqual(mixed.state.status, "SUCCEEDED")
  verified(mixed)
})
