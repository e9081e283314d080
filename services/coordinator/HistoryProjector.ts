/**
 * The derived history: one subject per instance in HEDDLE_HISTORY, for people, tools and replay; made from the journal, off the hot path.
 *
 * Kept true here: of an instance one message is under way at a time, so what is stored is always a beginning of its entries, without a hole, whatever fails; whoever
 * takes over sends what comes after (`projectedUpTo`). The entries since the last message make one, sent when the run rests or after `lagMs`, so a short workflow
 * costs one. A message that was not stored is sent again; a reader that meets an entry twice knows it by its `n`. Follows design/01 section 2.
 */
import * as Result from "effect/Result"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { InstanceId, Shard } from "../../shared/protocol/Token.ts"
import type { Timers } from "./Timers.ts"
import type { RecordedEntry } from "./WorkflowEventBus.ts"

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

/** A message of one instance that is not acknowledged yet, and who waits until the history has entry `n`. */
interface Flight {
  readonly waiting: Array<{ readonly n: number; readonly done: () => void }>
}

export class HistoryProjector {
  readonly #nats: Connection
  readonly #timers: Pick<Timers, "armIn">
  readonly #touched = new Set<Projected>()
  readonly #flights = new Map<Projected, Flight>()
  #isArmed = false

  constructor(
    options: { readonly nats: Connection; readonly timers: Pick<Timers, "armIn"> }
  ) {
    this.#nats = options.nats
    this.#timers = options.timers
  }

  /** `instance` has entries to project; they go after `lagMs`. */
  touch(instance: Projected): void {
    this.#touched.add(instance)
    this.#arm(lagMs)
  }

  /** Sends what `instance` has now, after the message of it that is under way. `done`: all that it has now is stored. */
  project(instance: Projected, done?: () => void): void {
    this.#touched.delete(instance)
    const flight = this.#flights.get(instance)
    const newest = instance.unprojected.at(-1)
    if (flight !== undefined) {
      // what came meanwhile follows after the acknowledgement
      if (newest !== undefined) this.#touched.add(instance)
      if (done !== undefined) flight.waiting.push({ n: newest?.n ?? 0, done })
      return
    }
    if (newest === undefined) return done?.()
    const begun: Flight = { waiting: done === undefined ? [] : [{ n: newest.n, done }] }
    this.#flights.set(instance, begun)
    this.#send(instance, begun)
  }

  /** `done` when everything that was recorded before this call is stored; what is recorded later does not hold it up. */
  drain(done: () => void): void {
    const instances = [...new Set([...this.#touched, ...this.#flights.keys()])]
    let open = instances.length
    if (open === 0) return done()
    for (const instance of instances) {
      this.project(instance, () => {
        open -= 1
        if (open === 0) done()
      })
    }
  }

  #send(instance: Projected, flight: Flight): void {
    const parts: Array<string> = []
    let bytes = 0
    for (const { sequence, text } of instance.unprojected) {
      if (parts.length > 0 && bytes + text.length > messageBytesMax) break
      parts.push(`{"seq":${sequence},"entry":${text}}`)
      bytes += text.length
    }
    const entries = instance.unprojected.splice(0, parts.length)
    const body = `{"v":1,"instance":"${instance.instance}","shard":${instance.shard},"entries":[${parts.join(",")}]}`
    Append.publishUnsafe(this.#nats, Subject.history(instance.shard, instance.instance), body, {}, (result) => {
      if (Result.isFailure(result)) {
        instance.unprojected.unshift(...entries)
        // later, never now: without a connection the failure comes before the call returns
        return this.#timers.armIn({
          key: `history/${instance.instance}`,
          delayMs: retryMs,
          fire: () => this.#send(instance, flight)
        })
      }
      this.#stored(instance, flight, entries.at(-1)?.n ?? 0)
    })
  }

  #stored(instance: Projected, flight: Flight, n: number): void {
    const due = flight.waiting.filter((one) => one.n <= n)
    if (due.length > 0) {
      const rest = flight.waiting.filter((one) => one.n > n)
      flight.waiting.splice(0, flight.waiting.length, ...rest)
    }
    if (instance.unprojected.length > 0 && flight.waiting.length > 0) {
      this.#touched.delete(instance)
      this.#send(instance, flight)
    } else {
      this.#flights.delete(instance)
      if (instance.unprojected.length > 0) this.touch(instance)
      else this.#touched.delete(instance)
    }
    for (const { done } of due) done()
  }

  #arm(delayMs: number): void {
    if (this.#isArmed) return
    this.#isArmed = true
    this.#timers.armIn({ key: "history", delayMs, fire: () => this.#fire() })
  }

  #fire(): void {
    this.#isArmed = false
    let left = instancesPerTick
    // oldest first; what is under way is left for its acknowledgement
    for (const instance of this.#touched) {
      if (this.#flights.has(instance)) continue
      if (left-- === 0) return this.#arm(lagMs)
      this.project(instance)
    }
  }
}
