import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as Outage from "./Outage.ts"

const broker = Effect.map(Clock.Clock, (clock) => ({ clock, isConnected: true }))
const isPassing = (error: string) => error === "away"

it.effect("a broker that is away is waited for without end, one that refuses while it is there is not", () =>
  Effect.gen(function*() {
    const nats = yield* broker
    let tries = 0
    let answer: "away" | "back" = "away"
    const attempt = Effect.suspend(() => {
      tries++
      return answer === "back" ? Effect.succeed("done") : Effect.fail("away")
    })
    nats.isConnected = false
    const waiting = yield* Effect.forkChild(
      Effect.result(Outage.outlast(nats, { forMs: 1_000, isPassing })(attempt)),
      { startImmediately: true }
    )
    yield* TestClock.adjust("2 hours")
    assert.isUndefined(waiting.pollUnsafe())
    assert.isAtLeast(tries, 1_000)
    answer = "back"
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual((yield* Fiber.join(waiting))._tag, "Success")

    nats.isConnected = true
    answer = "away"
    const refused = yield* Effect.forkChild(
      Effect.result(Outage.outlast(nats, { forMs: 1_000, isPassing })(attempt)),
      { startImmediately: true }
    )
    yield* TestClock.adjust("900 millis")
    assert.isUndefined(refused.pollUnsafe())
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual((yield* Fiber.join(refused))._tag, "Failure")
  }))

it.effect("what no outage explains ends it at once; an attempt that went well for long begins the count anew", () =>
  Effect.gen(function*() {
    const nats = yield* broker
    assert.strictEqual(
      yield* Effect.flip(Outage.outlast(nats, { forMs: 1_000, isPassing })(Effect.fail("a defect"))),
      "a defect"
    )
    let lives = 0
    const told: Array<string> = []
    const life = Effect.suspend(() =>
      ++lives > 3 ? Effect.void : Effect.andThen(Effect.sleep(5_000), Effect.fail("away"))
    )
    const living = yield* Effect.forkChild(
      Outage.outlast(nats, {
        forMs: 1_000,
        isPassing,
        failed: (error) => Effect.sync(() => void told.push(error))
      })(life),
      { startImmediately: true }
    )
    yield* TestClock.adjust("20 seconds")
    yield* Fiber.join(living)
    assert.deepStrictEqual(told, ["away", "away", "away"])
  }))
