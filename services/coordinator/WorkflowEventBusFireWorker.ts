/**
 * A fire worker serves the buses of one shard in turn: a bus is never handled by two workers, and a busy bus never holds up another (design/03 section 1).
 *
 * A worker lives as long as this process owns the shard; its session is the journal sequence of the ADOPTED that made it so.
 */
import type { InstanceId, SessionId, Shard } from "../../shared/protocol/Token.ts"
import type { WorkflowEventBus } from "./WorkflowEventBus.ts"

export class WorkflowEventBusFireWorker {
  readonly shard: Shard
  /** Grows when the lanes were lost: what was on them is emitted again under the new one. */
  session: SessionId
  readonly buses = new Map<InstanceId, WorkflowEventBus>()
  /** Instances of the shard that could not be restored, with the reason: kept for whoever takes the shard next. */
  readonly unrestored = new Map<InstanceId, string>()
  /** Buses with events, in the order in which they get their turn. */
  #line: Array<WorkflowEventBus> = []
  #at = 0
  /** In the coordinator's line of workers. */
  isWaiting = false

  constructor(shard: Shard, session: SessionId) {
    this.shard = shard
    this.session = session
  }

  get hasWork(): boolean {
    return this.#at < this.#line.length
  }

  /** Puts `bus` at the end of the line, once. */
  enqueue(bus: WorkflowEventBus): void {
    if (bus.isWaiting) return
    bus.isWaiting = true
    this.#line.push(bus)
  }

  next(): WorkflowEventBus | undefined {
    const bus = this.#line[this.#at]
    if (bus === undefined) return undefined
    this.#at += 1
    if (this.#at === this.#line.length) {
      this.#line = []
      this.#at = 0
    }
    bus.isWaiting = false
    return bus
  }
}
