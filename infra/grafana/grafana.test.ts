/**
 * Dashboards and alerts against the catalogue: every expression is PromQL, and every metric and label in it is one that a process shows.
 */
import { assert, describe, it } from "@effect/vitest"
import { parser } from "@prometheus-io/lezer-promql"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { parse } from "yaml"
import * as Catalog from "../../shared/telemetry/Catalog.ts"
import type { Definition } from "../../shared/telemetry/Definition.ts"

interface Use {
  readonly where: string
  readonly expr: string
}

/** As Grafana fills its variables in. */
const filled = (expr: string): string => expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$[a-z]+/g, "x")

/** Labels that a scrape adds. */
const ofTheScrape = ["job", "instance"]

const parts = (definition: Definition): ReadonlyArray<string> =>
  definition.kind === "histogram"
    ? ["bucket", "sum", "count"].map((part) => `${definition.name}_${part}`)
    : [definition.name]
const byName = new Map(Catalog.all.flatMap((one) => parts(one).map((name) => [name, one] as const)))

/** What is wrong with an expression; empty: nothing. */
const problemsOf = (expr: string): ReadonlyArray<string> => {
  const text = filled(expr)
  const problems: Array<string> = []
  const names = new Set<string>()
  parser.parse(text).iterate({
    enter: (node) => {
      const said = text.slice(node.from, node.to)
      if (node.type.isError) problems.push(`not PromQL at ${node.from}: ${text.slice(node.from, node.from + 20)}`)
      else if (node.name === "VectorSelector") {
        const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(said)?.[0] ?? ""
        names.add(name)
        const definition = byName.get(name)
        if (definition === undefined) {
          problems.push(`${name} is in no catalogue`)
          return
        }
        for (const [, label = "", operator = "", value = ""] of said.matchAll(/([a-z]+)(=~|!~|!=|=)"([^"]*)"/g)) {
          const allowed = definition.labels[label]
          if (ofTheScrape.includes(label)) continue
          if (allowed === undefined) problems.push(`${name} has no label ${label}`)
          else if (!("max" in allowed)) {
            for (const one of operator.endsWith("~") ? value.split("|") : [value]) {
              if (!allowed.includes(one)) problems.push(`${name}: ${label} is never ${one}`)
            }
          }
        }
      }
    }
  })
  // what is grouped by must be a label of something in the expression
  const known = new Set([
    ...ofTheScrape,
    "le",
    ...[...names].flatMap((name) => Object.keys(byName.get(name)?.labels ?? {}))
  ])
  for (const [, grouped = ""] of text.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of grouped.split(",").map((one) => one.trim())) {
      if (!known.has(label)) problems.push(`grouped by ${label}, which nothing in it has`)
    }
  }
  return problems
}

const expressionsIn = (value: unknown, where: string): ReadonlyArray<Use> => {
  if (Array.isArray(value)) return value.flatMap((one, at) => expressionsIn(one, `${where}[${at}]`))
  if (typeof value !== "object" || value === null) return []
  const here = "title" in value ? `${where}.${String(value.title)}` : "alert" in value ? String(value.alert) : where
  return Object.entries(value).flatMap(([key, inner]) =>
    key === "expr" && typeof inner === "string" ? [{ where: here, expr: inner }] : expressionsIn(inner, here)
  )
}

const dashboards = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".json"))
const alerts: unknown = parse(readFileSync(join(import.meta.dirname, "alerts.yaml"), "utf8"))
const dashboard = (name: string): unknown => JSON.parse(readFileSync(join(import.meta.dirname, name), "utf8"))

