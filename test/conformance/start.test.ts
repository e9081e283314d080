import { assert, describe, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { DependType } from "../../shared/protocol/Workflow.ts"
import * as Script from "./Script.ts"
import { conform, type Spec, type Task, task, until, World } from "./World.ts"

// design/conformance-workflow.md, section A.
const chain = (name: string, length: number): ReadonlyArray<Task> =>
  Array.from({ length }, (_, i) => task(`${name}${i + 1}`, i === 0 ? [] : [`${name}${i}`]))
const diamond = [task("a"), task("b", ["a"]), task("c", ["a"]), task("d", ["b", "c"])]

describe("A. start", () => {
  layer(World.layer, { timeout: 180_000, excludeTestServices: true })((it) => {
    it.effect("A01 one task succeeds", () =>
      conform(function*({ start }) {
        const one = yield* start("A01", { tasks: [task("a")] })
        const result = yield* one.result
        assert.strictEqual(result.state, "SUCCEEDED")
        const view = yield* one.view
        assert.isDefined(view.startedAt)
        assert.isDefined(view.endedAt)
        assert.isDefined(view.tasks[0]?.attempts[0]?.endedAt)
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1")
      }))

    it.effect("A02 dry run: SUCCEEDED, nothing executed", () =>
      conform(function*({ start }) {
        const dry = yield* start(
          "A02",
          { tasks: diamond, onCommit: { type: "shell" }, onCleanup: { type: "shell" } },
          {},
          { dryRun: true }
        )
        assert.strictEqual((yield* dry.result).state, "SUCCEEDED")
        assert.strictEqual(yield* dry.summary, "a:SUCCEEDED/0 b:SUCCEEDED/0 c:SUCCEEDED/0 d:SUCCEEDED/0")
        assert.deepStrictEqual(dry.ran(), [])
      }))

    it.effect("A03 duplicate task name: refused, both places named", () =>
      conform(function*({ start }) {
        const refused = yield* Effect.flip(start("A03", { tasks: [task("a"), task("b"), task("a")] }))
        assert.strictEqual(refused.code, "InvalidDefinition")
        const text = JSON.stringify(refused.answer)
        assert.include(text, "spec.tasks[2]")
        assert.include(text, "tasks[0]")
      }))

    it.effect("A04 the environment reaches the task", () =>
      conform(function*({ executor, start }) {
        const one = yield* start("A04", {
          env: { REGION: "eu", LEVEL: "1" },
          params: { day: "friday" },
          tasks: [task("a", [], { env: { LEVEL: "2", DAY: "${{ params.day }}" } })]
        })
        yield* one.result
        assert.deepStrictEqual(executor.specsOf(one.id)[0]?.env, { REGION: "eu", LEVEL: "2", DAY: "friday" })
      }))

    it.effect("A10 one task fails: FAILED", () =>
      conform(function*({ coordinator, start }) {
        const one = yield* start("A10", { tasks: [task("a")] }, { a: Script.fail("exit 3") })
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task a failed: exit 3")
        assert.strictEqual(yield* one.summary, "a:FAILED/1")
        assert.strictEqual(coordinator.logs.filter((line) => line.includes(`WorkflowFailed: ${one.id}`)).length, 1)
      }))

    it.effect("A11 the context can't be built: FAILED, no retry, nothing dispatched", () =>
      conform(function*({ start }) {
        const one = yield* start("A11", {
          tasks: [task("a", [], { with: { run: "${{ params.missing }}" }, retry: { times: 3, interval: "1s" } })]
        })
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.include(result.reason ?? "", "No such key: missing")
        assert.strictEqual(yield* one.summary, "a:FAILED/1")
        assert.deepStrictEqual(one.ran(), [])
      }))

    it.effect("A12 fail with retry: two attempts, the first superseded, the first submit time kept", () =>
      conform(function*({ clock, executor, start }) {
        const one = yield* start("A12", { tasks: [task("a", [], { retry: { times: 1, interval: "30s" } })] }, {
          a: [Script.fail(), Script.succeed()]
        })
        yield* one.reaches("a", "FAILED")
        const before = yield* one.taskView("a")
        assert.include(before.why ?? "", "is tried again at")
        assert.strictEqual((yield* one.view).state, "RUNNING")
        const ended = Date.parse(before.attempts[0]?.endedAt ?? "")
        clock.skipTo(ended + 20_000)
        assert.strictEqual((yield* one.taskView("a")).attempts.length, 1, "not before the interval is over")
        clock.skipTo(ended + 30_000)
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        const { attempts } = yield* one.taskView("a")
        assert.deepStrictEqual(attempts.map(({ attempt, state }) => [attempt, state]), [[1, "FAILED"], [
          2,
          "SUCCEEDED"
        ]])
        assert.strictEqual(attempts[0]?.submittedAt, before.attempts[0]?.submittedAt)
        const waited = Date.parse(attempts[1]?.submittedAt ?? "") - Date.parse(attempts[0]?.endedAt ?? "")
        assert.isTrue(waited >= 30_000 && waited < 32_000, `waited ${waited} ms`)
        assert.deepStrictEqual(executor.ranOf(one.id), ["a:1:1", "a:1:2"])
      }))

    it.effect("A14 A then B: B starts after A's end", () =>
      conform(function*({ start }) {
        const two = yield* start("A14", { tasks: chain("a", 2) }, { a1: Script.hold })
        yield* two.running("a1")
        assert.deepStrictEqual(two.log(), ["begin a1"])
        yield* two.succeed("a1")
        yield* two.result
        assert.deepStrictEqual(two.log(), ["begin a1", "end a1", "begin a2", "end a2"])
      }))

    it.effect("A15 A fails: B has no attempt, and says why", () =>
      conform(function*({ start }) {
        const two = yield* start("A15", { tasks: chain("a", 2) }, { a1: Script.fail() })
        assert.strictEqual((yield* two.result).state, "FAILED")
        assert.strictEqual(yield* two.summary, "a1:FAILED/1 a2:-/0")
        assert.strictEqual((yield* two.taskView("a2")).why, "a1 failed")
      }))

    it.effect("A16 two parallel tasks succeed", () =>
      conform(function*({ start }) {
        const two = yield* start("A16", { tasks: [task("a"), task("b")] }, { a: Script.hold, b: Script.hold })
        yield* two.running("a")
        yield* two.running("b")
        yield* two.succeed("b")
        yield* two.succeed("a")
        assert.strictEqual((yield* two.result).state, "SUCCEEDED")
        assert.strictEqual(yield* two.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1")
      }))

    it.effect("A17 two parallel tasks fail: FAILED", () =>
      conform(function*({ start }) {
        const two = yield* start("A17", { tasks: [task("a"), task("b")] }, { a: Script.fail(), b: Script.fail() })
        assert.strictEqual((yield* two.result).state, "FAILED")
        assert.strictEqual(yield* two.summary, "a:FAILED/1 b:FAILED/1")
      }))

    it.effect("A18 three chains of three: nine attempts", () =>
      conform(function*({ start }) {
        const nine = yield* start("A18", { tasks: [...chain("a", 3), ...chain("b", 3), ...chain("c", 3)] })
        assert.strictEqual((yield* nine.result).state, "SUCCEEDED")
        assert.strictEqual(nine.ran().length, 9)
        for (const name of ["a", "b", "c"]) {
          assert.deepStrictEqual(
            nine.log().filter((line) => line.startsWith(`begin ${name}`)),
            [1, 2, 3].map((i) => `begin ${name}${i}`)
          )
        }
      }))

    const startedFrom = (name: string, dependType: DependType | undefined, expected: ReadonlyArray<string>) =>
      conform(function*({ start }) {
        const one = yield* start(name, { tasks: [...chain("c", 3), task("x")] }, {}, {
          startNodes: ["c2"],
          ...(dependType === undefined ? {} : { dependType })
        })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(one.ran(), expected)
        assert.deepStrictEqual((yield* one.view).tasks.map((each) => `${each.name}:1:1`), expected)
      })
    it.effect("A19 start from C2: only C2 and C3", () => startedFrom("A19", undefined, ["c2:1:1", "c3:1:1"]))
    it.effect("A20 TASK_ONLY", () => startedFrom("A20", "TASK_ONLY", ["c2:1:1"]))
    it.effect("A21 TASK_PRE", () => startedFrom("A21", "TASK_PRE", ["c1:1:1", "c2:1:1"]))
    it.effect("A22 TASK_POST", () => startedFrom("A22", "TASK_POST", ["c2:1:1", "c3:1:1"]))

    it.effect("A23 a global param is resolved", () =>
      conform(function*({ executor, start }) {
        const one = yield* start("A23", {
          params: { day: "monday" },
          tasks: [task("a", [], { with: { run: "echo ${{ params.day }}" } })]
        })
        yield* one.result
        assert.deepStrictEqual(executor.specsOf(one.id)[0]?.with, { run: "echo monday" })
        assert.deepStrictEqual(executor.specsOf(one.id)[0]?.params, { day: "monday" })
      }))

    it.effect("A24 a start param overrides the global one", () =>
      conform(function*({ executor, start }) {
        const one = yield* start(
          "A24",
          { params: { day: "monday", z: 1 }, tasks: [task("a", [], { with: { run: "echo ${{ params.day }}" } })] },
          {},
          { params: { day: "friday" } }
        )
        yield* one.result
        assert.deepStrictEqual(executor.specsOf(one.id)[0]?.with, { run: "echo friday" })
        assert.deepStrictEqual((yield* one.view).params, { day: "friday", z: 1 })
      }))

    it.effect("A25 an output of A flows through B to C and overrides a local param of the same name", () =>
      conform(function*({ executor, start }) {
        const one = yield* start("A25", {
          tasks: [
            task("a"),
            task("b", ["a"]),
            task("c", ["b"], { params: { x: "local", y: "${{ tasks.a.outputs.n + 1 }}" } })
          ]
        }, { a: Script.succeed({ x: "from a", n: 4 }) })
        yield* one.result
        assert.deepStrictEqual(executor.specsOf(one.id)[1]?.params, { x: "from a", n: 4 })
        assert.deepStrictEqual(executor.specsOf(one.id)[2]?.params, { x: "from a", y: 5, n: 4 })
      }))

    it.effect("A26 a param without a name is ignored", () =>
      conform(function*({ executor, start }) {
        const one = yield* start("A26", {
          params: { "": "nothing", x: 1 },
          tasks: [task("a", [], { params: { "": 2 } }), task("b", ["a"])]
        }, { a: Script.succeed({ "": "ignored", y: 3 }) })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(executor.specsOf(one.id).map(({ params }) => params), [{ x: 1 }, { x: 1, y: 3 }])
      }))

    it.effect("A27 built-in params: ids, names, dates", () =>
      conform(function*({ executor, start }) {
        const one = yield* start("A27", {
          tasks: [
            task("a", [], {
              with: {
                id: "${{ instance.id }}",
                run: "${{ instance.run }}",
                definition: "${{ instance.definition }}",
                version: "${{ instance.version }}",
                namespace: "${{ instance.namespace }}",
                task: "${{ instance.task }}",
                startedAt: "${{ instance.startedAt }}",
                day: "${{ instance.startedAt.substring(0, 10) }}"
              }
            })
          ]
        })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED", (yield* one.result).reason)
        const { startedAt } = yield* one.view
        assert.deepStrictEqual(executor.specsOf(one.id)[0]?.with, {
          id: one.id,
          run: 1,
          definition: "A27",
          version: 0,
          namespace: "default",
          task: "a",
          startedAt,
          day: startedAt.slice(0, 10)
        })
      }))

    const switching = (more: Record<string, unknown>, branches: ReadonlyArray<string> = ["b", "d"]): Spec => ({
      params: { mode: "fast" },
      tasks: [
        task("a"),
        task("s", ["a"], { type: "switch", with: more }),
        ...branches.map((name) => task(name, ["s"])),
        task("e", branches)
      ]
    })
    const rows = [{ when: "int(tasks.a.outputs.rows) > 0", next: "b" }]
    it.effect("A35 switch: only the chosen branch runs, and the join behind both", () =>
      conform(function*({ start }) {
        const one = yield* start("A35", switching({ cases: rows, default: "d" }), { a: Script.succeed({ rows: "3" }) })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 s:SUCCEEDED/1 b:SUCCEEDED/1 d:-/0 e:SUCCEEDED/1")
        assert.strictEqual((yield* one.taskView("d")).why, "the switch s took b")
      }))
    it.effect("A36 switch: the default", () =>
      conform(function*({ start }) {
        const one = yield* start("A36", switching({ cases: rows, default: "d" }), { a: Script.succeed({ rows: "0" }) })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 s:SUCCEEDED/1 b:-/0 d:SUCCEEDED/1 e:SUCCEEDED/1")
      }))
    it.effect("A37 switch: by a global param", () =>
      conform(function*({ start }) {
        const cases = [{ when: "params.mode == 'slow'", next: "b" }, { when: "params.mode == 'fast'", next: "d" }]
        const one = yield* start("A37", switching({ cases }))
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "d:1:1", "e:1:1"])
        const other = yield* start("A37", switching({ cases }), {}, { params: { mode: "slow" } })
        assert.strictEqual((yield* other.result).state, "SUCCEEDED")
        assert.deepStrictEqual(other.ran(), ["a:1:1", "b:1:1", "e:1:1"])
      }))
    it.effect("A38 switch: no case holds and no default: FAILED with the reason", () =>
      conform(function*({ start }) {
        const one = yield* start("A38", switching({ cases: [{ when: "false", next: "b" }] }, ["b"]))
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task s failed: no case holds and there is no default")
        assert.deepStrictEqual(one.ran(), ["a:1:1"])
      }))

    it.effect("A39 forbidden successors have no attempt, SUCCEEDED", () =>
      conform(function*({ start }) {
        const one = yield* start("A39", {
          tasks: [
            task("a"),
            task("b", ["a"], { forbidden: true }),
            task("c", ["a"], { forbidden: true }),
            task("d", ["b"])
          ]
        })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:-/0 c:-/0 d:SUCCEEDED/1")
        assert.strictEqual((yield* one.taskView("b")).why, "forbidden")
      }))

    it.effect("A40 failure strategy end: C fails, A and B KILLED, FAILED", () =>
      conform(function*({ executor, start }) {
        const end = yield* start("A40", {
          failureStrategy: "end",
          tasks: [task("a"), task("b"), task("c"), task("d", ["a"])]
        }, { a: Script.hold, b: Script.leave, c: Script.hold })
        yield* end.running("a")
        yield* end.fail("c", "exit 1")
        const result = yield* end.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task c failed: exit 1")
        assert.strictEqual(yield* end.summary, "a:KILLED/1 b:KILLED/1 c:FAILED/1 d:-/0")
        assert.deepStrictEqual(
          executor.controls.filter(({ instance }) => instance === end.id).map(({ id, kind }) => `${kind} ${id}`),
          ["kill a:1:1"]
        )
      }))

    it.effect("A41 a join runs once, after all its predecessors", () =>
      conform(function*({ start }) {
        const join = yield* start("A41", { tasks: [task("a"), task("b"), task("c"), task("j", ["a", "b", "c"])] }, {
          b: Script.hold
        })
        yield* join.reaches("a", "SUCCEEDED")
        yield* join.reaches("c", "SUCCEEDED")
        assert.strictEqual((yield* join.taskView("j")).why, "waits for b")
        yield* join.succeed("b")
        assert.strictEqual((yield* join.result).state, "SUCCEEDED")
        assert.strictEqual(join.log().filter((line) => line === "begin j").length, 1)
        assert.strictEqual(join.log().at(-2), "begin j")
      }))

    it.effect("A42 continue: the join does not run, the other branch completes, FAILED", () =>
      conform(function*({ start }) {
        const one = yield* start("A42", {
          tasks: [task("a"), task("b"), task("j", ["a", "b"]), task("c", ["b"]), task("d", ["c"])]
        }, { a: Script.fail() })
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* one.summary, "a:FAILED/1 b:SUCCEEDED/1 j:-/0 c:SUCCEEDED/1 d:SUCCEEDED/1")
      }))

    it.effect("A43 a fast failing and a slow good predecessor of a shared join: FAILED, no hang", () =>
      conform(function*({ start }) {
        const one = yield* start("A43", { tasks: [task("bad"), task("slow"), task("j", ["bad", "slow"])] }, {
          bad: Script.fail(),
          slow: Script.hold
        })
        yield* one.reaches("bad", "FAILED")
        assert.strictEqual((yield* one.view).state, "RUNNING")
        yield* one.succeed("slow")
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* one.summary, "bad:FAILED/1 slow:SUCCEEDED/1 j:-/0")
      }))

    it.effect("A44 a failure two levels above a shared join: no hang", () =>
      conform(function*({ start }) {
        const one = yield* start("A44", {
          tasks: [task("bad"), task("mid", ["bad"]), task("ok"), task("ok2", ["ok"]), task("j", ["mid", "ok2"])]
        }, { bad: Script.fail() })
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(yield* one.summary, "bad:FAILED/1 mid:-/0 ok:SUCCEEDED/1 ok2:SUCCEEDED/1 j:-/0")
        assert.strictEqual((yield* one.taskView("j")).why, "mid did not run")
      }))

    it.effect("A45 diamond", () =>
      conform(function*({ start }) {
        const one = yield* start("A45", { tasks: diamond })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(one.ran()[0], "a:1:1")
        assert.strictEqual(one.ran()[3], "d:1:1")
        assert.strictEqual(one.ran().length, 4)
      }))

    it.effect("A46 multi-level diamond", () =>
      conform(function*({ start }) {
        const one = yield* start("A46", {
          tasks: [
            task("a"),
            task("b1", ["a"]),
            task("b2", ["a"]),
            task("c1", ["b1"]),
            task("c2", ["b1", "b2"]),
            task("c3", ["b2"]),
            task("d1", ["c1", "c2"]),
            task("d2", ["c2", "c3"]),
            task("e", ["d1", "d2"])
          ]
        })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(one.ran().length, 9)
        const at = (what: string) => one.log().indexOf(what)
        for (
          const [before, after] of [["a", "b1"], ["b2", "c2"], ["b1", "c2"], ["c2", "d1"], ["c3", "d2"], ["d1", "e"], [
            "d2",
            "e"
          ]]
        ) {
          assert.isBelow(at(`end ${before}`), at(`begin ${after}`), `${before} before ${after}`)
        }
      }))

    it.effect("A47 four serial tasks", () =>
      conform(function*({ start }) {
        const one = yield* start("A47", { tasks: chain("t", 4) })
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual(one.log(), [1, 2, 3, 4].flatMap((i) => [`begin t${i}`, `end t${i}`]))
      }))

    it.effect("A48 task time-out fail: killed, FAILED with the reason timeout", () =>
      conform(function*({ clock, executor, start }) {
        const one = yield* start("A48", { tasks: [task("a", [], { timeout: { after: "10m", strategy: "fail" } })] }, {
          a: Script.hold
        })
        yield* one.reaches("a", "RUNNING")
        clock.skip(540_000)
        assert.strictEqual((yield* one.taskView("a")).intent, undefined, "not before its time")
        clock.skip(60_000)
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task a failed: timed out after 10m")
        assert.deepStrictEqual(
          executor.controls.filter(({ instance }) => instance === one.id).map(({ kind }) => kind),
          ["kill"]
        )
      }))

    const alertsOf = (logs: ReadonlyArray<string>, kind: string, id: string): number =>
      logs.filter((line) => line.includes(`alert ${kind}: ${id}`)).length
    it.effect("A50 task time-out warn: it goes on, one alert", () =>
      conform(function*({ clock, coordinator, start }) {
        const one = yield* start("A50", { tasks: [task("a", [], { timeout: { after: "10m", strategy: "warn" } })] }, {
          a: Script.hold
        })
        yield* one.reaches("a", "RUNNING")
        clock.skip(600_000)
        yield* until("the alert", Effect.sync(() => alertsOf(coordinator.logs, "TaskTimeout", one.id) === 1))
        clock.skip(1_200_000)
        yield* one.succeed("a")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(alertsOf(coordinator.logs, "TaskTimeout", one.id), 1)
      }))
    it.effect("A51 task time-out warn-fail: both", () =>
      conform(function*({ clock, coordinator, start }) {
        const one = yield* start("A51", {
          tasks: [task("a", [], { timeout: { after: "10m", strategy: "warn-fail" } })]
        }, {
          a: Script.hold
        })
        yield* one.reaches("a", "RUNNING")
        clock.skip(600_000)
        assert.strictEqual((yield* one.result).state, "FAILED")
        assert.strictEqual(alertsOf(coordinator.logs, "TaskTimeout", one.id), 1)
      }))
    it.effect("A53 workflow time-out: one alert", () =>
      conform(function*({ clock, coordinator, start }) {
        const one = yield* start("A53", { timeout: { after: "1h", strategy: "warn" }, tasks: [task("a")] }, {
          a: Script.hold
        })
        yield* one.reaches("a", "RUNNING")
        clock.skip(3_600_000)
        yield* until("the alert", Effect.sync(() => alertsOf(coordinator.logs, "WorkflowTimeout", one.id) === 1))
        yield* one.succeed("a")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(alertsOf(coordinator.logs, "WorkflowTimeout", one.id), 1)
        const failing = yield* start("A53", { timeout: { after: "1h" }, tasks: [task("a"), task("b")] }, {
          a: Script.hold,
          b: Script.leave
        })
        yield* failing.reaches("a", "RUNNING")
        clock.skip(3_600_000)
        const result = yield* failing.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "the workflow timed out")
        assert.strictEqual(alertsOf(coordinator.logs, "WorkflowTimeout", failing.id), 1)
        assert.strictEqual(yield* failing.summary, "a:KILLED/1 b:KILLED/1")
      }))

    const untaken = (name: string, pool: string | undefined, dispatchTimeout: boolean) =>
      conform(function*({ clock, start }) {
        const where = pool ?? "default"
        const one = yield* start(name, {
          tasks: [
            task("a", [], {
              ...(pool === undefined ? {} : { pool }),
              ...(dispatchTimeout ? { dispatchTimeout: "5m" } : {})
            }),
            task("b", ["a"])
          ]
        }, { a: Script.leave })
        yield* one.reaches("a", "SUBMITTED")
        clock.skip(240_000)
        assert.strictEqual((yield* one.taskView("a")).why, `waits for an executor of pool default/${where}`)
        clock.skip(60_000)
        if (dispatchTimeout) {
          const result = yield* one.result
          assert.strictEqual(result.state, "FAILED")
          assert.strictEqual(
            result.reason,
            `task a failed: no executor of pool default/${where} took it within 5m`
          )
          assert.deepStrictEqual(one.ran(), [])
        } else {
          clock.skip(24 * 3_600_000)
          assert.strictEqual((yield* one.taskView("a")).state, "SUBMITTED")
          assert.strictEqual((yield* one.taskView("a")).why, `waits for an executor of pool default/${where}`)
          assert.strictEqual((yield* one.view).state, "RUNNING")
          yield* one.command("stop")
          assert.strictEqual((yield* one.result).state, "STOPPED")
        }
      })
    it.effect("A56 an unknown pool with dispatch time-out: FAILED", () => untaken("A56", "nowhere", true))
    it.effect("A57 an unknown pool without: stays SUBMITTED, visible why", () => untaken("A57", "nowhere", false))
    it.effect("A58 no executor with dispatch time-out: FAILED", () => untaken("A58", undefined, true))
    it.effect("A59 no executor without: stays SUBMITTED, visible why", () => untaken("A59", undefined, false))

    it.effect("A64 fan-out of 100 with parallelism 5: never more than 5 at once, outputs in order", () =>
      conform(function*({ executor, start }) {
        const list = Array.from({ length: 100 }, (_, i) => i)
        const one = yield* start("A64", {
          params: { list },
          tasks: [
            task("f", [], { forEach: { items: "params.list", parallelism: 5 }, with: { n: "${{ item }}" } }),
            task("after", ["f"], { with: { all: "${{ tasks.f.outputs.items }}" } })
          ]
        }, { f: Script.hold })
        const held = () => [...executor.held.values()].filter(({ spec }) => spec.instance === one.id)
        let most = 0
        for (let ended = 0; ended < 100; ended++) {
          yield* until("an item runs", Effect.sync(() => held().length >= Math.min(5, 100 - ended)))
          most = Math.max(most, held().length)
          // the newest first: they end out of order
          const spec = held().at(-1)?.spec
          if (spec !== undefined) {
            executor.end(spec, { _tag: "SUCCEEDED", outputs: { double: Number(spec.with["n"]) * 2 } })
          }
        }
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.strictEqual(most, 5)
        const outputs = list.map((n) => ({ double: n * 2 }))
        assert.deepStrictEqual((yield* one.taskView("f")).outputs?.["items"], outputs)
        assert.deepStrictEqual(executor.specsOf(one.id).at(-1)?.with["all"], outputs)
        assert.strictEqual(one.ran().length, 101)
      }))

    const hooks: Partial<Spec> = {
      onCommit: { type: "shell", retry: { times: 1, interval: "1m" } },
      onCleanup: { type: "shell" }
    }
    it.effect("A66 onCommit runs once, after all, before SUCCEEDED", () =>
      conform(function*({ start }) {
        const one = yield* start("A66", { ...hooks, tasks: [task("a"), task("b")] }, { onCommit: Script.hold })
        yield* one.running("onCommit")
        assert.strictEqual((yield* one.view).state, "RUNNING")
        assert.strictEqual(yield* one.summary, "a:SUCCEEDED/1 b:SUCCEEDED/1 onCommit:RUNNING/1")
        yield* one.succeed("onCommit")
        assert.strictEqual((yield* one.result).state, "SUCCEEDED")
        assert.deepStrictEqual([...one.ran()].sort(), ["a:1:1", "b:1:1", "onCommit:1:1"])
      }))
    it.effect("A67 onCleanup runs once after a failure", () =>
      conform(function*({ start }) {
        const one = yield* start("A67", { ...hooks, tasks: [task("a")] }, { a: Script.fail() })
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.strictEqual(result.reason, "task a failed: exit 1")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "onCleanup:1:1"])
      }))
    it.effect("A68 onCleanup runs once after a stop", () =>
      conform(function*({ start }) {
        const one = yield* start("A68", { ...hooks, tasks: [task("a"), task("b", ["a"])] }, { a: Script.hold })
        yield* one.running("a")
        yield* one.command("stop")
        assert.strictEqual((yield* one.result).state, "STOPPED")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "onCleanup:1:1"])
      }))
    it.effect("A69 a commit that fails, its retries spent: FAILED, then cleanup", () =>
      conform(function*({ clock, start }) {
        const one = yield* start("A69", { ...hooks, tasks: [task("a")] }, { onCommit: Script.fail("no quorum") })
        yield* until("the first commit fails", Effect.sync(() => one.log().includes("end onCommit")))
        yield* one.reaches("onCommit", "FAILED")
        clock.skip(60_000)
        const result = yield* one.result
        assert.strictEqual(result.state, "FAILED")
        assert.include(result.reason ?? "", "no quorum")
        assert.deepStrictEqual(one.ran(), ["a:1:1", "onCommit:1:1", "onCommit:1:2", "onCleanup:1:1"])
      }))

    /** What becomes of a join whose predecessors ended so. */
    const joined = (
      join: NonNullable<Task["join"]>,
      cases: ReadonlyArray<readonly [ok: number, failed: number, skipped: number, runs: boolean]>
    ) =>
      conform(function*({ start }) {
        for (const [ok, bad, skipped, runs] of cases) {
          const label = `${join}: ${ok} succeeded, ${bad} failed, ${skipped} skipped`
          const skips = Array.from({ length: skipped }, (_, i) => `skip${i}`)
          const before = [
            ...Array.from({ length: ok }, (_, i) => task(`ok${i}`)),
            ...Array.from({ length: bad }, (_, i) => task(`bad${i}`)),
            ...skips.map((name) => task(name, ["gate"]))
          ]
          const one = yield* start("join", {
            tasks: [
              ...(skipped === 0
                ? []
                : [
                  task("gate", [], {
                    type: "switch",
                    with: { cases: skips.map((next) => ({ when: "false", next })), default: "elsewhere" }
                  }),
                  task("elsewhere", ["gate"])
                ]),
              ...before,
              task("join", before.map(({ name }) => name), { join })
            ]
          }, Object.fromEntries(before.flatMap(({ name }) => name.startsWith("bad") ? [[name, Script.fail()]] : [])))
          assert.strictEqual((yield* one.result).state, bad > 0 ? "FAILED" : "SUCCEEDED", label)
          assert.strictEqual(one.ran().includes("join:1:1"), runs, label)
          if (!runs) assert.isDefined((yield* one.taskView("join")).why, label)
        }
      })
    it.effect("A70 join all_done", () => joined("all_done", [[1, 1, 0, true], [0, 2, 0, true], [0, 1, 1, true]]))
    it.effect("A71 join one_success", () =>
      joined("one_success", [[1, 2, 0, true], [0, 2, 0, false], [0, 1, 1, false]]))
    it.effect("A72 join one_failed", () => joined("one_failed", [[2, 1, 0, true], [2, 0, 0, false]]))
    it.effect("A73 join none_failed", () => joined("none_failed", [[1, 0, 1, true], [1, 1, 0, false]]))
    it.effect("A74 join always", () => joined("always", [[0, 2, 0, true], [0, 0, 2, true], [1, 1, 1, true]]))
    it.effect("A75 join all_success", () =>
      joined("all_success", [[2, 0, 0, true], [1, 1, 0, false], [1, 0, 1, true], [0, 0, 2, false]]))
  })
})
