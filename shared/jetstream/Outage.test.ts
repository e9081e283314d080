import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import type { Message } from "./Message.ts"
import { type Connection, RequestTimeout } from "./Nats.ts"
import * as Outage from "./Outage.ts"

/** As a server says it to `INFO`; `undefined`: nobody answers. */
interface Broker {
  readonly clock: Clock.Clock
  isConnected: boolean
  jetStream: string | undefined
  readonly request: Connection["request"]
}
const broker = Effect.map(Clock.Clock, (clock): Broker => ({
  clock,
  isConnected: true,
  jetStream: "{}",
  request(subject) {
    assert.strictEqual(subject, "$JS.API.INFO")
    return this.jetStream === undefined
      ? Effect.fail(new RequestTimeout({ subject, timeoutMs: 5_000 }))
      : Effect.succeed({ data: new TextEncoder().encode(this.jetStream) } as Message) // all that is read of it
  }
}))
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

it.effect("a server without JetStream's leader is an outage too: nobody answers, or it is said to be unavailable", () =>
  Effect.gen(function*() {
    const nats = yield* broker
    for (const jetStream of [undefined, `{"error":{"code":503,"err_code":10008,"description":"not available"}}`]) {
      nats.jetStream = jetStream
      const waiting = yield* Effect.forkChild(
        Effect.result(Outage.outlast(nats, { forMs: 1_000, isPassing })(Effect.fail("away"))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("2 hours")
      assert.isUndefined(waiting.pollUnsafe())
      nats.jetStream = `{"error":{"code":400,"err_code":10003,"description":"bad request"}}`
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual((yield* Fiber.join(waiting))._tag, "Failure")
    }
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
