/**
 * The engine alone: `node test/bench/engine.ts`. How much of one core do decide and evolve take per fact, and how long does a large definition take to compile?
 *
 * Budget (design/01 section 4): 5 to 10 microseconds per fact, so that 3,000 five-task workflows a second leave a coordinator's core most of its time.
 */
import * as Result from "effect/Result"
import { hash as cryptoHash } from "node:crypto"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Decide from "../../services/coordinator/engine/Decide.ts"
import { initial } from "../../services/coordinator/engine/Initial.ts"
import * as WorkflowGraph from "../../services/coordinator/engine/WorkflowGraph.ts"
import type { WorkflowState } from "../../services/coordinator/engine/WorkflowState.ts"
import type { Definition } from "../../shared/protocol/Definition.ts"
import type { Placement } from "../../shared/protocol/Dispatch.ts"
import type { LifecycleEvent } from "../../shared/protocol/Journal.ts"
import type { TaskInstanceId } from "../../shared/protocol/Token.ts"

// Test data: the brands of ids are not checked here.
const brand = <A>(value: unknown) => value as A
const ref = brand<WorkflowGraph.WorkflowGraph["definition"]>({
  namespace: "default",
  name: "bench",
  version: 1,
  hash: "h"
})
const graphOf = (tasks: ReadonlyArray<unknown>): WorkflowGraph.WorkflowGraph =>
  Result.getOrThrow(WorkflowGraph.compile(brand<Definition>({ metadata: { name: "bench" }, spec: { tasks } }), ref))
const placement = brand<Placement>({
  executor: "ex-1",
  startup: "s1",
  pool: { namespace: "default", name: "default" },
  poolSession: 7,
  claimId: "claim-1",
  sandbox: "sandbox-1"
})
const by = brand<NonNullable<Extract<LifecycleEvent, { _tag: "TASK_RUNNING" }>["by"]>>({
  executor: "ex-1",
  startup: "s1",
  sequence: 1,
  at: 1
})
const start: LifecycleEvent = { _tag: "WORKFLOW_START", start: { definition: ref } }
const succeeded = (id: TaskInstanceId, offer: boolean): LifecycleEvent => ({
  _tag: "TASK_SUCCEEDED",
  id,
  by,
  startedAt: 1,
  exitCode: 0,
  ...(offer ? { offer: 8 } : {}),
  outputs: {}
})

let facts = 0
let bytes = 0
let chain = Chain.genesis
const sha256 = (text: string) => cryptoHash("sha256", text, "hex")

/** Runs one instance to its end; with `seal` entries are stringified and hashed as the shell does. */
const run = (graph: WorkflowGraph.WorkflowGraph, offer: boolean, seal: boolean): WorkflowState => {
  let state = initial(graph, brand("wf-1"), brand(0))
  const ready: Array<TaskInstanceId> = []
  const placed: Array<TaskInstanceId> = []
  let n = 0
  const turn = (event: LifecycleEvent) => {
    const decision = Decide.decide(state, [event], 1_000 + n)
    state = decision.state
    facts += 1
    for (const effect of decision.effects) if (effect._tag === "Dispatch") ready.push(effect.entry.taskInstanceId)
    for (const transition of decision.transitions) if (transition._tag === "DISPATCHED") placed.push(transition.id)
    if (!seal) return
    n += 1
    const sealed = Chain.sealEntry(chain, {
      _tag: "Entry",
      shard: state.shard,
      instance: state.instance,
      n,
      prev: brand(n),
      at: 1_000,
      cause: decision.cause,
      transitions: decision.transitions,
      effects: decision.effects.map((effect) => effect.id)
    }, sha256)
    chain = sealed.hash
    bytes += sealed.text.length
  }
  turn(start)
  for (;;) {
    const done = placed.shift()
    if (done !== undefined) {
      turn(succeeded(done, offer))
      continue
    }
    const next = ready.shift()
    if (next === undefined) return state
    turn({ _tag: "TASK_DISPATCHED", id: next, placement })
  }
}

