/**
 * Writes a pool's event stream: who held which sandbox when, and why; also the sign by which an owner learns that it has been replaced.
 *
 * One append in flight; what happens meanwhile goes into the next one, so an event costs no round trip of its own. Every append names the subject's last
 * sequence: `Fenced` means another owner has written, and this one stops. Bounded: beyond `bufferedMax` events the oldest are dropped and counted in a warning.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Streams from "../../shared/jetstream/Streams.ts"
import type { ClaimEvent, PoolEvent } from "../../shared/protocol/PoolEvent.ts"
import type { PoolRef } from "../../shared/protocol/Sandbox.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { SessionId } from "../../shared/protocol/Token.ts"

export interface PoolEventsOptions {
  readonly nats: Connection
  readonly pool: PoolRef
  readonly session: SessionId
  /** Runs an Effect beside the caller; its failure ends the pool. */
  readonly fork: (effect: Effect.Effect<void>) => void
  readonly onFenced: () => void
  readonly warn: (message: string, details: Readonly<Record<string, unknown>>) => void
}

const bufferedMax = 50_000
/** Events of one message; each takes about 200 bytes of the megabyte. */
const batchMax = 2_000
const appendTimeoutMs = 5_000

export class PoolEvents {
  private readonly options: PoolEventsOptions
  private readonly subject: string
  private waiting: Array<ClaimEvent> = []
  private last: number
  private batch = 0
  private isBusy = false
  private isScheduled = false
  private isEnded = false

  constructor(options: PoolEventsOptions) {
    this.options = options
    this.subject = Subject.poolEvent(options.pool)
    this.last = options.session
  }

  add(event: ClaimEvent): void {
    if (this.isEnded) return
    if (this.waiting.length >= bufferedMax) {
      this.options.warn("pool events are dropped: the broker takes none", { dropped: this.waiting.length })
      this.waiting = []
    }
    this.waiting.push(event)
    if (this.isBusy || this.isScheduled) return
    this.isScheduled = true
    // What this turn of the event loop brings goes into one append.
    queueMicrotask(() => {
      this.isScheduled = false
      this.flush()
    })
  }

  get isIdle(): boolean {
    return this.isEnded || (!this.isBusy && this.waiting.length === 0)
  }

  private flush(): void {
    if (this.isBusy || this.isEnded || this.waiting.length === 0) return
    const events = this.waiting.length <= batchMax ? this.waiting : this.waiting.slice(0, batchMax)
    this.waiting = events === this.waiting ? [] : this.waiting.slice(batchMax)
    this.isBusy = true
    const event: PoolEvent = { _tag: "CLAIMS", session: this.options.session, batch: ++this.batch, events }
    this.append(JSON.stringify(event))
  }

  private append(body: string): void {
    Append.appendUnsafe(this.options.nats, this.subject, body, this.last, appendTimeoutMs, (outcome) => {
      switch (outcome._tag) {
        case "Acked":
          return this.stored(outcome.sequence)
        case "Fenced":
        case "Unknown":
          // Also a fence may be our own append that arrived after its answer was given up.
          return this.options.fork(this.settle(body))
      }
    })
  }

  private settle(body: string): Effect.Effect<void> {
    const { nats } = this.options
    return Append.settleUnknown(nats, Streams.name.poolEvents, this.subject, this.last, (last) => last.text === body)
      .pipe(
        Effect.tapError(() => Effect.sleep(1_000)),
        Effect.retry({ while: () => true }),
        Effect.orDie,
        Effect.map((settled) => {
          if (settled._tag === "Ours") this.stored(settled.sequence)
          else if (settled._tag === "NotStored") this.append(body)
          else {
            this.isEnded = true
            this.waiting = []
            this.options.onFenced()
          }
        })
      )
  }

  private stored(sequence: number): void {
    this.last = sequence
    this.isBusy = false
    this.flush()
  }
}

/** The subject's last sequence, 0 when it is empty. */
export const lastSequenceOf = (message: Option.Option<{ readonly sequence: number }>): number =>
  Option.isSome(message) ? message.value.sequence : 0
