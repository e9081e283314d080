/**
 * docs/reference/state-machines.md: the workflow's and the task's state machine, as the engine's own action objects behave.
 *
 * Kept true here: no cell is written by hand. Each is one call of the action object of that state with a representative event on a representative instance, and
 * says what the call did: states gone through, transitions, effects, follow-up events. What stands here is only how to get an instance into a state
 * (`columns`) and which events tell the cases of a state apart (`rows`); both are total by type, so a new state or event does not compile without one.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ChunkedVector from "../../services/coordinator/engine/ChunkedVector.ts"
import * as Compile from "../../services/coordinator/engine/Compile.ts"
import * as Decide from "../../services/coordinator/engine/Decide.ts"
import type { EngineEffect } from "../../services/coordinator/engine/EngineEffect.ts"
import * as Evolve from "../../services/coordinator/engine/Evolve.ts"
import { initial } from "../../services/coordinator/engine/Initial.ts"
import { isEnded } from "../../services/coordinator/engine/TaskState.ts"
import { taskStates } from "../../services/coordinator/engine/TaskStates.ts"
import { Turn } from "../../services/coordinator/engine/Turn.ts"
import type { Unit } from "../../services/coordinator/engine/Unit.ts"
import type { WorkflowState } from "../../services/coordinator/engine/WorkflowState.ts"
import { workflowStates } from "../../services/coordinator/engine/WorkflowStates.ts"
import { Definition, type DefinitionEncoded, DefinitionRef } from "../../shared/protocol/Definition.ts"
import { Placement } from "../../shared/protocol/Dispatch.ts"
import type {
  FactSource,
  LifecycleEvent,
  TaskLifecycleEvent,
  Transition,
  WorkflowLifecycleEvent
} from "../../shared/protocol/Journal.ts"
import { InstanceId, MemberId, Shard, StartupId, TaskInstanceId, TaskName } from "../../shared/protocol/Token.ts"
import { finalStatuses, type TaskStatus, type WorkflowStatus } from "../../shared/protocol/Workflow.ts"

type Spec = Omit<DefinitionEncoded["spec"], "tasks">
type TaskSpec = Omit<DefinitionEncoded["spec"]["tasks"][number], "name" | "type">

/** What a representative is made of: an instance with the task `a` (which `task` adds to) and `b` behind it. */
interface Shape {
  readonly spec?: Spec
  readonly task?: TaskSpec
  readonly hasOnlyA?: boolean
}
/** The row's wish goes before the column's. */
const merged = (column: Shape = {}, row: Shape = {}): Shape => ({
  ...column,
  ...row,
  spec: { ...column.spec, ...row.spec },
  task: { ...column.task, ...row.task }
})

// ---- representatives

const startedAt = 1_000_000
const at = startedAt + 500
const a = TaskName.make("a")
const attempt = TaskInstanceId.make("a:1:1")
const executor = MemberId.make("executor-1")
const startup = StartupId.make("s1")
const by: FactSource = { executor, startup, sequence: 5, at }
const placement = Schema.decodeSync(Placement)({
  executor,
  startup,
  pool: { namespace: "default", name: "default" },
  poolSession: 1,
  claimId: "claim-1",
  sandbox: "sandbox-1"
})
const ref = Schema.decodeSync(DefinitionRef)({ namespace: "default", name: "example", version: 1, hash: "h" })

const instance = ({ hasOnlyA = false, spec = {}, task = {} }: Shape): WorkflowState => {
  const definition = Schema.decodeSync(Definition)({
    metadata: { name: "example" },
    spec: {
      ...spec,
      tasks: [
        { name: "a", type: "shell", ...task },
        ...(hasOnlyA ? [] : [{ name: "b", type: "shell", dependsOn: ["a"] }])
      ]
    }
  })
  const graph = Compile.compile(definition, ref)
  if (Result.isFailure(graph)) throw new Error(JSON.stringify(graph.failure))
  return initial(graph.success, InstanceId.make("example-1"), Shard.make(0))
}

const after = (state: WorkflowState, ...events: ReadonlyArray<LifecycleEvent>): WorkflowState =>
  Decide.decide(state, events, startedAt).state
