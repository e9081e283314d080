/**
 * What this process remembers of instances that have left memory: enough to answer a repeated start at once. Older ones are looked up in the derived history.
 *
 * Bounded; the oldest is forgotten first.
 */
import type { InstanceId, StreamSequence } from "../../shared/protocol/Token.ts"
import type { WorkflowSummary } from "../../shared/protocol/Workflow.ts"

export const finishedMax = 50_000

export interface Finished {
  readonly summary: typeof WorkflowSummary.Type
  /** Fingerprint of the start request: the same id with other content is a conflict. */
  readonly content: string | undefined
  readonly sequence: StreamSequence
}

export class FinishedInstances {
  readonly #byId = new Map<InstanceId, Finished>()

  get size(): number {
    return this.#byId.size
  }

  get(instance: InstanceId): Finished | undefined {
    return this.#byId.get(instance)
  }

  add(instance: InstanceId, finished: Finished): void {
    this.#byId.delete(instance)
    this.#byId.set(instance, finished)
    if (this.#byId.size <= finishedMax) return
    const oldest = this.#byId.keys().next()
    if (oldest.done !== true) this.#byId.delete(oldest.value)
  }

  /** An instance that runs again. */
  remove(instance: InstanceId): void {
    this.#byId.delete(instance)
  }

  /** Oldest first. */
  values(): IterableIterator<Finished> {
    return this.#byId.values()
  }
}
