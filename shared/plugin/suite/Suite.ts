/**
 * What a kind of plugin promises, as checks that any test runner runs: `PlacementPolicySuite`, `TaskTypeSuite`, ... make the promises, `run` hands them to `describe` and `it`.
 *
 * Keeps true: a suite needs no test runner to be loaded, so a plugin's author brings their own; each promise is checked by itself, on what its subject makes anew for it;
 * a promise that is not kept is told as `Broken`, with what was seen; every wait has a bound.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** One thing that every plugin of a kind keeps true. `check` fails when this one does not. */
export interface Promised {
  readonly promise: string
  readonly check: () => Promise<void>
}

/** `describe` and `it` of vitest, or of another runner that takes them so (node:test does). */
export interface Runner {
  readonly describe: (title: string, body: () => void) => unknown
  readonly it: (title: string, body: () => Promise<void>, timeoutMs: number) => unknown
}

/** For one promise. Waits within it end sooner, and say what they waited for. */
export const promiseTimeoutMs = 300_000
/** For one thing that a check waits for. */
export const waitMaxMs = 60_000

/** A promise is not kept. */
export class Broken extends Error {
  override readonly name = "Broken"
}

/** Registers every promise as a test. */
export const run = (runner: Runner, title: string, promises: ReadonlyArray<Promised>): void => {
  runner.describe(title, () => {
    for (const { check, promise } of promises) runner.it(promise, check, promiseTimeoutMs)
  })
}

/** A promise whose check is plain code. */
export const plain = (promise: string, check: () => void): Promised => ({ promise, check: async () => check() })

/** A promise whose check is an effect, with a scope of its own that has ended when the check has. */
export const effect = (promise: string, check: Effect.Effect<void, unknown, Scope.Scope>): Promised => ({
  promise,
  check: () => Effect.runPromise(Effect.scoped(check))
})

/** Fails the check with what was seen unless it `holds`. */
export function expect(holds: boolean, seen: () => string): asserts holds {
  if (!holds) throw new Broken(seen())
}

/** A value in a message: JSON, cut to a line's length. */
export const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 400 ? `${text.slice(0, 400)}...` : text
}

/** The same, in any order of keys. */
export const isSame = (a: unknown, b: unknown): boolean => {
  if (Object.is(a, b)) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && isSame(Reflect.get(a, key), Reflect.get(b, key)))
}

/** Gives up after `waitMaxMs`, and says what was waited for. */
export const within = <A, E, R>(what: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.timeoutOrElse(self, {
    duration: waitMaxMs,
    orElse: () => Effect.die(new Broken(`not within ${waitMaxMs / 1_000} s: ${what}`))
  })

/** The promises that are not kept, with what was seen: without a test runner. */
export const brokenOf = async (
  promises: ReadonlyArray<Promised>
): Promise<ReadonlyArray<{ readonly promise: string; readonly seen: unknown }>> => {
  const found: Array<{ readonly promise: string; readonly seen: unknown }> = []
  for (const { check, promise } of promises) {
    try {
      await check()
    } catch (seen) {
      found.push({ promise, seen })
    }
  }
  return found
}
