/**
 * The derived history: one subject per instance in HEDDLE_HISTORY, for people, tools and replay; made from the journal, off the hot path.
 *
 * The entries of an instance since its last history message make one message, sent when the run rests or after `lagMs`, so a short workflow costs one. A
 * message that was not stored is sent again; a reader that meets an entry twice knows it by its `n`. What a dead owner did not project, the next one does
 * (`project` of the entries it read from the journal). Follows design/01 section 2.
 */
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import type { Timers } from "./Timers.ts"
import type { RecordedEntry, WorkflowEventBus } from "./WorkflowEventBus.ts"

/** How far the history of a running instance lags behind the journal while no more than `instancesPerTick` change in that time; more than those take turns. */
export const lagMs = 250
/** Running instances projected in one tick: bounds what the derived history costs when thousands are live. Those that rest do not wait for it. */
export const instancesPerTick = 256
const messageBytesMax = 512 * 1024
const retryMs = 500

/** What of an instance's history needs to be known to project it. */
export interface Projected {
  readonly instance: InstanceId
  readonly shard: Shard
  readonly unprojected: Array<RecordedEntry>
}

export class HistoryProjector {
  readonly #nats: Connection
  readonly #timers: Timers
  readonly #touched = new Set<Projected>()
  #isArmed = false
  #inFlight = 0
  #idle: Array<() => void> = []

  constructor(options: { readonly nats: Connection; readonly timers: Timers }) {
    this.#nats = options.nats
    this.#timers = options.timers
  }

  /** `bus` has entries to project; they go after `lagMs`. */
  touch(bus: WorkflowEventBus): void {
    this.#touched.add(bus)
    this.#arm(lagMs)
  }

  /** Sends what `instance` has now. `done`: all of it is stored. */
  project(instance: Projected, done?: () => void): void {
    this.#touched.delete(instance)
    const entries = instance.unprojected.splice(0)
    const first = entries[0]
    if (first === undefined) return done?.()
    const parts: Array<string> = []
    let bytes = 0
    let taken = 0
    for (const entry of entries) {
      if (taken > 0 && bytes + entry.text.length > messageBytesMax) break
      parts.push(`{"seq":${entry.sequence},"entry":${entry.text}}`)
      bytes += entry.text.length
      taken += 1
    }
    const rest = entries.slice(taken)
    const body = `{"v":1,"instance":"${instance.instance}","shard":${instance.shard},"entries":[${parts.join(",")}]}`
    this.#inFlight += 1
    Append.publishUnsafe(this.#nats, Subject.history(instance.shard, instance.instance), body, {}, (result) => {
      this.#inFlight -= 1
      if (Result.isFailure(result)) {
        instance.unprojected.unshift(...entries)
        if (done === undefined) {
          this.#touched.add(instance)
          this.#arm(retryMs)
        } else {this.#timers.armIn({
            key: `history/${instance.instance}/${first.n}`,
            delayMs: retryMs,
            fire: () => this.project(instance, done)
          })}
        return
      }
      if (rest.length > 0) {
        instance.unprojected.unshift(...rest)
        return this.project(instance, done)
      }
      done?.()
      if (this.#inFlight === 0 && this.#touched.size === 0) { for (const waiter of this.#idle.splice(0)) waiter() }
    })
  }

  /** `done` when nothing is left to project. */
  drain(done: () => void): void {
    this.#fire(Infinity)
    if (this.#inFlight === 0 && this.#touched.size === 0) return done()
    this.#idle.push(done)
  }

  #arm(delayMs: number): void {
    if (this.#isArmed) return
    this.#isArmed = true
    this.#timers.armIn({ key: "history", delayMs, fire: () => this.#fire() })
  }

  #fire(max = instancesPerTick): void {
    this.#isArmed = false
    let left = max
    // oldest first; `project` takes them out of the set
    for (const instance of this.#touched) {
      if (left-- === 0) return this.#arm(lagMs)
      this.project(instance)
    }
  }
}
