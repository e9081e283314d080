/**
 * What a pool's events say of a moment: who owned it, and which claims were held. Pure.
 *
 * Kept true here: what is not recorded is said to be so and never guessed: the queue and what was idle stand in no stream, tasks' claims only where the provider keeps them, a lease
 * as it was when the claim was made. A new owner tells all claims that it finds again, so from the first take-over that is still kept the record is complete; what it did not find
 * is shown apart.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as PoolEvents from "./PoolEvents.ts"

/** Of the events, in words. */
export const notRecorded: ReadonlyArray<string> = [
  "who waited in the queue, and how many sandboxes were idle",
  "claims of tasks, where the provider claims in memory (local, inline)",
  "renewals: a lease is shown as it was when the claim was made"
]

export interface Held extends PoolEvents.Seen {
  /** The owner of that moment had not told of it since it took the pool over. */
  readonly isStale: boolean
}

export interface Past {
  readonly owner?: string
  /** Since when, and the session: RFC 3339 and the sequence. */
  readonly ownedSince?: string
  readonly session?: number
  /** From the oldest event that is kept. */
  readonly recordSince: string
  /** `false`: claims from before `recordSince` may be missing. */
  readonly isComplete: boolean
  readonly claims: ReadonlyArray<Held>
}

const Adopted = Schema.TaggedStruct("ADOPTED", { owner: Schema.String, at: Schema.Finite })
const decodeAdopted = Schema.decodeUnknownOption(Schema.fromJsonString(Adopted))

/** Messages of the pool's event stream, oldest first. `undefined`: nothing of it had been recorded at that moment; `since`: from when on there is something. */
export class Reader {
  readonly #at: number
  #past: Omit<Past, "claims"> | undefined
  readonly #held = new Map<string, Held>()
  /** Of the oldest message that is kept, whenever it was. */
  since: string | undefined

  constructor(at: number) {
    this.#at = at
  }

  /** `false`: nothing that follows matters. */
  take(sequence: number, text: string): boolean {
    const adopted = Option.getOrUndefined(decodeAdopted(text))
    const events = adopted === undefined ? PoolEvents.parse(sequence, text) : []
    const first = adopted === undefined ? events[0]?.at : new Date(adopted.at).toISOString()
    if (first === undefined) return true
    this.since ??= first
    if (Date.parse(first) > this.#at) return false
    this.#past ??= { recordSince: first, isComplete: false }
    if (adopted !== undefined) {
      this.#past = {
        recordSince: this.#past.recordSince,
        isComplete: true,
        owner: adopted.owner,
        ownedSince: first,
        session: sequence
      }
      for (const [id, held] of this.#held) this.#held.set(id, { ...held, isStale: true })
      return true
    }
    for (const event of events) {
      if (Date.parse(event.at) > this.#at) continue
      const before = this.#held.get(event.claimId)
      if (event.kind === "Adopted" && before !== undefined) {
        this.#held.set(event.claimId, { ...before, isStale: false })
      } else if (event.kind === "Claimed" || event.kind === "Adopted") {
        this.#held.set(event.claimId, { ...event, isStale: false })
      } else this.#held.delete(event.claimId)
    }
    return true
  }

  get past(): Past | undefined {
    return this.#past === undefined ? undefined : { ...this.#past, claims: [...this.#held.values()] }
  }
}
