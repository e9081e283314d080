/**
 * Spans of runs and of the attempts of their tasks, made when they end (shared/telemetry/Spans), from what the journal has acknowledged.
 *
 * All of a run are children of its `START.traceparent`: of whoever submitted it, or of the run's own first span when nobody gave one, whose ids follow from the instance. So another
 * coordinator that goes on with the run goes on with the trace, and what tasks send themselves (they have it as `TRACEPARENT`) stands in the same one.
 */
import type { Transition } from "../../shared/protocol/Journal.ts"
import { finalStatuses, type WorkflowStatus } from "../../shared/protocol/Workflow.ts"
import * as Spans from "../../shared/telemetry/Spans.ts"
import * as CoordinatorMeters from "./CoordinatorMeters.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"

const definitionOf = ({ graph }: WorkflowState): string => `${graph.definition.namespace}/${graph.definition.name}`

/** The journal has an entry of the instance with these transitions, after which its state is `state`. */
export const recorded = (
  spans: Spans.Spans,
  state: WorkflowState,
  transitions: ReadonlyArray<Transition>
): void => {
  for (const transition of transitions) {
    switch (transition._tag) {
      case "SUCCEEDED":
      case "FAILED":
      case "KILLED":
      case "PAUSED":
      case "FAILOVER":
        attemptEnded(spans, state, transition)
        break
      case "WORKFLOW":
        if (finalStatuses.has(transition.status)) runEnded(spans, state, transition.status, transition.reason)
        break
      case "POISONED":
        runEnded(spans, state, "FAILED", transition.reason)
        break
    }
  }
}

const attemptEnded = (
  spans: Spans.Spans,
  state: WorkflowState,
  { _tag: how, id }: Extract<Transition, { readonly _tag: "SUCCEEDED" | "FAILED" | "KILLED" | "PAUSED" | "FAILOVER" }>
): void => {
  const found = CoordinatorMeters.attemptOf(state, id)
  if (found === undefined) return
  const { attempt, node } = found
  if (attempt.endedAt === undefined) return
  spans.ended({
    name: `task ${definitionOf(state)}/${node.name}`,
    kind: "internal",
    parent: state.start?.traceparent,
    startedAt: attempt.submittedAt,
    endedAt: attempt.endedAt,
    attributes: {
      "heddle.instance": state.instance,
      "heddle.task": node.name,
      "heddle.task.id": id,
      "heddle.task.type": node.type,
      "heddle.attempt": attempt.n,
      "heddle.state": how,
      "heddle.executor": attempt.executor,
      "heddle.exit_code": attempt.exitCode
    },
    events: [["dispatched", attempt.dispatchedAt], ["started", attempt.startedAt]],
    error: how === "SUCCEEDED" || how === "PAUSED" ? undefined : attempt.reason ?? how
  })
}

const runEnded = (
  spans: Spans.Spans,
  state: WorkflowState,
  status: WorkflowStatus,
  reason: string | undefined
): void => {
  const { endedAt, instance, run, start, startedAt } = state
  if (endedAt === undefined) return // it goes on already: this very entry has run it again
  spans.ended({
    name: `run ${definitionOf(state)}`,
    kind: "server",
    parent: start?.traceparent,
    isParent: run === 1 && start?.traceparent === Spans.rootOf(instance),
    startedAt,
    endedAt,
    attributes: {
      "heddle.instance": instance,
      "heddle.definition": definitionOf(state),
      "heddle.definition.version": state.graph.definition.version,
      "heddle.run": run,
      "heddle.shard": state.shard,
      "heddle.state": status
    },
    error: status === "FAILED" ? reason ?? status : undefined
  })
}
