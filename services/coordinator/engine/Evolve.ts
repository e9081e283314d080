/**
 * The fold: what a transition makes of a state. Pure, and with its parts the only place where a state changes. design/03 section 2.
 *
 * Kept true here: no decision is taken (whether a task is retried, skipped or blocked stands in the transition), so that a journal means the same to every later
 * version; the cost of a transition is that of the task it names and, where its end is handled, of its own edges. A transition that does not fit the graph
 * throws: the journal belongs to another definition.
 */
import type { Entry, Transition } from "../../../shared/protocol/Journal.ts"
import * as AttemptFold from "./AttemptFold.ts"
import * as NodeFold from "./NodeFold.ts"
import * as Requests from "./Requests.ts"
import * as RunFold from "./RunFold.ts"
import * as Semaphore from "./Semaphore.ts"
import type { TurnContext } from "./TurnContext.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** What the runs, the nodes and the attempts make of it stands in `RunFold`, `NodeFold` and `AttemptFold`. */
export const evolve = (state: WorkflowState, transition: Transition, turn: TurnContext): WorkflowState => {
  switch (transition._tag) {
    case "STARTED":
      return RunFold.started(state, transition, turn)
    case "RERUN":
      return RunFold.rerun(state, transition, turn)
    case "RECOVERED":
      return RunFold.recovered(state, transition)
    case "WORKFLOW": {
      const { reason, status } = transition
      const rests = status === "PAUSED" || status === "STOPPED" || status === "FAILED" || status === "SUCCEEDED"
      return {
        ...state,
        status,
        reason: reason ?? state.reason,
        endedAt: rests ? turn.at : undefined,
        timeoutAt: rests ? undefined : state.timeoutAt,
        limitAt: rests ? undefined : state.limitAt
      }
    }
    case "ENDING":
      return { ...state, ending: true, reason: transition.reason ?? state.reason }
    case "TIMED_OUT":
      // Both may strike: what the first has decided stays.
      return {
        ...state,
        timedOut: state.timedOut || transition.fail,
        ...(transition.limit === undefined ? { timeoutAt: undefined } : { limitAt: undefined })
      }
    case "RESOLVED":
      return {
        ...state,
        resolved: {
          status: transition.status,
          ...(transition.reason === undefined ? {} : { reason: transition.reason })
        }
      }
    case "POISONED":
      return RunFold.poisoned(state, transition, turn)
    case "RUN_TASK":
      return RunFold.taskRunAgain(state, transition, turn)
    case "REQUESTED": {
      const event = turn.cause[transition.of]
      if (event === undefined) throw new Error(`REQUESTED: there is no cause ${transition.of}`)
      return { ...state, requests: Requests.remember(state.requests, event) }
    }
    case "PARENT":
      return state.parent === undefined
        ? state
        : { ...state, parent: { instance: state.parent.instance, task: transition.task } }
    case "SERIAL":
      return { ...state, status: "SERIAL_WAIT", serial: transition.ticket, timeoutAt: undefined, limitAt: undefined }
    case "SERIAL_GRANTED":
      return { ...state, status: "RUNNING", timeoutAt: transition.due, limitAt: transition.limit }
    case "SLOT_QUEUED":
    case "SLOT_GIVEN":
    case "SLOT_REFUSED":
    case "SLOT_FREED":
    case "SLOT_LIMITED":
    case "SLOT_MOVED":
      return { ...state, semaphore: Semaphore.evolve(state.semaphore ?? Semaphore.empty, transition, turn.cause) }
    case "HANDLED":
      return NodeFold.handled(state, transition)
    case "SKIPPED":
      return NodeFold.skipped(state, transition)
    case "BLOCKED":
      return NodeFold.blocked(state, transition)
    case "PASSED":
      return NodeFold.passed(state, transition)
    case "ITEMS":
      return NodeFold.fannedOut(state, transition)
    case "FANNED_IN":
      return NodeFold.fannedIn(state, transition)
    case "FORCED_SUCCESS":
      return NodeFold.forcedSuccess(state, transition)
    case "SUBMITTED":
      return AttemptFold.submitted(state, transition.id, turn.at)
    default:
      return AttemptFold.evolve(state, transition, turn)
  }
}

/** `evolve` over all transitions of one entry. */
export const foldEntry = (state: WorkflowState, entry: Pick<Entry, "at" | "cause" | "transitions">): WorkflowState => {
  let next = state
  for (const transition of entry.transitions) next = evolve(next, transition, entry)
  return next
}
