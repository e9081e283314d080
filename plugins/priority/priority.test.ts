import { assert } from "@effect/vitest"
import * as Result from "effect/Result"
import { describe, it } from "vitest"
import type { Offered } from "../../shared/plugin/PlacementPolicy.ts"
import * as PlacementPolicySuite from "../../shared/plugin/suite/PlacementPolicySuite.ts"
import * as Suite from "../../shared/plugin/suite/Suite.ts"
import { InstanceId, type Priority, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import { ageingArrivals, AgingQueue } from "./AgingQueue.ts"
import plugin, { policy } from "./plugin.ts"

const { rivalsWaiting } = PlacementPolicySuite

Suite.run(
  { describe, it },
  "priority keeps what a placement policy promises",
  PlacementPolicySuite.promises({
    policy,
    goesWithin: {
      job: rivalsWaiting + 1,
      team: rivalsWaiting + 1,
      taskPriority: rivalsWaiting + ageingArrivals,
      priority: rivalsWaiting + 10 * ageingArrivals,
      teamWithPriority: rivalsWaiting + 40 * ageingArrivals
    },
    weights: "ignored"
  })
)

const entry = (name: string, priority: Priority, taskPriority: Priority = 5, team = "a"): Offered => ({
  lane: "ready",
  shard: Shard.make(0),
  instance: InstanceId.make(name),
  taskInstanceId: TaskInstanceId.make("t:1:1"),
  priority,
  taskPriority,
  team,
  place: 0
})
const takeAll = (queue: AgingQueue<Offered>) => {
  const names: Array<string> = []
  for (let next = queue.next(); next !== undefined; next = queue.next()) names.push(next.instance)
  return names
}

describe("priority", () => {
  it("is what the plugin offers", () => {
    assert.deepStrictEqual([...Result.getOrThrow(plugin.load()).placementPolicies.keys()], ["priority"])
  })

  it("workflow priority, then task priority, then order of arrival: jobs and teams do not take turns", () => {
    const queue = new AgingQueue<Offered>()
    for (const name of ["first", "second", "third"]) queue.offer(entry(name, 5))
    queue.offer(entry("other-team", 5, 5, "b"))
    queue.offer(entry("late-task", 5, 6))
    queue.offer(entry("late-job", 6, 0))
    assert.deepStrictEqual(takeAll(queue), ["late-job", "late-task", "first", "second", "third", "other-team"])
  })

  it("one task priority is worth ten arrivals: the tenth that comes later goes behind", () => {
    const queue = new AgingQueue<Offered>()
    queue.offer(entry("low", 5, 4))
    for (let number = 1; number <= ageingArrivals; number++) queue.offer(entry(`high-${number}`, 5, 5))
    const names = takeAll(queue)
    assert.strictEqual(names.indexOf("low"), ageingArrivals - 1)
    assert.strictEqual(names.at(-1), `high-${ageingArrivals}`)
  })
})
