import { assert, describe, it } from "@effect/vitest"
import type { Offered } from "../../shared/plugin/PlacementPolicy.ts"
import { InstanceId, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import { FairQueue } from "./FairQueue.ts"

const entry = (instance: string, task: number, more: Partial<Offered> = {}): Offered => ({
  lane: "ready",
  shard: Shard.make(0),
  instance: InstanceId.make(instance),
  taskInstanceId: TaskInstanceId.make(`t${task}:0:0`),
  priority: 5,
  taskPriority: 5,
  team: "default",
  place: 0,
  ...more
})
const takeAll = (queue: FairQueue<Offered>) => {
  const taken: Array<Offered> = []
  for (let next = queue.next(); next !== undefined; next = queue.next()) taken.push(next)
  return taken
}

describe("fifo", () => {
  it("jobs take turns: a large one does not hold up a small one, and each keeps its own order", () => {
    const queue = new FairQueue<Offered>(new Map())
    for (let i = 0; i < 4; i++) queue.offer(entry("large", i))
    queue.offer(entry("small", 0))
    assert.deepStrictEqual(takeAll(queue).map((_) => `${_.instance}${_.taskInstanceId[1]}`), [
      "large0",
      "small0",
      "large1",
      "large2",
      "large3"
    ])
  })

  it("teams share by weight before jobs take turns", () => {
    const queue = new FairQueue<Offered>(new Map([["blue", 2]]))
    for (let i = 0; i < 30; i++) queue.offer(entry(`r${i}`, 0, { team: "red" }))
    for (let i = 0; i < 30; i++) queue.offer(entry(`b${i}`, 0, { team: "blue" }))
    assert.strictEqual(takeAll(queue).slice(0, 15).filter((_) => _.team === "blue").length, 10)
  })

  it("workflow priority, then task priority", () => {
    const queue = new FairQueue<Offered>(new Map())
    queue.offer(entry("low", 0, { priority: 1, taskPriority: 9 }))
    queue.offer(entry("high", 1, { taskPriority: 1 }))
    queue.offer(entry("high", 2, { taskPriority: 8 }))
    assert.deepStrictEqual(takeAll(queue).map((_) => _.taskInstanceId as string), ["t2:0:0", "t1:0:0", "t0:0:0"])
  })

  it("what is put back goes first again; what is removed does not go at all", () => {
    const queue = new FairQueue<Offered>(new Map())
    const [a, b, c] = [entry("i", 0), entry("i", 1), entry("j", 2)] as const
    for (const one of [a, b, c]) queue.offer(one)
    const first = queue.next()
    assert.strictEqual(first, a)
    queue.putBack(a)
    queue.remove(b)
    queue.remove(b)
    assert.strictEqual(queue.size, 2)
    assert.deepStrictEqual(takeAll(queue), [a, c])
    assert.strictEqual(queue.size, 0)
  })
})
