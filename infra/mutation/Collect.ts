/**
 * Stands in for `@effect/vitest` while mutants are tested (EngineTestRunner): notes tests instead of running them, so that they can be run many times over in one process.
 *
 * Kept true here: a test means what it means under vitest (same bodies, same assertions, properties through effect's Arbitrary); properties draw from one fixed seed,
 * so that a mutant has the same verdict every time. Only what the engine's tests use exists; anything else fails at import.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"

export interface CollectedTest {
  readonly file: string
  readonly name: string
  readonly run: () => void | Promise<void>
}

/** Of the files imported so far, in their order. */
export const tests: Array<CollectedTest> = []
const titles: Array<string> = []
let current = ""
const runsMax = Number(process.env["HEDDLE_MUTATION_RUNS"] ?? 15)

/** The tests noted from here on are of this file. */
export const begin = (file: string): void => {
  current = file
}

const named = (name: string) => [...titles, name].join(" > ")

export const describe = (name: string, body: () => void): void => {
  titles.push(name)
  body()
  titles.pop()
}

type Body = () => void | Promise<void>
const test = (name: string, second: Body | { readonly timeout?: number }, third?: Body): void => {
  const run = typeof second === "function" ? second : third
  if (run === undefined) throw new Error(`${name} has no body`)
  tests.push({ file: current, name: named(name), run })
}

type Input = Schema.Schema<unknown> | Arbitrary.Arbitrary<unknown>

/** Fewer runs than under vitest, and no shrinking: only whether it holds is of interest. */
const prop = (
  name: string,
  inputs: ReadonlyArray<Input>,
  property: (values: ReadonlyArray<unknown>) => unknown,
  options: { readonly arbitrary?: Arbitrary.CheckOptions } = {}
): void => {
  const all = Arbitrary.all(inputs.map((input) => Arbitrary.isArbitrary(input) ? input : Arbitrary.schema(input)))
  test(name, () => {
    const check = Arbitrary.checkEffect(all, (values) => Effect.sync(() => property(values) !== false), {
      ...options.arbitrary,
      runs: Math.min(options.arbitrary?.runs ?? 100, runsMax),
      seed: 1,
      maxShrinks: 0
    })
    const failure = Arbitrary.formatCheckFailure(Effect.runSync(check))
    if (failure !== undefined) throw new Error(failure)
  })
}

export const it = Object.assign(test, { prop })
export { assert } from "vitest"
