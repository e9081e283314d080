import { assert } from "@effect/vitest"
import * as Result from "effect/Result"
import { describe, it } from "vitest"
import type { Offered } from "../../shared/plugin/PlacementPolicy.ts"
import * as PlacementPolicySuite from "../../shared/plugin/suite/PlacementPolicySuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { InstanceId, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import plugin, { policy } from "./plugin.ts"
import { ShareQueue } from "./ShareQueue.ts"

Suite.run(
  { describe, it },
  "fair-share keeps what a placement policy promises",
  PlacementPolicySuite.promises({
    policy,
    goesWithin: { job: 2, team: 2, taskPriority: 2, priority: "never", teamWithPriority: 2 },
    weights: "honoured"
  })
)

let made = 0
const entry = (instance: string, more: Partial<Offered> = {}): Offered => ({
  lane: "ready",
  shard: Shard.make(0),
  instance: InstanceId.make(instance),
  taskInstanceId: TaskInstanceId.make(`t${made++}:1:1`),
  priority: 5,
  taskPriority: 5,
  team: "a",
  place: 0,
  ...more
})
const take = (queue: ShareQueue<Offered>, count: number) =>
  Array.from({ length: count }, () => queue.next()?.instance ?? "none")

describe("fair-share", () => {
  it("is what the plugin offers", () => {
    assert.deepStrictEqual([...Result.getOrThrow(plugin.load()).placementPolicies.keys()], ["fair-share"])
  })

  it("a team does not get more by asking for a higher priority (under fifo it would get everything)", () => {
    const queue = new ShareQueue<Offered>(new Map([["modest", 2]]))
    for (let number = 0; number < 30; number++) {
      queue.offer(entry("loud", { team: "loud", priority: 9, taskPriority: 9 }))
      queue.offer(entry("modest", { team: "modest", priority: 0 }))
    }
    assert.strictEqual(take(queue, 15).filter((name) => name === "modest").length, 10)
  })

  it("within a team: its priorities, then turns among jobs, then task priority, then order of arrival", () => {
    const queue = new ShareQueue<Offered>(new Map())
    for (let number = 0; number < 3; number++) queue.offer(entry("large"))
    const urgent = entry("small", { taskPriority: 9 })
    const plain = entry("small")
    queue.offer(plain)
    queue.offer(urgent)
    queue.offer(entry("first", { priority: 6 }))
    assert.deepStrictEqual(take(queue, 2), ["first", "large"])
    assert.strictEqual(queue.next(), urgent)
    assert.deepStrictEqual(take(queue, 1), ["large"])
    assert.strictEqual(queue.next(), plain)
  })

  it("a job of another priority that has run long gives the newest of a lower one no lead and no debt", () => {
    const queue = new ShareQueue<Offered>(new Map())
    queue.offer(entry("old"))
    for (let number = 0; number < 50; number++) queue.offer(entry("high", { priority: 9 }))
    take(queue, 50)
    for (let number = 0; number < 3; number++) {
      queue.offer(entry("new"))
      queue.offer(entry("old"))
    }
    assert.deepStrictEqual(take(queue, 6).toSorted(), ["new", "new", "new", "old", "old", "old"])
  })

  it("who had nothing waiting gets nothing for that time, and who has had its turn does not get another by coming anew", () => {
    const queue = new ShareQueue<Offered>(new Map())
    for (let number = 0; number < 40; number++) queue.offer(entry("busy", { team: "busy" }))
    take(queue, 20)
    for (let number = 0; number < 10; number++) queue.offer(entry("late", { team: "late" }))
    assert.strictEqual(take(queue, 10).filter((name) => name === "late").length, 5)
    // one task of `tiny` at a time: it never has two waiting, and still goes once in five turns
    const trickle = new ShareQueue<Offered>(new Map([["tiny", 0.25]]))
    for (let number = 0; number < 60; number++) trickle.offer(entry("steady", { team: "steady" }))
    trickle.offer(entry("tiny", { team: "tiny" }))
    let ofTiny = 0
    for (let turn = 0; turn < 50; turn++) {
      if (take(trickle, 1)[0] !== "tiny") continue
      ofTiny++
      trickle.offer(entry("tiny", { team: "tiny" }))
    }
    assert.strictEqual(ofTiny, 10)
  })

  it("what comes back and is withdrawn has not been started: its team has its turn again", () => {
    const queue = new ShareQueue<Offered>(new Map())
    const one = entry("one", { team: "one" })
    queue.offer(one)
    queue.offer(entry("one", { team: "one" }))
    queue.offer(entry("two", { team: "two" }))
    assert.strictEqual(queue.next(), one)
    queue.putBack(one)
    queue.remove(one)
    assert.deepStrictEqual(take(queue, 3), ["one", "two", "none"])
  })
})
