import { assert, it } from "@effect/vitest"
import * as Catalog from "./Catalog.ts"
import { type Definition, seriesMax } from "./Definition.ts"

const definitions: ReadonlyArray<Definition> = Object.values(Catalog).filter(
  (value): value is Definition => typeof value === "object" && "kind" in value
)

it("the list of all holds every definition, each name once", () => {
  assert.sameMembers([...Catalog.all], [...definitions])
  assert.strictEqual(new Set(Catalog.all.map(({ name }) => name)).size, Catalog.all.length)
})

it("names follow Prometheus: a prefix, the base unit at the end, _total for counters and for nothing else", () => {
  for (const { kind, name, unit } of Catalog.all) {
    assert.match(name, /^(heddle|process)_[a-z][a-z0-9_]*[a-z0-9]$/)
    assert.strictEqual(name.endsWith("_total"), kind === "counter", name)
    const words = name.replace(/_total$/, "")
    for (const base of ["seconds", "bytes"] as const) {
      assert.strictEqual(words.endsWith(`_${base}`), unit === base, `${name} is in ${unit}`)
    }
    // what a histogram shows beside its name is taken
    assert.notMatch(name, /_(bucket|sum|count)$/)
  }
})

it("each says in one line what it means, and is told apart by labels with a bound", () => {
  for (const definition of Catalog.all) {
    const { help, labels, name } = definition
    assert.match(help, /^\S.{9,}[^.\s]$/, name)
    for (const [label, values] of Object.entries(labels)) {
      assert.match(label, /^[a-z]+$/, name)
      assert.notInclude(["le"], label, name)
      if (!("max" in values)) assert.strictEqual(new Set(values).size, values.length, name)
    }
    if (definition.kind === "histogram") {
      const { buckets } = definition
      assert.deepStrictEqual([...buckets], [...new Set(buckets)].toSorted((a, b) => a - b), name)
    }
  }
})

it("a process shows no more than 25,000 series, whatever runs on it", () => {
  for (const  of of["coordinator", "pool-scheduler", "task-executor", "failover"] as const) {
    const most = Catalog.all.filter((one) => one.of === of || one.of === "every")
      .reduce((sum, one) => sum + seriesMax(one), 0)
    assert.isAtMost(most, 25_000, of)
  }
})
