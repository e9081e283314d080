/**
 * What goes wrong between a client and the API server, chosen by a seed: latency on the way there and back, 429 and 500, a write by somebody else just before ours
 * (so that a 409 is a true one), answers lost before or after the write took effect, watches that lag or are cut. With the same seed and the same requests in the same order
 * the same things go wrong.
 */
import type { ApiStore } from "./ApiStore.ts"
import { type Random, seeded } from "./KubeClock.ts"
import * as Refusal from "./Refusal.ts"
import type { ApiRequest } from "./Route.ts"

/** Rates are probabilities, 0 to 1; what is left out does not happen. */
export interface FaultOptions {
  /** Round trip, at least and at most, half of it on each way. */
  readonly latencyMs?: readonly [number, number]
  /** Of writes to existing objects: somebody else writes the object first. */
  readonly conflictRate?: number
  /** Of writes: the answer is lost after the write took effect. */
  readonly lostAnswerRate?: number
  /** Of all requests: lost before anything happened. */
  readonly lostRequestRate?: number
  readonly tooManyRequestsRate?: number
  /** Told with a 429. Default 1. */
  readonly retryAfterSeconds?: number
  readonly internalErrorRate?: number
  /** Of events: the watch is cut after it. */
  readonly cutWatchRate?: number
  /** Events are up to so late, in order. */
  readonly watchLagMsMax?: number
  /** Of events, when there is a lag: how many are late at all. Default 1. */
  readonly watchLagRate?: number
}

export interface Fate {
  readonly latencyBeforeMs: number
  readonly latencyAfterMs: number
  readonly refusal: Refusal.Refusal | undefined
  readonly isDisturbed: boolean
  readonly isLostBefore: boolean
  readonly isLostAfter: boolean
  /** Told instead of the answer, after the write took effect (a time-out behind the API server). */
  readonly refusalAfter?: Refusal.Refusal | undefined
}

export interface WatchFate {
  readonly lagMs: () => number
  readonly isCutNow: () => boolean
}

const harmless: Fate = {
  latencyBeforeMs: 0,
  latencyAfterMs: 0,
  refusal: undefined,
  isDisturbed: false,
  isLostBefore: false,
  isLostAfter: false
}

const isWrite = (request: ApiRequest) => request.verb !== "get" && request.verb !== "list" && request.verb !== "watch"
const noise = "kube.test/disturbance"

export class Faults {
  /** Changed while a test runs, as it likes. */
  options: FaultOptions
  readonly #random: Random
  readonly #next: Array<Partial<Fate>> = []
  #disturbances = 0

  constructor(options: FaultOptions, seed: number) {
    this.options = options
    this.#random = seeded(seed ^ 0x5bd1e995)
  }

  /** The next request that `applies` (default: the next write) meets exactly this. */
  once(fate: Partial<Fate>): void {
    this.#next.push(fate)
  }

  #happens(rate: number | undefined): boolean {
    return rate !== undefined && rate > 0 && this.#random() < rate
  }

  fate(request: ApiRequest): Fate {
    const write = isWrite(request)
    const forced = write ? this.#next.shift() : undefined
    if (forced !== undefined) return { ...harmless, ...forced }
    const { options } = this
    let latencyMs = 0
    if (options.latencyMs !== undefined) {
      const [least, most] = options.latencyMs
      latencyMs = least + this.#random() * (most - least)
    }
    const half = latencyMs / 2
    let refusal: Refusal.Refusal | undefined
    if (this.#happens(options.tooManyRequestsRate)) refusal = Refusal.tooManyRequests(options.retryAfterSeconds ?? 1)
    else if (this.#happens(options.internalErrorRate)) refusal = Refusal.internalError("a fault that a test asked for")
    return {
      latencyBeforeMs: half,
      latencyAfterMs: half,
      refusal,
      isDisturbed: write && request.name !== undefined && this.#happens(options.conflictRate),
      isLostBefore: this.#happens(options.lostRequestRate),
      isLostAfter: write && this.#happens(options.lostAnswerRate)
    }
  }

  watchFate(): WatchFate {
    return {
      lagMs: () => {
        const { watchLagMsMax, watchLagRate } = this.options
        if (watchLagMsMax === undefined || watchLagMsMax <= 0) return 0
        if (watchLagRate !== undefined && !this.#happens(watchLagRate)) return 0
        return this.#random() * watchLagMsMax
      },
      isCutNow: () => this.#happens(this.options.cutWatchRate)
    }
  }

  /** Somebody else writes the object that a request names. */
  disturb(store: ApiStore, request: ApiRequest): void {
    const { resource, namespace, name } = request
    if (name === undefined || store.peek(resource, namespace, name) === undefined) return
    store.patch(resource, namespace, name, "merge", {
      metadata: { annotations: { [noise]: String(++this.#disturbances) } }
    })
  }
}
