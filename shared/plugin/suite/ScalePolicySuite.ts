/**
 * What every scale policy promises (shared/plugin/ScalePolicy.ts), as checks for its author's tests: `decide` is pure and says nothing that a pool could not have, a config
 * that is wrong is told when the pool is applied, and what asks elsewhere fails as a value and can be interrupted.
 *
 * Held over random pools; a failing one is shrunk before it is told.
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Namespace, PoolName } from "../../protocol/Token.ts"
import {
  type ScaleDecider,
  type ScalePolicy,
  ScalePolicyFailed,
  type ScaleView,
  type ScaleWish
} from "../ScalePolicy.ts"
import { effect, expect, isSame, plain, type Promised, show, within } from "./Suite.ts"

export interface Subject {
  readonly policy: ScalePolicy
  /** Configs that are good; the first is used where one will do. */
  readonly configs: readonly [unknown, ...ReadonlyArray<unknown>]
  /** Configs that are not. */
  readonly wrongConfigs: ReadonlyArray<unknown>
  /** The documentation says that a target covers what waits and is claimed. */
  readonly coversDemand?: boolean
  /** Of a policy with a `fetch`: configs with which the other side answers, answers something that is none, and says nothing. */
  readonly fetch?: {
    readonly answered: Effect.Effect<unknown, never, Scope.Scope>
    readonly refused: Effect.Effect<unknown, never, Scope.Scope>
    readonly silent: Effect.Effect<unknown, never, Scope.Scope>
  }
}

const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100_000 }))
const View = Schema.Struct({
  idle: Count,
  waiting: Count,
  claimed: Count,
  creating: Count,
  target: Count,
  min: Count,
  minIdle: Count,
  /** `max` beyond `min`. */
  room: Count,
  /** Half an hour each, over twenty years. */
  slot: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 350_640 }))
})
const pool = Object.freeze({ namespace: Namespace.make("default"), name: PoolName.make("suite") })
const startMs = Date.UTC(2020, 0, 1)

/** Frozen: a policy that writes to it throws. */
const viewOf = ({ room, slot, ...counts }: typeof View.Type): ScaleView =>
  Object.freeze({
    pool,
    now: startMs + slot * 1_800_000,
    ...counts,
    total: counts.idle + counts.claimed + counts.creating,
    max: counts.min + room
  })
const plainView: ScaleView = viewOf({
  idle: 1,
  waiting: 2,
  claimed: 3,
  creating: 0,
  target: 4,
  min: 0,
  minIdle: 1,
  room: 100,
  slot: 1
})

const isCount = (value: number | undefined): boolean => value === undefined || Number.isSafeInteger(value) && value >= 0

/** What is wrong with a wish, if anything. */
const problemOf = (wish: ScaleWish, now: number | undefined): string | undefined => {
  for (const key of ["target", "min", "max", "minIdle"] as const) {
    if (!isCount(wish[key])) return `${key} is ${String(wish[key])}: no count of sandboxes`
  }
  if (wish.min !== undefined && wish.max !== undefined && wish.min > wish.max) return "min is above max"
  if (now !== undefined && wish.until !== undefined && !(wish.until > now)) return "until has passed already"
  return undefined
}

const overViews = (promise: string, of: (views: ReadonlyArray<ScaleView>) => string | undefined): Promised => ({
  promise,
  check: async () => {
    const Views = Schema.Array(View).check(Schema.isMinLength(1), Schema.isMaxLength(4))
    const result = await Effect.runPromise(
      Arbitrary.checkEffect(Arbitrary.schema(Views), (drawn) =>
        Effect.suspend(() => {
          const difference = of(drawn.map(viewOf))
          return difference === undefined ? Effect.succeed(true) : Effect.fail(difference)
        }), { runs: 60, size: 100_000 })
    )
    expect(result._tag === "Passed", () => Arbitrary.formatCheckFailure(result) ?? result._tag)
  }
})

