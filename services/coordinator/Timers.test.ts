import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Timers } from "./Timers.ts"

const started = Effect.gen(function*() {
  const timers = new Timers(yield* Clock.Clock)
  yield* Effect.forkScoped(timers.run)
  const fired: Array<string> = []
  const arm = (key: string, dueAt: number): void => timers.arm({ key, dueAt, fire: () => void fired.push(key) })
  return { timers, fired, arm }
})

it.effect("fires in order of due time, each once, and not before", () =>
  Effect.gen(function*() {
    const { arm, fired } = yield* started
    arm("c", 300)
    arm("a", 100)
    arm("b", 200)
    yield* TestClock.adjust(99)
    assert.deepStrictEqual(fired, [])
    yield* TestClock.adjust(101)
    assert.deepStrictEqual(fired, ["a", "b"])
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(fired, ["a", "b", "c"])
  }))

it.effect("an earlier timer wakes the one that waits for a later one", () =>
  Effect.gen(function*() {
    const { arm, fired } = yield* started
    arm("late", 1_000)
    yield* TestClock.adjust(10)
    arm("soon", 20)
    yield* TestClock.adjust(10)
    assert.deepStrictEqual(fired, ["soon"])
  }))

it.effect("arming again replaces, cancelling removes, and ten thousand cancelled ones leave no trace", () =>
  Effect.gen(function*() {
    const { arm, fired, timers } = yield* started
    arm("a", 100)
    arm("a", 500)
    arm("b", 100)
    timers.cancel("b")
    for (let i = 0; i < 10_000; i++) {
      arm(`x${i}`, 1_000_000)
      timers.cancel(`x${i}`)
    }
    assert.strictEqual(timers.size, 1)
    yield* TestClock.adjust(499)
    assert.deepStrictEqual(fired, [])
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(fired, ["a"])
    assert.strictEqual(timers.size, 0)
  }))

it.effect("what a cancelled timer would have told is let go of at once", () =>
  Effect.gen(function*() {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("gc") as () => void // what the flag adds to new contexts
    const { timers } = yield* started
    const armed = (): WeakRef<object> => {
      const told = { states: "of many instances" }
      timers.arm({ key: "a", dueAt: 1_000_000, fire: () => void told.states })
      return new WeakRef(told)
    }
    const told = armed()
    const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    yield* turn
    collect()
    assert.isDefined(told.deref())
    timers.cancel("a")
    yield* turn
    collect()
    assert.isUndefined(told.deref())
  }))