const put = (state: WorkflowState, ...transitions: ReadonlyArray<Transition>): WorkflowState =>
  transitions.reduce((next, transition) => Evolve.evolve(next, transition, { at: startedAt, cause: [] }), state)

const start: LifecycleEvent = { _tag: "WORKFLOW_START", start: { definition: ref } }
const registered: LifecycleEvent = { _tag: "TASK_DISPATCHED", id: attempt, placement }
const running: LifecycleEvent = { _tag: "TASK_RUNNING", id: attempt, by }

/** START, and the slots that it asks for. */
const begun = (state: WorkflowState, ...events: ReadonlyArray<LifecycleEvent>): WorkflowState => {
  const first = after(state, start)
  const running = first.status === "SERIAL_WAIT"
    ? after(first, { _tag: "WORKFLOW_SLOT_GRANTED", ticket: first.serial ?? "" })
    : first
  const { execution } = ChunkedVector.get(running.tasks, 0)
  const submitted = execution?.attempt.slot === "waiting"
    ? after(running, { _tag: "TASK_SLOT_GRANTED", id: attempt })
    : running
  return after(submitted, ...events)
}

/** A state that no event leads to: an action object stands for it all the same. */
const forced = (state: WorkflowState, status: TaskStatus): WorkflowState => {
  const index = state.graph.indexOf.get(a) ?? -1
  const task = ChunkedVector.get(state.tasks, index)
  if (task.execution === undefined) throw new Error("a has no attempt")
  const execution = { ...task.execution, status, attempt: { ...task.execution.attempt, status } }
  return { ...state, tasks: ChunkedVector.set(state.tasks, index, { ...task, status, execution }) }
}

// ---- what one call did

interface Outcome {
  /** States gone through, the first included. */
  readonly path: ReadonlyArray<string>
  readonly notes: ReadonlyArray<string>
}

const once = (texts: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(texts)]

const effectText = (effect: EngineEffect): string => {
  switch (effect._tag) {
    case "ArmTimer":
    case "CancelTimer":
      return `${effect._tag} ${effect.timer.slice(0, effect.timer.indexOf(":"))}`
    case "Send":
      return `Send ${effect.event._tag}`
    case "Alert":
      return `Alert ${effect.kind}`
    default:
      return effect._tag
  }
}

const transitionText = (transition: Transition): string => {
  switch (transition._tag) {
    case "INTENT":
      return `INTENT ${transition.intent}`
    case "SLOT":
      return `SLOT ${transition.slot}`
    case "SUBMITTED":
      return transition.id === attempt ? "SUBMITTED" : `SUBMITTED ${transition.id}`
    case "SKIPPED":
    case "BLOCKED":
    case "PASSED":
      return `${transition._tag} ${transition.task}`
    case "WORKFLOW":
      return transition.status
    default:
      return transition._tag
  }
}

const brief = (tag: string) =>
  tag === "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH"
    ? "TOPOLOGY"
    : tag.replace(/^WORKFLOW_/, "WF ").replace(/^TASK_/, "")

const isTaskEvent = (event: LifecycleEvent): event is TaskLifecycleEvent => Object.hasOwn(taskRows, event._tag)

const followUpText = (event: LifecycleEvent): string =>
  `${brief(event._tag)}${isTaskEvent(event) && event.id !== attempt ? ` ${event.id}` : ""}`

/** One call of one action object: follow-up events are told, not handled. */
const call = (
  state: WorkflowState,
  event: LifecycleEvent,
  statusOf: (state: WorkflowState) => string,
  act: (turn: Turn) => void
): Outcome => {
  const turn = new Turn(state, at)
  turn.cause.push(event)
  act(turn)
  const path = [statusOf(state)]
  let next = state
  for (const transition of turn.transitions) {
    next = Evolve.evolve(next, transition, turn)
    const status = statusOf(next)
    if (status !== path.at(-1)) path.push(status)
  }
  const followUps: Array<string> = []
  for (let more = turn.next(); more !== undefined; more = turn.next()) followUps.push(followUpText(more))
  const own = turn.transitions.map(transitionText).filter((text) => !path.slice(1).includes(text))
  return {
    path,
    notes: [
      ...once(own).map((text) => `\`${text}\``),
      ...once(turn.effects.map(effectText)).map((text) => `_${text}_`),
      ...once(followUps).map((text) => `then ${text}`)
    ]
  }
}

