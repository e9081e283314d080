/**
 * Two runs beside each other: where the engine first decided otherwise, and which tasks ended otherwise. Pure.
 *
 * Kept true here: tasks that run at the same time may end in any order, so decisions are compared task by task, and the first difference is the earliest of theirs; what only says
 * how far a task is (dispatched, running) is no decision; times are shown and never count as a difference. What a fork took over was decided elsewhere: of such a task only state and
 * outputs are compared.
 */
import type { LifecycleEvent, Transition } from "../shared/protocol/Journal.ts"
import type { TaskView, WorkflowView } from "../shared/protocol/Workflow.ts"
import type { Recorded } from "./Journal.ts"
import * as RunResult from "./RunResult.ts"

export interface Side {
  readonly view: WorkflowView
  readonly entries: ReadonlyArray<Recorded>
}
export interface Both<A> {
  readonly a: A
  readonly b: A
}
export interface Decision {
  readonly step: number
  readonly seq: number
  readonly at: string
  readonly decided: string
}
export interface TaskDifference {
  readonly task: string
  readonly what: "state" | "attempts" | "outputs" | "time" | "task"
  /** Of outputs: which. */
  readonly path?: string
  readonly a: unknown
  readonly b: unknown
}
export interface RunDiff {
  /** Nothing but times, if anything. */
  readonly isSame: boolean
  readonly definition?: Both<string>
  readonly state?: Both<string>
  readonly params: ReadonlyArray<{ readonly path: string; readonly a: unknown; readonly b: unknown }>
  /** `task`: of which task (or item of a fan-out), nothing: of the run itself. One side has none when it ended before. */
  readonly firstDecision?: { readonly task?: string; readonly a?: Decision; readonly b?: Decision }
  readonly tasks: ReadonlyArray<TaskDifference>
}

/** A task that took half as long again, and long enough to be noticed, is shown. */
export const slowerRatio = 1.5
export const slowerMsMin = 100

const sorted = (_key: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : a > b ? 1 : 0))
    : value
const textOf = (value: unknown): string | undefined => JSON.stringify(value, sorted)
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The places at which two values differ, the deepest that both have. */
export const differences = (
  a: unknown,
  b: unknown,
  path = ""
): ReadonlyArray<{ readonly path: string; readonly a: unknown; readonly b: unknown }> => {
  if (textOf(a) === textOf(b)) return []
  if (!isRecord(a) || !isRecord(b)) return [{ path, a, b }]
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted().flatMap((key) =>
    differences(a[key], b[key], path === "" ? key : `${path}.${key}`)
  )
}

const progress: ReadonlySet<Transition["_tag"]> = new Set<Transition["_tag"]>([
  "REQUESTED",
  "ENQUEUED",
  "DELAYED",
  "DISPATCHED",
  "RUNNING",
  "BEGUN",
  "CONTEXT",
  "CHILD",
  "SLOT",
  "SERIAL",
  "SERIAL_GRANTED",
  "HANDLED",
  "INTENT",
  "PARENT"
])

/** What it is about (`` for the run) and what was decided, without times and ids that every run has of its own. */
export const decided = (
  transition: Transition,
  cause: ReadonlyArray<LifecycleEvent>
): { readonly key: string; readonly text: string } | undefined => {
  if (progress.has(transition._tag)) return undefined
  const of = "of" in transition && transition.of !== undefined ? cause[transition.of] : undefined
  const why = "why" in transition
    ? transition.why
    : "reason" in transition && transition.reason !== undefined
    ? transition.reason
    : of !== undefined && "reason" in of
    ? of.reason
    : undefined
  const reason = why === undefined ? "" : `: ${why}`
  if ("id" in transition) {
    const [task = "", run = "", attempt = "", item] = transition.id.split(":")
    const again = transition._tag === "FAILED" && transition.due !== undefined ? ", to be tried again" : ""
    return {
      key: item === undefined ? task : `${task}[${item}]`,
      text: `${transition._tag} (run ${run}, attempt ${attempt})${reason}${again}`
    }
  }
  const key = "task" in transition && transition._tag !== "PARENT" ? transition.task : ""
  switch (transition._tag) {
    case "WORKFLOW":
    case "RESOLVED":
    case "FANNED_IN":
      return { key, text: `${transition._tag === "RESOLVED" ? "will be " : ""}${transition.status}${reason}` }
    case "ITEMS":
      return { key, text: `${transition.values.length} items` }
    default:
      return { key, text: `${transition._tag}${reason}` }
  }
}

interface Told extends Decision {
  readonly key: string
  readonly order: number
}

const decisionsOf = (entries: ReadonlyArray<Recorded>): ReadonlyMap<string, ReadonlyArray<Told>> => {
  const found = new Map<string, Array<Told>>()
  let order = 0
  for (const { entry, sequence } of entries) {
    for (const transition of entry.transitions) {
      const decision = decided(transition, entry.cause)
      if (decision === undefined) continue
      const { key, text } = decision
      const of = found.get(key) ?? []
      found.set(key, of)
      of.push({
        key,
        order: order++,
        step: entry.n,
        seq: sequence,
        at: new Date(entry.at).toISOString(),
        decided: text
      })
    }
  }
  return found
}

