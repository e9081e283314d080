/**
 * What waits to be written to one reader of an event stream: bounded, and closed rather than grown. docs/design/gateway.md "Live events".
 *
 * Kept true: at most `blocksMax` blocks of `charactersMax` together wait; a reader that is slower than that loses what waits, is told so with the cursor of the last block it was given,
 * and goes on from there when it connects again; blocks are given in the order in which they came. One taker. Synchronous but for the wait of `take`.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

export const blocksMax = 1_024
export const charactersMax = 4 * 1024 * 1024

/** One block of the stream. `id`: where a reader is that has it. */
export interface Block {
  readonly id: string
  readonly text: string
}

export class Outbox {
  #blocks: Array<Block> = []
  #characters = 0
  #ended: string | undefined
  #wake: (() => void) | undefined
  #isTooSlow = false
  readonly #whenEnded = Deferred.makeUnsafe<void>()

  /** When nothing more comes. */
  readonly whenEnded: Effect.Effect<void> = Deferred.await(this.#whenEnded)

  /** Why nothing more comes. */
  get ended(): string | undefined {
    return this.#ended
  }

  /** It has ended since its reader was too slow. */
  get isTooSlow(): boolean {
    return this.#isTooSlow
  }

  push(block: Block): void {
    if (this.#ended !== undefined) return
    if (this.#blocks.length >= blocksMax || this.#characters + block.text.length > charactersMax) {
      this.#isTooSlow = true
      return this.end("this reader is too slow: what waited for it was given up")
    }
    this.#blocks.push(block)
    this.#characters += block.text.length
    this.#wake?.()
  }

  /** Nothing more comes; what waits is given up. */
  end(reason: string): void {
    this.#ended ??= reason
    Deferred.doneUnsafe(this.#whenEnded, Effect.void)
    this.#blocks = []
    this.#characters = 0
    this.#wake?.()
  }

  /** All that waits, as soon as something does; nothing after `forMs`. Empty at once when it has ended. */
  take(forMs: number): Effect.Effect<ReadonlyArray<Block>> {
    return Effect.suspend(() =>
      this.#blocks.length > 0 || this.#ended !== undefined
        ? Effect.sync(() => this.#takeAll())
        : Effect.callback<void>((resume) => {
          this.#wake = () => resume(Effect.void)
          return Effect.sync(() => {
            this.#wake = undefined
          })
        }).pipe(
          Effect.timeoutOption(forMs),
          Effect.map((woken) => Option.isNone(woken) ? [] : this.#takeAll()),
          Effect.ensuring(Effect.sync(() => {
            this.#wake = undefined
          }))
        )
    )
  }

  #takeAll(): ReadonlyArray<Block> {
    const blocks = this.#blocks
    this.#blocks = []
    this.#characters = 0
    return blocks
  }
}

/** As Server-Sent Events write it; `data` is one line. */
export const block = (event: string, data: string, id?: string): string =>
  `event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`
