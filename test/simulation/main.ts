/**
 * `npm run simulate`: seeds of the claim simulation, as many as one likes. The first 2,000 are in `npm test` (pool-scheduler.test.ts).
 *
 * Exits with 1 and the history of the first seed that breaks a rule, cut down as far as it goes; `--seed N` prints the whole history of one.
 */
import { parseArgs } from "node:util"
import * as Campaign from "./Campaign.ts"
import * as ClaimWorld from "./ClaimWorld.ts"
import * as Plan from "./Plan.ts"

const usage = `npm run simulate -- [flags]

  --seeds N   how many (10,000)
  --from N    the first (1)
  --seed N    one, with its whole history; and, when it breaks a rule, the smallest that does
`

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "10000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    help: { type: "boolean", short: "h", default: false }
  }
})
const seeds = Number(values.seeds)
const from = Number(values.from)
const seed = values.seed === undefined ? undefined : Number(values.seed)
if (values.help || [seeds, from, seed ?? 0].some((number) => !Number.isInteger(number) || number < 0)) {
  console.log(usage)
  process.exit(values.help ? 0 : 2)
}
if (seed !== undefined) {
  const outcome = ClaimWorld.run(Plan.make(seed), true)
  console.log(outcome.history.join("\n"))
  if (outcome.broken === undefined) console.log(`seed ${seed} holds`)
  else {
    console.error(`\nthe smallest that breaks the same rule:\n\n${Campaign.report(seed)}`)
    process.exitCode = 1
  }
} else {
  const start = process.cpuUsage()
  const result = Campaign.run(from, seeds, (one) => {
    if (one % 10_000 === 0) console.error(`${one - from + 1} seeds hold`)
  })
  const { system, user } = process.cpuUsage(start)
  if (typeof result === "string") {
    console.error(result)
    process.exitCode = 1
  } else console.log(`${JSON.stringify(result)}, ${((user + system) / 1e6).toFixed(1)} s of CPU`)
}
