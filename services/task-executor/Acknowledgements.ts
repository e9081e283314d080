/**
 * The broker's acknowledgements that this executor waits for: a coordinator sends an answer ahead of the append that makes it true, and names the subject on which the broker
 * tells both of them that the append is stored. Saves the two hops through the coordinator (docs/design/session-protocol.md, "Answers ahead of the append").
 *
 * Keeps true: `done` is called exactly once; `true` only after the broker said that the append is stored. A refusal, silence and a lost connection are all `false`: nobody knows,
 * and the question is asked again. An acknowledgement that overtakes its answer (over routes of a cluster) is kept until that comes.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Append from "../../shared/jetstream/Append.ts"
import type { Connection } from "../../shared/jetstream/Nats.ts"
import * as Subject from "../../shared/protocol/Subject.ts"
import type { MemberId } from "../../shared/protocol/Token.ts"
import type { Later } from "./Later.ts"

/** Acknowledgements kept for answers that are still on their way. */
export const overtakersMax = 256
/** How long an answer waits for its acknowledgement: as long as a coordinator waits for it. */
export const waitMs = 5_000

interface Waiting {
  readonly until: number
  readonly done: Array<(isStored: boolean) => void>
}

export class Acknowledgements {
  readonly #later: Pick<Later, "after" | "nowMs">
  readonly #waitMs: number
  /** In order of their deadlines, since each waits equally long. */
  readonly #waiting = new Map<string, Waiting>()
  readonly #overtakers = new Map<string, boolean>()
  #isSweeping = false

  constructor(later: Pick<Later, "after" | "nowMs">, forMs = waitMs) {
    this.#later = later
    this.#waitMs = forMs
  }

  /** Waits for the acknowledgement on `subject`. */
  wait(subject: string, done: (isStored: boolean) => void): void {
    const known = this.#overtakers.get(subject)
    if (known !== undefined) return done(known)
    const waiting = this.#waiting.get(subject)
    if (waiting !== undefined) return void waiting.done.push(done)
    this.#waiting.set(subject, { until: this.#later.nowMs() + this.#waitMs, done: [done] })
    this.#sweepLater()
  }

  /** The broker answered on `subject`. */
  received(subject: string, isStored: boolean): void {
    // A second answer of the same append may still come for those that ask later; of several in one append each waits by itself.
    this.#overtakers.set(subject, isStored)
    if (this.#overtakers.size > overtakersMax) {
      for (const oldest of this.#overtakers.keys()) {
        this.#overtakers.delete(oldest)
        break
      }
    }
    const waiting = this.#waiting.get(subject)
    if (waiting === undefined) return
    this.#waiting.delete(subject)
    for (const done of waiting.done) done(isStored)
  }

  /** The connection was lost: what is waited for may have been said meanwhile. */
  lost(): void {
    const waiting = Array.from(this.#waiting.values())
    this.#waiting.clear()
    for (const { done } of waiting) for (const one of done) one(false)
  }

  #sweepLater(): void {
    if (this.#isSweeping) return
    this.#isSweeping = true
    this.#later.after(this.#waitMs, () => {
      this.#isSweeping = false
      const now = this.#later.nowMs()
      for (const [subject, { done, until }] of this.#waiting) {
        if (until > now) break
        this.#waiting.delete(subject)
        for (const one of done) one(false)
      }
      if (this.#waiting.size > 0) this.#sweepLater()
    })
  }
}

/** Reads the acknowledgements for `member`; stands when it returns. */
export const make = (
  nats: Connection,
  member: MemberId,
  later: Pick<Later, "after" | "nowMs">,
  forMs?: number
): Effect.Effect<Acknowledgements, never, Scope.Scope> =>
  Effect.gen(function*() {
    const acknowledgements = new Acknowledgements(later, forMs)
    yield* nats.onDisconnect(() => acknowledgements.lost())
    yield* nats.subscribe(
      Subject.acknowledgementsFor(member),
      (message) => acknowledgements.received(message.subject, Append.isStored(message))
    )
    return acknowledgements
  })