/** The first difference over all configs. */
const first = (configs: ReadonlyArray<unknown>, of: (config: unknown) => string | undefined): string | undefined => {
  for (const config of configs) {
    const difference = of(config)
    if (difference !== undefined) return `with ${show(config)}: ${difference}`
  }
  return undefined
}

const fetchOf = (policy: ScalePolicy, config: unknown): NonNullable<ScaleDecider["fetch"]> => {
  const { fetch } = policy.open(config)
  expect(fetch !== undefined, () => `with ${show(config)} it has no fetch`)
  return fetch
}

/** Everything, for `Suite.run`. */
export const promises = ({ configs, coversDemand, fetch, policy, wrongConfigs }: Subject): ReadonlyArray<Promised> => [
  plain("a good config has no problems, a wrong one has some, each with its place and what to write", () => {
    for (const config of configs) {
      const problems = policy.validate(config)
      expect(problems.length === 0, () => `${show(config)} has ${show(problems)}`)
    }
    for (const config of wrongConfigs) {
      const problems = policy.validate(config)
      expect(problems.length > 0, () => `${show(config)} is accepted`)
      for (const { message, path } of problems) {
        expect(
          path === "config" || /^config[.[]/u.test(path),
          () => `the place of a problem is ${show(path)}: it begins with config`
        )
        expect(message !== "", () => `the problem at ${path} has no message`)
      }
    }
  }),
  overViews(
    "what it wants are counts of sandboxes, for a time to come, also before anything was fetched",
    (views) =>
      first(configs, (config) => {
        const { decide } = policy.open(config)
        for (const view of views) {
          const wish = decide(view, undefined)
          const problem = problemOf(wish, view.now)
          if (problem !== undefined) return `of ${show(view)}: ${problem}`
          if (coversDemand === true && (wish.target ?? 0) < view.waiting + view.claimed) {
            return `of ${show(view)}: the target ${wish.target} does not cover what waits and is claimed`
          }
        }
        return undefined
      })
  ),
  overViews(
    "of the same pool at the same time it wants the same, whatever it was asked before",
    (views) =>
      first(configs, (config) => {
        const { decide } = policy.open(config)
        for (const view of views) decide(view, undefined)
        for (const view of views) {
          const [used, fresh] = [decide(view, undefined), policy.open(config).decide(view, undefined)]
          if (!isSame(used, fresh)) return `of ${show(view)}: ${show(used)} after others, ${show(fresh)} as the first`
        }
        return undefined
      })
  ),
  ...(fetch === undefined ? [] : [
    effect(
      "an answer from elsewhere is what counts until the next",
      Effect.gen(function*() {
        const config = yield* fetch.answered
        const { everyMs, run } = fetchOf(policy, config)
        expect(everyMs >= 100, () => `it asks every ${everyMs} ms`)
        const wish = yield* within("an answer", run(plainView))
        const problem = problemOf(wish, undefined)
        expect(problem === undefined, () => `it fetched ${show(wish)}: ${problem}`)
        const { decide } = policy.open(config)
        const decided = decide(plainView, wish)
        expect(problemOf(decided, plainView.now) === undefined, () => `it decides ${show(decided)}`)
        expect(
          !isSame(decided, decide(plainView, undefined)),
          () => `${show(decided)}, with the answer as without`
        )
      })
    ),
    effect(
      "an answer that is none is a failure with its reason, not a defect",
      Effect.gen(function*() {
        const exit = yield* Effect.exit(within("a failure", fetchOf(policy, yield* fetch.refused).run(plainView)))
        expect(Exit.isFailure(exit), () => `it fetched ${show(exit)}`)
        const failure = exit.cause.reasons.find(Cause.isFailReason)?.error
        expect(failure instanceof ScalePolicyFailed && failure.message !== "", () => Cause.pretty(exit.cause))
      })
    ),
    effect(
      "a question without an answer ends at once when it is interrupted",
      Effect.gen(function*() {
        const { run } = fetchOf(policy, yield* fetch.silent)
        const asking = yield* Effect.forkChild(run(plainView), { startImmediately: true })
        yield* within("the end of an interrupted question", Fiber.interrupt(asking))
      })
    )
  ])
]
