import { assert, it } from "@effect/vitest"
import * as Decide from "../../services/coordinator/engine/Decide.ts"
import { initial } from "../../services/coordinator/engine/Initial.ts"
import { graphOf } from "../../services/coordinator/engine/ScriptedRun.ts"
import { WorkflowEventBus } from "../../services/coordinator/WorkflowEventBus.ts"
import { turnEventsMax, WorkflowEventBusCoordinator } from "../../services/coordinator/WorkflowEventBusCoordinator.ts"
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import { InstanceId, SessionId, Shard } from "../../shared/protocol/Token.ts"

// design/conformance-workflow.md, D05, at the seam between buses and ledger: what one append may carry of each instance.
it("D05 a workflow with 10,000 pending events delays another by its quantum at most", () => {
  const shard = Shard.make(0)
  const buses = new WorkflowEventBusCoordinator({
    now: () => 1,
    listener: {
      recorded: () => {},
      sent: () => {},
      told: () => {},
      defect: (_, cause) => {
        throw cause
      }
    }
  })
  buses.open(shard, SessionId.make(1))
  const graph = graphOf({ tasks: [{ name: "a", type: "shell" }] })
  const bus = (name: string) => {
    const made = new WorkflowEventBus(initial(graph, InstanceId.make(name), shard))
    buses.registerWorkflowEventBus(made)
    return made
  }
  const start: LifecycleEvent = { _tag: "WORKFLOW_START", start: { definition: graph.definition } }
  const busy = bus("busy")
  const other = bus("other")
  assert.isUndefined(Decide.refusal(busy.state, start))
  for (let i = 0; i < 10_000; i++) assert.isTrue(buses.publish(busy, { event: start }))
  let handledBefore = -1
  buses.publish(other, { event: start, settled: () => void (handledBefore = 10_000 - busy.length) })
  const turn = buses.collect({ recordsMax: 1_024, bytesMax: 512 * 1024 })
  turn?.acked(1)
  assert.isAtLeast(handledBefore, 0, "the other was handled in the first append")
  assert.isAtMost(handledBefore, turnEventsMax)
  // and the busy one gets its whole line, quantum by quantum
  for (let sequence = 2; busy.length > 0; sequence++) {
    const before = busy.length
    buses.collect({ recordsMax: 1_024, bytesMax: 512 * 1024 })?.acked(sequence)
    assert.isBelow(busy.length, before)
  }
})
