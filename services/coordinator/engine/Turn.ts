/**
 * One turn of an instance while it is being decided: the state so far, what has changed, what is to be done, and the follow-up events that wait.
 *
 * Kept true here: the state moves only by transitions, each of which is recorded; events from outside are handled one after the other, each with all its
 * follow-ups (in the order they were published) before the next, so that it makes no difference in how many turns a sequence of events arrives.
 * Local to one call of `decide`: nothing outside ever sees it change.
 */
import type { Placement } from "../../../shared/protocol/Dispatch.ts"
import type { LifecycleEvent, Transition } from "../../../shared/protocol/Journal.ts"
import type { EpochMs, TaskInstanceId } from "../../../shared/protocol/Token.ts"
import * as AttemptId from "./AttemptId.ts"
import * as ChunkedVector from "./ChunkedVector.ts"
import type { EngineEffect } from "./EngineEffect.ts"
import * as Evolve from "./Evolve.ts"
import type { TaskState } from "./TaskState.ts"
import type { TurnContext } from "./TurnContext.ts"
import { executionOf, type Unit } from "./Unit.ts"
import { nodeAt, type TaskNode } from "./WorkflowGraph.ts"
import type { WorkflowState } from "./WorkflowState.ts"

/** `left`: tasks that may still follow in it. `type`: after the first only tasks of this type, `undefined`: only one task. */
export interface Offer {
  readonly placement: Placement
  readonly type: string | undefined
  left: number
}

export class Turn implements TurnContext {
  state: WorkflowState
  readonly at: EpochMs
  readonly cause: Array<LifecycleEvent> = []
  readonly transitions: Array<Transition> = []
  readonly effects: Array<EngineEffect> = []
  /** Position among the causes of the event from outside that is being handled. */
  of = 0
  /** The sandbox that the fact being handled offers to what comes next. */
  offer: Offer | undefined
  /** Nodes that were skipped or blocked: their successors have still to be looked at. */
  readonly settled: Array<number> = []
  readonly #queue: Array<LifecycleEvent> = []
  #head = 0

  constructor(state: WorkflowState, at: EpochMs) {
    this.state = state
    this.at = at
  }

  apply(transition: Transition): void {
    this.transitions.push(transition)
    this.state = Evolve.evolve(this.state, transition, this)
  }

  emit(effect: EngineEffect): void {
    this.effects.push(effect)
  }

  /** A follow-up, handled after those that wait already. */
  publish(event: LifecycleEvent): void {
    this.#queue.push(event)
  }

  next(): LifecycleEvent | undefined {
    const event = this.#queue[this.#head]
    if (event === undefined) return undefined
    this.#head += 1
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0
      this.#head = 0
    }
    return event
  }

  /** `of` for a transition that follows `event`: its place among the causes, or nothing for a follow-up of the engine's own. */
  from(event: LifecycleEvent): { readonly of: number } | undefined {
    return this.cause[this.of] === event ? { of: this.of } : undefined
  }

  task(node: TaskNode): TaskState {
    return ChunkedVector.get(this.state.tasks, node.index)
  }

  /** The unit that holds this attempt as its newest, or nothing: the event is about the past (or about nothing we know). */
  unit(id: TaskInstanceId): Unit | undefined {
    const index = AttemptId.indexOf(this.state.graph, id)
    if (index < 0) return undefined
    const node = nodeAt(this.state.graph, index)
    const task = this.task(node)
    const item = AttemptId.itemOf(node, id)
    const execution = executionOf(task, item)
    return execution === undefined || execution.attempt.id !== id ? undefined : { node, item, execution }
  }
}
