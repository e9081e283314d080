/** Many seeds of the claim simulation, and what to tell of the first that breaks a rule: cut down as far as it goes, with its history and the command that repeats it. */
import * as ClaimWorld from "./ClaimWorld.ts"
import * as Plan from "./Plan.ts"

export interface Tally {
  readonly seeds: number
  readonly claims: number
  readonly granted: number
  readonly owners: number
  readonly batches: number
  readonly quotaChecks: number
  readonly outcomes: Readonly<Record<string, number>>
}

/** The text of a failure, or what the runs did. `onSeed` after each. */
export const run = (from: number, seeds: number, onSeed?: (seed: number) => void): Tally | string => {
  let claims = 0
  let granted = 0
  let owners = 0
  let batches = 0
  let quotaChecks = 0
  const outcomes: Record<string, number> = {}
  for (let seed = from; seed < from + seeds; seed++) {
    const outcome = ClaimWorld.run(Plan.make(seed), false)
    if (outcome.broken !== undefined) return report(seed)
    claims += outcome.claims
    granted += outcome.granted
    owners += outcome.owners
    batches += outcome.batches
    quotaChecks += outcome.quotaChecks
    for (const [name, count] of outcome.outcomes) outcomes[name] = (outcomes[name] ?? 0) + count
    onSeed?.(seed)
  }
  return { seeds, claims, granted, owners, batches, quotaChecks, outcomes }
}

export const commandOf = (seed: number): string => `npm run simulate -- --seed ${seed}`

/** The rule's name is the part before the colon: a smaller plan that breaks another rule is another failure. */
const ruleOf = (broken: string | undefined): string | undefined => broken?.split(":")[0]

/** Of a seed that breaks a rule: the smallest plan found that breaks the same one. */
export const report = (seed: number): string => {
  const plan = Plan.make(seed)
  const { broken } = ClaimWorld.run(plan, false)
  if (broken === undefined) return `seed ${seed} holds`
  const small = Plan.shrink(plan, (one) => ruleOf(ClaimWorld.run(one, false).broken) === ruleOf(broken))
  const again = ClaimWorld.run(small, true)
  const { actions, ...knobs } = small
  return [
    ...again.history,
    "",
    `knobs: ${JSON.stringify(knobs)}`,
    `actions: ${actions.length} of ${plan.actions.length}`,
    `broken: ${again.broken}`,
    `seed ${seed} broke: ${broken}`,
    `again: ${commandOf(seed)}`
  ].join("\n")
}
