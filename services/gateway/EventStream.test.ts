import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as EventStream from "./EventStream.ts"
import { LiveEvent } from "./LiveEvent.ts"
import * as Outbox from "./Outbox.ts"
import type * as Tail from "./Tail.ts"

/** A stream whose messages are as many events as their text says, of the instances `i0`, `i1`, ... */
const scripted = () => {
  const listeners = new Set<Tail.Listener>()
  let position = 10
  const tail: Tail.Tail = {
    stream: "S",
    filter: "s",
    position: () => position,
    listen: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    caughtUp: Effect.void,
    failure: Effect.never
  }
  return {
    source: new EventStream.Source("journal", tail, ({ sequence, text }) =>
      Array.from(
        { length: Number(text) },
        (_, n) => new LiveEvent("run", { sequence, n }, { instance: `i${n}` })
      )),
    listeners,
    tell: (text: string) => {
      position += 1
      for (const listener of listeners) listener({ sequence: position, subject: "s", text })
    }
  }
}
const nats = {} as Connection // nothing of the past is read here

const opened = (source: EventStream.Source, wants: (event: LiveEvent) => boolean = () => true) =>
  EventStream.open({ nats, sources: [source], cursor: {}, wants, version: "v", heartbeatMs: 15_000 })

const idsOf = (text: string) => text.match(/^id: \S+/gm) ?? []

it.effect("ids name the message and the place in it, and go on through what was not asked for", () =>
  Effect.gen(function*() {
    const { listeners, source, tell } = scripted()
    const { outbox, text } = yield* opened(source, ({ instance }) => instance === "i1")
    const pull = yield* Stream.toPull(text)
    assert.deepStrictEqual(idsOf((yield* pull).join("")), ["id: j10"])
    const next = yield* Effect.forkChild(pull, { startImmediately: true })
    assert.strictEqual(listeners.size, 1)
    tell("3")
    tell("1")
    tell("2")
    assert.deepStrictEqual(idsOf([...yield* Fiber.join(next), ...yield* pull].join("")), ["id: j11.1", "id: j13"])
    // nothing that was asked for, but it is past it: a sign of life says so
    tell("1")
    const quiet = yield* Effect.forkChild(pull, { startImmediately: true })
    yield* TestClock.adjust(15_000)
    assert.strictEqual((yield* Fiber.join(quiet)).join(""), ": \nid: j14\n\n")
    outbox.end("over")
    assert.include((yield* pull).join(""), `event: dropped\ndata: {"reason":"over","cursor":"j14"}`)
  }).pipe(Effect.scoped))

it.effect("a reader that does not read loses what waits, and is told where to go on", () =>
  Effect.gen(function*() {
    const { source, tell } = scripted()
    const { outbox, text } = yield* opened(source)
    const pull = yield* Stream.toPull(text)
    yield* pull
    const first = yield* Effect.forkChild(pull, { startImmediately: true })
    tell("1")
    assert.deepStrictEqual(idsOf((yield* Fiber.join(first)).join("")), ["id: j11"])
    for (let n = 0; n < Outbox.blocksMax; n++) tell("1")
    assert.isUndefined(outbox.ended)
    tell("1")
    assert.isDefined(outbox.ended)
    yield* outbox.whenEnded
    const last = (yield* pull).join("")
    assert.match(last, /^event: dropped\ndata: \{"reason":"this reader is too slow.*","cursor":"j11"\}\n\n$/)
    tell("1")
    assert.strictEqual((yield* Effect.exit(pull))._tag, "Failure", "nothing comes after it")
  }).pipe(Effect.scoped))

it.effect("large events count by their size", () =>
  Effect.sync(() => {
    const outbox = new Outbox.Outbox()
    const big = "x".repeat(Outbox.charactersMax / 4)
    for (let n = 0; n < 4; n++) outbox.push({ id: `${n}`, text: big })
    assert.isUndefined(outbox.ended)
    outbox.push({ id: "4", text: "x" })
    assert.isDefined(outbox.ended)
  }))

it.effect("whoever leaves is told nothing more", () =>
  Effect.gen(function*() {
    const { listeners, source } = scripted()
    yield* Effect.scoped(Effect.gen(function*() {
      const { text } = yield* opened(source)
      const pull = yield* Stream.toPull(text)
      yield* pull
      yield* Effect.forkChild(pull, { startImmediately: true })
      assert.strictEqual(listeners.size, 1)
    }))
    assert.strictEqual(listeners.size, 0)
  }))