// ---- the task

interface Column {
  /** Tells representatives of one state apart. */
  readonly title?: string
  readonly shape?: Shape
  readonly build: (fresh: WorkflowState) => WorkflowState
}

interface Row<Event> {
  /** Tells rows of one event apart. */
  readonly when?: string
  readonly shape?: Shape
  /** After the column's own way into its state. */
  readonly prepare?: (state: WorkflowState) => WorkflowState
  readonly event: Event
}

const succeeded: LifecycleEvent = { _tag: "TASK_SUCCEEDED", id: attempt, by, outputs: {} }
const failed: LifecycleEvent = { _tag: "TASK_FAILED", id: attempt, by, reason: "exit 1" }
const fatal: LifecycleEvent = { _tag: "TASK_FATAL", id: attempt, by, reason: "exit 1" }

const taskColumns: Readonly<Record<TaskStatus, ReadonlyArray<Column>>> = {
  SUBMITTED: [
    { title: "on its lane", build: (fresh) => begun(fresh) },
    {
      title: "waits for a slot",
      shape: { task: { group: { name: "licence" } } },
      build: (fresh) => after(fresh, start)
    }
  ],
  DELAY_EXECUTION: [{ shape: { task: { delay: "1m" } }, build: (fresh) => begun(fresh) }],
  DISPATCHED: [{ build: (fresh) => begun(fresh, registered) }],
  RUNNING: [{ build: (fresh) => begun(fresh, registered, running) }],
  FAILED: [
    {
      title: "waits for its retry",
      shape: { task: { retry: { times: 5 } } },
      build: (fresh) => begun(fresh, registered, failed)
    },
    { build: (fresh) => begun(fresh, registered, fatal) }
  ],
  PAUSED: [{ build: (fresh) => begun(fresh, registered, { _tag: "TASK_PAUSED", id: attempt, by }) }],
  KILLED: [{ build: (fresh) => begun(fresh, registered, { _tag: "TASK_KILLED", id: attempt, by }) }],
  SUCCEEDED: [{ build: (fresh) => begun(fresh, registered, succeeded) }],
  FORCED_SUCCESS: [{ build: (fresh) => forced(begun(fresh, registered, succeeded), "FORCED_SUCCESS") }],
  FAILOVER: [
    { build: (fresh) => put(begun(fresh, registered), { _tag: "FAILOVER", id: attempt, reason: "executor gone" }) }
  ]
}

type TaskEvent<Tag extends TaskLifecycleEvent["_tag"]> = Extract<TaskLifecycleEvent, { readonly _tag: Tag }>

const timeout = (strategy: "warn" | "fail" | "warn-fail"): Shape => ({ task: { timeout: { after: "10s", strategy } } })
const runTimeout: TaskEvent<"TASK_TIMEOUT"> = { _tag: "TASK_TIMEOUT", id: attempt, kind: "run" }
const inRun = (status: WorkflowStatus) => (state: WorkflowState) => put(state, { _tag: "WORKFLOW", status })
/** For what has an executor, or may have one: elsewhere an intent does not exist. */
const intending = (intent: "pause" | "kill", timedOut = false) => (state: WorkflowState) => {
  const { execution } = unitOf(state)
  return execution.status === "DISPATCHED" || execution.status === "RUNNING"
    ? put(state, { _tag: "INTENT", id: attempt, intent, ...(timedOut ? { timedOut: true } : {}) })
    : state
}

