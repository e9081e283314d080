/**
 * How many of a kind may be in progress at once; one more is refused, never queued. docs/design/gateway.md "Rules".
 */
import * as Effect from "effect/Effect"
import { ContractError, errorCodes } from "../../shared/protocol/ErrorCode.ts"

export class Gate {
  readonly #what: string
  readonly #most: number
  #open = 0

  constructor(what: string, most: number) {
    this.#what = what
    this.#most = most
  }

  get open(): number {
    return this.#open
  }

  /** Takes a place, which `leave` gives back; `undefined`: it is taken. */
  enter(): ContractError | undefined {
    if (this.#open >= this.#most) {
      return new ContractError({
        code: "Overloaded",
        message: `${this.#most} ${this.#what} are in progress. ${errorCodes.Overloaded.fix}`,
        details: { most: this.#most }
      })
    }
    this.#open += 1
    return undefined
  }

  leave(): void {
    this.#open -= 1
  }

  /** A place for as long as the effect runs. */
  readonly within = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | ContractError, R> =>
    Effect.suspend((): Effect.Effect<A, E | ContractError, R> => {
      const refused = this.enter()
      return refused === undefined
        ? Effect.ensuring(effect, Effect.sync(() => this.leave()))
        : Effect.fail(refused)
    })
}
