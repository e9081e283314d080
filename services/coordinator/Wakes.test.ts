import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Wakes } from "./Wakes.ts"

it.effect("one worker a name, and one more look for all the wakes that came while it worked", () =>
  Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const fibers: Array<Fiber.Fiber<void>> = []
    const looks: Array<string> = []
    let atOnce = 0
    const wakes: Wakes = new Wakes({
      work: (name) =>
        Effect.gen(function*() {
          looks.push(name)
          atOnce += 1
          assert.strictEqual(atOnce, 1)
          yield* Deferred.await(gate)
          atOnce -= 1
        }),
      fork: (effect) => void fibers.push(Effect.runFork(effect))
    })
    wakes.wake("a")
    wakes.wake("a")
    wakes.wake("a")
    assert.deepStrictEqual([fibers.length, wakes.size], [1, 1])
    yield* Deferred.succeed(gate, undefined)
    yield* Effect.forEach(fibers, Fiber.join)
    assert.deepStrictEqual([looks.length, wakes.size], [2, 0])
    wakes.wake("a")
    yield* Effect.forEach(fibers, Fiber.join)
    assert.deepStrictEqual([looks.length, fibers.length, wakes.size], [3, 2, 0])
  }))