const taskRows: { readonly [Tag in TaskLifecycleEvent["_tag"]]: ReadonlyArray<Row<TaskEvent<Tag>>> } = {
  TASK_START: [
    { event: { _tag: "TASK_START", id: attempt } },
    { when: "the run is READY_PAUSE", prepare: inRun("READY_PAUSE"), event: { _tag: "TASK_START", id: attempt } },
    { when: "the run is READY_STOP", prepare: inRun("READY_STOP"), event: { _tag: "TASK_START", id: attempt } }
  ],
  TASK_DISPATCH: [
    { event: { _tag: "TASK_DISPATCH", id: attempt } },
    {
      when: "with `dispatchTimeout`",
      shape: { task: { dispatchTimeout: "1m" } },
      event: { _tag: "TASK_DISPATCH", id: attempt }
    }
  ],
  TASK_SLOT_GRANTED: [
    {
      when: "in a group",
      shape: { task: { group: { name: "licence" } } },
      event: { _tag: "TASK_SLOT_GRANTED", id: attempt }
    }
  ],
  TASK_FORCE_START: [
    {
      when: "in a group",
      shape: { task: { group: { name: "licence" } } },
      event: { _tag: "TASK_FORCE_START", id: attempt }
    }
  ],
  TASK_DISPATCHED: [
    { event: { _tag: "TASK_DISPATCHED", id: attempt, placement } },
    {
      when: "with `timeout`",
      shape: timeout("fail"),
      event: { _tag: "TASK_DISPATCHED", id: attempt, placement }
    }
  ],
  TASK_RUNNING: [{ event: { _tag: "TASK_RUNNING", id: attempt, by } }],
  TASK_RUNTIME_CONTEXT_CHANGED: [
    {
      event: {
        _tag: "TASK_RUNTIME_CONTEXT_CHANGED",
        id: attempt,
        by: { ...by, sequence: 9 },
        context: { progress: 1 }
      }
    }
  ],
  TASK_TIMEOUT: [
    {
      when: "dispatch, retry left",
      shape: { task: { dispatchTimeout: "1m", retry: { times: 5 } } },
      event: { _tag: "TASK_TIMEOUT", id: attempt, kind: "dispatch" }
    },
    { when: "run, `warn`", shape: timeout("warn"), event: runTimeout },
    { when: "run, `fail`", shape: timeout("fail"), event: runTimeout },
    { when: "run, `warn-fail`", shape: timeout("warn-fail"), event: runTimeout }
  ],
  TASK_RETRY: [{ event: { _tag: "TASK_RETRY", id: attempt } }],
  TASK_PAUSE: [
    { event: { _tag: "TASK_PAUSE", id: attempt } },
    { when: "it is to be killed", prepare: intending("kill"), event: { _tag: "TASK_PAUSE", id: attempt } }
  ],
  TASK_PAUSED: [{ event: { _tag: "TASK_PAUSED", id: attempt, by } }],
  TASK_FAILOVER: [
    { when: "not known to be lost", event: { _tag: "TASK_FAILOVER", id: attempt, lost: false, reason: "silent" } },
    { when: "lost", event: { _tag: "TASK_FAILOVER", id: attempt, lost: true, reason: "gone" } },
    {
      when: "lost, it is to be paused",
      prepare: intending("pause"),
      event: { _tag: "TASK_FAILOVER", id: attempt, lost: true, reason: "gone" }
    },
    {
      when: "lost, it is to be killed",
      prepare: intending("kill"),
      event: { _tag: "TASK_FAILOVER", id: attempt, lost: true, reason: "gone" }
    }
  ],
  TASK_KILL: [{ event: { _tag: "TASK_KILL", id: attempt } }],
  TASK_KILLED: [
    { event: { _tag: "TASK_KILLED", id: attempt, by } },
    {
      when: "its time-out struck, retry left",
      shape: { task: { timeout: { after: "10s" }, retry: { times: 5 } } },
      prepare: intending("kill", true),
      event: { _tag: "TASK_KILLED", id: attempt, by }
    }
  ],
  TASK_SUCCEEDED: [{ event: { _tag: "TASK_SUCCEEDED", id: attempt, by, outputs: { rows: 1 } } }],
  TASK_FAILED: [
    {
      when: "retry left",
      shape: { task: { retry: { times: 5 } } },
      event: { _tag: "TASK_FAILED", id: attempt, by, reason: "exit 1" }
    },
    { when: "no retry left", event: { _tag: "TASK_FAILED", id: attempt, by, reason: "exit 1" } },
    {
      when: "no retry left, `failureStrategy: end`",
      shape: { spec: { failureStrategy: "end" } },
      event: { _tag: "TASK_FAILED", id: attempt, by, reason: "exit 1" }
    }
  ],
  TASK_FATAL: [
    {
      when: "whatever is left",
      shape: { task: { retry: { times: 5 } } },
      event: { _tag: "TASK_FATAL", id: attempt, by, reason: "wrong arguments" }
    }
  ]
}

