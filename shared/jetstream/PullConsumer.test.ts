import { assert, describe, it } from "@effect/vitest"
import type { Message } from "./Message.ts"
import type { Connection } from "./Nats.ts"
import * as PullConsumer from "./PullConsumer.ts"

/** A connection on which nothing ever comes, and what was asked for on it. */
const silent = () => {
  let nowMs = 0
  const asked: Array<{ readonly expires: number; readonly idle_heartbeat: number }> = []
  const connection = {
    inbox: () => "inbox",
    clock: { currentTimeMillisUnsafe: () => nowMs },
    publish: (_: string, body: string) => {
      asked.push(JSON.parse(body))
      return true
    },
    subscribeUnsafe: (_: string, _handler: (message: Message) => void) => ({ unsubscribe: () => {}, drain: () => {} })
  } as unknown as Connection // all that a pull uses of it
  const pull = (onEnd: (end: PullConsumer.PullEnd) => void = () => {}) =>
    PullConsumer.start(connection, { stream: "S", consumer: "c", maxMessages: 10, onMessage: () => {}, onEnd })
  return { asked, pull, at: (ms: number) => (nowMs = ms) }
}
const seconds = (nanos: number | undefined): number => (nanos ?? 0) / 1e9

describe("PullConsumer", () => {
  it("hundreds of pulls on one connection share its heartbeats, each within its request's life; those that end leave their share", () => {
    const { asked, pull } = silent()
    const all = Array.from({ length: 800 }, () => pull())
    assert.deepStrictEqual(asked.slice(0, 200).map((one) => seconds(one.idle_heartbeat)), Array(200).fill(1))
    assert.strictEqual(seconds(asked.at(-1)?.idle_heartbeat), 4)
    for (const one of asked) assert.isAtLeast(one.expires, 2 * one.idle_heartbeat)
    for (const one of all.slice(100)) {
      one.stop()
      one.stop() // a second time: nothing
    }
    const again = pull()
    assert.strictEqual(seconds(asked.at(-1)?.idle_heartbeat), 1)
    again.stop()
  })

  it("silence is judged by the heartbeat that was asked for", () => {
    const { at, pull } = silent()
    let few: PullConsumer.PullEnd | undefined
    const first = pull((end) => (few = end))
    for (let i = 0; i < 500; i++) pull()
    let many: PullConsumer.PullEnd | undefined
    const last = pull((end) => (many = end))
    at(2_600)
    first.tick()
    last.tick()
    assert.deepStrictEqual([few, many], ["Silent", undefined])
    at(7_600)
    last.tick()
    assert.strictEqual(many, "Silent")
  })
})
