import { assert, it } from "@effect/vitest"
import { InstanceId, Shard, StreamSequence } from "../../shared/protocol/Token.ts"
import type { WorkflowStatus } from "../../shared/protocol/Workflow.ts"
import { checkpointedMax, type Finished, FinishedInstances } from "./FinishedInstances.ts"

const finished = (name: string, state: WorkflowStatus = "SUCCEEDED", shard = 0): readonly [InstanceId, Finished] => [
  InstanceId.make(name),
  {
    summary: {
      instanceId: InstanceId.make(name),
      state,
      definition: { name: "d", version: 1 },
      startedAt: "2026-11-22T00:00:00.000Z"
    },
    shard: Shard.make(shard),
    content: undefined,
    sequence: StreamSequence.make(1)
  }
]

it("remembers a bounded number of ended instances of each shard, and every paused one", () => {
  const known = new FinishedInstances(4_000)
  known.add(...finished("rests", "PAUSED"))
  known.add(...finished("elsewhere", "FAILED", 1))
  for (let i = 0; i < checkpointedMax + 10; i++) known.add(...finished(`i-${i}`))
  assert.strictEqual(known.size, checkpointedMax + 2)
  assert.isUndefined(known.get(InstanceId.make("i-9")))
  assert.isDefined(known.get(InstanceId.make("i-10")))
  assert.isDefined(known.get(InstanceId.make("rests")))
  assert.strictEqual(known.checkpointed(Shard.make(0)).length, checkpointedMax + 1)
  // run again, and ended again: once in the list, as the newest
  known.add(...finished("i-10", "FAILED"))
  assert.strictEqual(known.checkpointed(Shard.make(0)).at(-1)?.summary.state, "FAILED")
  assert.strictEqual(known.size, checkpointedMax + 2)
})

it("forgets a shard that has gone, and nothing else", () => {
  const known = new FinishedInstances(8)
  known.add(...finished("a"))
  known.add(...finished("p", "PAUSED"))
  known.add(...finished("b", "STOPPED", 1))
  known.forget(Shard.make(0))
  assert.deepStrictEqual([...known.values()].map(({ summary }) => summary.instanceId), [InstanceId.make("b")])
  assert.deepStrictEqual(known.checkpointed(Shard.make(0)), [])
})
