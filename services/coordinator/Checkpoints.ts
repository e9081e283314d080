/**
 * Checkpoints: the states of a shard's instances at one journal sequence, so that whoever takes the shard reads only what came after.
 *
 * Captured between two appends (states are immutable, so capturing is taking references), written in pages in the background. The head is written last, compared-and-set
 * on the one this owner read, after the derived history holds everything up to it: a finished instance is then found there. An owner that was
 * replaced loses that comparison and changes nothing. Follows design/01 section 3 ("Checkpoints bound the scan", "Snapshots are paged").
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Kv from "../../shared/jetstream/Kv.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { ContractError } from "../../shared/protocol/ErrorCode.ts"
import type { InstanceId, Shard, StartupId } from "../../shared/protocol/Token.ts"
import type { Alerts } from "./Alerts.ts"
import * as Snapshot from "./engine/Snapshot.ts"
import type { WorkflowState } from "./engine/WorkflowState.ts"
import type { Finished, FinishedInstances } from "./FinishedInstances.ts"
import type { HistoryProjector } from "./HistoryProjector.ts"
import type { Ledger } from "./Ledger.ts"
import type { Passive, PassiveInstances } from "./PassiveInstances.ts"
import { type CheckpointHead, decodeHead, headKey, pageKey, type RecoveredShard } from "./Recovery.ts"
import type { ShardOwnership } from "./ShardOwnership.ts"
import type { WorkflowEventBusCoordinator } from "./WorkflowEventBusCoordinator.ts"

/** A checkpoint is due when this many entries were appended since the last one, or after `intervalMs` with any. */
export const entriesMax = 100_000
export const intervalMs = 30_000
const pageBytesMax = 512 * 1024
/** Of those that are not in memory, in one page. */
const restingPerPage = 1_000

interface Captured {
  readonly instance: InstanceId
  readonly n: number
  readonly hash: string
  readonly sequence: number
  readonly state: WorkflowState
}

export interface CheckpointsOptions {
  readonly nats: Connection
  readonly startup: StartupId
  readonly ledger: Ledger
  readonly buses: WorkflowEventBusCoordinator
  readonly history: HistoryProjector
  readonly alerts: Alerts
  readonly finished: FinishedInstances
  readonly passives: PassiveInstances
  readonly ownership: ShardOwnership
}

/** What a shard's checkpoint is made of, as it was at one journal sequence. */
interface Picture {
  readonly shard: Shard
  readonly instances: ReadonlyArray<Captured>
  readonly finished: ReadonlyArray<Finished>
  readonly passive: ReadonlyArray<Passive>
  readonly unrestored: ReadonlyArray<readonly [InstanceId, string]>
}

export class Checkpoints {
  readonly #options: CheckpointsOptions
  readonly #bucket: Kv.Bucket
  readonly #heads = new Map<Shard, { readonly head: CheckpointHead; readonly revision: number }>()
  /** Shards with entries after their checkpoint. */
  readonly #dirty = new Set<Shard>()
  /** Adopted shards whose derived history is not known to be complete yet. */
  readonly #unsettled = new Set<Shard>()
  readonly #due = Latch.makeUnsafe(false)
  readonly #one = Semaphore.makeUnsafe(1)
  #entries = 0

  constructor(options: CheckpointsOptions) {
    this.#options = options
    this.#bucket = Kv.bucket(options.nats, Streams.bucketName.snapshots)
  }

  adopted(recovered: RecoveredShard): void {
    if (recovered.checkpoint === undefined) this.#heads.delete(recovered.shard)
    else this.#heads.set(recovered.shard, recovered.checkpoint)
    if (recovered.entries > 0 || recovered.buses.size > 0) this.#dirty.add(recovered.shard)
    this.#unsettled.add(recovered.shard)
  }

  /** What the shard's instances had recorded before it was adopted is in the derived history, or with the projector: from now on checkpoints may be written. */
  settled(shard: Shard): void {
    this.#unsettled.delete(shard)
  }

  released(shard: Shard): void {
    this.#heads.delete(shard)
    this.#dirty.delete(shard)
    this.#unsettled.delete(shard)
  }

