import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Later from "./Later.ts"
import { LogStream, messageCharactersMax, waitingCharactersMax } from "./LogStream.ts"
import { ScriptedWire } from "./ScriptedWire.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const opened = Effect.fnUntraced(function*(more: { readonly taskCharactersMax?: number } = {}) {
  const wire = new ScriptedWire()
  const later = yield* Later.make((cause) => assert.fail(String(cause)))
  let drained = 0
  const log = new LogStream({ subject: "logs", wire, later, onDrained: () => drained++, ...more })
  const texts = () => wire.stored.map((_) => [_.body.stream, _.body.text])
  /** Acknowledges until nothing more comes; gives every message. */
  const all = () => {
    const messages: Array<{ readonly stream: string; readonly text: string; readonly dropped?: number }> = []
    for (let next = wire.stored[0]; next !== undefined; next = wire.stored[0]) {
      messages.push(next.body)
      next.done(true)
    }
    return messages
  }
  return { wire, log, texts, all, drained: () => drained }
})

it.effect("whole lines go out together, an unfinished one a little later, and characters are not cut", () =>
  Effect.gen(function*() {
    const { log, texts } = yield* opened()
    const [first, second] = [bytes("ä").slice(0, 1), bytes("ä").slice(1)]
    log.write("stdout", bytes("one\ntwo\nthr"))
    assert.deepStrictEqual(texts(), [], "collected for a moment")
    yield* TestClock.adjust("50 millis")
    assert.deepStrictEqual(texts(), [["stdout", "one\ntwo"]])
    yield* TestClock.adjust("200 millis")
    assert.deepStrictEqual(texts(), [["stdout", "one\ntwo"], ["stdout", "thr"]])
    log.write("stdout", first)
    log.write("stdout", second)
    log.write("stderr", bytes("oops\n"))
    log.close()
    assert.deepStrictEqual(texts().slice(2), [["stdout", "ä"], ["stderr", "oops"]])
  }))

it.effect("a line that is still being written waits for its end", () =>
  Effect.gen(function*() {
    const { log, texts } = yield* opened()
    log.write("stdout", bytes("a\nb"))
    yield* TestClock.adjust("30 millis")
    log.write("stdout", bytes("c"))
    yield* TestClock.adjust("20 millis")
    assert.deepStrictEqual(texts(), [["stdout", "a"]])
    yield* TestClock.adjust("100 millis")
    log.write("stdout", bytes("d"))
    yield* TestClock.adjust("150 millis")
    assert.deepStrictEqual(texts(), [["stdout", "a"]])
    log.write("stdout", bytes("e\n"))
    yield* TestClock.adjust("300 millis")
    assert.deepStrictEqual(texts(), [["stdout", "a"], ["stdout", "bcde"]])
  }))

it.effect("a broker that is slow costs output, never memory: what is left out is counted", () =>
  Effect.gen(function*() {
    const { all, drained, log, wire } = yield* opened()
    const total = 2 * waitingCharactersMax
    for (let i = 0; i < total / 1024; i++) log.write("stdout", bytes(`${"x".repeat(1023)}\n`))
    assert.isAtMost(wire.stored.length, 4, "in flight")
    log.close()
    assert.strictEqual(drained(), 0)
    const messages = all()
    assert.strictEqual(drained(), 1)
    const kept = messages.filter((_) => _.stream === "stdout").reduce((sum, _) => sum + _.text.length + 1, 0)
    const dropped = messages.reduce((sum, _) => sum + (_.dropped ?? 0), 0)
    assert.strictEqual(kept + dropped, total)
    assert.isAbove(dropped, 0)
    assert.isTrue(messages.every((_) => _.text.length <= messageCharactersMax))
  }))

it.effect("a task has a bound over its whole life, told at its end", () =>
  Effect.gen(function*() {
    const { all, drained, log } = yield* opened({ taskCharactersMax: 10 })
    log.write("stdout", bytes("12345\n"))
    log.write("stdout", bytes("6789\nmore\n"))
    log.close()
    const messages = all().map(({ dropped, stream, text }) => ({ dropped, stream, text }))
    assert.deepStrictEqual(messages, [
      { dropped: undefined, stream: "stdout", text: "12345\n6789" },
      { dropped: 6, stream: "system", text: "output was left out" }
    ])
    assert.strictEqual(drained(), 1)
  }))
