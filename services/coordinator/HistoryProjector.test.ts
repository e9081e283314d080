import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { Message } from "../../shared/jetstream/Message.ts"
import { type Connection, ConnectionLost } from "../../shared/jetstream/Nats.ts"
import { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import { HistoryProjector, instancesPerTick, type Projected } from "./HistoryProjector.ts"

/** A broker that answers when the test says so, and timers that fire when the test says so. */
const setUp = () => {
  const sent: Array<{ readonly entries: ReadonlyArray<number>; readonly answer: (isStored: boolean) => void }> = []
  const timers = new Map<string, () => void>()
  let isUp = true
  const lost = new ConnectionLost({ subject: "s", sent: false })
  const requestUnsafe: Connection["requestUnsafe"] = (subject, body, _options, done) => {
    if (!isUp) return done(Result.fail(lost))
    const { entries } = JSON.parse(String(body)) as { readonly entries: ReadonlyArray<{ readonly seq: number }> }
    sent.push({
      entries: entries.map(({ seq }) => seq),
      answer: (isStored) => done(isStored ? Result.succeed(ack(subject)) : Result.fail(lost))
    })
  }
  const projector = new HistoryProjector({
    nats: { requestUnsafe } as unknown as Connection, // all that it uses
    timers: { armIn: ({ fire, key }) => void timers.set(key, fire) }
  })
  /** Fires what is armed now, not what that arms. */
  const fire = (): void => {
    const due = [...timers.values()]
    timers.clear()
    for (const one of due) one()
  }
  return { projector, sent, timers, fire, setUp: (up: boolean) => void (isUp = up) }
}
const ack = (subject: string): Message =>
  new Message(
    { subject, string: () => "{\"seq\":1}", data: new TextEncoder().encode("{\"seq\":1}") } as never, // all that is read of it
    () => true
  )
const instance = (name: string, ...ns: ReadonlyArray<number>): Projected => ({
  instance: InstanceId.make(name),
  shard: Shard.make(0),
  unprojected: ns.map((n) => ({ sequence: n, n, text: "{}" }))
})
const add = (to: Projected, n: number): void => void to.unprojected.push({ sequence: n, n, text: "{}" })

it("a broker that is away holds nobody up: what was touched is tried again later", () => {
  const { fire, projector, sent, setUp: broker } = setUp()
  const a = instance("a", 1)
  broker(false)
  projector.touch(a)
  let isDrained = false
  projector.drain(() => void (isDrained = true))
  fire()
  assert.isFalse(isDrained)
  broker(true)
  fire()
  assert.deepStrictEqual(sent.map(({ entries }) => entries), [[1]])
  sent[0]?.answer(true)
  assert.isTrue(isDrained)
})

it("of an instance one message is under way at a time: a failed one never leaves a hole before a stored one", () => {
  const { fire, projector, sent } = setUp()
  const a = instance("a", 1, 2)
  const done: Array<string> = []
  projector.project(a, () => void done.push("first"))
  add(a, 3)
  projector.project(a, () => void done.push("second"))
  assert.deepStrictEqual(sent.map(({ entries }) => entries), [[1, 2]])
  sent[0]?.answer(false)
  assert.deepStrictEqual(done, [])
  fire()
  assert.deepStrictEqual(sent[1]?.entries, [1, 2, 3])
  sent[1]?.answer(true)
  assert.deepStrictEqual(done, ["first", "second"])
})

it("drain ends although instances go on: it waits for what was there when it was called", () => {
  const { projector, sent } = setUp()
  const a = instance("a", 1)
  const b = instance("b", 1)
  projector.touch(a)
  projector.project(b)
  let isDrained = false
  projector.drain(() => void (isDrained = true))
  // both go on all the time
  add(a, 2)
  projector.touch(a)
  add(b, 2)
  projector.touch(b)
  sent[0]?.answer(true)
  assert.isFalse(isDrained, "a is not stored yet")
  sent[1]?.answer(true)
  assert.isTrue(isDrained)
})

it("one tick projects a bounded number, the oldest first, and every one has its turn", () => {
  const { fire, projector, sent } = setUp()
  const all = Array.from({ length: instancesPerTick + 10 }, (_, index) => instance(`i-${index}`, index))
  for (const one of all) projector.touch(one)
  fire()
  assert.strictEqual(sent.length, instancesPerTick)
  fire()
  assert.strictEqual(sent.length, instancesPerTick + 10)
  assert.deepStrictEqual(sent.at(-1)?.entries, [instancesPerTick + 9])
})
