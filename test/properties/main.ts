/**
 * `npm run properties`: random runs of the workflow engine, as many as one likes. The same ones, 10,000 of them, are in `npm test` (Properties.test.ts).
 *
 * Exits with 1 and what is broken, the smallest draw that shows it and the command that repeats it, when a property does not hold.
 */
import { parseArgs } from "node:util"
import { check, properties } from "./RandomRun.ts"

const usage = `npm run properties -- [flags]

  --runs N         random runs, shared among the properties (10,000)
  --seed N         of the first draw; the same seed and runs give the same draws (a random one)
  --property NAME  only this one, with all the runs: ${properties.map(({ name }) => name).join(", ")}
  --replay TOKEN   one draw, as a failure printed it; with --property
`

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "10000" },
    seed: { type: "string" },
    property: { type: "string" },
    replay: { type: "string" },
    help: { type: "boolean", short: "h", default: false }
  }
})
const runs = Number(values.runs)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
const chosen = properties.filter(({ name }) => values.property === undefined || values.property === name)
if (
  values.help || !Number.isInteger(runs) || runs < 1 || !Number.isInteger(seed) || chosen.length === 0 ||
  (values.replay !== undefined && values.property === undefined)
) {
  console.log(usage)
  process.exit(values.help ? 0 : 2)
}
if (values.replay === undefined) console.log(`seed ${seed}`)
for (const property of chosen) {
  const count = values.property === undefined ? Math.max(1, Math.ceil(runs * property.share / 100)) : runs
  const from = process.cpuUsage()
  const failure = check(property, { runs: count, seed, replay: values.replay })
  const { system, user } = process.cpuUsage(from)
  const seconds = ((user + system) / 1e6).toFixed(1)
  if (failure !== undefined) {
    console.error(failure)
    process.exitCode = 1
  } else if (values.replay !== undefined) console.log(`${property.name}: the draw holds`)
  else console.log(`${property.name.padEnd(8)} ${String(count).padStart(8)} runs hold, ${seconds} s of CPU`)
}
