/**
 * One step of a replay in words: when, why, what changed (from which state to which), what was to be done then.
 *
 * Only what the entry itself says; the states before it are kept in `States`, which each step moves on.
 */
import type { LifecycleEvent, Transition } from "../shared/protocol/Journal.ts"
import type { Recorded } from "./Journal.ts"
import * as Output from "./Output.ts"
import * as RunResult from "./RunResult.ts"

/** State of the workflow (key ``) and of each attempt or task, as the steps so far have told it. */
export type States = Map<string, string>

const reasonOf = (value: { readonly reason?: string }) => value.reason === undefined ? "" : `: ${value.reason}`

export const causeText = (event: LifecycleEvent): string => {
  const by = "by" in event && event.by !== undefined ? ` told by ${event.by.executor}` : ""
  switch (event._tag) {
    case "WORKFLOW_START":
      return `WORKFLOW_START of ${RunResult.definitionName(event.start.definition)}${
        event.start.fork === undefined ? "" : `, a fork of ${event.start.fork.instance} at ${event.start.fork.seq}`
      }`
    case "WORKFLOW_RECOVER":
      return `WORKFLOW_RECOVER (${event.mode})${reasonOf(event)}`
    case "WORKFLOW_PAUSE":
    case "WORKFLOW_STOP":
    case "WORKFLOW_STOPPED":
    case "WORKFLOW_FAILED":
      return `${event._tag}${reasonOf(event)}`
    case "WORKFLOW_TIMEOUT":
      return `WORKFLOW_TIMEOUT of run ${event.run}${event.limit === undefined ? "" : " (the system's maximum)"}`
    case "WORKFLOW_PAUSED":
    case "WORKFLOW_SUCCEED":
    case "WORKFLOW_FINALIZE":
      return event._tag
    case "TOPOLOGY_LOGICAL_TRANSACTION_WITH_TASK_FINISH":
      return `${event._tag} ${event.task}`
    case "WORKFLOW_FORCE_SUCCESS":
    case "WORKFLOW_RUN_TASK":
    case "WORKFLOW_FORCE_START":
      return `${event._tag} ${event.task}${reasonOf(event)}`
    case "WORKFLOW_SLOT_GRANTED":
    case "WORKFLOW_SLOT_REFUSED":
      return `${event._tag} ${event.ticket}`
    case "SLOT_CHECK":
      return `SLOT_CHECK of ${event.from}`
    case "SLOT_LIMIT":
      return `SLOT_LIMIT ${event.slots === undefined ? "as definitions say" : `${event.slots} slots`}`
    case "SLOT_PRIORITY":
      return `SLOT_PRIORITY ${event.ticket} of ${event.from}: ${event.priority}`
    case "SLOT_ACQUIRE":
    case "SLOT_RELEASE":
      return `${event._tag} ${event.ticket} of ${event.from}`
    case "TASK_DISPATCHED":
      return `TASK_DISPATCHED ${event.id} to ${event.placement.executor}, sandbox ${event.placement.sandbox} of ${event.placement.pool.namespace}/${event.placement.pool.name}`
    case "TASK_TIMEOUT":
      return `TASK_TIMEOUT ${event.id} (${event.kind})`
    case "TASK_FAILOVER":
      return `TASK_FAILOVER ${event.id}: ${event.reason}`
    case "TASK_FAILED":
    case "TASK_FATAL":
      return `${event._tag} ${event.id}${
        event.exitCode === undefined ? "" : `, exit code ${event.exitCode}`
      }: ${event.reason}${by}`
    default:
      return `${event._tag} ${event.id}${by}`
  }
}

const statusTags = new Set([
  "SUBMITTED",
  "DELAYED",
  "DISPATCHED",
  "RUNNING",
  "SUCCEEDED",
  "FAILED",
  "KILLED",
  "PAUSED",
  "FAILOVER"
])

const move = (states: States, key: string, to: string, style: Output.Style): string => {
  const from = states.get(key)
  states.set(key, to)
  return from === undefined || from === to ? style.state(to) : `${from} -> ${style.state(to)}`
}

