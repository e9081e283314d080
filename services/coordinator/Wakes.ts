/**
 * One worker for each name, woken as often as one likes: while it works, a further wake makes it look once more, so no wake is lost and none runs beside another.
 */
import * as Effect from "effect/Effect"

export class Wakes {
  readonly #active = new Map<string, { again: boolean }>()
  readonly #work: (name: string) => Effect.Effect<void>
  readonly #fork: (effect: Effect.Effect<void>) => void

  constructor(options: {
    readonly work: (name: string) => Effect.Effect<void>
    /** Supervised: its death ends the service. */
    readonly fork: (effect: Effect.Effect<void>) => void
  }) {
    this.#work = options.work
    this.#fork = options.fork
  }

  /** Names at work now. */
  get size(): number {
    return this.#active.size
  }

  wake(name: string): void {
    const active = this.#active.get(name)
    if (active !== undefined) {
      active.again = true
      return
    }
    const own = { again: true }
    this.#active.set(name, own)
    this.#fork(
      Effect.gen({ self: this }, function*() {
        while (own.again) {
          own.again = false
          yield* this.#work(name)
        }
        this.#active.delete(name)
      })
    )
  }
}