const bare = (told: Told | undefined): Decision | undefined => {
  if (told === undefined) return undefined
  const { key: _, order: __, ...decision } = told
  return decision
}

/** Tasks that a fork took over from another run. */
const takenBy = ({ entries }: Side): ReadonlyArray<string> => {
  const start = entries[0]?.entry.cause.find((event) => event._tag === "WORKFLOW_START")
  return start?.start.fork?.tasks.map(({ task }) => task) ?? []
}

const firstDecision = (a: Side, b: Side, taken: ReadonlySet<string>): RunDiff["firstDecision"] => {
  const [ofA, ofB] = [decisionsOf(a.entries), decisionsOf(b.entries)]
  let first: { readonly key: string; readonly order: number; readonly a?: Told; readonly b?: Told } | undefined
  for (const key of new Set([...ofA.keys(), ...ofB.keys()])) {
    if (taken.has(key.replace(/\[.*$/u, ""))) continue
    const [inA, inB] = [ofA.get(key) ?? [], ofB.get(key) ?? []]
    for (let at = 0; at < Math.max(inA.length, inB.length); at++) {
      const [one, other] = [inA[at], inB[at]]
      if (one?.decided === other?.decided) continue
      const order = Math.min(one?.order ?? Infinity, other?.order ?? Infinity)
      if (first === undefined || order < first.order) {
        first = { key, order, ...(one === undefined ? {} : { a: one }), ...(other === undefined ? {} : { b: other }) }
      }
      break
    }
  }
  if (first === undefined) return undefined
  const [one, other] = [bare(first.a), bare(first.b)]
  return {
    ...(first.key === "" ? {} : { task: first.key }),
    ...(one === undefined ? {} : { a: one }),
    ...(other === undefined ? {} : { b: other })
  }
}

/** From the first start to the last end; `undefined` when it did not run or has not ended. */
export const durationOf = (task: TaskView): number | undefined => {
  const starts = task.attempts.flatMap(({ startedAt }) => startedAt === undefined ? [] : [Date.parse(startedAt)])
  const ends = task.attempts.flatMap(({ endedAt }) => endedAt === undefined ? [] : [Date.parse(endedAt)])
  return starts.length === 0 || ends.length < task.attempts.length
    ? undefined
    : Math.max(0, Math.max(...ends) - Math.min(...starts))
}

/** Long ones apart: one is much slower than the other. */
const isSlower = (a: number, b: number): boolean =>
  Math.abs(a - b) >= slowerMsMin && Math.max(a, b) >= slowerRatio * Math.min(a, b)

const taskDifferences = (a: TaskView, b: TaskView, isTaken: boolean): ReadonlyArray<TaskDifference> => {
  const task = a.name
  const found: Array<TaskDifference> = []
  const [stateA, stateB] = [a.state ?? "not run", b.state ?? "not run"]
  if (stateA !== stateB) found.push({ task, what: "state", a: stateA, b: stateB })
  if (a.attempts.length !== b.attempts.length && !isTaken) {
    found.push({ task, what: "attempts", a: a.attempts.length, b: b.attempts.length })
  }
  for (const { path, ...values } of differences(a.outputs ?? {}, b.outputs ?? {})) {
    found.push({ task, what: "outputs", path, ...values })
  }
  const [tookA, tookB] = [durationOf(a), durationOf(b)]
  if (!isTaken && tookA !== undefined && tookB !== undefined && isSlower(tookA, tookB)) {
    found.push({ task, what: "time", a: tookA, b: tookB })
  }
  return found
}

export const compare = (a: Side, b: Side): RunDiff => {
  const nameOf = ({ view }: Side) => RunResult.definitionName(view.definition)
  const taken = new Set<string>([...takenBy(a), ...takenBy(b)])
  const tasksOfB = new Map(b.view.tasks.map((task) => [task.name, task]))
  const names = new Set(a.view.tasks.map((task) => task.name))
  const tasks: ReadonlyArray<TaskDifference> = [
    ...a.view.tasks.flatMap((task) => {
      const other = tasksOfB.get(task.name)
      return other === undefined
        ? [{ task: task.name, what: "task" as const, a: task.state ?? "not run", b: undefined }]
        : taskDifferences(task, other, taken.has(task.name))
    }),
    ...b.view.tasks.flatMap((task) =>
      names.has(task.name)
        ? []
        : [{ task: task.name, what: "task" as const, a: undefined, b: task.state ?? "not run" }]
    )
  ]
  const params = differences(a.view.params, b.view.params)
  const decision = firstDecision(a, b, taken)
  const isOther = nameOf(a) !== nameOf(b)
  const endsOtherwise = a.view.state !== b.view.state
  return {
    isSame: !isOther && !endsOtherwise && params.length === 0 && decision === undefined &&
      tasks.every(({ what }) => what === "time"),
    ...(isOther ? { definition: { a: nameOf(a), b: nameOf(b) } } : {}),
    ...(endsOtherwise ? { state: { a: a.view.state, b: b.view.state } } : {}),
    params,
    ...(decision === undefined ? {} : { firstDecision: decision }),
    tasks
  }
}
