/**
 * What this process remembers of instances of its shards that have left memory: enough to list them and to answer a repeated start at once.
 *
 * Bounded: of the ended ones the newest `endedMax` of the mesh's number of shards together, the oldest of a shard forgotten first; the newest `checkpointedMax` of a shard
 * survive in its checkpoints, so that `workflow.list` shows them after a restart. Of paused ones every one is remembered, since somebody is expected to come back to them.
 * Older ones can be got, run again and replayed by their id (derived history), but are not listed. Follows design/02 "Workflows" (list).
 */
import type { InstanceId, Shard, StreamSequence } from "../../shared/protocol/Token.ts"
import type { WorkflowSummary } from "../../shared/protocol/Workflow.ts"

/** Ended instances remembered by a process that owns all shards. */
export const endedMax = 50_000
/** Ended instances of one shard that its checkpoint holds: 16,000 of a mesh of 64 shards. */
export const checkpointedMax = 250

export interface Finished {
  readonly summary: typeof WorkflowSummary.Type
  readonly shard: Shard
  /** Fingerprint of the start request: the same id with other content is a conflict. */
  readonly content: string | undefined
  readonly sequence: StreamSequence
}

interface OfShard {
  readonly paused: Map<InstanceId, Finished>
  /** Oldest first. */
  readonly ended: Map<InstanceId, Finished>
}

export class FinishedInstances {
  readonly #endedMax: number
  readonly #byId = new Map<InstanceId, Finished>()
  readonly #byShard = new Map<Shard, OfShard>()

  constructor(shardCount: number) {
    this.#endedMax = Math.max(checkpointedMax, Math.ceil(endedMax / shardCount))
  }

  get size(): number {
    return this.#byId.size
  }

  get(instance: InstanceId): Finished | undefined {
    return this.#byId.get(instance)
  }

  add(instance: InstanceId, finished: Finished): void {
    this.remove(instance)
    this.#byId.set(instance, finished)
    let shard = this.#byShard.get(finished.shard)
    if (shard === undefined) {
      shard = { paused: new Map(), ended: new Map() }
      this.#byShard.set(finished.shard, shard)
    }
    if (finished.summary.state === "PAUSED") {
      shard.paused.set(instance, finished)
      return
    }
    shard.ended.set(instance, finished)
    if (shard.ended.size <= this.#endedMax) return
    const oldest = shard.ended.keys().next()
    if (oldest.done !== true) this.remove(oldest.value)
  }

  /** An instance that runs again. */
  remove(instance: InstanceId): void {
    const known = this.#byId.get(instance)
    if (known === undefined) return
    this.#byId.delete(instance)
    const shard = this.#byShard.get(known.shard)
    shard?.paused.delete(instance)
    shard?.ended.delete(instance)
  }

  /** The shard is no longer ours: its next owner lists what it has. */
  forget(shard: Shard): void {
    const known = this.#byShard.get(shard)
    if (known === undefined) return
    this.#byShard.delete(shard)
    for (const instance of known.paused.keys()) this.#byId.delete(instance)
    for (const instance of known.ended.keys()) this.#byId.delete(instance)
  }

  /** What the shard's checkpoint holds: all paused, the newest ended ones, oldest first. */
  checkpointed(shard: Shard): ReadonlyArray<Finished> {
    const known = this.#byShard.get(shard)
    if (known === undefined) return []
    return [...known.paused.values(), ...[...known.ended.values()].slice(-checkpointedMax)]
  }

  /** In the order in which they came to rest. */
  values(): IterableIterator<Finished> {
    return this.#byId.values()
  }
}
