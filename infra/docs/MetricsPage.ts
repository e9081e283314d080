/**
 * docs/reference/metrics.md: what a process shows at `/metrics`, made from the catalogue (shared/telemetry/Catalog.ts).
 */
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import { type Definition, seriesMax, type Shower } from "../../shared/telemetry/Definition.ts"

const code = (text: string): string => `\`${text}\``
const cell = (text: string): string => text.replaceAll("|", "\\|")

const titles: Readonly<Record<Shower, string>> = {
  every: "Every process",
  "pool-scheduler": "pool-scheduler: claims and pools",
  coordinator: "coordinator: runs, tasks, journal, shards",
  "task-executor": "task-executor",
  failover: "failover",
  gateway: "gateway"
}
const order: ReadonlyArray<Shower> = ["every", "pool-scheduler", "coordinator", "task-executor", "failover", "gateway"]

const labelsOf = (definition: Definition): string =>
  Object.entries(definition.labels).map(([label, values]) =>
    "max" in values ? `${code(label)} (${values.max})` : `${code(label)}: ${values.map(code).join(" ")}`
  ).join("; ")

const row = (definition: Definition): string => {
  const { help, kind, name } = definition
  return `| ${code(name)} | ${kind} | ${cell(labelsOf(definition))} | ${cell(help)} |`
}

const bucketsOf = (definition: Definition): ReadonlyArray<string> =>
  definition.kind === "histogram" ? [`| ${code(definition.name)} | ${definition.buckets.join(" ")} |`] : []

const generated = "<!-- Made by `npm run docs` from shared/telemetry/Catalog.ts. Do not edit. -->"

export const page = (): string =>
  [
    generated,
    "",
    "# Metrics",
    "",
    "`heddle serve <service> --status-port N` (or `heddle dev`; `HEDDLE_STATUS_PORT`; 0: a free port, told on standard error) answers over HTTP, with no authentication and nothing secret in it; where it listens",
    "says `--status-host` (`HEDDLE_STATUS_HOST`), every IPv4 address when not given:",
    "",
    "| path | |",
    "|---|---|",
    "| `/livez` | 200 as long as the process's event loop turns. Never depends on NATS: a restart does not mend an outage of the broker |",
    "| `/readyz` | 200 while the service can do its work: connected, registered, consumers bound, and all shards or pools that are its own served. Else 503 with `{\"ready\":false,\"reasons\":[{\"check\":...,\"reason\":...}]}`: while it starts, while the broker is away, while it begins anew after it lost its registration, and from the beginning of its end |",
    "| `/metrics` | the metrics below, in Prometheus' text format. Nothing else is shown |",
    "",
    "Times are in seconds, counters begin at 0 with the process. A number in brackets after a label is how many different values one process shows at most; what is beyond is shown together as `other`.",
    "`<namespace>/<name>` is the form of pools and definitions. Dashboards and alerts that use them stand in infra/grafana.",
    ...order.flatMap((of) => [
      "",
      `## ${titles[of]}`,
      "",
      "| metric | kind | labels | |",
      "|---|---|---|---|",
      ...Catalog.all.filter((definition) => definition.of === of).map(row)
    ]),
    "",
    "## Buckets",
    "",
    "| histogram | upper bounds |",
    "|---|---|",
    ...Catalog.all.flatMap(bucketsOf),
    "",
    "## How many series",
    "",
    "At most, of one process with every label at its bound (a pool-scheduler with 200 pools, a coordinator with 100 definitions), the lines of histograms included:",
    "",
    "| process | series |",
    "|---|---|",
    ...order.slice(1).map((of) =>
      `| ${of} | ${
        Catalog.all.filter((definition) => definition.of === of || definition.of === "every")
          .reduce((sum, definition) => sum + seriesMax(definition), 0)
      } |`
    ),
    "",
    "## Traces",
    "",
    "With `OTEL_EXPORTER_OTLP_ENDPOINT` (such as `http://collector:4318`; or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`; `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SDK_DISABLED`) coordinators and pool-schedulers send spans by OTLP over HTTP (JSON). Coordinators",
    "send one for each attempt of a task (`task <namespace>/<definition>/<task>`, from when it was due to its end, with `dispatched` and `started` as events) and one for each run (`run <namespace>/<definition>`).",
    "They are made when what they tell of has ended, from the journal, so a take-over in the middle loses none and no work waits for them; what the endpoint does not take is dropped after some tries.",
    "",
    "A start with a `traceparent` header (W3C) is of that trace: it stands in the run's first journal entry, sub-workflows inherit it, tasks have it as `TRACEPARENT`, and all spans of the run are children of it, whichever",
    "coordinator makes them. A run that came without one gets a trace of its own, made of its id, whose first span is the run. Spans of a trace that is not sampled (flag 00) are not sent.",
    "",
    "Pool-schedulers send three for each claim of a client, when it has its result: `claim <namespace>/<pool>`, and below it `claim wait <namespace>/<pool>` (until its first write to the provider) and",
    "`claim write <namespace>/<pool>` (what the provider took, with retries and reads after unclear answers). They are of the trace of the claim's `traceparent` header (of the rpc, of the durable message, of the HTTP request),",
    "or of one made of pool and claim id. A batch has three together. Claims of tasks have none: `dispatched` in the attempt's span is when the task had its sandbox. In a take-over, what waited is told by who answers it.",
    ""
  ].join("\n")