const unitOf = (state: WorkflowState): Unit => {
  const unit = new Turn(state, at).unit(attempt)
  if (unit === undefined) throw new Error("a:1:1 is not the newest attempt of a")
  return unit
}
const taskStatus = (state: WorkflowState): TaskStatus => {
  const { execution } = ChunkedVector.get(state.tasks, state.graph.indexOf.get(a) ?? -1)
  if (execution === undefined) throw new Error("a has no attempt")
  return execution.status
}

const taskCell = (status: TaskStatus, column: Column, row: Row<TaskLifecycleEvent>): Outcome => {
  const reached = column.build(instance(merged(column.shape, row.shape)))
  const state = row.prepare === undefined ? reached : row.prepare(reached)
  if (taskStatus(state) !== status) throw new Error(`${status}: the representative is ${taskStatus(state)}`)
  // The method of this tag takes this event: TypeScript can't follow the pair through the lookup.
  const action = taskStates[status][row.event._tag] as (turn: Turn, unit: Unit, event: TaskLifecycleEvent) => void
  return call(state, row.event, taskStatus, (turn) => action(turn, unitOf(state), row.event))
}

// ---- the workflow

const pausing: LifecycleEvent = { _tag: "WORKFLOW_PAUSE" }
const stopping: LifecycleEvent = { _tag: "WORKFLOW_STOP" }
const others = ["b:1:1", "onCommit:1:1", "onCleanup:1:1"].map((id): LifecycleEvent => ({
  _tag: "TASK_SUCCEEDED",
  id: TaskInstanceId.make(id),
  outputs: {}
}))

/** Under way: `a` has an executor. */
const workflowColumns: Readonly<Record<WorkflowStatus, ReadonlyArray<Column>>> = {
  WAIT_TO_RUN: [{ build: (fresh) => fresh }],
  SERIAL_WAIT: [{ shape: { spec: { executionType: "serial-wait" } }, build: (fresh) => after(fresh, start) }],
  RUNNING: [{ build: (fresh) => begun(fresh, registered) }],
  READY_PAUSE: [{ build: (fresh) => begun(fresh, registered, pausing) }],
  READY_STOP: [{ build: (fresh) => begun(fresh, registered, stopping) }],
  PAUSED: [{ build: (fresh) => begun(fresh, registered, pausing, { _tag: "TASK_PAUSED", id: attempt, by }) }],
  STOPPED: [{
    build: (fresh) => begun(fresh, registered, stopping, { _tag: "TASK_KILLED", id: attempt, by }, ...others)
  }],
  FAILED: [{ build: (fresh) => begun(fresh, registered, fatal, ...others) }],
  SUCCEEDED: [{ build: (fresh) => begun(fresh, registered, succeeded, ...others) }],
  FAILOVER: [{ build: (fresh) => put(begun(fresh, registered), { _tag: "WORKFLOW", status: "FAILOVER" }) }]
}

/** `a` has ended this way, and its TOPOLOGY event is still to come. Where it has ended before, nothing changes. */
const endedAs = (end: Transition) => (state: WorkflowState): WorkflowState => {
  const { execution } = ChunkedVector.get(state.tasks, state.graph.indexOf.get(a) ?? -1)
  return state.endedAt !== undefined || execution === undefined || isEnded(execution) ? state : put(state, end)
}
const lastEnded = (end: Transition) => (state: WorkflowState): WorkflowState => {
  const before = state.active
  const ended = endedAs(end)(state)
  return ended === state || before === 0 ? state : put(ended, { _tag: "HANDLED", task: a })
}
const ends = {
  SUCCEEDED: { _tag: "SUCCEEDED", id: attempt, outputs: {} },
  FAILED: { _tag: "FAILED", id: attempt, reason: "exit 1" },
  KILLED: { _tag: "KILLED", id: attempt },
  PAUSED: { _tag: "PAUSED", id: attempt }
} as const satisfies Readonly<Record<string, Transition>>

