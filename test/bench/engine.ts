/**
 * The engine alone: `npm run bench -- engine [row ...]`, or `node test/bench/engine.ts`. How much of one core do decide and evolve take per fact, how long takes the
 * replay of a long journal, how long a large definition to compile, and does the end of one task cost more in a larger graph?
 *
 * Budget (design/01 section 4): 5 to 10 microseconds per fact, so that 3,000 five-task workflows a second leave a coordinator's core most of its time. Compile of
 * 10,000 tasks with 20,000 edges: under 100 ms. Single figures are the best of several; a machine that does other things as well makes all of them larger.
 */
import * as Result from "effect/Result"
import { hash as cryptoHash } from "node:crypto"
import * as Chain from "../../services/coordinator/engine/Chain.ts"
import * as Compile from "../../services/coordinator/engine/Compile.ts"
import * as Decide from "../../services/coordinator/engine/Decide.ts"
import { initial } from "../../services/coordinator/engine/Initial.ts"
import * as Replay from "../../services/coordinator/engine/Replay.ts"
import type * as WorkflowGraph from "../../services/coordinator/engine/WorkflowGraph.ts"
import type { WorkflowState } from "../../services/coordinator/engine/WorkflowState.ts"
import type { Definition } from "../../shared/protocol/Definition.ts"
import type { Placement } from "../../shared/protocol/Dispatch.ts"
import type { Entry, LifecycleEvent } from "../../shared/protocol/Journal.ts"
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
  Result.getOrThrow(Compile.compile(brand<Definition>({ metadata: { name: "bench" }, spec: { tasks } }), ref))
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
let journal: Array<string> | undefined
const sha256 = (text: string) => cryptoHash("sha256", text, "hex")

