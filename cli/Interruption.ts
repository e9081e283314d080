/**
 * What an interruption means to the shell: 130 for a command that was not done, 0 for a program whose only end is a signal (`dev`, `serve`, `watch` without end).
 */
import * as Effect from "effect/Effect"

let code = 130

/** From here on a signal is the expected end. */
export const isOrderlyEnd: Effect.Effect<void> = Effect.sync(() => {
  code = 0
})
export const exitCode = (): number => code
