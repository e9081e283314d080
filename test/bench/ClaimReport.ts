/** What `npm run bench -- claims` tells: one value that is printed as tables and written as JSON. */
import type { Row } from "./ClaimCore.ts"
import type { Compared } from "./ClaimKube.ts"
import type { Large } from "./ClaimLarge.ts"
import * as Samples from "./Samples.ts"
import * as Table from "./Table.ts"

export interface ClaimReport {
  readonly at: string
  /** `load`: averages of the machine over 1, 5 and 15 minutes. */
  readonly machine: { readonly cores: number; readonly cpu: string; readonly load: ReadonlyArray<number> }
  readonly node: string
  readonly runs: number
  readonly core: ReadonlyArray<Row>
  readonly kube: ReadonlyArray<Compared>
  readonly large?: Large
}

const right = (title: string): Table.Column => ({ title, align: "right" })
const left = (title: string): Table.Column => ({ title, align: "left" })

/** What is printed. */
export const render = (report: ClaimReport): string => {
  const { core, kube: compared, large: big } = report
  const ms = (value: number): string => Samples.format(value)
  const lines = [
    `${report.at}, ${report.machine.cores} cores, ${report.machine.cpu}, load ${
      report.machine.load.join(" ")
    }, node ${report.node}`,
    "",
    ...(core.length === 0 ? [] : [
      Table.render(
        [left("in the scheduler"), right(""), left("")],
        core.map(({ name, unit, value }) => [name, Samples.format(value), unit])
      ),
      "targets: enqueue -> write p99 < 5,000 us; snapshot() < 1,000 ns; ranking < 10,000 ns; a claim costs the same in any pool",
      ""
    ]),
    ...(compared.length === 0 ? [] : [
      Table.render(
        [
          left("API latency"),
          left("load"),
          left("path"),
          right("/s"),
          right("p50 ms"),
          right("p90 ms"),
          right("p99 ms"),
          right("CPU us"),
          right("of the rate"),
          right("more at p99")
        ],
        compared.flatMap(({ addedAtP99Ms, claims, latencyMs, load, patches, ratio }) => [
          [
            `${latencyMs} ms`,
            load.name,
            "claim",
            ms(claims.perSecond),
            ms(claims.p50),
            ms(claims.p90),
            ms(claims.p99),
            ms(claims.cpuUs),
            ratio.toFixed(2),
            `${addedAtP99Ms.toFixed(1)} ms`
          ],
          ["", "", "PATCH", ms(patches.perSecond), ms(patches.p50), ms(patches.p90), ms(patches.p99), ms(patches.cpuUs)]
        ])
      ),
      "targets: 0.90 of the rate, less than 10 ms more at p99",
      ""
    ]),
    ...(big === undefined ? [] : [
      `${big.sandboxes} sandboxes in ${big.pools} pools: ready after ${ms(big.readyMs)} ms, ${
        ms(big.heapBytesEach)
      } bytes of the scheduler's heap each, ${ms(big.claimUs)} us for a claim and its release`
    ])
  ]
  return lines.join("\n")
}
