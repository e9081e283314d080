import { assert, it } from "@effect/vitest"
import * as Result from "effect/Result"
import type { Entry } from "../../shared/protocol/Journal.ts"
import { InstanceId, SessionId, Shard } from "../../shared/protocol/Token.ts"
import * as Compile from "./engine/Compile.ts"
import * as Initial from "./engine/Initial.ts"
import type * as WorkflowGraph from "./engine/WorkflowGraph.ts"
import type { Turn } from "./Ledger.ts"
import { WorkflowEventBus } from "./WorkflowEventBus.ts"
import { decideAttemptsMax, WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

const definition = {
  namespace: "default",
  name: "two",
  version: 1,
  hash: "h"
} as WorkflowGraph.WorkflowGraph["definition"]
const compiled = Compile.compile(
  {
    metadata: { name: definition.name },
    spec: { tasks: [{ name: "a", type: "noop" as never }, { name: "b", type: "noop" as never }] } // names are checked elsewhere
  } as never,
  definition
)
const limits = { recordsMax: 100, bytesMax: 100_000 }
const shard = Shard.make(0)

const setUp = () => {
  const defects: Array<string> = []
  const sent: Array<string> = []
  const recorded: Array<string> = []
  const buses = new WorkflowEventBusCoordinator({
    now: () => 1_000,
    listener: {
      recorded: (bus, effects) =>
        void recorded.push(`${bus.instance} ${effects.map((effect) => effect._tag).join("+")}`),
      sent: (bus, effects) => void sent.push(`${bus.instance} ${effects.map((effect) => effect._tag).join("+")}`),
      told: () => {},
      defect: (bus, cause) => void defects.push(`${bus.instance}: ${cause instanceof Error ? cause.message : ""}`)
    }
  })
  buses.open(shard, SessionId.make(1))
  const bus = (name: string): WorkflowEventBus => {
    const graph = Result.getOrThrow(compiled)
    const made = new WorkflowEventBus(Initial.initial(graph, InstanceId.make(name), shard))
    buses.registerWorkflowEventBus(made)
    return made
  }
  const start = (to: WorkflowEventBus, settled: Array<string>): void =>
    void buses.publish(to, {
      event: { _tag: "WORKFLOW_START", start: { definition } },
      settled: (settlement) => void settled.push(`${to.instance} ${settlement}`)
    })
  return { buses, bus, start, defects, sent, recorded }
}
const entriesOf = (turn: Turn | undefined): ReadonlyArray<Entry> =>
  (turn?.records ?? []).map((text) => JSON.parse(text) as Entry)
/** A state at which `decide` throws, as often as it is tried: as a defect in the engine would. */
const sabotage = (bus: WorkflowEventBus): void => {
  const { params } = bus.state
  let reads = 0
  bus.state = {
    ...bus.state,
    get params() {
      if (reads++ < decideAttemptsMax) throw new Error("a defect")
      return params
    }
  }
}

it("a defect in decide fails its instance with the reason in the journal, the others of the same append go on", () => {
  const { bus, buses, defects, recorded, start } = setUp()
  const settled: Array<string> = []
  const [before, poisoned, after] = [bus("before"), bus("poisoned"), bus("after")]
  sabotage(poisoned)
  for (const one of [before, poisoned, after]) start(one, settled)
  const turn = buses.collect(limits)
  assert.deepStrictEqual(defects, ["poisoned: a defect"])
  const entries = entriesOf(turn)
  assert.deepStrictEqual(entries.map(({ instance }) => instance), [before.instance, poisoned.instance, after.instance])
  assert.include(JSON.stringify(entries[1]?.transitions), "the engine failed: a defect")
  turn?.acked(20)
  assert.deepStrictEqual(settled, ["before Recorded", "poisoned Recorded", "after Recorded"])
  assert.strictEqual(poisoned.committed.status, "FAILED")
  assert.strictEqual(poisoned.committed.poisoned, true)
  assert.strictEqual(before.committed.status, "RUNNING")
  assert.strictEqual(after.committed.status, "RUNNING")
  assert.isTrue(recorded.some((line) => line.startsWith("poisoned") && line.includes("Finalize")))
})

it("an instance that can't even be poisoned takes nothing: its senders are told, the others go on", () => {
  const { bus, buses, defects, start } = setUp()
  const settled: Array<string> = []
  const [broken, fine] = [bus("broken"), bus("fine")]
  broken.state = undefined as never // nothing can be read of it
  start(broken, settled)
  start(fine, settled)
  const turn = buses.collect(limits)
  assert.isTrue(defects.some((line) => line.includes("it takes no events")), defects.join())
  turn?.acked(21)
  assert.deepStrictEqual(settled, ["broken Lost", "fine Recorded"])
  assert.strictEqual(fine.committed.status, "RUNNING")
})

it("the tasks of a turn are told when its append goes out, the rest when it is recorded", () => {
  const { bus, buses, recorded, sent, start } = setUp()
  const settled: Array<string> = []
  start(bus("one"), settled)
  const turn = buses.collect(limits)
  assert.deepStrictEqual(
    sent,
    [],
    "nothing before the append has gone out: what follows it on the connection can't overtake it"
  )
  turn?.sent?.()
  assert.deepStrictEqual(sent, ["one Dispatch+Dispatch"])
  assert.deepStrictEqual([recorded, settled], [[], []], "nobody is answered by a turn that is not recorded")
  turn?.acked(20)
  assert.deepStrictEqual(recorded, ["one Dispatch+Dispatch"])
  assert.deepStrictEqual(settled, ["one Recorded"])
})
