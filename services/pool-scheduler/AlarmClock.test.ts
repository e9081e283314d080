import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as AlarmClock from "./AlarmClock.ts"

describe("AlarmClock", () => {
  it.effect("clocks of one timer ring at their own times, also armed before they run and armed again by their callbacks", () =>
    Effect.gen(function*() {
      const shared = yield* AlarmClock.shared
      yield* Effect.forkChild(shared.run)
      const rung: Array<string> = []
      const a = shared.make((now) => {
        rung.push(`a ${now}`)
        return now < 30 ? now + 10 : Infinity
      })
      const b = shared.make((now) => {
        rung.push(`b ${now}`)
        return Infinity
      })
      a.arm(10)
      b.arm(25)
      b.arm(40) // later than what it is armed for: nothing changes
      yield* TestClock.adjust(5)
      yield* Effect.forkChild(a.run)
      yield* Effect.forkChild(b.run)
      yield* TestClock.adjust(95)
      assert.deepStrictEqual(rung, ["a 10", "a 20", "b 25", "a 30"])
    }))

  it.effect("one that is interrupted rings no more; a defect in its callback ends the clock that it belongs to, and no other", () =>
    Effect.gen(function*() {
      const shared = yield* AlarmClock.shared
      yield* Effect.forkChild(shared.run)
      const rung: Array<string> = []
      const note = (name: string) =>
        shared.make((now) => {
          rung.push(`${name} ${now}`)
          return now + 10
        })
      const broken = shared.make(() => {
        throw new Error("a defect")
      })
      const [good, ending] = [note("good"), note("ending")]
      yield* Effect.forkChild(good.run)
      const brokenRun = yield* Effect.forkChild(broken.run)
      const endingRun = yield* Effect.forkChild(ending.run)
      yield* TestClock.adjust(1)
      for (const clock of [broken, ending, good]) clock.arm(10)
      yield* TestClock.adjust(9)
      yield* Fiber.interrupt(endingRun)
      const exit = yield* Fiber.await(brokenRun)
      assert.isTrue(Exit.isFailure(exit) && Cause.pretty(exit.cause).includes("a defect"))
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(rung.sort(), ["ending 10", "good 10", "good 20"])
    }))

  it.effect("one that wants to be called again at once lets the others ring", () =>
    Effect.gen(function*() {
      const shared = yield* AlarmClock.shared
      yield* Effect.forkChild(shared.run)
      let eager = 0
      let patient = 0
      const first = shared.make((now) => ++eager < 5 ? now : Infinity)
      const second = shared.make(() => {
        patient = eager
        return Infinity
      })
      yield* Effect.forkChild(first.run)
      yield* Effect.forkChild(second.run)
      yield* TestClock.adjust(1)
      first.arm(5)
      second.arm(5)
      yield* TestClock.adjust(5)
      assert.deepStrictEqual([eager, patient], [5, 1])
    }))
})
