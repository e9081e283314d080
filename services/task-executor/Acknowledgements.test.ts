import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { Acknowledgements, overtakersMax, waitMs } from "./Acknowledgements.ts"
import * as Later from "./Later.ts"

const setUp = Effect.gen(function*() {
  const heard: Array<string> = []
  const acknowledgements = new Acknowledgements(
    yield* Later.make((cause) => {
      throw cause
    })
  )
  const wait = (subject: string, name = subject): void =>
    acknowledgements.wait(subject, (isStored) => void heard.push(`${name} ${isStored}`))
  return { acknowledgements, heard, wait }
})

it.effect("an answer holds when the broker says so, once, for all that wait for that append", () =>
  Effect.gen(function*() {
    const { acknowledgements, heard, wait } = yield* setUp
    wait("a", "first")
    wait("a", "second")
    wait("b")
    acknowledgements.received("a", true)
    assert.deepStrictEqual(heard, ["first true", "second true"])
    acknowledgements.received("b", false)
    assert.deepStrictEqual(heard.slice(2), ["b false"], "a refused append made nothing true")
    yield* TestClock.adjust(2 * waitMs)
    assert.strictEqual(heard.length, 3)
  }))

it.effect("an acknowledgement that overtakes its answer is kept, for as many appends as are worth it", () =>
  Effect.gen(function*() {
    const { acknowledgements, heard, wait } = yield* setUp
    for (let at = 0; at <= overtakersMax; at++) acknowledgements.received(`s${at}`, true)
    wait("s1")
    wait("s0")
    assert.deepStrictEqual(heard, ["s1 true"], "the oldest was let go")
  }))

it.effect("silence ends each wait after its own time", () =>
  Effect.gen(function*() {
    const { heard, wait } = yield* setUp
    wait("a")
    yield* TestClock.adjust(waitMs / 2)
    wait("b")
    yield* TestClock.adjust(waitMs / 2)
    assert.deepStrictEqual(heard, ["a false"])
    yield* TestClock.adjust(waitMs)
    assert.deepStrictEqual(heard, ["a false", "b false"])
  }))

it.effect("a lost connection ends all waits at once: the word may have come meanwhile", () =>
  Effect.gen(function*() {
    const { acknowledgements, heard, wait } = yield* setUp
    wait("a")
    wait("b")
    acknowledgements.lost()
    assert.deepStrictEqual(heard, ["a false", "b false"])
    acknowledgements.received("a", true)
    assert.strictEqual(heard.length, 2)
  }))
