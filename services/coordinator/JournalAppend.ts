/**
 * What the ledger needs of the broker, as callbacks: an append with its three outcomes, and the ledger's last message. `JetStreamJournal` is the real one; tests script another.
 */
export type AppendOutcome =
  | { readonly _tag: "Acked"; readonly sequence: number }
  | { readonly _tag: "Fenced"; readonly lastSequence: number }
  | { readonly _tag: "Unknown"; readonly reason: string }

export interface JournalAppend {
  /** One guarded append; `done` is called once, within `timeoutMs`. `reply`: the subject that the acknowledgement goes to, when an executor reads it too. */
  readonly append: (
    body: string,
    expectedLastSequence: number,
    timeoutMs: number,
    done: (outcome: AppendOutcome) => void,
    reply?: string
  ) => void
  /** The ledger's newest message: its sequence and the `id` of its body. Retried with back-off until the broker answers. */
  readonly last: (done: (last: { readonly sequence: number; readonly id: string | undefined }) => void) => void
}
