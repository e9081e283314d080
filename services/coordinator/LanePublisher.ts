/**
 * Puts what an append made ready on the lanes: one message per pool and lane and append, grouped by shard under its session.
 *
 * Lanes live in memory storage and are derived, so a publish is acknowledged but not waited for; one that fails is sent again until the shard is no longer ours,
 * and a lane that was lost altogether is emitted again from the state (design/01 section 4). Duplicates are merged by the pool and refused at registration.
 */
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import { type InboundEntry, laneEntriesMax, type LaneName } from "../../shared/protocol/Lane.ts"
import { poolKey, type PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId, MemberId, SessionId, Shard, TaskInstanceId } from "../../shared/protocol/Token.ts"
import type { Dispatch, Withdraw } from "./engine/EngineEffect.ts"
import type { Timers } from "./Timers.ts"

const retryMs = 250

interface Group {
  readonly shard: Shard
  readonly session: SessionId
  readonly entries: Array<InboundEntry>
}

/** What waits for one lane until the append's turns have all been told. */
interface Gathered {
  readonly pool: PoolRef
  readonly lane: LaneName
  readonly groups: Map<Shard, Group>
  count: number
}

export class LanePublisher {
  readonly #nats: Connection
  readonly #owner: MemberId
  readonly #timers: Timers
  readonly #isCurrent: (shard: Shard, session: SessionId) => boolean
  #gathered = new Map<string, Gathered>()
  #retries = 0

  constructor(options: {
    readonly nats: Connection
    readonly owner: MemberId
    readonly timers: Timers
    readonly isCurrent: (shard: Shard, session: SessionId) => boolean
  }) {
    this.#nats = options.nats
    this.#owner = options.owner
    this.#timers = options.timers
    this.#isCurrent = options.isCurrent
  }

  add(dispatch: Dispatch, shard: Shard, session: SessionId): void {
    const key = `${poolKey(dispatch.pool)}/${dispatch.lane}`
    let lane = this.#gathered.get(key)
    if (lane === undefined) {
      lane = { pool: dispatch.pool, lane: dispatch.lane, groups: new Map(), count: 0 }
      this.#gathered.set(key, lane)
    }
    let group = lane.groups.get(shard)
    if (group === undefined) {
      group = { shard, session, entries: [] }
      lane.groups.set(shard, group)
    }
    group.entries.push(dispatch.entry)
    if (++lane.count === laneEntriesMax) {
      this.#gathered.delete(key)
      this.#send(lane)
    }
  }

  /** Sends what was gathered. */
  flush(): void {
    if (this.#gathered.size === 0) return
    const lanes = this.#gathered
    this.#gathered = new Map()
    for (const lane of lanes.values()) this.#send(lane)
  }

  /** Best effort: spares the pool a placement that registration would refuse. */
  withdraw(effects: ReadonlyArray<Withdraw>): void {
    const byPool = new Map<
      string,
      { readonly pool: PoolRef; readonly instance: InstanceId; readonly taskInstanceIds: Array<TaskInstanceId> }
    >()
    for (const { instance, pool, taskInstanceId } of effects) {
      const key = poolKey(pool)
      const known = byPool.get(key)
      if (known === undefined) byPool.set(key, { pool, instance, taskInstanceIds: [taskInstanceId] })
      else known.taskInstanceIds.push(taskInstanceId)
    }
    for (const { instance, pool, taskInstanceIds } of byPool.values()) {
      this.#nats.publish(Subject.rpc.pool(pool, "withdraw"), JSON.stringify({ instance, taskInstanceIds }))
    }
  }

  #send(lane: Gathered): void {
    const body = JSON.stringify({ owner: this.#owner, groups: [...lane.groups.values()] })
    Append.publishUnsafe(this.#nats, Subject.lane(lane.pool, lane.lane), body, {}, (result) => {
      if (Result.isFailure(result)) this.#retry(lane)
    })
  }

  #retry(lane: Gathered): void {
    for (const group of lane.groups.values()) {
      if (!this.#isCurrent(group.shard, group.session)) lane.groups.delete(group.shard)
    }
    if (lane.groups.size === 0) return
    this.#timers.armIn({ key: `lane-retry/${this.#retries++}`, delayMs: retryMs, fire: () => this.#send(lane) })
  }
}