/** Runs one instance to its end; with `seal` entries are stringified and hashed as the shell does. */
const run = (graph: WorkflowGraph.WorkflowGraph, offer: boolean, seal: boolean): WorkflowState => {
  let state = initial(graph, brand("wf-1"), brand(0))
  // Read by position: a queue that is shifted would take the time of the wide graphs.
  const ready: Array<TaskInstanceId> = []
  const placed: Array<TaskInstanceId> = []
  let readyAt = 0
  let placedAt = 0
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
    journal?.push(sealed.text)
  }
  turn(start)
  for (;;) {
    const done = placed[placedAt]
    if (done !== undefined) {
      placedAt += 1
      turn(succeeded(done, offer))
      continue
    }
    const next = ready[readyAt]
    if (next === undefined) return state
    readyAt += 1
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
      Math.round(facts / ms * 1_000).toString().padStart(8)
    } events/s ${Math.round(times / ms * 1_000).toString().padStart(7)} runs/s` +
      (seal ? ` ${Math.round(bytes / times)} journal bytes/run` : "")
  )
}

/** The least time of several, in ms: what it takes when nothing else is in the way. */
const best = (times: number, what: () => void): number => {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < times; i++) {
    const from = performance.now()
    what()
    least = Math.min(least, performance.now() - from)
  }
  return least
}
const row = (name: string, text: string) => console.log(`${name.padEnd(52)} ${text}`)

const task = (name: string, dependsOn: ReadonlyArray<string> = [], more: object = {}) => ({
  name,
  type: "noop",
  dependsOn,
  ...more
})
const wide = (width: number) => [
  task("root"),
  ...Array.from({ length: width }, (_, i) => task(`t${i}`, ["root"])),
  task("join", Array.from({ length: width }, (_, i) => `t${i}`))
]

const decideRows = (): void => {
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
    Compile.compile(
      brand<Definition>({ metadata: { name: "bench" }, spec: { params: { day: "today" }, tasks: withExpression } }),
      ref
    )
  )
  measure("diamond of 5, two expressions a task", expressive, 10_000, true, false)
  measure("1 -> 1,000 -> 1", graphOf(wide(1_000)), 30, false, false)
  const items = [task("list", [], { forEach: { items: "params.n", parallelism: 50 } })]
  const itemsGraph = Result.getOrThrow(
    Compile.compile(
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
}

const replayRows = (): void => {
  // Registered and succeeded: two entries a task, and one for the start.
  const graph = graphOf(wide(4_998))
  const texts: Array<string> = []
  journal = texts
  chain = Chain.genesis
  const live = run(graph, false, true)
  journal = undefined
  const entries = texts.map((text): Entry => JSON.parse(text))
  if (Replay.replay(entries, graph)?.status !== live.status) throw new Error("replay differs")
  const mb = (texts.reduce((sum, text) => sum + text.length, 0) / 1e6).toFixed(1)
  const name = `replay of ${entries.length} entries`
  row(`${name}, fold`, `${best(10, () => Replay.replay(entries, graph)).toFixed(1).padStart(8)} ms`)
  row(
    `${name}, JSON.parse and fold`,
    `${best(10, () => Replay.replay(texts.map((text): Entry => JSON.parse(text)), graph)).toFixed(1).padStart(8)} ms ${
      mb.padStart(8)
    } MB`
  )
  row(`${name}, hash chain`, `${best(5, () => Chain.verifyChain(entries, sha256)).toFixed(1).padStart(8)} ms`)
  row(
    `${name}, verify (decides all again)`,
    `${best(3, () => Replay.verify(entries, graph)).toFixed(1).padStart(8)} ms`
  )
}

const many = Array.from(
  { length: 10_000 },
  (_, i) =>
    task(
      `t${i}`,
      i === 0 ? [] : i === 1 ? ["t0"] : [`t${i - 1}`, `t${i >> 1}`].filter((name, k, all) => all.indexOf(name) === k)
    )
)

const compileRows = (): void => {
  row(
    "compile 10,000 tasks, 20,000 edges",
    `${best(10, () => graphOf(many)).toFixed(1).padStart(8)} ms, first ${compileFirst.toFixed(1)} ms`
  )
  const reading = many.map((one, i) =>
    i === 0
      ? one
      : Object.assign({}, one, { with: { run: `echo \${{ tasks.t0.state }} \${{ tasks.t${i - 1}.state }}` } })
  )
  row(
    "the same with 20,000 expressions",
    `${best(3, () => graphOf(reading)).toFixed(1).padStart(8)} ms`
  )
}
// Before anything else ran: what the first put of a large definition takes in a process that just started.
const compileFirst = best(1, () => graphOf(many))

/** The end of one task (`decide` of its SUCCEEDED, and what follows), in a graph of chains of ten of which one is under way. */
const completionUs = (count: number): number => {
  const graph = graphOf(
    Array.from({ length: count }, (_, i) => task(`t${i}`, i % 10 === 0 ? [] : [`t${i - 1}`]))
  )
  const first = brand<TaskInstanceId>("t0:1:1")
  let state = Decide.decide(initial(graph, brand("wf-1"), brand(0)), [start], 1_000).state
  state = Decide.decide(state, [{ _tag: "TASK_DISPATCHED", id: first, placement }], 1_001).state
  const times = 5_000
  const ends = () => {
    for (let i = 0; i < times; i++) {
      if (Decide.decide(state, [succeeded(first, false)], 1_002).transitions.length !== 3) throw new Error("not ended")
    }
  }
  ends()
  return best(8, ends) * 1_000 / times
}

const completionRows = (): void => {
  const small = completionUs(100)
  for (const count of [100, 1_000, 10_000]) {
    const us = count === 100 ? small : completionUs(count)
    row(
      `one task ends, graph of ${count} tasks`,
      `${us.toFixed(2).padStart(8)} us       ${(us / small).toFixed(2)} x that of 100`
    )
  }
}

const rows: Readonly<Record<string, () => void>> = {
  decide: decideRows,
  replay: replayRows,
  compile: compileRows,
  completion: completionRows
}
const words = process.argv.slice(2).filter((word) => word !== "engine")
const unknown = words.filter((word) => rows[word] === undefined)
if (unknown.length > 0) {
  console.error(`bench engine: no row is called ${unknown.join(", ")}; there are ${Object.keys(rows).join(", ")}`)
  process.exitCode = 2
} else for (const [name, print] of Object.entries(rows)) if (words.length === 0 || words.includes(name)) print()