const measure = (name: string, graph: WorkflowGraph.WorkflowGraph, times: number, offer: boolean, seal: boolean) => {
  for (let i = 0; i < Math.max(3, times / 10); i++) run(graph, offer, seal)
  facts = 0
  bytes = 0
  const from = performance.now()
  for (let i = 0; i < times; i++) {
    if (run(graph, offer, seal).status !== "SUCCEEDED") throw new Error(`${name} did not succeed`)
  }
  const ms = performance.now() - from
  console.log(
    `${name.padEnd(52)} ${(ms * 1_000 / facts).toFixed(2).padStart(8)} us/event ${
      Math.round(times / ms * 1_000).toString().padStart(8)
    } runs/s` +
      (seal ? ` ${Math.round(bytes / times)} journal bytes/run` : "")
  )
}

const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: object = {}) => ({
  name,
  type: "noop",
  dependsOn,
  ...more
})
const diamond = [task("a"), task("b", ["a"]), task("c", ["a"]), task("d", ["a"]), task("e", ["b", "c", "d"])]
measure("diamond of 5", graphOf(diamond), 20_000, false, false)
measure("diamond of 5, hand-off", graphOf(diamond), 20_000, true, false)
measure("diamond of 5, entries stringified and hashed", graphOf(diamond), 20_000, false, true)
measure("diamond of 5, hand-off, stringified and hashed", graphOf(diamond), 20_000, true, true)
const withExpression = diamond.map((one) =>
  Object.assign({}, one, {
    with: { run: "echo ${{ params.day }} ${{ instance.id }}" },
    params: { x: 1 }
  })
)
const expressive = Result.getOrThrow(
  WorkflowGraph.compile(
    brand<Definition>({ metadata: { name: "bench" }, spec: { params: { day: "today" }, tasks: withExpression } }),
    ref
  )
)
measure("diamond of 5, two expressions a task", expressive, 10_000, true, false)
const wide = [
  task("root"),
  ...Array.from({ length: 1_000 }, (_, i) => task(`t${i}`, ["root"])),
  task("join", Array.from({ length: 1_000 }, (_, i) => `t${i}`))
]
measure("1 -> 1,000 -> 1", graphOf(wide), 30, false, false)
const items = [task("list", [], { forEach: { items: "params.n", parallelism: 50 } })]
const itemsGraph = Result.getOrThrow(
  WorkflowGraph.compile(
    brand<Definition>({
      metadata: { name: "bench" },
      spec: { params: { n: Array.from({ length: 1_000 }, (_, i) => i) }, tasks: items }
    }),
    ref
  )
)
measure("forEach of 1,000, parallelism 50", itemsGraph, 30, false, false)
measure(
  "chain of 1,000, hand-off",
  graphOf(Array.from({ length: 1_000 }, (_, i) => task(`t${i}`, i === 0 ? [] : [`t${i - 1}`]))),
  30,
  true,
  false
)

const many = Array.from(
  { length: 10_000 },
  (_, i) =>
    task(
      `t${i}`,
      i === 0 ? [] : i === 1 ? ["t0"] : [`t${i - 1}`, `t${i >> 1}`].filter((name, k, all) => all.indexOf(name) === k)
    )
)
for (let i = 0; i < 3; i++) {
  const from = performance.now()
  graphOf(many)
  console.log(`compile 10,000 tasks, 20,000 edges: ${(performance.now() - from).toFixed(1)} ms`)
}
const reading = many.map((one, i) =>
  i === 0 ? one : Object.assign({}, one, { with: { run: `echo \${{ tasks.t0.state }} \${{ tasks.t${i - 1}.state }}` } })
)
const from = performance.now()
graphOf(reading)
console.log(`the same with 20,000 expressions: ${(performance.now() - from).toFixed(1)} ms`)