/** `a` waits for a slot of its group instead, where it is under way. */
const waiting = (state: WorkflowState): WorkflowState => {
  const { execution } = ChunkedVector.get(state.tasks, state.graph.indexOf.get(a) ?? -1)
  return execution === undefined || isEnded(execution)
    ? state
    : put(forced(state, "SUBMITTED"), { _tag: "SLOT", id: attempt, slot: "waiting" })
}

const topology = { _tag: "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH", task: a } as const

const ticketOf = (state: WorkflowState): string => state.serial ?? "another"

type EventOf<Event> = (state: WorkflowState) => Event

const workflowRows: {
  readonly [Tag in WorkflowLifecycleEvent["_tag"]]: ReadonlyArray<
    Row<EventOf<Extract<WorkflowLifecycleEvent, { readonly _tag: Tag }>>>
  >
} = {
  WORKFLOW_START: [
    { event: () => ({ _tag: "WORKFLOW_START", start: { definition: ref } }) },
    {
      when: "with `timeout`",
      shape: { spec: { timeout: { after: "1h" } } },
      event: () => ({ _tag: "WORKFLOW_START", start: { definition: ref } })
    },
    {
      when: "of a serial definition",
      shape: { spec: { executionType: "serial-wait" } },
      event: () => ({ _tag: "WORKFLOW_START", start: { definition: ref } })
    },
    { when: "dry run", event: () => ({ _tag: "WORKFLOW_START", start: { definition: ref, dryRun: true } }) }
  ],
  TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH: [
    { when: "the task succeeded, `b` is behind it", prepare: endedAs(ends.SUCCEEDED), event: () => topology },
    ...(["SUCCEEDED", "FAILED", "KILLED", "PAUSED"] as const).map((end) => ({
      when: `the last task: ${end}`,
      shape: { hasOnlyA: true },
      prepare: endedAs(ends[end]),
      event: () => topology
    })),
    {
      when: "the last task: SUCCEEDED, with `onCommit`",
      shape: { hasOnlyA: true, spec: { onCommit: { type: "shell" } } },
      prepare: endedAs(ends.SUCCEEDED),
      event: () => topology
    },
    {
      when: "the last task: FAILED, with `onCleanup`",
      shape: { hasOnlyA: true, spec: { onCleanup: { type: "shell" } } },
      prepare: endedAs(ends.FAILED),
      event: () => topology
    }
  ],
  WORKFLOW_PAUSE: [{ event: () => ({ _tag: "WORKFLOW_PAUSE" }) }],
  WORKFLOW_PAUSED: [
    {
      when: "nothing is active",
      shape: { hasOnlyA: true },
      prepare: lastEnded(ends.PAUSED),
      event: () => ({ _tag: "WORKFLOW_PAUSED" })
    }
  ],
  WORKFLOW_STOP: [{ event: () => ({ _tag: "WORKFLOW_STOP" }) }],
  WORKFLOW_STOPPED: [
    {
      when: "nothing is active",
      shape: { hasOnlyA: true },
      prepare: lastEnded(ends.KILLED),
      event: () => ({ _tag: "WORKFLOW_STOPPED" })
    }
  ],
  WORKFLOW_SUCCEED: [
    { when: "a task is active", event: () => ({ _tag: "WORKFLOW_SUCCEED" }) },
    {
      when: "nothing is active",
      shape: { hasOnlyA: true },
      prepare: lastEnded(ends.SUCCEEDED),
      event: () => ({ _tag: "WORKFLOW_SUCCEED" })
    }
  ],
  WORKFLOW_FAILED: [
    {
      when: "nothing is active",
      shape: { hasOnlyA: true },
      prepare: lastEnded(ends.FAILED),
      event: () => ({ _tag: "WORKFLOW_FAILED", reason: "task a failed" })
    }
  ],
  WORKFLOW_FINALIZE: [{ event: () => ({ _tag: "WORKFLOW_FINALIZE" }) }],
  WORKFLOW_TIMEOUT: (["warn", "fail", "warn-fail"] as const).map((strategy) => ({
    when: `\`${strategy}\``,
    shape: { spec: { timeout: { after: "1h", strategy } } },
    event: (state) => ({ _tag: "WORKFLOW_TIMEOUT", run: state.run })
  })),
  WORKFLOW_SLOT_GRANTED: [
    {
      when: "its own ticket",
      shape: { spec: { executionType: "serial-wait" } },
      event: (state) => ({ _tag: "WORKFLOW_SLOT_GRANTED", ticket: ticketOf(state) })
    },
    {
      when: "a ticket of an earlier run",
      shape: { spec: { executionType: "serial-wait" } },
      event: () => ({ _tag: "WORKFLOW_SLOT_GRANTED", ticket: "earlier" })
    }
  ],
  WORKFLOW_SLOT_REFUSED: [
    {
      when: "its own ticket",
      shape: { spec: { executionType: "serial-discard" } },
      event: (state) => ({ _tag: "WORKFLOW_SLOT_REFUSED", ticket: ticketOf(state) })
    }
  ],
  WORKFLOW_FORCE_SUCCESS: [
    { when: "a failed task", event: () => ({ _tag: "WORKFLOW_FORCE_SUCCESS", task: a }) }
  ],
  WORKFLOW_RUN_TASK: [{ event: () => ({ _tag: "WORKFLOW_RUN_TASK", task: a }) }],
  WORKFLOW_FORCE_START: [
    { when: "a task that waits for a slot", prepare: waiting, event: () => ({ _tag: "WORKFLOW_FORCE_START", task: a }) }
  ],
  WORKFLOW_RECOVER: (["resume", "recover", "rerun"] as const).map((mode) => ({
    when: mode,
    event: () => ({ _tag: "WORKFLOW_RECOVER", mode })
  }))
}