  /** The shard has an entry after its checkpoint. */
  touch(shard: Shard): void {
    this.#dirty.add(shard)
    if (++this.#entries === entriesMax) this.#due.openUnsafe()
  }

  /** Other instances of the shard are in memory than before: its checkpoint may be smaller now. */
  changed(shard: Shard): void {
    this.#dirty.add(shard)
  }

  /** When the next checkpoint is to be written: `entriesMax` entries were appended, or `intervalMs` have passed. */
  readonly due: Effect.Effect<void> = Effect.suspend(() =>
    Effect.timeoutOrElse(this.#due.await, { duration: intervalMs, orElse: () => Effect.void })
  )

  /** Writes a checkpoint of every shard that changed since its last one; one at a time. */
  readonly write: Effect.Effect<number, ContractError> = Effect.suspend(() => this.#one.withPermits(1)(this.#write))

  readonly #write: Effect.Effect<number, ContractError> = Effect.gen({ self: this }, function*() {
    if (this.#dirty.size === 0) return 0
    const { sequence, shards } = yield* this.#capture()
    const unwritten = new Set(shards.map(({ shard }) => shard))
    yield* Effect.callback<void>((resume) => this.#options.history.drain(() => resume(Effect.void)))
    // those of entries before the checkpoint are not raised again
    yield* Effect.callback<void>((resume) => this.#options.alerts.drain(() => resume(Effect.void)))
    yield* Effect.forEach(
      shards,
      (picture) => Effect.map(this.#writeShard(picture, sequence), () => unwritten.delete(picture.shard)),
      { concurrency: 8, discard: true }
    ).pipe(Effect.ensuring(Effect.sync(() => {
      // not written: next time
      for (const shard of unwritten) if (this.#options.buses.worker(shard) !== undefined) this.#dirty.add(shard)
    })))
    return shards.length
  })

  /** References to the states of the changed shards, taken when no append is in flight. */
  #capture() {
    return Effect.callback<{ readonly sequence: number; readonly shards: ReadonlyArray<Picture> }>((resume) => {
      this.#options.ledger.whenQuiet(() => {
        this.#entries = 0
        this.#due.closeUnsafe()
        const shards = [...this.#dirty].flatMap((shard): ReadonlyArray<Picture> => {
          if (this.#unsettled.has(shard)) return []
          this.#dirty.delete(shard)
          const worker = this.#options.buses.worker(shard)
          if (worker === undefined) return []
          const instances = [...worker.buses.values()].map(({ committed, hash, instance, n, sequence }): Captured => ({
            instance,
            n,
            hash,
            sequence,
            state: committed
          }))
          return [{
            shard,
            instances,
            finished: this.#options.finished.checkpointed(shard),
            passive: this.#options.passives.ofShard(shard),
            unrestored: [...worker.unrestored].filter(([instance]) => !worker.buses.has(instance))
          }]
        })
        resume(Effect.succeed({ sequence: this.#options.ledger.lastSequence, shards }))
      })
    })
  }

  #writeShard(
    { finished, instances, passive, shard, unrestored }: Picture,
    sequence: number
  ): Effect.Effect<void, ContractError> {
    return Effect.gen({ self: this }, function*() {
      const known = this.#heads.get(shard)
      const generation = (known?.head.generation ?? 0) + 1
      const writer = this.#options.startup
      let pages = 0
      let parts: Array<string> = []
      let bytes = 0
      const writePage = Effect.suspend(() => {
        const text = `{"instances":[${parts.join(",")}]}`
        parts = []
        bytes = 0
        return this.#bucket.put(pageKey(shard, { writer, generation }, pages++), text).pipe(
          Effect.mapError(unavailable)
        )
      })
      for (const { hash, instance, n, sequence: at, state } of instances) {
        const text = JSON.stringify({
          instance,
          definition: state.graph.definition,
          n,
          hash,
          sequence: at,
          state: Snapshot.snapshotOf(state)
        })
        if (bytes > 0 && bytes + text.length > pageBytesMax) yield* writePage
        parts.push(text)
        bytes += text.length
        if (parts.length % 256 === 0) yield* Effect.yieldNow // others have their turn between slices
      }
      if (parts.length > 0) yield* writePage
      for (let at = 0; at < Math.max(finished.length, passive.length, unrestored.length); at += restingPerPage) {
        const page = {
          instances: [],
          finished: finished.slice(at, at + restingPerPage).map(({ content, sequence: seq, summary }) => ({
            summary,
            ...(content === undefined ? {} : { content }),
            sequence: seq
          })),
          passive: passive.slice(at, at + restingPerPage).map(({ content, dueAt, n, summary }) => ({
            summary,
            n,
            ...(dueAt === undefined ? {} : { dueAt }),
            ...(content === undefined ? {} : { content })
          })),
          unrestored: unrestored.slice(at, at + restingPerPage).map(([instance, reason]) => ({
            instance,
            reason: reason.slice(0, 500)
          }))
        }
        yield* this.#bucket.put(pageKey(shard, { writer, generation }, pages++), JSON.stringify(page)).pipe(
          Effect.mapError(unavailable)
        )
      }
      const head: CheckpointHead = { sequence, writer, generation, pages }
      const written = yield* this.#writeHead(shard, head, known?.revision)
      if (Option.isNone(written)) {
        this.#dirty.add(shard)
        return
      }
      this.#heads.set(shard, { head, revision: written.value })
      yield* this.#options.ownership.forgetLedgers(shard)
      if (known !== undefined) {
        const old = Array.from({ length: known.head.pages }, (_, page) => pageKey(shard, known.head, page))
        // pages that stay are garbage, not harm: the next checkpoint's pages have other names
        yield* Effect.forEach(old, (key) => this.#bucket.delete(key), { discard: true })
      }
    })
  }

  /** None: somebody else owns the shard's checkpoints now. */
  #writeHead(
    shard: Shard,
    head: CheckpointHead,
    revision: number | undefined
  ): Effect.Effect<Option.Option<number>, ContractError> {
    const text = JSON.stringify(head)
    return Effect.gen({ self: this }, function*() {
      const outcome = yield* revision === undefined
        ? this.#bucket.create(headKey(shard), text)
        : this.#bucket.update(headKey(shard), text, revision)
      if (outcome._tag === "Won") return Option.some(outcome.revision)
      const stored = yield* this.#bucket.get(headKey(shard)).pipe(Effect.mapError(unavailable))
      if (Option.isNone(stored)) return Option.none()
      if (stored.value.value === text) return Option.some(stored.value.revision)
      // an owner of before was late: its checkpoint is older than our session, and true; the next one of ours goes on top of it. A newer owner's is left alone.
      const other = decodeHead(stored.value.value)
      const session = this.#options.buses.worker(shard)?.session
      if (Result.isSuccess(other) && session !== undefined && other.success.sequence < session) {
        this.#heads.set(shard, { head: other.success, revision: stored.value.revision })
      }
      return Option.none()
    })
  }
}

const unavailable = (error: { readonly message: string }) =>
  new ContractError({ code: "Unavailable", message: `a checkpoint was not written: ${error.message}` })
