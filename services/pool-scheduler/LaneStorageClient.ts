/**
 * The pool's three lanes as the core polls them: durable consumers of HEDDLE_READY, one per lane, named with the pool's session.
 *
 * Nothing is acknowledged here: the core does, when every entry of a message is settled. What the core does not poll stays in a bounded buffer, and beyond it on the
 * server. A malformed lane message is put aside (`term`) with its problem in the log: no retry would mend it, and its tasks are told again with the next session.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { ConsumeFailed, Delivery } from "../../shared/jetstream/Consume.ts"
import * as Decode from "../../shared/jetstream/Decode.ts"
import type { JetStreamFailed } from "../../shared/jetstream/JetStreamApi.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Rpc from "../../shared/jetstream/Rpc.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import { type JobState, JobStateAnswer, LaneBatch, type LaneName } from "../../shared/protocol/Lane.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId, SessionId } from "../../shared/protocol/Token.ts"
import type { Job, LaneMessage, SchedulerStorageClient } from "./SchedulerStorageClient.ts"
import * as SessionConsumers from "./SessionConsumers.ts"

/** Lane messages that may be unacknowledged at once; each carries up to 256 entries. */
const readyPendingMax = 10_000
const otherPendingMax = 1_000
/** Longer than tasks wait as a rule: what comes again is merged. */
const ackWaitMs = 15 * 60_000
const jobStateTimeoutMs = 3_000

const decodeBatch = Decode.decoder(LaneBatch)
const readJobState = Rpc.answerReader(JobStateAnswer)

class LaneBuffer {
  private items: Array<LaneMessage> = []
  get size(): number {
    return this.items.length
  }
  push(message: LaneMessage): void {
    this.items.push(message)
  }
  poll(max: number): ReadonlyArray<LaneMessage> {
    const taken = this.items.length <= max ? this.items : this.items.slice(0, max)
    this.items = taken === this.items ? [] : this.items.slice(max)
    return taken
  }
}

export interface LaneStorageOptions {
  readonly nats: Connection
  readonly pool: PoolRef
  readonly session: SessionId
  /** Something may be polled. */
  readonly onArrival: () => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
}

export interface LaneStorageClient extends SchedulerStorageClient {
  /** Starts the consumers; `failure` fails when one is lost for good. */
  readonly start: Effect.Effect<
    { readonly failure: Effect.Effect<never, ConsumeFailed> },
    ConsumeFailed | JetStreamFailed,
    Scope.Scope
  >
  /** Entries' messages that wait to be polled. */
  readonly buffered: () => number
}

export const make = (options: LaneStorageOptions): LaneStorageClient => {
  const { nats, pool, session } = options
  const buffers: Record<LaneName, LaneBuffer> = {
    ready: new LaneBuffer(),
    commit: new LaneBuffer(),
    cleanup: new LaneBuffer()
  }

  const onDelivery = (lane: LaneName) => (delivery: Delivery): void => {
    const decoded = decodeBatch(delivery.text)
    if (Result.isFailure(decoded)) {
      options.warn("a lane message is malformed and was put aside", {
        lane,
        sequence: delivery.sequence,
        problem: decoded.failure.message
      })
      delivery.term(decoded.failure.message)
      return
    }
    // A lane in memory begins again at 1 after a restart of the broker: the time tells the two apart.
    buffers[lane].push({
      lane,
      id: `${delivery.sequence}@${delivery.storedAtMs}`,
      batch: decoded.success,
      ack: () => delivery.ack()
    })
    options.onArrival()
  }

  const consumer = (lane: LaneName) =>
    SessionConsumers.consume(nats, {
      stream: Streams.name.ready,
      pool,
      purpose: `lane-${lane}`,
      session,
      filter: Subject.lane(pool, lane),
      ackWaitMs,
      maxAckPending: lane === "ready" ? readyPendingMax : otherPendingMax
    }, onDelivery(lane))

  return {
    start: Effect.gen(function*() {
      const consumers = yield* Effect.forEach(["ready", "commit", "cleanup"] as const, consumer, { concurrency: 3 })
      return { failure: Effect.raceAllFirst(consumers.map((_) => _.failure)) }
    }),
    buffered: () => buffers.ready.size + buffers.commit.size + buffers.cleanup.size,
    pollReady: (max) => buffers.ready.poll(max),
    pollCommitReady: (max) => buffers.commit.poll(max),
    pollCleanupReady: (max) => buffers.cleanup.poll(max),
    jobState: (
      owner: MemberId,
      jobs: ReadonlyArray<Job>,
      done: (states: ReadonlyArray<JobState> | undefined) => void
    ) =>
      nats.requestUnsafe(
        Subject.member(owner, "job-state"),
        JSON.stringify({ jobs }),
        { timeoutMs: jobStateTimeoutMs },
        (result) => {
          const answer = Result.isSuccess(result) ? readJobState(result.success) : undefined
          done(answer !== undefined && Result.isSuccess(answer) ? answer.success.states : undefined)
        }
      )
  }
}