const workflowCell = (
  status: WorkflowStatus,
  column: Column,
  row: Row<EventOf<WorkflowLifecycleEvent>>
): Outcome => {
  const reached = column.build(instance(merged(column.shape, row.shape)))
  const state = row.prepare === undefined ? reached : row.prepare(reached)
  if (state.status !== status) throw new Error(`${status}: the representative is ${state.status}`)
  const event = row.event(state)
  // As above.
  const action = workflowStates[status][event._tag] as (turn: Turn, event: WorkflowLifecycleEvent) => void
  return call(state, event, (reachedState) => reachedState.status, (turn) => action(turn, event))
}

// ---- the page

interface Table {
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<{
    readonly tag: string
    readonly when: string | undefined
    readonly cells: ReadonlyArray<Outcome>
  }>
}

const table = <Status extends string, Event>(
  columns: Readonly<Record<Status, ReadonlyArray<Column>>>,
  rows: Readonly<Record<string, ReadonlyArray<Row<Event>>>>,
  cell: (status: Status, column: Column, row: Row<Event>) => Outcome
): Table => {
  // Object.keys forgets the keys' type.
  const statuses = Object.keys(columns) as Array<Status>
  const all = statuses.flatMap((status) => columns[status].map((column) => ({ status, column })))
  return {
    columns: all.map(({ column, status }) => column.title === undefined ? status : `${status}, ${column.title}`),
    rows: Object.entries(rows).flatMap(([tag, list]) =>
      list.map((row) => ({
        tag,
        when: row.when,
        cells: all.map(({ column, status }) => cell(status, column, row))
      }))
    )
  }
}

export const taskTable = (): Table =>
  table(taskColumns, taskRows as Readonly<Record<string, ReadonlyArray<Row<TaskLifecycleEvent>>>>, taskCell)
export const workflowTable = (): Table =>
  table(
    workflowColumns,
    workflowRows as Readonly<Record<string, ReadonlyArray<Row<EventOf<WorkflowLifecycleEvent>>>>>,
    workflowCell
  )

const ignored = "·"
const cellText = ({ notes, path }: Outcome): string =>
  [...(path.length > 1 ? [`→ **${path.slice(1).join(" → ")}**`] : []), ...notes].join("<br>") || ignored

