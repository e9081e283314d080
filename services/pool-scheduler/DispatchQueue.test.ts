import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { MemberId, SessionId, Shard, StartupId } from "../../shared/protocol/Token.ts"
import { DispatchQueue, type Queueable } from "./DispatchQueue.ts"

interface Item extends Queueable {
  readonly id: string
}
const item = (id: string, session = 1, shard = 0): Item => ({
  id,
  session: SessionId.make(session),
  shard: Shard.make(shard)
})
const setup = (capacity = 10) => {
  const queue = new DispatchQueue<Item>({ capacity, arm: () => {} })
  const answers: Array<ReadonlyArray<string> | undefined> = []
  const poll = (max: number, until = 100, startup = "s") =>
    queue.dequeue({
      executor: MemberId.make("e"),
      startup: StartupId.make(startup),
      max,
      until,
      respond: (items) => answers.push(items?.map((_) => _.id))
    }, 0)
  return { queue, answers, poll }
}
const s = SessionId.make
const shard = Shard.make(0)

describe("DispatchQueue", () => {
  it("a poll is answered with all that are there, up to its maximum, or empty when its time is over", () => {
    const { answers, poll, queue } = setup()
    poll(2, 50)
    for (const id of ["a", "b", "c"]) queue.offer(item(id))
    queue.flush()
    assert.deepStrictEqual(answers, [["a", "b"]], "each poll is answered once")
    poll(2)
    queue.flush()
    poll(1, 30)
    assert.strictEqual(queue.tick(29), 30)
    queue.tick(30)
    assert.deepStrictEqual(answers, [["a", "b"], ["c"], []])
  })

  it("several executors that wait share what is there", () => {
    const { answers, poll, queue } = setup()
    poll(8, 100, "one")
    poll(8, 100, "other")
    for (const id of ["a", "b", "c", "d"]) queue.offer(item(id))
    queue.flush()
    assert.deepStrictEqual(answers, [["a", "b"], ["c", "d"]])
  })

  it("an executor's share goes into one of its polls as long as it fits", () => {
    const { answers, poll, queue } = setup()
    poll(8, 100, "one")
    poll(8, 100, "one")
    poll(1, 100, "other")
    poll(8, 100, "other")
    for (const id of ["a", "b", "c", "d"]) queue.offer(item(id))
    queue.flush()
    assert.deepStrictEqual(answers, [["a", "b"], ["c"], ["d"]])
    assert.strictEqual(queue.parked, 1)
  })

  it("an executor with a second poll does not go before one that has waited longer", () => {
    const { answers, poll, queue } = setup()
    poll(1, 100, "one")
    poll(1, 100, "one")
    poll(1, 100, "other")
    const taken: Array<number> = []
    for (const id of ["a", "b", "c"]) {
      queue.offer(item(id))
      queue.flush()
      poll(1, 100, "one")
      taken.push(queue.parked)
    }
    assert.deepStrictEqual(answers, [["a"], ["b"], ["c"]])
    assert.deepStrictEqual(taken, [3, 3, 3])
    queue.forget(StartupId.make("other"))
    assert.strictEqual(queue.parked, 3, "the other one's only poll was answered")
  })

  it("a bump must be strictly greater", () => {
    const { queue } = setup()
    assert.isTrue(Result.isSuccess(queue.bumpSessionId(shard, s(5))))
    for (const id of [5, 4]) {
      const refused = queue.bumpSessionId(shard, s(id))
      assert.strictEqual(Result.isFailure(refused) ? refused.failure.code : "", "InvalidSessionId")
    }
  })

  it("! 2 nothing queued under an old session is delivered after a bump, also not to a poll that was parked before (I6)", () => {
    const { answers, poll, queue } = setup()
    for (const one of [item("old", 1), item("other", 1, 1)]) queue.offer(one)
    const stale = queue.bumpSessionId(shard, s(2))
    assert.deepStrictEqual(Result.isSuccess(stale) ? stale.success.map((_) => _.id) : [], ["old"])
    assert.isFalse(queue.offer(item("late", 1)))
    poll(5)
    queue.flush()
    assert.deepStrictEqual(answers, [["other"]])
  })

  it("! 2 a long poll in progress does not delay a bump", () => {
    const { answers, poll, queue } = setup()
    poll(5)
    assert.isTrue(Result.isSuccess(queue.bumpSessionId(shard, s(3))))
    assert.isFalse(queue.offer(item("old", 2)))
    queue.offer(item("new", 3))
    queue.flush()
    assert.deepStrictEqual(answers, [["new"]])
  })

  it.effect("enqueue waits while the queue is full", () =>
    Effect.gen(function*() {
      const { answers, poll, queue } = setup(1)
      yield* queue.enqueue(item("a"))
      const second = yield* Effect.forkChild(queue.enqueue(item("b")), { startImmediately: true })
      assert.strictEqual(queue.size, 1)
      poll(1)
      queue.flush()
      yield* Fiber.join(second)
      assert.deepStrictEqual([answers, queue.size], [[["a"]], 1])
    }))

  it.effect("a closed queue says so to both sides", () =>
    Effect.gen(function*() {
      const { answers, poll, queue } = setup(1)
      poll(1)
      yield* queue.enqueue(item("a"))
      yield* queue.enqueue(item("b"))
      const waiting = yield* Effect.forkChild(Effect.flip(queue.enqueue(item("c"))), { startImmediately: true })
      assert.deepStrictEqual(queue.close().map((_) => _.id), ["b"])
      assert.strictEqual((yield* Fiber.join(waiting)).code, "DispatchQueueClosed")
      poll(1)
      assert.deepStrictEqual(answers, [["a"], undefined])
    }))

  it("the polls of an executor that is gone get nothing", () => {
    const { answers, poll, queue } = setup()
    poll(5, 100, "gone")
    poll(5, 100, "here")
    queue.forget(StartupId.make("gone"))
    queue.offer(item("a"))
    queue.flush()
    assert.deepStrictEqual(answers, [[], ["a"]])
  })
})
