/**
 * What a coordinator counts of its runs, their tasks and its journal (shared/telemetry/Catalog).
 *
 * Kept true here: runs and tasks are counted from what the journal has acknowledged, entry by entry, so what an owner counted is what it recorded, and a take-over, which reads
 * entries again, counts none of them twice. The engine stays pure: it knows nothing of this.
 */
import type { Transition } from "../../shared/protocol/Journal.ts"
import type { TaskInstanceId } from "../../shared/protocol/Token.ts"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import type { Counter, Histogram, Meters } from "../../shared/telemetry/Meters.ts"
import * as AttemptId from "./engine/AttemptId.ts"
import * as ChunkedVector from "./engine/ChunkedVector.ts"
import type { Attempt } from "./engine/TaskState.ts"
import type { TaskNode, WorkflowGraph } from "./engine/WorkflowGraph.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"
import type { JournalAppend } from "./JournalAppend.ts"
import type { TurnSource } from "./Ledger.ts"

type RunEnd = typeof Catalog.runEnds[number]
type TaskEnd = typeof Catalog.taskEnds[number]

const isRunEnd = (status: string): status is RunEnd => (Catalog.runEnds as ReadonlyArray<string>).includes(status)

interface OfDefinition {
  readonly started: Counter
  readonly ended: Readonly<Record<RunEnd, Counter>>
}

/** The attempt of this id, and the task that it is of. */
export const attemptOf = (
  state: WorkflowState,
  id: TaskInstanceId
): { readonly node: TaskNode; readonly attempt: Attempt } | undefined => {
  const node = state.graph.nodes[AttemptId.indexOf(state.graph, id)]
  if (node === undefined) return undefined
  const task = ChunkedVector.get(state.tasks, node.index)
  const item = AttemptId.itemOf(node, id)
  const execution = item < 0 || task.items === undefined
    ? task.execution
    : ChunkedVector.get(task.items.executions, item)
  if (execution === undefined) return undefined
  const attempt = execution.attempt.id === id ? execution.attempt : execution.past.find((one) => one.id === id)
  return attempt === undefined ? undefined : { node, attempt }
}

export class CoordinatorMeters {
  readonly #meters: Meters
  readonly #seconds: () => number
  readonly #submitted: Counter
  readonly #started: Counter
  readonly #ended: Readonly<Record<TaskEnd, Counter>>
  readonly #retries: Counter
  readonly #scheduleToStart: Histogram
  readonly #durations: Readonly<Record<RunEnd, Histogram>>
  readonly #definitions = new WeakMap<WorkflowGraph, OfDefinition>()

  /** `seconds`: a clock that only goes forward. */
  constructor(meters: Meters, seconds: () => number) {
    this.#meters = meters
    this.#seconds = seconds
    this.#submitted = meters.counter(Catalog.tasksSubmitted, {})
    this.#started = meters.counter(Catalog.tasksStarted, {})
    const ended = (state: TaskEnd): Counter => meters.counter(Catalog.tasksEnded, { state })
    this.#ended = {
      SUCCEEDED: ended("SUCCEEDED"),
      FAILED: ended("FAILED"),
      KILLED: ended("KILLED"),
      PAUSED: ended("PAUSED"),
      FAILOVER: ended("FAILOVER")
    }
    this.#retries = meters.counter(Catalog.taskRetries, {})
    this.#scheduleToStart = meters.histogram(Catalog.scheduleToStart, {})
    const duration = (state: RunEnd): Histogram => meters.histogram(Catalog.runDuration, { state })
    this.#durations = {
      SUCCEEDED: duration("SUCCEEDED"),
      FAILED: duration("FAILED"),
      STOPPED: duration("STOPPED"),
      PAUSED: duration("PAUSED")
    }
  }

  /** The journal has an entry of the instance with these transitions, after which its state is `state`. */
  recorded(state: WorkflowState, transitions: ReadonlyArray<Transition>): void {
    for (const transition of transitions) {
      switch (transition._tag) {
        case "STARTED":
        case "RERUN":
        case "RECOVERED":
        case "RUN_TASK":
          this.#of(state.graph).started.total++
          break
        case "WORKFLOW":
          if (isRunEnd(transition.status)) this.#runEnded(state, transition.status)
          break
        case "POISONED":
          this.#runEnded(state, "FAILED")
          break
        case "SUBMITTED":
          this.#submitted.total++
          break
        case "DISPATCHED":
          this.#started.total++
          this.#waited(state, transition.id)
          break
        case "BEGUN":
        case "CHILD":
          this.#started.total++
          break
        case "FAILED":
          if (transition.due !== undefined) this.#retries.total++
          this.#ended.FAILED.total++
          break
        case "SUCCEEDED":
        case "KILLED":
        case "PAUSED":
        case "FAILOVER":
          this.#ended[transition._tag].total++
          break
      }
    }
  }

  #runEnded(state: WorkflowState, status: RunEnd): void {
    this.#of(state.graph).ended[status].total++
    if (state.endedAt !== undefined) this.#durations[status].observe((state.endedAt - state.startedAt) / 1_000)
  }

  #waited(state: WorkflowState, id: TaskInstanceId): void {
    const found = attemptOf(state, id)
    if (found === undefined || found.node.delayMs > 0 || found.attempt.dispatchedAt === undefined) return
    const { attempt, attempt: { dispatchedAt } } = found
    this.#scheduleToStart.observe(
      Math.max(0, dispatchedAt - (attempt.slotAt ?? attempt.submittedAt)) / 1_000
    )
  }

  #of(graph: WorkflowGraph): OfDefinition {
    let known = this.#definitions.get(graph)
    if (known === undefined) {
      const definition = `${graph.definition.namespace}/${graph.definition.name}`
      const ended = (state: RunEnd): Counter => this.#meters.counter(Catalog.runsEnded, { definition, state })
      known = {
        started: this.#meters.counter(Catalog.runsStarted, { definition }),
        ended: {
          SUCCEEDED: ended("SUCCEEDED"),
          FAILED: ended("FAILED"),
          STOPPED: ended("STOPPED"),
          PAUSED: ended("PAUSED")
        }
      }
      this.#definitions.set(graph, known)
    }
    return known
  }

  /** The same journal, counted. */
  journal(of: JournalAppend): JournalAppend {
    const outcome = (outcome: "acked" | "fenced" | "unknown"): Counter =>
      this.#meters.counter(Catalog.ledgerAppends, { outcome })
    const outcomes = { Acked: outcome("acked"), Fenced: outcome("fenced"), Unknown: outcome("unknown") }
    const bytes = this.#meters.counter(Catalog.journalBytes, {})
    const took = this.#meters.histogram(Catalog.ledgerSeconds, {})
    const seconds = this.#seconds
    return {
      last: of.last,
      append: (body, expectedLastSequence, timeoutMs, done, reply) => {
        const since = seconds()
        bytes.total += body.length // characters: to count bytes would mean to look at each
        of.append(body, expectedLastSequence, timeoutMs, (result) => {
          took.observe(seconds() - since)
          outcomes[result._tag].total++
          done(result)
        }, reply)
      }
    }
  }

  /** The same turns, counted. */
  turns(of: TurnSource): TurnSource {
    const records = this.#meters.histogram(Catalog.ledgerRecords, {})
    return {
      collect: (limits) => {
        const turn = of.collect(limits)
        if (turn !== undefined) records.observe(turn.records.length)
        return turn
      }
    }
  }
}