/** Columns that say the same from top to bottom are one. */
const markdown = ({ columns, rows }: Table): ReadonlyArray<string> => {
  const groups = new Map<string, Array<number>>()
  columns.forEach((_, i) => {
    const texts = rows.map(({ cells }) => cells[i] === undefined ? "" : cellText(cells[i])).join("\n")
    groups.set(texts, [...groups.get(texts) ?? [], i])
  })
  const shown = [...groups.values()]
  return [
    `| event | ${shown.map((group) => group.map((i) => columns[i]).join("<br>")).join(" | ")} |`,
    `|---|${shown.map(() => "---|").join("")}`,
    ...rows.map(({ cells, tag, when }) => {
      const texts = shown.map(([i = 0]) => cells[i] === undefined ? "" : cellText(cells[i]))
      return `| **${brief(tag)}**${when === undefined ? "" : `<br>${when}`} | ${texts.join(" | ")} |`
    })
  ]
}

/** Arrows from what the table says: each step of a path, labelled with the events that take it. */
const diagram = ({ rows }: Table, first: string, isLast: (status: string) => boolean): ReadonlyArray<string> => {
  const arrows = new Map<string, Set<string>>()
  const met = new Set<string>()
  for (const { cells, tag } of rows) {
    for (const { path } of cells) {
      // What is passed through within one turn is no step of its own, but for FAILOVER, which exists only there.
      const steps = path.filter((status, i) => i === 0 || i === path.length - 1 || status === "FAILOVER")
      steps.forEach((status, i) => {
        met.add(status)
        const to = steps[i + 1]
        if (to === undefined) return
        const arrow = `${status} --> ${to}`
        arrows.set(arrow, (arrows.get(arrow) ?? new Set()).add(brief(tag)))
      })
    }
  }
  return [
    "```mermaid",
    "stateDiagram-v2",
    `  [*] --> ${first}`,
    ...[...arrows].map(([arrow, labels]) => `  ${arrow} : ${[...labels].join(", ")}`),
    ...[...met].filter(isLast).map((status) => `  ${status} --> [*]`),
    "```"
  ]
}

const taskEnds: ReadonlySet<string> = new Set<TaskStatus>([
  "SUCCEEDED",
  "FORCED_SUCCESS",
  "FAILED",
  "KILLED",
  "PAUSED"
])
const workflowEnds: ReadonlySet<string> = finalStatuses

/** The page. */
export const page = (): string => {
  const workflow = workflowTable()
  const task = taskTable()
  return [
    "<!-- Made by `npm run docs` from services/coordinator/engine. Do not edit. -->",
    "",
    "# State machines",
    "",
    "How a workflow instance and its tasks go from state to state. Every cell and every arrow is what the engine did when this page was made: the action object",
    "of the state was called with the event, on an instance with the tasks `a` and, behind it, `b`.",
    "",
    "## How to read the tables",
    "",
    `- \`${ignored}\`: acknowledged and ignored, nothing is written. **→ STATE**: the states gone through.`,
    "- `TRANSITION`: what else the journal records ([journal.md](journal.md)). _Effect_: what is done after the journal has the entry. then EVENT: a follow-up, handled in the same turn.",
    "- An event that names an attempt which is not its task's newest does not reach these tables (a slot that comes for one is given back). Neither does a fact from an executor that does",
    "  not hold the attempt.",
    "- TOPOLOGY is `TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH`: a task has ended, and its successors or the end of the run are looked for. WF is short for WORKFLOW.",
    "",
    "## Workflow",
    "",
    ...diagram(workflow, "WAIT_TO_RUN", (status) => workflowEnds.has(status)),
    "",
    "Nothing leads to FAILOVER: an owner that takes an instance over does again what is outstanding. A state that rests may be left again by RECOVER.",
    "",
    ...markdown(workflow),
    "",
    "## Task",
    "",
    ...diagram(task, "SUBMITTED", (status) => taskEnds.has(status)),
    "",
    "A task that is skipped, blocked or passed has no attempt and is in none of these states. FAILED is left again only while a retry is to come. A pause or kill of a task that an executor has is an intent",
    "until the executor's fact arrives. WF FORCE_SUCCESS, an event of the workflow, makes a FAILED or KILLED task of a run that rests FORCED_SUCCESS.",
    "",
    ...markdown(task),
    ""
  ].join("\n")
}
