/** What `npm run bench -- claims` tells: one value that is printed as tables and written as JSON. */
import type { Row } from "./ClaimCore.ts"
import type { Claims, Fleet } from "./ClaimFleet.ts"
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
  /** On simulated sandboxes, and on pods. */
  readonly fleets: ReadonlyArray<Fleet>
  readonly large?: Large
}

const right = (title: string): Table.Column => ({ title, align: "right" })
const left = (title: string): Table.Column => ({ title, align: "left" })

const fleetRows = (fleet: Fleet): ReadonlyArray<ReadonlyArray<string>> => {
  const { api, idle, start, takeOver } = fleet
  const text = Samples.format
  const claims = (what: string, { cpuUs, p50, p99, perSecond }: Claims) => [
    what,
    `${text(cpuUs)} us CPU, ${text(perSecond)}/s, p50 ${text(p50)} ms, p99 ${text(p99)} ms`
  ]
  return [
    [
      "start: ready / all answer / all idle / all done",
      `${[start.readyMs, start.answeringMs, start.idleMs, start.wholeMs].map(text).join(" / ")} ms`
    ],
    ["CPU of the start: service / broker", `${text(start.cpuMs)} / ${text(start.brokerCpuMs)} ms`],
    ["memory after it: peak RSS / heap in use", `${text(start.rssMb)} / ${text(start.heapMb)} MB`],
    ["subscriptions, consumers, keys", `${start.subscriptions}, ${start.consumers}, ${start.keys}`],
    ["messages at the start: sent / received", `${start.messagesSent} / ${start.messagesReceived}`],
    ["idle, a second: service / broker", `${text(idle.cpuMs)} / ${text(idle.brokerCpuMs)} ms CPU`],
    ["idle, a second: sent / received", `${text(idle.sent)} / ${text(idle.received)} messages`],
    claims("claim and release, over all pools", fleet.spread),
    claims("in one of them", fleet.onePool),
    claims(`in one of ${fleet.large}`, fleet.largePool),
    [
      "owner killed: noticed, then until each pool grants a claim",
      `${text(takeOver.noticedMs)} ms, p50 ${text(takeOver.p50Ms)}, p99 ${text(takeOver.p99Ms)}, most ${
        text(takeOver.mostMs)
      } ms (target 5,000); ${text(takeOver.cpuMs)} ms CPU`
    ],
    ...(api === undefined ? [] : [
      ["API server at the start: requests, open watches", `${api.start.requests}, ${api.start.watching}`]
    ])
  ]
}

/** What is printed. */
export const render = (report: ClaimReport): string => {
  const { core, fleets, kube: compared, large: big } = report
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
      `${big.sandboxes} sandboxes in ${big.pools} pools in one process without a broker: ready after ${
        ms(big.readyMs)
      } ms of CPU, ${ms(big.heapBytesEach)} bytes of the scheduler's heap each, ${
        ms(big.claimUs)
      } us of CPU for a claim and its release`
    ]),
    ...fleets.flatMap((fleet) => [
      "",
      Table.render([
        left(
          `a process of its own, ${fleet.sandboxes} ${
            fleet.api === undefined ? "simulated sandboxes" : "pods"
          } in ${fleet.pools} pools`
        ),
        left("")
      ], fleetRows(fleet))
    ])
  ]
  return lines.join("\n")
}