describe("dashboards and alerts", () => {
  it("the check finds what is wrong", () => {
    assert.deepStrictEqual(
      problemsOf("rate(heddle_claims_total{outcome=\"Claimed\", job=~\"$job\"}[$__rate_interval])"),
      []
    )
    assert.deepStrictEqual(problemsOf("rate(heddle_claim_total[5m])"), ["heddle_claim_total is in no catalogue"])
    assert.deepStrictEqual(problemsOf("heddle_claim_duration_seconds"), [
      "heddle_claim_duration_seconds is in no catalogue"
    ])
    assert.deepStrictEqual(problemsOf("heddle_claims_total{state=\"x\", outcome=\"claimed\"}"), [
      "heddle_claims_total has no label state",
      "heddle_claims_total: outcome is never claimed"
    ])
    assert.deepStrictEqual(problemsOf("sum by (shard) (heddle_ready)"), ["grouped by shard, which nothing in it has"])
    assert.isAbove(problemsOf("sum(heddle_ready").length, 0)
  })

  it("every expression of both dashboards", () => {
    assert.strictEqual(dashboards.length, 2)
    for (const name of dashboards) {
      const uses = expressionsIn(dashboard(name), name)
      assert.isAbove(uses.length, 20, name)
      for (const { expr, where } of uses) assert.deepStrictEqual(problemsOf(expr), [], `${where}: ${expr}`)
    }
  })

  it("every variable of both dashboards", () => {
    for (const name of dashboards) {
      const { templating: { list } } = dashboard(name) as {
        readonly templating: { readonly list: ReadonlyArray<{ readonly type: string; readonly definition?: string }> }
      }
      for (const { definition } of list.filter(({ type }) => type === "query")) {
        const [, selector = "", label = ""] = /^label_values\((.*), ([a-z]+)\)$/.exec(definition ?? "") ?? []
        assert.deepStrictEqual(problemsOf(selector), [], `${name}: ${definition}`)
        const metric = /^\w+/.exec(selector)?.[0] ?? ""
        assert.include([...ofTheScrape, ...Object.keys(byName.get(metric)?.labels ?? {})], label, definition)
      }
    }
  })

  it("panels have ids and places of their own", () => {
    for (const name of dashboards) {
      const { panels } = dashboard(name) as {
        readonly panels: ReadonlyArray<{
          readonly id: number
          readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
        }>
      }
      assert.strictEqual(new Set(panels.map(({ id }) => id)).size, panels.length, name)
      const cells = panels.flatMap(({ gridPos: { h, w, x, y } }) =>
        Array.from({ length: w * h }, (_, at) => `${x + at % w},${y + Math.floor(at / w)}`)
      )
      assert.strictEqual(new Set(cells).size, cells.length, `${name}: panels lie over one another`)
      for (const { gridPos: { w, x } } of panels) assert.isAtMost(x + w, 24, name)
    }
  })

  it("every alert: its expression, how bad it is, what it means and what to do", () => {
    const { spec: { groups } } = alerts as {
      readonly spec: {
        readonly groups: ReadonlyArray<{
          readonly name: string
          readonly rules: ReadonlyArray<{
            readonly alert: string
            readonly labels: { readonly severity: string }
            readonly annotations: { readonly summary: string; readonly description: string }
          }>
        }>
      }
    }
    const rules = groups.flatMap(({ rules }) => rules)
    assert.strictEqual(new Set(rules.map(({ alert }) => alert)).size, rules.length)
    for (const { alert, annotations, labels } of rules) {
      assert.match(alert, /^Heddle[A-Za-z]+$/)
      assert.include(["critical", "warning", "info"], labels.severity, alert)
      assert.isAbove(annotations.summary.length, 20, alert)
      assert.isAbove(annotations.description.length, 0, alert)
    }
    const uses = expressionsIn(alerts, "alerts.yaml")
    assert.strictEqual(uses.length, rules.length)
    for (const { expr, where } of uses) assert.deepStrictEqual(problemsOf(expr), [], `${where}: ${expr}`)
  })

  it("what a process shows is looked at: on a dashboard, or in an alert", () => {
    const text = [...dashboards.map((name) => JSON.stringify(dashboard(name))), JSON.stringify(alerts)].join("\n")
    const unseen = Catalog.all.filter(({ name }) => !text.includes(name)).map(({ name }) => name)
    // Prometheus' own dashboards have that one
    assert.deepStrictEqual(unseen, ["process_start_time_seconds"])
  })
})
