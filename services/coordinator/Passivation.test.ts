import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { id, ScriptedRun, type Spec } from "./engine/ScriptedRun.ts"
import * as Passivation from "./Passivation.ts"

type Task = Spec["tasks"][number]
const task = (name: string, more: Partial<Task> = {}): Task => ({ name, type: "shell", ...more })
const run = (tasks: ReadonlyArray<Task>, more: Partial<Spec> = {}) => new ScriptedRun({ tasks, ...more }).start()
const afterMs = 30_000
const decide = (one: ScriptedRun, looksMax?: number) => Passivation.decide(one.state, one.now, afterMs, looksMax)
const stays = { _tag: "Stays" } as const
const leaves = (dueAt: number | undefined) => ({ _tag: "Leaves", dueAt }) as const

describe("an instance leaves memory", () => {
  it("while a delay or a retry is far", () => {
    const late = run([task("a", { delay: "1h" })])
    assert.deepStrictEqual(decide(late), leaves(late.now + 3_600_000))
    const retried = run([task("a", { retry: { times: 1, interval: "10m" } })])
    assert.deepStrictEqual(decide(retried), stays, "it is on a lane")
    retried.fail("a")
    assert.deepStrictEqual(decide(retried), leaves(retried.now + 600_000))
  })

  it("for the earliest of its timers, the workflow's time-out among them", () => {
    const one = run([task("a", { delay: "2h" }), task("b", { delay: "1h" })])
    assert.deepStrictEqual(decide(one), leaves(one.now + 3_600_000))
    const timed = run([task("a", { delay: "2h" })], { timeout: { after: "40s" } })
    assert.deepStrictEqual(decide(timed), leaves(timed.now + 40_000))
    const soon = run([task("a", { delay: "2h" })], { timeout: { after: "20s" } })
    assert.deepStrictEqual(decide(soon), stays)
  })

  it("only for longer than the threshold", () => {
    assert.deepStrictEqual(decide(run([task("a", { delay: "30s" })])), stays)
    const one = run([task("a", { delay: "31s" })])
    assert.deepStrictEqual(decide(one), leaves(one.now + 31_000))
    one.pass(2_000)
    assert.deepStrictEqual(decide(one), stays)
  })

  it("not while anything of it is on a lane, held by an executor, or asked for", () => {
    const one = run([task("late", { delay: "1h" }), task("a")])
    const dueAt = one.now + 3_600_000
    assert.deepStrictEqual(decide(one), stays)
    one.register("a")
    assert.deepStrictEqual(decide(one), stays)
    one.running("a")
    assert.deepStrictEqual(decide(one), stays)
    one.succeed("a")
    assert.deepStrictEqual(decide(one), leaves(dueAt))
    assert.deepStrictEqual(
      decide(
        run([task("late", { delay: "1h" }), task("d", { type: "dependent", with: { all: [{ workflow: "w" }] } })])
      ),
      stays
    )
  })

  it("while it waits for a slot, or its turn", () => {
    const one = run([task("a", { group: { name: "g" } })])
    assert.deepStrictEqual(decide(one), leaves(undefined))
    one.turn({ _tag: "TASK_SLOT_GRANTED", id: id("a:1:1") })
    assert.deepStrictEqual(decide(one), stays)
    assert.deepStrictEqual(decide(run([task("a")], { executionType: "serial-wait" })), leaves(undefined))
  })

  it("while its sub-workflow runs, until the time-out of that", () => {
    const sub = { type: "sub-workflow", with: { definition: "child" } }
    assert.deepStrictEqual(decide(run([task("a", sub)])), leaves(undefined))
    const timed = run([task("a", { ...sub, timeout: { after: "1h" } })])
    assert.deepStrictEqual(decide(timed), leaves(timed.now + 3_600_000))
  })

  it("never before its start, nor when its run rests: that is for others to do", () => {
    assert.deepStrictEqual(decide(new ScriptedRun({ tasks: [task("a", { delay: "1h" })] })), stays)
    const stopped = run([task("a", { delay: "1h" })])
    stopped.turn({ _tag: "WORKFLOW_STOP" })
    assert.strictEqual(stopped.state.status, "STOPPED")
    assert.deepStrictEqual(decide(stopped), stays)
  })

  it("looks at no more than it may", () => {
    const one = run([task("a", { delay: "1h", forEach: { items: "[1, 2, 3, 4]" } })])
    assert.deepStrictEqual(decide(one, 5), leaves(one.now + 3_600_000))
    assert.deepStrictEqual(decide(one, 4), { _tag: "Unsure" })
    const busy = run([task("a"), task("b", { delay: "1h" })])
    assert.deepStrictEqual(decide(busy, 1), stays, "the first says enough")
  })
})

describe("HEDDLE_PASSIVATE_AFTER", () => {
  const read = (env: Record<string, string>) =>
    Effect.provideService(
      Passivation.fromEnvironment,
      ConfigProvider.ConfigProvider,
      ConfigProvider.fromEnv({ env })
    )

  it.effect("is a duration above zero", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* read({}), Passivation.afterMsDefault)
      assert.strictEqual(yield* read({ HEDDLE_PASSIVATE_AFTER: "5m" }), 300_000)
      for (const wrong of ["0s", "soon"]) {
        const error = yield* Effect.flip(read({ HEDDLE_PASSIVATE_AFTER: wrong }))
        assert.strictEqual(error.code, "InvalidMessage")
        assert.include(error.message, `"${wrong}"`)
      }
    }))
})
