import { assert, it } from "@effect/vitest"
import type { Offered } from "../../shared/plugin/PlacementPolicy.ts"
import { InstanceId, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import { WaitingTasks } from "./WaitingTasks.ts"

const entry = (priority: number, team = "a", taskPriority = 5): Offered => ({
  lane: "ready",
  shard: Shard.make(0),
  instance: InstanceId.make("i"),
  taskInstanceId: TaskInstanceId.make("t:1:1"),
  priority,
  taskPriority,
  team,
  place: 0
})

it("a higher priority or another team has a better claim, an equal or lower one has not", () => {
  const waiting = new WaitingTasks()
  assert.isFalse(waiting.hasBetterThan(entry(5)))
  waiting.offered(entry(5))
  assert.isFalse(waiting.hasBetterThan(entry(5)))
  assert.isTrue(waiting.hasBetterThan(entry(4)))
  assert.isTrue(waiting.hasBetterThan(entry(5, "b")))
  waiting.offered(entry(9))
  assert.isTrue(waiting.hasBetterThan(entry(5)))
  waiting.taken(entry(9))
  assert.isFalse(waiting.hasBetterThan(entry(5)))
  waiting.taken(entry(5))
  assert.isFalse(waiting.hasBetterThan(entry(0, "b")))
})
