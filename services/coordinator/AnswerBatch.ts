/**
 * The answer to a batch of questions of an executor: collects the outcomes in their order and answers once, when all are settled, or ahead of the append in flight
 * (`onceAcknowledged`) when all that is not settled is in it. If that append is lost, the one who asked sees no acknowledgement and asks again
 * (docs/design/session-protocol.md, "Answers ahead of the append").
 */
export class AnswerBatch<Outcome> {
  readonly #outcomes: Array<Outcome | undefined>
  readonly #isSettled: Array<boolean>
  readonly #done: (outcomes: ReadonlyArray<Outcome>, onceAcknowledged?: string) => void
  #isAnswered = false
  /** Items without an outcome, and without a settled one. */
  #unknown: number
  #open: number

  constructor(size: number, done: (outcomes: ReadonlyArray<Outcome>, onceAcknowledged?: string) => void) {
    this.#outcomes = Array.from({ length: size })
    this.#isSettled = Array.from({ length: size }, () => false)
    this.#unknown = size
    this.#open = size
    this.#done = done
    if (size === 0) this.#answer()
  }

  settle(index: number, outcome: Outcome): void {
    if (this.#isSettled[index] === true) return
    this.#put(index, outcome)
    this.#isSettled[index] = true
    if (--this.#open === 0) this.#answer()
  }

  /** The outcome if the append that `subject` acknowledges is recorded. At most one append is in flight, so all that is known and not settled is in this one. */
  expect(index: number, outcome: Outcome, subject: string): void {
    if (this.#isSettled[index] === true) return
    this.#put(index, outcome)
    if (this.#unknown === 0) this.#answer(subject)
  }

  #put(index: number, outcome: Outcome): void {
    if (this.#outcomes[index] === undefined) this.#unknown--
    this.#outcomes[index] = outcome
  }

  #answer(onceAcknowledged?: string): void {
    if (this.#isAnswered) return
    this.#isAnswered = true
    this.#done(this.#outcomes as ReadonlyArray<Outcome>, onceAcknowledged) // every slot is filled
  }
}