export const transitionText = (transition: Transition, states: States, style: Output.Style): string => {
  switch (transition._tag) {
    case "STARTED":
    case "RERUN":
    case "RECOVERED":
    case "RUN_TASK":
      return `workflow  ${transition._tag}`
    case "WORKFLOW":
      return `workflow  ${move(states, "", transition.status, style)}${reasonOf(transition)}`
    case "ENDING":
      return `workflow  nothing starts any more${reasonOf(transition)}`
    case "TIMED_OUT":
      return `workflow  ${transition.limit === undefined ? "time-out" : "the system's maximum run time"}${
        transition.fail ? ", will be FAILED" : ""
      }`
    case "RESOLVED":
      return `workflow  will be ${transition.status}${reasonOf(transition)}`
    case "POISONED":
      return `workflow  given up: ${transition.reason}`
    case "REQUESTED":
      return "workflow  the request's id is remembered"
    case "PARENT":
      return `workflow  goes on for ${transition.task} of its parent`
    case "BEGUN":
      return `${transition.id}  ${move(states, transition.id, "RUNNING", style)}`
    case "CHILD":
      return `${transition.id}  ${move(states, transition.id, "DISPATCHED", style)}: its child is ${transition.child}`
    case "SERIAL":
      return `workflow  ${move(states, "", "SERIAL_WAIT", style)}`
    case "SERIAL_GRANTED":
      return `workflow  ${move(states, "", "RUNNING", style)}: it is its turn`
    case "SLOT_QUEUED":
      return "a ticket is queued"
    case "SLOT_GIVEN":
    case "SLOT_REFUSED":
    case "SLOT_FREED":
      return `${transition.from} ${transition.ticket}  ${transition._tag}`
    case "SLOT":
      return `${transition.id}  slot of its group: ${transition.slot}`
    case "FORCED_SUCCESS":
      return `${transition.task}  ${move(states, transition.task, "FORCED_SUCCESS", style)}`
    case "HANDLED":
      return `${transition.task}  handled`
    case "SKIPPED":
    case "BLOCKED":
    case "PASSED":
      return `${transition.task}  ${move(states, transition.task, transition._tag, style)}: ${transition.why}`
    case "ITEMS":
      return `${transition.task}  ${transition.values.length} items`
    case "FANNED_IN":
      return `${transition.task}  ${move(states, transition.task, transition.status, style)} (all items)${
        reasonOf(transition)
      }`
    case "SLOT_LIMITED":
      return "slots set"
    case "SLOT_MOVED":
      return "another place in the line"
    case "INTENT":
      return `${transition.id}  intent ${transition.intent}`
    case "WARNED":
      return `${transition.id}  time-out, warned`
    case "ENQUEUED":
      return `${transition.id}  on its pool's lane`
    case "CONTEXT":
      return `${transition.id}  context changed`
    default: {
      const retry = transition._tag === "FAILED" && transition.due !== undefined
        ? `, again at ${new Date(transition.due).toISOString()}`
        : ""
      const more = "reason" in transition && transition.reason !== undefined ? `: ${transition.reason}` : ""
      const handOff = transition._tag === "DISPATCHED" && transition.handOff === true ? " (hand-off)" : ""
      return `${transition.id}  ${
        statusTags.has(transition._tag) ? move(states, transition.id, transition._tag, style) : transition._tag
      }${handOff}${more}${retry}`
    }
  }
}

/** The lines of one step; `previousAt` is the step before it, epoch milliseconds. */
export const lines = (
  recorded: Recorded,
  previousAt: number | undefined,
  states: States,
  style: Output.Style
): ReadonlyArray<string> => {
  const { entry, ledger, sequence } = recorded
  const since = previousAt === undefined ? "" : `  +${Output.duration(Math.max(0, entry.at - previousAt))}`
  return [
    `${style.bold(`step ${entry.n}`)}  ${new Date(entry.at).toISOString()}${since}  ${
      style.dim(`journal ${sequence}, ledger ${ledger}`)
    }`,
    ...entry.cause.map((event) => `  why      ${causeText(event)}`),
    ...entry.cause.flatMap((event) =>
      event._tag === "WORKFLOW_START"
        ? (event.start.fork?.tasks ?? []).map(({ as, task }) => `  taken    ${task}  ${style.state(as)}`)
        : []
    ),
    ...entry.transitions.map((transition) => `  change   ${transitionText(transition, states, style)}`),
    ...(entry.effects.length === 0 ? [] : [`  effects  ${entry.effects.join(", ")}`])
  ]
}
